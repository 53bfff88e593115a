"""The state of a partition's market alerts as their kernel shares it."""

from typing import Final, NamedTuple

import numpy as np
from common.contracts.alerts import COMPARED

from signals.domain.layout import Array

NEVER_NS: Final = (1 << 63) - 1
BEGIN: Final = 0
"""Codes of phases, by their order in ``Phase``."""
RISE: Final = 1
END: Final = 2

BASELINE: Final = np.dtype(
    [
        ("anchor_e4", "<i8"),  # last price of the first slice; sums are of what is above it
        ("sum", "<i8"),
        ("squares", "<i8"),
        ("volume", "<i8"),
        ("notional_e4", "<i8"),
        ("squared_returns", "<i8"),
        ("close_e4", "<i8"),  # of the newest slice
        ("spread_sum", "<i8"),
        ("heard_ns", "<i8"),  # end of the newest second with a message
        ("gap_ns", "<i8"),  # mean time between such seconds, of the newest 32 or so
        ("stale_ns", "<i8"),  # when the symbol will be stale if nothing is heard
        ("slices", "<i4"),
        ("spreads", "<i4"),
        ("heard", "<i4"),  # seconds with a message, as many as are counted
        ("reserved", "<i4"),
    ]
)
"""Numbers that an instrument is compared with."""

SPREAD: Final = np.dtype([("end_ns", "<i8"), ("spread_e4", "<i8"), ("instrument_id", "<i4"), ("reserved", "<i4")])

EPISODE: Final = np.dtype(
    [
        ("begin_ns", "<i8"),
        ("peak_ns", "<i8"),
        ("end_ns", "<i8"),
        ("clock_ns", "<i8"),
        ("last_ns", "<i8"),  # end of the newest second above the exit
        ("peak_ppm", "<i8"),
        ("threshold_ppm", "<i8"),
        *COMPARED,
        ("instrument_id", "<i4"),
        ("samples", "<i4"),
        ("revision", "<i4"),
        ("kind", "u1"),  # place in ALERT_RULES
        ("severity", "u1"),
        ("phase", "u1"),
        ("lasts", "u1"),  # a state that goes on until a message ends it
    ]
)
"""An episode that goes on, and a row that was issued of one. What was compared stands as it was at the peak."""

RULE: Final = np.dtype(
    [
        ("threshold_ppm", "<i8"),
        ("exit_ppm", "<i8"),
        ("high_ppm", "<i8"),
        ("critical_ppm", "<i8"),
        ("severity", "<i8"),
    ]
)


class AlertState(NamedTuple):
    """The alerts of a partition."""

    baselines: Array
    """BASELINE rows by instrument."""
    places: Array
    """Place of the episode ``[instrument, kind]`` in ``episodes``, counted from 1; 0: there is none."""
    episodes: Array
    """EPISODE rows of those that go on."""
    slices: Array
    """Log of the slices in the baselines; the place of one is the lower bits of its number."""
    spreads: Array
    """Log of the spreads in them."""
    counters: Array
    rules: Array
    """RULE rows by kind."""
    limits: Array
    """One LIMITS row."""
    rows: Array
    """EPISODE rows that were issued."""


LIMITS: Final = np.dtype([("samples_min", "<i8"), ("hold_ns", "<i8"), ("silence_min_ns", "<i8")])
