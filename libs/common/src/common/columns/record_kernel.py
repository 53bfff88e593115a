"""Lays records out as a record batch has them (Kafka protocol, record batch format 2)."""

from pathlib import Path
from typing import Final

import numpy as np

from common.kernels import compiler, part, write_piece

kernel: Final = compiler(Path(__file__).parent)
VARINT_BYTES: Final = 5
"""Most bytes of a varint of 32 bits."""
RECORD_BYTES: Final = 2 + 4 * VARINT_BYTES
"""At most, without key, value and headers."""


@part
def _varint_bytes(value):
    """How many bytes a natural number takes."""
    size = 1
    rest = np.uint64(value) >> np.uint64(6)  # the lowest bit is for the sign
    while rest:
        rest >>= np.uint64(7)
        size += 1
    return size


@part
def _write_varint(text, at, value):
    """A natural number in zigzag code. Returns the position after it."""
    rest = np.uint64(value) << np.uint64(1)
    while rest >= np.uint64(0x80):
        text[at] = (rest & np.uint64(0x7F)) | np.uint64(0x80)
        rest >>= np.uint64(7)
        at += 1
    text[at] = rest
    return at + 1


@kernel
def write_records(
    text, first, last, keys, key_begins, key_ends, values, value_begins, value_ends, heads, head_begins, head_ends
):
    """Writes records from ``first`` to ``last`` while they fit. Returns the one that is next, and the position."""
    at = 0
    for i in range(first, last):
        key_size, value_size = key_ends[i] - key_begins[i], value_ends[i] - value_begins[i]
        size = (
            2 + _varint_bytes(i - first) + _varint_bytes(key_size) + key_size
            + _varint_bytes(value_size) + value_size + head_ends[i] - head_begins[i]
        )  # fmt: skip
        if at + _varint_bytes(size) + size > text.size:
            return i, at
        at = _write_varint(text, at, size)
        text[at] = 0  # attributes
        text[at + 1] = 0  # milliseconds after the first
        at = _write_varint(text, at + 2, i - first)
        at = _write_varint(text, at, key_size)
        at = write_piece(text, at, keys, key_begins[i], key_ends[i])
        at = _write_varint(text, at, value_size)
        at = write_piece(text, at, values, value_begins[i], value_ends[i])
        at = write_piece(text, at, heads, head_begins[i], head_ends[i])
    return last, at
