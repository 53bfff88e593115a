"""Errors as problem details (RFC 9457), one shape for all of them."""

import re
from collections.abc import Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final

from common.contracts.controls import ControlResult
from common.contracts.events import TRANSIENT_REASONS, CommandResult, Decision
from common.contracts.problems import PROBLEMS, problem_type
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import Counter
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.routing import compile_path
from streams.process.trace_ids import MEMBER, current_trace_id
from streams.service.http.answers import MEDIA_TYPE, RETRY_AFTER_S

from orders.desk import NotReady, NoVerdict
from orders.trouble import DatabaseAway, Trouble

DEGRADED = Counter("tidemark_orders_reads_degraded_total", "Reads that were answered with 503, by why", ["trouble"])
SAID_TO_CLIENTS: Final[Mapping[Trouble, str]] = {
    Trouble.AWAY: "The read side is away",
    Trouble.SLOW: "The read side did not answer in time",
    Trouble.BUSY: "Too many reads wait for the read side",
    Trouble.READ_ONLY: "The read side takes no writes",
    Trouble.FULL: "The read side has no room left",
    Trouble.FORBIDDEN: "The read side refuses this service",
    Trouble.SCHEMA: "The read side has other tables than this service expects",
    Trouble.NEWER: "The read side is of a later version than this service",
    Trouble.UNEXPECTED: "The read side answered with an error",
}
"""Words for clients: PostgreSQL's own are for operators, since they name hosts and roles. Others name the request."""


class ProblemDetails(BaseModel):
    """RFC 9457; further members say what was compared, or which field is meant."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["urn:tidemark:problem:order-denied"])
    title: str
    status: int
    detail: str = ""
    trace_id: str | None = Field(default=None, description="as `Tidemark-Trace-Id`", pattern="^[0-9a-f]{32}$")


class Problem(Exception):
    """Raised by a route; answered as ``application/problem+json``."""

    def __init__(
        self,
        status: int,
        slug: str,
        title: str,
        detail: str = "",
        *,
        retry: bool = False,
        retry_after_s: int = RETRY_AFTER_S,
        **members: Any,
    ) -> None:
        super().__init__(title)
        self.details = ProblemDetails(type=problem_type(slug), title=title, status=status, detail=detail, **members)
        self.headers = {"Retry-After": str(retry_after_s)} if retry else {}

    def response(self) -> JSONResponse:
        content = self.details.model_dump(mode="json", exclude_none=True) | _trace()
        return JSONResponse(content, self.details.status, self.headers, media_type=MEDIA_TYPE)


def _trace() -> dict[str, str]:
    return {MEMBER: trace_id} if (trace_id := current_trace_id()) else {}


def denial(slug: str, title: str, id_field: str, answer: Decision | CommandResult | ControlResult) -> Problem:
    """422: the gate said no. Whether asking again can help, and how, is said with it."""
    reason = answer.reason.value if answer.reason else "unknown"
    transient = answer.reason in TRANSIENT_REASONS
    detail = f"{reason}. The id is used up: this answer stays."
    if transient:
        detail = f"{reason}. The reason is of the moment, but the id is used up: ask again later with a new {id_field}."
    whole = answer.model_dump(mode="json", exclude_none=True)
    members: dict[str, Any] = {name: whole[name] for name in ("reason", "compared", "conflict") if name in whole}
    kind = "decision" if isinstance(answer, Decision) else "result"
    members |= {"transient": transient, kind: whole}
    return Problem(422, slug, title, detail, retry=transient, **members)


def problem_responses(**descriptions: str) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries: ``problem_responses(status_404="no such order")``."""
    return {
        int(name.removeprefix("status_")): {
            "description": description,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}},
        }
        for name, description in descriptions.items()
    }


def _kind_of(status: int) -> str:
    """The kind of an error of the framework: by the status' own name, else the first that has the status."""
    name = HTTPStatus(status).phrase.lower().replace(" ", "-")
    same = [each for each, kind in PROBLEMS.items() if kind.status == status]
    return name if name in same else next(iter(same), "bad-request")


@lru_cache(maxsize=256)
def _pattern(template: str) -> re.Pattern[str]:
    return compile_path(template)[0]


def _allowed(request: Request) -> list[str]:
    """Every method that the description has for this path; the framework names those of the first route that fits."""
    paths: dict[str, dict[str, Any]] = request.app.openapi()["paths"]
    found: set[str] = set()
    for template, methods in paths.items():
        if template == request.url.path:
            return sorted(method.upper() for method in methods)
        if _pattern(template).match(request.url.path):
            found |= {method.upper() for method in methods}
    return sorted(found)


def handle_problems(app: FastAPI) -> None:
    """Registers the one way errors are answered."""

    @app.exception_handler(Problem)
    async def problem(_request: Request, error: Problem) -> JSONResponse:
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        errors = [{"at": list(one["loc"]), "message": one["msg"], "kind": one["type"]} for one in error.errors()]
        return Problem(400, "malformed-request", "The request is malformed", errors=errors).response()

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        name = _kind_of(error.status_code)
        answer = Problem(error.status_code, name, PROBLEMS[name].title, str(error.detail)).response()
        answer.headers.update(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and (allowed := _allowed(request)):
            answer.headers["Allow"] = ", ".join(allowed)
        return answer

    @app.exception_handler(DatabaseAway)
    async def reads_degraded(_request: Request, error: DatabaseAway) -> JSONResponse:
        DEGRADED.labels(error.trouble.value).inc()
        text = SAID_TO_CLIENTS.get(error.trouble, str(error))
        detail = f"{text}. Orders, cancels and commands are still taken and answered."
        return Problem(
            503, "reads-degraded", "Reads are degraded", detail, retry=True, trouble=error.trouble.value
        ).response()

    @app.exception_handler(NotReady)
    async def not_ready(_request: Request, error: NotReady) -> JSONResponse:
        return Problem(503, "not-ready", "The request was not sent", str(error), retry=True).response()

    @app.exception_handler(NoVerdict)
    async def no_verdict(_request: Request, _error: NoVerdict) -> JSONResponse:
        detail = (
            "The request may be in the log and is not lost: ask again with the same id and the same body "
            "to get the answer. It will not be carried out twice."
        )
        return Problem(503, "no-verdict", "No committed answer in time", detail, retry=True).response()
