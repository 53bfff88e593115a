"""Errors as problem details (RFC 9457), one shape for all of them."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from orders.database import DatabaseAway
from orders.desk import NotReady, NoVerdict

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 1


class ProblemDetails(BaseModel):
    """RFC 9457; further members say what was compared, or which field is meant."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["urn:tidemark:problem:order-denied"])
    title: str
    status: int
    detail: str = ""


class Problem(Exception):
    """Raised by a route; answered as ``application/problem+json``."""

    def __init__(
        self, status: int, slug: str, title: str, detail: str = "", *, retry: bool = False, **members: Any
    ) -> None:
        super().__init__(title)
        self.details = ProblemDetails(
            type=f"urn:tidemark:problem:{slug}", title=title, status=status, detail=detail, **members
        )
        self.headers = {"Retry-After": str(RETRY_AFTER_S)} if retry else {}

    def response(self) -> JSONResponse:
        content = self.details.model_dump(mode="json", exclude_none=True)
        return JSONResponse(content, self.details.status, self.headers, media_type=MEDIA_TYPE)


def problem_responses(**descriptions: str) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries: ``problem_responses(status_404="no such order")``."""
    return {
        int(name.removeprefix("status_")): {
            "description": description,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}},
        }
        for name, description in descriptions.items()
    }


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
    async def refused(_request: Request, error: HTTPException) -> JSONResponse:
        title = HTTPStatus(error.status_code).phrase
        answer = Problem(error.status_code, title.lower().replace(" ", "-"), title, str(error.detail)).response()
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(DatabaseAway)
    async def database_away(_request: Request, _error: DatabaseAway) -> JSONResponse:
        detail = "The read side is away; orders are still taken and answered."
        return Problem(503, "reads-unavailable", "Reads are unavailable", detail, retry=True).response()

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
