"""The venue's calendar: at which close a DAY order ends.

Times are the exchange's own, ns since the epoch, as ``md.marks`` says them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final

NS_PER_S: Final = 1_000_000_000
DAY_NS: Final = 86_400 * NS_PER_S
SATURDAY: Final = 5


@dataclass(frozen=True, slots=True)
class TradingSession:
    """A stretch of time in which ``close_ns`` is the next close: from ``begin_ns`` on, until ``end_ns``."""

    begin_ns: int
    end_ns: int
    close_ns: int

    def contains(self, event_ns: int) -> bool:
        return self.begin_ns <= event_ns < self.end_ns


@dataclass(frozen=True, slots=True)
class Calendar:
    """Sessions are weekdays without ``holidays``; they end at ``close``, or at the time that ``early_closes`` says."""

    timezone: tzinfo
    close: time
    holidays: frozenset[date] = frozenset()
    early_closes: Mapping[date, time] | None = None

    def session_at(self, event_ns: int) -> TradingSession:
        """The session that an order which comes at this time is for.

        A day on which the exchange's clock runs before the close is a session, whatever the calendar says: the exchange
        knows better. After the close an order is for the next session of the calendar.
        """
        # Whole seconds: a datetime has no nanoseconds.
        day = datetime.fromtimestamp(event_ns // NS_PER_S, self.timezone).date()
        close_ns = self._close_ns(day)
        if event_ns < close_ns:
            return TradingSession(self._midnight_ns(day), close_ns, close_ns)
        following = day + timedelta(days=1)
        midnight_ns = self._midnight_ns(following)
        while not self._is_session(following):
            following += timedelta(days=1)
        return TradingSession(close_ns, midnight_ns, self._close_ns(following))

    def _is_session(self, day: date) -> bool:
        return day.weekday() < SATURDAY and day not in self.holidays

    def _close_ns(self, day: date) -> int:
        return self._at_ns(day, (self.early_closes or {}).get(day, self.close))

    def _midnight_ns(self, day: date) -> int:
        return self._at_ns(day, time())

    def _at_ns(self, day: date, at: time) -> int:
        return int(datetime.combine(day, at, self.timezone).astimezone(UTC).timestamp()) * NS_PER_S
