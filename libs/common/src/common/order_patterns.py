"""A pattern: order actions of a symbol that come one after the other within a time, and raise a market alert.

A pattern is declared once, of conditions. A condition is a function of a module, ``fits(action, side)``, that says
whether an action is the one that is meant; it is compiled by numba and runs in plain Python, too, so it is of fields,
numbers and branches, and encloses nothing. ``action`` has the fields of ``common.books.layout.ACTION``.

- ``sequence(a, b, …)``: one after the other. Anything may happen in between;
- ``absent(x)``, between two steps: no action that fits ``x`` comes between the step that is taken before it and the
  step that is taken after it;
- ``repeated(a, n)``: at least ``n`` of them, with whatever in between, unless ``without=x`` forbids that anything that
  fits ``x``, and not ``a``, comes between the first and the last. ``within_ns``: from the first to the last it takes at
  most that.
  A sequence may be repeated, too, without these two;
- ``optional(a)``: the step may be left out;
- ``either(a, b, …)``: one of them.

The pattern matches at the action by which all its steps can be said to be taken, in one way at least, the first of them
at most ``within_ns`` ago. An action is one step of it at most. Then what its key has seen is forgotten, and the next
match is made of later actions. Time is the clock of the partition.

``key``: what is followed by itself. ``INSTRUMENT``: all of its actions, with ``side`` 0; ``SIDE``: the same twice, with
``side`` 1 and -1, for patterns that look alike in both directions; ``ORDER``: the actions of one order, ``side`` 0.
A key is followed from an action on that fits a first step, until it has done nothing of its pattern for ``within_ns``.
An action of the whole market (its ``instrument_id`` is -1) is seen by every key that is followed.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import Any, Final

from common.books import layout
from common.contracts.alerts import AlertKind, Severity

ENTRY_POINT: Final = "tidemark.patterns"
"""Group of the entry points by which a package offers patterns; each names a ``Pattern``."""
ENTERED: Final = layout.ENTERED
CANCELLED: Final = layout.CANCELLED
EXECUTED: Final = layout.EXECUTED
TRADED: Final = layout.TRADED
MARKET_CLOSED: Final = layout.MARKET_CLOSED
LINES_MAX: Final = 8
"""Ways at most in which the steps of a pattern may be taken, by what is optional or either of several."""
LEGS_MAX: Final = 16
"""Steps at most of one of them."""
TIMES_MAX: Final = 4_096
_NAME: Final = re.compile(r"[A-Z][A-Z0-9_]{0,15}")

Condition = Callable[[Any, int], Any]
"""``fits(action, side)``."""


class PatternError(ValueError):
    """A pattern is declared in a way that cannot work."""


class PatternKey(StrEnum):
    """The unit of the market that is followed by itself."""

    INSTRUMENT = "instrument"
    SIDE = "side"
    ORDER = "order"


@dataclass(frozen=True, slots=True)
class Absent:
    """No action that fits comes between two steps."""

    fits: Condition


@dataclass(frozen=True, slots=True)
class Step:
    """``times`` actions that fit."""

    fits: Condition
    times: int = 1
    within_ns: int = 0
    without: Condition | None = None


@dataclass(frozen=True, slots=True)
class Ordered:
    """Pieces, one after the other."""

    parts: "tuple[Piece, ...]"


@dataclass(frozen=True, slots=True)
class Either:
    """One of several; None is nothing at all."""

    parts: "tuple[Piece | None, ...]"


Piece = Condition | Step | Absent | Ordered | Either


@dataclass(frozen=True, slots=True)
class Leg:
    """A step of one way to take them. ``absent``: what may not come between the step before it and its first action."""

    step: Step
    absent: tuple[Condition, ...]


Line = tuple[Leg, ...]
"""The steps of one way to take them."""


def sequence(*parts: Piece) -> Ordered:
    """One part after the other."""
    return Ordered(parts)


def absent(fits: Condition) -> Absent:
    """Nothing that fits comes between the step before and the step after it."""
    return Absent(fits)


def either(*parts: Piece) -> Either:
    """One of the parts."""
    return Either(parts)


def optional(part: Piece) -> Either:
    """The part, or nothing."""
    return Either((None, part))


def repeated(part: Piece, times: int, *, within_ns: int = 0, without: Condition | None = None) -> Step | Ordered:
    """At least ``times`` actions that fit a condition; or a part so many times. Raises PatternError."""
    if not 1 <= times <= TIMES_MAX:
        raise PatternError(f"a step is repeated 1 to {TIMES_MAX} times, not {times}")
    if callable(part):
        return Step(part, times, within_ns, without)
    if within_ns or without is not None:
        raise PatternError("only a condition is repeated within a time, or without something")
    if times > LEGS_MAX:
        raise PatternError(f"a part of several steps is repeated at most {LEGS_MAX} times")
    return Ordered((part,) * times)


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """The declaration. Raises PatternError.

    ``name`` is the ``kind`` of its alerts, and ``version`` stands in their rows; it is raised with every change of what
    the pattern means, its conditions included: what a snapshot holds of another version is not taken over. ``high`` and
    ``critical``: with which match of one episode the alert becomes as grave as that; None: it never is.
    """

    name: str
    of: Piece
    within_ns: int
    key: PatternKey = PatternKey.INSTRUMENT
    severity: Severity = Severity.MEDIUM
    high: int | None = None
    critical: int | None = None
    version: int = 1

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or self.name in set(AlertKind):
            raise PatternError(f"{self.name!r} is no name of a pattern: 1 to 16 of A-Z, 0-9, _, and no other alert's")
        if self.within_ns < 1:
            raise PatternError(f"{self.name}: a pattern is within a time, else nothing of it is ever forgotten")
        lines = self.lines
        if len(lines) > LINES_MAX or any(not 1 <= len(line) <= LEGS_MAX for line in lines):
            raise PatternError(f"{self.name}: a pattern has 1 to {LEGS_MAX} steps, in at most {LINES_MAX} ways")
        for fits in self.conditions:
            if fits.__closure__:
                raise PatternError(
                    f"{self.name}: the condition {fits.__qualname__} encloses values; name them in its module"
                )

    @property
    def lines(self) -> tuple[Line, ...]:
        """Every way to take the steps. Raises PatternError."""
        return tuple(self._line(parts) for parts in _expanded(self.of))

    def _line(self, parts: Iterable[Step | Absent]) -> Line:
        legs: list[Leg] = []
        pending: list[Condition] = []
        for part in parts:
            if isinstance(part, Absent):
                pending.append(part.fits)
                if not legs:
                    raise PatternError(f"{self.name}: before the first step nothing can be absent")
            else:
                legs.append(Leg(part, tuple(pending)))
                pending.clear()
        if pending:
            raise PatternError(f"{self.name}: after the last step nothing can be absent")
        return tuple(legs)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Each of its conditions once, in order."""
        found: dict[Condition, None] = {}
        for leg in (leg for line in self.lines for leg in line):
            found |= dict.fromkeys((*leg.absent, leg.step.fits))
            if leg.step.without is not None:
                found[leg.step.without] = None
        return tuple(found)

    def declaration(self) -> dict[str, Any]:
        """Declaration that a snapshot keeps of the pattern; state under another one is not taken over."""
        lines = [[[leg.step.times, leg.step.within_ns, len(leg.absent)] for leg in line] for line in self.lines]
        return {"version": self.version, "within_ns": self.within_ns, "key": str(self.key), "lines": lines}


def _expanded(part: Piece) -> list[tuple[Step | Absent, ...]]:
    """Every way to take the steps of a part."""
    if isinstance(part, Step | Absent):
        return [(part,)]
    if isinstance(part, Either):
        return [line for each in part.parts for line in ([()] if each is None else _expanded(each))]
    if isinstance(part, Ordered):
        ways = (_expanded(each) for each in part.parts)
        return [tuple(step for steps in way for step in steps) for way in product(*ways)]
    return [(Step(part),)]
