"""The arrays of a partition's bars are made and grown here; ``bar_kernel`` does the work."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from common.books.ref_table import rehash
from common.contracts.windows import feeder_of

from signals.domain import count
from signals.domain.bar_state import NONE, BarState
from signals.domain.gap_windows import admitted, gap_state, gaps_moved
from signals.domain.layout import MATCH, RESTATED, SLICE, TRADE
from signals.domain.measure_set import MeasureSet
from signals.domain.phase_windows import phase_state, phases_admitted
from signals.domain.session_ends import ENDS_MAX
from signals.domain.slide_state import slide_state

RESTATED_MAX: Final = 1 << 12
"""Restated bars that are remembered at most, about 120 bytes each; a power of two."""


def bar_state(
    lengths: Sequence[int],
    windows_ns: Sequence[int],
    measures: MeasureSet,
    slides_ns: Sequence[tuple[int, int]],
    gaps_ns: Sequence[int],
    triggers: Sequence[int],
    trades: int,
    slice_ns: int,
) -> BarState:
    """No trade yet. ``lengths``: of the tumbling windows ``windows_ns``, and of what is made of them, in rising order;
    ``trades``: places in the log; ``slice_ns``: windows of this length are handed out as slices.
    """
    feeders = [feeder_of(length, lengths) for length in lengths]
    state = BarState(
        windows=np.array(lengths, np.int64),
        feeders=np.array([NONE if f is None else lengths.index(f) for f in feeders], np.int64),
        hidden=np.array([length not in windows_ns for length in lengths], np.int8),
        sliced=np.array([length == slice_ns for length in lengths], np.int8),
        slides=slide_state(lengths, windows_ns, sorted(slides_ns), measures),
        gaps=gap_state(gaps_ns, measures.tally, measures.row, trades),
        phases=phase_state(triggers, measures),
        starts=np.zeros(len(lengths), np.int64),
        ends=np.zeros(ENDS_MAX, np.int64),
        since_ns=np.zeros(len(lengths), np.int64),
        tallies=np.zeros((len(lengths), 0), measures.tally),
        counts=np.zeros((len(lengths), 0), np.int32),
        heads=np.zeros(0, np.int64),
        log=np.zeros(trades, TRADE),
        matches=np.zeros(2 * trades, MATCH),
        counters=np.zeros(count.BARS_SIZE, np.int64),
        scratch=np.zeros(2, measures.tally),
        issued=np.zeros(0, measures.row),
        slices=np.zeros(0, SLICE),
        blank=np.zeros(1, measures.row),
        fingers=np.zeros(0, np.int64),
        restated=np.zeros(RESTATED_MAX, RESTATED),
        restated_tallies=np.zeros(RESTATED_MAX, measures.tally),
    )
    state.counters[count.DUE_NS] = lengths[0]
    return state


def room_for(state: BarState, instruments: int, measures: MeasureSet) -> BarState:
    """With room for instruments 0 to ``instruments`` - 1, of which there are more than before."""
    known = len(state.heads)
    heads = np.full(instruments, NONE, np.int64)
    tallies = np.zeros((len(state.windows), instruments), measures.tally)
    counts = np.zeros((len(state.windows), instruments), np.int32)
    heads[:known], tallies[:, :known], counts[:, :known] = state.heads, state.tallies, state.counts
    panes = np.zeros((len(state.slides.panes), instruments), measures.tally)
    held = np.zeros(panes.shape, np.int32)
    panes[:, :known], held[:, :known] = state.slides.panes, state.slides.counts
    slides = state.slides._replace(panes=panes, counts=held)
    fingers = np.full(instruments, NONE, np.int64)
    fingers[:known] = state.fingers
    gaps = admitted(state.gaps, instruments)
    phases = phases_admitted(state.phases, instruments)
    return state._replace(
        heads=heads, tallies=tallies, counts=counts, slides=slides, gaps=gaps, phases=phases, fingers=fingers
    )


def log_moved(state: BarState, size: int) -> BarState:
    """With a log of ``size`` places, a power of two."""
    log, matches = np.zeros(size, TRADE), np.zeros(2 * size, MATCH)
    # A trade keeps its number, whose lower bits are its place.
    numbers = state.counters[count.TRADES_FIRST] + np.arange(len(state.log))
    split = -int(numbers[0]) % len(state.log)
    for run in (numbers[:split], numbers[split:]):
        if len(run):
            source, target = int(run[0]) % len(state.log), int(run[0]) % len(log)
            log[target : target + len(run)] = state.log[source : source + len(run)]
    rehash(state.matches, matches)
    return state._replace(log=log, matches=matches, gaps=gaps_moved(state.gaps, numbers, size))
