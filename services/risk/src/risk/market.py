"""Reads the market from the global tables."""

from functools import lru_cache
from struct import Struct
from typing import Final

from common.contracts.market import mark_clock_key
from streams.model.tables import GlobalRow, Tables

from risk.controls import LimitReader
from risk.domain.account import Mark
from risk.domain.gate import Limits, Listed, Market, listed

MARK_ROW: Final = Struct("<16siB3xqqqqqqqq")
"""One row of ``contracts.market.MARK``, which a test compares; many times as fast as numpy's access to nine fields."""
EVENT_FIELD: Final = 3
"""``event_ns``: of a clock, the exchange's time."""
CLOCK_FIELD: Final = 4
"""``ingest_ns``."""
_clock_key: Final = lru_cache(mark_clock_key)


class MarketReader:
    """Reads the market. What was read of a symbol stays true until one of its rows in the log is replaced."""

    def __init__(self, limits: Limits) -> None:
        self.limits: Final = LimitReader(limits)
        self._read: dict[bytes, tuple[GlobalRow | None, GlobalRow, GlobalRow | None, Listed]] = {}
        """By symbol; as many as there are marks."""

    def read(self, tables: Tables, symbol: str, limits: Limits) -> Listed:
        """The instrument and its mark with the clock of the mark's own partition, under the limits of an order."""
        key = symbol.encode()
        marks = tables.globals("marks")
        known, row = tables.globals("instruments").get(key), marks.get(key)
        if row is None:
            return listed(Market(None if known is None else known.value, None), limits)
        clock = marks.get(_clock_key(row.partition))
        last = self._read.get(key)
        if last is not None and last[0] is known and last[1] is row and last[2] is clock:
            if last[3].limits is limits:
                return last[3]
            return listed(last[3].market, limits)
        market = listed(_market(known, row, clock), limits)
        self._read[key] = (known, row, clock, market)
        return market


def _market(known: GlobalRow | None, row: GlobalRow, clock: GlobalRow | None) -> Market:
    instrument = None if known is None else known.value
    _, _, state, event_ns, _, bid_e4, _, ask_e4, _, last_e4, _ = MARK_ROW.unpack_from(row.value)
    if clock is None:
        return Market(instrument, None, state)
    time = MARK_ROW.unpack_from(clock.value)
    mark = Mark(row.partition, row.offset, bid_e4, ask_e4, last_e4, event_ns, time[CLOCK_FIELD])
    return Market(instrument, mark, state, time[EVENT_FIELD] - event_ns)
