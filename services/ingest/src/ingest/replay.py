"""Feeds a recorded session into a running fleet from this process, through the worker's own source."""

import asyncio
from collections.abc import Callable
from datetime import date
from pathlib import Path

from common.contracts.topics import INGEST_FEED_CHANGELOG
from streams.edges.source import Source, SourceService
from streams.process.settings import Settings

from ingest.app import SERVICE, SOURCE, outputs_of
from ingest.domain.anomalies import Report
from ingest.feed import Feed
from ingest.settings import FeedSettings, IngestSettings

FINISHED = "finished"
POLL_S = 0.05


async def replay(
    settings: Settings,
    path: Path,
    *,
    speed: str = "1",
    day: date | None = None,
    feed_id: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Returns when the last batch, with the closing heartbeat, is committed.

    The fleet's ingest must be idle: two feeds under one transactional id fence each other. The same ``feed_id`` goes on
    where an interrupted replay ended; by default the file's name and day are the id. ``progress`` is called with (bytes
    of the file read, bytes of the file). Raises FramingError where the file cannot be read to its end, FeedDateError
    without a day.
    """
    chosen = FeedSettings(kind="file", file=path, speed=speed, date=day, id=feed_id, linger=False)
    return await fed(settings, chosen, progress)


async def fed(settings: Settings, chosen: FeedSettings, progress: Callable[[int, int], None] | None = None) -> Report:
    """Runs the ``chosen`` feed to the commit of its closing heartbeat. Raises the feed's failure."""
    of_feed = IngestSettings(**{**dict(settings), "feed": chosen})
    feed = Feed(of_feed, progress=progress)
    source = Source(SERVICE, SOURCE, feed.run, outputs_of(of_feed), INGEST_FEED_CHANGELOG)
    service = SourceService(source, settings)
    await service.start()
    try:
        while service.ready()[1]["state"] != FINISHED:
            if service.crash_reason is not None:
                raise service.crash_reason
            await asyncio.sleep(POLL_S)
    finally:
        await service.stop()
    if feed.failure:
        raise feed.failure
    return feed.report
