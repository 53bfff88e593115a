"""The markets for operators. Set from the state, so that a replay counts nothing twice."""

from typing import Final

from common.books import count as book_count
from prometheus_client import Counter, Gauge, Histogram

from signals.domain import count
from signals.domain.market import MarketState

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
    for outcome, times in market.accounts().items():
        TRADES.labels(label, outcome).set(times)
    for kind, times in market.anomalies().items():
        ANOMALIES.labels(label, kind).set(times)
