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
from common.contracts.market import Lates
from common.contracts.windows import ALLOWED_LATENESS_NS

from signals.domain import count
from signals.domain.alignment import window_start
from signals.domain.bar_arrays import bar_state, log_moved, room_for
from signals.domain.bar_kernel import bar_kernels, forget_trades, rows_at_once
from signals.domain.bar_state import NONE, STOP_DONE, STOP_ISSUED
from signals.domain.gap_windows import GapRows, gaps_ended, gaps_restored, gaps_saved
from signals.domain.late_rows import NO_LATES, late_rows
from signals.domain.layout import MATCH, SLICE, Array
from signals.domain.measure_set import MeasureSet, measure_set
from signals.domain.ohlcv import OHLCV
from signals.domain.phase_kernel import OPEN_NS, phase_kernels
from signals.domain.phase_state import BY_SESSION, PhaseState
from signals.domain.phase_windows import PhaseRows, begin_phases, phases_restored, phases_saved, trigger_rows
from signals.domain.session_ends import LONG_AGO_NS

TRADES_MAX: Final = 1 << 20
"""Trades that a partition's log holds at most, 72 bytes each, and 32 of an index. Beyond it the oldest eighth goes."""
RECORDED_TRADES_MAX: Final = 1 << 22
"""As many of a recorded day: four partitions hold those of a large exchange, so that a trade of the morning that is
broken in the evening restates the bar of its day.
"""
_TRADES_AT_FIRST: Final = 1 << 10
_GROWTH: Final = 4
_KEPT: Final = (
    *("windows", "feeders", "starts", "since_ns", "tallies", "counts"),
    *("heads", "log", "matches", "counters", "ends"),
)
_SLIDES_KEPT: Final = ("windows", "steps", "first", "last_ns", "since_ns", "panes", "counts")
_NO_SLICES: Final[Array] = np.zeros(0, SLICE)


class TumblingBars:
    """The bars of one partition. ``windows_ns``: lengths of the tumbling windows, which are aligned to an anchor;
    ``slides_ns``: length and step of sliding ones. One that begins where a tumbling one of its length does is that one.
    ``gaps_ns``: of session windows; ``triggers``: of triggered ones, as bits.
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
        triggers: Sequence[int] = (),
        trades_max: int = TRADES_MAX,
        lateness_ns: int = ALLOWED_LATENESS_NS,
        slice_ns: int = 0,
    ) -> None:
        self.measures = measures or measure_set()
        self._kernels = bar_kernels(self.measures, with_sessions=bool(gaps_ns), with_phases=bool(triggers))
        self._phase_kernels = phase_kernels(self.measures.compiled, self.measures.fingerprint)
        self._trades_max = trades_max
        self._lateness_ns = lateness_ns
        self._late: Array = np.zeros((0, 2), np.int64)
        self.late: Lates = NO_LATES
        """Trades of the last ``apply`` that no window holds, without symbols."""
        self.slices: Array = _NO_SLICES
        """SLICE rows of the last ``apply``, by time, without what came late."""
        self.sessions = GapRows(self.measures)
        """Rows of session windows that were told, until they are taken."""
        self.phases = PhaseRows(triggers, self.measures)
        """Likewise of triggered windows."""
        self._none: Array = np.zeros(0, self.measures.row)
        self.no_prints: Array = np.zeros(0, PRINT)
        lengths = sorted({*windows_ns, *(step for _, step in slides_ns), *((slice_ns,) if slice_ns else ())})
        self.measured_since_ns: Array = np.zeros(len(lengths), np.int64)
        """Start, by place, before which only the bars of a window are known as a whole, not the other measures."""
        self.state = bar_state(
            *(lengths, windows_ns, self.measures, slides_ns, gaps_ns, triggers),
            *(min(_TRADES_AT_FIRST, trades_max), slice_ns),
        )

    def admit(self, instruments: int) -> None:
        """Makes room for instruments 0 to ``instruments`` - 1."""
        if instruments > len(self.state.heads):
            self.state = room_for(self.state, instruments, self.measures)

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
        self._begin_extras()
        self.state.counters[[count.ISSUED, count.LATE_ROWS, count.SLICES]] = 0
        parts: list[Array] = []
        slices: list[Array] = []
        at, stop = 0, STOP_ISSUED
        while stop != STOP_DONE:
            at, stop = self._kernels.apply_prints(
                prints, at, clock_ns, self._lateness_ns, listings, self._late, self.state
            )
            if stop == STOP_ISSUED:
                self._drain_extras()
                parts.append(self._drain())
                slices.append(self._drain_slices())
            elif stop != STOP_DONE:
                self._make_room()
        self._drain_extras()
        parts.append(self._drain())
        slices.append(self._drain_slices())
        self.slices = slices[0] if len(slices) == 1 else np.concatenate(slices)
        self.late = late_rows(prints, self._late[: self.state.counters[count.LATE_ROWS]])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _begin_extras(self) -> None:
        self.state = self.phases.begun(self.sessions.begun(self.state))

    def _drain_extras(self) -> None:
        self.sessions.drain(self.state)
        self.phases.drain(self.state)

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
        self.state = log_moved(state, size)

    def close_all(self, listings: Array) -> Array:
        """Issues every bar that is still open, as if the clock had passed all windows. A triggered window is told as
        one that goes on.
        """
        self._end_phases(OPEN_NS)
        state = self.state
        ends = [state.starts + state.windows, state.starts[state.slides.steps] + state.slides.windows]
        return self.apply(self.no_prints, int(np.concatenate([*ends, gaps_ended(state.gaps)]).max()), listings)

    def _end_phases(self, clock_ns: int) -> None:
        """Tells of every triggered window that holds a trade and was never told. They have ended by ``clock_ns``."""
        if isinstance(self.state.phases, PhaseState):
            self._begin_extras()
            self._phase_kernels.end(self.state, clock_ns)
            self._drain_extras()

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
        self._begin_extras()
        self._kernels.end_session(self.state, clock_ns)
        self._drain_extras()
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

    @property
    def anchor_ns(self) -> int:
        """The time of day of UTC that windows are aligned to."""
        return int(self.counters[count.ANCHOR_NS])

    def align(self, anchor_ns: int) -> None:
        """Sets what windows are aligned to, before there is any."""
        self.counters[count.ANCHOR_NS] = anchor_ns
        self._open(0)

    def _open(self, clock_ns: int) -> None:
        """The windows that hold the clock are open."""
        state = self.state
        state.starts[:] = window_start.py_func(clock_ns, state.windows, self.anchor_ns)
        state.counters[count.DUE_NS] = (state.starts + state.windows).min()

    def begin_session(self, clock_ns: int, before_ns: int, listings: Array, anchor_ns: int) -> Array:
        """A session begins: match numbers begin anew, and the clock is set, forth or back from ``before_ns``.

        Returns the rows that this issues. A window that has begun before and has not ended yet goes on: its bar is
        issued once, whatever sessions it holds. If windows of the session are aligned to another ``anchor_ns``, those
        before have ended.
        """
        if clock_ns < before_ns or anchor_ns != self.anchor_ns:
            self._end_phases(max(clock_ns, before_ns))
            rows = self.close_all(listings)
            self.counters[count.ANCHOR_NS] = anchor_ns
        else:
            rows = self.apply(self.no_prints, clock_ns, listings)
            if self._goes_on(clock_ns):
                if isinstance(self.state.phases, PhaseState):
                    self.apply(trigger_rows([(clock_ns, -1, BY_SESSION)], clock_ns), clock_ns, listings)
                self.state.matches[:] = np.zeros(1, MATCH)
                return rows
            self._end_phases(clock_ns)
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
        state.since_ns[:] = self.measured_since_ns[:] = 0
        state.heads[:] = NONE
        state.counts[:] = 0
        state.tallies[:] = np.zeros(1, self.measures.tally)
        state.slides.last_ns[:] = LONG_AGO_NS
        state.slides.since_ns[:] = state.slides.counts[:] = 0
        state.gaps.counts[:] = state.gaps.revisions[:] = 0
        state.gaps.tallies[:] = np.zeros(1, self.measures.tally)
        if isinstance(state.phases, PhaseState):
            begin_phases(state.phases, clock_ns)
        state.matches[:] = np.zeros(1, MATCH)
        state.counters[[count.TRADES_FIRST, count.TRADES_NEXT, count.ENDS]] = 0
        self._open(clock_ns)

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
        found: Array = np.isin(lengths, state.windows[state.hidden == 0]) & (
            (rows["window_start_ns"] - self.anchor_ns) % lengths == 0
        )
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
        extras = gaps_saved(self.state.gaps) | phases_saved(self.state.phases)
        return kept | slides | extras | {"measured_since_ns": self.measured_since_ns}

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
        self._open(clock_ns)
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
        is_same = len(same) == len(self.measures.measures)
        restored = gaps_restored(state.gaps, arrays, is_same=is_same)
        self.state = state._replace(gaps=restored or state.gaps)
        self._begin_extras()
        if restored is None:
            state.counters[count.LOST_RESTATEMENT] += self._kernels.rebuild_gaps(self.state, clock_ns)
        if isinstance(state.phases, PhaseState) and phases_restored(state.phases, arrays, is_same=is_same):
            state.counters[count.LOST_RESTATEMENT] += self._phase_kernels.rebuild(self.state)

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
