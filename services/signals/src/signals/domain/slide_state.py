"""The sliding windows of a partition before the first trade."""

from collections.abc import Sequence

import numpy as np

from signals.domain.bar_state import SlideState
from signals.domain.measure_set import MeasureSet
from signals.domain.session_ends import LONG_AGO_NS


def slide_state(
    lengths: Sequence[int], windows_ns: Sequence[int], slides_ns: Sequence[tuple[int, int]], measures: MeasureSet
) -> SlideState:
    """The sliding windows (length, step) beside tumbling ones; ``lengths``: theirs, and the steps'."""
    panes = [length // step for length, step in slides_ns]
    return SlideState(
        windows=np.array([length for length, _ in slides_ns], np.int64),
        steps=np.array([lengths.index(step) for _, step in slides_ns], np.int64),
        twins=np.array([length in windows_ns for length, _ in slides_ns], np.int8),
        first=np.cumsum([0, *panes]),
        last_ns=np.full(len(panes), LONG_AGO_NS, np.int64),
        since_ns=np.zeros(len(panes), np.int64),
        panes=np.zeros((sum(panes), 0), measures.tally),
        counts=np.zeros((sum(panes), 0), np.int32),
    )
