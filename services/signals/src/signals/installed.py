"""Measures by name: those that are shipped, and those of other packages by entry points."""

from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Final

from common.measures import ENTRY_POINT, Measure, MeasureError

from signals.domain import indicators, quote_measures

SHIPPED: Final = indicators.SHIPPED | quote_measures.SHIPPED


def installed_measures(names: Sequence[str]) -> tuple[Measure, ...]:
    """The measures of these names. Raises MeasureError where a name is not installed, or is no measure's."""
    offered = entry_points(group=ENTRY_POINT)
    found = []
    for name in names:
        if name in SHIPPED:
            found.append(SHIPPED[name])
            continue
        entries = list(offered.select(name=name))
        if len(entries) != 1:
            there = ", ".join(sorted({*SHIPPED, *offered.names}))
            raise MeasureError(f"{len(entries)} packages offer the measure {name!r}; installed are: {there}")
        measure = entries[0].load()
        if not isinstance(measure, Measure) or measure.name != name:
            raise MeasureError(f"the entry point {name} = {entries[0].value} of {ENTRY_POINT} is not that measure")
        found.append(measure)
    return tuple(found)
