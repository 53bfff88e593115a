"""The state of a partition's session windows, of trades that are less than a gap apart, as the kernels share it.

A session begins with its first trade and ends a gap after its last one. It is known by its symbol, its gap and its
start. Which sessions there are follows from the log of trades; the state is the open session of each symbol, and how
often one that begins at a trade was told.
"""

from typing import Final, NamedTuple

import numpy as np

from signals.domain.layout import Array

NEVER_NS: Final = 1 << 62
ROWS_A_TRADE: Final = 5
"""Rows that a trade, or a broken one, makes at most of a gap: one ends, two are taken back, two go on."""

SPAN: Final = np.dtype(
    [
        ("due_ns", "<i8"),  # the partition's clock by which the row is told
        ("gap_ns", "<i8"),
        ("end_ns", "<i8"),  # a gap after the last trade
        ("into_ns", "<i8"),  # start of the session that has this one's trades now; 0: none
        ("order", "<i8"),  # among rows of the same time: those that end by themselves first
    ]
)
"""Columns of a session's row beside the bar's numbers."""


class GapState(NamedTuple):
    """The session windows of a partition, by place of their gap."""

    gaps: Array
    """Lengths, ns."""
    due_ns: Array
    """Nothing of the gap ends before."""
    firsts: Array
    """Time of the first trade ``[gap, instrument]`` of the open session; undefined where ``counts`` is zero."""
    lasts: Array
    """Time of its last one."""
    numbers: Array
    """Number of its first trade."""
    told: Array
    """How often it was told."""
    counts: Array
    """Trades in it; 0: none is open."""
    tallies: Array
    """Their tally."""
    revisions: Array
    """How often a session that begins at a trade was told ``[gap, place of the trade in the log]``."""
    used: Array
    """Rows in use."""
    rows: Array
    """Rows that were told, as bars."""
    spans: Array
    """SPAN of each of them."""
