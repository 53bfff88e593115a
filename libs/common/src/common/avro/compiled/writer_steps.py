"""Steps that a writer is composed of: one for each value, compiled into one function."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple

import numpy as np

from common.avro.compiled.pieces import INT_MAX, INT_MIN, LONG_BYTES_MAX, is_utf8, joined, varint, write_long
from common.avro.compiled.schema_tree import Kind, Scalar
from common.kernels import index, inlined, write_piece

FITS: Final = 0


class Step(NamedTuple):
    write: Any
    """``write(out, at, row, text, items)`` → the position after it."""
    extra: Any
    """``extra(row, text, items)`` → bytes that it takes beyond ``bytes_max``, at most; a negative number where a value
    does not fit. None: it always takes no more, and fits."""
    bytes_max: int
    constant: bytes | None = None
    """The bytes it writes, if they are always the same."""


def in_turn(steps: Sequence[Step]) -> Step:
    """One after the other; what is constant in one piece."""
    whole: list[Step] = []
    for constant, group in groupby(steps, lambda step: step.constant is not None):
        each = list(group)
        whole += [constant_step(b"".join(step.constant or b"" for step in each))] if constant else each
    if not whole:
        return constant_step(b"")
    if len(whole) == 1:
        return whole[0]
    extras = [step.extra for step in whole if step.extra is not None]
    return Step(
        joined([step.write for step in whole], _both_written),
        joined(extras, _both_extra),
        sum(step.bytes_max for step in whole),
    )


def _both_written(first: Any, second: Any) -> Any:
    def write(out: Any, at: Any, row: Any, text: Any, items: Any) -> Any:
        return second(out, first(out, at, row, text, items), row, text, items)

    return inlined(write)


def _both_extra(first: Any, second: Any) -> Any:
    def extra(row: Any, text: Any, items: Any) -> Any:
        one = first(row, text, items)
        if one < 0:
            return one
        other = second(row, text, items)
        return other if other < 0 else one + other

    return inlined(extra)


def constant_step(value: bytes) -> Step:
    if len(value) == 1:
        (byte,) = value

        def write_byte(out: Any, at: Any, row: Any, text: Any, items: Any) -> Any:
            out[index(at)] = byte
            return at + 1

        return Step(inlined(write_byte), None, 1, value)
    piece, size = np.frombuffer(value, np.uint8), len(value)

    def write(out: Any, at: Any, row: Any, text: Any, items: Any) -> Any:
        return write_piece(out, at, piece, 0, size)

    return Step(inlined(write), None, size, value)


def number_step(node: Scalar, column: str, unfit: int) -> Step:
    if node.kind is Kind.BOOLEAN:

        def write_boolean(out: Any, at: Any, row: Any, text: Any, items: Any) -> Any:
            out[index(at)] = 1 if row[column] else 0
            return at + 1

        return Step(inlined(write_boolean), None, 1)

    def write(out: Any, at: Any, row: Any, text: Any, items: Any) -> Any:
        return write_long(out, at, row[column])

    if node.kind is Kind.LONG:
        return Step(inlined(write), None, LONG_BYTES_MAX)
    lowest, highest = (INT_MIN, INT_MAX) if node.kind is Kind.INT else (0, len(node.symbols) - 1)

    def extra(row: Any, text: Any, items: Any) -> Any:
        return np.int64(FITS if lowest <= row[column] <= highest else unfit)

    return Step(inlined(write), inlined(extra), LONG_BYTES_MAX)


def text_step(node: Scalar, begin_column: str, end_column: str, unfit: int) -> Step:
    fixed = node.size if node.kind is Kind.FIXED else -1
    checked = node.kind is Kind.STRING

    def extra(row: Any, text: Any, items: Any) -> Any:
        begin, end = row[begin_column], row[end_column]
        if begin < 0 or end < begin or end > text.size or (fixed >= 0 and end - begin != fixed):
            return np.int64(unfit)
        if checked and not is_utf8(text, begin, end):
            return np.int64(unfit)
        return end - begin

    def write_fixed(out: Any, at: Any, row: Any, text: Any, items: Any) -> Any:
        return write_piece(out, at, text, row[begin_column], row[end_column])

    def write(out: Any, at: Any, row: Any, text: Any, items: Any) -> Any:
        begin, end = row[begin_column], row[end_column]
        return write_piece(out, write_long(out, at, end - begin), text, begin, end)

    if fixed >= 0:
        return Step(inlined(write_fixed), inlined(extra), 0)
    return Step(inlined(write), inlined(extra), LONG_BYTES_MAX)


def nullable_step(given_column: str, inner: Step, null_at: int) -> Step:
    null, given = varint(null_at)[0], varint(1 - null_at)[0]
    write_given, extra_given = inner.write, inner.extra

    def write(out: Any, at: Any, row: Any, text: Any, items: Any) -> Any:
        if not row[given_column]:
            out[index(at)] = null
            return at + 1
        out[index(at)] = given
        return write_given(out, at + 1, row, text, items)

    def extra(row: Any, text: Any, items: Any) -> Any:
        return extra_given(row, text, items) if row[given_column] else np.int64(FITS)

    return Step(inlined(write), inlined(extra) if extra_given is not None else None, 1 + inner.bytes_max)


def items_step(begin_column: str, end_column: str, number: int, item: Step, unfit: int) -> Step:
    """In one block, as the general codec writes them."""
    write_item, item_bytes_max = item.write, item.bytes_max
    extra_item = item.extra if item.extra is not None else _nothing_extra

    def write(out: Any, at: Any, row: Any, text: Any, items: Any) -> Any:
        begin, end = row[begin_column], row[end_column]
        if end > begin:
            at = write_long(out, at, end - begin)
            for k in range(begin, end):
                at = write_item(out, at, items[number][k], text, items)
        out[index(at)] = 0
        return at + 1

    def extra(row: Any, text: Any, items: Any) -> Any:
        begin, end = row[begin_column], row[end_column]
        if begin < 0 or end < begin or end > items[number].size:
            return np.int64(unfit)
        size = np.int64(0)
        for k in range(begin, end):
            more = extra_item(items[number][k], text, items)
            if more < 0:
                return more
            size += item_bytes_max + more
        return size

    return Step(inlined(write), inlined(extra), LONG_BYTES_MAX + 1)


@inlined
def _nothing_extra(row, text, items):
    return np.int64(FITS)
