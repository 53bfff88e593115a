"""``tidemark replay --offline``: books and bars of a file, without Kafka."""

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Final

from common.contracts.ticks import Ticks
from common.contracts.windows import WINDOWS, Window, WindowNameError
from common.measures import Measure, MeasureError
from ingest.domain.anomalies import Report
from ingest.domain.framing import FramingError
from ingest.offline import tick_chunks
from rich.progress import Progress
from signals.installed import installed_measures
from signals.offline import BARS_FILE, BBO_FILE, write_csv

from tidemark import console

DEFAULT_BARS: Final = ",".join(window.name for window in WINDOWS)


def _windows(text: str) -> list[Window]:
    try:
        windows = [Window(part.strip()) for part in text.split(",")]
    except WindowNameError as error:
        raise console.CommandError(f"--bars: {error}") from error
    if len({(window.length_ns, window.slides) for window in windows}) < len(windows):
        raise console.CommandError(f"--bars: {text!r} names a window length twice")
    return windows


def parse_windows(text: str) -> tuple[int, ...]:
    """Lengths in ns of the tumbling windows of a list like ``1s,1m,5m/30s``. Raises CommandError for what is none, or
    twice the same.
    """
    return tuple(window.length_ns for window in _windows(text) if not window.slides)


def parse_sliding(text: str) -> tuple[tuple[int, int], ...]:
    """Length and step in ns of the sliding windows of such a list. Raises CommandError likewise."""
    return tuple((window.length_ns, window.step_ns) for window in _windows(text) if window.slides)


def parse_measures(text: str) -> tuple[Measure, ...]:
    """The installed measures of a list of names. Raises CommandError where one is not installed."""
    try:
        return installed_measures([name.strip() for name in text.split(",") if name.strip()])
    except MeasureError as error:
        raise console.CommandError(f"--measures: {error}") from error


def replay_offline(
    file: Path, day: date, out: Path, bars: str, measures: Sequence[Measure], progress: Progress
) -> Report:
    """Writes the CSV files. Raises CommandError where the file cannot be read on; what came before it is written."""
    report = Report()
    bar = progress.add_task(file.name, total=None)
    failed: list[FramingError] = []

    def readable() -> Iterator[Ticks]:
        try:
            yield from tick_chunks(
                file, day, report=report, progress=lambda done, of: progress.update(bar, completed=done, total=of)
            )
        except FramingError as error:
            failed.append(error)

    summary = write_csv(readable(), out, parse_windows(bars), measures, sliding_ns=parse_sliding(bars))
    console.err.print(f"{summary.bars:,} bars in {out / BARS_FILE}, {summary.bbo_rows:,} changes in {out / BBO_FILE}")
    console.err.print(", ".join(f"{times:,} trades {outcome}" for outcome, times in summary.accounts.items()))
    for kind, times in summary.anomalies.items():
        if times:
            console.err.print(f"[yellow]books:[/] {times:,} {kind.replace('_', ' ')}")
    if failed:
        raise console.CommandError(f"{file}: {failed[0]}")
    return report
