"""The feed of a process: opens the chosen source where the last committed batch ended, and watches over it."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from common.contracts.reference import Instrument
from common.contracts.ticks import Ticks
from common.contracts.topics import REF_INSTRUMENTS
from streams.edges.source import SourceBatch
from streams.kafka.kafka_log import KafkaLog
from streams.model.log import Log, Partition
from streams.process.logs import get_logger
from streams.process.settings import Settings
from streams.state.framed_reader import reader_of

from ingest import metrics
from ingest.domain.anomalies import LOSSES, Report
from ingest.domain.exchange import exchange_chunks
from ingest.domain.feed_date import EXCHANGE_TIME, session_midnight_ns
from ingest.domain.framing import FramingError
from ingest.domain.pace import Pace, parse_speed
from ingest.domain.position import Position, decode_position
from ingest.domain.sides import Side, silent_sides
from ingest.events import EventWriter, committed_ticks
from ingest.feeds.session import ReaderSession
from ingest.files import RecordedFile
from ingest.line_session import LineSession
from ingest.session import Clock, Session, StreamSession, SystemClock
from ingest.settings import IngestSettings
from ingest.udp import DatagramQueue, open_line, side_of

_log = get_logger(__name__)
POLL_MS = 1_000
Known = Callable[[], Awaitable[list[Instrument]]]
Committed = Callable[[str, int], AsyncIterator[tuple[int, Ticks]]]
"""See ``events.committed_ticks``."""


async def announced_instruments(log: Log) -> list[Instrument]:
    """Instruments in ``ref.instruments``, committed records only; asked for after fencing, they cannot change."""
    partition = Partition(REF_INSTRUMENTS.name, 0)
    end = await log.high_watermark(partition)
    reader = reader_of(REF_INSTRUMENTS, await log.read(partition, await log.low_watermark(partition)), Settings())
    newest: dict[bytes | None, Instrument] = {}
    try:
        while reader.position < end:
            for record in await reader.poll(POLL_MS):
                if record.value is None:
                    newest.pop(record.key, None)
                else:
                    newest[record.key] = REF_INSTRUMENTS.schema.decode(record.value)
    finally:
        await reader.close()
    return list(newest.values())


async def instruments_on_kafka(settings: Settings) -> list[Instrument]:
    """``announced_instruments`` of the fleet's broker."""
    log = KafkaLog(settings, f"ingest-reference-{settings.worker_id}")
    await log.start()
    try:
        return await announced_instruments(log)
    finally:
        await log.stop()


async def ticks_on_kafka(settings: Settings, feed: str, session_ns: int) -> AsyncIterator[tuple[int, Ticks]]:
    """``committed_ticks`` of the fleet's broker."""
    log = KafkaLog(settings, f"ingest-events-{settings.worker_id}")
    await log.start()
    try:
        async for partition, ticks in committed_ticks(log, feed, session_ns):
            yield partition, ticks
    finally:
        await log.stop()


OPENING, RUNNING = "opening", "running"
"""States of a feed that is not over."""


class Feed:
    """Source for ``@app.source``. ``progress`` is called with (bytes of the file read, bytes of the file)."""

    def __init__(
        self,
        settings: IngestSettings,
        *,
        known: Known | None = None,
        committed: Committed | None = None,
        clock: Clock | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.settings = settings
        self.report = Report()
        self.failure: FramingError | None = None
        """Why the feed ended early."""
        self.queue: DatagramQueue | None = None
        """The line's socket, of its side A, while it is open."""
        self.sides: Sequence[Side] = ()
        """Sides A and B, where the line has two."""
        self._queues: Sequence[DatagramQueue] = ()
        self._known = known
        self._committed = committed or partial(ticks_on_kafka, settings)
        self._clock = clock or SystemClock()
        self._progress = progress
        self._state = OPENING
        self._session: Session | None = None
        self._line: LineSession | None = None
        self._closed_ns = self._clock.steady_ns()
        """Since when the line is not open, while it is not."""
        self._grown = metrics.ReportMetrics()
        metrics.LINE_QUIET.set_function(self.line_quiet_s)

    async def run(self, stored: bytes | None) -> AsyncGenerator[SourceBatch, None]:
        """Batches from the stored position on. A feed that cannot be read on ends, and says so: health, log, metric."""
        settings = self.settings
        known = await (self._known() if self._known else instruments_on_kafka(settings))
        self.report = Report()
        self._grown = metrics.ReportMetrics()
        logged = 0
        session = Session(settings, self._position(stored), known, self.report, self._clock)
        self._session = session
        if settings.feed.events:
            session.events = await self._event_writer(session)
        _log.info("feed_open", feed=settings.feed.identity(), sequence=session.position.sequence, known=len(known))
        self._state = RUNNING
        try:
            async with aclosing(self._batches(session)) as batches:
                async for batch in batches:
                    self._publish()
                    _gauges(session)
                    for anomaly in self.report.examples[logged:]:
                        _log.warning("feed_anomaly", kind=anomaly.kind.value, at=str(anomaly))
                    logged = len(self.report.examples)
                    yield batch
            self._state = "ended with losses" if self.losses() else "ended"
            self._publish()
        except FramingError as error:
            self.failure, self._state = error, "refused"
            self._publish()
            _log.error("feed_refused", feed=settings.feed.identity(), error=str(error), offset=error.offset)
        _log.info("feed_over", messages=self.report.messages, ticks=self.report.ticks, **_counts(self.report))

    async def _event_writer(self, session: Session) -> EventWriter:
        """With the books as they are at the session's position."""
        events = EventWriter(session.registry)
        position = session.position
        if position.session_ns and position.last_event_ns and not position.closed:
            async for partition, ticks in self._committed(self.settings.feed.name(), position.session_ns):
                events.pass_over(partition, ticks)
        return events

    def ready(self) -> tuple[bool, Any]:
        """Not ready where the feed was refused, where a line has brought nothing useful for too long, or, if the feed
        has to be whole, where something of it is missing.
        """
        sequence = self._session.position.sequence if self._session else 0
        detail = {"state": self._state, "next_message": sequence, **_counts(self.report)}
        if self.failure:
            detail["failure"] = str(self.failure)
        self._publish()  # a line of strays alone makes no batch, and they count all the same
        quiet_s = self.line_quiet_s()
        is_quiet = quiet_s * 1_000 > self.settings.feed.udp.silent_ms
        if is_quiet:
            detail["failure"] = f"nothing useful has arrived on the line for {quiet_s:.1f} s"
        if self.sides:
            detail["sides"] = {side.name: side.said(self._side_quiet_s(side)) for side in self.sides}
        if silent := self.silent_sides():
            detail["warning"] = f"side {silent[0]} is silent while the other goes on: no packet may be lost there now"
        if self._line and self._line.late_join:
            detail["snapshot"] = self._line.late_join.said()
        if losses := self.losses():
            detail["losses"] = losses
            detail["first_loss"] = next((str(one) for one in self.report.examples if one.kind in LOSSES), "")
        is_refused = self.settings.feed.strict and self.settings.feed.kind == "file" and bool(losses)
        return self.failure is None and not is_quiet and not is_refused, detail

    def losses(self) -> dict[str, int]:
        """How often something of the feed was lost, by kind."""
        return {kind.value: count for kind, count in self.report.losses().items()}

    def _publish(self) -> None:
        self._grown.update(self.report, sum(queue.dropped for queue in self._queues))
        for side in self.sides:
            metrics.SIDE_MESSAGES.labels(side.name).set(side.messages)
            metrics.SIDE_LOST.labels(side.name).set(side.lost)

    def _side_quiet_s(self, side: Side) -> float:
        """For how long a side has said nothing of the line's session; 0 where the line is over."""
        return self._line.side_quiet_ns(side) / 1e9 if self._line else 0.0

    def _is_silent(self, side: str) -> bool:
        return side in self.silent_sides()

    def silent_sides(self) -> tuple[str, ...]:
        """Sides that are silent while the other goes on. The line is whole, and has no second source any more."""
        quiet_s = {side.name: self._side_quiet_s(side) for side in self.sides}
        return silent_sides(quiet_s, self.settings.feed.udp.silent_ms / 1_000)

    def line_quiet_s(self) -> float:
        """For how long nothing useful has arrived on the packet line, or it was not open; 0 once it is over."""
        if self._line:
            return self._line.quiet_ns() / 1e9
        is_awaited = self.settings.feed.kind == "udp" and self._state in (OPENING, RUNNING)
        return (self._clock.steady_ns() - self._closed_ns) / 1e9 if is_awaited else 0.0

    def _position(self, stored: bytes | None) -> Position:
        """The stored one if it is this feed's, else the start."""
        identity = self.settings.feed.identity()
        if stored is not None and (position := decode_position(stored)).feed == identity:
            return position
        if self.settings.feed.kind == "reader" and self.settings.feed.date is None:
            return Position(identity, 0)  # the reader's first tick says the day
        day = self.settings.feed.day() or datetime.fromtimestamp(self._clock.now_ns() / 1e9, EXCHANGE_TIME).date()
        return Position(identity, session_midnight_ns(day))

    async def _batches(self, session: Session) -> AsyncGenerator[SourceBatch, None]:
        if self.settings.feed.kind == "udp":
            self._queues = queues = await self._open_sides()
            try:
                self._line = LineSession(session, *queues)
                self.sides = self._line.sides
                for side in self.sides:
                    metrics.SIDE_QUIET.labels(side.name).set_function(partial(self._side_quiet_s, side))
                    metrics.SIDE_SILENT.labels(side.name).set_function(partial(self._is_silent, side.name))
                self.queue = queues[0]
                async for batch in self._line.batches():
                    yield batch
            finally:
                self._line = self.queue = None
                self._closed_ns = self._clock.steady_ns()
                for queue in queues:
                    queue.close()
            return
        if self.settings.feed.kind == "reader":
            async for batch in ReaderSession(session, self._progress).batches():
                yield batch
            return
        stream = StreamSession(
            session, self._chunks(session.position.offset), Pace(parse_speed(self.settings.feed.speed))
        )
        async for batch in stream.batches():
            yield batch

    async def _open_sides(self) -> list[DatagramQueue]:
        """The sockets of side A, and of B where the line has two. Raises AddressError, OSError."""
        udp, arrived = self.settings.feed.udp, asyncio.Event()
        places = [(udp.host, udp.port, udp.group)]
        if udp.b:
            places.append(side_of(udp.b, udp.b_host or udp.host))
        queues: list[DatagramQueue] = []
        try:
            for host, port, group in places:
                queue = await open_line(
                    host,
                    port,
                    group=group,
                    datagrams_max=udp.queue_max,
                    buffer_bytes=udp.buffer_bytes,
                    arrived=arrived,
                )
                queues.append(queue)
        except (OSError, ValueError):
            for queue in queues:
                queue.close()
            raise
        return queues

    def _chunks(self, start: int) -> Iterator[bytes]:
        """The stream from byte ``start`` on."""
        settings = self.settings
        if settings.feed.kind == "file" and settings.feed.file is not None:
            source = RecordedFile(Path(settings.feed.file), self.report, start=start, chunk_bytes=settings.chunk_bytes)
            for chunk in source:
                if self._progress:
                    self._progress(source.bytes_read, source.bytes_total)
                yield chunk
            if self._progress:
                self._progress(source.bytes_total, source.bytes_total)
        elif settings.feed.kind == "synthetic":
            yield from _from_byte(exchange_chunks(settings.feed.exchange(), settings.chunk_bytes), start, self.report)
        else:
            raise ValueError(f"feed={settings.feed.kind} is no stream")


def _from_byte(chunks: Iterable[bytes], start: int, report: Report) -> Iterator[bytes]:
    """A generated stream is made again and passed over up to ``start``."""
    for chunk in chunks:
        if start >= len(chunk):
            start -= len(chunk)
            continue
        report.bytes_read += len(chunk) - start
        yield chunk[start:]
        start = 0


def _gauges(session: Session) -> None:
    metrics.INSTRUMENTS.set(len(session.registry))
    metrics.SEQUENCE.set(session.position.sequence)
    metrics.EVENT_TIME.set(session.last_event_ns / 1e9)


def _counts(report: Report) -> dict[str, int]:
    return {kind.value: count for kind, count in report.counts.items()}
