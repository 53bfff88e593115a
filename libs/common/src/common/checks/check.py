"""A check, and how an ordered tuple of them decides."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from common.checks.case import Case
from common.contracts.events import ReasonCode

Passes = Callable[[Case], bool]
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

    def compared(self, case: Case) -> dict[str, int]:
        """The numbers of a case that the check denies."""
        said = {name: number(case) for name, number in self.numbers.items()}
        return {name: number for name, number in said.items() if number is not None}


def check(reason: str, meaning: str, **numbers: Number) -> Callable[[Passes], Check]:
    """Makes a check of a function that says whether a case passes.

    Raises ValueError for a reason that is not of capital letters.
    """
    code = ReasonCode(reason)

    def made(passes: Passes) -> Check:
        return Check(passes.__name__, code, meaning, passes, numbers)

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
        self._passes: Final = tuple(each.passes for each in checks)

    def first_failing(self, case: Case) -> int:
        """Number of the first check that the case fails; ``passed`` where there is none."""
        for number, passes in enumerate(self._passes):
            if not passes(case):
                return number
        return self.passed
