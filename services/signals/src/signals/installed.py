"""Measures and patterns by name: those that are shipped, and those of other packages by entry points."""

from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import Final, Protocol, TypeVar

from common import measures, order_patterns
from common.measures import Measure, MeasureError
from common.order_patterns import Pattern, PatternError

from signals.domain import abuse_patterns, indicators, quote_measures
from signals.domain.pattern_matches import in_order

SHIPPED: Final = indicators.SHIPPED | quote_measures.SHIPPED


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_Declared = TypeVar("_Declared", bound=_Named)


def installed_measures(names: Sequence[str]) -> tuple[Measure, ...]:
    """The measures of these names. Raises MeasureError where a name is not installed, or is no measure's."""
    return _installed(names, SHIPPED, Measure, measures.ENTRY_POINT, MeasureError)


def installed_patterns(names: Sequence[str]) -> tuple[Pattern, ...]:
    """The patterns of these names, in order. Raises PatternError where a name is not installed, or is no pattern's."""
    found = _installed(names, abuse_patterns.SHIPPED, Pattern, order_patterns.ENTRY_POINT, PatternError)
    return in_order(found)


def _installed(
    names: Sequence[str],
    shipped: Mapping[str, _Declared],
    kind: type[_Declared],
    group: str,
    refused: type[ValueError],
) -> tuple[_Declared, ...]:
    offered = entry_points(group=group)
    word = kind.__name__.lower()
    found = []
    for name in names:
        if name in shipped:
            found.append(shipped[name])
            continue
        entries = list(offered.select(name=name))
        if len(entries) != 1:
            there = ", ".join(sorted({*shipped, *offered.names}))
            raise refused(f"{len(entries)} packages offer the {word} {name!r}; installed are: {there}")
        declared = entries[0].load()
        if not isinstance(declared, kind) or declared.name != name:
            raise refused(f"the entry point {name} = {entries[0].value} of {group} is not that {word}")
        found.append(declared)
    return tuple(found)
