"""Metrics of ingest."""

from collections import Counter as Tally

from prometheus_client import Counter, Gauge

from ingest.domain.anomalies import AnomalyKind, Report

MESSAGES = Counter("tidemark_ingest_messages_total", "Messages of the feed, undecodable ones included")
TICKS = Counter("tidemark_ingest_ticks_total", "Messages that became ticks")
BYTES = Counter("tidemark_ingest_feed_bytes_total", "Bytes of the feed read")
ANOMALIES = Counter("tidemark_ingest_anomalies_total", "What the feed got wrong; gaps in messages", ("kind",))
DROPPED = Counter("tidemark_ingest_dropped_datagrams_total", "Datagrams that found the queue full; each shows as a gap")
LINE_QUIET = Gauge("tidemark_ingest_line_quiet_seconds", "Since something useful arrived on the packet line; 0 without")
SIDE_QUIET = Gauge("tidemark_ingest_side_quiet_seconds", "Since a side of the packet line said anything", ("side",))
SIDE_SILENT = Gauge(
    "tidemark_ingest_side_silent", "1 where a side of the packet line is silent while the other goes on", ("side",)
)
SIDE_MESSAGES = Gauge(
    "tidemark_ingest_side_messages", "Messages that a side of the packet line has delivered", ("side",)
)
SIDE_LOST = Gauge("tidemark_ingest_side_lost_messages", "Messages that a side has not delivered", ("side",))
SNAPSHOTS = Counter("tidemark_ingest_snapshots_total", "Snapshots of the line asked for", ("outcome",))
INSTRUMENTS = Gauge("tidemark_ingest_instruments", "Instruments known")
SEQUENCE = Gauge("tidemark_ingest_position_messages", "Next message of the session")
EVENT_TIME = Gauge("tidemark_ingest_event_time_seconds", "Event time of the newest tick, since the epoch")

for _kind in AnomalyKind:
    ANOMALIES.labels(_kind.value)  # a series that is zero can be told from one that is missing


class ReportMetrics:
    """Carries a report's growth into the metrics."""

    def __init__(self) -> None:
        self._seen: Tally[str] = Tally()

    def update(self, report: Report, dropped: int = 0) -> None:
        for counter, name, total in (
            (MESSAGES, "messages", report.messages),
            (TICKS, "ticks", report.ticks),
            (BYTES, "bytes", report.bytes_read),
            (DROPPED, "dropped", dropped),
        ):
            counter.inc(self._growth(name, total))
        for kind, total in report.counts.items():
            ANOMALIES.labels(kind.value).inc(self._growth(kind.value, total))

    def _growth(self, name: str, total: int) -> int:
        growth = total - self._seen[name]
        self._seen[name] = total
        return growth
