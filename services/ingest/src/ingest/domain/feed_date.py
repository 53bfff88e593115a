"""The day of a feed session and the exchange's midnight, from which ITCH counts its nanoseconds."""

import re
from datetime import date, datetime
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
