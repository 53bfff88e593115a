"""Feeds the sources of a feed reader into a running fleet from this process, through the worker's own source."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from common.contracts.topics import INGEST_FEED_CHANGELOG
from streams.edges.source import Source, SourceService
from streams.process.settings import Settings

from ingest.app import OUTPUTS, SERVICE, SOURCE
from ingest.domain.anomalies import Report
from ingest.feed import Feed
from ingest.replay import FINISHED, POLL_S
from ingest.settings import IngestSettings


async def replay_reader(
    settings: Settings,
    name: str,
    sources: tuple[str, ...],
    *,
    options: Mapping[str, str],
    day: date | None,
    speed: str,
    feed_id: str,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Returns when the last batch, with the closing heartbeat, is committed. The fleet's ingest must be idle.

    Raises FramingError where the sources cannot be read to their end.
    """
    chosen: dict[str, Any] = {
        "feed": "reader",
        "feed_reader": name,
        "feed_sources": sources,
        "feed_options": dict(options),
        "feed_speed": speed,
        "feed_date": day,
        "feed_id": feed_id,
        "feed_linger": False,
    }
    feed = Feed(IngestSettings(**{**settings.model_dump(), **chosen}), progress=progress)
    service = SourceService(Source(SERVICE, SOURCE, feed.run, OUTPUTS, INGEST_FEED_CHANGELOG), settings)
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
