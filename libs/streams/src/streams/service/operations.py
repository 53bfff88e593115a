"""The pages that every service serves for its operators: metrics, health, and what describes its API."""

import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel

from streams.process import metrics
from streams.process.build_info import version_of

Check = Callable[[], tuple[bool, Any]]
OPERATORS_PAGES: Final = frozenset({"/metrics", "/health/live", "/health/ready", "/openapi.json", "/docs"})
"""Answered to whoever asks; at a port of their own, where the settings name one."""


class CheckReport(BaseModel):
    """One check."""

    ready: bool
    detail: Any = None


class Report(BaseModel):
    """Answer of ``/health/ready``."""

    service: str
    version: str
    """Version of the running release, like 0.2.0."""
    ready: bool
    checks: dict[str, CheckReport]


@dataclass
class Health:
    """Named readiness checks; each returns whether it is ready, and a detail for the reader."""

    service: str
    checks: dict[str, Check] = field(default_factory=dict)
    version: str = field(init=False)

    def __post_init__(self) -> None:
        self.version = version_of(self.service)

    def add(self, name: str, check: Check) -> None:
        self.checks[name] = check

    def report(self) -> tuple[bool, dict[str, Any]]:
        """Whether all are ready, and every check's detail."""
        results = {name: check() for name, check in self.checks.items()}
        ready = all(ok for ok, _ in results.values())
        details = {name: {"ready": ok, "detail": detail} for name, (ok, detail) in results.items()}
        return ready, {"service": self.service, "version": self.version, "ready": ready, "checks": details}


def operations_router(health: Health) -> APIRouter:
    """Live: the process answers. Ready: every check passes (else 503), with the details either way."""
    router = APIRouter(tags=["operations"])
    metrics.BUILD_INFO.labels(health.service, health.version, platform.python_version()).set(1)

    @router.get("/metrics", include_in_schema=False)  # Prometheus has a description of its own for what this is
    async def exposition() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    @router.get("/health/live", summary="Whether the process answers")
    async def live() -> dict[str, str]:
        return {"service": health.service, "version": health.version, "status": "live"}

    @router.get(
        "/health/ready",
        summary="Whether every check passes, with their details",
        response_class=JSONResponse,
        responses={200: {"model": Report}, 503: {"model": Report, "description": "some check does not pass"}},
    )
    async def ready() -> JSONResponse:
        ok, report = health.report()
        return JSONResponse(report, status_code=200 if ok else 503)

    return router
