"""Routes that change accounts: open, fund, withdraw, resolve breaks."""

from typing import Annotated, Any

from common.contracts.events import (
    CommandResult,
    Fund,
    ReasonCode,
    ResolveBreak,
    SetAccount,
    Withdraw,
)
from common.contracts.values import AccountId, BreakId
from common.problems import Problem, problem_responses
from fastapi import APIRouter, Path, Request, Response

from orders.api.bodies import JsonRoute
from orders.api.owned import given_by, require_command
from orders.api.problems import denial
from orders.api.requests import (
    AccountRequest,
    FundRequest,
    ResolveBreakRequest,
    SentNs,
    WithdrawRequest,
    sent_or_now,
)
from orders.desk import Desk

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
    """Routes of commands that change an account."""
    router = APIRouter(prefix="/v1/accounts", tags=["accounts"], route_class=JsonRoute)

    async def answered(command: SetAccount | Fund | Withdraw | ResolveBreak, caller: Request) -> CommandResult:
        """The rights of the request are the middleware's; those of the command are looked at here."""
        changes_status = isinstance(command, SetAccount) and command.status is not None
        require_command(caller, f"{command.type}.status" if changes_status else command.type)
        return await desk.command(command.model_copy(update={"who": given_by(caller)}))

    @router.post("/{account_id}", summary="Open an account, or change its status", **_COMMAND)
    async def set_account(
        account_id: AccountPath, request: AccountRequest, caller: Request, response: Response, sent_ns: SentNs = None
    ) -> CommandResult:
        return _answered(await answered(request.command(account_id, sent_or_now(sent_ns)), caller), response)

    @router.post("/{account_id}/fund", summary="Bring cash or a position in", **_COMMAND)
    async def fund(
        account_id: AccountPath, request: FundRequest, caller: Request, response: Response, sent_ns: SentNs = None
    ) -> CommandResult:
        return _answered(await answered(request.command(account_id, sent_or_now(sent_ns)), caller), response)

    @router.post("/{account_id}/withdraw", summary="Take free cash out", **_COMMAND)
    async def withdraw(
        account_id: AccountPath, request: WithdrawRequest, caller: Request, response: Response, sent_ns: SentNs = None
    ) -> CommandResult:
        return _answered(await answered(request.command(account_id, sent_or_now(sent_ns)), caller), response)

    @router.post("/{account_id}/breaks/{break_id}", summary="Resolve an execution report that was refused", **_COMMAND)
    async def resolve_break(
        account_id: AccountPath,
        break_id: Annotated[BreakId, Path()],
        request: ResolveBreakRequest,
        caller: Request,
        response: Response,
        sent_ns: SentNs = None,
    ) -> CommandResult:
        command = request.command(account_id, break_id, sent_or_now(sent_ns))
        return _answered(await answered(command, caller), response)

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
    raise denial("command-denied", "The command was denied", "command_id", result)
