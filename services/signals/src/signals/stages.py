"""The stage ``market``: tick frames in; bars, measures, alerts, depths, marks and views out."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from common.contracts.alerts import AlertLimits
from common.contracts.ticks import Frame
from common.contracts.topics import (
    MD_ALERTS,
    MD_BARS,
    MD_BOOKS,
    MD_LATE,
    MD_MARKS,
    MD_MEASURES,
    MD_PHASES,
    MD_SESSIONS,
    MD_TICKS,
)
from common.contracts.windows import ALLOWED_LATENESS_NS, WINDOWS, Window, gaps_ns, slides_ns, triggers_of
from common.measures import Measure
from common.order_patterns import Pattern
from streams.model.message import Handled, Message, View
from streams.model.tables import Snapshotted, Tables

from signals import metrics
from signals.domain.market import MarketState
from signals.domain.snapshot_layouts import LAYOUT_VERSION
from signals.domain.watermark import FeedBounds
from signals.outputs import all_views, render
from signals.snapshots import load_market, save_market

INPUTS: Final = (MD_TICKS,)
OUTPUTS: Final = (MD_BARS, MD_MEASURES, MD_SESSIONS, MD_PHASES, MD_LATE, MD_ALERTS, MD_BOOKS, MD_MARKS)


def market_table(
    measures: Sequence[Measure] = (),
    interval_s: float = 30.0,
    lateness_ns: int = ALLOWED_LATENESS_NS,
    alert_limits: AlertLimits | None = None,
    patterns: Sequence[Pattern] = (),
    bounds: FeedBounds | None = None,
    windows: Sequence[Window] = (),
) -> Snapshotted[MarketState]:
    """The market of a partition, with ``measures`` beside the bars, saved every ``interval_s``. ``lateness_ns``: trades
    that are earlier than the clock by more are in no window. ``alert_limits``: where they are not the table's.
    ``patterns``: of orders, whose matches are alerts. ``bounds``: of feeds, where they are not the contract's.
    ``windows``: beside those of the table.
    """
    limits = alert_limits or AlertLimits()

    def create() -> MarketState:
        return MarketState(
            slides_ns=slides_ns(),
            gaps_ns=gaps_ns((*WINDOWS, *windows)),
            triggers=triggers_of((*WINDOWS, *windows)),
            measures=measures,
            lateness_ns=lateness_ns,
            alert_limits=limits,
            patterns=patterns,
            bounds=bounds or FeedBounds(),
        )

    return Snapshotted(
        "market",
        lambda _partition: create(),
        save_market,
        lambda directory, layout: load_market(directory, layout, create),
        interval_s,
        version=LAYOUT_VERSION,
        declare=MarketState.declaration,
    )


MARKET: Final = market_table()
"""Table of bars alone."""


def handle(message: Message, tables: Tables, now_ns: int) -> Handled:
    """Applies a frame at once; its records and views are made as they are asked for."""
    frame: Frame = message.body
    market: MarketState = tables.snapshotted(MARKET.name)
    effects = market.apply(frame.ticks, frame.ingest_ns, frame.feed, frame.session_ns)
    market.next_offset = message.offset + 1
    if effects.beats:
        metrics.observe(tables.partition, market)
    return render(effects, tables.partition, frame.ingest_ns)


def market_views(tables: Tables) -> Iterable[View]:
    """Every view row of a partition, to refill the views from."""
    views: Iterator[View] = all_views(tables.snapshotted(MARKET.name), tables.partition)
    return views
