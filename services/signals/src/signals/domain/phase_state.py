"""The state of a partition's triggered windows, as the kernels share it.

A triggered window is global: it holds every trade of a symbol between two triggers, which are events of the market or
of the symbol. What begins at an edge ends at the next one, so the state is the newest edges of each symbol, how often
what begins at each was told, and the tally of what is open.
"""

from typing import Final, NamedTuple

import numpy as np

from signals.domain.layout import Array

EDGES_MAX: Final = 32
"""Newest edges that are remembered of a symbol; what is older is restated no more."""
TRIGGER: Final = -1
"""``qty`` of the PRINT row of a trigger: its ``price_e4`` is one of ``windows.Trigger``; ``instrument_id`` below 0: of
every symbol.
"""
BY_SESSION: Final = 0
"""Cause of a window that begins with a session, or ends with it, instead of by a trigger."""
ROWS_A_TRADE: Final = 2
"""Rows that a trade, a broken one or a trigger makes at most of a window and symbol."""

EDGE: Final = np.dtype(
    [
        ("at_ns", "<i8"),
        ("told", "<i4"),  # how often the window that begins here was told
        ("by", "<i4"),  # trigger, or BY_SESSION
    ]
)

PHASE_SPAN: Final = np.dtype(
    [
        ("end_ns", "<i8"),
        ("window", "<i4"),  # place of the window
        ("begun_by", "<i4"),
        ("ended_by", "<i4"),
        ("reserved", "<i4"),
    ]
)
"""Columns of a row beside the bar's numbers."""


class PhaseState(NamedTuple):
    """The triggered windows of a partition, by place of their set of triggers."""

    masks: Array
    """Triggers of each, as bits."""
    edges: Array
    """EDGE rows ``[window, 1 + instrument, EDGES_MAX]`` by time. In the first column are those of the market alone:
    what an instrument begins with that is listed later.
    """
    known: Array
    """How many of them there are; 0: the window begins with the next trigger."""
    tallies: Array
    """Tally ``[window, instrument]`` of what is open; zeros where ``counts`` is."""
    counts: Array
    """Trades in it."""
    used: Array
    """Rows in use."""
    rows: Array
    """Rows that were told, as bars."""
    spans: Array
    """PHASE_SPAN of each of them."""


NO_PHASES: Final = ()
"""In place of the state where no window has a trigger: kernels are compiled without it."""
