"""The kernel of the bars: books trades into tumbling windows, closes windows by the partition's clock, restates bars.

Of each window length exactly one window is open: the one that holds the clock. A trade is added once, to the shortest
window of each chain of lengths that divide each other; when a window ends, its tally is merged into that of the next
longer one (general stream slicing: Traub et al., EDBT 2019). So the tally of a longer window holds what happened before
the open window of its feeder began.

A trade whose window has ended, and a broken trade, restate a bar that was issued: it is folded anew from the log of
trades, in which the trades of one instrument are chained by event time. The log also tells the revision: every late
trade and every late break was one. What was folded is remembered for a while, so that many late trades of one window
(an afternoon before its morning) are added to it one by one, and are chained from where the last one went; it can be
forgotten at any time, and whoever folds anew comes to the same.
"""

from functools import lru_cache
from typing import Any, Final, NamedTuple

from signals.domain import count
from signals.domain.layout import Array, Row
from signals.domain.measure_set import Compiled, MeasureSet
from signals.domain.ohlcv import SUM_MAX
from signals.domain.ref_table import slot_of, vacate
from signals.kernels import kernel, kernel_of, outlined, part

NONE: Final = -1
_SPREAD_TIME: Final = 0x9E3779B1
_SPREAD_INSTRUMENT: Final = 0x85EBCA77
"""Odd numbers that spread windows and instruments over the table of restated bars."""
STOP_DONE: Final = 0
"""All prints are booked and the clock is where it should be."""
STOP_ISSUED: Final = 1
"""The buffer of issued bars may not hold what comes next."""
STOP_TRADES: Final = 2
"""The log of trades is full."""


class BarState(NamedTuple):
    """The bars of a partition. Windows are in rising order of their lengths."""

    windows: Array
    """Lengths, ns."""
    feeders: Array
    """Place of the window that a window is merged from; NONE: trades are added to the window itself."""
    starts: Array
    """Start of the open window of each length."""
    since_ns: Array
    """Windows that start before are not known as a whole, and are not issued when they end."""
    tallies: Array
    """Open tally ``[window, instrument]``; zeros where ``counts`` is."""
    counts: Array
    """Trades in it."""
    heads: Array
    """Number of each instrument's newest trade by event time."""
    log: Array
    """TRADE rows; a trade's place is the lower bits of its number."""
    matches: Array
    """MATCH rows: trades by match number."""
    counters: Array
    scratch: Array
    """Two tallies: one to work in, one of zeros."""
    issued: Array
    """Rows that were issued."""
    blank: Array
    """One row of zeros."""
    fingers: Array
    """Number of each instrument's last late trade."""
    restated: Array
    """RESTATED rows by a hash of window, instrument and start."""
    restated_tallies: Array
    """Their tallies."""


@part
def _covered_until(bars: BarState, w: int) -> Any:
    """Event time from which on trades of the open window are in the tally of its feeder, or are still to come."""
    feeder = bars.feeders[w]
    return bars.starts[w] + bars.windows[w] if feeder == NONE else bars.starts[feeder]


@part
def _write(rows: Array, at: int, bars: BarState, w: int, start: int, tally: Row, trades: int, measures: Any) -> Any:
    """A row of a bar: its numbers, or zeros where no trade is left. Returns the row."""
    rows[at] = bars.blank[0]
    row = rows[at]
    row.window_start_ns = start
    row.window_ns = bars.windows[w]
    if trades:
        measures.result(tally, row)
    return row


@part
def _issue(
    bars: BarState, w: int, instrument: int, start: int, tally: Row, trades: int, revision: int, measures: Any
) -> None:
    at = bars.counters[count.ISSUED]
    bars.counters[count.ISSUED] += 1
    bars.counters[count.BARS] += 1
    row = _write(bars.issued, at, bars, w, start, tally, trades, measures)
    row.instrument_id = instrument
    row.revision = revision
    bars.counters[count.SUM_AT_LIMIT] += row.notional_e4 == SUM_MAX or row.volume == SUM_MAX


@part
def _pour(bars: BarState, w: int, instrument: int, tally: Row, trades: int, measures: Any) -> None:
    """Merges the tally of a window that has ended into the open one that it feeds."""
    if bars.counts[w, instrument]:
        measures.merge(bars.tallies[w, instrument], tally)
    else:
        bars.tallies[w, instrument] = tally
    bars.counts[w, instrument] += trades


@outlined
def _close(bars: BarState, w: int, measures: Any) -> None:
    """Issues and empties the open window of one length, instrument by instrument."""
    for instrument in range(bars.counts.shape[1]):
        trades = bars.counts[w, instrument]
        if trades:
            tally = bars.tallies[w, instrument]
            if bars.starts[w] >= bars.since_ns[w]:
                _issue(bars, w, instrument, bars.starts[w], tally, trades, 0, measures)
            for fed in range(w + 1, len(bars.windows)):
                if bars.feeders[fed] == w:
                    _pour(bars, fed, instrument, tally, trades, measures)
            bars.tallies[w, instrument] = bars.scratch[1]
            bars.counts[w, instrument] = 0


@part
def _advance(clock_ns: int, bars: BarState, measures: Any) -> None:
    """Closes what has ended by ``clock_ns``: by end, then window length, then instrument."""
    windows, starts, counters = bars.windows, bars.starts, bars.counters
    while clock_ns >= counters[count.DUE_NS]:
        due = 0
        for w in range(1, len(windows)):
            if starts[w] + windows[w] < starts[due] + windows[due]:
                due = w
        _close(bars, due, measures)
        starts[due] = clock_ns // windows[due] * windows[due]
        counters[count.DUE_NS] = starts[0] + windows[0]
        for w in range(1, len(windows)):
            counters[count.DUE_NS] = min(counters[count.DUE_NS], starts[w] + windows[w])


@part
def _newest(number: int, end: int, log: Array, first: int) -> Any:
    """The last trade before ``end`` in the chain of trade ``number``; NONE if the log no longer holds the way there."""
    mask = len(log) - 1
    newer = log[number & mask].newer
    while newer >= first and log[newer & mask].event_ns < end:
        number = newer
        newer = log[number & mask].newer
    return NONE if NONE < newer < first else number


@part
def _fold(bars: BarState, newest: int, start: int, end: int, measures: Any) -> Any:
    """Adds the trades of [start, end) up in the first scratch tally. ``newest``: the last of them, or NONE.

    Returns (trades that stand, revision that a bar of them has now), or (NONE, 0) if the log no longer holds all.
    """
    log, first = bars.log, bars.counters[count.TRADES_FIRST]
    mask = len(log) - 1
    tally = bars.scratch[0]
    bars.scratch[0] = bars.scratch[1]
    restatements, was_issued = 0, 0
    number, oldest = newest, NONE
    while number != NONE:
        if number < first:
            if log[first & mask].clock_ns >= start:
                return NONE, 0
            break  # whatever has left the log happened before
        trade = log[number & mask]
        if trade.event_ns < start:
            break
        restatements += (trade.clock_ns >= end) + (trade.broken_ns >= end)
        was_issued |= trade.clock_ns < end and (trade.broken_ns == 0 or trade.broken_ns >= end)
        oldest = number
        number = trade.older
    trades = 0
    number = oldest
    while number != NONE:
        trade = log[number & mask]
        if trade.broken_ns == 0:
            measures.add(tally, trade)
            trades += 1
        number = NONE if number == newest else trade.newer
    return trades, restatements - (1 - was_issued)


@part
def _memory_of(bars: BarState, w: int, instrument: int, start: int) -> Any:
    """Where a restated bar is remembered, if it is."""
    number = start // bars.windows[w] * len(bars.windows) + w
    return (number * _SPREAD_TIME + instrument * _SPREAD_INSTRUMENT) & (len(bars.restated) - 1)


@part
def _place_of(bars: BarState, w: int, instrument: int) -> Any:
    return instrument * len(bars.windows) + w + 1


@part
def _is_remembered(bars: BarState, slot: int, w: int, instrument: int, start: int) -> Any:
    memory = bars.restated[slot]
    return memory.place == _place_of(bars, w, instrument) and memory.start_ns == start


@part
def _remember(bars: BarState, slot: int, place: int, start: int, newest: int, trades: int, revision: int) -> None:
    memory = bars.restated[slot]
    memory.place, memory.start_ns, memory.newest = place, start, newest
    memory.trades, memory.revision = trades, revision
    bars.restated_tallies[slot] = bars.scratch[0]


@outlined
def _add_late(bars: BarState, w: int, number: int, measures: Any) -> bool:
    """Issues a remembered bar with one more late trade. False, and nothing done, where that is not enough."""
    log = bars.log
    trade = log[number & (len(log) - 1)]
    start = trade.event_ns // bars.windows[w] * bars.windows[w]
    slot = _memory_of(bars, w, trade.instrument_id, start)
    if not _is_remembered(bars, slot, w, trade.instrument_id, start):
        return False
    memory = bars.restated[slot]
    is_newest = memory.newest == NONE or log[memory.newest & (len(log) - 1)].event_ns <= trade.event_ns
    if not (is_newest or measures.any_order):
        return False
    measures.add(bars.restated_tallies[slot], trade)
    memory.trades += 1
    memory.revision += 1
    if is_newest:
        memory.newest = number
    revision = memory.revision
    _issue(bars, w, trade.instrument_id, start, bars.restated_tallies[slot], memory.trades, revision, measures)
    return True


@outlined
def _restate(bars: BarState, w: int, number: int, measures: Any) -> bool:
    """Folds the bar of window length ``w`` that holds the trade: issued again if it had ended, else put right.

    False: the log no longer holds all of it, and nothing was changed.
    """
    first = bars.counters[count.TRADES_FIRST]
    trade = bars.log[number & (len(bars.log) - 1)]
    instrument = trade.instrument_id
    start = trade.event_ns // bars.windows[w] * bars.windows[w]
    is_open = start == bars.starts[w]
    end = _covered_until(bars, w) if is_open else start + bars.windows[w]
    newest = _newest(number, end, bars.log, first)
    trades, revision = (NONE, 0) if newest == NONE else _fold(bars, newest, start, end, measures)
    slot = _memory_of(bars, w, instrument, start)
    if trades == NONE:
        bars.restated[slot].place = 0
        bars.counters[count.LOST_RESTATEMENT] += 1
        return False
    if is_open:
        bars.tallies[w, instrument] = bars.scratch[0]
        bars.counts[w, instrument] = trades
    else:
        _remember(bars, slot, _place_of(bars, w, instrument), start, newest, trades, revision)
        _issue(bars, w, instrument, start, bars.scratch[0], trades, revision, measures)
    return True


@part
def _near(trade: Row, bars: BarState) -> Any:
    """A trade of the same instrument that is close in event time, to look for the place of a late one from there."""
    for w in range(len(bars.windows)):
        start = trade.event_ns // bars.windows[w] * bars.windows[w]
        slot = _memory_of(bars, w, trade.instrument_id, start)
        if _is_remembered(bars, slot, w, trade.instrument_id, start) and bars.restated[slot].newest != NONE:
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
def _chain(number: int, trade: Row, bars: BarState) -> None:
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
def _book(event: Row, bars: BarState, measures: Any) -> None:
    """Enters a trade into the log and into the bars."""
    counters = bars.counters
    number = counters[count.TRADES_NEXT]
    counters[count.TRADES_NEXT] += 1
    trade = bars.log[number & (len(bars.log) - 1)]
    trade.match = event.match
    trade.event_ns = event.event_ns
    trade.clock_ns = event.clock_ns
    trade.broken_ns = 0
    trade.price_e4 = event.price_e4
    trade.qty = event.qty
    trade.instrument_id = event.instrument_id
    _chain(number, trade, bars)
    if event.match != 0:
        entry = bars.matches[slot_of(bars.matches, event.match)]
        counters[count.DUPLICATE_MATCH] += entry.held != 0
        entry.ref = event.match
        entry.held = number + 1
    late = 0
    for w in range(len(bars.windows)):
        if event.event_ns < bars.starts[w]:
            late = 1
            if not _add_late(bars, w, number, measures):
                _restate(bars, w, number, measures)
        elif event.event_ns < _covered_until(bars, w):
            is_in_order = measures.any_order or trade.newer == NONE
            if is_in_order or not _restate(bars, w, number, measures):
                measures.add(bars.tallies[w, trade.instrument_id], trade)
                bars.counts[w, trade.instrument_id] += 1
    counters[count.LATE_TRADE] += late


@part
def _break(event: Row, listings: Array, bars: BarState, measures: Any) -> None:
    """Takes a trade out of its bars and out of the session's volume."""
    counters = bars.counters
    entry = bars.matches[slot_of(bars.matches, event.match)]
    if entry.held == 0:
        counters[count.UNKNOWN_BREAK] += 1
        return
    number = entry.held - 1
    trade = bars.log[number & (len(bars.log) - 1)]
    if trade.broken_ns != 0:
        counters[count.UNKNOWN_BREAK] += 1
        return
    trade.broken_ns = max(1, event.clock_ns)
    listing = listings[trade.instrument_id]
    listing.volume = max(0, listing.volume - trade.qty)
    for w in range(len(bars.windows)):
        if trade.event_ns < bars.starts[w] or trade.event_ns < _covered_until(bars, w):
            _restate(bars, w, number, measures)


@part
def _rebuild(bars: BarState, w: int, measures: Any) -> int:
    """Adds the open window of one length up anew from the log. Returns for how many instruments that is not possible:
    the log no longer holds all of their trades.
    """
    log, first = bars.log, bars.counters[count.TRADES_FIRST]
    mask = len(log) - 1
    lost = 0
    for instrument in range(bars.counts.shape[1]):
        number = bars.heads[instrument]
        end = _covered_until(bars, w)
        while number >= first and log[number & mask].event_ns >= end:
            number = log[number & mask].older
        trades, _ = _fold(bars, number, bars.starts[w], end, measures)
        lost += trades == NONE
        bars.tallies[w, instrument] = bars.scratch[0] if trades > 0 else bars.scratch[1]
        bars.counts[w, instrument] = max(0, trades)
    return lost


@part
def _show(ids: Array, bars: BarState, rows: Array, measures: Any) -> int:
    """What the open windows of some instruments hold so far. Returns how many rows of ``rows`` that takes."""
    at = 0
    for w in range(len(bars.windows)):
        for instrument in ids:
            trades = 0
            part_of = w
            while part_of != NONE:  # from the longest to the shortest is also from the oldest trades to the newest
                if bars.counts[part_of, instrument]:
                    if trades:
                        measures.merge(bars.scratch[0], bars.tallies[part_of, instrument])
                    else:
                        bars.scratch[0] = bars.tallies[part_of, instrument]
                    trades += bars.counts[part_of, instrument]
                part_of = bars.feeders[part_of]
            if trades and bars.starts[w] >= bars.since_ns[w]:
                row = _write(rows, at, bars, w, bars.starts[w], bars.scratch[0], trades, measures)
                row.instrument_id = instrument
                at += 1
    return at


class BarKernels(NamedTuple):
    """The entry points, compiled for a set of measures."""

    apply_prints: Any
    rebuild: Any
    show: Any


def bar_kernels(measures: MeasureSet) -> BarKernels:
    """Compiles nothing yet; the first call of each kernel does, or finds it compiled."""
    return _kernels(measures.compiled, measures.fingerprint)


@lru_cache(maxsize=8)
def _kernels(measures: Compiled, fingerprint: str) -> BarKernels:
    entry_point = kernel_of(fingerprint)

    @entry_point
    def apply_prints(prints: Array, at: int, clock_ns: int, listings: Array, bars: BarState) -> tuple[int, int]:
        """Books prints from ``at`` on, then lets the clock come to ``clock_ns``.

        Returns (index of the first print that is not booked, why it came back).
        """
        counters = bars.counters
        room = len(bars.issued) - (bars.counts.size + len(bars.windows))
        while at < len(prints):
            if counters[count.ISSUED] > room:
                return at, STOP_ISSUED
            if counters[count.TRADES_NEXT] - counters[count.TRADES_FIRST] == len(bars.log):
                return at, STOP_TRADES
            event = prints[at]
            _advance(event.clock_ns, bars, measures)
            if event.qty > 0:
                _book(event, bars, measures)
            else:
                _break(event, listings, bars, measures)
            at += 1
        if counters[count.ISSUED] > room:
            return at, STOP_ISSUED
        _advance(clock_ns, bars, measures)
        return at, STOP_DONE

    @entry_point
    def rebuild(bars: BarState, w: int) -> Any:
        return _rebuild(bars, w, measures)

    @entry_point
    def show(ids: Array, bars: BarState, rows: Array) -> Any:
        return _show(ids, bars, rows, measures)

    return BarKernels(apply_prints, rebuild, show)


@kernel
def forget_trades(log: Array, matches: Array, counters: Array, trades: int) -> None:
    """Drops the oldest ``trades`` from the log; chains simply end where a number is below the oldest."""
    first = counters[count.TRADES_FIRST]
    for number in range(first, first + trades):
        match = log[number & (len(log) - 1)].match
        if match != 0:
            slot = slot_of(matches, match)
            if matches[slot].held == number + 1:
                vacate(matches, slot)
    counters[count.TRADES_FIRST] = first + trades
