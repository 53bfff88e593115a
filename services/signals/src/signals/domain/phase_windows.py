"""The arrays of a partition's triggered windows are made, grown, saved and read; ``phase_kernel`` does the work."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from common.books.layout import PRINT
from common.contracts.market import PHASE
from common.contracts.windows import Trigger, trigger_name

from signals.domain.bar_state import BarState
from signals.domain.layout import Array
from signals.domain.measure_set import MeasureSet
from signals.domain.phase_state import (
    BY_SESSION,
    EDGE,
    EDGES_MAX,
    NO_PHASES,
    PHASE_SPAN,
    ROWS_A_TRADE,
    TRIGGER,
    PhaseState,
)

_TRADES_AT_ONCE: Final = 256
_KEPT: Final = ("masks", "edges", "known", "tallies", "counts")
_SAME: Final = (
    *("open_e4", "high_e4", "low_e4", "close_e4", "volume", "notional_e4"),
    *("instrument_id", "trades", "revision"),
)
_WORDS: Final = {BY_SESSION: "session"} | {int(trigger): str(trigger.name).lower() for trigger in Trigger}
TRIGGER_WORDS: Final = np.array([_WORDS.get(code, "").encode() for code in range(-1, max(_WORDS) + 1)], "S8")
"""The word for a trigger, at one place behind its number; none for what goes on."""


def phase_state(masks: Sequence[int], measures: MeasureSet) -> PhaseState | tuple[()]:
    """No trigger yet. ``masks``: triggers of each window."""
    if not masks:
        return NO_PHASES
    windows = len(masks)
    state = PhaseState(
        masks=np.array(sorted(masks), np.int64),
        edges=np.zeros((windows, 1, EDGES_MAX), EDGE),
        known=np.ones((windows, 1), np.int64),
        tallies=np.zeros((windows, 0), measures.tally),
        counts=np.zeros((windows, 0), np.int64),
        used=np.zeros(1, np.int64),
        rows=np.zeros(0, measures.row),
        spans=np.zeros(0, PHASE_SPAN),
    )
    state.edges["by"] = BY_SESSION
    return state


def phases_admitted(state: PhaseState | tuple[()], instruments: int) -> PhaseState | tuple[()]:
    """With room for instruments 0 to ``instruments`` - 1: new ones have the edges of the market."""
    if not isinstance(state, PhaseState):
        return state
    windows, known = state.counts.shape
    fresh = np.repeat(state.edges[:, :1], instruments - known, axis=1)
    fresh["told"] = 0
    tallies = np.zeros((windows, instruments), state.tallies.dtype)
    counts = np.zeros((windows, instruments), np.int64)
    tallies[:, :known], counts[:, :known] = state.tallies, state.counts
    return state._replace(
        edges=np.concatenate((state.edges, fresh), axis=1),
        known=np.concatenate((state.known, np.repeat(state.known[:, :1], instruments - known, axis=1)), axis=1),
        tallies=tallies,
        counts=counts,
    )


def begin_phases(state: PhaseState, clock_ns: int) -> None:
    """A session begins, and nothing of what was before goes on."""
    state.edges[:] = np.zeros(1, EDGE)
    state.edges["at_ns"][:, :, 0], state.edges["by"] = clock_ns, BY_SESSION
    state.known[:] = 1
    state.counts[:] = 0
    state.tallies[:] = np.zeros(1, state.tallies.dtype)


def phases_saved(state: PhaseState | tuple[()]) -> dict[str, Array]:
    """The state by name, for a snapshot."""
    return {f"phase_{name}": getattr(state, name) for name in _KEPT} if isinstance(state, PhaseState) else {}


def phases_restored(state: PhaseState, arrays: Mapping[str, Array], *, is_same: bool) -> bool:
    """Takes over what ``phases_saved`` gave. A window of which nothing was saved begins with the next trigger. Returns
    whether what is open is to be added up from the log: it was of other measures (not ``is_same``).
    """
    saved = arrays["phase_masks"].tolist() if "phase_masks" in arrays else []
    is_same = is_same and arrays.get("phase_tallies", state.tallies).dtype == state.tallies.dtype
    for g, mask in enumerate(state.masks.tolist()):
        if mask not in saved:
            state.known[g] = 0
            continue
        place = saved.index(mask)
        state.edges[g], state.known[g] = arrays["phase_edges"][place], arrays["phase_known"][place]
        if is_same:
            state.tallies[g], state.counts[g] = arrays["phase_tallies"][place], arrays["phase_counts"][place]
    return bool(saved) and not is_same


def trigger_rows(triggers: Sequence[tuple[int, int, int]], clock_ns: int) -> Array:
    """PRINT rows of triggers (event time, instrument, Trigger), which came by the clock."""
    rows: Array = np.zeros(len(triggers), PRINT)
    for row, (event_ns, instrument, trigger) in zip(rows, triggers, strict=True):
        row["event_ns"], row["instrument_id"], row["price_e4"] = event_ns, instrument, trigger
    rows["clock_ns"], rows["qty"] = clock_ns, TRIGGER
    return rows


class PhaseRows:
    """Rows of triggered windows, in the order in which they are told."""

    def __init__(self, masks: Sequence[int], measures: MeasureSet) -> None:
        self._measures = measures
        self._names = np.array([trigger_name(mask).encode() for mask in sorted(masks)], "S32")
        self._parts: list[Array] = []

    def begun(self, state: BarState) -> BarState:
        """With room for more rows."""
        phases = state.phases
        if not isinstance(phases, PhaseState):
            return state
        most = len(phases.masks) * ROWS_A_TRADE * (_TRADES_AT_ONCE + phases.counts.shape[1])
        if len(phases.rows) < most:
            phases = phases._replace(rows=np.zeros(most, self._measures.row), spans=np.zeros(most, PHASE_SPAN))
        phases.used[0] = 0
        return state._replace(phases=phases)

    def drain(self, state: BarState) -> None:
        """Takes what the kernels have told."""
        phases = state.phases
        if not isinstance(phases, PhaseState) or not phases.used[0]:
            return
        told, spans = phases.rows[: phases.used[0]], phases.spans[: phases.used[0]]
        found = np.zeros(len(told), PHASE)
        for name in _SAME:
            found[name] = told[name]
        found["start_ns"], found["end_ns"] = told["window_start_ns"], spans["end_ns"]
        found["window"] = self._names[spans["window"]]
        found["begun_by"], found["ended_by"] = (
            TRIGGER_WORDS[spans["begun_by"] + 1],
            TRIGGER_WORDS[spans["ended_by"] + 1],
        )
        self._parts.append(found)
        phases.used[0] = 0

    def take(self) -> Array:
        """PHASE rows without symbols, once."""
        rows = np.concatenate((NO_PHASE_ROWS, *self._parts))
        self._parts = []
        return rows


NO_PHASE_ROWS: Final[Array] = np.zeros(0, PHASE)
