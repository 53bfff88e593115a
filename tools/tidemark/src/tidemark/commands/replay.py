"""``tidemark replay``. What only one way of replaying needs is imported when that way is taken: it takes seconds."""

import glob
from datetime import date
from pathlib import Path
from typing import Final

import typer
from streams.model.topics import DEFAULT_PARTITIONS

from tidemark import console
from tidemark.options import DEFAULT_STATE, BootstrapOption, StateDirOption, addresses
from tidemark.replay_arguments import (
    AlertsOption,
    AnchorOption,
    BarsOption,
    CalendarOption,
    DaysOption,
    DepthOption,
    EveryOption,
    FeedOption,
    FilesArgument,
    FinalOption,
    HoursOption,
    MeasuresOption,
    OfflineOption,
    OptionOption,
    OutFormatOption,
    OutOption,
    PartitionsOption,
    SourceOption,
    SpeedOption,
    StrictOption,
    SymbolsOption,
    TradesOption,
)
from tidemark.replay_options import DEFAULT_BARS, OfflineOptions, OutFormat
from tidemark.state import StateDir

WITH_LOSSES: Final = 3
"""Exit code where the feed was read, and something of it is missing in what came out."""
NOWHERE: Final = Path()
_WILDCARDS: Final = "*?["


def replay(
    files: FilesArgument,
    speed: SpeedOption = "1",
    offline: OfflineOption = False,
    out: OutOption = None,
    days: DaysOption = None,
    strict: StrictOption = False,
    out_format: OutFormatOption = OutFormat.CSV,
    bars: BarsOption = DEFAULT_BARS,
    anchor: AnchorOption = "midnight",
    final: FinalOption = False,
    trades: TradesOption = False,
    depth: DepthOption = 0,
    alerts: AlertsOption = False,
    every: EveryOption = "100ms",
    symbols: SymbolsOption = "",
    hours: HoursOption = "all",
    calendar: CalendarOption = "XNYS",
    partitions: PartitionsOption = DEFAULT_PARTITIONS,
    measures: MeasuresOption = "",
    feed: FeedOption = "",
    source: SourceOption = None,
    option: OptionOption = None,
    bootstrap: BootstrapOption = None,
    state_dir: StateDirOption = DEFAULT_STATE,
) -> None:
    """Replay a recorded feed into a running fleet, or offline into tables for pandas, polars, DuckDB.

    Exits with 0 where the feed is whole, with 3 where it could be used and something is missing (what and where is
    said), with 1 where it cannot be read; tables of an earlier run are replaced only by complete ones.
    """
    options = OfflineOptions(
        out or NOWHERE,
        out_format,
        bars,
        measures,
        anchor,
        final,
        trades,
        depth,
        every,
        symbols,
        hours,
        calendar,
        strict,
        partitions,
        alerts,
    )
    dates = [day.date() for day in days or ()]
    with console.reported():
        if offline:
            is_whole = _offline(files, feed, [*(source or ())], option or (), dates, options)
        else:
            into = StateDir(state_dir), bootstrap
            is_whole = _online(files, feed, [*(source or ())], option or (), dates, speed, into, strict=strict)
    if not is_whole:
        raise typer.Exit(WITH_LOSSES)


def _offline(
    files: list[str],
    feed: str,
    more: list[str],
    settings: list[str] | tuple[str, ...],
    dates: list[date],
    options: OfflineOptions,
) -> bool:
    """Replays without Kafka; whether nothing is missing. Raises CommandError."""
    from tidemark.offline_feeds import ItchFiles
    from tidemark.replay_offline import replay_offline

    if options.out == NOWHERE:
        raise console.CommandError("--offline needs --out DIR")
    if not feed:
        return replay_offline(ItchFiles(found(files), dates), options)
    from tidemark.offline_reader import ReaderFeed
    from tidemark.replay_reader import reader_of

    return replay_offline(ReaderFeed(reader_of(feed, _sources([*files, *more]), settings, dates)), options)


def _online(
    files: list[str],
    feed: str,
    more: list[str],
    settings: list[str] | tuple[str, ...],
    dates: list[date],
    speed: str,
    into: tuple[StateDir, str | None],
    *,
    strict: bool,
) -> bool:
    """Replays into a running fleet; whether nothing is missing. Raises CommandError."""
    fleet, bootstrap = into
    where, record = addresses(fleet, kafka_bootstrap=bootstrap), fleet.running()
    if not feed:
        from tidemark.replay_online import replay_online

        return replay_online(found(files), speed, dates, where, record, strict=strict)
    from tidemark.replay_reader import reader_of, replay_reader_online

    choice = reader_of(feed, _sources([*files, *more]), settings, dates)
    return replay_reader_online(choice, speed, where, record, strict=strict)


def _sources(names: list[str]) -> list[str]:
    """Addresses as they are given, and files of names and patterns. Raises CommandError."""
    return [str(source) for name in names for source in ([name] if "://" in name else found([name]))]


def found(names: list[str]) -> list[Path]:
    """The files of these names and patterns, in the order given; those of a pattern by name. Raises CommandError."""
    paths: list[Path] = []
    for name in names:
        if name == "-" or Path(name).exists():
            paths.append(Path(name))
        elif any(letter in name for letter in _WILDCARDS):
            matching = sorted(Path(match) for match in glob.glob(name))  # noqa: PTH207
            if not matching:
                raise console.CommandError(f"no file matches {name}")
            paths += matching
        else:
            raise console.CommandError(f"{name}: no such file")
    for path in paths:
        if path.is_dir():
            raise console.CommandError(f"{path} is a directory: name the files in it, like {path}/*.gz")
    if len(set(paths)) < len(paths):
        raise console.CommandError("the same file is named twice")
    return paths
