"""A measure: a number or a few that every window has of every instrument, from the trades in it.

A measure is declared once, by four things, and everything else is made from them. Which trades belong to a window, what
happens when one comes late or is broken, longer windows from shorter ones, the open window of the moment, snapshots and
the run without Kafka are the engine's concern:

- ``tally``: the fields of what is kept of a window of an instrument, integers or floats of a fixed size, or arrays of
  them of a fixed length (``"(64,)<i8"``);
- ``add(tally, trade)``: one more trade. A new tally is all zeros;
- ``merge(tally, later)``: adds a tally whose trades are all later. Neither of the two is without a trade;
- ``result(tally)``, or ``result(tally, window)`` where the numbers depend on ``window.window_start_ns`` or
  ``window.window_ns``: the numbers, integers in the order of ``results``; one number where there is one. It is never
  asked of a tally without a trade: a bar that has none has zeros.

The functions are compiled by numba and run in plain Python, too, on ``numpy.record`` rows; they use fields, numbers and
branches, and nothing that allocates. ``trade`` has the fields ``event_ns``, ``price_e4``, ``qty``, ``instrument_id``
and ``aggressor``: 1 where a buyer took a resting offer, -1 where a seller took a resting bid, 0 where it is not known.

``add`` is called in the order of event time, trades of the same time in the order of arrival. Where a trade comes out
of that order, its window is added up anew, unless the measure says that any order gives the same (``any_order``).

A measure of quotes (``of=Source.QUOTES``) is made of the times through which an instrument's best prices and sizes
stood as they were, instead of its trades: ``add(tally, span)``. A span has ``begin_ns`` and ``end_ns`` by the clock of
its partition, ``bid_e4``, ``bid_size``, ``ask_e4`` and ``ask_size`` (zeros where a side is empty) and the same names
with ``before_`` for what stood before it. ``changed`` is 1 where the span begins with the change to these prices, and 0
where it goes on with what stood already, since the window began or the span was cut. It may be of no length. Quotes are
never late: a window has the changes that came while the clock was in it.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np

ENTRY_POINT: Final = "tidemark.measures"
"""Group of the entry points by which a package offers measures; each names a ``Measure``."""
NAME_CHARS_MAX: Final = 32
_KINDS: Final = "iuf"


class Source(StrEnum):
    """The events that the windows of a measure are made of."""

    TRADES = "trades"
    QUOTES = "quotes"


class MeasureError(ValueError):
    """A measure is declared in a way that cannot work."""


@dataclass(frozen=True, slots=True, eq=False)
class Measure:
    """The declaration. Raises MeasureError.

    ``name`` names it in snapshots, ``results`` its numbers on ``md.measures`` and in ``bars.csv``, with the unit at
    their end. ``version`` is raised with every change of what the tally means: a tally of another version in a snapshot
    is added up anew from the log of trades.
    """

    name: str
    tally: Mapping[str, str]
    add: Callable[[Any, Any], None]
    merge: Callable[[Any, Any], None]
    result: Callable[..., Any]
    results: tuple[str, ...]
    version: int = 1
    any_order: bool = False
    of: Source = Source.TRADES

    def __post_init__(self) -> None:
        for name in (self.name, *self.results, *self.tally):
            if not name.isidentifier() or len(name) > NAME_CHARS_MAX:
                raise MeasureError(f"measure {self.name!r}: {name!r} is no name of at most {NAME_CHARS_MAX} characters")
        if not self.results or not self.tally:
            raise MeasureError(f"measure {self.name!r} has no {'tally' if self.results else 'results'}")
        for field, kind in self.tally.items():
            if np.dtype(kind).base.kind not in _KINDS:
                raise MeasureError(f"measure {self.name!r}: {field} is {kind!r}, and a tally holds numbers only")

    @property
    def asks_for_window(self) -> bool:
        """Whether ``result`` takes the window, too."""
        return len(inspect.signature(self.result).parameters) > 1

    @property
    def dtype(self) -> np.dtype[Any]:
        """Layout of a tally."""
        return np.dtype(list(self.tally.items()))

    def declaration(self) -> dict[str, Any]:
        """Declaration that a snapshot keeps of the measure; a tally under another one is not taken over."""
        return {"version": self.version, "tally": dict(self.tally)}
