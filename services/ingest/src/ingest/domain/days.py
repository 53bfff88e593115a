"""Which day it is in a feed that may hold several: ITCH itself carries no date."""

from collections.abc import Sequence
from datetime import date

from ingest.domain.feed_date import WallClock, wall_clock
from ingest.domain.framing import FramingError


class DayError(FramingError):
    """A further day begins whose date nobody has said."""


class Days:
    """The dates of the days of a feed, in the order in which they come."""

    def __init__(self, dates: Sequence[date]) -> None:
        if len(set(dates)) < len(dates):
            raise ValueError("two days of one feed cannot have the same date")
        self._dates = list(dates)
        self._at = 0

    @property
    def today(self) -> date:
        return self._dates[self._at]

    def clock(self) -> WallClock:
        """The wall clock of the day that has begun."""
        return wall_clock(self.today)

    def go_on(self, offset: int, sequence: int) -> WallClock:
        """The next day begins. Raises DayError where its date is not known."""
        if self._at + 1 == len(self._dates):
            raise DayError(
                f"day {self._at + 2} begins with message {sequence}, and its date is not known: give a date for each, "
                "or a file of each day;",
                offset,
            )
        self._at += 1
        return self.clock()
