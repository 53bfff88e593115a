"""The sources of a feed reader as an offline replay takes them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from common.contracts.ticks import Ticks
from common.contracts.windows import NS
from common.feeds import FeedUnavailable, FeedUnreadable
from ingest.domain.anomalies import Report
from ingest.domain.instruments import InstrumentRegistry
from ingest.feeds.installed import feed_reader
from ingest.feeds.offline import reader_ticks
from ingest.feeds.reading import day_of
from signals.venue_days import Sessions

from tidemark import console
from tidemark.feed_readers import ReaderChoice
from tidemark.offline_feeds import Progress
from tidemark.replay_options import OfflineOptions, parse_sliding, parse_windows
from tidemark.venue_calendar import sessions

_ZONE_STEP_NS: Final = 900 * NS
"""Offsets of time zones are multiples of a quarter of an hour: windows that divide it are the same in each."""


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
