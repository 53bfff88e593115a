"""Bars of many instruments, by event time. The work is done by ``bar_kernel``; here its arrays are owned.

What prints (Nasdaq TotalView-ITCH 5.0, sections 1.4 and 1.5): E at the price of the resting order, C where it is
printable, P, and Q of more than no shares. A broken trade (B) restates its bars: the bar is issued again with the next
``revision``; a bar of which no trade stands is issued with nothing but zeros, so that a reader takes it back. A trade
that comes after its window has ended restates in the same way, as far as the log of trades reaches.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from common.books.layout import PRINT
from common.books.ref_table import rehash
from common.contracts.market import Lates
from common.contracts.windows import ALLOWED_LATENESS_NS, feeder_of

from signals.domain import count
from signals.domain.bar_kernel import bar_kernels, forget_trades, rows_at_once
from signals.domain.bar_state import NONE, STOP_DONE, STOP_ISSUED, BarState
from signals.domain.gap_windows import GapRows, admitted, gap_state, gaps_ended, gaps_moved, gaps_restored, gaps_saved
from signals.domain.late_rows import NO_LATES, late_rows
from signals.domain.layout import MATCH, RESTATED, SLICE, TRADE, Array
from signals.domain.measure_set import MeasureSet, measure_set
from signals.domain.ohlcv import OHLCV
from signals.domain.session_ends import ENDS_MAX, LONG_AGO_NS
from signals.domain.slide_state import slide_state

TRADES_MAX: Final = 1 << 20
"""Trades that a partition's log holds at most, 72 bytes each. Beyond it the oldest eighth goes."""
RESTATED_MAX: Final = 1 << 12
"""Restated bars that are remembered at most, about 120 bytes each; a power of two."""
_TRADES_AT_FIRST: Final = 1 << 10
_GROWTH: Final = 4
_KEPT: Final = (
    *("windows", "feeders", "starts", "since_ns", "tallies", "counts"),
    *("heads", "log", "matches", "counters", "ends"),
)
_SLIDES_KEPT: Final = ("windows", "steps", "first", "last_ns", "since_ns", "panes", "counts")
_NO_SLICES: Final[Array] = np.zeros(0, SLICE)


class TumblingBars:
    """The bars of one partition. ``windows_ns``: lengths of the tumbling windows, which are aligned to the epoch;
    ``slides_ns``: length and step of sliding ones. One that begins at a multiple of its length is the tumbling one.
    ``gaps_ns``: of session windows.
    ``trades_max``, a power of two: trades that the log holds. ``lateness_ns``: a trade that is earlier than the clock
    by more is in no window. ``slice_ns``: the windows of this length are handed out as slices when they end; 0: none.
    """

    def __init__(
        self,
        windows_ns: Sequence[int],
        measures: MeasureSet | None = None,
        *,
        slides_ns: Sequence[tuple[int, int]] = (),
        gaps_ns: Sequence[int] = (),
        trades_max: int = TRADES_MAX,
        lateness_ns: int = ALLOWED_LATENESS_NS,
        slice_ns: int = 0,
    ) -> None:
        self.measures = measures or measure_set()
        self._kernels = bar_kernels(self.measures, with_sessions=bool(gaps_ns))
        self._trades_max = trades_max
        self._lateness_ns = lateness_ns
        self._late: Array = np.zeros((0, 2), np.int64)
        self.late: Lates = NO_LATES
        """Trades of the last ``apply`` that no window holds, without symbols."""
        self.slices: Array = _NO_SLICES
        """SLICE rows of the last ``apply``, by time, without what came late."""
        self.sessions = GapRows(self.measures)
        """Rows of session windows that were told, until they are taken."""
        self._none: Array = np.zeros(0, self.measures.row)
        self.no_prints: Array = np.zeros(0, PRINT)
        lengths = sorted({*windows_ns, *(step for _, step in slides_ns), *((slice_ns,) if slice_ns else ())})
        self.measured_since_ns: Array = np.zeros(len(lengths), np.int64)
        """Start, by place, before which only the bars of a window are known as a whole, not the other measures."""
        feeders = [feeder_of(length, lengths) for length in lengths]
        trades = min(_TRADES_AT_FIRST, trades_max)
        self.state = BarState(
            windows=np.array(lengths, np.int64),
            feeders=np.array([NONE if f is None else lengths.index(f) for f in feeders], np.int64),
            hidden=np.array([length not in windows_ns for length in lengths], np.int8),
            sliced=np.array([length == slice_ns for length in lengths], np.int8),
            slides=slide_state(lengths, windows_ns, sorted(slides_ns), self.measures),
            gaps=gap_state(gaps_ns, self.measures.tally, self.measures.row, trades),
            starts=np.zeros(len(lengths), np.int64),
            ends=np.zeros(ENDS_MAX, np.int64),
            since_ns=np.zeros(len(lengths), np.int64),
            tallies=np.zeros((len(lengths), 0), self.measures.tally),
            counts=np.zeros((len(lengths), 0), np.int32),
            heads=np.zeros(0, np.int64),
            log=np.zeros(trades, TRADE),
            matches=np.zeros(2 * trades, MATCH),
            counters=np.zeros(count.BARS_SIZE, np.int64),
            scratch=np.zeros(2, self.measures.tally),
            issued=np.zeros(0, self.measures.row),
            slices=_NO_SLICES,
            blank=np.zeros(1, self.measures.row),
            fingers=np.zeros(0, np.int64),
            restated=np.zeros(RESTATED_MAX, RESTATED),
            restated_tallies=np.zeros(RESTATED_MAX, self.measures.tally),
        )
        self.state.counters[count.DUE_NS] = lengths[0]

    def admit(self, instruments: int) -> None:
        """Makes room for instruments 0 to ``instruments`` - 1."""
        state = self.state
        known = len(state.heads)
        if instruments <= known:
            return
        heads = np.full(instruments, NONE, np.int64)
        tallies = np.zeros((len(state.windows), instruments), self.measures.tally)
        counts = np.zeros((len(state.windows), instruments), np.int32)
        heads[:known], tallies[:, :known], counts[:, :known] = state.heads, state.tallies, state.counts
        panes = np.zeros((len(state.slides.panes), instruments), self.measures.tally)
        held = np.zeros(panes.shape, np.int32)
        panes[:, :known], held[:, :known] = state.slides.panes, state.slides.counts
        slides = state.slides._replace(panes=panes, counts=held)
        fingers = np.full(instruments, NONE, np.int64)
        fingers[:known] = state.fingers
        gaps = admitted(state.gaps, instruments)
        self.state = state._replace(
            heads=heads, tallies=tallies, counts=counts, slides=slides, gaps=gaps, fingers=fingers
        )

    def apply(self, prints: Array, clock_ns: int, listings: Array) -> Array:
        """Books ``prints`` (PRINT rows of admitted instruments) and lets the clock come to ``clock_ns``.

        Returns the rows to issue, in order, without symbols. A broken trade leaves ``listings``' volume.
        """
        if not len(prints) and clock_ns < self.sessions.due_ns(self.state):
            self.late, self.slices = NO_LATES, _NO_SLICES
            return self._none
        if len(self._late) < len(prints):
            self._late = np.zeros((len(prints), 2), np.int64)
        wanted = 2 * int(rows_at_once.py_func(self.state))
        if len(self.state.issued) < wanted:
            self.state = self.state._replace(issued=np.zeros(wanted, self.measures.row))
        if self.state.sliced.any() and len(self.state.slices) < 2 * len(self.state.heads):
            self.state = self.state._replace(slices=np.zeros(2 * len(self.state.heads), SLICE))
        self.state = self.sessions.begun(self.state)
        self.state.counters[[count.ISSUED, count.LATE_ROWS, count.SLICES]] = 0
        parts: list[Array] = []
        slices: list[Array] = []
        at, stop = 0, STOP_ISSUED
        while stop != STOP_DONE:
            at, stop = self._kernels.apply_prints(
                prints, at, clock_ns, self._lateness_ns, listings, self._late, self.state
            )
            if stop == STOP_ISSUED:
                self.sessions.drain(self.state)
                parts.append(self._drain())
                slices.append(self._drain_slices())
            elif stop != STOP_DONE:
                self._make_room()
        self.sessions.drain(self.state)
        parts.append(self._drain())
        slices.append(self._drain_slices())
        self.slices = slices[0] if len(slices) == 1 else np.concatenate(slices)
        self.late = late_rows(prints, self._late[: self.state.counters[count.LATE_ROWS]])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _drain(self) -> Array:
        rows = self.state.issued[: self.state.counters[count.ISSUED]].copy()
        self.state.counters[count.ISSUED] = 0
        return rows

    def _drain_slices(self) -> Array:
        rows = self.state.slices[: self.state.counters[count.SLICES]].copy()
        self.state.counters[count.SLICES] = 0
        return rows

    def _make_room(self) -> None:
        state = self.state
        if len(state.log) >= self._trades_max:
            forget_trades(state.log, state.matches, state.counters, max(1, len(state.log) // 8))
            self._forget_restated()
            return
        size = min(_GROWTH * len(state.log), self._trades_max)
        log, matches = np.zeros(size, TRADE), np.zeros(2 * size, MATCH)
        # A trade keeps its number, whose lower bits are its place.
        numbers = state.counters[count.TRADES_FIRST] + np.arange(len(state.log))
        split = -int(numbers[0]) % len(state.log)
        for run in (numbers[:split], numbers[split:]):
            if len(run):
                source, target = int(run[0]) % len(state.log), int(run[0]) % len(log)
                log[target : target + len(run)] = state.log[source : source + len(run)]
        rehash(state.matches, matches)
        self.state = state._replace(log=log, matches=matches, gaps=gaps_moved(state.gaps, numbers, size))

    def close_all(self, listings: Array) -> Array:
        """Issues every bar that is still open, as if the clock had passed all windows."""
        state = self.state
        ends = [state.starts + state.windows, state.starts[state.slides.steps] + state.slides.windows]
        return self.apply(self.no_prints, int(np.concatenate([*ends, gaps_ended(state.gaps)]).max()), listings)

    def end_session(self, clock_ns: int) -> Array:
        """A session has ended, to which ``apply`` has brought the clock; it is later than every clock before. Returns
        the rows of every window that has begun: whatever comes of them from now on restates them.
        """
        state, instruments = self.state, len(self.state.heads)
        self._forget_ends()
        most = instruments * (len(state.windows) + len(state.slides.panes))
        if len(state.issued) < most:
            state = self.state = state._replace(issued=np.zeros(most, self.measures.row))
        if state.sliced.any() and len(state.slices) < instruments:
            state = self.state = state._replace(slices=np.zeros(2 * instruments, SLICE))
        state = self.state = self.sessions.begun(state)
        self._kernels.end_session(state, clock_ns)
        self.sessions.drain(state)
        self.slices = self._drain_slices()
        return self._drain()

    def _forget_ends(self) -> None:
        """Makes room for one end of a session more. Trades of sessions whose end is not known leave the log with it."""
        state = self.state
        if state.counters[count.ENDS] < len(state.ends):
            return
        first, after = state.counters[[count.TRADES_FIRST, count.TRADES_NEXT]].tolist()
        clocks = state.log["clock_ns"][np.arange(first, after) & (len(state.log) - 1)]
        gone = int(np.searchsorted(clocks, state.ends[0]))
        forget_trades(state.log, state.matches, state.counters, gone)
        self._forget_restated()
        state.ends[:-1] = state.ends[1:].copy()
        state.counters[count.ENDS] -= 1

    def _forget_restated(self) -> None:
        """The log no longer tells what is remembered: whoever restates must find that out, as after a restart."""
        self.state.restated["place"] = 0
        self.state.fingers[:] = NONE

    def begin_session(self, clock_ns: int, before_ns: int, listings: Array) -> Array:
        """A session begins: match numbers begin anew, and the clock is set, forth or back from ``before_ns``.

        Returns the rows that this issues. A window that has begun before and has not ended yet goes on: its bar is
        issued once, whatever sessions it holds.
        """
        if clock_ns < before_ns:
            rows = self.close_all(listings)
        else:
            rows = self.apply(self.no_prints, clock_ns, listings)
            if self._goes_on(clock_ns):
                self.state.matches[:] = np.zeros(1, MATCH)
                return rows
        self._forget(clock_ns)
        return rows

    def _goes_on(self, clock_ns: int) -> bool:
        """Whether a window that holds a trade has not ended, or would not have, but for a session that has."""
        state = self.state
        held = state.counts.any() or state.slides.counts.any() or state.gaps.counts.any()
        return bool(held or state.starts.max() > clock_ns)

    def _forget(self, clock_ns: int) -> None:
        """Forgets all trades and sets the clock. No window may be open."""
        state = self.state
        self._forget_restated()
        state.starts[:] = clock_ns // state.windows * state.windows
        state.since_ns[:] = self.measured_since_ns[:] = 0
        state.heads[:] = NONE
        state.counts[:] = 0
        state.tallies[:] = np.zeros(1, self.measures.tally)
        state.slides.last_ns[:] = LONG_AGO_NS
        state.slides.since_ns[:] = state.slides.counts[:] = 0
        state.gaps.counts[:] = state.gaps.revisions[:] = 0
        state.gaps.tallies[:] = np.zeros(1, self.measures.tally)
        state.matches[:] = np.zeros(1, MATCH)
        state.counters[[count.TRADES_FIRST, count.TRADES_NEXT, count.ENDS]] = 0
        state.counters[count.DUE_NS] = (state.starts + state.windows).min()

    def open_bars(self, ids: Array) -> Array:
        """Content so far of the open windows of some admitted instruments, where they hold a trade; without symbols."""
        if len(ids) and int(ids.max()) >= self.state.counts.shape[1]:
            raise IndexError(f"instrument {ids.max()} was not admitted")
        rows: Array = np.zeros(len(self.state.windows) * len(ids), self.measures.row)
        return rows[: self._kernels.show(ids.astype(np.int64), self.state, rows)]

    def measured(self, rows: Array) -> Array:
        """Which of these issued rows are known as a whole by every measure."""
        places = np.minimum(self.places(rows), len(self.state.windows) - 1)
        whole = rows["window_start_ns"] >= self.measured_since_ns[places]
        known: Array = whole | ~self.are_tumbling(rows)
        return known

    def places(self, rows: Array) -> Array:
        """Place of each tumbling row's window."""
        return np.searchsorted(self.state.windows, rows["window_ns"])

    def are_tumbling(self, rows: Array) -> Array:
        """Which of these issued rows are of a tumbling window."""
        state = self.state
        if not len(state.slides.windows):
            return np.ones(len(rows), np.bool_)
        lengths = rows["window_ns"]
        found: Array = np.isin(lengths, state.windows[state.hidden == 0]) & (rows["window_start_ns"] % lengths == 0)
        return found

    @property
    def counters(self) -> Array:
        return self.state.counters

    def anomalies(self) -> dict[str, int]:
        """How often the input was out of order or broken off, by kind."""
        return {name: int(self.counters[place]) for name, place in count.BAR_ANOMALIES.items()}

    # --- snapshots -------------------------------------------------------------------------------------------------

    def arrays(self) -> dict[str, Array]:
        """The whole state by name, for a snapshot. Nothing is copied."""
        kept = {name: getattr(self.state, name) for name in _KEPT}
        slides = {f"slide_{name}": getattr(self.state.slides, name) for name in _SLIDES_KEPT}
        return kept | slides | gaps_saved(self.state.gaps) | {"measured_since_ns": self.measured_since_ns}

    def restore(self, arrays: Mapping[str, Array], declared: Mapping[str, Any], clock_ns: int) -> None:
        """Takes over what ``arrays`` gave, made under ``declared`` (``MeasureSet.declaration``) at ``clock_ns``.

        The windows and measures are this object's own. A tally that the arrays do not have, or have of other trades or
        under another declaration, is added up from the log of trades. Where the log does not reach back to the start of
        an open window, that one window is not issued (or, where only a measure is new, its bar without the measure),
        and counted as a lost restatement.
        """
        self.admit(arrays["counts"].shape[1])
        self._forget_restated()
        taken: dict[str, Any] = {name: arrays[name] for name in ("heads", "log", "matches", "counters", "ends")}
        self.state = self.state._replace(**taken)
        state, mine = self.state, self.measures.declaration()
        state.starts[:] = clock_ns // state.windows * state.windows
        if state.counters[count.ENDS]:
            state.starts[:] += np.where(state.starts < state.ends[state.counters[count.ENDS] - 1], state.windows, 0)
        state.counters[count.DUE_NS] = (state.starts + state.windows).min()
        same = [name for name in mine if declared.get(name) == mine[name]]
        for w in range(len(state.windows)):
            place = self._place_in(arrays, w) if OHLCV.name in same else None
            if place is None:
                self._begin(w, state.since_ns)
            else:
                self._take_over(w, arrays, place, same)
        for s in range(len(state.slides.windows)):
            self._restore_slide(s, arrays, same)
        restored = gaps_restored(state.gaps, arrays, is_same=len(same) == len(self.measures.measures))
        self.state = state._replace(gaps=restored or state.gaps)
        if restored is None:
            self.state = self.sessions.begun(self.state)
            state.counters[count.LOST_RESTATEMENT] += self._kernels.rebuild_gaps(self.state, clock_ns)

    def _restore_slide(self, s: int, arrays: Mapping[str, Array], same: Sequence[str]) -> None:
        """Takes the panes of a sliding window over, where every measure is the ``same``; else adds them up anew."""
        slides, first = self.state.slides, arrays["slide_first"]
        mine = int(slides.windows[s]), int(self.state.windows[slides.steps[s]])
        steps = arrays["windows"][arrays["slide_steps"]]
        theirs = list(zip(arrays["slide_windows"].tolist(), steps.tolist(), strict=True))
        if len(same) == len(self.measures.measures) and mine in theirs:
            place = theirs.index(mine)
            rows, from_rows = slice(*slides.first[s : s + 2]), slice(*first[place : place + 2])
            for name in same:
                slides.panes[name][rows] = arrays["slide_panes"][name][from_rows]
            slides.counts[rows] = arrays["slide_counts"][from_rows]
            slides.last_ns[s], slides.since_ns[s] = arrays["slide_last_ns"][place], arrays["slide_since_ns"][place]
        elif self._kernels.rebuild_slide(self.state, s):
            self.state.counters[count.LOST_RESTATEMENT] += 1

    def _place_in(self, arrays: Mapping[str, Array], w: int) -> int | None:
        """Place of a window of the same length in ``arrays``, if its tally holds the trades of the same time."""
        state, lengths = self.state, arrays["windows"].tolist()
        if (length := int(state.windows[w])) not in lengths:
            return None
        place = lengths.index(length)
        fed_by = state.windows[state.feeders[w]] if state.feeders[w] != NONE else NONE
        was_fed_by = lengths[arrays["feeders"][place]] if arrays["feeders"][place] != NONE else NONE
        return place if fed_by == was_fed_by else None

    def _take_over(self, w: int, arrays: Mapping[str, Array], place: int, same: Sequence[str]) -> None:
        """Tallies of the measures in ``same`` as they are, of the others from the log."""
        self.state.since_ns[w] = arrays["since_ns"][place]
        self.measured_since_ns[w] = arrays["measured_since_ns"][place]
        if len(same) < len(self.measures.measures):
            self._begin(w, self.measured_since_ns)
        for name in same:
            self.state.tallies[name][w] = arrays["tallies"][name][place]
        self.state.counts[w] = arrays["counts"][place]

    def _begin(self, w: int, since_ns: Array) -> None:
        """Adds the open window of one length up from the log; what is not known as a whole begins with the next."""
        state = self.state
        lost = self._kernels.rebuild(state, w)
        feeder = state.feeders[w]
        if lost or (feeder != NONE and since_ns[feeder] > state.starts[feeder]):
            since_ns[w] = state.starts[w] + state.windows[w]
            state.counters[count.LOST_RESTATEMENT] += 1
