"""The kernel of the patterns: order actions in, matches out. It is driven by the tables of a pattern's state.

A key is followed from an action on that fits a first step, in a slot of its own, until its pattern has matched, or
nothing that it has done can be completed any more.
"""

from typing import Any, Final

import numpy as np
from common.books.ref_table import slot_of, vacate
from common.order_patterns import PatternKey

from signals.domain.layout import Array, Row
from signals.domain.pattern_state import DEAD_NS, FREE, KEYS, MATCHES, PatternState
from signals.kernels import kernel, part

DONE: Final = 0
"""All actions are taken."""
SLOTS_FULL: Final = 1
"""The action at the returned place, which is not taken yet, needs a slot, and more than half of them are needed."""
MATCHES_FULL: Final = 2
"""Likewise the buffer of matches may not hold what it brings."""
_BY_INSTRUMENT: Final = KEYS[PatternKey.INSTRUMENT]
_BY_ORDER: Final = KEYS[PatternKey.ORDER]
_BY_SIDE: Final = KEYS[PatternKey.SIDE]
_UNSIDED: Final = 2
"""Column of the bits of what has no side; 0 and 1 are those of a buyer and of a seller."""


@part
def _turn(pattern: PatternState, slot: int, leg: int, incoming_ns: int, clock_ns: int) -> Any:
    """One more action of a repeated leg. Returns when the pattern began, if that completes the leg; else DEAD_NS."""
    row = pattern.legs[leg]
    oldest_ns = clock_ns - pattern.ruling[0].within_ns
    size = row.times - 1
    head = pattern.heads[slot, leg]
    newest = pattern.cells[slot, row.ring + (head + size - 1) % size]
    oldest = pattern.cells[slot, row.ring + head]
    complete_ns = oldest.start_ns
    if row.within_ns and oldest.begin_ns < clock_ns - row.within_ns:
        complete_ns = DEAD_NS
    if incoming_ns >= oldest_ns:
        oldest.start_ns = incoming_ns
        oldest.begin_ns = clock_ns
    else:
        start_ns, begin_ns = newest.start_ns, newest.begin_ns
        oldest.start_ns = start_ns
        oldest.begin_ns = begin_ns
    pattern.heads[slot, leg] = (head + 1) % size
    return complete_ns


@part
def _forget_repeats(pattern: PatternState, slot: int, leg: int) -> None:
    row = pattern.legs[leg]
    for cell in range(row.ring, row.ring + row.times - 1):
        pattern.cells[slot, cell].start_ns = DEAD_NS


@part
def _take(pattern: PatternState, slot: int, bits: int, clock_ns: int) -> Any:
    """An action of the key of a slot. Returns the line that it completes, or -1.

    Legs are gone through from the last one on, so that an action is taken as one of them only.
    """
    oldest_ns = clock_ns - pattern.ruling[0].within_ns
    done, complete = pattern.done, -1
    for line in range(len(pattern.lines)):
        first, after = pattern.lines[line, 0], pattern.lines[line, 1]
        for leg in range(after - 1, first - 1, -1):
            row = pattern.legs[leg]
            if bits & row.fits:
                taken_ns = clock_ns if leg == first else done[slot, leg - 1]
                if row.times > 1:
                    taken_ns = _turn(pattern, slot, leg, taken_ns, clock_ns)
                if taken_ns >= oldest_ns:
                    done[slot, leg] = taken_ns
                    if leg == after - 1 and complete < 0:
                        complete = line
            elif bits & row.without:
                _forget_repeats(pattern, slot, leg)
            if leg > first and bits & row.absent:
                done[slot, leg - 1] = DEAD_NS
    return complete


@part
def _hold(pattern: PatternState, key: Any, place: int, instrument: int) -> Any:
    """Gives a key a slot; there is one. ``place``: where it goes in the table. Returns the slot."""
    pattern.counters[FREE] -= 1
    slot = pattern.free[pattern.counters[FREE]]
    pattern.table[place].ref = key
    pattern.table[place].held = slot + 1
    holder = pattern.holders[slot]
    holder.key = key
    holder.instrument_id = instrument
    holder.is_held = 1
    holder.price_e4 = holder.qty = 0
    for leg in range(len(pattern.legs)):
        pattern.done[slot, leg] = DEAD_NS
        pattern.heads[slot, leg] = 0
        _forget_repeats(pattern, slot, leg)
    return slot


@part
def _release(pattern: PatternState, slot: int) -> None:
    holder = pattern.holders[slot]
    vacate(pattern.table, slot_of(pattern.table, holder.key))
    holder.is_held = 0
    pattern.free[pattern.counters[FREE]] = slot
    pattern.counters[FREE] += 1


@part
def _is_over(pattern: PatternState, slot: int, clock_ns: int) -> Any:
    """Whether nothing that the key of a slot has done can be completed any more."""
    return pattern.holders[slot].touched_ns + pattern.ruling[0].within_ns < clock_ns


@part
def _sweep(pattern: PatternState, clock_ns: int) -> None:
    """Releases every key of which nothing can be completed any more."""
    for slot in range(len(pattern.holders)):
        if pattern.holders[slot].is_held and _is_over(pattern, slot, clock_ns):
            _release(pattern, slot)


@part
def _touch(pattern: PatternState, slot: int, action: Row, at: int, bits: int) -> None:
    """The key of a slot sees an action; where that completes the pattern, it is a match."""
    holder = pattern.holders[slot]
    holder.touched_ns = action.clock_ns
    if action.price_e4:
        holder.price_e4 = action.price_e4
        holder.qty = action.qty
    line = _take(pattern, slot, bits, action.clock_ns)
    if line < 0:
        return
    match = pattern.matches[pattern.counters[MATCHES]]
    pattern.counters[MATCHES] += 1
    match.clock_ns = action.clock_ns
    match.start_ns = pattern.done[slot, pattern.lines[line, 1] - 1]
    match.price_e4 = holder.price_e4
    match.qty = holder.qty
    match.instrument_id = holder.instrument_id
    match.actions = pattern.lines[line, 2]
    match.at = at
    match.kind = pattern.ruling[0].kind
    _release(pattern, slot)


@part
def _key(ruling: Row, action: Row, column: int) -> Any:
    if ruling.key == _BY_SIDE:
        return np.uint64(2 * action.instrument_id + column)
    if ruling.key == _BY_INSTRUMENT:
        return np.uint64(action.instrument_id)
    return np.uint64(action.order_ref)


@part
def _see(pattern: PatternState, action: Row, at: int, column: int, bits: int) -> bool:
    """An action of an instrument, by one side. False: there is no slot for it, and nothing is done."""
    ruling = pattern.ruling[0]
    if bits & ruling.any == 0 or (ruling.key == _BY_ORDER and action.order_ref == 0):
        return True  # a trade against no order of the book is no order's
    key = _key(ruling, action, column)
    place = slot_of(pattern.table, key)
    slot = pattern.table[place].held - 1
    if slot >= 0 and _is_over(pattern, slot, action.clock_ns):
        _release(pattern, slot)
        place, slot = slot_of(pattern.table, key), -1
    if slot < 0:
        if bits & ruling.first == 0:
            return True
        if pattern.counters[FREE] == 0:
            _sweep(pattern, action.clock_ns)
            if 2 * pattern.counters[FREE] < len(pattern.holders):
                return False
            place = slot_of(pattern.table, key)
        slot = _hold(pattern, key, place, action.instrument_id)
    _touch(pattern, slot, action, at, bits)
    return True


@part
def _see_everywhere(pattern: PatternState, action: Row, at: int, bits: Array) -> None:
    """An action of the whole market, for every key that is followed."""
    ruling = pattern.ruling[0]
    for slot in range(len(pattern.holders)):
        holder = pattern.holders[slot]
        if holder.is_held and not _is_over(pattern, slot, action.clock_ns):
            column = np.int64(holder.key) & 1 if ruling.key == _BY_SIDE else _UNSIDED
            if bits[at, column] & ruling.any:
                _touch(pattern, slot, action, at, bits[at, column])


@kernel
def follow(actions: Array, bits: Array, at: int, column: int, pattern: PatternState) -> tuple[int, int, int]:
    """Takes ACTION rows from ``at`` on; of the first one, of a pattern by side, from the side ``column`` on.

    ``bits[action, column]``: which conditions it fits, by a buyer's side, a seller's, and none. Returns where to go on
    (action, column), and DONE, SLOTS_FULL or MATCHES_FULL.
    """
    is_sided = pattern.ruling[0].key == _BY_SIDE
    first, after = (0, 2) if is_sided else (_UNSIDED, _UNSIDED + 1)
    for i in range(at, len(actions)):
        action = actions[i]
        most = len(pattern.holders) if action.instrument_id < 0 else 2
        if len(pattern.matches) - pattern.counters[MATCHES] < most:
            return i, max(column, first), MATCHES_FULL
        if action.instrument_id < 0:
            _see_everywhere(pattern, action, i, bits)
            continue
        for side in range(max(column, first), after):
            if not _see(pattern, action, i, side, bits[i, side]):
                return i, side, SLOTS_FULL
        column = first
    return len(actions), first, DONE


@kernel
def enter_keys(pattern: PatternState) -> None:
    """Enters every key that has a slot into the table, which is empty."""
    for slot in range(len(pattern.holders)):
        holder = pattern.holders[slot]
        if holder.is_held:
            place = slot_of(pattern.table, holder.key)
            pattern.table[place].ref = holder.key
            pattern.table[place].held = slot + 1
