"""Parts of the kernels of bars: what open windows hold, added up anew from the log or shown as it is."""

from typing import Any

from signals.domain import count
from signals.domain.bar_state import NONE, BarState
from signals.domain.fold_kernel import covered_until, fold_trades, write_bar
from signals.domain.layout import Array
from signals.kernels import part


@part
def rebuild_open(bars: BarState, w: int, measures: Any) -> int:
    """Adds the open window of one length up anew from the log. Returns for how many instruments that is not possible:
    the log no longer holds all of their trades.
    """
    log, first = bars.log, bars.counters[count.TRADES_FIRST]
    mask = len(log) - 1
    lost = 0
    for instrument in range(bars.counts.shape[1]):
        number = bars.heads[instrument]
        end = covered_until(bars, w)
        while number >= first and log[number & mask].event_ns >= end:
            number = log[number & mask].older
        trades, _ = fold_trades(bars, number, bars.starts[w], end, measures)
        lost += trades == NONE
        bars.tallies[w, instrument] = bars.scratch[0] if trades > 0 else bars.scratch[1]
        bars.counts[w, instrument] = max(0, trades)
    return lost


@part
def show_open(ids: Array, bars: BarState, rows: Array, measures: Any) -> int:
    """Writes the content so far of open windows of some instruments. Returns how many rows of ``rows`` that takes."""
    at = 0
    for w in range(len(bars.windows)):
        for instrument in ids:
            trades = 0
            part_of = w
            while part_of != NONE:  # from the longest to the shortest is also from the oldest trades to the newest
                if bars.counts[part_of, instrument] and bars.starts[part_of] >= bars.starts[w]:
                    if trades:
                        measures.merge(bars.scratch[0], bars.tallies[part_of, instrument])
                    else:
                        bars.scratch[0] = bars.tallies[part_of, instrument]
                    trades += bars.counts[part_of, instrument]
                part_of = bars.feeders[part_of]
            if trades and bars.starts[w] >= bars.since_ns[w] and bars.hidden[w] == 0:
                row = write_bar(rows, at, bars, bars.windows[w], bars.starts[w], bars.scratch[0], trades, measures)
                row.instrument_id = instrument
                at += 1
    return at
