"""Recorded feeds as an offline replay takes them: files of the exchange's own ITCH, and sources of a feed reader."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final, Protocol

from common.contracts.ticks import Ticks
from common.contracts.windows import NS
from common.feeds import FeedUnavailable, FeedUnreadable
from ingest.domain.anomalies import Report
from ingest.domain.feed_date import FeedDateError
from ingest.domain.framing import FramingError
from ingest.domain.instruments import InstrumentRegistry
from ingest.feeds.installed import feed_reader
from ingest.feeds.offline import reader_ticks
from ingest.feeds.reading import day_of
from ingest.files import STANDARD_INPUT
from ingest.offline import feed_dates, tick_chunks
from signals.offline import Sessions

from tidemark import console
from tidemark.feed_readers import ReaderChoice
from tidemark.replay_options import OfflineOptions, parse_sliding, parse_windows
from tidemark.venue_calendar import sessions

Progress = Callable[[int, int], None]
_ZONE_STEP_NS: Final = 900 * NS
"""Offsets of time zones are multiples of a quarter of an hour: windows that divide it are the same in each."""


class OfflineFeed(Protocol):
    """A feed that ends."""

    @property
    def name(self) -> str:
        """For a progress bar."""
        ...

    @property
    def nothing_usable(self) -> str:
        """What it means that the feed has named no instrument."""
        ...

    def sessions(self, options: OfflineOptions) -> Sessions | None:
        """Where its windows are aligned to, and its regular hours. Raises CommandError."""
        ...

    def ticks(self, report: Report, registry: InstrumentRegistry, progress: Progress) -> Iterator[Ticks]:
        """Raises CommandError where the feed cannot be read on: then its tables are not complete."""
        ...


@dataclass(frozen=True, slots=True)
class ItchFiles:
    """Files of ITCH 5.0, one feed. ``days``: those that were given; none: the names of the files say them."""

    paths: Sequence[Path]
    days: Sequence[date]

    @property
    def name(self) -> str:
        return self.paths[0].name

    @property
    def nothing_usable(self) -> str:
        return "no directory message (R) names an instrument"

    def dates(self) -> list[date]:
        """The days that are given, or that the files' names say. Raises CommandError."""
        if not self.days and STANDARD_INPUT in self.paths:
            raise console.CommandError(
                "standard input has no name that says the day: give it as YYYY-MM-DD with --date"
            )
        if len(set(self.days)) < len(self.days):
            raise console.CommandError("--date: two days of one feed cannot have the same date")
        try:
            return feed_dates(self.paths, self.days or None)
        except FeedDateError as error:
            raise console.CommandError(f"{error} with --date") from error

    def sessions(self, options: OfflineOptions) -> Sessions | None:
        days = list(dict.fromkeys(self.dates()))
        return sessions(days, options.anchor, options.hours, options.calendar)

    def ticks(self, report: Report, registry: InstrumentRegistry, progress: Progress) -> Iterator[Ticks]:
        try:
            yield from tick_chunks(self.paths, self.days or None, registry=registry, report=report, progress=progress)
        except FramingError as error:
            first = "standard input" if self.paths[0] == STANDARD_INPUT else str(self.paths[0])
            raise console.CommandError(f"{report.source or first}: {error}") from error


@dataclass(frozen=True, slots=True)
class ReaderFeed:
    """The sources of a feed reader."""

    choice: ReaderChoice

    @property
    def name(self) -> str:
        return self.choice.name

    @property
    def nothing_usable(self) -> str:
        return "no record of it names an instrument"

    def sessions(self, options: OfflineOptions) -> Sessions | None:
        """By the midnight of the reader's time zone; the epoch's, where the day is not known and that is the same."""
        zone = feed_reader(self.choice.name).zone
        day = self.choice.day or day_of(self.choice.sources)
        if day is not None:
            return sessions([day], options.anchor, options.hours, options.calendar, zone)
        is_epoch = options.anchor == "epoch" or (options.anchor == "midnight" and zone == "UTC")
        is_same = options.anchor == "midnight" and not any(_ZONE_STEP_NS % length for length in _lengths(options))
        if options.hours == "all" and (is_epoch or is_same):
            return None
        raise console.CommandError("no name of a source says the day: give it as YYYY-MM-DD with --date")

    def ticks(self, report: Report, registry: InstrumentRegistry, progress: Progress) -> Iterator[Ticks]:
        choice = self.choice
        try:
            yield from reader_ticks(
                choice.name,
                choice.sources,
                options=choice.options,
                day=choice.day,
                registry=registry,
                report=report,
                progress=progress,
            )
        except (FeedUnreadable, FeedUnavailable) as error:
            raise console.CommandError(str(error)) from error


def _lengths(options: OfflineOptions) -> list[int]:
    """Lengths and steps of the windows that are asked for, ns."""
    sliding = parse_sliding(options.bars)
    return [*parse_windows(options.bars), *(one for window in sliding for one in window)]
