"""Ticks of a recorded feed without Kafka: what the service would put on ``md.ticks``, in message order."""

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

from common.contracts.ticks import Ticks, heartbeat
from common.contracts.windows import closing_time_ns

from ingest.domain.anomalies import Report
from ingest.domain.feed_date import date_from_name, session_midnight_ns
from ingest.domain.framing import Block, Framer
from ingest.domain.instruments import InstrumentRegistry
from ingest.domain.itch import Decoder
from ingest.files import CHUNK_BYTES, RecordedFile

Progress = Callable[[int, int], None]
"""Called with (bytes of the file read, bytes of the file)."""


def blocks(
    path: Path, report: Report | None = None, *, progress: Progress | None = None, chunk_bytes: int = CHUNK_BYTES
) -> Iterator[Block]:
    """Whole messages of a file, for a dump of every field (``domain.itch.records``).

    Raises FramingError, after everything that stands before, where the framing gives no way on.
    """
    report = Report() if report is None else report
    source = RecordedFile(path, report, chunk_bytes=chunk_bytes)
    framer = Framer(report)
    for chunk in source:
        yield from framer.feed(chunk)
        if progress:
            progress(source.bytes_read, source.bytes_total)
    framer.finish()
    if progress:
        progress(source.bytes_total, source.bytes_total)


def tick_chunks(
    path: Path,
    day: date | None = None,
    *,
    registry: InstrumentRegistry | None = None,
    report: Report | None = None,
    progress: Progress | None = None,
    chunk_bytes: int = CHUNK_BYTES,
) -> Iterator[Ticks]:
    """Arrays of ``TICK`` in message order; ``sequence`` is the 1-based index of the message in the file.

    Symbols are in the R ticks. The last array is one heartbeat that ends the session (``closing_time_ns``), as online.
    ``day`` is the exchange's; by default it is read from the file's name (FeedDateError if there is none). ``report``
    receives counts and anomalies. Raises FramingError where the file cannot be read on, after everything before it.
    """
    report = Report() if report is None else report
    session_ns = session_midnight_ns(date_from_name(path.name) if day is None else day)
    decoder = Decoder(session_ns, InstrumentRegistry() if registry is None else registry, report)
    last_event_ns = 0
    for block in blocks(path, report, progress=progress, chunk_bytes=chunk_bytes):
        ticks = decoder.decode(block)
        decoder.take_announcements()
        if len(ticks):
            last_event_ns = max(last_event_ns, int(ticks["event_ns"].max()))
            yield ticks
    if last_event_ns:
        yield heartbeat(closing_time_ns(last_event_ns))
