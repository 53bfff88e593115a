"""Routes of accounts: open, fund, withdraw, resolve breaks, read."""

from typing import Annotated, Any

from common.contracts.events import CommandResult, ExecutionReport, LedgerEntry, OrderEvent, ReasonCode
from common.contracts.values import AccountId, BreakId
from common.contracts.views import AccountData
from fastapi import APIRouter, Path, Query, Response

from orders.api.problems import Problem, problem_responses
from orders.api.requests import (
    AccountRequest,
    Before,
    FundRequest,
    ResolveBreakRequest,
    SentNs,
    WithdrawRequest,
    sent_or_now,
)
from orders.desk import Desk
from orders.queries import Page, Queries

AccountPath = Annotated[AccountId, Path()]
_COMMAND: dict[str, Any] = {
    "status_code": 201,
    "responses": {
        200: {"description": "done before under this command id: the answer again", "model": CommandResult},
        **problem_responses(
            status_400="malformed request",
            status_409="the id was used with another body; `conflict` names the first field that differs",
            status_422="denied; `reason` and the numbers `compared` say why",
            status_503="no answer in time, or not ready; see `type`",
        ),
    },
}


def commands_router(desk: Desk) -> APIRouter:
    """What changes an account."""
    router = APIRouter(prefix="/v1/accounts", tags=["accounts"])

    @router.post("/{account_id}", summary="Open an account, or change its status", **_COMMAND)
    async def set_account(
        account_id: AccountPath, request: AccountRequest, response: Response, sent_ns: SentNs = None
    ) -> CommandResult:
        return _answered(await desk.command(request.command(account_id, sent_or_now(sent_ns))), response)

    @router.post("/{account_id}/fund", summary="Bring cash or a position in", **_COMMAND)
    async def fund(
        account_id: AccountPath, request: FundRequest, response: Response, sent_ns: SentNs = None
    ) -> CommandResult:
        return _answered(await desk.command(request.command(account_id, sent_or_now(sent_ns))), response)

    @router.post("/{account_id}/withdraw", summary="Take free cash out", **_COMMAND)
    async def withdraw(
        account_id: AccountPath, request: WithdrawRequest, response: Response, sent_ns: SentNs = None
    ) -> CommandResult:
        return _answered(await desk.command(request.command(account_id, sent_or_now(sent_ns))), response)

    @router.post("/{account_id}/breaks/{break_id}", summary="Resolve an execution report that was refused", **_COMMAND)
    async def resolve_break(
        account_id: AccountPath,
        break_id: Annotated[BreakId, Path()],
        request: ResolveBreakRequest,
        response: Response,
        sent_ns: SentNs = None,
    ) -> CommandResult:
        command = request.command(account_id, break_id, sent_or_now(sent_ns))
        return _answered(await desk.command(command), response)

    return router


def _answered(result: CommandResult, response: Response) -> CommandResult:
    if result.accepted:
        response.status_code = 200 if result.repeat else 201
        return result
    members = result.model_dump(mode="json", exclude_none=True, include={"reason", "compared", "conflict"})
    whole = result.model_dump(mode="json", exclude_none=True)
    if result.reason is ReasonCode.DUPLICATE_ID:
        detail = f"command {result.command_id} exists already, with another {result.conflict or 'body'}"
        raise Problem(409, "command-id-conflict", "The id is taken", detail, result=whole, **members)
    reason = result.reason.value if result.reason else "unknown"
    raise Problem(422, "command-denied", "The command was denied", reason, result=whole, **members)


def accounts_router(queries: Queries, page_rows_max: int) -> APIRouter:
    """What is known of an account. Lists of an account that never existed are empty."""
    router = APIRouter(prefix="/v1/accounts", tags=["accounts"])
    limits = Annotated[int, Query(ge=1, le=page_rows_max)]
    first_rows = min(100, page_rows_max)

    @router.get(
        "/{account_id}", summary="Status, cash, positions", responses=problem_responses(status_404="no such account")
    )
    async def account(account_id: AccountPath) -> AccountData:
        known = await queries.account(account_id)
        if known is None:
            raise Problem(404, "account-unknown", "No such account", account_id)
        return known

    @router.get("/{account_id}/orders", summary="Orders, newest first")
    async def orders(account_id: AccountPath, before: Before = None, limit: limits = first_rows) -> Page[OrderEvent]:
        return await queries.orders(account_id, before, limit)

    @router.get("/{account_id}/executions", summary="Execution reports, newest first")
    async def executions(
        account_id: AccountPath, before: Before = None, limit: limits = first_rows
    ) -> Page[ExecutionReport]:
        return await queries.executions(account_id, before, limit)

    @router.get("/{account_id}/ledger", summary="Ledger entries, by sequence")
    async def ledger(
        account_id: AccountPath, after: Annotated[int, Query(ge=0)] = 0, limit: limits = first_rows
    ) -> Page[LedgerEntry]:
        return await queries.ledger(account_id, after, limit)

    return router
