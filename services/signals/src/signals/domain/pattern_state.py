"""The state of a pattern as its kernel shares it: how far each key has come.

Of a way to take the steps, it is enough to know for each step the latest time at which the first step may have begun,
if this one has been taken last: whatever an earlier beginning may still become, a later one may, too, and it is within
the time for longer. So a key has a number for each step, and a pair for each time that a step is repeated, however many
actions there are.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from common.order_patterns import Condition, Pattern, PatternKey

from signals.domain.layout import Array

DEAD_NS: Final = -(1 << 62)
"""Beginning of what cannot be completed any more."""
KEYS: Final = {PatternKey.INSTRUMENT: 0, PatternKey.SIDE: 1, PatternKey.ORDER: 2}
"""Codes of keys."""

FREE: Final = 0
"""Places in the counters of a pattern: slots that are free."""
MATCHES: Final = 1
"""Rows of the buffer in use."""
COUNTERS: Final = 2

LEG: Final = np.dtype(
    [
        ("fits", "<i8"),  # bit of the condition
        ("absent", "<i8"),  # bits of what may not come between the leg before and the first action of this one
        ("without", "<i8"),  # bits of what may not come between its first action and its last
        ("times", "<i8"),
        ("within_ns", "<i8"),  # 0: no limit of its own
        ("ring", "<i8"),  # its first cell
    ]
)
"""A step of one way to take the steps of a pattern."""

RULING: Final = np.dtype([("within_ns", "<i8"), ("key", "<i8"), ("first", "<i8"), ("any", "<i8"), ("kind", "<i8")])
"""``first``: bits by which a key begins to be followed; ``any``: all bits that matter; ``kind``: of its alerts."""

HOLDER: Final = np.dtype(
    [
        ("key", "<u8"),
        ("touched_ns", "<i8"),  # when the newest action that matters came
        ("price_e4", "<i8"),  # of the newest such action that has one
        ("qty", "<i8"),
        ("instrument_id", "<i4"),
        ("is_held", "<i4"),
    ]
)
"""The key that has a slot."""

CELL: Final = np.dtype([("start_ns", "<i8"), ("begin_ns", "<i8")])
"""A repetition that goes on: when the first step of the pattern began, and when this one did."""

KEPT: Final = np.dtype([("ref", "<u8"), ("held", "<i8")])
"""Key → its slot, counted from 1."""

MATCHED: Final = np.dtype(
    [
        ("clock_ns", "<i8"),
        ("start_ns", "<i8"),  # when its first action came
        ("price_e4", "<i8"),
        ("qty", "<i8"),
        ("instrument_id", "<i4"),
        ("actions", "<i4"),  # that it takes at least
        ("at", "<i4"),  # index of the action by which it is complete
        ("kind", "<i4"),  # of its alert
    ]
)
"""A pattern has matched."""


class PatternState(NamedTuple):
    """A pattern of a partition."""

    ruling: Array
    """One RULING row."""
    lines: Array
    """First leg of each line, the leg after its last, and the actions that it takes at least."""
    legs: Array
    """LEG rows, line after line."""
    table: Array
    """Hash table of KEPT rows."""
    holders: Array
    """HOLDER rows by slot."""
    done: Array
    """Latest beginning ``[slot, leg]`` of what has taken the leg last."""
    cells: Array
    """CELL rows ``[slot, cell]``: of each leg a ring of one less than it is repeated."""
    heads: Array
    """Place ``[slot, leg]`` of the oldest cell in the ring."""
    free: Array
    """Slots that are free, the next to be taken last."""
    counters: Array
    matches: Array
    """MATCHED rows."""


def pattern_state(pattern: Pattern, bits: Mapping[Condition, int], kind: int, slots: int) -> PatternState:
    """A pattern of which nothing is followed yet. ``bits``: what stands for each condition. ``slots``: a power of 2."""
    legs = [leg for line in pattern.lines for leg in line]
    rows, cells = np.zeros(len(legs), LEG), 0
    for row, leg in zip(rows, legs, strict=True):
        without = leg.step.without
        row["fits"], row["absent"] = bits[leg.step.fits], _union(bits, leg.absent)
        row["without"] = bits[without] if without is not None else 0
        row["times"], row["within_ns"], row["ring"] = leg.step.times, leg.step.within_ns, cells
        cells += leg.step.times - 1
    ends = np.cumsum([len(line) for line in pattern.lines])
    actions = [sum(leg.step.times for leg in line) for line in pattern.lines]
    ruling = np.zeros(1, RULING)
    ruling["within_ns"], ruling["key"], ruling["kind"] = pattern.within_ns, KEYS[pattern.key], kind
    ruling["first"] = _union(bits, [line[0].step.fits for line in pattern.lines])
    ruling["any"] = _union(bits, pattern.conditions)
    lines = [(end - len(line), end, least) for line, end, least in zip(pattern.lines, ends, actions, strict=True)]
    empty = PatternState(
        ruling=ruling,
        lines=np.array(lines, np.int64),
        legs=rows,
        table=np.zeros(0, KEPT),
        holders=np.zeros(0, HOLDER),
        done=np.zeros((0, len(legs)), np.int64),
        cells=np.zeros((0, cells), CELL),
        heads=np.zeros((0, len(legs)), np.int64),
        free=np.zeros(0, np.int64),
        counters=np.zeros(COUNTERS, np.int64),
        matches=np.zeros(0, MATCHED),
    )
    return with_slots(empty, slots)


def _union(bits: Mapping[Condition, int], conditions: Sequence[Condition]) -> int:
    union = 0
    for condition in conditions:
        union |= bits[condition]
    return union


def with_slots(state: PatternState, slots: int) -> PatternState:
    """The same with more slots, a power of 2, and an empty hash table. Who has a slot keeps it."""
    known = len(state.holders)
    grown = {name: _extended(getattr(state, name), slots) for name in ("holders", "done", "cells", "heads")}
    free = np.zeros(slots, np.int64)
    before = int(state.counters[FREE])
    added = slots - known
    free[:added] = np.arange(slots - 1, known - 1, -1)
    free[added : added + before] = state.free[:before]
    counters = state.counters.copy()
    counters[FREE] = before + added
    return state._replace(**grown, free=free, counters=counters, table=np.zeros(2 * slots, KEPT))


def _extended(array: Array, length: int) -> Array:
    grown = np.zeros((length, *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown
