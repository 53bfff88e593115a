"""Checks of the terms of an order: how long it lives, and how much of it trades at once.

Their reasons are codes like those of checks from outside the services, see ``checks.controls``.
"""

from typing import Final

from common.checks.case import Case
from common.checks.check import check
from common.contracts.values import TIMES_IN_FORCE, TimeInForce

IOC: Final = TIMES_IN_FORCE.index(TimeInForce.IOC)
FOK: Final = TIMES_IN_FORCE.index(TimeInForce.FOK)
GTD: Final = TIMES_IN_FORCE.index(TimeInForce.GTD)


@check(
    "MIN_QTY_UNEXPECTED",
    "a minimum quantity of an order that may rest: IOC and FOK alone have one (FIX MinQty, tag 110)",
    min_qty=lambda case: case.order.min_qty,
)
def minimum_of_immediate(case: Case) -> bool:
    return not case.order.has_min or case.order.time_in_force == IOC or case.order.time_in_force == FOK


@check(
    "MIN_QTY_INVALID",
    "a minimum quantity that is zero or less, more than the quantity, or not all of a FOK",
    min_qty=lambda case: case.order.min_qty,
    qty=lambda case: case.order.qty,
)
def minimum_in_quantity(case: Case) -> bool:
    if not case.order.has_min:
        return True
    if case.order.time_in_force == FOK:
        return case.order.min_qty == case.order.qty
    return 0 < case.order.min_qty <= case.order.qty


@check("EXPIRY_MISSING", "a GTD order that does not say when it expires (FIX ExpireTime, tag 126)")
def dated_has_expiry(case: Case) -> bool:
    return case.order.time_in_force != GTD or case.order.expires


@check(
    "EXPIRY_UNEXPECTED",
    "an order that says when it expires, and is not GTD",
    expire_ns=lambda case: case.order.expire_ns,
)
def others_have_none(case: Case) -> bool:
    return case.order.time_in_force == GTD or not case.order.expires


@check(
    "EXPIRY_PAST",
    "it expires at the exchange's time or before it, or that time is not known",
    expire_ns=lambda case: case.order.expire_ns,
    exchange_ns=lambda case: case.market.exchange_ns,
)
def expiry_ahead(case: Case) -> bool:
    return not case.order.expires or 0 < case.market.exchange_ns < case.order.expire_ns
