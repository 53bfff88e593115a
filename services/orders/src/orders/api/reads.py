"""Routes that only read. Each answer says in ``Tidemark-As-Of`` where it is from and how old it may be."""

import time
from typing import Annotated, Any, Final, TypeVar

from common.contracts.events import ExecutionReport, LedgerEntry, OrderEvent
from common.contracts.values import AccountId, OrderId
from common.contracts.views import AccountData
from common.problems import Problem, problem_responses
from fastapi import APIRouter, Path, Query, Response
from pydantic import BeforeValidator, Field

from orders.api.owned import OwnedRoute
from orders.api.requests import After, Before, digits
from orders.profits import AccountProfit
from orders.queries import Page
from orders.reads import Answer, AsOf, Reads

T = TypeVar("T")
AS_OF: Final = "Tidemark-As-Of"
AS_OF_HEADER: Final[dict[str, Any]] = {
    AS_OF: {
        "description": "Where the answer is from and how old it may be; a dictionary of structured fields (RFC 9651). "
        "`source`: `projection` (PostgreSQL) or `tail` (the committed log). `time_ms`: what was committed before that "
        "time is in the answer, in ms since the epoch; `age_ms`: how long ago that is; both absent where it is not "
        "known. `behind`: something that concerns the answer is committed and not in it yet.",
        "schema": {"type": "string"},
        "example": "source=projection, time_ms=1764430000000, age_ms=81",
    }
}
AccountPath = Annotated[AccountId, Path()]
FIRST_ROWS: Final = 100
"""Rows of a page where the client does not say how many."""
OrderPath = Annotated[OrderId, Path(description="`{account_id}.{client_order_id}`")]


def _answers(**descriptions: str) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries of a read: every one carries the header, but those that say that there is nothing to say."""
    problems = problem_responses(
        status_400="malformed request",
        **descriptions,
        status_503="PostgreSQL cannot answer, or is behind with what was asked for; `trouble` says why",
    )
    if 404 in problems:
        problems[404]["headers"] = AS_OF_HEADER
    return {200: {"headers": AS_OF_HEADER}, **problems}


def reads_router(reads: Reads, page_rows_max: int) -> APIRouter:
    """Routes of reads of orders and accounts. Lists of an account that never existed are empty."""
    router = APIRouter(prefix="/v1", route_class=OwnedRoute)
    _add_orders(router, reads, page_rows_max)
    _add_accounts(router, reads, page_rows_max)
    return router


def _add_orders(router: APIRouter, reads: Reads, page_rows_max: int) -> None:
    limits = Annotated[int, Field(ge=1, le=page_rows_max), BeforeValidator(digits), Query()]
    first_rows = min(FIRST_ROWS, page_rows_max)

    @router.get(
        "/orders/{order_id}", tags=["orders"], summary="One order", responses=_answers(status_404="no such order")
    )
    async def order(order_id: OrderPath, response: Response) -> OrderEvent:
        answer = await reads.order(order_id)
        return _found(answer, response, Problem(404, "order-unknown", "No such order", order_id))

    @router.get(
        "/orders/{order_id}/events",
        tags=["orders"],
        summary="Every event of an order, by revision",
        responses=_answers(status_404="no such order"),
    )
    async def order_events(
        order_id: OrderPath, response: Response, after: After = 0, limit: limits = first_rows
    ) -> Page[OrderEvent]:
        answer = await reads.order_events(order_id, after, limit)
        return _found(answer, response, Problem(404, "order-unknown", "No such order", order_id))


def _add_accounts(router: APIRouter, reads: Reads, page_rows_max: int) -> None:
    limits = Annotated[int, Field(ge=1, le=page_rows_max), BeforeValidator(digits), Query()]
    first_rows = min(FIRST_ROWS, page_rows_max)

    @router.get(
        "/accounts/{account_id}",
        tags=["accounts"],
        summary="Status, cash, positions",
        responses=_answers(status_404="no such account"),
    )
    async def account(account_id: AccountPath, response: Response) -> AccountData:
        answer = await reads.account(account_id)
        return _found(answer, response, Problem(404, "account-unknown", "No such account", account_id))

    @router.get(
        "/accounts/{account_id}/orders", tags=["accounts"], summary="Orders, newest first", responses=_answers()
    )
    async def orders(
        account_id: AccountPath, response: Response, before: Before = None, limit: limits = first_rows
    ) -> Page[OrderEvent]:
        return _said(await reads.orders(account_id, before, limit), response)

    @router.get(
        "/accounts/{account_id}/executions",
        tags=["accounts"],
        summary="Execution reports, newest first",
        responses=_answers(),
    )
    async def executions(
        account_id: AccountPath, response: Response, before: Before = None, limit: limits = first_rows
    ) -> Page[ExecutionReport]:
        return _said(await reads.executions(account_id, before, limit), response)

    @router.get(
        "/accounts/{account_id}/ledger", tags=["accounts"], summary="Ledger entries, by sequence", responses=_answers()
    )
    async def ledger(
        account_id: AccountPath, response: Response, after: After = 0, limit: limits = first_rows
    ) -> Page[LedgerEntry]:
        return _said(await reads.ledger(account_id, after, limit), response)

    @router.get(
        "/accounts/{account_id}/profit",
        tags=["accounts"],
        summary="Positions with their cost, and what is realised",
        responses=_answers(),
    )
    async def profit(account_id: AccountPath, response: Response) -> AccountProfit:
        return _said(await reads.profit(account_id), response)


def _header(as_of: AsOf) -> str:
    return as_of.header(time.time_ns())


def _said(answer: Answer[T], response: Response) -> T:
    response.headers[AS_OF] = _header(answer.as_of)
    return answer.value


def _found(answer: Answer[T | None], response: Response, problem: Problem) -> T:
    """Raises the problem where there is nothing; that nothing was found is as of some time, too."""
    if answer.value is None:
        problem.headers[AS_OF] = _header(answer.as_of)
        raise problem
    response.headers[AS_OF] = _header(answer.as_of)
    return answer.value
