"""Route that asks the gate for its verdict on an order that nobody sends."""

from http import HTTPStatus
from typing import Final

from common.contracts.what_ifs import WhatIfAnswer
from common.problems import problem_responses
from fastapi import APIRouter
from starlette.exceptions import HTTPException

from orders.api.bodies import JsonRoute
from orders.api.requests import OrderRequest, sent_or_now
from orders.desk import Desk

_ANSWERS: Final = problem_responses(
    status_400="malformed request", status_503="no answer in time, or not ready; see `type`"
)


def what_if_router(desk: Desk) -> APIRouter:
    """One route. It stands before those of an order's id, which its path looks like."""
    router = APIRouter(prefix="/v1/orders/what-if", tags=["orders"], route_class=JsonRoute)

    @router.post(
        "",
        summary="What the gate would say of an order, and how much of each limit is left; nothing is reserved",
        responses=_ANSWERS,
    )
    async def what_if(request: OrderRequest) -> WhatIfAnswer:
        return await desk.what_if(request.intent(sent_or_now(None)))

    @router.api_route("", methods=["GET", "HEAD", "DELETE"], include_in_schema=False)
    async def method_not_allowed() -> None:
        raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED)

    return router
