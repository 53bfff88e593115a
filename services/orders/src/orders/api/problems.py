"""Errors of the orders API beside those that every API has: denials, and what it waits for in vain."""

from collections.abc import Mapping
from typing import Any, Final

from common.contracts.controls import ControlResult
from common.contracts.events import TRANSIENT_REASONS, CommandResult, Decision
from common.problems import Problem
from common.problems import handle_problems as handle_common_problems
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from prometheus_client import Counter

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


def handle_problems(app: FastAPI) -> None:
    """Registers the one way errors are answered."""
    handle_common_problems(app)

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
