"""Measures of packages outside of this one, by entry points of the group ``tidemark.measures``."""

from collections.abc import Sequence
from importlib.metadata import entry_points

from common.measures import ENTRY_POINT, Measure, MeasureError


def installed_measures(names: Sequence[str]) -> tuple[Measure, ...]:
    """The measures of these names. Raises MeasureError where a name is not installed, or is no measure's."""
    offered = entry_points(group=ENTRY_POINT)
    found = []
    for name in names:
        entries = list(offered.select(name=name))
        if len(entries) != 1:
            there = ", ".join(sorted(offered.names)) or "none"
            raise MeasureError(f"{len(entries)} packages offer the measure {name!r}; installed are: {there}")
        measure = entries[0].load()
        if not isinstance(measure, Measure) or measure.name != name:
            raise MeasureError(f"the entry point {name} = {entries[0].value} of {ENTRY_POINT} is not that measure")
        found.append(measure)
    return tuple(found)
