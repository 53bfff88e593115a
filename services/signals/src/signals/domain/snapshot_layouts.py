"""The layouts that snapshots of a market have had, and how each becomes the next.

1. The arrays of books, bars and showcase. The tally of a window, of whatever length, holds all trades of the open one.
   What it was made under is not said: the bars, of the windows in ``bars.windows``.
2. A tally holds a record per measure; the bars' is ``ohlcv``. The tallies of a window that is merged from another one
   hold what happened before the open window of that one, its feeder. ``feeders``, ``since_ns``, ``measured_since_ns``
   and the windows of the showcase are said.
3. Sliding windows: ``slide_*``. A trade in the log says who was the aggressor.
4. Market alerts. Of the books, who is named in the running second.
5. Measures of quotes, where there are any: ``quoted``.
6. ``ends``: windows end with sessions.
7. Patterns of orders, where there are any: ``matched``.
8. ``watermark``: feeds have one of their own. ``held``: what the books have said of a time that it has not reached.
9. Session windows, where there are any: ``gap_*``.
10. What windows are aligned to, in the counters of the bars.
11. Triggered windows, where there are any: ``phase_*``.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from common.books import count as book_count
from common.books.layout import LISTING

from signals.domain import count
from signals.domain.alert_board import AlertBoard
from signals.domain.bar_state import NONE
from signals.domain.gap_windows import admitted, gap_state, gaps_saved
from signals.domain.held_back import HeldBack
from signals.domain.layout import TRADE, Array
from signals.domain.measure_set import measure_set
from signals.domain.ohlcv import OHLCV
from signals.domain.session_ends import ENDS_MAX
from signals.domain.watermark import FeedBounds, Watermark

Arrays = dict[str, Array]
Declared = Mapping[str, Any]


def _to_2(arrays: Arrays, _declared: Declared) -> tuple[Arrays, Declared]:
    """Every tally held all trades of its open window, whatever was left over where there is none."""
    bars = measure_set()
    counts, old = arrays["bars.counts"], arrays["bars.tallies"]
    tallies = np.zeros(counts.shape, bars.tally)
    for name in old.dtype.names or ():
        tallies[OHLCV.name][name] = np.where(counts > 0, old[name], 0)
    tallies[OHLCV.name]["trades"] = counts
    windows = arrays["bars.windows"]
    grown = {
        "bars.tallies": tallies,
        "bars.feeders": np.full(len(windows), NONE, np.int64),
        "bars.since_ns": np.zeros(len(windows), np.int64),
        "bars.measured_since_ns": np.zeros(len(windows), np.int64),
        "showcase.windows": windows,
        "showcase.void": np.stack([windows, arrays["showcase.void"]], axis=1),
    }
    return arrays | grown, {"windows_ns": windows.tolist(), "measures": bars.declaration()}


def _to_3(arrays: Arrays, declared: Declared) -> tuple[Arrays, Declared]:
    """There was no sliding window, and who traded aggressively was not known."""
    none = np.zeros(0, np.int64)
    empty = dict.fromkeys(("windows", "steps", "last_ns", "since_ns"), none)
    shape = (0, arrays["bars.counts"].shape[1])
    empty |= {"first": np.zeros(1, np.int64), "counts": np.zeros(shape, np.int32)}
    empty |= {"panes": np.zeros(shape, arrays["bars.tallies"].dtype)}
    grown = {f"bars.slide_{name}": array for name, array in empty.items()}
    return arrays | grown | {"bars.log": arrays["bars.log"].view(TRADE)}, {**declared, "slides_ns": []}


def _to_4(arrays: Arrays, declared: Declared) -> tuple[Arrays, Declared]:
    """Nothing was judged: alerts begin with an empty baseline."""
    waiting, counters = arrays["books.waiting"], arrays["books.counters"]
    grown = {
        "books.waiting": np.concatenate((waiting, np.zeros_like(waiting[:1]))),
        "books.counters": np.concatenate((counters, np.zeros(book_count.SIZE - len(counters), np.int64))),
        "books.listings": arrays["books.listings"].view(LISTING),
    }
    grown |= {f"board.{name}": array for name, array in AlertBoard().arrays().items()}
    return arrays | grown, {**declared, "alerts": 0}


def _to_5(arrays: Arrays, declared: Declared) -> tuple[Arrays, Declared]:
    """No measure was made of quotes: any begins with the quotes as they stand."""
    return arrays, {**declared, "quoted": {}}


def _to_6(arrays: Arrays, declared: Declared) -> tuple[Arrays, Declared]:
    """No session had ended: the clock went to the ends of its windows."""
    return arrays | {"bars.ends": np.zeros(ENDS_MAX, np.int64)}, declared


def _to_7(arrays: Arrays, declared: Declared) -> tuple[Arrays, Declared]:
    """No pattern was followed."""
    return arrays, {**declared, "patterns": {}}


def _to_8(arrays: Arrays, declared: Declared) -> tuple[Arrays, Declared]:
    """The watermark was the greatest event time, whoever told it, and nothing waited for it."""
    watermark = Watermark(FeedBounds())
    watermark.pass_all(int(arrays["books.counters"][book_count.CLOCK_NS]))
    grown = {f"watermark.{name}": array for name, array in watermark.arrays().items()}
    grown |= {f"held.{name}": array for name, array in HeldBack().arrays().items()}
    return arrays | grown, declared


def _to_9(arrays: Arrays, declared: Declared) -> tuple[Arrays, Declared]:
    """There was no session window."""
    log, counts = arrays["bars.log"], arrays["bars.counts"]
    none = admitted(gap_state((), arrays["bars.tallies"].dtype, np.dtype([]), len(log)), counts.shape[1])
    return arrays | {f"bars.{name}": array for name, array in gaps_saved(none).items()}, declared


def _to_10(arrays: Arrays, declared: Declared) -> tuple[Arrays, Declared]:
    """Windows were aligned to the epoch. They are until the next session begins."""
    counters = arrays["bars.counters"]
    grown = np.concatenate((counters, np.zeros(count.BARS_SIZE - len(counters), np.int64)))
    return arrays | {"bars.counters": grown}, declared


def _to_11(arrays: Arrays, declared: Declared) -> tuple[Arrays, Declared]:
    """There was no triggered window: any begins with the next trigger."""
    return arrays, declared


MIGRATIONS: Final[Mapping[int, Callable[[Arrays, Declared], tuple[Arrays, Declared]]]] = {
    2: _to_2,
    3: _to_3,
    4: _to_4,
    5: _to_5,
    6: _to_6,
    7: _to_7,
    8: _to_8,
    9: _to_9,
    10: _to_10,
    11: _to_11,
}
"""Version → what makes a snapshot of the version before into one of it. The newest is what is written."""
LAYOUT_VERSION: Final = max(MIGRATIONS)


def migrated(arrays: Arrays, declared: Declared, version: int) -> tuple[Arrays, Declared]:
    """Arrays and declaration of a snapshot of ``version`` in the newest layout."""
    for step in range(version + 1, LAYOUT_VERSION + 1):
        arrays, declared = MIGRATIONS[step](arrays, declared)
    return arrays, declared
