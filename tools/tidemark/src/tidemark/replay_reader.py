"""``tidemark replay --feed NAME`` into a running fleet."""

import time
from collections.abc import Sequence
from datetime import date

from ingest.domain.framing import FramingError
from ingest.domain.pace import parse_speed
from ingest.feeds.replay import replay_reader
from streams.process.logs import configure_logs

from tidemark import console
from tidemark.control import ask
from tidemark.feed_readers import ReaderChoice, reader_choice
from tidemark.feeds import IDLE_FEED
from tidemark.options import reader_settings
from tidemark.replay_offline import progress_bar, summarise
from tidemark.replay_online import is_whole
from tidemark.state import Addresses, FleetRecord


def reader_of(name: str, sources: Sequence[str], options: Sequence[str], days: Sequence[date]) -> ReaderChoice:
    """The reader that is asked for, with its sources. Raises CommandError."""
    if len(days) > 1:
        raise console.CommandError("--feed reads one day at a time: give one --date")
    return reader_choice(name, sources, options, days[0] if days else None)


def replay_reader_online(
    choice: ReaderChoice, speed: str, where: Addresses, record: FleetRecord | None, *, strict: bool
) -> bool:
    """Feeds it from this process. Returns whether nothing of it is missing. Raises CommandError."""
    try:
        parse_speed(speed)
    except ValueError as error:
        raise console.CommandError(f"--speed: {error}") from error
    return is_whole(console.run(_replayed(choice, speed, where, record)), strict=strict)


async def _replayed(choice: ReaderChoice, speed: str, where: Addresses, record: FleetRecord | None) -> str:
    """Replays; says what is missing. A fleet's own ingest is idle meanwhile, and keeps the clock alive after."""
    feed_id = f"replay:{choice.name}:{time.time_ns()}"
    if record is not None:
        await ask(record.control, {"command": "restart", "service": "ingest", "env": IDLE_FEED})
    configure_logs("replay", "ERROR")
    began = time.monotonic()
    with progress_bar() as progress:
        bar = progress.add_task(choice.name, total=None)
        try:
            report = await replay_reader(
                reader_settings(where),
                choice.name,
                choice.sources,
                options=choice.options,
                day=choice.day,
                speed=speed,
                feed_id=feed_id,
                progress=lambda done, of: progress.update(bar, completed=done, total=of or None),
            )
        except FramingError as error:
            raise console.CommandError(str(error)) from error
    summarise(report, time.monotonic() - began)
    if record is not None:
        linger = choice.environment("max", feed_id)
        await ask(record.control, {"command": "restart", "service": "ingest", "env": linger})
    return ", ".join(f"{count:,} {kind.value}" for kind, count in report.losses().items())
