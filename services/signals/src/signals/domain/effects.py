"""Rows that a market makes of a frame of ticks, for whoever writes them to topics and views, and their bounds."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from common.contracts.alerts import Alerts
from common.contracts.market import MEASURED, Bars, Depths, Lates, Marks, Measured

from signals.domain.alert_board import AlertTurn
from signals.domain.gap_windows import NO_SESSIONS
from signals.domain.layout import Array
from signals.domain.market_alerts import NO_ALERTS
from signals.domain.phase_windows import NO_PHASE_ROWS
from signals.domain.showcase import Turn

NOT_MEASURED: Final[Measured] = np.zeros(0, MEASURED)


@dataclass(frozen=True, slots=True)
class Limits:
    """Most that one heartbeat of one partition tells."""

    instruments_told: int = 256
    """Marks, and depths, on the log."""
    instruments_shown: int = 12
    """Quotes, books and live bars in views."""
    bars_shown: int = 16
    """Closed bars in views, apart from those that were seen open."""
    flood_ticks: int = 4_000
    """More ticks than this since the heartbeat before are a flood. A view costs as much as some 200 ticks, and then
    nobody can follow anyway; so fewer are shown."""
    flood_shown: int = 3
    """Instruments, and closed bars, in views then."""
    bars_cleared: int = 500
    """Bars taken out of the views after the start of a session."""


@dataclass(frozen=True, slots=True)
class Beat:
    """Rows of a heartbeat. They carry their symbols."""

    marks: Marks
    """Changed marks, and the clock row as the last."""
    depths: Depths
    quotes: Marks
    opens_e4: Array
    """First print of the session of each row of ``quotes``."""
    books: Depths
    showcase: Turn
    alerts: AlertTurn


@dataclass(frozen=True, slots=True)
class Effects:
    """Effects of a frame of ticks."""

    bars: Bars
    """Issued bars, in order."""
    measured: Measured
    """Results of the other measures for them, in the same order."""
    beats: Sequence[Beat]
    late: Lates
    """Trades that came too late for every window."""
    alerts: Alerts = field(default_factory=lambda: NO_ALERTS)
    """Beginnings, rises and ends of alerts, in order."""
    quoted: Measured = field(default_factory=lambda: NOT_MEASURED)
    """Results of the measures of quotes for the windows that ended, in order."""
    sessions: Array = field(default_factory=lambda: NO_SESSIONS)
    """SESSION rows: session windows that were issued, restated or taken back, in order."""
    phases: Array = field(default_factory=lambda: NO_PHASE_ROWS)
    """PHASE rows: triggered windows likewise."""
