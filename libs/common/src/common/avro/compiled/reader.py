"""Reads framed Avro records into rows of an array: the columns that are wanted, and of the rest that it is sound.

Numbers are read as they are, of an enum the number of its symbol; of a text, where it stands. A record is accepted only
if every byte of it is what the schema says, as any other reader of Avro would read it. What is not accepted is for the
general codec, which can resolve other schemas and name what is wrong.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from common.avro.compiled.pieces import HEADER_BYTES, joined
from common.avro.compiled.reader_steps import (
    Steps,
    after_branch,
    both_blank,
    both_places,
    both_put,
    both_read,
    decoder,
    locator,
    nullable_steps,
    number_reader,
    put_no_place,
    put_of,
    put_place,
    put_value,
    put_whether,
    read_nothing,
    text_reader,
)
from common.avro.compiled.schema_tree import (
    TEXTS,
    Items,
    Kind,
    Message,
    Node,
    Nullable,
    Record,
    Scalar,
    Schema,
    SchemaUnsupported,
    content_of,
    fingerprint_of,
    message_of,
    places,
    under,
)
from common.kernels import composed, index

Array = npt.NDArray[Any]


class Verdict(IntEnum):
    """Result of reading a record."""

    SOUND = 0
    UNFRAMED = 1
    """It does not begin with a zero and the id of a schema."""
    FOREIGN = 2
    """It was written with another schema."""
    MALFORMED = 3


_SOUND: Final = int(Verdict.SOUND)
_UNFRAMED: Final = int(Verdict.UNFRAMED)
_FOREIGN: Final = int(Verdict.FOREIGN)
_MALFORMED: Final = int(Verdict.MALFORMED)


# --- what is wanted -----------------------------------------------------------------------------------------------


class Number(NamedTuple):
    """An integer, a boolean, or which symbol an enum has; zero where it is not given."""

    path: str
    column: str


class Text(NamedTuple):
    """Place of a string, bytes or a fixed in the buffer; both ends are zero where it is not given."""

    path: str
    begin: str
    end: str


class Given(NamedTuple):
    """Whether it is not null."""

    path: str
    column: str


class Chosen(NamedTuple):
    """Whether an enum has this symbol."""

    path: str
    symbol: str
    column: str


Wanted = Number | Text | Given | Chosen


def every_column(message: Message) -> tuple[Wanted, ...]:
    """All that the message has, under its paths."""
    wanted: list[Wanted] = []
    for path, node in places(message.record):
        content = content_of(node)
        if isinstance(node, Nullable):
            wanted.append(Given(path, under(path, "given")))
        if isinstance(content, Scalar) and content.kind in TEXTS:
            wanted.append(Text(path, under(path, "begin"), under(path, "end")))
        elif isinstance(content, Scalar):
            wanted.append(Number(path, path))
    return tuple(wanted)


def _dtype_of(wanted: Iterable[Wanted], nodes: dict[str, Node]) -> np.dtype[Any]:
    fields: list[tuple[str, str]] = []
    for each in wanted:
        match each:
            case Text(_, begin, end):
                fields += ((begin, "<i8"), (end, "<i8"))
            case Number(path, column):
                content = content_of(nodes[path])
                kind = content.kind if isinstance(content, Scalar) else Kind.LONG
                fields.append((column, {Kind.LONG: "<i8", Kind.BOOLEAN: "?"}.get(kind, "<i4")))
            case Given(_, column) | Chosen(_, _, column):
                fields.append((column, "?"))
    return np.dtype(fields, align=True)


# --- the reader ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, slots=True)
class Reader:
    """See ``reader``."""

    row: np.dtype[Any]
    """Fields that the columns need at least; rows may have other columns beside them."""
    read_one: Any
    """``read_one(data, at, end, row)``, for kernels: reads the record without its header, and returns the position
    after it, or NOT_THERE. It is sound where that is ``end``."""
    fingerprint: str
    """Fingerprint of schema and columns, which names the machine code of a kernel that encloses ``read_one``."""
    _read_all: Any

    def read_into(self, data: Array, begins: Array, ends: Array, schema_id: int, rows: Array, verdicts: Array) -> None:
        """Reads the records ``data[begins[i]:ends[i]]`` (uint8; int64[n] each) into ``rows[i]``.

        ``verdicts`` (uint8[n]) gets a ``Verdict`` for each; a row whose verdict is not SOUND says nothing.
        Raises ValueError where a record does not lie in the data, or the arrays are not of one length.
        """
        count = len(begins)
        if not count == len(ends) == len(rows) == len(verdicts):
            raise ValueError("the arrays are not of one length")
        if count and (begins.min() < 0 or ends.max() > data.size or (begins > ends).any()):
            raise ValueError("a record does not lie in the data")
        frozen = data.view()
        frozen.flags.writeable = False
        self._read_all(frozen, begins, ends, schema_id, rows, verdicts)

    def read(self, values: Sequence[bytes], schema_id: int) -> "Read":
        """Reads values as they come from a topic."""
        count = len(values)
        data = np.frombuffer(b"".join(values), np.uint8)
        ends = np.cumsum(np.fromiter(map(len, values), np.int64, count))
        begins = np.concatenate((np.zeros(1, np.int64), ends[:-1])) if count else ends
        rows, verdicts = np.zeros(count, self.row), np.empty(count, np.uint8)
        self.read_into(data, begins, ends, schema_id, rows, verdicts)
        return Read(data, rows, verdicts)


class Read(NamedTuple):
    """Records in columns."""

    data: Array
    """uint8: what texts point into."""
    rows: Array
    verdicts: Array
    """uint8[n]: a ``Verdict`` each."""


def reader(schema: Schema, columns: Sequence[Wanted] | None = None, branch: str | None = None) -> Reader:
    """A reader of the record that ``schema`` is, or that is named ``branch`` where it is a union of records.

    ``columns``: what is wanted; None: everything. Compiles nothing yet: the first call does, or finds it compiled.
    Raises SchemaUnsupported, for arrays and maps too, and for columns of what the schema does not have.
    """
    message = message_of(schema, branch)
    nodes = dict(places(message.record))
    wanted = every_column(message) if columns is None else tuple(columns)
    for path in {each.path for each in wanted} - nodes.keys():
        raise SchemaUnsupported(f"{path}: the schema has no such field")
    steps = _Composer(wanted).of(message.record, "")
    read_one = after_branch(message.branch, steps.read)
    fingerprint = fingerprint_of(schema, "reader", wanted, branch)
    read_all = composed(Path(__file__).parent, fingerprint)(_read_all(read_one))
    return Reader(_dtype_of(wanted, nodes), read_one, fingerprint, read_all)


def _read_all(read_one: Any) -> Callable[..., None]:
    def read_all(data: Any, begins: Any, ends: Any, schema_id: Any, rows: Any, verdicts: Any) -> None:
        for i in range(begins.size):
            at, end = begins[i], ends[i]
            if end - at < HEADER_BYTES or data[index(at)] != 0:
                verdicts[i] = _UNFRAMED
                continue
            found = np.int64(0)
            for k in range(1, HEADER_BYTES):
                found = found << 8 | np.int64(data[index(at + k)])
            if found != schema_id:
                verdicts[i] = _FOREIGN
                continue
            verdicts[i] = _SOUND if read_one(data, at + HEADER_BYTES, end, rows[i]) == end else _MALFORMED

    return read_all


# --- composing ----------------------------------------------------------------------------------------------------


class _Composer:
    def __init__(self, wanted: Sequence[Wanted]) -> None:
        self._wanted = wanted

    def of(self, node: Node, path: str) -> Steps:
        match node:
            case Record(fields):
                steps = [self.of(field, under(path, name)) for name, field in fields]
                return Steps(
                    joined([step.read for step in steps], both_read) or read_nothing,
                    joined([step.blank for step in steps if step.blank], both_blank),
                )
            case Nullable(of, null_at):
                puts = [put_of(each.column) for each in self._of(path, Given)]
                return nullable_steps(self.of(of, path), null_at, joined(puts, both_put))
            case Items():
                raise SchemaUnsupported(f"{path}: arrays and maps are not read in columns")
            case Scalar(kind):
                return self._text(node, path) if kind in TEXTS else self._number(node, path)

    def _of(self, path: str, kind: Any) -> list[Any]:
        return [each for each in self._wanted if isinstance(each, kind) and each.path == path]

    def _number(self, node: Scalar, path: str) -> Steps:
        if self._of(path, Text):
            raise SchemaUnsupported(f"{path}: {node.kind} is no text")
        puts = [put_of(each.column) for each in self._of(path, Number)]
        for each in self._of(path, Chosen):
            if each.symbol not in node.symbols:
                raise SchemaUnsupported(f"{path}: it has no symbol {each.symbol!r}")
            puts.append(put_whether(each.column, node.symbols.index(each.symbol)))
        put = joined(puts, both_put)
        return Steps(number_reader(decoder(node), put), put and put_value(put, 0))

    def _text(self, node: Scalar, path: str) -> Steps:
        if self._of(path, Number) or self._of(path, Chosen):
            raise SchemaUnsupported(f"{path}: {node.kind} is no number")
        put = joined([put_place(each.begin, each.end) for each in self._of(path, Text)], both_places)
        return Steps(text_reader(locator(node), put), put and put_no_place(put))
