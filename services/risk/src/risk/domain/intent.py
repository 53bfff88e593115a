"""An intent as the gate reads it: field by field ``contracts.events.OrderIntent``, which stays the truth.

Validating the pydantic model costs 2.0 µs, this 0.6. ``tests/risk/test_wire.py`` holds the two to each other: they
accept and refuse the same bytes, with equal values, and write the same bytes.
"""

import re
from typing import Annotated, Final

import msgspec
from common.contracts.events import OrderIntent
from common.contracts.values import (
    ACCOUNT_ID_PATTERN,
    CLIENT_ORDER_ID_PATTERN,
    INT64_MAX,
    SYMBOL_PATTERN,
    OrderType,
    Side,
    TimeInForce,
)
from msgspec import Meta

DAY: Final = TimeInForce.DAY
NAMES: Final = re.compile(rf"{ACCOUNT_ID_PATTERN}\n{CLIENT_ORDER_ID_PATTERN}\n{SYMBOL_PATTERN}")
"""Account id, client order id and symbol. No part can hold a line feed, so one match
over the three is as strict as three, and cheaper."""
Quantity = Annotated[int, Meta(ge=-INT64_MAX, le=INT64_MAX)]
TimestampNs = Annotated[int, Meta(ge=0, le=INT64_MAX)]


class Intent(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Written without its limit where there is none, as the model is; a default that is made is always written."""

    account_id: str
    client_order_id: str
    symbol: str
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce = msgspec.field(default_factory=lambda: DAY)
    qty: Quantity
    limit_price_e4: Quantity | None = None
    sent_ns: TimestampNs
    min_qty: Quantity | None = None
    expire_ns: TimestampNs | None = None

    def __post_init__(self) -> None:
        if NAMES.fullmatch(f"{self.account_id}\n{self.client_order_id}\n{self.symbol}") is None:
            raise ValueError("account_id, client_order_id or symbol is not as it should be")


Order = Intent | OrderIntent
"""The checks take either: what was read quickly, or the model of whoever runs a decision again."""
