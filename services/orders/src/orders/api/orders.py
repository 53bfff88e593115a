"""Routes that change orders: submit, cancel."""

import asyncio
from typing import Annotated, Any, Final

from common.contracts.cancels import CancelOutcome, CancelReport
from common.contracts.events import Decision, OrderEvent, OrderState, ReasonCode
from common.contracts.span_ids import ids_of
from common.contracts.values import OrderId
from common.problems import Problem, problem_responses
from fastapi import APIRouter, Path, Response
from streams.process.telemetry import mark_span

from orders.api.bodies import JsonRoute
from orders.api.cancels import PendingCancel, too_many_pending
from orders.api.problems import denial
from orders.api.requests import OrderRequest, SentNs, sent_or_now
from orders.desk import Desk
from orders.domain.lifecycle import CLOSED
from orders.reads import Reads
from orders.trouble import DatabaseAway

LOOKUP_S: Final = 0.25
"""Longest wait of a cancel request for the read side before it goes to the log all the same."""

OrderPath = Annotated[OrderId, Path(description="`{account_id}.{client_order_id}`")]

_SUBMIT_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "accepted before: the first answer again", "model": Decision},
    **problem_responses(
        status_400="malformed request",
        status_409="the id was used with another body; `conflict` names the first field that differs",
        status_422="denied by the gate; `reason` and the numbers `compared` say why, `transient` whether the same "
        "order can be accepted later, under another id (then with `Retry-After`)",
        status_503="no verdict in time, or not ready; see `type`",
    ),
}
_CANCEL_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "the order is canceled", "model": OrderEvent},
    202: {
        "description": "the venue has been asked and has not answered yet; or the gate has yet to decide on orders "
        "entered before, and the request is kept for it",
        "model": OrderEvent | PendingCancel,
    },
    **problem_responses(
        status_404="no such order was entered before this request came in; it has no later effect",
        status_409="the order cannot be canceled; `order` shows it",
        status_429="as many cancels as are kept wait for the gate's decisions on this account's orders",
        status_503="no answer in time, or not ready; see `type`",
    ),
}


def orders_router(desk: Desk, reads: Reads) -> APIRouter:
    """The routes under ``/v1/orders``."""
    router = APIRouter(prefix="/v1/orders", tags=["orders"], route_class=JsonRoute)

    @router.post(
        "",
        status_code=201,
        summary="Submit an order and get the committed verdict",
        responses=_SUBMIT_ANSWERS,
    )
    async def submit(request: OrderRequest, response: Response, sent_ns: SentNs = None) -> Decision:
        intent = request.intent(sent_or_now(sent_ns))
        mark_span(ids_of(intent))
        decision = await desk.submit(intent)
        if not decision.accepted:
            raise _denied(decision)
        response.status_code = 200 if decision.repeat else 201
        response.headers["Location"] = f"/v1/orders/{decision.order_id}"
        return decision

    @router.delete(
        "/{order_id}",
        summary="Cancel what is open of an order",
        responses=_CANCEL_ANSWERS,
    )
    async def cancel(order_id: OrderPath, response: Response, sent_ns: SentNs = None) -> OrderEvent | PendingCancel:
        order = await _known(reads, order_id)
        if order is None or order.state not in CLOSED:
            account_id = order_id.split(".", 1)[0]
            answer = await desk.cancel(
                account_id, order_id, sent_or_now(sent_ns), known=order is not None, is_absent=reads.is_absent
            )
            if answer is None:
                raise _unknown(order_id)
            if isinstance(answer, CancelReport):
                response.status_code = 202
                return _pending(answer, order_id)
            order = answer
        if order.state is OrderState.CANCELED:
            return order
        if order.state is OrderState.PENDING_CANCEL:
            response.status_code = 202
            return order
        raise Problem(
            409,
            "not-cancelable",
            "The order cannot be canceled",
            order.text or f"the order is {order.state.name}",
            order=order.model_dump(mode="json", exclude_none=True),
        )

    return router


def _denied(decision: Decision) -> Problem:
    members = decision.model_dump(mode="json", exclude_none=True, include={"reason", "compared", "conflict"})
    whole = decision.model_dump(mode="json", exclude_none=True)
    if decision.reason is ReasonCode.DUPLICATE_ID:
        detail = f"order {decision.order_id} exists already, with another {decision.conflict or 'body'}"
        return Problem(409, "client-order-id-conflict", "The id is taken", detail, decision=whole, **members)
    return denial("order-denied", "The order was denied", "client_order_id", decision)


def _unknown(order_id: str) -> Problem:
    return Problem(404, "order-unknown", "No such order", order_id)


async def _known(reads: Reads, order_id: str) -> OrderEvent | None:
    """The order by its newest event; nothing where PostgreSQL is away or slow, for canceling must work without it."""
    if (order := reads.tail_event(order_id)) is not None:
        return order
    try:
        async with asyncio.timeout(LOOKUP_S):
            return await reads.queries.order(order_id)
    except (DatabaseAway, TimeoutError):
        return None


def _pending(report: CancelReport, order_id: str) -> PendingCancel:
    """Raises Problem where the request has no effect."""
    if report.outcome is CancelOutcome.PENDING:
        return PendingCancel(order_id=order_id, account_id=report.account_id, requested_ns=report.reported_ns)
    if report.outcome is CancelOutcome.TOO_MANY_PENDING:
        raise too_many_pending()
    raise _unknown(order_id)
