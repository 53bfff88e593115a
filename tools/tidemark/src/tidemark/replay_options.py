"""What ``tidemark replay --offline`` can be asked for, as the user writes it."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from common.contracts.windows import NS, WINDOWS, Window, WindowNameError

from tidemark.errors import CommandError

DEFAULT_BARS: Final = ",".join(window.name for window in WINDOWS)
WINDOWS_MAX: Final = 8
"""Each takes a tally of every instrument, and a row for every window with a trade."""
SHORTEST_NS: Final = 1_000_000
LONGEST_NS: Final = 86_400 * NS


class OutFormat(StrEnum):
    CSV = "csv"
    PARQUET = "parquet"


@dataclass(frozen=True, slots=True)
class OfflineOptions:
    """The options of the command, unread."""

    out: Path
    out_format: OutFormat = OutFormat.CSV
    bars: str = DEFAULT_BARS
    measures: str = ""
    anchor: str = "midnight"
    final: bool = False
    trades: bool = False
    depth: int = 0
    every: str = "100ms"
    symbols: str = ""
    hours: str = "all"
    calendar: str = "XNYS"
    strict: bool = False


def parse_windows(text: str) -> tuple[int, ...]:
    """Window lengths in ns of a list like ``1s,1m``. Raises CommandError for what is none, twice the same, too many, or
    beyond the limits.
    """
    try:
        windows = [Window(part.strip()).length_ns for part in text.split(",")]
    except WindowNameError as error:
        raise CommandError(f"--bars: {error}") from error
    if len(set(windows)) < len(windows):
        raise CommandError(f"--bars: {text!r} names a window length twice")
    if len(windows) > WINDOWS_MAX:
        raise CommandError(f"--bars: {len(windows)} window lengths; at most {WINDOWS_MAX} at a time")
    if min(windows) < SHORTEST_NS or max(windows) > LONGEST_NS:
        raise CommandError(f"--bars: {text!r} is beyond the limits of 1ms and 1d")
    return tuple(windows)


def parse_every(text: str) -> int:
    """Nanoseconds of an interval like ``100ms``. Raises CommandError."""
    try:
        every_ns = Window(text.strip()).length_ns
    except WindowNameError as error:
        raise CommandError(f"--every: {error}") from error
    if not SHORTEST_NS <= every_ns <= LONGEST_NS:
        raise CommandError(f"--every: {text!r} is beyond the limits of 1ms and 1d")
    return every_ns
