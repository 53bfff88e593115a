"""Writes records from rows of an array, framed, in the very bytes of the general codec.

Before a byte is written every value is looked at: how many bytes it takes at most, and whether it fits its type. So a
record is written as a whole, or none is.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from common.avro.compiled.constants import encoded
from common.avro.compiled.pieces import HEADER_BYTES, varint
from common.avro.compiled.schema_tree import (
    TEXTS,
    Items,
    Kind,
    Node,
    Nullable,
    Record,
    Scalar,
    Schema,
    SchemaUnsupported,
    fingerprint_of,
    message_of,
    under,
)
from common.avro.compiled.writer_steps import (
    Step,
    constant_step,
    in_turn,
    items_step,
    nullable_step,
    number_step,
    text_step,
)
from common.kernels import composed, index

Array = npt.NDArray[Any]
SCHEMA_ID_MAX: Final = 2**32 - 1
_FITS: Final = -1


class ValueUnfit(ValueError):
    """A value is none of its type, or not where the rows say. Names the row and the column."""


class Encoded(NamedTuple):
    """Records, one behind the other."""

    data: Array
    """uint8."""
    ends: Array
    """int64[n]: where each ends; it begins where the one before it ends."""

    def values(self) -> list[bytes]:
        """Each by itself."""
        whole, ends = self.data.tobytes(), self.ends.tolist()
        return [whole[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


@dataclass(frozen=True, eq=False, slots=True)
class Writer:
    """See ``writer``."""

    row: np.dtype[Any]
    """A record. A number stands in the column of its path, of an enum the number of its symbol; a text between
    ``….begin`` and ``….end`` of the text; ``….given`` says whether it is not null; the items of an array or a map are
    those of its own rows from ``….begin`` to ``….end``."""
    items: Mapping[str, np.dtype[Any]]
    """By the path of an array or a map: its rows, with the columns of an item. A map's have a ``key``."""
    symbols: Mapping[str, tuple[str, ...]]
    """By the column of an enum: its symbols in the order of their numbers."""
    bytes_max: int
    """Most bytes of a record, without its texts and items."""
    step: Step
    """For kernels that enclose it; ``fingerprint`` names their machine code."""
    fingerprint: str
    _checked: tuple[str, ...]
    _measure: Any
    _write: Any

    def write(self, rows: Array, text: Array, schema_id: int, items: Sequence[Array] = ()) -> Encoded:
        """Encodes each row. ``text`` (uint8) is what texts stand in, ``items`` are rows in the order of ``items``.

        Raises ValueUnfit, and TypeError for rows of another type.
        """
        arrays = tuple(items)
        if rows.dtype != self.row or [each.dtype for each in arrays] != [*self.items.values()]:
            raise TypeError("these are not the writer's rows")
        if not 0 <= schema_id <= SCHEMA_ID_MAX:
            raise ValueUnfit(f"{schema_id} is no id of a schema")
        source = text.view()
        source.flags.writeable = False
        size, unfit, reason = self._measure(rows, source, arrays)
        if unfit != _FITS:
            raise ValueUnfit(f"row {unfit}: {self._checked[-1 - reason]} does not fit")
        data, ends = np.empty(size, np.uint8), np.empty(len(rows), np.int64)
        self._write(data, ends, rows, source, arrays, schema_id)
        return Encoded(data[: ends[-1] if len(ends) else 0], ends)


def writer(
    schema: Schema,
    *,
    branch: str | None = None,
    constants: Mapping[str, Any] | None = None,
    given: Iterable[str] = (),
    columns: Mapping[str, str] | None = None,
    lengths: Mapping[str, int] | None = None,
) -> Writer:
    """A writer of the record that ``schema`` is, or that is named ``branch`` where it is a union of records.

    ``constants``: what is the same in every record, by its path, and takes no column. ``given``: paths of what may be
    null and never is. ``columns``: the name of a column where it is not the path; two paths may share one. ``lengths``:
    how many items an array always has, which then have paths of their own (``postings.0.amount``). Compiles nothing
    yet: the first call does, or finds it compiled.

    Raises SchemaUnsupported, and ValueError for a constant that does not fit.
    """
    message = message_of(schema, branch)
    plan = _Plan(dict(constants or {}), frozenset(given), dict(columns or {}), dict(lengths or {}))
    start = () if message.branch is None else (constant_step(varint(message.branch)),)
    step = in_turn([*start, *plan.steps(message.record, "", plan.row)])
    unknown = (plan.constants.keys() | plan.given | plan.columns.keys() | plan.lengths.keys()) - plan.used
    if unknown:
        raise SchemaUnsupported(f"{', '.join(sorted(unknown))}: nothing stands there to be written")
    by_path = [sorted(each.items()) for each in (plan.constants, plan.columns, plan.lengths)]
    fingerprint = fingerprint_of(schema, "writer", branch, sorted(plan.given), *by_path)
    bytes_max = HEADER_BYTES + step.bytes_max
    compile_ = composed(Path(__file__).parent, fingerprint)
    return Writer(
        np.dtype([*plan.row.items()], align=True),
        {path: np.dtype([*row.items()], align=True) for path, row in plan.items.items()},
        plan.symbols,
        bytes_max,
        step,
        fingerprint,
        tuple(plan.checked),
        compile_(_measure_all(step.extra, bytes_max)),
        compile_(_write_all(step.write)),
    )


def _measure_all(extra: Any, bytes_max: int) -> Callable[..., Any]:
    if extra is None:

        def measure_alike(rows: Any, text: Any, items: Any) -> Any:
            return bytes_max * rows.size, np.int64(_FITS), np.int64(0)

        return measure_alike

    def measure_all(rows: Any, text: Any, items: Any) -> Any:
        size = np.int64(0)
        for i in range(rows.size):
            more = extra(rows[i], text, items)
            if more < 0:
                return size, i, more
            size += bytes_max + more
        return size, np.int64(_FITS), np.int64(0)

    return measure_all


def _write_all(write: Any) -> Callable[..., None]:
    def write_all(out: Any, ends: Any, rows: Any, text: Any, items: Any, schema_id: Any) -> None:
        at = np.int64(0)
        for i in range(rows.size):
            out[index(at)] = 0
            for k in range(1, HEADER_BYTES):
                out[index(at + k)] = (schema_id >> (8 * (HEADER_BYTES - 1 - k))) & 0xFF
            at = write(out, at + HEADER_BYTES, rows[i], text, items)
            ends[i] = at

    return write_all


# --- composing ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Plan:
    """Sources of a message's parts: its constants, and the columns of the others."""

    constants: dict[str, Any]
    given: frozenset[str]
    columns: dict[str, str]
    lengths: dict[str, int]
    row: dict[str, str] = field(default_factory=dict)
    items: dict[str, dict[str, str]] = field(default_factory=dict)
    symbols: dict[str, tuple[str, ...]] = field(default_factory=dict)
    checked: list[str] = field(default_factory=list)
    """Columns whose values may not fit; ``-1 - number`` is the answer of the step that finds it."""
    used: set[str] = field(default_factory=set)

    def steps(self, node: Node, path: str, row: dict[str, str]) -> list[Step]:
        if path in self.constants:
            self.used.add(path)
            return [constant_step(encoded(node, self.constants[path], path))]
        match node:
            case Record(fields):
                return [step for name, of in fields for step in self.steps(of, under(path, name), row)]
            case Nullable(of) if path in self.given:
                self.used.add(path)
                return [constant_step(varint(node.given_at)), *self.steps(of, path, row)]
            case Nullable(of):
                given = self._column(path, "given", "?", row)
                inner = in_turn(self.steps(of, path, row))
                return [nullable_step(given, inner, node.null_at)]
            case Items():
                return self._items(node, path, row)
            case Scalar():
                return [self._scalar(node, path, row)]

    def _column(self, path: str, of: str, kind: str, row: dict[str, str]) -> str:
        """The column of what stands at ``path``, or of a property of it."""
        if path in self.columns:
            self.used.add(path)
        named = self.columns.get(path, path)
        column = under(named, of) if of else named
        if row.setdefault(column, kind) != kind:
            raise SchemaUnsupported(f"{path}: column {column} is of another type")
        return column

    def _check(self, column: str) -> int:
        """Registers a checked column; returns the answer of the step where the column's value does not fit."""
        self.checked.append(column)
        return -len(self.checked)

    def _scalar(self, node: Scalar, path: str, row: dict[str, str]) -> Step:
        if node.kind in TEXTS:
            begin, end = (self._column(path, edge, "<i8", row) for edge in ("begin", "end"))
            return text_step(node, begin, end, self._check(begin))
        column = self._column(path, "", "?" if node.kind is Kind.BOOLEAN else "<i8", row)
        if node.kind is Kind.ENUM:
            self.symbols[column] = node.symbols
        return number_step(node, column, self._check(column) if node.kind in (Kind.INT, Kind.ENUM) else 0)

    def _items(self, node: Items, path: str, row: dict[str, str]) -> list[Step]:
        if path in self.lengths:
            return self._unrolled(node, path, row)
        if row is not self.row:
            raise SchemaUnsupported(f"{path}: an array within an array is not compiled")
        begin, end = (self._column(path, edge, "<i8", row) for edge in ("begin", "end"))
        number, of_item = len(self.items), self.items.setdefault(path, {})
        key = [self._scalar(Scalar(Kind.STRING), "key", of_item)] if node.keyed else []
        item = in_turn([*key, *self.steps(node.item, path, of_item)])
        return [items_step(begin, end, number, item, self._check(begin))]

    def _unrolled(self, node: Items, path: str, row: dict[str, str]) -> list[Step]:
        self.used.add(path)
        count = self.lengths[path]
        if node.keyed:
            raise SchemaUnsupported(f"{path}: only an array always has so many items")
        steps = [step for number in range(count) for step in self.steps(node.item, under(path, str(number)), row)]
        return [*([constant_step(varint(count))] if count else []), *steps, constant_step(varint(0))]
