"""The day of a feed session and the exchange's midnight, from which ITCH counts its nanoseconds."""

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

EXCHANGE_TIME: Final = ZoneInfo("America/New_York")
_YEARS: Final = range(1990, 2101)
_ISO: Final = re.compile(r"(?<!\d)(\d{4})[-_](\d{2})[-_](\d{2})(?!\d)")
_EIGHT_DIGITS: Final = re.compile(r"(?<!\d)\d{8}(?!\d)")
_NASDAQ_ARCHIVE: Final = re.compile(r"(?:^|[^A-Za-z])S(\d{2})(\d{2})(\d{2})-v\d+")


class FeedDateError(ValueError):
    """No date can be read from the name."""


def session_midnight_ns(day: date) -> int:
    """Midnight in New York at the start of ``day``, ns since the epoch."""
    return int(datetime(day.year, day.month, day.day, tzinfo=EXCHANGE_TIME).timestamp()) * 1_000_000_000


@dataclass(frozen=True, slots=True)
class WallClock:
    """The exchange's wall clock in a session: its stamps are wall time, and on the day of a clock change an hour of it
    is missing or comes twice. Stamps from ``change_at`` on (ns since midnight) are ``change_ns`` later in UTC than ns
    since midnight would say. Of an hour that comes twice the stamps are taken to be of the first time.
    """

    midnight_ns: int
    change_at: int = 0
    change_ns: int = 0

    def event_ns(self, stamp: int) -> int:
        """Ns since the epoch of a stamp."""
        return self.midnight_ns + stamp + (self.change_ns if self.change_ns and stamp >= self.change_at else 0)


_SPAN_HOURS: Final = 72
"""A session ends within three days of its midnight: Friday's midnight to the end of Sunday."""
_HOUR_NS: Final = 3_600_000_000_000


def wall_clock(day: date, zone: ZoneInfo = EXCHANGE_TIME) -> WallClock:
    """The wall clock of the session of ``day`` in the exchange's time zone."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    midnight_ns = int(midnight.timestamp()) * 1_000_000_000
    offset = midnight.utcoffset() or timedelta()
    for hour in range(1, _SPAN_HOURS):
        then = (midnight + timedelta(hours=hour)).utcoffset() or timedelta()  # wall time: a zone is not crossed
        if then != offset:
            change_ns = int((offset - then).total_seconds()) * 1_000_000_000
            return WallClock(midnight_ns, hour * _HOUR_NS, change_ns)
    return WallClock(midnight_ns)


def date_from_name(name: str) -> date:
    """The day a file of market data says it is of.

    Knows ``AAPL_2012-06-21_1.itch``, ``ex20101224.TEST_ITCH_50``, ``01302019.NASDAQ_ITCH50`` and ``S081321-v50.txt``.
    Raises FeedDateError if there is none.
    """
    for year, month, day in _ISO.findall(name):
        if found := _valid(year, month, day):
            return found
    for digits in _EIGHT_DIGITS.findall(name):
        for year, month, day in ((digits[:4], digits[4:6], digits[6:]), (digits[4:], digits[:2], digits[2:4])):
            if found := _valid(year, month, day):
                return found
    for month, day, year in _NASDAQ_ARCHIVE.findall(name):
        if found := _valid(f"20{year}", month, day):
            return found
    raise FeedDateError(f"no date in the name {name!r}: give one as YYYY-MM-DD")


def _valid(year: str, month: str, day: str) -> date | None:
    try:
        found = date(int(year), int(month), int(day))
    except ValueError:
        return None
    return found if found.year in _YEARS else None
