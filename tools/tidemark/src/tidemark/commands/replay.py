"""``tidemark replay``. What only one way of replaying needs is imported when that way is taken: it takes seconds."""

import glob
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from tidemark import console
from tidemark.options import DEFAULT_STATE, BootstrapOption, StateDirOption, addresses
from tidemark.replay_options import DEFAULT_BARS, OfflineOptions, OutFormat
from tidemark.state import StateDir

WITH_LOSSES: Final = 3
"""Exit code where the feed was read, and something of it is missing in what came out."""
_WILDCARDS: Final = "*?["


def replay(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...",
            help="ITCH 5.0, plain or in gzip, bzip2, xz, zstd or zip. Several are one feed; - is standard input.",
        ),
    ],
    speed: Annotated[str, typer.Option("--speed", help="1 as recorded, N times as fast, or max.")] = "1",
    offline: Annotated[
        bool, typer.Option("--offline", help="Without Kafka: the same kernels, tables of bars and quotes into --out.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", help="With --offline: directory of the tables.")] = None,
    days: Annotated[
        list[datetime] | None,
        typer.Option(
            "--date",
            formats=["%Y-%m-%d"],
            help="The exchange's day (New York), once for each day in the feed; default: the names of the files.",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse a feed of which anything is missing: earlier tables stay.")
    ] = False,
    out_format: Annotated[OutFormat, typer.Option("--out-format", help="With --offline.")] = OutFormat.CSV,
    bars: Annotated[str, typer.Option("--bars", help="With --offline: sizes, like 1s,1m,1d.")] = DEFAULT_BARS,
    anchor: Annotated[
        str,
        typer.Option(
            "--anchor",
            help="With --offline: what windows are aligned to: midnight or HH:MM of the exchange, its calendar's open, "
            "or the epoch (UTC).",
        ),
    ] = "midnight",
    final: Annotated[
        bool, typer.Option("--final", help="With --offline: the last revision of each bar, nothing else.")
    ] = False,
    trades: Annotated[bool, typer.Option("--trades", help="With --offline: a table of the trades, too.")] = False,
    depth: Annotated[
        int, typer.Option("--depth", min=0, max=10, help="With --offline: a table of so many levels, too.")
    ] = 0,
    every: Annotated[str, typer.Option("--every", help="With --depth: how often by the exchange's clock.")] = "100ms",
    symbols: Annotated[str, typer.Option("--symbols", help="With --offline: only these, like AAPL,MSFT.")] = "",
    hours: Annotated[
        str, typer.Option("--hours", help="With --offline: all, or regular: the calendar's open to its close.")
    ] = "all",
    calendar: Annotated[
        str, typer.Option("--calendar", help="Name of the exchange's calendar in exchange-calendars.")
    ] = "XNYS",
    measures: Annotated[
        str, typer.Option("--measures", help="With --offline: installed measures, as more columns of the bars.")
    ] = "",
    bootstrap: BootstrapOption = None,
    state_dir: StateDirOption = DEFAULT_STATE,
) -> None:
    """Replay a recorded feed into a running fleet, or offline into tables for pandas, polars, DuckDB.

    Exits with 0 where the feed is whole, with 3 where it could be used and something is missing (what and where is
    said), with 1 where it cannot be read; tables of an earlier run are replaced only by complete ones.
    """
    with console.reported():
        paths = found(files)
        dates = [day.date() for day in days or ()]
        if offline:
            if out is None:
                raise console.CommandError("--offline needs --out DIR")
            from tidemark.replay_offline import replay_offline

            options = OfflineOptions(
                out, out_format, bars, measures, anchor, final, trades, depth, every, symbols, hours, calendar, strict
            )
            is_whole = replay_offline(paths, dates, options)
        else:
            from tidemark.replay_online import replay_online

            state = StateDir(state_dir)
            where = addresses(state, kafka_bootstrap=bootstrap)
            is_whole = replay_online(paths, speed, dates, where, state.running(), strict=strict)
    if not is_whole:
        raise typer.Exit(WITH_LOSSES)


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
