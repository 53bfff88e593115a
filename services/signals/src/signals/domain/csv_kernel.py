"""Rows of integers as CSV text. Python formats a million rows a second at best; the books change faster than that."""

from typing import Final

import numpy as np

from signals.domain.layout import Array
from signals.kernels import kernel, part

INTEGER_CHARS: Final = 20
"""Characters of the longest int64, with its sign."""
_ZERO: Final = ord("0")
_MINUS: Final = ord("-")
_COMMA: Final = ord(",")
_NEWLINE: Final = ord("\n")


@part
def _write_integer(text: Array, at: int, value: int) -> int:
    if value < 0:
        text[at] = _MINUS
        at += 1
        value = -value
    digits = 1
    bound = 10
    while digits < INTEGER_CHARS - 1 and value >= bound:
        digits += 1
        bound *= 10
    for place in range(at + digits - 1, at - 1, -1):
        rest = value // 10
        text[place] = _ZERO + (value - 10 * rest)
        value = rest
    return at + digits


@kernel
def write_rows(numbers: Array, symbol_column: int, symbols: Array, text: Array) -> int:
    """Writes ``numbers[row, column]`` as lines; an id in ``symbol_column`` as its row of ``symbols`` up to the first
    zero byte. Returns how many bytes of ``text`` it took.
    """
    at = 0
    for row in range(numbers.shape[0]):
        for column in range(numbers.shape[1]):
            if column == symbol_column:
                for k in range(symbols.shape[1]):
                    byte = symbols[numbers[row, column], k]
                    if byte == 0:
                        break
                    text[at] = byte
                    at += 1
            else:
                at = _write_integer(text, at, np.int64(numbers[row, column]))
            text[at] = _COMMA
            at += 1
        text[at - 1] = _NEWLINE
    return at


def csv_lines(numbers: Array, symbol_column: int, symbols: Array) -> bytes:
    """The lines of an int64 matrix; ids in ``symbol_column`` are written as ``symbols`` (dtype S16) names them."""
    width = numbers.shape[1] * (INTEGER_CHARS + 1)
    text = np.empty(max(1, len(numbers) * width), np.uint8)
    names = symbols.view(np.uint8).reshape(len(symbols), -1)
    return text[: write_rows(numbers, symbol_column, names, text)].tobytes()
