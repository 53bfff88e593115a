"""Steps that a reader is composed of: functions that read a value and put it into the columns of a row."""

from typing import Any, NamedTuple

import numpy as np

from common.avro.compiled.pieces import (
    INT_MAX,
    INT_MIN,
    NOT_THERE,
    find_bytes,
    find_string,
    joined,
    read_boolean,
    read_long,
)
from common.avro.compiled.schema_tree import Kind, Scalar
from common.kernels import inlined


class Steps(NamedTuple):
    read: Any
    """``read(data, at, end, row)`` → the position after it."""
    blank: Any
    """``blank(row)``: what the columns say where it is not given. None: there are none."""


def after_branch(branch: int | None, read: Any) -> Any:
    if branch is None:
        return read

    def read_branch(data: Any, at: Any, end: Any, row: Any) -> Any:
        found, at = read_long(data, at, end)
        return read(data, at, end, row) if at >= 0 and found == branch else np.int64(NOT_THERE)

    return inlined(read_branch)


def decoder(node: Scalar) -> Any:
    """``decode(data, at, end)`` → the number, and the position after it."""
    match node.kind:
        case Kind.LONG:
            return read_long
        case Kind.BOOLEAN:
            return read_boolean
    lowest, highest = (INT_MIN, INT_MAX) if node.kind is Kind.INT else (0, len(node.symbols) - 1)

    def decode(data: Any, at: Any, end: Any) -> Any:
        value, at = read_long(data, at, end)
        return value, at if lowest <= value <= highest else np.int64(NOT_THERE)

    return inlined(decode)


def locator(node: Scalar) -> Any:
    """``locate(data, at, end)`` → where the text begins, and where it ends."""
    if node.kind is not Kind.FIXED:
        return find_string if node.kind is Kind.STRING else find_bytes
    size = node.size

    def locate(data: Any, at: Any, end: Any) -> Any:
        return at, at + size if end - at >= size else np.int64(NOT_THERE)

    return inlined(locate)


def number_reader(decode: Any, put: Any) -> Any:
    def read(data: Any, at: Any, end: Any, row: Any) -> Any:
        value, at = decode(data, at, end)
        put(row, value)
        return at

    def skip(data: Any, at: Any, end: Any, row: Any) -> Any:
        return decode(data, at, end)[1]

    return inlined(read if put else skip)


def text_reader(locate: Any, put: Any) -> Any:
    def read(data: Any, at: Any, end: Any, row: Any) -> Any:
        begin, at = locate(data, at, end)
        put(row, begin, at)
        return at

    def skip(data: Any, at: Any, end: Any, row: Any) -> Any:
        return locate(data, at, end)[1]

    return inlined(read if put else skip)


def nullable_steps(steps: Steps, null_at: int, put_given: Any) -> Steps:
    read_given = steps.read
    blank = joined([each for each in (put_given and put_value(put_given, 0), steps.blank) if each], both_blank)

    def read(data: Any, at: Any, end: Any, row: Any) -> Any:
        branch, at = read_long(data, at, end)
        if at < 0 or branch < 0 or branch > 1:
            return np.int64(NOT_THERE)
        if branch == null_at:
            blank(row)
            return at
        put_given(row, 1)
        return read_given(data, at, end, row)

    def skip(data: Any, at: Any, end: Any, row: Any) -> Any:
        branch, at = read_long(data, at, end)
        if at < 0 or branch < 0 or branch > 1:
            return np.int64(NOT_THERE)
        return at if branch == null_at else read_given(data, at, end, row)

    if not put_given:
        put_given = _put_nothing
    return Steps(inlined(read if blank else skip), blank)


def both_read(first: Any, second: Any) -> Any:
    def read(data: Any, at: Any, end: Any, row: Any) -> Any:
        at = first(data, at, end, row)
        return second(data, at, end, row) if at >= 0 else np.int64(NOT_THERE)

    return inlined(read)


def both_blank(first: Any, second: Any) -> Any:
    def blank(row: Any) -> None:
        first(row)
        second(row)

    return inlined(blank)


def both_put(first: Any, second: Any) -> Any:
    def put(row: Any, value: Any) -> None:
        first(row, value)
        second(row, value)

    return inlined(put)


def both_places(first: Any, second: Any) -> Any:
    def put(row: Any, begin: Any, end: Any) -> None:
        first(row, begin, end)
        second(row, begin, end)

    return inlined(put)


def put_of(column: str) -> Any:
    def put(row: Any, value: Any) -> None:
        row[column] = value

    return inlined(put)


def put_whether(column: str, ordinal: int) -> Any:
    def put(row: Any, value: Any) -> None:
        row[column] = value == ordinal

    return inlined(put)


def put_place(begin_column: str, end_column: str) -> Any:
    def put(row: Any, begin: Any, end: Any) -> None:
        row[begin_column] = begin
        row[end_column] = end

    return inlined(put)


def put_value(put: Any, value: int) -> Any:
    def blank(row: Any) -> None:
        put(row, value)

    return inlined(blank)


def put_no_place(put: Any) -> Any:
    def blank(row: Any) -> None:
        put(row, 0, 0)

    return inlined(blank)


@inlined
def _put_nothing(row, value):
    pass


@inlined
def read_nothing(data, at, end, row):
    return at
