"""The state of a partition's bars as the kernels share it, and what they answer."""

from typing import Any, Final, NamedTuple

from signals.domain.gap_state import GapState
from signals.domain.layout import Array

NONE: Final = -1
STOP_DONE: Final = 0
"""All prints are booked and the clock is where it should be."""
STOP_ISSUED: Final = 1
"""The buffer of issued bars may not hold what comes next."""
STOP_TRADES: Final = 2
"""The log of trades is full."""
WINDOWED: Final = 0
"""Outcome of a trade: a window holds it, on time or restated."""
BEYOND_LATENESS: Final = 1
"""It is earlier than the clock by more than the allowed lateness: no window sees it."""
LEFT_LOG: Final = 2
"""The log no longer holds the whole of any of its windows."""
DUPLICATE: Final = 3
"""It is in the log already."""


class SlideState(NamedTuple):
    """The sliding windows of a partition, by place. A window of P panes keeps its last P panes, each the tally of the
    tumbling window that it slides by; a pane's slot is its number modulo P.
    """

    windows: Array
    """Lengths, ns."""
    steps: Array
    """Place of the tumbling window that a window slides by."""
    twins: Array
    """Whether there is a tumbling window of the same length; it issues the bars that begin at its multiples."""
    first: Array
    """Row of ``panes`` in which the window's first slot is, and, as one more, how many rows there are."""
    last_ns: Array
    """Start of the newest pane that holds a trade."""
    since_ns: Array
    """Windows that start before are not known as a whole, and are not issued when they end."""
    panes: Array
    """Tally ``[slot, instrument]``; undefined where ``counts`` is zero."""
    counts: Array
    """Trades in it."""


class BarState(NamedTuple):
    """The bars of a partition. Windows are in rising order of their lengths."""

    windows: Array
    """Lengths, ns."""
    feeders: Array
    """Place of the window that a window is merged from; NONE: trades are added to the window itself."""
    hidden: Array
    """Whether bars of the window are not issued: it is there for what is made of it."""
    sliced: Array
    """Whether its ended tallies are handed out as slices."""
    slides: SlideState
    gaps: GapState
    """Session windows."""
    phases: Any
    """Triggered windows, a PhaseState; NO_PHASES where none is kept."""
    starts: Array
    """Start of the open window of each length; of the next one, where a session's end has ended that of the clock."""
    ends: Array
    """Clocks of the ends of sessions, in rising order."""
    since_ns: Array
    """Windows that start before are not known as a whole, and are not issued when they end."""
    tallies: Array
    """Open tally ``[window, instrument]``; zeros where ``counts`` is."""
    counts: Array
    """Trades in it."""
    heads: Array
    """Number of each instrument's newest trade by event time."""
    log: Array
    """TRADE rows; a trade's place is the lower bits of its number."""
    matches: Array
    """MATCH rows: trades by match number."""
    counters: Array
    scratch: Array
    """Two tallies: one to work in, one of zeros."""
    issued: Array
    """Rows that were issued."""
    slices: Array
    """SLICE rows that were handed out."""
    blank: Array
    """One row of zeros."""
    fingers: Array
    """Number of each instrument's last late trade."""
    restated: Array
    """RESTATED rows by a hash of window, instrument and start."""
    restated_tallies: Array
    """Their tallies."""
