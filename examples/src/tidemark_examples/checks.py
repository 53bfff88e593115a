"""A check of one's own: a BUY may use a quarter of the cash that the account has available."""

from typing import Final

from common.checks.case import Case
from common.checks.check import check
from common.checks.prices import available_cash_e4, notional_e4

SHARE: Final = 4


def buyable_e4(case: Case) -> int:
    """A quotient, since four times the notional might not fit 64 bits."""
    return available_cash_e4(case) // SHARE


@check(
    "CASH_SHARE_TOO_LARGE",
    "a BUY would use more than a quarter of the cash that is available",
    required_cash_e4=notional_e4,
    buyable_cash_e4=buyable_e4,
)
def cash_share(case: Case) -> bool:
    return case.order.sell or notional_e4(case) <= buyable_e4(case)
