"""Fleeting orders: ones that join the best price and are withdrawn before anybody can take them, again and again.

Hasbrouck and Saar, "Technology and liquidity provision: The blurring of traditional definitions", Journal of Financial
Markets 12 (2009), describe them. Here four of one side come and go within a tenth of a second, and nothing is executed
between the entry of one and its withdrawal.
"""

from typing import Any, Final

from common.contracts.alerts import Severity
from common.order_patterns import CANCELLED, ENTERED, EXECUTED, Pattern, PatternKey, absent, repeated, sequence

NS: Final = 1_000_000_000


def entered(action: Any, side: int) -> Any:
    return action.kind == ENTERED and action.side == side and action.price_e4 == action.near_e4


def withdrawn(action: Any, side: int) -> Any:
    return action.kind == CANCELLED and action.left == 0 and action.side == side


def executed(action: Any, _side: int) -> Any:
    return action.kind == EXECUTED


FLEETING: Final = Pattern(
    "FLEETING",
    repeated(sequence(entered, absent(executed), withdrawn), 4),
    within_ns=NS // 10,
    key=PatternKey.SIDE,
    severity=Severity.LOW,
    high=50,
)
