"""Parts of the kernels of bars: what a bar's row is made of, and the trades of a window added up from the log."""

from typing import Any

from signals.domain import count
from signals.domain.bar_state import NONE, BarState
from signals.domain.layout import Array, Row
from signals.domain.ohlcv import SUM_MAX
from signals.domain.session_ends import closed_at
from signals.kernels import part


@part
def covered_until(bars: BarState, w: int) -> Any:
    """Event time from which on trades of the open window are in the tally of its feeder, or are still to come."""
    feeder = bars.feeders[w]
    return bars.starts[w] + bars.windows[w] if feeder == NONE else bars.starts[feeder]


@part
def write_bar(
    rows: Array, at: int, bars: BarState, length: int, start: int, tally: Row, trades: int, measures: Any
) -> Any:
    """A row of a bar: its numbers, or zeros where no trade is left. Returns the row."""
    rows[at] = bars.blank[0]
    row = rows[at]
    row.window_start_ns = start
    row.window_ns = length
    if trades:
        measures.result(tally, row)
    return row


@part
def issue_bar(
    bars: BarState, length: int, instrument: int, start: int, tally: Row, trades: int, revision: int, measures: Any
) -> None:
    at = bars.counters[count.ISSUED]
    bars.counters[count.ISSUED] += 1
    bars.counters[count.BARS] += 1
    row = write_bar(bars.issued, at, bars, length, start, tally, trades, measures)
    row.instrument_id = instrument
    row.revision = revision
    bars.counters[count.SUM_AT_LIMIT] += row.notional_e4 == SUM_MAX or row.volume == SUM_MAX


@part
def newest_before(number: int, end: int, log: Array, first: int) -> Any:
    """The last trade before ``end`` in the chain of trade ``number``; NONE if the log no longer holds the way there."""
    mask = len(log) - 1
    newer = log[number & mask].newer
    while newer >= first and log[newer & mask].event_ns < end:
        number = newer
        newer = log[number & mask].newer
    return NONE if NONE < newer < first else number


@part
def fold_trades(bars: BarState, newest: int, start: int, end: int, measures: Any) -> Any:
    """Adds the trades of [start, end) up in the first scratch tally. ``newest``: the last of them, or NONE.

    Returns (trades that stand, revision that a bar of them has now), or (NONE, 0) if the log no longer holds all.
    """
    log, first = bars.log, bars.counters[count.TRADES_FIRST]
    mask = len(log) - 1
    tally = bars.scratch[0]
    bars.scratch[0] = bars.scratch[1]
    restatements, was_issued, closed_ns = 0, 0, closed_at(bars, start, end)
    number, oldest = newest, NONE
    while number != NONE:
        if number < first:
            if log[first & mask].clock_ns >= start:
                return NONE, 0
            break  # whatever has left the log happened before
        trade = log[number & mask]
        if trade.event_ns < start:
            break
        restatements += (trade.clock_ns >= closed_ns) + (trade.broken_ns >= closed_ns)
        was_issued |= trade.clock_ns < closed_ns and (trade.broken_ns == 0 or trade.broken_ns >= closed_ns)
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
