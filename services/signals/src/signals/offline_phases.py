"""Triggered windows without Kafka: the rows of each partition of the fleet, as ``md.phases`` has them."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from common.contracts.windows import trigger_name

from signals.domain.layout import Array
from signals.domain.phase_windows import NO_PHASE_ROWS, TRIGGER_WORDS
from signals.tables import Table, Words

PHASES: Final = "phases"
"""Name of the table."""
PHASE_COLUMNS: Final = (
    *("symbol", "window", "begun_by", "ended_by", "start_ns", "end_ns", "open_e4", "high_e4", "low_e4", "close_e4"),
    *("volume", "trades", "notional_e4", "revision"),
)


class OfflinePhases:
    """PHASE rows that wait until they are written. ``triggers``: of each window, as bits."""

    def __init__(self, triggers: Sequence[int]) -> None:
        self._held: list[Array] = []
        by = np.unique(TRIGGER_WORDS)
        names = np.array(sorted(trigger_name(each).encode() for each in triggers), "S32")
        self.words: Words = {"window": names, "begun_by": by, "ended_by": by}
        """Words of the columns, in order: a cell is the place of one."""

    def hold(self, rows: Array) -> None:
        """Keeps rows."""
        if len(rows):
            self._held.append(rows)

    def taken(self) -> Array:
        """The rows that wait, without symbols; they wait no longer."""
        rows = np.concatenate((NO_PHASE_ROWS, *self._held))
        self._held.clear()
        return rows

    def write(self, table: Table, symbols: Array) -> None:
        """Writes the rows that wait."""
        if len(rows := self.taken()):
            codes = {name: np.searchsorted(words, rows[name]) for name, words in self.words.items()}
            codes["symbol"] = rows["instrument_id"]
            listed = [codes[name] if name in codes else rows[name] for name in PHASE_COLUMNS]
            table.write(np.stack([column.astype(np.int64) for column in listed], axis=1), symbols)
