"""Patterns that are shipped: what market abuse looks like in the actions of a symbol.

A feed does not say whose an order is, so a match is a reason to look, and no proof. Source: Regulation (EU) 2016/522,
Annex II, section 1 (indicators of manipulative behaviour): layering and spoofing, momentum ignition, quote stuffing,
marking the close.
"""

from collections.abc import Mapping
from typing import Any, Final

from common.contracts.alerts import Severity
from common.contracts.windows import NS
from common.order_patterns import (
    CANCELLED,
    ENTERED,
    EXECUTED,
    MARKET_CLOSED,
    Pattern,
    PatternKey,
    absent,
    repeated,
    sequence,
)

from signals.kernels import part

LARGE_SHARES: Final = 1_000
"""An order of fewer is not large, however little rests at the best price."""
LARGE_TIMES: Final = 4
"""A large order is of so many times the shares at its side's best price."""


def order_withdrawn(action: Any, _side: int) -> Any:
    """The rest of an order leaves the book, not executed."""
    return action.kind == CANCELLED and action.left == 0


def executed(action: Any, _side: int) -> Any:
    return action.kind == EXECUTED


@part
def _is_large_and_away(action: Any, side: int) -> Any:
    """An order of the side, away from the touch, of several times the shares that rest there."""
    is_large = action.qty >= LARGE_SHARES and action.qty >= LARGE_TIMES * action.near_size
    return is_large and action.side == side and (action.near_e4 - action.price_e4) * side > 0


def large_entered_away(action: Any, side: int) -> Any:
    return action.kind == ENTERED and _is_large_and_away(action, side)


def large_withdrawn_away(action: Any, side: int) -> Any:
    return action.kind == CANCELLED and action.left == 0 and _is_large_and_away(action, side)


def own_executed(action: Any, side: int) -> Any:
    """An order of the side is executed: somebody of the other side takes it."""
    return action.kind == EXECUTED and action.side == side


def opposite_executed(action: Any, side: int) -> Any:
    """An order of the other side is executed: somebody of the side takes it."""
    return action.kind == EXECUTED and action.side == -side


def lifts(action: Any, side: int) -> Any:
    """Somebody of the side takes an order at a price beyond the last one: up for a buyer, down for a seller."""
    is_beyond = action.last_e4 > 0 and (action.price_e4 - action.last_e4) * side > 0
    return action.kind == EXECUTED and action.side == -side and is_beyond


def lowers(action: Any, side: int) -> Any:
    """Somebody of the other side takes an order, and the price goes back."""
    is_back = action.last_e4 > 0 and (action.price_e4 - action.last_e4) * side < 0
    return action.kind == EXECUTED and action.side == side and is_back


def market_closed(action: Any, _side: int) -> Any:
    return action.kind == MARKET_CLOSED


QUOTE_STUFFING: Final = Pattern(
    "QUOTE_STUFFING",
    repeated(order_withdrawn, 250, within_ns=NS, without=executed),
    within_ns=NS,
    severity=Severity.MEDIUM,
    high=10,
)
"""250 orders are withdrawn within a second, and not one of the symbol is executed in between."""

LAYERING: Final = Pattern(
    "LAYERING",
    sequence(
        repeated(large_entered_away, 3, within_ns=5 * NS),
        opposite_executed,
        absent(own_executed),
        repeated(large_withdrawn_away, 3, within_ns=2 * NS),
    ),
    within_ns=10 * NS,
    key=PatternKey.SIDE,
    severity=Severity.HIGH,
)
"""Three large orders are entered away from the touch, an order of the other side is executed, and three large orders
are withdrawn, before any of their side is executed.
"""

MOMENTUM_IGNITION: Final = Pattern(
    "IGNITION",
    sequence(
        repeated(lifts, 8, within_ns=2 * NS, without=own_executed),
        repeated(lowers, 4, within_ns=2 * NS),
    ),
    within_ns=10 * NS,
    key=PatternKey.SIDE,
    severity=Severity.HIGH,
)
"""Eight orders are taken within two seconds, each at a price beyond the last one, and none the other way; then four are
taken the other way, each at a price that goes back.
"""

MARKING_THE_CLOSE: Final = Pattern(
    "MARKING_CLOSE",
    sequence(
        repeated(lifts, 5, within_ns=10 * NS, without=own_executed),
        absent(own_executed),
        market_closed,
    ),
    within_ns=30 * NS,
    key=PatternKey.SIDE,
    severity=Severity.HIGH,
)
"""In the last half minute five orders are taken within ten seconds, each at a price beyond the last one, and until the
close none is taken the other way.
"""

SHIPPED: Final[Mapping[str, Pattern]] = {
    pattern.name: pattern for pattern in (QUOTE_STUFFING, LAYERING, MOMENTUM_IGNITION, MARKING_THE_CLOSE)
}
"""By name."""
