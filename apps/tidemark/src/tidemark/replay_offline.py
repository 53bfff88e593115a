"""``tidemark replay --offline``: books and bars of a file, without Kafka."""

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Final

from common.contracts.ticks import Ticks
from ingest.domain.anomalies import Report
from ingest.domain.framing import FramingError
from ingest.offline import tick_chunks
from rich.progress import Progress
from signals.offline import BARS_FILE, BBO_FILE, write_csv

from tidemark import console

NS: Final = 1_000_000_000
UNITS_NS: Final = {"ms": 1_000_000, "s": NS, "m": 60 * NS, "h": 3_600 * NS, "d": 86_400 * NS}
WINDOW: Final = re.compile(r"([1-9][0-9]{0,8})(ms|s|m|h|d)")


def parse_windows(text: str) -> tuple[int, ...]:
    """Window lengths in ns of a list like ``1s,1m``. Raises CommandError for what is none, or twice the same."""
    windows = []
    for part in text.split(","):
        match = WINDOW.fullmatch(part.strip())
        if match is None:
            raise console.CommandError(f"--bars: {part!r} is no window length; write 1s, 500ms, 1m, 1h, 1d")
        windows.append(int(match[1]) * UNITS_NS[match[2]])
    if len(set(windows)) < len(windows):
        raise console.CommandError(f"--bars: {text!r} names a window length twice")
    return tuple(windows)


def replay_offline(file: Path, day: date, out: Path, windows_ns: tuple[int, ...], progress: Progress) -> Report:
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

    summary = write_csv(readable(), out, windows_ns)
    console.err.print(f"{summary.bars:,} bars in {out / BARS_FILE}, {summary.bbo_rows:,} changes in {out / BBO_FILE}")
    for kind, times in summary.anomalies.items():
        if times:
            console.err.print(f"[yellow]books:[/] {times:,} {kind.replace('_', ' ')}")
    if failed:
        raise console.CommandError(f"{file}: {failed[0]}")
    return report
