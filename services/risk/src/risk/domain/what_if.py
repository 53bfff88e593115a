"""An order that nobody sends: what the gate would say, and how much of each limit is left. Pure.

The verdict is that of the gate's own checks on the case that the order would be.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec
from common.checks.case import Case
from common.checks.check import CheckChain
from common.checks.prices import (
    available_cash_e4,
    available_qty,
    exposure_room_qty,
    open_notional_room_e4,
    position_notional_room_qty,
    position_room_qty,
    worst_price_e4,
)
from common.checks.terms import IOC, minimum_of_immediate

Room = Callable[[Case], int]


class Headroom(NamedTuple):
    """The rest of a limit. ``limit``: the field of the limits that has to be set; "": always asked."""

    limit: str
    room: Room
    of_buys: bool = False
    """Whether it bounds BUYs alone."""


_HEADROOM: Final[dict[str, Headroom]] = {
    "available_cash_e4": Headroom("", available_cash_e4),
    "available_qty": Headroom("", available_qty),
    "order_qty": Headroom("", lambda case: case.limits.order_qty_max),
    "order_notional_e4": Headroom("", lambda case: case.limits.order_notional_max_e4),
    "position_qty": Headroom("position_qty_max", position_room_qty, of_buys=True),
    "position_notional_qty": Headroom("position_notional_max_e4", position_notional_room_qty, of_buys=True),
    "exposure_qty": Headroom("exposure_max_e4", exposure_room_qty, of_buys=True),
    "open_orders": Headroom("open_orders_max", lambda case: case.limits.open_orders_max - case.activity.open_orders),
    "open_notional_e4": Headroom("open_notional_max_e4", open_notional_room_e4),
    "window_orders": Headroom("window_orders_max", lambda case: case.limits.window_orders_max - case.activity.orders),
    "window_qty": Headroom("window_qty_max", lambda case: case.limits.window_qty_max - case.activity.qty),
    "window_notional_e4": Headroom(
        "window_notional_max_e4", lambda case: case.limits.window_notional_max_e4 - case.activity.notional_e4
    ),
    "intents": Headroom("throttle_intents_max", lambda case: case.limits.throttle_intents_max - case.activity.intents),
}
"""Numbers by name, the unit in it; those that end in ``_qty`` are shares."""


def headroom_of(case: Case) -> dict[str, int]:
    """The rest of each limit that is set, before the order; never less than nothing.

    Limits in shares that are made of money need a price, and say nothing where there is none.
    """
    has_price = worst_price_e4(case) > 0
    return {
        name: max(0, asked.room(case))
        for name, asked in _HEADROOM.items()
        if (not asked.limit or getattr(case.limits, asked.limit))
        and not (asked.of_buys and (case.order.sell or not has_price))
    }


def most_qty(case: Case, gate: CheckChain) -> int:
    """The most shares of such an order that would be accepted, in whole lots; 0 where it would be denied with any.

    Whatever bounds a quantity bounds it from above, so the quantities that pass are all those up to the most; but for
    the very quantity of an order of the same body, which another quantity is not, and for its minimum: the most has to
    reach that of an IOC, and that of a FOK is all of it, whatever its quantity.
    """
    lot_qty = max(1, case.market.lot_qty)
    case = case._replace(activity=msgspec.structs.replace(case.activity, twin_ns=0))
    if case.order.has_min and minimum_of_immediate.passes(case):
        case = case._replace(order=msgspec.structs.replace(case.order, has_min=False))
        least_qty = case.order.min_qty if case.order.time_in_force == IOC else 1
        qty = most_qty(case, gate)
        return qty if 0 < least_qty <= qty else 0

    def passes(lots: int) -> bool:
        order = msgspec.structs.replace(case.order, qty=lots * lot_qty)
        return gate.first_failing(case._replace(order=order)) == gate.passed

    passing, failing = 0, case.limits.order_qty_max // lot_qty + 1
    while failing - passing > 1:
        middle = (passing + failing) // 2
        passing, failing = (middle, failing) if passes(middle) else (passing, middle)
    return passing * lot_qty
