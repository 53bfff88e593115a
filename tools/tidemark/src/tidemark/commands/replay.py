"""``tidemark replay``."""

import time
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Final

import typer
from ingest.domain.anomalies import Report
from ingest.domain.feed_date import FeedDateError, date_from_name
from ingest.domain.framing import FramingError
from ingest.domain.pace import parse_speed
from ingest.replay import replay as feed_replay
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from streams.process.logs import configure_logs

from tidemark import console
from tidemark.control import ask
from tidemark.feed_readers import reader_choice
from tidemark.feeds import IDLE_FEED, file_feed
from tidemark.options import DEFAULT_STATE, BootstrapOption, StateDirOption, addresses, reader_settings
from tidemark.replay_offline import DEFAULT_BARS, parse_measures, parse_windows, replay_offline
from tidemark.replay_reader import reader_offline, reader_online
from tidemark.state import Addresses, FleetRecord, StateDir

ANOMALIES_SHOWN_MAX: Final = 10


def replay(
    file: Annotated[Path, typer.Argument(help="A recorded ITCH 5.0 feed, plain or gzip.", exists=True, dir_okay=False)],
    speed: Annotated[str, typer.Option("--speed", help="1 as recorded, N times as fast, or max.")] = "1",
    offline: Annotated[
        bool, typer.Option("--offline", help="Without Kafka: the same kernels, bars.csv and bbo.csv into --out.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", help="With --offline: directory of the CSV files.")] = None,
    day: Annotated[
        datetime | None,
        typer.Option("--date", formats=["%Y-%m-%d"], help="The exchange's day (New York); default: the file's name."),
    ] = None,
    bars: Annotated[
        str, typer.Option("--bars", help="With --offline: windows, like 1s,1m, and 5m/30s that slide.")
    ] = DEFAULT_BARS,
    measures: Annotated[
        str, typer.Option("--measures", help="With --offline: installed measures, as more columns of bars.csv.")
    ] = "",
    feed: Annotated[str, typer.Option("--feed", help="Name of the feed reader of FILE; default: ITCH 5.0.")] = "",
    source: Annotated[
        list[str] | None, typer.Option("--source", help="With --feed: one more file of it. May be repeated.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", help="With --feed: name=value. May be repeated.")
    ] = None,
    bootstrap: BootstrapOption = None,
    state_dir: StateDirOption = DEFAULT_STATE,
) -> None:
    """Replay a recorded feed into a running fleet, or offline into CSV files."""
    if feed:
        with console.reported():
            choice = reader_choice(feed, [str(file), *(source or ())], option or (), day.date() if day else None)
            _check_speed(speed)
            if offline:
                reader_offline(choice, out, bars, measures)
                return
        console.run(reader_online(choice, speed, StateDir(state_dir), bootstrap))
        return
    with console.reported():
        session = _day(file, day)
        if offline:
            if out is None:
                raise console.CommandError("--offline needs --out DIR")
            parse_windows(bars)
            chosen = parse_measures(measures)
            began = time.monotonic()
            with progress_bar() as progress:
                report = replay_offline(file, session, out, bars, chosen, progress)
            summarise(report, time.monotonic() - began)
            return
        _check_speed(speed)
    state = StateDir(state_dir)
    record = state.running()
    console.run(_online(file, speed, session, addresses(state, kafka_bootstrap=bootstrap), record))


def _day(file: Path, given: datetime | None) -> date:
    if given is not None:
        return given.date()
    try:
        return date_from_name(file.name)
    except FeedDateError as error:
        raise console.CommandError(f"{error} with --date") from error


def _check_speed(speed: str) -> None:
    try:
        parse_speed(speed)
    except ValueError as error:
        raise console.CommandError(f"--speed: {error}") from error


def progress_bar() -> Progress:
    """Bytes of the file on standard error."""
    columns = (BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(TextColumn("{task.description}"), *columns, console=console.err, transient=True)


async def _online(file: Path, speed: str, day: date, where: Addresses, record: FleetRecord | None) -> None:
    """Feeds the file from this process. A fleet's own ingest is idle meanwhile, and keeps the clock alive after."""
    feed_id = f"replay:{file.name}:{day}:{time.time_ns()}"
    if record is not None:
        await ask(record.control, {"command": "restart", "service": "ingest", "env": IDLE_FEED})
    configure_logs("replay", "ERROR")
    began = time.monotonic()
    with progress_bar() as progress:
        bar = progress.add_task(file.name, total=None)

        def on_progress(done: int, of: int) -> None:
            progress.update(bar, completed=done, total=of)

        settings = reader_settings(where)
        try:
            report = await feed_replay(settings, file, speed=speed, day=day, feed_id=feed_id, progress=on_progress)
        except FramingError as error:
            raise console.CommandError(f"{file}: {error}") from error
    summarise(report, time.monotonic() - began)
    if record is not None:
        linger = file_feed(file, "max", day.isoformat(), feed_id)
        await ask(record.control, {"command": "restart", "service": "ingest", "env": linger})


def summarise(report: Report, seconds: float) -> None:
    """Prints what was read, how fast, and every anomaly."""
    for anomaly in report.examples[:ANOMALIES_SHOWN_MAX]:
        console.err.print(f"[yellow]anomaly:[/] {anomaly}")
    counts = ", ".join(f"{count} {kind.value}" for kind, count in report.counts.items()) or "none"
    console.err.print(
        f"{report.messages:,} messages, {report.ticks:,} ticks in {seconds:.1f} s "
        f"({report.messages / max(seconds, 1e-9):,.0f} messages/s); anomalies: {counts}"
    )
