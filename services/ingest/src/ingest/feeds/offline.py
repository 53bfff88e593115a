"""Ticks of a feed reader without Kafka: what the service would put on ``md.ticks``, in order."""

from collections.abc import Iterator, Mapping
from datetime import date

from common.contracts.ticks import Ticks, heartbeat
from common.contracts.windows import closing_time_ns

from ingest.domain.anomalies import Report
from ingest.domain.instruments import InstrumentRegistry
from ingest.feeds.installed import feed_reader
from ingest.feeds.reading import Progress, Reading


def reader_ticks(
    name: str,
    sources: tuple[str, ...],
    *,
    options: Mapping[str, str] | None = None,
    day: date | None = None,
    registry: InstrumentRegistry | None = None,
    report: Report | None = None,
    progress: Progress | None = None,
) -> Iterator[Ticks]:
    """Arrays of ``TICK``, the last one the heartbeat that ends the session, as online.

    Raises FeedUnavailable before the first array, FeedUnreadable where the source cannot be read on.
    """
    registry = InstrumentRegistry() if registry is None else registry
    report = Report() if report is None else report
    reading = Reading(
        feed_reader(name), sources, options=options or {}, day=day, registry=registry, report=report, progress=progress
    )
    return _closed(reading)


def _closed(reading: Reading) -> Iterator[Ticks]:
    last_event_ns = 0
    for ticks in reading:
        reading.take_announcements()
        if len(ticks):
            last_event_ns = max(last_event_ns, int(ticks["event_ns"].max()))
            yield ticks
    if last_event_ns:
        yield heartbeat(closing_time_ns(last_event_ns), ends_session=True)
