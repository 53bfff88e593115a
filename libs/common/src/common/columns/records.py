"""Records whose keys and values stand in arrays of text."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from aiokafka.record.util import encode_varint
from streams.model.blocks import OutputBlock, RecordBlock
from streams.model.log import RecordFields
from streams.model.message import Headers

from common.columns.record_kernel import RECORD_BYTES, write_records
from common.contracts.topics import Topic

Array = npt.NDArray[Any]
_NO_HEADERS = b"\x00"


class Column(NamedTuple):
    """Pieces of one text; in any order, and the same piece may be there twice."""

    text: Array
    """uint8."""
    begins: Array
    """int64[n]."""
    ends: Array
    """int64[n]."""

    def piece(self, at: int) -> bytes:
        return self.text[self.begins[at] : self.ends[at]].tobytes()

    def longest(self) -> int:
        return int((self.ends - self.begins).max(initial=0))

    def to_read(self) -> tuple[Array, Array, Array]:
        """The arrays as a kernel takes them: it is compiled anew for each kind of array that it meets."""
        text = self.text.view()
        text.flags.writeable = False
        return text, np.ascontiguousarray(self.begins, np.int64), np.ascontiguousarray(self.ends, np.int64)


@dataclass(frozen=True, slots=True)
class RecordColumns(RecordBlock):
    """See ``RecordBlock``. None of the records is without a key or without a value."""

    keys: Column
    values: Column
    timestamp_ms: int
    headers: Mapping[int, Headers]
    """By the number of the record; few have any."""

    def __len__(self) -> int:
        return len(self.keys.begins)

    def __iter__(self) -> Iterator[RecordFields]:
        for at in range(len(self)):
            yield self.keys.piece(at), self.values.piece(at), self.timestamp_ms, self.headers.get(at, ())

    def laid_out(self, bytes_max: int) -> Iterator[tuple[int, bytes]]:
        heads = self._heads()
        columns = (*self.keys.to_read(), *self.values.to_read(), *heads.to_read())
        longest = RECORD_BYTES + self.keys.longest() + self.values.longest() + heads.longest()
        text = np.empty(max(bytes_max, longest), np.uint8)
        first, count = 0, len(self)
        while first < count:
            after, end = write_records(text[:bytes_max], first, count, *columns)
            if after == first:  # it is too long by itself
                after, end = write_records(text, first, first + 1, *columns)
            yield after - first, text[:end].tobytes()
            first = after

    def _heads(self) -> Column:
        """The headers as a record has them, their number first."""
        begins, ends = np.zeros(len(self), np.int64), np.ones(len(self), np.int64)
        text = bytearray(_NO_HEADERS)
        for at, headers in self.headers.items():
            begins[at] = len(text)
            encode_varint(len(headers), text.append)
            for name, value in headers:
                for field in (name.encode(), value):
                    encode_varint(-1 if field is None else len(field), text.append)
                    text += field or b""
            ends[at] = len(text)
        return Column(np.frombuffer(text, np.uint8), begins, ends)


@dataclass(frozen=True, slots=True)
class OutputColumns(OutputBlock):
    """See ``OutputBlock``."""

    topic: Topic
    partition: int
    of: Array
    """int64[n]: the number of the message that each record answers, never falling."""
    keys: Column
    values: Column
    framed: bool = False

    def records(self, timestamp_ms: int, headers: Mapping[int, Headers]) -> RecordColumns:
        of_records: dict[int, Headers] = {}
        for message, each in headers.items():
            begin, end = np.searchsorted(self.of, (message, message + 1)).tolist()
            of_records.update(dict.fromkeys(range(begin, end), each))
        return RecordColumns(self.keys, self.values, timestamp_ms, of_records)
