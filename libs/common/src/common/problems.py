"""Errors as problem details (RFC 9457), one shape for all HTTP APIs of ours."""

import re
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.routing import compile_path
from streams.process.trace_ids import MEMBER, current_trace_id
from streams.service.http.answers import MEDIA_TYPE, RETRY_AFTER_S

from common.contracts.problems import PROBLEMS, problem_type


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
    """Registers the one way in which problems, and what the framework refuses, are answered."""

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
