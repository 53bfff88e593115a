"""Pieces of text in byte arrays: what the gate's kernels read and write them with."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from common.contracts.values import INT64_MAX

from risk.kernels import part

Array = npt.NDArray[Any]
NOT_THERE: Final = -1
"""Position that a reader returns where it did not find what it reads."""
INTEGER_CHARS: Final = 20
"""Characters of the longest int64, with its sign."""
_DIGITS_MAX: Final = 19
_ZERO: Final = ord("0")
_NINE: Final = ord("9")
_MINUS: Final = ord("-")
_INT64_MAX: Final = np.uint64(INT64_MAX)


def piece(text: str) -> Array:
    """Text that stands in every message."""
    return np.frombuffer(text.encode(), np.uint8)


def characters(allowed: str) -> Array:
    """Which bytes a word may consist of, as flags by byte."""
    table = np.zeros(256, np.bool_)
    table[[ord(character) for character in allowed]] = True
    return table


# --- reading ------------------------------------------------------------------------------------------------------


@part
def read_piece(text, at, end, wanted):
    """The position after ``wanted``."""
    if at < 0 or end - at < wanted.size:
        return NOT_THERE
    for k in range(wanted.size):
        if text[at + k] != wanted[k]:
            return NOT_THERE
    return at + wanted.size


@part
def read_word(text, at, end, allowed, length_max):
    """The position after a word of one to ``length_max`` allowed characters."""
    if at < 0:
        return NOT_THERE
    after = at
    while after < end and allowed[text[after]]:
        after += 1
    return after if 0 < after - at <= length_max else NOT_THERE


@part
def read_integer(text, at, end):
    """An integer as JSON has it, within ± INT64_MAX: its value, and the position after it."""
    if at < 0:
        return np.int64(0), NOT_THERE
    negative = at < end and text[at] == _MINUS
    if negative:
        at += 1
    value = np.uint64(0)
    after = at
    while after < end and after - at <= _DIGITS_MAX and _ZERO <= text[after] <= _NINE:
        value = np.uint64(10) * value + np.uint64(text[after] - _ZERO)
        after += 1
    digits = after - at
    if digits == 0 or digits > _DIGITS_MAX or value > _INT64_MAX or (text[at] == _ZERO and (digits > 1 or negative)):
        return np.int64(0), NOT_THERE
    return (-np.int64(value) if negative else np.int64(value)), after


# --- writing ------------------------------------------------------------------------------------------------------


@part
def write_integer(text, at, value):
    """Decimal digits. Returns the position after them."""
    if value < 0:
        text[at] = _MINUS
        at += 1
        value = -value
    digits = 1
    bound = np.int64(10)
    while digits < _DIGITS_MAX and value >= bound:
        digits += 1
        bound *= 10
    for place in range(at + digits - 1, at - 1, -1):
        rest = value // 10
        text[place] = _ZERO + (value - 10 * rest)
        value = rest
    return at + digits


@part
def write_packed(text, at, value):
    """A natural number as MessagePack has it, in as few bytes as it takes. Returns the position after it."""
    if value < 0x80:
        text[at] = value
        return at + 1
    width = 1 if value <= 0xFF else 2 if value <= 0xFFFF else 4 if value <= 0xFFFF_FFFF else 8
    text[at] = 0xCC if width == 1 else 0xCD if width == 2 else 0xCE if width == 4 else 0xCF
    for k in range(width):
        text[at + 1 + k] = (value >> np.int64(8 * (width - 1 - k))) & 0xFF
    return at + 1 + width
