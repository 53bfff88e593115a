"""Bodies of requests: the contracts' messages without what the path or the service itself says."""

import time
from typing import Annotated, Final

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
from pydantic import Field, StringConstraints

SentNs = Annotated[
    TimestampNs | None,
    Header(
        alias="Tidemark-Sent-Ns",
        strict=False,
        description="When the sender meant to send it, ns since the epoch; default: on receipt. "
        "Latency is measured from it, and nothing else; a time that is later than the receipt, or more than 10 s "
        "earlier, is not believed.",
    ),
]
Before = Annotated[int | None, Query(ge=0, le=INT64_MAX, description="`next` of the page before")]
After = Annotated[int, Query(ge=0, le=INT64_MAX, description="`next` of the page before")]


SENT_AGE_MAX_NS: Final = 10_000_000_000
"""An answer takes half of that at most. Whoever says more has another clock, and the fleet's figures are not his."""


def sent_or_now(sent_ns: int | None) -> int:
    """The sender's own time where it gave one that can be, by the clock of this process."""
    received_ns = time.time_ns()
    believed = sent_ns is not None and received_ns - SENT_AGE_MAX_NS <= sent_ns <= received_ns
    return sent_ns if believed and sent_ns is not None else received_ns


class OrderRequest(Event):
    """An order. `client_order_id` is the client's own and makes a retry safe: it stays the same order."""

    account_id: AccountId
    client_order_id: ClientOrderId
    symbol: Symbol
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce = TimeInForce.DAY
    qty: Quantity
    limit_price_e4: Quantity | None = Field(default=None, description="required for LIMIT, absent for MARKET")

    def intent(self, sent_ns: int) -> OrderIntent:
        return OrderIntent(**self.model_dump(), sent_ns=sent_ns)


class AccountRequest(Event):
    """Opens the account, or changes its status. Without a status a new account is active, another stays as it is."""

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

    command_id: ClientOrderId
    cash_e4: CashE4 = 0
    symbol: Symbol | None = None
    qty: Quantity = 0

    def command(self, account_id: str, sent_ns: int) -> Fund:
        return Fund(account_id=account_id, sent_ns=sent_ns, **self.model_dump())


class WithdrawRequest(Event):
    """Free cash goes out; denied, never partial, where it is short."""

    command_id: ClientOrderId
    cash_e4: CashE4

    def command(self, account_id: str, sent_ns: int) -> Withdraw:
        return Withdraw(account_id=account_id, sent_ns=sent_ns, **self.model_dump())


class ResolveBreakRequest(Event):
    """What becomes of an execution report that was refused: BOOK what it says has happened, or BREAK it for good."""

    command_id: ClientOrderId
    action: BreakAction
    note: Annotated[str, StringConstraints(min_length=1, max_length=500)] = Field(description="why, for the record")

    def command(self, account_id: str, break_id: str, sent_ns: int) -> ResolveBreak:
        return ResolveBreak(account_id=account_id, break_id=break_id, sent_ns=sent_ns, **self.model_dump())
