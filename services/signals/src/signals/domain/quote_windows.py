"""Windows of many instruments over their best prices and sizes. The work is done by ``quote_kernel``; here its arrays
are owned, saved and restored.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
from common.books.layout import BBO
from common.contracts.windows import feeder_of
from common.measures import Measure

from signals.domain.alignment import window_start
from signals.domain.bar_state import NONE, STOP_DONE
from signals.domain.layout import SPAN, Array
from signals.domain.measure_set import check_names, compiled, fingerprint
from signals.domain.quote_kernel import ANCHOR_NS, COUNTERS, DUE_NS, ISSUED, QuoteKernels, QuoteState, quote_kernels

_HEAD: Final = (
    ("symbol", "S16"),
    ("window_start_ns", "<i8"),
    ("window_ns", "<i8"),
    ("instrument_id", "<i4"),
    ("revision", "<i4"),
)
_KEPT: Final = ("windows", "starts", "since_ns", "tallies", "spans", "changes", "standing")
_QUOTE: Final = ("bid_e4", "bid_size", "ask_e4", "ask_size")


@lru_cache(maxsize=8)
def _kernels(measures: tuple[Measure, ...]) -> QuoteKernels:
    """Raises MeasureError."""
    check_names(measures)
    return quote_kernels(compiled(measures), fingerprint(measures))


class QuoteWindows:
    """The measures of quotes of one partition, over the tumbling ``windows_ns``. There is at least one measure."""

    def __init__(self, windows_ns: Sequence[int], measures: Sequence[Measure]) -> None:
        self.measures = tuple(sorted(measures, key=lambda measure: measure.name))
        self.results = tuple(name for measure in self.measures for name in measure.results)
        self._tally = np.dtype([(measure.name, measure.dtype) for measure in self.measures])
        self._row = np.dtype([*_HEAD, *((name, "<i8") for name in self.results)])
        self._kernels = _kernels(self.measures)
        lengths = sorted(windows_ns)
        feeders = [feeder_of(length, lengths) for length in lengths]
        self.state = QuoteState(
            windows=np.array(lengths, np.int64),
            feeders=np.array([NONE if f is None else lengths.index(f) for f in feeders], np.int64),
            starts=np.zeros(len(lengths), np.int64),
            since_ns=np.zeros(len(lengths), np.int64),
            tallies=np.zeros((len(lengths), 0), self._tally),
            spans=np.zeros((len(lengths), 0), np.int64),
            changes=np.zeros((len(lengths), 0), np.int64),
            standing=np.zeros(0, SPAN),
            counters=np.zeros(COUNTERS, np.int64),
            scratch=np.zeros(1, self._tally),
            issued=np.zeros(0, self._row),
        )
        self.state.counters[DUE_NS] = lengths[0]
        self.no_changes: Array = np.zeros(0, BBO)

    def admit(self, instruments: int) -> None:
        """Makes room for instruments 0 to ``instruments`` - 1."""
        state = self.state
        known = len(state.standing)
        if instruments <= known:
            return
        by_window = (len(state.windows), instruments)
        grown = state._replace(
            tallies=np.zeros(by_window, self._tally),
            spans=np.zeros(by_window, np.int64),
            changes=np.zeros(by_window, np.int64),
            standing=np.zeros(instruments, SPAN),
            issued=np.zeros(2 * instruments, self._row),
        )
        for name in ("tallies", "spans", "changes"):
            getattr(grown, name)[:, :known] = getattr(state, name)
        grown.standing[:known] = state.standing
        self.state = grown

    def apply(self, changes: Array, clock_ns: int) -> Array:
        """Takes ``changes`` (BBO rows of admitted instruments) and lets the clock come to ``clock_ns``.

        Returns the rows to issue, in order, without symbols.
        """
        parts: list[Array] = []
        at, stop = 0, None
        while stop != STOP_DONE:
            self.state.counters[ISSUED] = 0
            at, stop = self._kernels.apply_changes(changes, at, clock_ns, self.state)
            parts.append(self.state.issued[: self.state.counters[ISSUED]].copy())
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def close_all(self) -> Array:
        """Issues every window that is open, as if the clock had passed all of them."""
        return self.apply(self.no_changes, int((self.state.starts + self.state.windows).max()))

    def end_session(self, clock_ns: int) -> Array:
        """A session has ended, to which ``apply`` has brought the clock. Returns the rows of every window that has
        begun; what changes in it from now on is in none.
        """
        parts: list[Array] = []
        for w in range(len(self.state.windows)):
            self.state.counters[ISSUED] = 0
            self._kernels.end_window(w, clock_ns, self.state)
            parts.append(self.state.issued[: self.state.counters[ISSUED]].copy())
        return np.concatenate(parts)

    def align(self, anchor_ns: int) -> None:
        """Sets what windows are aligned to, before there is any."""
        self.state.counters[ANCHOR_NS] = anchor_ns
        self._open(0)

    def _open(self, clock_ns: int) -> None:
        """The windows that hold the clock are open, and empty."""
        state = self.state
        state.starts[:] = window_start.py_func(clock_ns, state.windows, int(state.counters[ANCHOR_NS]))
        state.counters[DUE_NS] = (state.starts + state.windows).min()

    def begin_session(self, clock_ns: int, before_ns: int, anchor_ns: int) -> Array:
        """A session begins: books are empty, and the clock is set, forth or back from ``before_ns``. Returns the rows
        that this issues. A window that has not ended yet goes on, as that of a bar does, if windows of the session are
        aligned to the same ``anchor_ns``.
        """
        state = self.state
        if clock_ns < before_ns or anchor_ns != state.counters[ANCHOR_NS]:
            rows = self.close_all()
            state.counters[ANCHOR_NS] = anchor_ns
            state.since_ns[:] = 0
            self._open(clock_ns)
        else:
            rows = self.apply(self.no_changes, clock_ns)
            self._kernels.stand_all(clock_ns, state)
        state.standing[:] = np.zeros(1, SPAN)
        state.standing["begin_ns"] = clock_ns
        return rows

    # --- snapshots -------------------------------------------------------------------------------------------------

    def declaration(self) -> dict[str, Any]:
        """Declaration that a snapshot keeps of the measures."""
        return {measure.name: measure.declaration() for measure in self.measures}

    def arrays(self) -> dict[str, Array]:
        """The whole state by name, for a snapshot. Nothing is copied."""
        return {name: getattr(self.state, name) for name in _KEPT}

    def restore(self, arrays: Mapping[str, Array], declared: Mapping[str, Any], quotes: Array, clock_ns: int) -> None:
        """Takes over what ``arrays`` gave, made under ``declared``, if windows and measures are the same.

        Else measures begin anew with ``quotes``, the best prices and sizes ``[instrument, 4]`` as they stand at
        ``clock_ns``, and a window is issued from the next one on.
        """
        self.admit(len(quotes))
        state = self.state
        if arrays and declared == self.declaration() and arrays["windows"].tolist() == state.windows.tolist():
            known = len(arrays["standing"])
            for name in ("tallies", "spans", "changes"):
                getattr(state, name)[:, :known] = arrays[name]
            state.standing[:known] = arrays["standing"]
            state.starts[:], state.since_ns[:] = arrays["starts"], arrays["since_ns"]
        else:
            state.standing["begin_ns"] = clock_ns
            for column, name in enumerate(_QUOTE):
                state.standing[name] = quotes[:, column]
            self._open(clock_ns)
            state.since_ns[:] = state.starts + state.windows if clock_ns else 0
        state.counters[DUE_NS] = (state.starts + state.windows).min()
