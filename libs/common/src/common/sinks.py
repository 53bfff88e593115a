"""Sinks: places outside the fleet for rows of a topic, which ``tidemark read TOPIC --sink NAME`` writes.

A sink gets the committed records of one topic as rows, in the order of each partition. Every row has ``partition`` and
``offset`` of its record; a record that holds many rows (ticks, bars) gives several with the same offset, and all rows
of a record are in one call of ``write``. A sink that keeps ``positions`` together with the rows, in one transaction of
its own, has every row once, however often the command is stopped and started again: rows before them are not given
again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, Final, Protocol

ENTRY_POINT: Final = "tidemark.sinks"
"""Group of the entry points by which a package offers sinks; each names a ``SinkKind``."""

Row = Mapping[str, Any]


class SinkUnavailable(ValueError):
    """A sink that was asked for is not installed, is none, or cannot be opened as asked."""


class Sink(Protocol):
    """An open sink."""

    def positions(self) -> Mapping[int, int]:
        """Partition to the offset of the first record that is not in the sink yet; empty where it does not know."""
        ...

    def write(self, rows: Sequence[Row], positions: Mapping[int, int]) -> None:
        """Takes rows, and the positions behind them: both or neither. Values are JSON values."""
        ...

    def close(self) -> None:
        """Nothing more is written."""
        ...


@dataclass(frozen=True, slots=True)
class SinkKind:
    """The declaration. ``open`` is given the topic's name and the options; ``options`` are names and meanings."""

    name: str
    description: str
    open: Callable[[str, Mapping[str, str]], Sink]
    options: Mapping[str, str] = field(default_factory=dict)


def installed_sink(name: str, options: Mapping[str, str]) -> SinkKind:
    """The sink of this name. Raises SinkUnavailable where it is not installed once, or has no such option."""
    points = entry_points(group=ENTRY_POINT)
    found = [point for point in points if point.name == name]
    if len(found) != 1:
        there = ", ".join(sorted(points.names)) or "none"
        raise SinkUnavailable(f"sink {name!r} is installed {len(found)} times, not once; installed are {there}")
    kind = found[0].load()
    if not isinstance(kind, SinkKind) or kind.name != name:
        raise SinkUnavailable(f"the entry point {name!r} of {ENTRY_POINT} is not the sink of that name")
    for option in options:
        if option not in kind.options:
            has = ", ".join(kind.options) or "none"
            raise SinkUnavailable(f"sink {name!r} has no option {option!r}; it has {has}")
    return kind
