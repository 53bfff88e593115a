"""Feeds the sources of a feed reader into a running fleet from this process, through the worker's own source."""

from collections.abc import Callable, Mapping
from datetime import date

from streams.process.settings import Settings

from ingest.domain.anomalies import Report
from ingest.replay import fed
from ingest.settings import FeedSettings


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
    chosen = FeedSettings(
        kind="reader",
        reader=name,
        sources=sources,
        options=dict(options),
        speed=speed,
        date=day,
        id=feed_id,
        linger=False,
    )
    return await fed(settings, chosen, progress)
