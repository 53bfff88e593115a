"""Bodies of requests: the contracts' messages without what the path or the service itself says."""

import time
from typing import Annotated, Any

from common.contracts.events import (
    AccountStatus,
    BreakAction,
    Event,
    Fund,
    OrderIntent,
    ResolveBreak,
    SetAccount,
    Withdraw,
)
from common.contracts.values import (
    INT64_MAX,
    AccountId,
    CashE4,
    ClientOrderId,
    OrderType,
    Quantity,
    RestingOrders,
    Side,
    Symbol,
    TimeInForce,
    TimestampNs,
)
from fastapi import Header, Query
from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints


def digits(value: Any) -> Any:
    """Only the usual form of an integer: pydantic would also take ``1_000``, `` 12`` and digits of other scripts."""
    if isinstance(value, str) and not (value.isascii() and value.isdigit()):
        raise ValueError("digits only")
    return value


_Digits = Annotated[int, Field(ge=0, le=INT64_MAX), BeforeValidator(digits)]
SentNs = Annotated[
    _Digits | None,
    Header(
        alias="Tidemark-Sent-Ns",
        description="When the sender meant to send it, ns since the epoch; default: on receipt. "
        "Latency is measured from it, and nothing else. Later than the receipt, it counts as the receipt; further than "
        "the bound from the server's clock, it is not used.",
    ),
]
Before = Annotated[_Digits | None, Query(description="`next` of the page before")]
After = Annotated[_Digits, Query(description="`next` of the page before; exclusive")]


def sent_or_now(sent_ns: int | None) -> int:
    """The sender's own time where it gave one, but none after now. ``BoundSentTime`` has dropped what is far off."""
    received_ns = time.time_ns()
    return received_ns if sent_ns is None else min(sent_ns, received_ns)


class OrderRequest(Event):
    """An order. `client_order_id` is the client's own and makes a retry safe: it stays the same order."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "account_id": "ACC0001",
                    "client_order_id": "order-1",
                    "symbol": "AAPL",
                    "side": "B",
                    "order_type": "LIMIT",
                    "time_in_force": "DAY",
                    "qty": 100,
                    "limit_price_e4": 1_500_000,
                }
            ]
        }
    )

    account_id: AccountId
    client_order_id: ClientOrderId
    symbol: Symbol
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce = TimeInForce.DAY
    qty: Quantity
    limit_price_e4: Quantity | None = Field(default=None, description="required for LIMIT, absent for MARKET")
    min_qty: Quantity | None = Field(
        default=None, description="IOC and FOK only: shares that trade at once, or none does (FIX MinQty, tag 110)"
    )
    expire_ns: TimestampNs | None = Field(
        default=None,
        description="GTD only, and required for it: when it expires, ns since the epoch, by the exchange's time "
        "(FIX ExpireTime, tag 126)",
    )

    def intent(self, sent_ns: int) -> OrderIntent:
        return OrderIntent(**self.model_dump(), sent_ns=sent_ns)


class AccountRequest(Event):
    """Opens the account, or changes its status. Without a status a new account is active, another stays as it is."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"command_id": "open-1", "status": "ACTIVE"}]})

    command_id: ClientOrderId
    status: AccountStatus | None = None
    resting: RestingOrders = Field(
        default=RestingOrders.CANCEL,
        description="what a suspension does with the open orders; with `cancel` the answer waits until they are closed",
    )

    def command(self, account_id: str, sent_ns: int) -> SetAccount:
        return SetAccount(account_id=account_id, sent_ns=sent_ns, **self.model_dump())


class FundRequest(Event):
    """Cash, or a position in `symbol`, from outside."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"command_id": "fund-1", "cash_e4": 1_000_000_000}]})

    command_id: ClientOrderId
    cash_e4: CashE4 = 0
    symbol: Symbol | None = None
    qty: Quantity = 0

    def command(self, account_id: str, sent_ns: int) -> Fund:
        return Fund(account_id=account_id, sent_ns=sent_ns, **self.model_dump())


class WithdrawRequest(Event):
    """Free cash goes out; denied, never partial, where it is short."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"command_id": "withdraw-1", "cash_e4": 10_000}]})

    command_id: ClientOrderId
    cash_e4: CashE4

    def command(self, account_id: str, sent_ns: int) -> Withdraw:
        return Withdraw(account_id=account_id, sent_ns=sent_ns, **self.model_dump())


class ResolveBreakRequest(Event):
    """Resolution of an execution report that was refused: BOOK what it says has happened, or BREAK it for good."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"command_id": "break-1", "action": "BOOK", "note": "told by the venue's desk"}]
        }
    )

    command_id: ClientOrderId
    action: BreakAction
    note: Annotated[str, StringConstraints(min_length=1, max_length=500)] = Field(description="why, for the record")

    def command(self, account_id: str, break_id: str, sent_ns: int) -> ResolveBreak:
        return ResolveBreak(account_id=account_id, break_id=break_id, sent_ns=sent_ns, **self.model_dump())
