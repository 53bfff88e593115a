"""``risk.warnings``: accounts that come near to a limit. Key: account_id."""

from pydantic import Field

from common.contracts.events import Event
from common.contracts.values import AccountId, OrderId, Symbol, TimestampNs


class Crossing(Event):
    """``used`` of a limit's ``most`` are that many per cent now, and were fewer before the order."""

    limit: str
    percent: int = Field(description="the highest that was passed of 50, 75, 85, 90 and 95")
    used: int
    most: int


class LimitWarning(Event):
    """An order was accepted, and with it parts of limits are used up that were not before. At most one per order."""

    account_id: AccountId
    order_id: OrderId
    symbol: Symbol
    crossed: tuple[Crossing, ...]
    firm_limits_version: int
    account_limits_version: int
    warned_ns: TimestampNs
