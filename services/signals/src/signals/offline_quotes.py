"""Measures of quotes without Kafka: the windows of each partition of the fleet, over one state's books."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from common.measures import Measure

from signals.domain.layout import Array
from signals.domain.quote_windows import QuoteWindows
from signals.tables import Table

HEAD_COLUMNS: Final = ("symbol", "window_start_ns", "window_ns")


class OfflineQuotes:
    """``windows_ns``: lengths of the tumbling windows. Rows wait until they are written."""

    def __init__(self, windows_ns: Sequence[int], measures: Sequence[Measure], partitions: int) -> None:
        self._parts = [QuoteWindows(windows_ns, measures) for _ in range(partitions)]
        self._held: list[Array] = []
        self._issued: list[Array] = []
        self.columns: tuple[str, ...] = (*HEAD_COLUMNS, *self._parts[0].results)

    def align(self, anchor_ns: int) -> None:
        """Sets what windows are aligned to, before there is any."""
        for part in self._parts:
            part.align(anchor_ns)

    def hold(self, changes: Array) -> None:
        """Keeps BBO rows until ``book``."""
        if len(changes):
            self._held.append(changes.copy())

    def book(self, clocks_ns: Array, instruments: int) -> None:
        """Takes what is held, and lets each partition's clock come to its time."""
        held = np.concatenate(self._held) if self._held else None
        self._held.clear()
        owners = None if held is None else held["instrument_id"] % len(self._parts)
        for number, (part, clock_ns) in enumerate(zip(self._parts, clocks_ns.tolist(), strict=True)):
            part.admit(instruments)
            changes = part.no_changes if held is None else held[owners == number]
            self._issue(part.apply(changes, clock_ns))

    def end_session(self, clocks_ns: Array) -> None:
        """A session has ended in every partition. Nothing may be held, and clocks have come to theirs."""
        for part, clock_ns in zip(self._parts, clocks_ns.tolist(), strict=True):
            self._issue(part.end_session(clock_ns))

    def begin_session(self, clock_ns: int, before_ns: Array, anchor_ns: int) -> None:
        """A session begins, whose windows are aligned to ``anchor_ns``. Nothing may be held."""
        for part, before in zip(self._parts, before_ns.tolist(), strict=True):
            self._issue(part.begin_session(clock_ns, before, anchor_ns))

    def close(self) -> None:
        """The end of the data ends every window. Nothing may be held."""
        for part in self._parts:
            self._issue(part.close_all())

    def taken(self) -> Array | None:
        """The rows that wait, without symbols; they wait no longer."""
        rows = np.concatenate(self._issued) if self._issued else None
        self._issued.clear()
        return rows

    def write(self, table: Table, symbols: Array) -> int:
        """Writes the rows that wait. Returns how many."""
        if (rows := self.taken()) is None:
            return 0
        values = [rows["instrument_id" if name == "symbol" else name].astype(np.int64) for name in self.columns]
        table.write(np.stack(values, axis=1), symbols)
        return len(rows)

    def _issue(self, rows: Array) -> None:
        if len(rows):
            self._issued.append(rows)
