"""Cancels: what a request that waits for the gate is answered with, and the routes that cancel many orders."""

from typing import Annotated, Any, Final, Literal

from common.contracts.cancels import CancelOutcome
from common.contracts.events import Event, OrderState
from common.contracts.values import AccountId, OrderId, Side, Symbol, TimestampNs
from common.problems import Problem, problem_responses
from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from orders.api.owned import OwnedRoute
from orders.api.requests import SentNs, sent_or_now
from orders.closing import Closing
from orders.desk import Desk


class PendingCancel(Event):
    """The gate has yet to decide on orders that were entered before this request. It is kept for the one it names; if
    that is not among them, it has no effect, also on an order of this id that is entered later."""

    order_id: OrderId
    account_id: AccountId
    state: Literal[OrderState.PENDING_CANCEL] = OrderState.PENDING_CANCEL
    text: str = "the gate has yet to decide on the order"
    requested_ns: TimestampNs


class MassCancelResult(Event):
    """Fate of the open orders that a mass cancel concerns (FIX OrderMassCancelReport, 35=r)."""

    account_id: AccountId
    symbol: Symbol | None = None
    side: Side | None = None
    affected_count: int = Field(description="open orders that it concerns; at most 5,000 of them are named below")
    canceled: list[OrderId] = Field(description="canceled")
    closed: list[OrderId] = Field(description="filled, expired or rejected before the cancel reached the venue")
    pending: list[OrderId] = Field(description="the venue has been asked and has not answered yet")
    complete: bool = Field(description="false: the gate has yet to decide on orders that it may concern, too")


def too_many_pending() -> Problem:
    """The account has as many requests as are kept; this one was not."""
    return Problem(
        429,
        "too-many-pending-cancels",
        "Too many cancels wait for the gate",
        "The request has no effect. Ask again once the gate has decided on the account's orders.",
        retry=True,
    )


_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "every order that it concerns is closed", "model": MassCancelResult},
    202: {"description": "some are not closed yet; ask again, or read the orders", "model": MassCancelResult},
    **problem_responses(
        status_400="malformed request",
        status_429="as many mass cancels as are kept wait for the gate's decisions on this account's orders",
        status_503="no answer in time, or not ready; see `type`",
    ),
}
_SymbolQuery = Annotated[Symbol | None, Query(description="only orders of this symbol")]
_SideQuery = Annotated[Side | None, Query(description="only orders of this side")]


def mass_cancels_router(desk: Desk) -> APIRouter:
    """One request under two paths."""
    router = APIRouter(tags=["orders"], responses=_ANSWERS, route_class=OwnedRoute)

    @router.delete("/v1/accounts/{account_id}/orders", summary="Cancel every open order of an account")
    async def cancel_account_orders(
        account_id: Annotated[AccountId, Path()],
        response: Response,
        symbol: _SymbolQuery = None,
        side: _SideQuery = None,
        sent_ns: SentNs = None,
    ) -> MassCancelResult:
        closing = await desk.mass_cancel(account_id, symbol, side, sent_or_now(sent_ns))
        return _result(account_id, symbol, side, closing, response)

    @router.delete("/v1/orders", summary="Cancel every open order of an account")
    async def cancel_orders(
        account_id: Annotated[AccountId, Query()],
        response: Response,
        symbol: _SymbolQuery = None,
        side: _SideQuery = None,
        sent_ns: SentNs = None,
    ) -> MassCancelResult:
        return await cancel_account_orders(account_id, response, symbol, side, sent_ns)

    return router


def _result(
    account_id: str, symbol: str | None, side: Side | None, closing: Closing, response: Response
) -> MassCancelResult:
    if closing.outcome is CancelOutcome.TOO_MANY_PENDING:
        raise too_many_pending()
    response.status_code = 200 if closing.done else 202
    canceled, closed, pending = closing.by_state()
    return MassCancelResult(
        account_id=account_id,
        symbol=symbol,
        side=side,
        affected_count=closing.affected_count,
        canceled=canceled,
        closed=closed,
        pending=pending,
        complete=closing.outcome is CancelOutcome.DONE,
    )
