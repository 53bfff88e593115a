"""Records whose keys and values stand in arrays of text."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from aiokafka.record.util import encode_varint
from streams.model.blocks import Buffer, OutputBlock, RecordBlock
from streams.model.declaration import rows_one_by_one
from streams.model.log import RecordFields, Records
from streams.model.message import Headers

from common.columns.record_kernel import RECORD_BYTES, write_records
from common.contracts.topics import Topic

Array = npt.NDArray[Any]
_NO_HEADERS = b"\x00"
ROWS_MIN: Final = 64
"""Fewer rows are written sooner one by one: columns cost some thirty microseconds before their first record."""


class Column(NamedTuple):
    """Pieces of one text; in any order, and the same piece may be there twice."""

    text: Array
    """uint8."""
    begins: Array
    """int64[n]."""
    ends: Array
    """int64[n]."""

    @classmethod
    def of(cls, pieces: Sequence[bytes]) -> Self:
        """Each piece once, one behind the other. Raises TypeError where one is None."""
        text = np.frombuffer(b"".join(pieces), np.uint8)
        lengths = np.fromiter(map(len, pieces), np.int64, len(pieces))
        ends = np.cumsum(lengths)
        return cls(text, ends - lengths, ends)

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

    def laid_out(self, bytes_max: int) -> Iterator[tuple[int, Buffer]]:
        heads = self._heads()
        columns = (*self.keys.to_read(), *self.values.to_read(), *heads.to_read())
        longest = RECORD_BYTES + self.keys.longest() + self.values.longest() + heads.longest()
        first, count = 0, len(self)
        while first < count:
            text = np.empty(max(bytes_max, longest), np.uint8)  # handed out as it is, so each part has its own
            after, end = write_records(text[:bytes_max], first, count, *columns)
            if after == first:  # it is too long by itself
                after, end = write_records(text, first, first + 1, *columns)
            yield after - first, text[:end]
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


def rows_in_columns(rows: Sequence[tuple[bytes, bytes | None]], timestamp_ms: int) -> Records:
    """Rows of a changelog as records: laid out by a kernel, but for a few, and for those that one of them deletes."""
    if len(rows) >= ROWS_MIN:
        keys, values = list(map(itemgetter(0), rows)), list(map(itemgetter(1), rows))
        with contextlib.suppress(TypeError):  # a deleted row has no value, and a column has nothing for that
            return RecordColumns(Column.of(keys), Column.of(values), timestamp_ms, {})
    return rows_one_by_one(rows, timestamp_ms)
