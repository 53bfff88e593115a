"""Routes of limits and trading states: propose, approve, reject, halt, reduce, resume."""

from typing import Annotated, Any

from common.contracts.controls import ControlCommand, ControlResult
from common.contracts.events import ReasonCode
from common.contracts.values import AccountId, ClientOrderId
from common.problems import Problem, problem_responses
from fastapi import APIRouter, Path, Request, Response

from orders.api.bodies import JsonRoute
from orders.api.control_requests import ProposeRequest, ResolveRequest, StateRequest
from orders.api.owned import given_by, require_speaker
from orders.api.problems import denial
from orders.api.requests import SentNs, sent_or_now
from orders.desk import Desk

Authority = Annotated[AccountId, Path(description="the account, or `_firm` for all of them")]
_CONTROL: dict[str, Any] = {
    "status_code": 201,
    "responses": {
        200: {"description": "done before under this command id: the answer again", "model": ControlResult},
        **problem_responses(
            status_400="malformed request",
            status_409="the id was used with another body; `conflict` names the first field that differs",
            status_422="denied; `reason` and the numbers `compared` say why",
            status_503="no answer in time, or not ready; see `type`",
        ),
    },
}


def controls_router(desk: Desk) -> APIRouter:
    """Routes of commands that change limits and trading states."""
    router = APIRouter(prefix="/v1/controls", tags=["controls"], route_class=JsonRoute)

    async def answered(command: ControlCommand, caller: Request, response: Response) -> ControlResult:
        require_speaker(caller, command.by)
        return _answered(await desk.control(command.model_copy(update={"who": given_by(caller)})), response)

    @router.post("/{account_id}/proposals", summary="Propose limits, or an override for one order", **_CONTROL)
    async def propose_limits(
        account_id: Authority, request: ProposeRequest, caller: Request, response: Response, sent_ns: SentNs = None
    ) -> ControlResult:
        return await answered(request.command(account_id, sent_or_now(sent_ns)), caller, response)

    @router.post("/{account_id}/proposals/{proposal_id}", summary="Approve or reject a proposal", **_CONTROL)
    async def resolve_limits(
        account_id: Authority,
        proposal_id: Annotated[ClientOrderId, Path(description="the command that made the proposal")],
        request: ResolveRequest,
        caller: Request,
        response: Response,
        sent_ns: SentNs = None,
    ) -> ControlResult:
        command = request.command(account_id, proposal_id, sent_or_now(sent_ns))
        return await answered(command, caller, response)

    @router.post("/{account_id}/state", summary="Halt, reduce or resume trading", **_CONTROL)
    async def set_trading_state(
        account_id: Authority, request: StateRequest, caller: Request, response: Response, sent_ns: SentNs = None
    ) -> ControlResult:
        return await answered(request.command(account_id, sent_or_now(sent_ns)), caller, response)

    return router


def _answered(result: ControlResult, response: Response) -> ControlResult:
    if result.accepted:
        response.status_code = 200 if result.repeat else 201
        return result
    if result.reason is ReasonCode.DUPLICATE_ID:
        members = result.model_dump(mode="json", exclude_none=True, include={"reason", "compared", "conflict"})
        detail = f"command {result.command_id} exists already, with another {result.conflict or 'body'}"
        whole = result.model_dump(mode="json", exclude_none=True)
        raise Problem(409, "command-id-conflict", "The id is taken", detail, result=whole, **members)
    raise denial("command-denied", "The command was denied", "command_id", result)
