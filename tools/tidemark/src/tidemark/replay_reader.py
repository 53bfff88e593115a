"""``tidemark replay --feed NAME``: a feed reader's sources, into a fleet or offline."""

import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from common.contracts.ticks import Ticks
from common.feeds import FeedUnavailable, FeedUnreadable
from ingest.domain.anomalies import Report
from ingest.domain.framing import FramingError
from ingest.domain.pace import parse_speed
from ingest.feeds.offline import reader_ticks
from ingest.feeds.replay import replay_reader
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from signals.offline import BARS_FILE, BBO_FILE, write_csv
from streams.process.logs import configure_logs

from tidemark import console
from tidemark.control import ask
from tidemark.feed_readers import ReaderChoice, reader_choice
from tidemark.feeds import IDLE_FEED
from tidemark.options import addresses, reader_settings
from tidemark.replay_offline import parse_measures
from tidemark.replay_options import parse_sliding, parse_windows
from tidemark.state import StateDir

ANOMALIES_SHOWN_MAX = 10


def replay_reader_of(
    name: str,
    sources: Sequence[str],
    options: Sequence[str],
    days: Sequence[datetime],
    speed: str,
    into: tuple[Path | None, str, str] | tuple[StateDir, str | None],
) -> None:
    """Replays sources of a reader ``into`` a directory, with bars and measures, or a fleet. Raises CommandError."""
    if len(days) > 1:
        raise console.CommandError("--feed reads one day at a time: give one --date")
    choice = reader_choice(name, sources, options, days[0].date() if days else None)
    if len(into) == 3:
        reader_offline(choice, *into)
        return
    try:
        parse_speed(speed)
    except ValueError as error:
        raise console.CommandError(f"--speed: {error}") from error
    console.run(reader_online(choice, speed, *into))


def reader_offline(choice: ReaderChoice, out: Path | None, bars: str, measures: str) -> None:
    """Writes the CSV files. Raises CommandError where the sources cannot be read on; what came before is written."""
    if out is None:
        raise console.CommandError("--offline needs --out DIR")
    windows_ns, chosen = parse_windows(bars), parse_measures(measures)
    report, failed = Report(), list[ValueError]()
    began = time.monotonic()
    with _progress_bar() as progress:
        bar = progress.add_task(choice.name, total=None)

        def readable() -> Iterator[Ticks]:
            try:
                yield from reader_ticks(
                    choice.name,
                    choice.sources,
                    options=choice.options,
                    day=choice.day,
                    report=report,
                    progress=lambda done, of: progress.update(bar, completed=done, total=of),
                )
            except (FeedUnreadable, FeedUnavailable) as error:
                failed.append(error)

        summary = write_csv(readable(), out, windows_ns, chosen, sliding_ns=parse_sliding(bars))
    console.err.print(f"{summary.bars:,} bars in {out / BARS_FILE}, {summary.bbo_rows:,} changes in {out / BBO_FILE}")
    for kind, times in summary.anomalies.items():
        if times:
            console.err.print(f"[yellow]books:[/] {times:,} {kind.replace('_', ' ')}")
    _summarise(report, time.monotonic() - began)
    if failed:
        raise console.CommandError(str(failed[0]))


async def reader_online(choice: ReaderChoice, speed: str, state: StateDir, bootstrap: str | None) -> None:
    """Feeds it from this process. A fleet's own ingest is idle meanwhile, and keeps the clock alive after."""
    record = state.running()
    feed_id = f"replay:{choice.name}:{time.time_ns()}"
    if record is not None:
        await ask(record.control, {"command": "restart", "service": "ingest", "env": IDLE_FEED})
    configure_logs("replay", "ERROR")
    settings = reader_settings(addresses(state, kafka_bootstrap=bootstrap))
    began = time.monotonic()
    with _progress_bar() as progress:
        bar = progress.add_task(choice.name, total=None)
        try:
            report = await replay_reader(
                settings,
                choice.name,
                choice.sources,
                options=choice.options,
                day=choice.day,
                speed=speed,
                feed_id=feed_id,
                progress=lambda done, of: progress.update(bar, completed=done, total=of),
            )
        except FramingError as error:
            raise console.CommandError(str(error)) from error
    _summarise(report, time.monotonic() - began)
    if record is not None:
        linger = choice.environment("max", feed_id)
        await ask(record.control, {"command": "restart", "service": "ingest", "env": linger})


def _progress_bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console.err, transient=True)


def _summarise(report: Report, seconds: float) -> None:
    """Prints what was read, every kind of anomaly, and what was passed over by the source's own rules."""
    for anomaly in report.examples[:ANOMALIES_SHOWN_MAX]:
        console.err.print(f"[yellow]anomaly:[/] {anomaly}", markup=True)
    counts = ", ".join(f"{count:,} {kind.value}" for kind, count in report.counts.items()) or "none"
    console.err.print(f"{report.messages:,} records, {report.ticks:,} ticks in {seconds:.1f} s; anomalies: {counts}")
    for reason, count in report.skipped.items():
        console.err.print(f"passed over: {count:,} × {reason}")
