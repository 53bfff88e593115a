"""Days of a venue: where their windows begin and which hours are regular, from its calendar where that is asked for."""

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from common.contracts.windows import NS
from ingest.domain.feed_date import EXCHANGE_TIME, WallClock, wall_clock
from signals.venue_days import Sessions

from tidemark.errors import CommandError

INSTALL = "uv tool install 'tidemark-cli[calendars]'"
_MARGIN = timedelta(days=7)
"""The package refuses a range of one day, or one without a session."""


def sessions(
    days: Sequence[date], anchor: str, hours: str, calendar: str, zone: str = EXCHANGE_TIME.key
) -> Sessions | None:
    """Sessions on a feed's days; None where windows begin at the epoch and all hours are wanted. Raises CommandError.
    ``zone``: the time zone whose midnight is the exchange's.

    The exchange's midnight needs no calendar; ``open`` and regular hours do, with its holidays and early closes.
    """
    if hours not in ("all", "regular"):
        raise CommandError(f"--hours: {hours!r} is neither all nor regular")
    if anchor == "epoch" and hours == "all":
        return None
    days = sorted(days)
    clocks = [wall_clock(day, ZoneInfo(zone)) for day in days]
    opens = closes = None
    if anchor == "open" or hours == "regular":
        opens, closes = _regular_hours(days, calendar)
    starts = np.array([clock.midnight_ns for clock in clocks], np.int64)
    anchors = np.array([_anchor_ns(clock, anchor, opens, place) for place, clock in enumerate(clocks)], np.int64)
    return Sessions(starts, anchors, opens, closes) if hours == "regular" else Sessions(starts, anchors)


def _anchor_ns(clock: WallClock, anchor: str, opens: Any, place: int) -> int:
    if anchor == "epoch":
        return 0
    if anchor == "midnight":
        return clock.midnight_ns
    if anchor == "open":
        return int(opens[place])
    try:
        at = time.fromisoformat(anchor)
    except ValueError as error:
        raise CommandError(f"--anchor: {anchor!r} is neither midnight, open, epoch nor a time like 09:30") from error
    return clock.event_ns((at.hour * 3_600 + at.minute * 60 + at.second) * NS)


def _regular_hours(days: Sequence[date], name: str) -> tuple[Any, Any]:
    """Open and close of each day, ns since the epoch."""
    try:
        import exchange_calendars
    except ImportError as error:
        raise CommandError(f"regular hours come from the package exchange-calendars: {INSTALL}") from error
    try:
        start, end = min(days) - _MARGIN, max(days) + _MARGIN
        calendar = exchange_calendars.get_calendar(name, start=str(start), end=str(end))
    except Exception as error:  # the package has errors of many kinds for a name or a range it does not know
        if all(_is_closed(day) for day in days):
            raise CommandError(f"{days[0]} is no day of trading in the calendar {name}") from error
        raise CommandError(f"--calendar {name}: {error}") from error
    opens, closes = [], []
    for day in days:
        if not calendar.is_session(str(day)):
            raise CommandError(f"{day} is no day of trading in the calendar {name}")
        opens.append(_ns(calendar.session_open(str(day)).to_pydatetime()))
        closes.append(_ns(calendar.session_close(str(day)).to_pydatetime()))
    return np.array(opens, np.int64), np.array(closes, np.int64)


def _is_closed(day: date) -> bool:
    return day.weekday() > 4


def _ns(moment: datetime) -> int:
    return int(moment.timestamp()) * NS
