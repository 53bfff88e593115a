"""The kernel of the measures of quotes: changes of best prices in, spans added to windows, windows closed by the clock.

Of each length one window is open, as with the bars. A change ends the span of what stood before. A span is added to the
shortest window of each chain of lengths that divide each other, and a window that ends is merged into the next longer
one. An instrument whose quote stands still costs nothing: what has stood since before a longer window's open feeder
began is added to the longer window once, when the quote changes or the window ends. A window in which an instrument's
quote did not change is not issued.
"""

from typing import Any, Final, NamedTuple

from signals.domain.alignment import window_start
from signals.domain.bar_state import NONE, STOP_DONE, STOP_ISSUED
from signals.domain.layout import Array, Row
from signals.domain.measure_set import Compiled
from signals.domain.session_ends import next_to_end
from signals.kernels import kernel_of, outlined, part

ISSUED: Final = 0
"""Places in the counters: rows of the buffer in use."""
DUE_NS: Final = 1
"""When the next open window ends."""
ANCHOR_NS: Final = 2
"""The time of day of UTC that windows are aligned to."""
COUNTERS: Final = 3


class QuoteState(NamedTuple):
    """The quotes of a partition. Windows are in rising order of their lengths."""

    windows: Array
    """Lengths, ns."""
    feeders: Array
    """Place of the window that a window is merged from; NONE: spans are added to the window itself."""
    starts: Array
    """Start of the open window of each length."""
    since_ns: Array
    """Windows that start before are not known as a whole, and are not issued."""
    tallies: Array
    """Open tally ``[window, instrument]``; zeros where ``spans`` is."""
    spans: Array
    """Spans in it."""
    changes: Array
    """Changes of the quote in it."""
    standing: Array
    """SPAN row of each instrument: the quote that stands, and since when it is in no tally."""
    counters: Array
    scratch: Array
    """A tally of zeros."""
    issued: Array
    """Rows that were issued."""


@part
def _add(state: QuoteState, w: int, instrument: int, begin_ns: int, end_ns: int, changed: int, measures: Any) -> None:
    span = state.standing[instrument]
    span.begin_ns, span.end_ns, span.changed = begin_ns, end_ns, changed
    measures.add(state.tallies[w, instrument], span)
    state.spans[w, instrument] += 1


@outlined
def _stand(state: QuoteState, instrument: int, until_ns: int, measures: Any) -> None:
    """Adds the quote that stands to every open window that it belongs to, up to ``until_ns``."""
    span = state.standing[instrument]
    since_ns, changed = span.begin_ns, span.changed
    if changed or (until_ns > since_ns and (span.bid_size or span.ask_size)):
        for w in range(len(state.windows)):
            feeder = state.feeders[w]
            begin_ns = max(since_ns, state.starts[w])
            end_ns = until_ns if feeder == NONE else min(until_ns, state.starts[feeder])
            is_new = changed if feeder == NONE and since_ns >= state.starts[w] else 0
            if end_ns > begin_ns or (is_new and end_ns == begin_ns):
                _add(state, w, instrument, begin_ns, end_ns, is_new, measures)
    span.begin_ns, span.changed = until_ns, 0


@part
def _change(state: QuoteState, change: Row, measures: Any) -> None:
    _stand(state, change.instrument_id, change.clock_ns, measures)
    span = state.standing[change.instrument_id]
    span.before_bid_e4, span.before_bid_size = span.bid_e4, span.bid_size
    span.before_ask_e4, span.before_ask_size = span.ask_e4, span.ask_size
    span.bid_e4, span.bid_size = change.bid_e4, change.bid_size
    span.ask_e4, span.ask_size = change.ask_e4, change.ask_size
    span.changed = 1
    for w in range(len(state.windows)):
        if state.feeders[w] == NONE and state.starts[w] <= change.clock_ns:
            state.changes[w, change.instrument_id] += 1


@part
def _pour(state: QuoteState, w: int, instrument: int, fed: int, measures: Any) -> None:
    """Merges the tally of a window that has ended into the open one that it feeds."""
    if state.spans[fed, instrument]:
        measures.merge(state.tallies[fed, instrument], state.tallies[w, instrument])
    else:
        state.tallies[fed, instrument] = state.tallies[w, instrument]
    state.spans[fed, instrument] += state.spans[w, instrument]
    state.changes[fed, instrument] += state.changes[w, instrument]


@outlined
def _close(state: QuoteState, w: int, end_ns: int, measures: Any) -> None:
    """Issues and empties the open window of one length, which ends at ``end_ns``, instrument by instrument."""
    start = state.starts[w]
    for instrument in range(state.spans.shape[1]):
        if state.changes[w, instrument]:
            _stand(state, instrument, end_ns, measures)
            if start >= state.since_ns[w]:
                row = state.issued[state.counters[ISSUED]]
                state.counters[ISSUED] += 1
                row.instrument_id = instrument
                row.window_start_ns = start
                row.window_ns = state.windows[w]
                row.revision = 0
                measures.result(state.tallies[w, instrument], row)
        if state.spans[w, instrument]:
            for fed in range(w + 1, len(state.windows)):
                if state.feeders[fed] == w and start >= state.starts[fed]:  # else the fed one has ended before
                    _pour(state, w, instrument, fed, measures)
            state.tallies[w, instrument] = state.scratch[0]
            state.spans[w, instrument] = 0
            state.changes[w, instrument] = 0


@part
def _see_what_is_due(state: QuoteState) -> None:
    """Notes when the next open window ends."""
    due = next_to_end(state.windows, state.starts)
    state.counters[DUE_NS] = state.starts[due] + state.windows[due]


@part
def _advance(state: QuoteState, clock_ns: int, measures: Any) -> bool:
    """Closes what has ended by ``clock_ns``: by end, then length. False: the buffer may not hold what comes next."""
    windows, starts = state.windows, state.starts
    while clock_ns >= state.counters[DUE_NS]:
        if state.counters[ISSUED] > len(state.issued) - state.spans.shape[1]:
            return False
        due = next_to_end(windows, starts)
        _close(state, due, starts[due] + windows[due], measures)
        starts[due] = window_start(clock_ns, windows[due], state.counters[ANCHOR_NS])
        _see_what_is_due(state)
    return True


@part
def _end_window(state: QuoteState, w: int, end_ns: int, measures: Any) -> None:
    if state.starts[w] < end_ns:
        _close(state, w, end_ns, measures)
        state.starts[w] += state.windows[w]
        _see_what_is_due(state)


class QuoteKernels(NamedTuple):
    """The entry points, compiled for a set of measures."""

    apply_changes: Any
    end_window: Any
    stand_all: Any


def quote_kernels(measures: Compiled, fingerprint: str) -> QuoteKernels:
    """Compiles nothing yet; the first call of each kernel does, or finds it compiled."""
    entry_point = kernel_of(fingerprint)

    @entry_point
    def apply_changes(changes: Array, at: int, clock_ns: int, state: QuoteState) -> tuple[int, int]:
        """Takes BBO rows from ``at`` on, then lets the clock come to ``clock_ns``.

        Returns (index of the first row that is not taken, why it came back).
        """
        while at < len(changes):
            change = changes[at]
            if not _advance(state, change.clock_ns, measures):
                return at, STOP_ISSUED
            _change(state, change, measures)
            at += 1
        return at, STOP_DONE if _advance(state, clock_ns, measures) else STOP_ISSUED

    @entry_point
    def end_window(w: int, end_ns: int, state: QuoteState) -> None:
        """Ends the open window of one length with the session, which ends at ``end_ns``, if it has begun."""
        _end_window(state, w, end_ns, measures)

    @entry_point
    def stand_all(until_ns: int, state: QuoteState) -> None:
        """Adds every quote that stands to its open windows, up to ``until_ns``."""
        for instrument in range(len(state.standing)):
            _stand(state, instrument, until_ns, measures)

    return QuoteKernels(apply_changes, end_window, stand_all)
