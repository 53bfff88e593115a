"""Arguments and options of ``tidemark replay``, as typer reads them."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from tidemark.replay_options import OutFormat

FilesArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE...",
        help="ITCH 5.0, plain or in gzip, bzip2, xz, zstd or zip. Several are one feed; - is standard input.",
    ),
]
SpeedOption = Annotated[str, typer.Option("--speed", help="1 as recorded, N times as fast, or max.")]
OfflineOption = Annotated[
    bool, typer.Option("--offline", help="Without Kafka: the same kernels, tables of bars and quotes into --out.")
]
OutOption = Annotated[Path | None, typer.Option("--out", help="With --offline: directory of the tables.")]
DaysOption = Annotated[
    list[datetime] | None,
    typer.Option(
        "--date",
        formats=["%Y-%m-%d"],
        help="The exchange's day (New York), once for each day in the feed; default: the names of the files.",
    ),
]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="Refuse a feed of which anything is missing: earlier tables stay.")
]
OutFormatOption = Annotated[OutFormat, typer.Option("--out-format", help="With --offline.")]
BarsOption = Annotated[str, typer.Option("--bars", help="With --offline: sizes, like 1s,1m,1d.")]
AnchorOption = Annotated[
    str,
    typer.Option(
        "--anchor",
        help="With --offline: what windows are aligned to: midnight or HH:MM of the exchange, its calendar's open, "
        "or the epoch (UTC).",
    ),
]
FinalOption = Annotated[
    bool, typer.Option("--final", help="With --offline: the last revision of each bar, nothing else.")
]
TradesOption = Annotated[bool, typer.Option("--trades", help="With --offline: a table of the trades, too.")]
AlertsOption = Annotated[
    bool, typer.Option("--alerts", help="With --offline: a table of the market alerts, too (docs/alerts.md).")
]
DepthOption = Annotated[
    int, typer.Option("--depth", min=0, max=10, help="With --offline: a table of so many levels, too.")
]
EveryOption = Annotated[str, typer.Option("--every", help="With --depth: how often by the exchange's clock.")]
SymbolsOption = Annotated[str, typer.Option("--symbols", help="With --offline: only these, like AAPL,MSFT.")]
HoursOption = Annotated[
    str, typer.Option("--hours", help="With --offline: all, or regular: the calendar's open to its close.")
]
CalendarOption = Annotated[
    str, typer.Option("--calendar", help="Name of the exchange's calendar in exchange-calendars.")
]
PartitionsOption = Annotated[
    int,
    typer.Option(
        "--partitions",
        min=1,
        max=256,
        help="With --offline: as the fleet's md.ticks has. Each has a clock: bars are revised as often as the fleet's.",
    ),
]
MeasuresOption = Annotated[
    str, typer.Option("--measures", help="With --offline: installed measures, as more columns of the bars.")
]
FeedOption = Annotated[str, typer.Option("--feed", help="Name of the feed reader of FILE; default: ITCH 5.0.")]
SourceOption = Annotated[
    list[str] | None, typer.Option("--source", help="With --feed: one more file of it. May be repeated.")
]
OptionOption = Annotated[list[str] | None, typer.Option("--option", help="With --feed: name=value. May be repeated.")]
