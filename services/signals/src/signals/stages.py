"""The stage ``market``: tick frames in; bars, depths, marks and views out."""

from collections.abc import Iterable, Iterator
from typing import Final

from common.contracts.ticks import Frame
from common.contracts.topics import MD_BARS, MD_BOOKS, MD_MARKS, MD_TICKS
from streams.model.message import Handled, Message, View
from streams.model.tables import Snapshotted, Tables

from signals import metrics
from signals.domain.market import MarketState
from signals.outputs import all_views, render
from signals.snapshots import load_market, save_market

INPUTS: Final = (MD_TICKS,)
OUTPUTS: Final = (MD_BARS, MD_BOOKS, MD_MARKS)
MARKET: Final = Snapshotted("market", lambda partition: MarketState(), save_market, load_market)


def handle(message: Message, tables: Tables, now_ns: int) -> Handled:
    """Applies a frame at once; its records and views are made as they are asked for."""
    frame: Frame = message.body
    market: MarketState = tables.snapshotted(MARKET.name)
    effects = market.apply(frame.ticks, frame.ingest_ns)
    if effects.beats:
        metrics.observe(tables.partition, market)
    return render(effects, tables.partition, frame.ingest_ns)


def market_views(tables: Tables) -> Iterable[View]:
    """Every view row of a partition, to refill the views from."""
    views: Iterator[View] = all_views(tables.snapshotted(MARKET.name), tables.partition)
    return views
