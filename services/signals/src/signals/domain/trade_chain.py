"""Parts of the kernels of bars: an instrument's trades in the order of time, and what restated bars remember."""

from typing import Any, Final

from common.books.ref_table import slot_of

from signals.domain import count
from signals.domain.alignment import window_start
from signals.domain.bar_state import NONE, BarState
from signals.domain.layout import Row
from signals.kernels import outlined, part

_SPREAD_TIME: Final = 0x9E3779B1
_SPREAD_INSTRUMENT: Final = 0x85EBCA77
"""Odd numbers that spread windows and instruments over the table of restated bars."""


@part
def memory_of(bars: BarState, w: int, instrument: int, start: int) -> Any:
    """Place in which a restated bar is remembered, if it is."""
    number = start // bars.windows[w] * len(bars.windows) + w
    return (number * _SPREAD_TIME + instrument * _SPREAD_INSTRUMENT) & (len(bars.restated) - 1)


@part
def place_of(bars: BarState, w: int, instrument: int) -> Any:
    return instrument * len(bars.windows) + w + 1


@part
def is_remembered(bars: BarState, slot: int, w: int, instrument: int, start: int) -> Any:
    memory = bars.restated[slot]
    return memory.place == place_of(bars, w, instrument) and memory.start_ns == start


@part
def remember(bars: BarState, slot: int, place: int, start: int, newest: int, trades: int, revision: int) -> None:
    memory = bars.restated[slot]
    memory.place, memory.start_ns, memory.newest = place, start, newest
    memory.trades, memory.revision = trades, revision
    bars.restated_tallies[slot] = bars.scratch[0]


@part
def _near(trade: Row, bars: BarState) -> Any:
    """A trade of the same instrument that is close in event time, to look for the place of a late one from there."""
    for w in range(len(bars.windows)):
        start = window_start(trade.event_ns, bars.windows[w], bars.counters[count.ANCHOR_NS])
        slot = memory_of(bars, w, trade.instrument_id, start)
        if is_remembered(bars, slot, w, trade.instrument_id, start) and bars.restated[slot].newest != NONE:
            return bars.restated[slot].newest
    return bars.fingers[trade.instrument_id]


@outlined
def _neighbours(number: int, trade: Row, bars: BarState) -> tuple[int, int]:
    """Between which two trades a late one belongs: (newer, older)."""
    log, first = bars.log, bars.counters[count.TRADES_FIRST]
    mask = len(log) - 1
    newer, older = NONE, bars.heads[trade.instrument_id]
    near = _near(trade, bars)
    bars.fingers[trade.instrument_id] = number
    if near >= first:
        if log[near & mask].event_ns > trade.event_ns:
            older = near
        else:
            newer = log[near & mask].newer
            while newer >= first and log[newer & mask].event_ns <= trade.event_ns:
                near = newer
                newer = log[near & mask].newer
            if newer >= first:
                return newer, near
    while older >= first and log[older & mask].event_ns > trade.event_ns:
        newer = older
        older = log[older & mask].older
    return newer, older


@part
def chain(number: int, trade: Row, bars: BarState) -> None:
    """Puts a trade at its place in event time; it is the newest but for late ones."""
    log, heads, first = bars.log, bars.heads, bars.counters[count.TRADES_FIRST]
    mask = len(log) - 1
    newer, older = NONE, heads[trade.instrument_id]
    if older >= first and log[older & mask].event_ns > trade.event_ns:
        newer, older = _neighbours(number, trade, bars)
    trade.newer, trade.older = newer, older
    if older >= first:
        log[older & mask].newer = number
    if newer == NONE:
        heads[trade.instrument_id] = number
    else:
        log[newer & mask].older = number


@part
def is_in_log(event: Row, bars: BarState) -> Any:
    """Whether the newest trade of the same match number is the same to the last number."""
    entry = bars.matches[slot_of(bars.matches, event.match)]
    if event.match == 0 or entry.held == 0:
        return False
    bars.counters[count.DUPLICATE_MATCH] += 1
    trade = bars.log[(entry.held - 1) & (len(bars.log) - 1)]
    return (
        trade.instrument_id == event.instrument_id
        and trade.event_ns == event.event_ns
        and trade.price_e4 == event.price_e4
        and trade.qty == event.qty
    )
