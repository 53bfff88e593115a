"""Ticks of recorded feeds without Kafka: what the service would put on ``md.ticks``, in message order."""

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path

from common.contracts.ticks import Ticks, heartbeat
from common.contracts.windows import closing_time_ns

from ingest.domain.anomalies import Report
from ingest.domain.days import Days
from ingest.domain.feed_date import date_from_name
from ingest.domain.framing import Block, Framer, FramingError
from ingest.domain.instruments import InstrumentRegistry
from ingest.domain.itch import Decoder
from ingest.files import CHUNK_BYTES, RecordedFile

Progress = Callable[[int, int], None]
"""Called with (bytes of the files read, bytes of the files); the second is 0 where a pipe does not say it."""


def blocks(
    path: Path, report: Report | None = None, *, progress: Progress | None = None, chunk_bytes: int = CHUNK_BYTES
) -> Iterator[Block]:
    """Whole messages of a file, for a dump of every field (``domain.itch.records``).

    Raises FramingError, after everything that stands before, where the framing gives no way on.
    """
    report = Report() if report is None else report
    yield from _Reading([path], report, progress, chunk_bytes).blocks(path)


class _Reading:
    """Files one after the other, as one feed: sequence numbers go on from file to file."""

    def __init__(self, paths: Sequence[Path], report: Report, progress: Progress | None, chunk_bytes: int) -> None:
        self.sequence = 1
        self.offset = 0
        """In the file that is read."""
        self._report = report
        self._progress = progress
        self._chunk_bytes = chunk_bytes
        self._sources = {path: RecordedFile(path, report, chunk_bytes=chunk_bytes) for path in dict.fromkeys(paths)}
        self._total = sum(self._sources[path].bytes_total for path in paths)
        self._before = 0

    def blocks(self, path: Path) -> Iterator[Block]:
        source = self._sources[path]
        framer = Framer(self._report, sequence=self.sequence)
        for chunk in source:
            yield from framer.feed(chunk)
            self._tell(source.bytes_read)
        yield from framer.finish()
        if framer.framing is None:
            raise FramingError(f"{path.name} holds no message; it ends", framer.offset)
        self.sequence, self.offset = framer.sequence, framer.offset
        self._tell(source.bytes_total)
        self._before += source.bytes_total

    def _tell(self, done: int) -> None:
        if self._progress:
            self._progress(self._before + done, self._total)


def tick_chunks(
    path: Path | Sequence[Path],
    day: date | Sequence[date] | None = None,
    *,
    registry: InstrumentRegistry | None = None,
    report: Report | None = None,
    progress: Progress | None = None,
    chunk_bytes: int = CHUNK_BYTES,
) -> Iterator[Ticks]:
    """Arrays of ``TICK`` in message order; ``sequence`` is the 1-based index of the message in the feed.

    Symbols are in the R ticks. The last array is one heartbeat that ends the session (``closing_time_ns``), as online.
    ``day`` is the exchange's, or are those of the days that follow each other in the feed; by default they are read
    from the names of the files (FeedDateError if there is none), and files of one day belong together. ``report``
    receives counts and anomalies. Raises FramingError where a file cannot be read on, after everything before it, and
    DayError, a kind of it, where a further day begins whose date nobody has said.
    """
    paths = [path] if isinstance(path, Path) else list(path)
    report = Report() if report is None else report
    dates = feed_dates(paths, day)
    days = Days(dates if day is not None else list(dict.fromkeys(dates)))
    registry = InstrumentRegistry() if registry is None else registry
    decoder = Decoder(days.clock(), registry, report, days=days)
    reading = _Reading(paths, report, progress, chunk_bytes)
    last_event_ns = 0
    for place, one in enumerate(paths):
        report.source = one.name if len(paths) > 1 else ""
        if day is None and dates[place] != days.today:
            decoder.finish(reading.offset, reading.sequence)
            decoder.begin_day(days.go_on(0, reading.sequence))
        for block in reading.blocks(one):
            ticks = decoder.decode(block)
            decoder.take_announcements()
            if len(ticks):
                last_event_ns = max(last_event_ns, int(ticks["event_ns"].max()))
                yield ticks
    decoder.finish(reading.offset, reading.sequence)
    if last_event_ns:
        yield heartbeat(closing_time_ns(last_event_ns), ends_session=True)


def feed_dates(paths: Sequence[Path], day: date | Sequence[date] | None) -> list[date]:
    """The days that are given, or that the names of the files say, one of each. Raises FeedDateError."""
    if day is None:
        return [date_from_name(path.name) for path in paths]
    return [day] if isinstance(day, date) else list(day)
