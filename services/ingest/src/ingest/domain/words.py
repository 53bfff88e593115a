"""Words of eight bytes, as kernels read them from messages."""

from typing import Any, Final

import numpy as np

from ingest.domain.itch_spec import COL_AUX, COL_DETAIL, COL_FLAGS, COL_PRICE, COL_QTY, COL_REF, COL_SIDE
from ingest.kernels import inlined

_SPACE: Final = np.uint64(ord(" "))


@inlined
def load64(data: Any, at: Any) -> Any:
    """The big-endian 8-byte word at ``at`` (unsigned, so that numba drops its check for negative indices).

    LLVM makes one MOVBE of the eight loads.
    """
    return (
        np.uint64(data[at]) << np.uint64(56)
        | np.uint64(data[at + np.uint64(1)]) << np.uint64(48)
        | np.uint64(data[at + np.uint64(2)]) << np.uint64(40)
        | np.uint64(data[at + np.uint64(3)]) << np.uint64(32)
        | np.uint64(data[at + np.uint64(4)]) << np.uint64(24)
        | np.uint64(data[at + np.uint64(5)]) << np.uint64(16)
        | np.uint64(data[at + np.uint64(6)]) << np.uint64(8)
        | np.uint64(data[at + np.uint64(7)])
    )


@inlined
def byte_swapped(word: Any) -> Any:
    word = (word & np.uint64(0x00FF00FF00FF00FF)) << np.uint64(8) | (word >> np.uint64(8)) & np.uint64(
        0x00FF00FF00FF00FF
    )
    word = (word & np.uint64(0x0000FFFF0000FFFF)) << np.uint64(16) | (word >> np.uint64(16)) & np.uint64(
        0x0000FFFF0000FFFF
    )
    return word << np.uint64(32) | word >> np.uint64(32)


@inlined
def padded(symbol: Any) -> Any:
    """A symbol (first letter in the low byte) with spaces after its last letter, whether NUL or spaces stood there."""
    shift = np.uint64(56)
    for _ in range(8):
        letter = symbol >> shift & np.uint64(0xFF)
        if letter != np.uint64(0) and letter != _SPACE:
            break
        symbol = symbol & ~(np.uint64(0xFF) << shift) | _SPACE << shift
        shift -= np.uint64(8)
    return symbol


@inlined
def _field(data: Any, start: Any, table: Any, masks: Any, kind: Any, column: int) -> Any:
    """A field as the low bytes of the word that ends with it."""
    return load64(data, start + np.uint64(table[kind, column])) & masks[table[kind, column + 1]]


@inlined
def fields_of(data: Any, start: Any, fields: Any, masks: Any, kind: Any) -> Any:
    """(reference, price, quantity, auxiliary reference, side, detail, flags) of a message."""
    return (
        _field(data, start, fields, masks, kind, COL_REF),
        _field(data, start, fields, masks, kind, COL_PRICE),
        _field(data, start, fields, masks, kind, COL_QTY),
        _field(data, start, fields, masks, kind, COL_AUX),
        np.uint64(data[start + np.uint64(fields[kind, COL_SIDE])] & fields[kind, COL_SIDE + 1]),
        np.uint64(data[start + np.uint64(fields[kind, COL_DETAIL])] & fields[kind, COL_DETAIL + 1]),
        np.uint64(fields[kind, COL_FLAGS]),
    )
