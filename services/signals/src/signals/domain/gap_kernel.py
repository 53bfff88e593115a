"""Parts of the kernels of bars: session windows, from the log of trades.

A trade that comes in order is added to the open session of its symbol, or begins one. Any other one is looked up among
its neighbours in the log: it belongs to the session before it, to the one behind it, or to both, which are then one
session, that of the earlier start; the other one is taken back, and says into which it went. A broken trade parts what
it held together. Whoever was told of a session is told at once what becomes of it; else it is told when it ends.
"""

from typing import Any, Final

from signals.domain import count
from signals.domain.bar_state import NONE, BarState
from signals.domain.extra_parts import ExtraParts, turn_nothing
from signals.domain.fold_kernel import fold_trades, write_bar
from signals.domain.gap_state import NEVER_NS, ROWS_A_TRADE
from signals.domain.session_ends import closed_at
from signals.kernels import outlined, part


@part
def _tell(
    bars: BarState, g: int, instrument: int, first_ns: int, end_ns: int, into_ns: int, trades: int, due_ns: int,
    order: int, told: int, measures: Any,
) -> None:  # fmt: skip
    """Writes a row of the tally in the first scratch place; of no trades one of zeros: it is taken back."""
    at = bars.gaps.used[0]
    bars.gaps.used[0] += 1
    row = write_bar(bars.gaps.rows, at, bars, end_ns - first_ns, first_ns, bars.scratch[0], trades, measures)
    row.instrument_id = instrument
    row.revision = told
    span = bars.gaps.spans[at]
    span.due_ns, span.gap_ns, span.end_ns = due_ns, bars.gaps.gaps[g], end_ns
    span.into_ns, span.order = into_ns, order


@part
def _standing(bars: BarState, number: int, newer: Any) -> Any:
    """The trade itself, or the next one in the order of time that is not broken; NONE: there is none in the log."""
    log, first = bars.log, bars.counters[count.TRADES_FIRST]
    mask = len(log) - 1
    while number >= first and log[number & mask].broken_ns != 0:
        number = log[number & mask].newer if newer else log[number & mask].older
    return number if number >= first else NONE


@part
def _reach(bars: BarState, number: int, gap_ns: int, newer: Any) -> Any:
    """The last trade of the session of a standing trade, or its first one."""
    log = bars.log
    mask = len(log) - 1
    while True:
        neighbour = log[number & mask].newer if newer else log[number & mask].older
        neighbour = _standing(bars, neighbour, newer)
        if neighbour == NONE or abs(log[neighbour & mask].event_ns - log[number & mask].event_ns) >= gap_ns:
            return number
        number = neighbour


@part
def _place_of_start(bars: BarState, number: int) -> Any:
    """Place that says how often a session was told that begins at a trade's time: that of the oldest trade of it."""
    log, first = bars.log, bars.counters[count.TRADES_FIRST]
    mask = len(log) - 1
    event_ns = log[number & mask].event_ns
    while log[number & mask].older >= first and log[log[number & mask].older & mask].event_ns == event_ns:
        number = log[number & mask].older
    return number & mask


@part
def _remember_told(bars: BarState, g: int, number: int, told: int) -> None:
    if number >= bars.counters[count.TRADES_FIRST]:
        bars.gaps.revisions[g, _place_of_start(bars, number)] = told


@part
def _end_open(bars: BarState, g: int, instrument: int, due_ns: int, measures: Any) -> None:
    """The open session has ended: it is told, if nobody was told of it yet."""
    gaps = bars.gaps
    if gaps.told[g, instrument] == 0:
        first_ns, end_ns = gaps.firsts[g, instrument], gaps.lasts[g, instrument] + gaps.gaps[g]
        bars.scratch[0] = gaps.tallies[g, instrument]
        order = g * gaps.counts.shape[1] + instrument - NEVER_NS
        trades = gaps.counts[g, instrument]
        _tell(bars, g, instrument, first_ns, end_ns, 0, trades, due_ns, order, 0, measures)
        _remember_told(bars, g, gaps.numbers[g, instrument], 1)
    gaps.counts[g, instrument] = 0
    gaps.tallies[g, instrument] = bars.scratch[1]


@part
def _is_whole(bars: BarState, first: int, gap_ns: int) -> Any:
    """Whether the log would hold what is before the first trade of a session and belongs to it."""
    log, oldest = bars.log, bars.counters[count.TRADES_FIRST]
    mask = len(log) - 1
    trade = log[first & mask]
    number = trade.older
    while number >= oldest and log[number & mask].broken_ns != 0:
        number = log[number & mask].older
    return number == NONE or number >= oldest or log[oldest & mask].clock_ns <= trade.event_ns - gap_ns


@outlined
def _go_on(bars: BarState, g: int, first: int, last: int, clock_ns: int, was_told: Any, measures: Any) -> bool:
    """The session from trade ``first`` to ``last`` is as the log says: folded, and told where somebody knows of it or
    it has ended. False: the log no longer holds all of it.
    """
    gaps, log = bars.gaps, bars.log
    mask = len(log) - 1
    instrument, first_ns = log[first & mask].instrument_id, log[first & mask].event_ns
    last_ns = log[last & mask].event_ns
    end_ns = last_ns + gaps.gaps[g]
    trades, _ = fold_trades(bars, last, first_ns, last_ns + 1, measures)
    if trades == NONE:
        return False
    place = _place_of_start(bars, first)
    told = gaps.revisions[g, place]
    is_closed = closed_at(bars, first_ns, end_ns) <= clock_ns
    if is_closed or was_told or told:
        _tell(bars, g, instrument, first_ns, end_ns, 0, trades, clock_ns, 0, told, measures)
        gaps.revisions[g, place] = told = told + 1
    if not is_closed:
        gaps.firsts[g, instrument], gaps.lasts[g, instrument] = first_ns, last_ns
        gaps.numbers[g, instrument], gaps.told[g, instrument] = first, told
        gaps.counts[g, instrument] = trades
        gaps.tallies[g, instrument] = bars.scratch[0]
        gaps.due_ns[g] = min(gaps.due_ns[g], end_ns)
    return True


@part
def _take_back(bars: BarState, g: int, number: int, into_ns: int, clock_ns: int, measures: Any) -> Any:
    """No session begins at the time of the trade any more. Returns whether anybody knows of one."""
    gaps, trade = bars.gaps, bars.log[number & (len(bars.log) - 1)]
    place = _place_of_start(bars, number)
    told = gaps.revisions[g, place]
    if told:
        event_ns = trade.event_ns
        _tell(bars, g, trade.instrument_id, event_ns, event_ns, into_ns, 0, clock_ns, 0, told, measures)
        gaps.revisions[g, place] = told + 1
    return told != 0


@outlined
def _join(bars: BarState, g: int, number: int, measures: Any) -> Any:
    """A trade comes between its neighbours in the log. False: the log no longer holds all of what it belongs to."""
    gaps, log = bars.gaps, bars.log
    mask, gap_ns = len(log) - 1, gaps.gaps[g]
    trade = log[number & mask]
    instrument = trade.instrument_id
    first, last = _reach(bars, number, gap_ns, False), _reach(bars, number, gap_ns, True)
    if not _is_whole(bars, first, gap_ns):
        bars.counters[count.LOST_RESTATEMENT] += 1
        return False
    was_told = False
    if last != number:
        behind = _standing(bars, trade.newer, True)
        before = _standing(bars, trade.older, False)
        if before == NONE or log[behind & mask].event_ns - log[before & mask].event_ns >= gap_ns:
            was_told = _take_back(bars, g, behind, log[first & mask].event_ns, trade.clock_ns, measures)
    if gaps.counts[g, instrument] and gaps.firsts[g, instrument] <= log[last & mask].event_ns:
        gaps.counts[g, instrument] = 0
        gaps.tallies[g, instrument] = bars.scratch[1]
    return _go_on(bars, g, first, last, trade.clock_ns, was_told, measures)


@part
def add_to_sessions(bars: BarState, number: int, measures: Any) -> bool:
    """A trade has entered the log. Returns whether a session holds it."""
    gaps = bars.gaps
    trade = bars.log[number & (len(bars.log) - 1)]
    instrument, held = trade.instrument_id, False
    for g in range(len(gaps.gaps)):
        gaps.revisions[g, number & (len(bars.log) - 1)] = 0
        if gaps.counts[g, instrument]:
            end_ns = gaps.lasts[g, instrument] + gaps.gaps[g]
            if end_ns <= trade.clock_ns:
                _end_open(bars, g, instrument, end_ns, measures)
        is_within = gaps.counts[g, instrument] != 0 and trade.event_ns >= gaps.firsts[g, instrument]
        if is_within and (measures.any_order or trade.newer == NONE):
            measures.add(gaps.tallies[g, instrument], trade)
            gaps.counts[g, instrument] += 1
            gaps.lasts[g, instrument] = max(gaps.lasts[g, instrument], trade.event_ns)
            if gaps.told[g, instrument]:
                first_ns, end_ns = gaps.firsts[g, instrument], gaps.lasts[g, instrument] + gaps.gaps[g]
                told, trades = gaps.told[g, instrument], gaps.counts[g, instrument]
                bars.scratch[0] = gaps.tallies[g, instrument]
                _tell(bars, g, instrument, first_ns, end_ns, 0, trades, trade.clock_ns, 0, told, measures)
                gaps.told[g, instrument] = told + 1
                _remember_told(bars, g, gaps.numbers[g, instrument], told + 1)
            held = True
        else:
            held = _join(bars, g, number, measures) or held
    return held


@outlined
def _part(bars: BarState, g: int, number: int, clock_ns: int, measures: Any) -> Any:
    """A trade is broken. False: the log no longer holds all of what it belonged to."""
    gaps, log = bars.gaps, bars.log
    mask, gap_ns = len(log) - 1, gaps.gaps[g]
    trade = log[number & mask]
    instrument, event_ns = trade.instrument_id, trade.event_ns
    before, behind = _standing(bars, trade.older, False), _standing(bars, trade.newer, True)
    joins_before = before != NONE and event_ns - log[before & mask].event_ns < gap_ns
    joins_behind = behind != NONE and log[behind & mask].event_ns - event_ns < gap_ns
    first = _reach(bars, before, gap_ns, False) if joins_before else number
    last = _reach(bars, behind, gap_ns, True) if joins_behind else number
    if not _is_whole(bars, first, gap_ns):
        return False
    if gaps.counts[g, instrument] and gaps.firsts[g, instrument] <= event_ns:
        gaps.counts[g, instrument] = 0
        gaps.tallies[g, instrument] = bars.scratch[1]
    into_ns = log[behind & mask].event_ns if joins_behind else 0
    if joins_before or (joins_behind and into_ns == event_ns):
        was_told = gaps.revisions[g, _place_of_start(bars, first)] != 0
    else:
        was_told = _take_back(bars, g, number, into_ns, clock_ns, measures)
    if joins_before and joins_behind and log[behind & mask].event_ns - log[before & mask].event_ns < gap_ns:
        return _go_on(bars, g, first, last, clock_ns, was_told, measures)
    is_whole = True
    if joins_before:
        is_whole = _go_on(bars, g, first, before, clock_ns, was_told, measures)
    if joins_behind:
        is_whole = _go_on(bars, g, behind, last, clock_ns, was_told, measures) and is_whole
    return is_whole


@part
def part_sessions(bars: BarState, number: int, clock_ns: int, measures: Any) -> None:
    """A trade is broken: what it held together may be two sessions."""
    gaps = bars.gaps
    instrument = bars.log[number & (len(bars.log) - 1)].instrument_id
    for g in range(len(gaps.gaps)):
        if gaps.counts[g, instrument]:
            end_ns = gaps.lasts[g, instrument] + gaps.gaps[g]
            if end_ns <= clock_ns:
                _end_open(bars, g, instrument, end_ns, measures)
        bars.counters[count.LOST_RESTATEMENT] += not _part(bars, g, number, clock_ns, measures)


@part
def end_sessions(bars: BarState, clock_ns: int, is_end: Any, measures: Any) -> None:
    """The clock has come to ``clock_ns``; ``is_end``: with it every session ends."""
    gaps = bars.gaps
    for g in range(len(gaps.gaps)):
        if clock_ns < gaps.due_ns[g] and not is_end:
            continue
        gaps.due_ns[g] = NEVER_NS
        for instrument in range(gaps.counts.shape[1]):
            if gaps.counts[g, instrument]:
                end_ns = gaps.lasts[g, instrument] + gaps.gaps[g]
                if end_ns <= clock_ns or is_end:
                    _end_open(bars, g, instrument, min(end_ns, clock_ns), measures)
                else:
                    gaps.due_ns[g] = min(gaps.due_ns[g], end_ns)


@part
def has_room(bars: BarState, trades: int) -> Any:
    """Whether there is room for the rows of so many trades, or, of none, for those of every open session."""
    gaps = bars.gaps
    most = len(gaps.gaps) * (ROWS_A_TRADE * trades if trades else gaps.counts.shape[1])
    return gaps.used[0] + most <= len(gaps.rows)


@part
def rebuild_sessions(bars: BarState, clock_ns: int, measures: Any) -> int:
    """The open sessions, from the log alone. Returns of how many it no longer holds all."""
    gaps, log, lost = bars.gaps, bars.log, 0
    for g in range(len(gaps.gaps)):
        for instrument in range(gaps.counts.shape[1]):
            last = _standing(bars, bars.heads[instrument], False)
            if last == NONE:
                continue
            first = _reach(bars, last, gaps.gaps[g], False)
            start_ns = log[first & (len(log) - 1)].event_ns
            end_ns = log[last & (len(log) - 1)].event_ns + gaps.gaps[g]
            if closed_at(bars, start_ns, end_ns) > clock_ns:
                is_whole = _is_whole(bars, first, gaps.gaps[g])
                lost += not (is_whole and _go_on(bars, g, first, last, clock_ns, False, measures))
    return lost


SESSIONS: Final = ExtraParts(add_to_sessions, part_sessions, end_sessions, turn_nothing, has_room)
