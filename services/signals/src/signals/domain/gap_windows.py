"""The arrays of a partition's session windows are made, grown, saved and read here; ``gap_kernel`` does the work."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from common.contracts.market import SESSION

from signals.domain import count
from signals.domain.bar_state import BarState
from signals.domain.gap_state import NEVER_NS, ROWS_A_TRADE, SPAN, GapState
from signals.domain.layout import Array
from signals.domain.measure_set import MeasureSet

_TRADES_AT_ONCE: Final = 256
_OPEN: Final = ("firsts", "lasts", "numbers", "told", "counts", "tallies")
_KEPT: Final = ("gaps", "due_ns", *_OPEN, "revisions")
_SAME: Final = (
    "open_e4",
    "high_e4",
    "low_e4",
    "close_e4",
    "volume",
    "notional_e4",
    "instrument_id",
    "trades",
    "revision",
)


def gap_state(gaps_ns: Sequence[int], tally: np.dtype[Any], row: np.dtype[Any], trades: int) -> GapState:
    """No session yet. ``trades``: places in the log."""
    gaps = len(gaps_ns)
    return GapState(
        gaps=np.array(sorted(gaps_ns), np.int64),
        due_ns=np.full(gaps, NEVER_NS, np.int64),
        firsts=np.zeros((gaps, 0), np.int64),
        lasts=np.zeros((gaps, 0), np.int64),
        numbers=np.zeros((gaps, 0), np.int64),
        told=np.zeros((gaps, 0), np.int32),
        counts=np.zeros((gaps, 0), np.int32),
        tallies=np.zeros((gaps, 0), tally),
        revisions=np.zeros((gaps, trades), np.int32),
        used=np.zeros(1, np.int64),
        rows=np.zeros(0, row),
        spans=np.zeros(0, SPAN),
    )


def admitted(state: GapState, instruments: int) -> GapState:
    """With room for instruments 0 to ``instruments`` - 1."""

    def grown(array: Array) -> Array:
        found = np.zeros((len(array), instruments), array.dtype)
        found[:, : array.shape[1]] = array
        return found

    return state._replace(**{name: grown(getattr(state, name)) for name in _OPEN})


def gaps_moved(state: GapState, numbers: Array, size: int) -> GapState:
    """For a log of ``size`` places, in which trades keep their numbers."""
    revisions = np.zeros((len(state.gaps), size), np.int32)
    revisions[:, numbers & (size - 1)] = state.revisions[:, numbers & (state.revisions.shape[1] - 1)]
    return state._replace(revisions=revisions)


def gaps_ended(state: GapState) -> Array:
    """When each open session ends."""
    return (state.lasts + state.gaps[:, None])[state.counts > 0]


def gaps_saved(state: GapState) -> dict[str, Array]:
    """The state by name, for a snapshot."""
    return {f"gap_{name}": getattr(state, name) for name in _KEPT}


def gaps_restored(state: GapState, arrays: Mapping[str, Array], *, is_same: bool) -> GapState | None:
    """Takes over what ``gaps_saved`` gave. None where it is of other gaps, or of other measures (not ``is_same``): what
    is open is then to be added up from the log.
    """
    is_same = is_same and arrays["gap_tallies"].dtype == state.tallies.dtype
    if is_same and arrays["gap_gaps"].tolist() == state.gaps.tolist():
        return state._replace(**{name: arrays[f"gap_{name}"] for name in _KEPT})
    return None


class GapRows:
    """Rows of session windows, by the time at which they are told."""

    def __init__(self, measures: MeasureSet) -> None:
        self._measures = measures
        self._parts: list[tuple[Array, Array]] = []

    def due_ns(self, state: BarState) -> int:
        """No window of any kind ends before."""
        due_ns = int(state.counters[count.DUE_NS])
        return min(due_ns, int(state.gaps.due_ns.min())) if len(state.gaps.gaps) else due_ns

    def begun(self, state: BarState) -> BarState:
        """With room for more rows, and for the trades of the log."""
        gaps = state.gaps
        most = len(gaps.gaps) * (ROWS_A_TRADE * _TRADES_AT_ONCE + gaps.counts.shape[1])
        if len(gaps.rows) < most:
            gaps = gaps._replace(rows=np.zeros(most, self._measures.row), spans=np.zeros(most, SPAN))
        if gaps.revisions.shape[1] != len(state.log):
            gaps = gaps._replace(revisions=np.zeros((len(gaps.gaps), len(state.log)), np.int32))
        gaps.used[0] = 0
        return state._replace(gaps=gaps)

    def drain(self, state: BarState) -> None:
        """Takes what the kernels have told."""
        used = int(state.gaps.used[0])
        if used:
            self._parts.append((state.gaps.rows[:used].copy(), state.gaps.spans[:used].copy()))
            state.gaps.used[0] = 0

    def take(self) -> Array:
        """SESSION rows without symbols, once: by the partition's clock; those that end by themselves come first, by
        their gap, then by instrument.
        """
        if not self._parts:
            return NO_SESSIONS
        told, spans = (np.concatenate(parts) for parts in zip(*self._parts, strict=True))
        self._parts = []
        order = np.lexsort((spans["order"], spans["due_ns"]))
        found = np.zeros(len(told), SESSION)
        for name in _SAME:
            found[name] = told[name][order]
        found["start_ns"] = told["window_start_ns"][order]
        for name in ("gap_ns", "end_ns", "into_ns"):
            found[name] = spans[name][order]
        return found


NO_SESSIONS: Final[Array] = np.zeros(0, SESSION)
