"""``tidemark replay --offline``: books and bars of a recorded feed, without Kafka."""

import time
from collections.abc import Iterator
from typing import Any, Final

from common.contracts.ticks import Ticks
from common.measures import Measure, MeasureError
from common.order_patterns import PatternError
from ingest.domain.anomalies import Report
from ingest.domain.instruments import InstrumentRegistry
from pydantic import ValidationError
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from signals.installed import installed_measures, installed_patterns
from signals.kernels import is_compiled
from signals.offline import Summary, Wanted, write_tables
from signals.settings import SignalsSettings
from signals.tables import CsvTables, TableFiles
from signals.venue_days import Sessions

from tidemark import console
from tidemark.offline_feeds import OfflineFeed
from tidemark.replay_options import (
    OfflineOptions,
    OutFormat,
    parse_every,
    parse_gaps,
    parse_sliding,
    parse_triggers,
    parse_windows,
)

ANOMALIES_SHOWN_MAX: Final = 10
DOUBLED: Final = "duplicate_match"
COUNTED_ONCE: Final = "duplicate_trade"
"""The books' counts of trades with the match number of another, and of those that are the same and count once. Of the
others the volume is there twice; of the latter bars hold each once, but books took both."""
AT_LIMIT: Final = "sum_at_limit"
"""The bars' count of those whose sums are greater than the table can say."""
NOT_RESTATED: Final = "lost_restatement"
"""The bars' count of those that stay as they were issued, since their trades are no longer held: a trade that was
broken late is in them, or one that came late is not."""


def parse_measures(text: str) -> tuple[Measure, ...]:
    """The installed measures of a list of names. Raises CommandError where one is not installed."""
    try:
        return installed_measures([name.strip() for name in text.split(",") if name.strip()])
    except MeasureError as error:
        raise console.CommandError(f"--measures: {error}") from error


def replay_offline(feed: OfflineFeed, options: OfflineOptions) -> bool:
    """Writes the tables. Returns whether nothing of the feed is missing in them.

    Raises CommandError, and leaves the tables of an earlier run as they are, where the feed cannot be read, nothing of
    it can be used, or ``strict`` is asked for and something is missing.
    """
    wanted = _wanted(options, feed.sessions(options))
    began = time.monotonic()
    report, registry = Report(), InstrumentRegistry()
    try:
        with _tables(options) as tables:
            with progress_bar() as progress:
                summary = write_tables(_ticks(feed, report, registry, progress), tables, wanted)
            summarise(report, time.monotonic() - began)
            if not len(registry):
                raise console.CommandError(f"nothing of the feed can be used: {feed.nothing_usable}")
            is_whole = _judged(report, summary, strict=options.strict)
            _check_symbols(wanted.symbols, registry)
            tables.keep()
    except OSError as error:
        raise console.CommandError(f"{error.filename or options.out}: {error.strerror or error}") from error
    _say(summary, options)
    return is_whole


def _wanted(options: OfflineOptions, days: Sessions | None) -> Wanted:
    return Wanted(
        parse_windows(options.bars),
        parse_measures(options.measures),
        parse_sliding(options.bars),
        parse_gaps(options.bars),
        parse_triggers(options.bars),
        final=options.final,
        trades=options.trades,
        depth_levels=options.depth,
        every_ns=parse_every(options.every),
        symbols=frozenset(name.strip() for name in options.symbols.split(",") if name.strip()),
        sessions=days,
        partitions=options.partitions,
        **(_judging() if options.alerts else {}),
    )


def _judging() -> dict[str, Any]:
    """The limits and the patterns that signals would have in this environment. Raises CommandError."""
    try:
        settings = SignalsSettings()
        return {"alert_limits": settings.alert.limits, "patterns": installed_patterns(settings.patterns)}
    except ValidationError as error:
        raise console.CommandError(f"--alerts: {error.errors()[0]['msg']}") from error
    except PatternError as error:
        raise console.CommandError(f"--alerts: {error}") from error


def _tables(options: OfflineOptions) -> TableFiles:
    if options.out_format is OutFormat.CSV:
        return CsvTables(options.out)
    from tidemark.parquet_tables import ParquetTables

    return ParquetTables(options.out)


def _ticks(feed: OfflineFeed, report: Report, registry: InstrumentRegistry, progress: Progress) -> Iterator[Ticks]:
    """Raises CommandError where the feed cannot be read on, after its anomalies are shown."""
    if not is_compiled():
        console.err.print("compiling the kernels, which happens once and takes about a minute")
    bar = progress.add_task(feed.name, total=None)

    def show(done: int, of: int) -> None:
        progress.update(bar, completed=done, total=of or None, description=report.source or feed.name)

    try:
        yield from feed.ticks(report, registry, show)
    except console.CommandError:
        show_anomalies(report)
        raise


def _judged(report: Report, summary: Summary, *, strict: bool) -> bool:
    """Whether nothing is missing. Raises CommandError where the tables are not worth keeping."""
    for kind, times in summary.anomalies.items():
        if times:
            console.err.print(f"[yellow]books:[/] {times:,} {kind.replace('_', ' ')}")
    losses = {kind.value: count for kind, count in report.losses().items()}
    if doubled := summary.anomalies[DOUBLED] - summary.anomalies[COUNTED_ONCE]:
        losses[DOUBLED] = doubled
    if repeated := summary.anomalies[COUNTED_ONCE]:
        losses[COUNTED_ONCE] = repeated
        console.err.print(
            "[yellow]trades came twice, to the last number:[/] bars hold each once, but books took both. "
            "Are these the lines A and B in one file? As two captures they are arbitrated: --feed pcap"
        )
    losses |= {kind: summary.anomalies[kind] for kind in (AT_LIMIT, NOT_RESTATED) if summary.anomalies[kind]}
    if not losses:
        return True
    said = ", ".join(f"{count:,} {kind}" for kind, count in losses.items())
    if strict:
        raise console.CommandError(f"--strict: the feed is not whole ({said}); nothing was written")
    console.err.print(f"[yellow]the feed is not whole:[/] {said}; exit code 3")
    return False


def _check_symbols(wanted: frozenset[str], registry: InstrumentRegistry) -> None:
    """Says which symbols the feed does not name. Raises CommandError where it names none of them."""
    absent = sorted(wanted - {instrument.symbol for instrument in registry.instruments()})
    if absent:
        said = f"--symbols: the feed does not name {', '.join(absent)}"
        if len(absent) == len(wanted):
            raise console.CommandError(said)
        console.err.print(f"[yellow]{escape(said)}[/]")


def _say(summary: Summary, options: OfflineOptions) -> None:
    counts = {"bars": summary.bars, "changes of the best bid or offer": summary.bbo_rows}
    if options.trades:
        counts["trades"] = summary.trades
    if options.depth:
        counts["levels of depth"] = summary.depth_rows
    if options.alerts:
        counts["rows of alerts"] = summary.alerts
    said = ", ".join(f"{count:,} {what}" for what, count in counts.items())
    console.err.print(f"{said} in {options.out} ({options.out_format.value})")
    console.err.print(", ".join(f"{times:,} trades {outcome}" for outcome, times in summary.accounts.items()))


def progress_bar() -> Progress:
    """Bytes of the files on standard error."""
    columns = (BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(TextColumn("{task.description}"), *columns, console=console.err, transient=True)


def summarise(report: Report, seconds: float) -> None:
    """Prints what was read, how fast, and every anomaly."""
    show_anomalies(report)
    counts = ", ".join(f"{count} {kind.value}" for kind, count in report.counts.items()) or "none"
    console.err.print(
        f"{report.messages:,} messages, {report.ticks:,} ticks in {seconds:.1f} s "
        f"({report.messages / max(seconds, 1e-9):,.0f} messages/s); anomalies: {counts}"
    )
    for reason, count in report.skipped.items():
        console.err.print(f"passed over: {count:,} × {reason}")


def show_anomalies(report: Report) -> None:
    """Prints the first anomalies, each with its place."""
    for anomaly in report.examples[:ANOMALIES_SHOWN_MAX]:
        console.err.print(f"[yellow]anomaly:[/] {escape(str(anomaly))}")
