"""Calendars of venues, from JSON files: the ones of this package by name, any other by its path.

``make_calendar.py`` beside the package makes them from the ``exchange-calendars`` package.
"""

from datetime import date, time
from importlib import resources
from pathlib import Path
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict

from orders.domain.sessions import Calendar


class CalendarFile(BaseModel):
    """Sessions are weekdays without ``holidays``. ``first`` and ``last``: the days for which the lists are complete."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    timezone: str
    close: time
    first: date | None = None
    last: date | None = None
    holidays: frozenset[date] = frozenset()
    early_closes: dict[date, time] = {}


def load_calendar(name: str) -> Calendar:
    """Raises ValueError where there is no such calendar, or where the file is none."""
    path = Path(name)
    if path.suffix != ".json":
        packaged = resources.files("orders.venue").joinpath("calendars", f"{name}.json")
        if not packaged.is_file():
            raise ValueError(f"no calendar of that name: {name}")
        text = packaged.read_text("utf-8")
    elif path.is_file():
        text = path.read_text("utf-8")
    else:
        raise ValueError(f"no such file: {name}")
    file = CalendarFile.model_validate_json(text)
    return Calendar(ZoneInfo(file.timezone), file.close, file.holidays, file.early_closes)
