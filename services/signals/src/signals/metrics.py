"""The markets for operators. Set from the state, so that a replay counts nothing twice."""

import time
from functools import partial
from typing import Final
from weakref import WeakValueDictionary

from common.books import count as book_count
from prometheus_client import Counter, Gauge, Histogram

from signals.domain import count
from signals.domain.market import MarketState
from signals.domain.watermark import Watermark
from signals.trader_tables import Counts

ANOMALIES: Final = Gauge(
    "tidemark_signals_anomalies_total", "damaged or late input, by kind, since the state began", ("partition", "kind")
)
TICKS: Final = Gauge("tidemark_signals_ticks_total", "ticks applied since the state began", ("partition",))
BARS: Final = Gauge("tidemark_signals_bars_total", "bars issued since the state began, revisions too", ("partition",))
TRADES: Final = Gauge(
    "tidemark_signals_trades_total",
    "ticks that tell a trade, by what became of them: windowed, late or rejected, since the state began",
    ("partition", "outcome"),
)
ALERTS: Final = Gauge("tidemark_signals_open_alerts", "market alerts that go on, by kind", ("partition", "kind"))
ORDERS: Final = Gauge("tidemark_signals_open_orders", "orders in the books", ("partition",))
CLOCK: Final = Gauge("tidemark_signals_clock_seconds", "event time that the partition has reached", ("partition",))
VENUES_LEFT_OUT: Final = Gauge(
    "tidemark_signals_venues_left_out",
    "venues of a partition of md.events that have been silent for too long, and whose levels are in no book",
    ("partition",),
)
WATERMARK_LAG: Final = Gauge(
    "tidemark_signals_watermark_lag_seconds",
    "how far a partition's watermark is behind what its feeds' bounds allow; 0 where every session is over",
    ("partition",),
)
HELD: Final = Gauge("tidemark_signals_held_rows", "rows that wait for the watermark", ("partition",))
TRADER_EVENTS: Final = Gauge(
    "tidemark_signals_trader_events_total",
    "events of orders, by what became of them: windowed, late or repeated, since the state began",
    ("partition", "outcome"),
)
QUERIES: Final = Counter(
    "tidemark_signals_queries_total",
    "Questions about symbols over HTTP, by what was asked, whether of now or the past, and the answer or its problem",
    ("question", "of", "outcome"),
)
REPLAYS: Final = Histogram(
    "tidemark_signals_replay_seconds",
    "Time that an answer of the past took, the start of its process included",
    buckets=(0.5, 1, 2, 5, 10, 30, 60),
)
NS: Final = 1_000_000_000
_observed: Final = WeakValueDictionary[str, Watermark]()
"""Watermarks by partition, as long as the partition is here."""


def _lag_s(label: str) -> float:
    watermark = _observed.get(label)
    return watermark.lag_ns(time.time_ns()) / NS if watermark is not None else 0.0


def observe(partition: int, market: MarketState) -> None:
    """Reads the counters of a partition; called once per heartbeat."""
    label = str(partition)
    counters = market.books.counters.tolist()
    TICKS.labels(label).set(counters[book_count.TICKS])
    BARS.labels(label).set(int(market.bars.counters[count.BARS]))
    for name, times in market.alerts.open_by_kind().items():
        ALERTS.labels(label, name).set(times)
    ORDERS.labels(label).set(counters[book_count.ORDERS])
    CLOCK.labels(label).set(counters[book_count.CLOCK_NS] / NS)
    HELD.labels(label).set(len(market.held))
    if _observed.get(label) is not market.watermark:
        _observed[label] = market.watermark
        WATERMARK_LAG.labels(label).set_function(partial(_lag_s, label))
    for outcome, times in market.accounts().items():
        TRADES.labels(label, outcome).set(times)
    for kind, times in market.anomalies().items():
        ANOMALIES.labels(label, kind).set(times)


def observe_traders(partition: int, counts: Counts) -> None:
    """Reads the counts of a partition of ``orders.events``; called once per batch."""
    for outcome in ("windowed", "late", "repeated"):
        TRADER_EVENTS.labels(str(partition), outcome).set(getattr(counts, outcome))
