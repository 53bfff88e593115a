"""Hash tables keyed by reference numbers (of orders, of matches), as arrays of rows with ``ref`` and ``held``.

A row with ``held`` = 0 is free. Open addressing with linear probing; deletion shifts the rest of a run back, so there
are no tombstones; growth enters every row into a larger array. The length is a power of two.
"""

from typing import Any, Final

import numpy as np

from common.books.kernels import kernel
from common.books.layout import Array
from common.kernels import index, part

_SPREAD: Final = np.uint64(0x9E3779B97F4A7C15)
"""2^64 / golden ratio: multiplying by it spreads neighbouring numbers over the table (Knuth, TAOCP 6.4)."""
_RUN_BITS: Final = np.uint64(3)
_RUN_MASK: Final = np.uint64(7)


@part
def home(table: Array, ref: Any) -> Any:
    """First slot of the search for a reference. Eight neighbouring references share one run of slots, so that young
    orders share cache lines; the runs are spread.
    """
    run = (ref >> _RUN_BITS) * _SPREAD
    run ^= run >> np.uint64(32)
    return np.int64(((run << _RUN_BITS) | (ref & _RUN_MASK)) & np.uint64(len(table) - 1))


@part
def slot_of(table: Array, ref: Any) -> Any:
    """The slot that holds ``ref``, or the free slot where it would go."""
    mask = len(table) - 1
    slot = home(table, ref)
    while table[index(slot)].held != 0 and table[index(slot)].ref != ref:
        slot = (slot + 1) & mask
    return slot


@kernel
def held_by(table: Array, ref: Any) -> Any:
    """The value that the table holds under ``ref``; 0: nothing."""
    return table[slot_of(table, ref)].held


@part
def vacate(table: Array, slot: int) -> None:
    """Frees a slot and moves later entries of the run back, so that no probe ever meets a hole or a tombstone."""
    mask = len(table) - 1
    hole = slot
    probe = slot
    while True:
        probe = (probe + 1) & mask
        if table[index(probe)].held == 0:
            break
        if ((probe - home(table, table[index(probe)].ref)) & mask) >= ((probe - hole) & mask):
            table[index(hole)] = table[index(probe)]
            hole = probe
    table[index(hole)].held = 0


@kernel
def rehash(source: Array, target: Array) -> None:
    """Enters all rows of ``source`` into the empty, larger table ``target``."""
    for i in range(len(source)):
        if source[i].held != 0:
            target[slot_of(target, source[i].ref)] = source[i]
