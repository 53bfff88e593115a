"""Writes the calendar of a venue from the ``exchange-calendars`` package, which only this script needs.

    uv run --with exchange-calendars python services/orders/make_calendar.py XNYS XNAS 2000 2030

reads the calendar XNYS (Nasdaq has the same sessions) and writes ``XNAS.json`` for these years.
"""

import json
import sys
from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import exchange_calendars

DIRECTORY = Path(__file__).parent / "src" / "orders" / "venue" / "calendars"


def main(source: str, name: str, first_year: str, last_year: str) -> None:
    """Sessions are weekdays without ``holidays``; ``early_closes`` are those that end before ``close``."""
    first, last = f"{first_year}-01-01", f"{last_year}-12-31"
    calendar = exchange_calendars.get_calendar(source, start=first, end=last)
    closes = {
        session.date().isoformat(): close.tz_convert(calendar.tz).strftime("%H:%M")
        for session, close in calendar.schedule["close"].items()
    }
    (usual, _), *_ = Counter(closes.values()).most_common(1)
    count = (date.fromisoformat(last) - date.fromisoformat(first)).days + 1
    days = [date.fromisoformat(first) + timedelta(days=number) for number in range(count)]
    weekdays = [day.isoformat() for day in days if day.weekday() < 5]
    document = {
        "timezone": str(calendar.tz),
        "close": usual,
        "first": first,
        "last": last,
        "holidays": [day for day in weekdays if day not in closes],
        "early_closes": {day: close for day, close in closes.items() if close != usual},
    }
    (DIRECTORY / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
