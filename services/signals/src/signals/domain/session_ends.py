"""Parts of kernels: a window ends with the session that it has begun in, where it would have ended later.

So the clock need not leap to the end of a day for its bar, and what comes after the session is not late for hours that
nobody has traded in. What is remembered of a session's end is the partition's clock, which passes at that moment
everything that was booked before. All else follows from it: a window that begins at ``start`` has ended by then where
``start`` is before it, and a trade or a break that was booked by that clock or a later one restates it.
"""

from typing import Any, Final

from signals.domain import count
from signals.domain.alignment import window_start
from signals.domain.bar_state import BarState
from signals.domain.layout import Array
from signals.kernels import part

ENDS_MAX: Final = 64
"""Ends of sessions that are remembered at most, of those since the log of trades began."""
LONG_AGO_NS: Final = -(1 << 62)


@part
def next_to_end(windows: Array, starts: Array) -> int:
    """Place of the open window that ends next, the shortest if there are several; ``windows``: lengths."""
    due = 0
    for w in range(1, len(windows)):
        if starts[w] + windows[w] < starts[due] + windows[due]:
            due = w
    return due


@part
def last_end(bars: BarState) -> Any:
    """Clock of the last end of a session."""
    known = bars.counters[count.ENDS]
    return bars.ends[known - 1] if known else LONG_AGO_NS


@part
def closed_at(bars: BarState, start: int, end: int) -> Any:
    """Clock by which a window has ended: its own end, or that of the session that it has begun in."""
    for k in range(bars.counters[count.ENDS]):
        if start < bars.ends[k] < end:
            return bars.ends[k]
    return end


@part
def is_held_by_ended_slide(bars: BarState, event_ns: int) -> Any:
    """Whether a sliding window that has ended with a session holds a trade of that time."""
    slides = bars.slides
    for s in range(len(slides.windows)):
        step = bars.windows[slides.steps[s]]
        if window_start(event_ns, step, bars.counters[count.ANCHOR_NS]) + step - slides.windows[s] < last_end(bars):
            return True
    return False
