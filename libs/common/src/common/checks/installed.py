"""Checks from packages outside the services: entry points in the group ``tidemark.checks``.

Installed is not asked for: a check of another package stands behind the gate's own once a deployment names it
(``TIDEMARK_CHECKS``). What is named and cannot be had ends the start, since a gate without it would let pass what it is
there to deny.
"""

from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Final

from common.checks.check import Check, CheckChain
from common.checks.gate import CHECKS

GROUP: Final = "tidemark.checks"


class CheckUnavailable(ValueError):
    """A check that was asked for is not installed, or is none."""


def installed(names: Sequence[str]) -> tuple[Check, ...]:
    """The checks of these names, in their order. Raises CheckUnavailable."""
    known = entry_points(group=GROUP)
    found: list[Check] = []
    for name in names:
        here = tuple(point for point in known if point.name == name)
        if len(here) != 1:
            has = ", ".join(sorted({point.name for point in known})) or "none"
            raise CheckUnavailable(f"check {name!r} is installed {len(here)} times, not once; installed are {has}")
        made = here[0].load()
        if not isinstance(made, Check):
            raise CheckUnavailable(
                f"check {name!r} is {here[0].value}, which was not made by common.checks.check.check"
            )
        found.append(made)
    return tuple(found)


def gate_of(names: Sequence[str] = ()) -> CheckChain:
    """The gate's own checks, and behind them those of the names. Raises CheckUnavailable."""
    return CheckChain((*CHECKS, *installed(names)))
