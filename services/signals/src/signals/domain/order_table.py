"""Open orders in an open-addressing hash table: linear probing, deletion by shifting back, growth by rehashing."""

from typing import Final

import numpy as np

from signals.kernels import kernel, part

_SPREAD: Final = np.uint64(0x9E3779B97F4A7C15)
"""2^64 / golden ratio: multiplying by it spreads neighbouring numbers over the table (Knuth, TAOCP 6.4)."""
_RUN_BITS: Final = np.uint64(3)
_RUN_MASK: Final = np.uint64(7)


@part
def home(orders, ref):  # type: ignore[no-untyped-def]
    """Where the search for a reference begins. Eight neighbouring references share one run of slots, so that young
    orders share cache lines; the runs are spread.
    """
    run = (ref >> _RUN_BITS) * _SPREAD
    run ^= run >> np.uint64(32)
    return np.int64(((run << _RUN_BITS) | (ref & _RUN_MASK)) & np.uint64(len(orders) - 1))


@part
def slot_of(orders, ref):  # type: ignore[no-untyped-def]
    """The slot that holds ``ref``, or the free slot where it would go."""
    mask = len(orders) - 1
    slot = home(orders, ref)
    while orders[slot].qty != 0 and orders[slot].ref != ref:
        slot = (slot + 1) & mask
    return slot


@part
def vacate(orders, slot):  # type: ignore[no-untyped-def]
    """Frees a slot and moves later entries of the run back, so that no probe ever meets a hole or a tombstone."""
    mask = len(orders) - 1
    hole = slot
    probe = slot
    while True:
        probe = (probe + 1) & mask
        if orders[probe].qty == 0:
            break
        if ((probe - home(orders, orders[probe].ref)) & mask) >= ((probe - hole) & mask):
            orders[hole] = orders[probe]
            hole = probe
    orders[hole].qty = 0


@kernel
def rehash(source, target):  # type: ignore[no-untyped-def]
    """Enters all orders of ``source`` into the empty, larger table ``target``."""
    for i in range(len(source)):
        if source[i].qty != 0:
            target[slot_of(target, source[i].ref)] = source[i]
