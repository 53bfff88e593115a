"""Compiles every kernel ahead of need, into the cache that later processes read."""

from collections.abc import Sequence

import numpy as np
from common.books.ref_table import rehash
from common.contracts.ticks import TICK, TickKind, heartbeat
from common.contracts.windows import NS
from common.measures import Measure
from common.order_patterns import Pattern

from signals.domain.market import MarketState
from signals.event_stage import event_reader


def warm(measures: Sequence[Measure] = (), patterns: Sequence[Pattern] = ()) -> None:
    """Runs a market of a few ticks, reads an event. Takes seconds the first time on a machine, else milliseconds."""
    ticks = np.zeros(2, TICK)
    ticks["kind"] = TickKind.ADD, TickKind.TRADE
    ticks["side"] = ord("B")
    ticks["qty"] = ticks["price_e4"] = ticks["order_ref"] = ticks["aux_ref"] = 1
    market = MarketState(slides_ns=((2 * NS, NS),), trades_max=1, measures=measures, patterns=patterns)
    for frame in (ticks, ticks, heartbeat(2 * NS), heartbeat(4 * NS, ends_session=True)):
        frame.flags.writeable = False
        market.apply(frame, 0)
    market.restore(market.arrays(), market.declaration() | {"measures": {}, "quoted": {}})
    if market.quoted is not None:
        market.quoted.begin_session(6 * NS, 5 * NS, 0)
    for table in (market.books.state.orders, market.bars.state.matches):
        rehash(table, np.zeros(2 * len(table), table.dtype))
    event_reader().read([b""], 0)
