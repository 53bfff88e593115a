"""Recorded feeds as an offline replay takes them, and the exchange's own: files of ITCH."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Protocol

from common.contracts.ticks import Ticks
from ingest.domain.anomalies import Report
from ingest.domain.feed_date import FeedDateError
from ingest.domain.framing import FramingError
from ingest.domain.instruments import InstrumentRegistry
from ingest.files import STANDARD_INPUT
from ingest.offline import feed_dates, tick_chunks
from signals.venue_days import Sessions

from tidemark import console
from tidemark.replay_options import OfflineOptions
from tidemark.venue_calendar import sessions

Progress = Callable[[int, int], None]


class OfflineFeed(Protocol):
    """A feed that ends."""

    @property
    def name(self) -> str:
        """For a progress bar."""
        ...

    @property
    def nothing_usable(self) -> str:
        """Message where the feed has named no instrument."""
        ...

    def sessions(self, options: OfflineOptions) -> Sessions | None:
        """Alignment of its windows, and its regular hours. Raises CommandError."""
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
