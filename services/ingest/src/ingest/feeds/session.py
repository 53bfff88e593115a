"""A feed reader's session: its ticks at the chosen speed, in batches with the position behind them."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace
from typing import Final

import numpy as np
from common.contracts.ticks import Ticks
from common.feeds import FeedUnavailable, FeedUnreadable
from streams.edges.source import SourceBatch

from ingest.domain.framing import FramingError
from ingest.domain.pace import Pace, parse_speed
from ingest.feeds.installed import feed_reader
from ingest.feeds.reading import Progress, Reading
from ingest.session import MILLISECOND_NS, Session

LIVE_WITHIN_NS: Final = 2_000 * MILLISECOND_NS
"""A live source whose events are stamped so close to this machine's clock runs on the same time as it."""
QUIET_MARGIN_NS: Final = 1_000 * MILLISECOND_NS


class ReaderSession:
    """A recorded source is read again from its start after a crash; what was committed is passed over by its sequence.

    A live source numbers on where the last committed batch ended.
    """

    def __init__(self, session: Session, progress: Progress | None = None) -> None:
        settings = session.settings
        self._session = session
        try:
            self._open(progress)
        except FeedUnavailable as error:
            raise FramingError.at(str(error), -1) from error
        self._pace = Pace(parse_speed("max" if self._reader.live else settings.feed.speed))

    def _open(self, progress: Progress | None) -> None:
        session, settings = self._session, self._session.settings
        self._reader = feed_reader(settings.feed.reader)
        self._reading = Reading(
            self._reader,
            settings.feed.sources,
            options=settings.feed.options,
            day=settings.feed.date,
            registry=session.registry,
            report=session.report,
            next_sequence=session.position.sequence,
            progress=progress,
        )

    async def batches(self) -> AsyncGenerator[SourceBatch, None]:
        """Ends with the session. Raises FramingError where the source cannot be read on, after all before it."""
        session = self._session
        if not session.position.closed:
            arrays = iter(self._reading)
            while (ticks := await asyncio.to_thread(_next, arrays)) is not None:
                self._begin(ticks)
                session.announced += self._reading.take_announcements()
                ticks = ticks[np.searchsorted(ticks["sequence"], session.position.sequence) :]
                if self._reader.live:
                    for batch in self._arrived(ticks):
                        yield batch
                else:
                    async for batch in self._paced(ticks):
                        yield batch
            yield session.close()
        async for batch in session.linger():
            yield batch

    def _begin(self, ticks: Ticks) -> None:
        """The session's midnight is that of its first tick, where no day was given."""
        if len(ticks) and not self._session.position.session_ns:
            midnight_ns = self._reading.session_ns or self._reading.midnight_before_ns(int(ticks["event_ns"].min()))
            self._session.position = replace(self._session.position, session_ns=midnight_ns)

    def _arrived(self, ticks: Ticks) -> Iterator[SourceBatch]:
        """Batches of the ticks of a live source. In a quiet moment its time goes on, a margin behind the clock."""
        session = self._session
        if len(ticks):
            self._advance(ticks)
            yield session.batch(ticks)
        elif session.last_event_ns and not session.until_beat_ns():
            now_ns = session.clock.now_ns()
            is_near = abs(now_ns - session.last_event_ns) < LIVE_WITHIN_NS + QUIET_MARGIN_NS
            yield session.batch(None, now_ns - QUIET_MARGIN_NS if is_near else 0)

    async def _paced(self, ticks: Ticks) -> AsyncGenerator[SourceBatch, None]:
        """Lets an array through, cut only between records, since the position is a record's."""
        session, pace = self._session, self._pace
        stamps = np.maximum.accumulate(ticks["event_ns"])
        at = 0
        while at < len(ticks):
            now_ns = session.clock.steady_ns()
            if not pace.unlimited and not pace.started:
                pace.start(int(stamps[at]), now_ns)
            due = len(ticks) if pace.unlimited else int(np.searchsorted(stamps, pace.now(now_ns), "right"))
            if due > at:
                due = int(np.searchsorted(ticks["sequence"], ticks["sequence"][due - 1], "right"))
                self._advance(ticks[at:due])
                yield session.batch(ticks[at:due])
                at = due
                if not pace.unlimited:
                    await session.clock.sleep_ns(session.settings.feed.step_ms * MILLISECOND_NS)
                continue
            beat_in_ns = session.until_beat_ns()
            if session.last_event_ns and not beat_in_ns:
                yield session.batch(None, min(pace.now(now_ns), int(stamps[at])))
            else:
                wait_ns = pace.wait_ns(int(stamps[at]), now_ns)
                await session.clock.sleep_ns(min(wait_ns, beat_in_ns) if beat_in_ns else wait_ns)

    def _advance(self, ticks: Ticks) -> None:
        session = self._session
        session.position = replace(session.position, sequence=int(ticks["sequence"][-1]) + 1)


def _next(arrays: Iterator[Ticks]) -> Ticks | None:
    try:
        return next(arrays, None)
    except FeedUnreadable as error:
        raise FramingError.at(str(error), error.offset) from error
    except FeedUnavailable as error:
        raise FramingError.at(str(error), -1) from error
