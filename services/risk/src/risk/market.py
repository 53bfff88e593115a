"""Reads the market from the global tables."""

from functools import lru_cache
from struct import Struct
from typing import Final

from common.contracts.market import mark_clock_key
from common.runtime.tables import Tables

from risk.domain.account import Mark
from risk.domain.gate import Market

MARK_ROW: Final = Struct("<16siB3xqqqqqqqq")
"""One row of ``contracts.market.MARK``, which a test compares; many times as fast as numpy's access to nine fields."""
CLOCK_FIELD: Final = 4
"""``ingest_ns``."""
_clock_key: Final = lru_cache(mark_clock_key)


def read_market(tables: Tables, symbol: str) -> Market:
    """The instrument, and its mark with the clock of the mark's own partition."""
    key = symbol.encode()
    known = tables.globals("instruments").get(key)
    instrument = None if known is None else known.value
    marks = tables.globals("marks")
    row = marks.get(key)
    if row is None:
        return Market(instrument, None)
    _, _, state, event_ns, _, bid_e4, _, ask_e4, _, last_e4, _ = MARK_ROW.unpack_from(row.value)
    clock = marks.get(_clock_key(row.partition))
    if clock is None:
        return Market(instrument, None, state)
    clock_ns = MARK_ROW.unpack_from(clock.value)[CLOCK_FIELD]
    return Market(instrument, Mark(row.partition, row.offset, bid_e4, ask_e4, last_e4, event_ns, clock_ns), state)
