"""``tidemark replay`` into a running fleet."""

import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from ingest.domain.framing import FramingError
from ingest.domain.pace import parse_speed
from ingest.replay import replay as feed_replay
from streams.process.logs import configure_logs

from tidemark import console
from tidemark.control import ask
from tidemark.feeds import IDLE_FEED, file_feed
from tidemark.offline_feeds import ItchFiles
from tidemark.options import reader_settings
from tidemark.replay_offline import progress_bar, summarise
from tidemark.state import Addresses, FleetRecord


def replay_online(
    paths: Sequence[Path],
    speed: str,
    days: Sequence[date],
    where: Addresses,
    record: FleetRecord | None,
    *,
    strict: bool,
) -> bool:
    """Feeds files one after the other, each of one day. Returns whether nothing of them is missing."""
    try:
        parse_speed(speed)
    except ValueError as error:
        raise console.CommandError(f"--speed: {error}") from error
    dates = ItchFiles(paths, days).dates()
    if len(dates) == 1:
        dates *= len(paths)
    if len(dates) != len(paths):
        raise console.CommandError(
            f"{len(dates)} days are given for {len(paths)} files: into a fleet a file is one day"
        )
    losses = console.run(_replayed(list(zip(paths, dates, strict=True)), speed, where, record))
    return is_whole(losses, strict=strict)


def is_whole(losses: str, *, strict: bool) -> bool:
    """Says what is missing. Raises CommandError where the feed has to be whole."""
    if losses and strict:
        raise console.CommandError(f"--strict: the feed is not whole ({losses})")
    if losses:
        console.err.print(f"[yellow]the feed is not whole:[/] {losses}; exit code 3")
    return not losses


async def _replayed(
    feeds: Sequence[tuple[Path, date]], speed: str, where: Addresses, record: FleetRecord | None
) -> str:
    """Replays; says what is missing. A fleet's own ingest is idle meanwhile, and keeps the clock alive after."""
    if record is not None:
        await ask(record.control, {"command": "restart", "service": "ingest", "env": IDLE_FEED})
    configure_logs("replay", "ERROR")
    losses: list[str] = []
    for path, day in feeds:
        feed_id = f"replay:{path.name}:{day}:{time.time_ns()}"
        losses += await _replay(path, speed, day, where, feed_id)
    if record is not None:
        linger = file_feed(path, "max", day.isoformat(), feed_id)
        await ask(record.control, {"command": "restart", "service": "ingest", "env": linger})
    return ", ".join(losses)


async def _replay(path: Path, speed: str, day: date, where: Addresses, feed_id: str) -> list[str]:
    began = time.monotonic()
    with progress_bar() as progress:
        bar = progress.add_task(path.name, total=None)

        def on_progress(done: int, of: int) -> None:
            progress.update(bar, completed=done, total=of or None)

        settings = reader_settings(where)
        try:
            report = await feed_replay(settings, path, speed=speed, day=day, feed_id=feed_id, progress=on_progress)
        except FramingError as error:
            raise console.CommandError(f"{path}: {error}") from error
        except OSError as error:
            raise console.CommandError(f"{error.filename or path}: {error.strerror or error}") from error
    summarise(report, time.monotonic() - began)
    return [f"{count:,} {kind.value}" for kind, count in report.losses().items()]
