"""Parts of the kernels of bars: sliding windows, merged from the panes that they slide by.

A window (length, step) ends whenever its pane, the tumbling window of length ``step``, does. So it costs nothing per
trade, and one merge per pane and instrument at each step (panes: Li et al., SIGMOD Record 34, 2005).
"""

from typing import Any

from signals.domain import count
from signals.domain.alignment import window_start
from signals.domain.bar_state import NONE, BarState
from signals.domain.fold_kernel import fold_trades, issue_bar, newest_before
from signals.domain.session_ends import last_end
from signals.kernels import outlined, part


@part
def _slot(bars: BarState, s: int, pane_start: int) -> Any:
    """Row of the pane that begins at ``pane_start``."""
    slides = bars.slides
    panes = slides.first[s + 1] - slides.first[s]
    return slides.first[s] + pane_start // bars.windows[slides.steps[s]] % panes


@part
def _is_issued_here(bars: BarState, s: int, start: int) -> Any:
    """Whether the window that begins at ``start`` is not its tumbling twin's to issue."""
    return bars.slides.twins[s] == 0 or (start - bars.counters[count.ANCHOR_NS]) % bars.slides.windows[s] != 0


@part
def _with_pane(bars: BarState, slot: int, instrument: int, trades: int, measures: Any) -> Any:
    """Adds a pane to the window in ``scratch``, which has ``trades`` trades so far; returns them with the pane's."""
    held = bars.slides.counts[slot, instrument]
    if held:
        if trades:
            measures.merge(bars.scratch[0], bars.slides.panes[slot, instrument])
        else:
            bars.scratch[0] = bars.slides.panes[slot, instrument]
    return trades + held


@part
def _slide(bars: BarState, s: int, measures: Any) -> None:
    """The open pane of window ``s`` has ended: keeps it, and issues the windows that end with it."""
    slides = bars.slides
    w = slides.steps[s]
    step, pane_start = bars.windows[w], bars.starts[w]
    panes = slides.first[s + 1] - slides.first[s]
    newest = _slot(bars, s, pane_start)
    start = pane_start + step - slides.windows[s]
    issued = start >= slides.since_ns[s] and start >= last_end(bars) and _is_issued_here(bars, s, start)
    for instrument in range(bars.counts.shape[1]):
        slides.counts[newest, instrument] = bars.counts[w, instrument]
        if bars.counts[w, instrument]:
            slides.panes[newest, instrument] = bars.tallies[w, instrument]
            slides.last_ns[s] = pane_start
        trades = 0
        for k in range(1, panes + 1):
            if issued:
                slot = slides.first[s] + (newest - slides.first[s] + k) % panes
                trades = _with_pane(bars, slot, instrument, trades, measures)
        if trades:
            issue_bar(bars, slides.windows[s], instrument, start, bars.scratch[0], trades, 0, measures)


@outlined
def slide_all(bars: BarState, w: int, measures: Any) -> None:
    """The open window ``w`` has ended, and is still as it was: what slides by it goes on."""
    for s in range(len(bars.slides.windows)):
        if bars.slides.steps[s] == w:
            _slide(bars, s, measures)


@part
def _end_with_session(bars: BarState, s: int, start: int, measures: Any) -> None:
    """Issues the window that begins at ``start`` from the panes that it has, up to the last one that was closed."""
    slides = bars.slides
    step = bars.windows[slides.steps[s]]
    for instrument in range(bars.counts.shape[1]):
        trades = 0
        for pane_start in range(start, bars.starts[slides.steps[s]], step):
            trades = _with_pane(bars, _slot(bars, s, pane_start), instrument, trades, measures)
        if trades:
            issue_bar(bars, slides.windows[s], instrument, start, bars.scratch[0], trades, 0, measures)


@outlined
def end_slides(bars: BarState, end_ns: int, measures: Any) -> None:
    """A session ends, and the panes that have begun in it are closed: issues the windows that have begun in it, too."""
    slides = bars.slides
    for s in range(len(slides.windows)):
        w = slides.steps[s]
        for start in range(bars.starts[w] + bars.windows[w] - slides.windows[s], end_ns, bars.windows[w]):
            if start >= slides.since_ns[s] and start >= last_end(bars) and _is_issued_here(bars, s, start):
                _end_with_session(bars, s, start, measures)


@part
def next_start(bars: BarState, w: int, clock_ns: int) -> Any:
    """Start of the window ``w`` that is open next. While panes that slide by it hold trades, no step is left out."""
    start = window_start(clock_ns, bars.windows[w], bars.counters[count.ANCHOR_NS])
    slides = bars.slides
    for s in range(len(slides.windows)):
        if slides.steps[s] == w and bars.starts[w] < slides.last_ns[s] + slides.windows[s]:
            start = min(start, bars.starts[w] + bars.windows[w])
    return start


@part
def _fold_pane(bars: BarState, s: int, instrument: int, pane_start: int, measures: Any) -> Any:
    """Adds one ended pane up anew from the log. False: the log no longer holds all of it."""
    slides, first = bars.slides, bars.counters[count.TRADES_FIRST]
    end = pane_start + bars.windows[slides.steps[s]]
    mask = len(bars.log) - 1
    number = bars.heads[instrument]
    while number >= first and bars.log[number & mask].event_ns >= end:
        number = bars.log[number & mask].older
    trades, _ = fold_trades(bars, number, pane_start, end, measures)
    slot = _slot(bars, s, pane_start)
    slides.counts[slot, instrument] = max(0, trades)
    if trades > 0:
        slides.panes[slot, instrument] = bars.scratch[0]
        slides.last_ns[s] = max(slides.last_ns[s], pane_start)
    return trades != NONE


@outlined
def restate_slides(bars: BarState, number: int, measures: Any) -> bool:
    """A trade came late or is broken: its pane is added up anew, and the windows that held it and have ended are issued
    again. False: the log no longer holds all of any of them.
    """
    slides, first = bars.slides, bars.counters[count.TRADES_FIRST]
    trade = bars.log[number & (len(bars.log) - 1)]
    instrument = trade.instrument_id
    held = False
    for s in range(len(slides.windows)):
        w = slides.steps[s]
        length, step, open_start = slides.windows[s], bars.windows[w], bars.starts[w]
        pane_start = window_start(trade.event_ns, step, bars.counters[count.ANCHOR_NS])
        ended_ns = last_end(bars)
        if pane_start >= open_start and pane_start + step - length >= ended_ns:
            continue
        if open_start > pane_start > open_start - length:  # windows that are still to end hold it
            if _fold_pane(bars, s, instrument, pane_start, measures):
                held = True
            else:
                slides.since_ns[s] = max(slides.since_ns[s], pane_start + step)
        for start in range(pane_start + step - length, pane_start + step, step):
            is_open = start + length > open_start and start >= ended_ns
            if is_open or not _is_issued_here(bars, s, start):
                continue
            newest = newest_before(number, start + length, bars.log, first)
            trades, revision = NONE, 0
            if newest != NONE:
                trades, revision = fold_trades(bars, newest, start, start + length, measures)
            if trades == NONE:
                bars.counters[count.LOST_RESTATEMENT] += 1
            else:
                issue_bar(bars, length, instrument, start, bars.scratch[0], trades, revision, measures)
                held = True
    return held


@part
def rebuild_panes(bars: BarState, s: int, measures: Any) -> int:
    """Adds every pane of window ``s`` up anew from the log. Returns for how many panes of an instrument that is not
    possible; windows that would hold one of them are not issued.
    """
    slides = bars.slides
    step, open_start = bars.windows[slides.steps[s]], bars.starts[slides.steps[s]]
    lost = 0
    for pane_start in range(open_start - slides.windows[s] + step, open_start, step):
        for instrument in range(bars.counts.shape[1]):
            if not _fold_pane(bars, s, instrument, pane_start, measures):
                slides.since_ns[s] = max(slides.since_ns[s], pane_start + step)
                lost += 1
    return lost
