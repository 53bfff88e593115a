"""Market alerts without Kafka: each partition's market judges its own ticks, as the fleet's stage does."""

from typing import Final

import numpy as np
from common.contracts.alerts import ALERT, SLICE_NS, AlertLimits
from common.contracts.ticks import Ticks

from signals.domain.layout import Array
from signals.domain.market import MarketState
from signals.domain.market_alerts import ALERT_WORDS as ALERT_WORDS
from signals.tables import Table

ALERT_COLUMNS: Final = tuple(name for name in ALERT.names or () if name != "instrument_id")


class OfflineAlerts:
    """Markets of so many partitions, which issue nothing but alerts."""

    def __init__(self, partitions: int, limits: AlertLimits) -> None:
        self._markets = [MarketState((SLICE_NS,), alert_limits=limits) for _ in range(partitions)]

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
                codes = {name: np.searchsorted(words, rows[name]) for name, words in ALERT_WORDS.items()}
                codes["symbol"] = rows["instrument_id"]
                listed = [codes.get(name, rows[name]).astype(np.int64) for name in ALERT_COLUMNS]
                table.write(np.stack(listed, axis=1), symbols)
            written += len(rows)
        return written
