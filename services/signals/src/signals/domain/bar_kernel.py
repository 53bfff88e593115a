"""The kernel of the bars: books trades into tumbling windows, closes windows by the partition's clock, restates bars.

Of each window length exactly one window is open: the one that holds the clock, or, where a session has ended in that
one, the next (``session_ends``). A trade is added once, to the shortest window of each chain of lengths that divide
each other; when a window ends, its tally is merged into that of the next longer one (general stream slicing: Traub et
al., EDBT 2019). So the tally of a longer window holds what happened before the open window of its feeder began.

A trade whose window has ended, and a broken trade, restate a bar that was issued: it is folded anew from the log of
trades, in which the trades of one instrument are chained by event time. The log also tells the revision: every late
trade and every late break was one. What was folded is remembered for a while, so that many late trades of one window
(an afternoon before its morning) are added to it one by one, and are chained from where the last one went; it can be
forgotten at any time, and whoever folds anew comes to the same.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from common.books.ref_table import slot_of, vacate

from signals.domain import count
from signals.domain.alignment import window_start
from signals.domain.bar_state import (
    BEYOND_LATENESS,
    DUPLICATE,
    LEFT_LOG,
    NONE,
    STOP_DONE,
    STOP_ISSUED,
    STOP_TRADES,
    WINDOWED,
    BarState,
)
from signals.domain.extra_parts import NO_EXTRAS, ExtraParts, joined
from signals.domain.fold_kernel import covered_until, fold_trades, issue_bar, newest_before
from signals.domain.gap_kernel import SESSIONS, rebuild_sessions
from signals.domain.layout import Array, Row
from signals.domain.measure_set import Compiled, MeasureSet
from signals.domain.open_kernel import rebuild_open, show_open
from signals.domain.phase_kernel import PHASES
from signals.domain.session_ends import is_held_by_ended_slide, next_to_end
from signals.domain.slide_kernel import end_slides, next_start, rebuild_panes, restate_slides, slide_all
from signals.domain.trade_chain import chain, is_in_log, is_remembered, memory_of, place_of, remember
from signals.kernels import kernel, kernel_of, outlined, part


@part
def _pour(bars: BarState, w: int, instrument: int, tally: Row, trades: int, measures: Any) -> None:
    """Merges the tally of a window that has ended into the open one that it feeds."""
    if bars.counts[w, instrument]:
        measures.merge(bars.tallies[w, instrument], tally)
    else:
        bars.tallies[w, instrument] = tally
    bars.counts[w, instrument] += trades


@part
def _hand_out(bars: BarState, w: int, instrument: int, tally: Row) -> None:
    """Writes the slice of an instrument whose window has ended."""
    piece = bars.slices[bars.counters[count.SLICES]]
    bars.counters[count.SLICES] += 1
    piece.end_ns = bars.starts[w] + bars.windows[w]
    piece.instrument_id = instrument
    piece.close_e4 = tally.ohlcv.close_e4
    piece.volume = tally.ohlcv.volume
    piece.notional_e4 = tally.ohlcv.notional_e4


@outlined
def _close(bars: BarState, w: int, measures: Any) -> None:
    """Issues and empties the open window of one length, instrument by instrument; then what slides by it."""
    slide_all(bars, w, measures)
    for instrument in range(bars.counts.shape[1]):
        trades = bars.counts[w, instrument]
        if trades:
            tally = bars.tallies[w, instrument]
            if bars.starts[w] >= bars.since_ns[w] and bars.hidden[w] == 0:
                issue_bar(bars, bars.windows[w], instrument, bars.starts[w], tally, trades, 0, measures)
            if bars.sliced[w]:
                _hand_out(bars, w, instrument, tally)
            for fed in range(w + 1, len(bars.windows)):
                if bars.feeders[fed] == w and bars.starts[w] >= bars.starts[fed]:  # else the fed one has ended before
                    _pour(bars, fed, instrument, tally, trades, measures)
            bars.tallies[w, instrument] = bars.scratch[1]
            bars.counts[w, instrument] = 0


@part
def _see_what_is_due(bars: BarState) -> None:
    """Notes when the next open window ends."""
    due = next_to_end(bars.windows, bars.starts)
    bars.counters[count.DUE_NS] = bars.starts[due] + bars.windows[due]


@part
def _advance(clock_ns: int, bars: BarState, room: int, measures: Any) -> bool:
    """Closes what has ended by ``clock_ns``: by end, then window length, then instrument.

    False: ``room`` of the buffer of issued bars is in use, or that of slices, and there is more to close.
    """
    counters = bars.counters
    while clock_ns >= counters[count.DUE_NS]:
        if counters[count.ISSUED] > room:
            return False
        if len(bars.slices) and counters[count.SLICES] > len(bars.slices) - bars.counts.shape[1]:
            return False
        due = next_to_end(bars.windows, bars.starts)
        _close(bars, due, measures)
        bars.starts[due] = next_start(bars, due, clock_ns)
        _see_what_is_due(bars)
    return True


@part
def _end_session(bars: BarState, end_ns: int, measures: Any, extras: Any) -> None:
    """Ends every window that has begun before ``end_ns``, to which the clock has come: shorter ones first."""
    for w in range(len(bars.windows)):
        if bars.starts[w] < end_ns:
            _close(bars, w, measures)
            bars.starts[w] += bars.windows[w]
    end_slides(bars, end_ns, measures)
    extras.end(bars, end_ns, True, measures)
    _see_what_is_due(bars)
    bars.ends[bars.counters[count.ENDS]] = end_ns
    bars.counters[count.ENDS] += 1


@outlined
def _add_late(bars: BarState, w: int, number: int, measures: Any) -> bool:
    """Issues a remembered bar with one more late trade. False, and nothing done, where that is not enough."""
    log = bars.log
    trade = log[number & (len(log) - 1)]
    start = window_start(trade.event_ns, bars.windows[w], bars.counters[count.ANCHOR_NS])
    slot = memory_of(bars, w, trade.instrument_id, start)
    if not is_remembered(bars, slot, w, trade.instrument_id, start):
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
    tally = bars.restated_tallies[slot]
    issue_bar(bars, bars.windows[w], trade.instrument_id, start, tally, memory.trades, revision, measures)
    return True


@outlined
def _restate(bars: BarState, w: int, number: int, measures: Any) -> bool:
    """Folds the bar of window length ``w`` that holds the trade: issued again if it had ended, else put right.

    False: the log no longer holds all of it, and nothing was changed.
    """
    first = bars.counters[count.TRADES_FIRST]
    trade = bars.log[number & (len(bars.log) - 1)]
    instrument = trade.instrument_id
    start = window_start(trade.event_ns, bars.windows[w], bars.counters[count.ANCHOR_NS])
    is_open = start == bars.starts[w]
    end = covered_until(bars, w) if is_open else start + bars.windows[w]
    newest = newest_before(number, end, bars.log, first)
    trades, revision = (NONE, 0) if newest == NONE else fold_trades(bars, newest, start, end, measures)
    slot = memory_of(bars, w, instrument, start)
    if trades == NONE:
        bars.restated[slot].place = 0
        bars.counters[count.LOST_RESTATEMENT] += 1
        return False
    if is_open:
        bars.tallies[w, instrument] = bars.scratch[0]
        bars.counts[w, instrument] = trades
    elif bars.hidden[w] == 0:
        remember(bars, slot, place_of(bars, w, instrument), start, newest, trades, revision)
        issue_bar(bars, bars.windows[w], instrument, start, bars.scratch[0], trades, revision, measures)
    return True


@part
def _book(event: Row, bars: BarState, measures: Any, extras: Any) -> int:
    """Enters a trade into the log and into the bars. Returns what became of it."""
    counters = bars.counters
    if is_in_log(event, bars):
        return DUPLICATE
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
    trade.aggressor = event.aggressor
    chain(number, trade, bars)
    if event.match != 0:
        entry = bars.matches[slot_of(bars.matches, event.match)]
        entry.ref = event.match
        entry.held = number + 1
    late, held = 0, False
    for w in range(len(bars.windows)):
        if event.event_ns < bars.starts[w]:
            late = 1
            held = _add_late(bars, w, number, measures) or _restate(bars, w, number, measures) or held
        elif event.event_ns < covered_until(bars, w):
            is_in_order = measures.any_order or trade.newer == NONE
            if is_in_order or not _restate(bars, w, number, measures):
                measures.add(bars.tallies[w, trade.instrument_id], trade)
                bars.counts[w, trade.instrument_id] += 1
            held = True
    if late or is_held_by_ended_slide(bars, event.event_ns):
        late = 1
        held = restate_slides(bars, number, measures) or held
    counters[count.LATE_TRADE] += late
    held = extras.add(bars, number, measures) or held
    return WINDOWED if held else LEFT_LOG


@part
def _account(
    event: Row, at: int, lateness_ns: int, listings: Array, late: Array, bars: BarState, measures: Any, extras: Any
) -> None:
    """Books a trade, unless it comes too late, and counts what becomes of it: each trade in exactly one of the ways."""
    counters = bars.counters
    outcome = BEYOND_LATENESS
    if event.event_ns >= event.clock_ns - lateness_ns:
        outcome = _book(event, bars, measures, extras)
    if outcome == WINDOWED:
        counters[count.WINDOWED] += 1
    elif outcome == DUPLICATE:
        counters[count.DUPLICATE_TRADE] += 1
        listings[event.instrument_id].volume -= event.qty
    else:
        counters[count.TOO_LATE] += 1
        late[counters[count.LATE_ROWS], 0] = at
        late[counters[count.LATE_ROWS], 1] = outcome
        counters[count.LATE_ROWS] += 1


@part
def _break(event: Row, listings: Array, bars: BarState, measures: Any, extras: Any) -> None:
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
        if trade.event_ns < bars.starts[w] or trade.event_ns < covered_until(bars, w):
            _restate(bars, w, number, measures)
    restate_slides(bars, number, measures)
    extras.part(bars, number, trade.broken_ns, measures)


@part
def rows_at_once(bars: BarState) -> Any:
    """Rows that are issued at most until the room for more is looked at again."""
    windows, slides = len(bars.windows), len(bars.slides.windows)
    return bars.counts.shape[1] * (windows + slides) + windows + bars.slides.first[slides]


class BarKernels(NamedTuple):
    """The entry points, compiled for a set of measures."""

    apply_prints: Any
    end_session: Any
    rebuild: Any
    rebuild_slide: Any
    rebuild_gaps: Any
    show: Any


def bar_kernels(measures: MeasureSet, *, with_sessions: bool = False, with_phases: bool = False) -> BarKernels:
    """Compiles nothing yet; the first call of each kernel does, or finds it compiled.

    ``with_sessions``: session windows are kept; ``with_phases``: triggered ones.
    """
    kept = ("sessions",) * with_sessions + ("phases",) * with_phases
    return _kernels(measures.compiled, "-".join((measures.fingerprint, *kept)), kept)


_EXTRAS: Final[Mapping[tuple[str, ...], ExtraParts]] = {
    (): NO_EXTRAS,
    ("sessions",): SESSIONS,
    ("phases",): PHASES,
    ("sessions", "phases"): joined(SESSIONS, PHASES),
}


@lru_cache(maxsize=8)
def _kernels(measures: Compiled, fingerprint: str, kept: tuple[str, ...]) -> BarKernels:
    entry_point, extras = kernel_of(fingerprint), _EXTRAS[kept]

    @entry_point
    def apply_prints(
        prints: Array, at: int, clock_ns: int, lateness_ns: int, listings: Array, late: Array, bars: BarState
    ) -> tuple[int, int]:
        """Books prints from ``at`` on, then lets the clock come to ``clock_ns``.

        ``late`` takes the index of each print that no window holds, and what became of it.

        Returns (index of the first print that is not booked, why it came back).
        """
        counters = bars.counters
        room = len(bars.issued) - rows_at_once(bars)
        while at < len(prints):
            if counters[count.TRADES_NEXT] - counters[count.TRADES_FIRST] == len(bars.log):
                return at, STOP_TRADES
            event = prints[at]
            is_ready = _advance(event.clock_ns, bars, room, measures) and extras.has_room(bars, event.qty >= 0)
            if not is_ready or counters[count.ISSUED] > room:
                return at, STOP_ISSUED
            if event.qty > 0:
                _account(event, at, lateness_ns, listings, late, bars, measures, extras)
            elif event.qty == 0:
                _break(event, listings, bars, measures, extras)
            else:
                extras.turn(bars, event, measures)
            at += 1
        if not _advance(clock_ns, bars, room, measures) or not extras.has_room(bars, 0):
            return at, STOP_ISSUED
        extras.end(bars, clock_ns, False, measures)
        return at, STOP_DONE

    @entry_point
    def end_session(bars: BarState, end_ns: int) -> None:
        _end_session(bars, end_ns, measures, extras)

    @entry_point
    def rebuild(bars: BarState, w: int) -> Any:
        return rebuild_open(bars, w, measures)

    @entry_point
    def rebuild_slide(bars: BarState, s: int) -> Any:
        return rebuild_panes(bars, s, measures)

    @entry_point
    def rebuild_gaps(bars: BarState, clock_ns: int) -> Any:
        return rebuild_sessions(bars, clock_ns, measures)

    @entry_point
    def show(ids: Array, bars: BarState, rows: Array) -> Any:
        return show_open(ids, bars, rows, measures)

    return BarKernels(apply_prints, end_session, rebuild, rebuild_slide, rebuild_gaps, show)


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
