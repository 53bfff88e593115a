"""Routes by which whoever trades keeps its orders open, and has them canceled once it is gone."""

from typing import Annotated, Any, Final

from common.contracts.cancels import CancelOutcome, CancelReport
from common.contracts.events import Event
from common.contracts.leases import GraceMs, LeaseId, LeaseKept, LeaseReleased, OrderPrefix
from common.contracts.values import AccountId
from common.problems import Problem, problem_responses
from fastapi import APIRouter, Path
from pydantic import ConfigDict, Field

from orders.api.bodies import JsonRoute
from orders.api.requests import SentNs, sent_or_now
from orders.desk import Desk
from orders.domain.leases import LEASES_MAX


class LeaseRequest(Event):
    """Begins a lease, or keeps it for another `grace_ms`. Ask again at a third of that."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"order_prefix": "desk-7-", "grace_ms": 15_000}]})

    order_prefix: OrderPrefix = Field(
        default="", description="it stands for the orders whose `client_order_id` begins so; empty: for all of them"
    )
    grace_ms: GraceMs = Field(description="without another request for so long, those orders are canceled")


class Lease(Event):
    """A lease after the request."""

    account_id: AccountId
    lease_id: LeaseId
    held: bool = Field(description="false: released; its orders stay")


_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    **problem_responses(
        status_400="malformed request",
        status_429=f"the account has {LEASES_MAX} other leases",
        status_503="no answer in time, or not ready; see `type`: ask again, for the lease may not be held",
    ),
}


def leases_router(desk: Desk) -> APIRouter:
    """Two requests under one path."""
    router = APIRouter(
        prefix="/v1/accounts/{account_id}/leases", tags=["orders"], responses=_ANSWERS, route_class=JsonRoute
    )

    @router.post("/{lease_id}", summary="Keep orders open, which are canceled once nobody asks this any more")
    async def keep_lease(
        account_id: Annotated[AccountId, Path()],
        lease_id: Annotated[LeaseId, Path()],
        request: LeaseRequest,
        sent_ns: SentNs = None,
    ) -> Lease:
        kept = LeaseKept(
            account_id=account_id,
            lease_id=lease_id,
            sent_ns=sent_or_now(sent_ns),
            **request.model_dump(),
        )
        return _lease(await desk.lease(kept), lease_id, held=True)

    @router.delete("/{lease_id}", summary="Give a lease up; its orders stay")
    async def release_lease(
        account_id: Annotated[AccountId, Path()],
        lease_id: Annotated[LeaseId, Path()],
        sent_ns: SentNs = None,
    ) -> Lease:
        released = LeaseReleased(account_id=account_id, lease_id=lease_id, sent_ns=sent_or_now(sent_ns))
        return _lease(await desk.lease(released), lease_id, held=False)

    return router


def _lease(report: CancelReport, lease_id: str, *, held: bool) -> Lease:
    if report.outcome is CancelOutcome.TOO_MANY_PENDING:
        detail = f"The account has {LEASES_MAX} other leases. Those that nobody keeps lapse by themselves."
        raise Problem(429, "too-many-leases", "Too many leases", detail, retry=True)
    return Lease(account_id=report.account_id, lease_id=lease_id, held=held)
