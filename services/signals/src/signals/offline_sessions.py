"""Session windows without Kafka: the rows of each partition of the fleet, as ``md.sessions`` has them."""

from typing import Final

import numpy as np

from signals.domain.gap_windows import NO_SESSIONS
from signals.domain.layout import Array
from signals.tables import Table

SESSIONS: Final = "sessions"
"""Name of the table."""
SESSION_COLUMNS: Final = (
    *("symbol", "gap_ns", "start_ns", "end_ns", "into_ns", "open_e4", "high_e4", "low_e4", "close_e4"),
    *("volume", "trades", "notional_e4", "revision"),
)


class OfflineSessions:
    """SESSION rows that wait until they are written."""

    def __init__(self) -> None:
        self._held: list[Array] = []

    def hold(self, rows: Array) -> None:
        """Keeps rows."""
        if len(rows):
            self._held.append(rows)

    def taken(self) -> Array:
        """The rows that wait, without symbols; they wait no longer."""
        rows = np.concatenate((NO_SESSIONS, *self._held))
        self._held.clear()
        return rows

    def write(self, table: Table, symbols: Array) -> None:
        """Writes the rows that wait."""
        if len(rows := self.taken()):
            columns = (rows["instrument_id" if name == "symbol" else name] for name in SESSION_COLUMNS)
            table.write(np.stack([column.astype(np.int64) for column in columns], axis=1), symbols)
