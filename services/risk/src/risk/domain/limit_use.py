"""Parts of limits that an accepted order uses up: which of the warning levels it passes. Pure.

What stands here is what the checks compare (``common.checks.controls``), before the order and with it.
"""

from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Final, NamedTuple

from common.checks.case import Case, LimitFields
from common.checks.prices import PROCEEDS_FACTOR, notional_e4, worst_price_e4

PERCENTS: Final = (95, 90, 85, 75, 50)
"""Levels at which a warning is given, the highest first. At all of it the next order is denied."""
Part = Callable[[Case], int]


class Use(NamedTuple):
    """Part of a limit that is used before an order, and what the order adds."""

    before: Part
    adds: Part


def _bought(part: Part) -> Part:
    """A SELL adds nothing."""
    return lambda case: 0 if case.order.sell else part(case)


def _position_qty(case: Case) -> int:
    return case.position.qty + case.position.open_buy_qty


def _qty(case: Case) -> int:
    return case.order.qty


def _one(_case: Case) -> int:
    return 1


USES: Final[dict[str, Use]] = {
    "position_qty_max": Use(_position_qty, _bought(_qty)),
    "position_notional_max_e4": Use(lambda case: _position_qty(case) * worst_price_e4(case), _bought(notional_e4)),
    "exposure_max_e4": Use(
        lambda case: case.account.reserved_cash_e4 + case.position.qty * worst_price_e4(case), _bought(notional_e4)
    ),
    "open_orders_max": Use(lambda case: case.activity.open_orders, _one),
    "open_notional_max_e4": Use(
        lambda case: case.account.reserved_cash_e4 + case.account.pending_cash_e4 // PROCEEDS_FACTOR, notional_e4
    ),
    "window_orders_max": Use(lambda case: case.activity.orders, _one),
    "window_qty_max": Use(lambda case: case.activity.qty, _qty),
    "window_notional_max_e4": Use(lambda case: case.activity.notional_e4, notional_e4),
    "throttle_intents_max": Use(lambda case: case.activity.intents, _one),
}
"""By the name of the limit."""
_VALUES: Final = attrgetter(*USES)


class Crossed(NamedTuple):
    """See ``contracts.limit_warnings.Crossing``."""

    limit: str
    percent: int
    used: int
    most: int


def is_watched(limits: LimitFields) -> bool:
    """Whether one of the limits is set."""
    return any(_VALUES(limits))


def crossed(case: Case) -> Iterator[Crossed]:
    """Levels that an order passes which the checks let pass."""
    for name, use in USES.items():
        if not (most := getattr(case.limits, name)):
            continue
        before = use.before(case)
        used = before + use.adds(case)
        for percent in PERCENTS:
            if 100 * before < percent * most <= 100 * used:
                yield Crossed(name, percent, used, most)
                break
