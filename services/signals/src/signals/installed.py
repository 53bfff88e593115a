"""The measures that packages outside of this one offer, by entry points of the group ``tidemark.measures``."""

from functools import cache
from importlib.metadata import entry_points

from common.measures import ENTRY_POINT, Measure, MeasureError


@cache
def installed_measures() -> tuple[Measure, ...]:
    """Every measure that is installed beside the service, by name. Raises MeasureError for what is none.

    Which ones are installed is part of what a deployment computes: its replays need the same.
    """
    found = {}
    for entry in sorted(entry_points(group=ENTRY_POINT), key=lambda entry: (entry.name, entry.value)):
        measure = entry.load()
        if not isinstance(measure, Measure):
            raise MeasureError(f"the entry point {entry.name} = {entry.value} of {ENTRY_POINT} is no Measure")
        if measure.name in found:
            raise MeasureError(f"two installed packages offer the measure {measure.name!r}: {entry.value} is the second")
        found[measure.name] = measure
    return tuple(found[name] for name in sorted(found))
