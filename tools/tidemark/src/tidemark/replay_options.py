"""Options of ``tidemark replay --offline``, as the user writes them."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from common.contracts.windows import NS, WINDOWS, Window, WindowNameError, gaps_ns, triggers_of
from streams.model.topics import DEFAULT_PARTITIONS

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
    partitions: int = DEFAULT_PARTITIONS
    alerts: bool = False


def _windows(text: str) -> list[Window]:
    try:
        windows = [Window(part.strip()) for part in text.split(",")]
    except WindowNameError as error:
        raise CommandError(f"--bars: {error}") from error
    if len({(window.length_ns, window.slides, window.gap_ns, window.triggers) for window in windows}) < len(windows):
        raise CommandError(f"--bars: {text!r} names a window length twice")
    if len(windows) > WINDOWS_MAX:
        raise CommandError(f"--bars: {len(windows)} window lengths; at most {WINDOWS_MAX} at a time")
    if not all(SHORTEST_NS <= window.length_ns <= LONGEST_NS for window in windows if not window.triggers):
        raise CommandError(f"--bars: {text!r} is beyond the limits of 1ms and 1d")
    if not any(window.tumbles or window.slides for window in windows):
        raise CommandError(f"--bars: {text!r} has no length, like 1m: sessions and triggered windows stand beside one")
    return windows


def parse_windows(text: str) -> tuple[int, ...]:
    """Lengths in ns of the tumbling windows of a list like ``1s,1m,5m/30s``. Raises CommandError for what is none,
    twice the same, too many, beyond the limits, or without any length.
    """
    return tuple(window.length_ns for window in _windows(text) if window.tumbles)


def parse_gaps(text: str) -> tuple[int, ...]:
    """Gaps in ns of the session windows of such a list, like ``gap:30s``. Raises CommandError likewise."""
    return gaps_ns(_windows(text))


def parse_triggers(text: str) -> tuple[int, ...]:
    """Triggers, as bits, of the triggered windows of such a list, like ``on:halt+resume``. Raises CommandError
    likewise.
    """
    return triggers_of(_windows(text))


def parse_sliding(text: str) -> tuple[tuple[int, int], ...]:
    """Length and step in ns of the sliding windows of such a list. Raises CommandError likewise."""
    return tuple((window.length_ns, window.step_ns) for window in _windows(text) if window.slides)


def parse_every(text: str) -> int:
    """Nanoseconds of an interval like ``100ms``. Raises CommandError."""
    try:
        every_ns = Window(text.strip()).length_ns
    except WindowNameError as error:
        raise CommandError(f"--every: {error}") from error
    if not SHORTEST_NS <= every_ns <= LONGEST_NS:
        raise CommandError(f"--every: {text!r} is beyond the limits of 1ms and 1d")
    return every_ns
