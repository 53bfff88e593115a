"""Parts of the kernels of bars: triggered windows, which end where an event of the market or of the symbol says so.

Flink has such windows as a global one with a trigger that fires and purges, Scotty as windows between punctuations.
Here an edge is a time: a trade is of the window whose edges are around its event time, whatever comes first, so a late
trade, and a trigger that comes after trades of its time, restate what was told. A trade in order is added to the open
window.
"""

from functools import lru_cache
from typing import Any, Final, NamedTuple

from signals.domain import count
from signals.domain.bar_state import NONE, BarState
from signals.domain.extra_parts import ExtraParts
from signals.domain.fold_kernel import fold_trades, newest_before, write_bar
from signals.domain.layout import Row
from signals.domain.measure_set import Compiled
from signals.domain.phase_state import BY_SESSION, EDGES_MAX, ROWS_A_TRADE
from signals.domain.session_ends import closed_at, last_end
from signals.kernels import kernel_of, outlined, part

OPEN_NS: Final = (1 << 63) - 1
"""End of a window that nothing has ended yet."""


@part
def _end_of(bars: BarState, g: int, column: int, k: int) -> Any:
    """Time of the edge behind edge ``k``."""
    phases = bars.phases
    return phases.edges[g, column, k + 1].at_ns if k + 1 < phases.known[g, column] else OPEN_NS


@part
def _tell(bars: BarState, g: int, instrument: int, k: int, trades: int, close_ns: int, measures: Any) -> None:
    """Writes a row of the tally in the first scratch place: the window that begins at edge ``k``, which has ended by
    ``close_ns`` at the latest.
    """
    phases = bars.phases
    edge = phases.edges[g, instrument + 1, k]
    next_ns = _end_of(bars, g, instrument + 1, k)
    end_ns = min(closed_at(bars, edge.at_ns, next_ns), close_ns)
    at = phases.used[0]
    phases.used[0] += 1
    row = write_bar(phases.rows, at, bars, 0, edge.at_ns, bars.scratch[0], trades, measures)
    row.instrument_id = instrument
    row.revision = edge.told
    edge.told += 1
    span = phases.spans[at]
    span.window, span.end_ns, span.begun_by, span.ended_by = g, end_ns, edge.by, BY_SESSION
    if end_ns == OPEN_NS:
        span.end_ns, span.ended_by = 0, NONE
    elif end_ns == next_ns:
        span.ended_by = phases.edges[g, instrument + 1, k + 1].by


@part
def _edge_before(bars: BarState, g: int, column: int, at_ns: int) -> Any:
    """Place of the newest edge that is not behind the time; NONE: none is remembered."""
    k = bars.phases.known[g, column] - 1
    while k >= 0 and bars.phases.edges[g, column, k].at_ns > at_ns:
        k -= 1
    return k


@part
def _last_before(bars: BarState, instrument: int, end_ns: int) -> Any:
    """Newest trade of an instrument that is before a time; below the oldest of the log: it holds none."""
    log, first = bars.log, bars.counters[count.TRADES_FIRST]
    number = bars.heads[instrument]
    while number >= first and log[number & (len(log) - 1)].event_ns >= end_ns:
        number = log[number & (len(log) - 1)].older
    return number


@part
def _stands_from(bars: BarState, number: int, at_ns: int) -> Any:
    """Whether a trade stands of those from ``at_ns`` to trade ``number``."""
    log, first = bars.log, bars.counters[count.TRADES_FIRST]
    while number >= first and log[number & (len(log) - 1)].event_ns >= at_ns:
        if log[number & (len(log) - 1)].broken_ns == 0:
            return True
        number = log[number & (len(log) - 1)].older
    return False


@part
def _keep_open(bars: BarState, g: int, instrument: int, trades: int) -> None:
    """The folded tally is that of the open window."""
    bars.phases.tallies[g, instrument] = bars.scratch[0] if trades > 0 else bars.scratch[1]
    bars.phases.counts[g, instrument] = max(0, trades)


@outlined
def _refold(bars: BarState, g: int, instrument: int, k: int, newest: int, was_told: Any, measures: Any) -> bool:
    """The window that begins at edge ``k`` is as the log says, up to trade ``newest``: it is told where somebody knows
    of it, or it has ended and holds a trade. False, and nothing changed: the log no longer holds all of it.
    """
    phases = bars.phases
    edge = phases.edges[g, instrument + 1, k]
    end_ns = _end_of(bars, g, instrument + 1, k)
    trades, _ = fold_trades(bars, newest, edge.at_ns, end_ns, measures)
    if trades == NONE:
        bars.counters[count.LOST_RESTATEMENT] += 1
        return False
    is_open = end_ns == OPEN_NS
    if is_open:
        _keep_open(bars, g, instrument, trades)
    is_closed = not is_open or edge.at_ns < last_end(bars)
    if edge.told or (trades and (is_closed or was_told)):
        _tell(bars, g, instrument, k, trades, OPEN_NS, measures)
    return True


@part
def _refold_around(bars: BarState, g: int, instrument: int, k: int, number: int, measures: Any) -> Any:
    """``_refold`` of the window that holds a trade, which is new or broken."""
    newest = newest_before(number, _end_of(bars, g, instrument + 1, k), bars.log, bars.counters[count.TRADES_FIRST])
    if newest == NONE:
        bars.counters[count.LOST_RESTATEMENT] += 1
        return False
    return _refold(bars, g, instrument, k, newest, False, measures)


@part
def _add_open(bars: BarState, g: int, instrument: int, k: int, number: int, measures: Any) -> bool:
    """Adds a trade to the open window, which begins at edge ``k``."""
    phases, trade = bars.phases, bars.log[number & (len(bars.log) - 1)]
    is_in_order = measures.any_order or trade.newer == NONE
    if not is_in_order and _refold(bars, g, instrument, k, bars.heads[instrument], False, measures):
        return True
    edge = phases.edges[g, instrument + 1, k]
    measures.add(phases.tallies[g, instrument], trade)
    phases.counts[g, instrument] += 1
    if edge.told or edge.at_ns < last_end(bars):
        bars.scratch[0] = phases.tallies[g, instrument]
        _tell(bars, g, instrument, k, phases.counts[g, instrument], OPEN_NS, measures)
    return True


@part
def add_to_phases(bars: BarState, number: int, measures: Any) -> bool:
    """A trade has entered the log. Returns whether a triggered window holds it."""
    phases, trade, held = bars.phases, bars.log[number & (len(bars.log) - 1)], False
    instrument = trade.instrument_id
    for g in range(len(phases.masks)):
        column = instrument + 1
        k = _edge_before(bars, g, column, trade.event_ns)
        if k == NONE:
            bars.counters[count.LOST_RESTATEMENT] += phases.known[g, column] == EDGES_MAX
        elif k + 1 == phases.known[g, column]:
            held = _add_open(bars, g, instrument, k, number, measures) or held
        else:
            held = _refold_around(bars, g, instrument, k, number, measures) or held
    return held


@part
def part_phases(bars: BarState, number: int, _clock_ns: int, measures: Any) -> None:
    """A trade is broken."""
    phases, trade = bars.phases, bars.log[number & (len(bars.log) - 1)]
    for g in range(len(phases.masks)):
        column = trade.instrument_id + 1
        k = _edge_before(bars, g, column, trade.event_ns)
        if k == NONE:
            bars.counters[count.LOST_RESTATEMENT] += phases.known[g, column] == EDGES_MAX
        else:
            _refold_around(bars, g, trade.instrument_id, k, number, measures)


@part
def _tell_open(bars: BarState, g: int, instrument: int, k: int, close_ns: int, measures: Any) -> None:
    """The open window, of edge ``k``, has ended as it is: told, if it holds a trade that nobody was told of yet."""
    phases = bars.phases
    if k >= 0 and phases.counts[g, instrument] and phases.edges[g, instrument + 1, k].told == 0:
        bars.scratch[0] = phases.tallies[g, instrument]
        _tell(bars, g, instrument, k, phases.counts[g, instrument], close_ns, measures)


@part
def end_phases(bars: BarState, clock_ns: int, is_end: Any, measures: Any) -> None:
    """The clock has come to ``clock_ns``; ``is_end``: with it every window that has begun ends."""
    if is_end:
        for g in range(len(bars.phases.masks)):
            for instrument in range(bars.phases.counts.shape[1]):
                last = bars.phases.known[g, instrument + 1] - 1
                _tell_open(bars, g, instrument, last, clock_ns, measures)


@part
def _enter(bars: BarState, g: int, column: int, k: int, at_ns: int, by: int) -> Any:
    """Makes an edge the one at place ``k``; where there is no room, the oldest one goes. Returns its place."""
    phases = bars.phases
    if phases.known[g, column] == EDGES_MAX:
        for place in range(1, EDGES_MAX):
            phases.edges[g, column, place - 1] = phases.edges[g, column, place]
        k -= 1
    else:
        phases.known[g, column] += 1
    for place in range(phases.known[g, column] - 1, k, -1):
        phases.edges[g, column, place] = phases.edges[g, column, place - 1]
    edge = phases.edges[g, column, k]
    edge.at_ns, edge.told, edge.by = at_ns, 0, by
    return k


@outlined
def _turn(bars: BarState, g: int, instrument: int, at_ns: int, by: int, measures: Any) -> None:
    """A trigger of an instrument: what is open at its time ends there, and another window begins."""
    phases, column = bars.phases, instrument + 1
    before, known = _edge_before(bars, g, column, at_ns), phases.known[g, column]
    if before == NONE and known:
        return
    if before != NONE and phases.edges[g, column, before].at_ns == at_ns:
        return
    is_last = before + 1 == known
    moved = _last_before(bars, instrument, OPEN_NS if is_last else _end_of(bars, g, column, before))
    has_moved = _stands_from(bars, moved, at_ns)
    was_told = before != NONE and phases.edges[g, column, before].told
    k = _enter(bars, g, column, before + 1, at_ns, by)
    if k > 0 and not has_moved and is_last:
        _tell_open(bars, g, instrument, k - 1, OPEN_NS, measures)
    if k > 0 and has_moved:
        _refold(bars, g, instrument, k - 1, _last_before(bars, instrument, at_ns), False, measures)
    if is_last:
        _keep_open(bars, g, instrument, 0)
    if has_moved:
        _refold(bars, g, instrument, k, moved, was_told, measures)


@part
def turn_phases(bars: BarState, event: Row, measures: Any) -> None:
    """A trigger has come: of one instrument, or of the market."""
    phases, by = bars.phases, event.price_e4
    for g in range(len(phases.masks)):
        if by != BY_SESSION and phases.masks[g] & by == 0:
            continue
        if event.instrument_id >= 0:
            _turn(bars, g, event.instrument_id, event.event_ns, by, measures)
            continue
        market = _edge_before(bars, g, 0, event.event_ns)
        is_known = market != NONE and phases.edges[g, 0, market].at_ns == event.event_ns
        if not is_known and (market != NONE or phases.known[g, 0] == 0):
            _enter(bars, g, 0, market + 1, event.event_ns, by)
        for instrument in range(phases.counts.shape[1]):
            _turn(bars, g, instrument, event.event_ns, by, measures)


@part
def has_room(bars: BarState, trades: int) -> Any:
    """Whether there is room for the rows of so many trades, or, of none, for those of every instrument."""
    phases = bars.phases
    most = len(phases.masks) * ROWS_A_TRADE * (trades if trades else phases.counts.shape[1])
    return phases.used[0] + most <= len(phases.rows)


@part
def rebuild_phases(bars: BarState, measures: Any) -> int:
    """Adds the open windows up from the log alone. Returns of how many it no longer holds all: those begin anew with
    the next trigger.
    """
    phases, lost = bars.phases, 0
    for g in range(len(phases.masks)):
        for instrument in range(phases.counts.shape[1]):
            known = phases.known[g, instrument + 1]
            if known:
                start_ns = phases.edges[g, instrument + 1, known - 1].at_ns
                trades, _ = fold_trades(bars, bars.heads[instrument], start_ns, OPEN_NS, measures)
                _keep_open(bars, g, instrument, trades)
                if trades == NONE:
                    phases.known[g, instrument + 1] = 0
                    lost += 1
    return lost


PHASES: Final = ExtraParts(add_to_phases, part_phases, end_phases, turn_phases, has_room)


class PhaseKernels(NamedTuple):
    """The entry points for triggered windows alone, compiled for a set of measures."""

    rebuild: Any
    """``rebuild(bars)``: adds the open windows up from the log; returns of how many it no longer holds all."""
    end: Any
    """``end(bars, clock_ns)``: tells of the open windows, which have ended by ``clock_ns`` at the latest."""


@lru_cache(maxsize=8)
def phase_kernels(measures: Compiled, fingerprint: str) -> PhaseKernels:
    """Compiles nothing yet; the first call of each kernel does, or finds it compiled."""
    entry_point = kernel_of(f"{fingerprint}-phases")

    @entry_point
    def rebuild(bars: BarState) -> Any:
        return rebuild_phases(bars, measures)

    @entry_point
    def end(bars: BarState, clock_ns: int) -> None:
        end_phases(bars, clock_ns, True, measures)

    return PhaseKernels(rebuild, end)
