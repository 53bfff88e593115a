"""Market alerts without Kafka: each partition's market judges its own ticks, as the fleet's stage does."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from common.contracts.alerts import ALERT, SLICE_NS, AlertLimits
from common.contracts.ticks import Ticks
from common.order_patterns import Pattern

from signals.domain.layout import Array
from signals.domain.market import MarketState
from signals.domain.market_alerts import alert_words
from signals.tables import Table

ALERT_COLUMNS: Final = tuple(name for name in ALERT.names or () if name != "instrument_id")


class OfflineAlerts:
    """Markets of so many partitions, which issue nothing but alerts."""

    def __init__(self, partitions: int, limits: AlertLimits, patterns: Sequence[Pattern] = ()) -> None:
        self.words = alert_words(patterns)
        """Every word that a column may have, in order: a cell is the place of one."""
        self._markets = [MarketState((SLICE_NS,), alert_limits=limits, patterns=patterns) for _ in range(partitions)]

    def write(self, ticks: Ticks, table: Table, symbols: Array) -> int:
        """Judges ticks of the whole market, and writes what is issued, by partition. Returns how many rows.

        ``symbols``: names by id, dtype S16, as they are after the ticks.
        """
        partitions, written = len(self._markets), 0
        owners = ticks["instrument_id"] % partitions
        is_market_wide = ticks["instrument_id"] < 0
        for partition, market in enumerate(self._markets):
            rows = market.apply(ticks[is_market_wide | (owners == partition)], 0).alerts
            if len(rows):
                codes = {name: np.searchsorted(words, rows[name]) for name, words in self.words.items()}
                codes["symbol"] = rows["instrument_id"]
                listed = [codes.get(name, rows[name]).astype(np.int64) for name in ALERT_COLUMNS]
                table.write(np.stack(listed, axis=1), symbols)
            written += len(rows)
        return written
