"""Warnings of accounts that come near to a limit, from an accepted order and what it met."""

from common.checks.case import Case
from common.contracts.limit_warnings import Crossing, LimitWarning
from common.contracts.values import order_id_of

from risk import metrics
from risk.domain.intent import Order
from risk.domain.limit_use import crossed


def warning_of(order: Order, case: Case, now_ns: int) -> LimitWarning | None:
    """A warning where the order passes a level of a limit."""
    found = tuple(crossed(case))
    if not found:
        return None
    for each in found:
        metrics.WARNINGS.labels(each.limit, str(each.percent)).inc()
    return LimitWarning(
        account_id=order.account_id,
        order_id=order_id_of(order.account_id, order.client_order_id),
        symbol=order.symbol,
        crossed=tuple(Crossing(**each._asdict()) for each in found),
        firm_limits_version=case.limits.firm_limits_version,
        account_limits_version=case.limits.account_limits_version,
        warned_ns=now_ns,
    )
