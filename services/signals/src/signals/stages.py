"""The stage ``market``: tick frames in; bars, measures, depths, marks and views out."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from common.contracts.ticks import Frame
from common.contracts.topics import MD_BARS, MD_BOOKS, MD_MARKS, MD_MEASURES, MD_TICKS
from common.runtime.message import Handled, Message, View
from common.runtime.tables import SnapshotLayout, Snapshotted, Tables

from signals import metrics
from signals.domain.market import MarketState
from signals.domain.snapshot_layouts import LAYOUT_VERSION
from signals.installed import installed_measures
from signals.outputs import all_views, render
from signals.snapshots import load_market, save_market

INPUTS: Final = (MD_TICKS,)
OUTPUTS: Final = (MD_BARS, MD_MEASURES, MD_BOOKS, MD_MARKS)


def new_market(_partition: int = 0) -> MarketState:
    """An empty market, of today's windows and installed measures."""
    return MarketState(measures=installed_measures())


def _restored(directory: Path, layout: SnapshotLayout) -> MarketState:
    return load_market(directory, layout, new_market)


MARKET: Final = Snapshotted(
    "market",
    new_market,
    save_market,
    _restored,
    version=LAYOUT_VERSION,
    declare=MarketState.declaration,
)


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
