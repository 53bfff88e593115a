"""A feed session: from bytes to batches that the runtime commits together with the position behind them.

``Session`` holds what a stream and a packet line have in common. The position of a batch is exactly behind its last
message, so a process that is killed goes on where its last committed batch ended: no tick is lost, none comes twice.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from common.contracts.reference import Instrument
from common.contracts.ticks import Ticks, heartbeat
from common.contracts.topics import MD_TICKS
from common.contracts.windows import closing_time_ns
from streams.edges.source import SourceBatch
from streams.model.message import Output

from ingest.batches import FrameWriter, announcements
from ingest.domain.anomalies import Report
from ingest.domain.days import Days
from ingest.domain.feed_date import EXCHANGE_TIME, wall_clock
from ingest.domain.framing import Block, Framer, Framing, FramingError
from ingest.domain.instruments import InstrumentRegistry
from ingest.domain.itch import Decoder
from ingest.domain.pace import Pace
from ingest.domain.partitions import deal
from ingest.domain.position import Position, unpack_locates
from ingest.domain.stamps import count_due, next_stamp
from ingest.events import EventWriter
from ingest.settings import IngestSettings

MILLISECOND_NS = 1_000_000


class Clock(Protocol):
    """Time, and waiting for it."""

    def now_ns(self) -> int:
        """The wall clock, ns since the epoch: for stamps. It may jump."""
        ...

    def steady_ns(self) -> int:
        """From any beginning, and only forwards: for whatever is waited for."""
        ...

    async def sleep_ns(self, duration_ns: int) -> None: ...


class SystemClock:
    """The machine's."""

    def now_ns(self) -> int:
        return time.time_ns()

    def steady_ns(self) -> int:
        return time.monotonic_ns()

    async def sleep_ns(self, duration_ns: int) -> None:
        await asyncio.sleep(duration_ns / 1e9)


class Session:
    """Decoder, heartbeats and position of one feed."""

    def __init__(
        self, settings: IngestSettings, position: Position, known: Iterable[Instrument], report: Report, clock: Clock
    ) -> None:
        self.settings = settings
        self.position = position
        self.report = report
        self.clock = clock
        self.registry = InstrumentRegistry(known)
        self.decoder = self.new_decoder(unpack_locates(position.locates))
        self.decoder.resume(position.last_event_ns, ended=position.ended)
        self.last_event_ns = position.last_event_ns
        self.announced: list[Instrument] = []
        """Instruments of a feed reader that the next batch announces."""
        self.events: EventWriter | None = None
        """Writer of the feed's events, where they are written, too."""
        self._beat_interval_ns = settings.feed.heartbeat_interval_ms * MILLISECOND_NS
        self._next_beat_ns = 0

    def new_decoder(self, locates: dict[int, int] | None = None) -> Decoder:
        """For a new session of the line: locate codes are given anew each day."""
        is_line = self.settings.feed.kind == "udp"
        day = datetime.fromtimestamp(self.position.session_ns / 1e9, EXCHANGE_TIME).date()
        days = None if is_line else Days([day])
        clock = replace(wall_clock(day), midnight_ns=self.position.session_ns)
        return Decoder(clock, self.registry, self.report, locates, days=days, is_line=is_line)

    def until_beat_ns(self) -> int:
        """Time until the next heartbeat is due; 0 if it is, or was."""
        return max(0, self._next_beat_ns - self.clock.steady_ns())

    def batch(self, ticks: Ticks | None, feed_time_ns: int = 0) -> SourceBatch:
        """Announcements, ticks, and a heartbeat if one is due.

        ``feed_time_ns``: event time that has passed for certain, though no message says so.
        """
        if ticks is not None and len(ticks):
            self.last_event_ns = max(self.last_event_ns, int(ticks["event_ns"].max()))
        beat = None
        if not self.until_beat_ns() and self.last_event_ns:
            beat = heartbeat(max(self.last_event_ns, feed_time_ns))
            self._next_beat_ns = self.clock.steady_ns() + self._beat_interval_ns
        return self._committed(ticks, beat)

    def close(self) -> SourceBatch:
        """The session is over: the heartbeat after which no window of it stays open."""
        beat = None
        if self.last_event_ns:
            self.last_event_ns = closing_time_ns(self.last_event_ns)
            beat = heartbeat(self.last_event_ns, ends_session=True)
        self.position = replace(self.position, closed=True)
        return self._committed(None, beat)

    async def linger(self) -> AsyncGenerator[SourceBatch, None]:
        """Nothing happens any more, but the feed's clock is alive: heartbeats at the session's closing time."""
        while self.settings.feed.linger and self.last_event_ns:
            await self.clock.sleep_ns(self.until_beat_ns())
            yield self.batch(None)

    def _committed(self, ticks: Ticks | None, beat: Ticks | None) -> SourceBatch:
        outputs: Sequence[Output] = announcements([*self.announced, *self.decoder.take_announcements()])
        self.announced.clear()
        decoder, settings = self.decoder, self.settings
        self.position = replace(
            self.position,
            last_event_ns=self.last_event_ns,
            ended=decoder.ended,
            locates=decoder.packed_locates(),
        )
        parts = deal(ticks, MD_TICKS.partitions) if ticks is not None and len(ticks) else ()
        writer = FrameWriter(settings.feed.name(), self.position.session_ns, settings.frame_ticks_max)
        frames = writer.frames(parts, beat, self.clock.now_ns())
        events = self.events.records(parts) if self.events and parts else ()
        return SourceBatch([*outputs, *frames, *events], self.position.encode())


class StreamSession:
    """A recorded or synthetic stream of framed messages, let through at the chosen speed."""

    def __init__(self, session: Session, chunks: Iterable[bytes], pace: Pace) -> None:
        self._session = session
        self._chunks = iter(chunks)
        self._pace = pace
        position = session.position
        framing = Framing(position.framing) if position.framing else None
        self._framer = Framer(session.report, framing, offset=position.offset, sequence=position.sequence)

    async def batches(self) -> AsyncGenerator[SourceBatch, None]:
        """Ends with the session. Raises FramingError where the stream cannot be read on, after all before it."""
        session = self._session
        if not session.position.closed:
            while (chunk := await asyncio.to_thread(next, self._chunks, None)) is not None:
                for block in self._framer.feed(chunk):
                    async for batch in self._pass(block):
                        yield batch
            for block in self._framer.finish():
                async for batch in self._pass(block):
                    yield batch
            if self._framer.framing is None:
                raise FramingError("the feed holds no message; it ends", self._framer.offset)
            session.decoder.finish(self._framer.offset, self._framer.sequence)
            yield session.close()
        async for batch in session.linger():
            yield batch

    async def _pass(self, block: Block) -> AsyncGenerator[SourceBatch, None]:
        """Lets one block through."""
        session, pace = self._session, self._pace
        index = 0
        while index < len(block):
            now_ns = session.clock.steady_ns()
            due = self._due(block, index, now_ns)
            if due:
                ticks = session.decoder.decode(block, index, index + due)
                index += due
                self._advance(block, index)
                yield session.batch(ticks)
                if not pace.unlimited:
                    await session.clock.sleep_ns(session.settings.feed.step_ms * MILLISECOND_NS)
                continue
            beat_in_ns = session.until_beat_ns()
            stamp = next_stamp(block, index) or 0
            if session.last_event_ns and not beat_in_ns:
                yield session.batch(None, session.decoder.clock.event_ns(min(pace.now(now_ns), stamp)))
            else:
                wait_ns = pace.wait_ns(stamp, now_ns)
                await session.clock.sleep_ns(min(wait_ns, beat_in_ns) if beat_in_ns else wait_ns)

    def _due(self, block: Block, index: int, now_ns: int) -> int:
        if self._pace.unlimited:
            return len(block) - index
        if not self._pace.started:
            stamp = next_stamp(block, index)
            if stamp is None:
                return len(block) - index
            self._pace.start(stamp, now_ns)
        return int(count_due(block.data, block.starts, block.lengths, index, self._pace.now(now_ns)))

    def _advance(self, block: Block, count: int) -> None:
        session = self._session
        session.position = replace(
            session.position,
            sequence=block.first_sequence + count,
            offset=block.end(count),
            framing=str(self._framer.framing),
        )
