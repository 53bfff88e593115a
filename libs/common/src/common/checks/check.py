"""A check, and how an ordered tuple of them decides."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from common.checks.case import Case, LimitFields
from common.contracts.events import ReasonCode

Passes = Callable[[Case], bool]
Asked = tuple[tuple[int, Passes], ...]
"""Checks that are asked under certain limits, with their numbers."""
LIMITS_MAX: Final = 1_024
"""Limits that a chain remembers its asked checks of."""
Number = Callable[[Case], int | None]
"""A number that the check compares; None where it says nothing of this case."""


@dataclass(frozen=True, slots=True, eq=False)
class Check:
    """One rule of the gate."""

    name: str
    reason: ReasonCode
    meaning: str
    """The condition under which it denies: for whoever reads the documentation, or the API's description."""
    passes: Passes
    """Pure, and in what both Python and numba understand: integers, flags, comparisons, calls of such functions."""
    numbers: dict[str, Number]
    """By name, with the unit in it: what the denial says was compared."""
    limit: str = ""
    """Name of the limit that it enforces. While that is off (0 or False) every case passes, and it is not asked."""

    def compared(self, case: Case) -> dict[str, int]:
        """The numbers of a case that the check denies."""
        said = {name: number(case) for name, number in self.numbers.items()}
        return {name: number for name, number in said.items() if number is not None}


def check(reason: str, meaning: str, *, limit: str = "", **numbers: Number) -> Callable[[Passes], Check]:
    """Makes a check of a function that says whether a case passes; with ``limit`` it is asked while that is set.

    Raises ValueError for a reason that is not of capital letters, and for a limit that there is not.
    """
    code = ReasonCode(reason)
    if limit and limit not in LimitFields.__struct_fields__:
        raise ValueError(f"a check of {code} is to be asked while {limit} is set, and there is no such limit")

    def made(passes: Passes) -> Check:
        return Check(passes.__name__, code, meaning, passes, numbers, limit)

    return made


class CheckChain:
    """Checks in their order: the first that a case fails decides."""

    def __init__(self, checks: tuple[Check, ...]) -> None:
        names = [each.name for each in checks]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"checks have one name each, and these have the same: {', '.join(repeated)}")
        self.checks: Final = checks
        self.passed: Final = len(checks)
        """Stands in place of a check's number where a case passes all."""
        self._asked: Final[dict[int, tuple[LimitFields, Asked]]] = {}
        """By the identity of the limits, which are held here, so that no others can have it."""

    def first_failing(self, case: Case) -> int:
        """Number of the first check that the case fails; ``passed`` where there is none."""
        for number, passes in self._asked_under(case.limits):
            if not passes(case):
                return number
        return self.passed

    def _asked_under(self, limits: LimitFields) -> Asked:
        known = self._asked.get(id(limits))
        if known is not None:
            return known[1]
        asked = tuple(
            (number, each.passes)
            for number, each in enumerate(self.checks)
            if not each.limit or getattr(limits, each.limit)
        )
        if len(self._asked) == LIMITS_MAX:
            self._asked.clear()
        self._asked[id(limits)] = limits, asked
        return asked
