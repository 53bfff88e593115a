"""Everything that push serves over HTTP: the WebSocket, the dashboard, the latency figures, the operators' pages."""

from typing import Any, Final
from urllib.parse import urlsplit

from common.access.http import Me, RequireIdentity, identity_of, is_foreign, is_identified
from fastapi import FastAPI, HTTPException, Request, Response, WebSocket
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles
from redis.exceptions import RedisError
from starlette.types import Scope as AsgiScope
from streams.process.logs import get_logger
from streams.service.http.identity import client_of
from streams.service.operations import Health, operations_router
from streams.service.web import NO_REQUEST_SPANS

from push import metrics
from push.connection import Connection
from push.service import PushService, TurnedAway
from push.settings import PushSettings
from push.visitor import Visitor

_log = get_logger(__name__)
RETRY_AFTER_S: Final = 5


class Dashboard(StaticFiles):
    """Built files: those under ``assets/`` carry a hash in their names, everything else is asked for again.

    The page runs its own script and nothing else, and speaks to push, to the orders API and to the issuer.
    """

    def __init__(self, settings: PushSettings) -> None:
        super().__init__(directory=settings.static_dir, html=True)
        self._speaks_to = " ".join(filter(None, map(_origin, (settings.orders_url, settings.access.issuer))))

    def file_response(self, full_path: Any, stat_result: Any, scope: AsgiScope, status_code: int = 200) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        fixed = "/assets/" in scope["path"]
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if fixed else "no-cache"
        response.headers["Content-Security-Policy"] = self._policy(scope)
        return response

    def _policy(self, scope: AsgiScope) -> str:
        """``'self'`` is not the page's own WebSocket in every browser, so that it is named."""
        host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
        sockets = f"ws://{host} wss://{host}" if host else ""
        return (
            "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self'; "
            f"connect-src 'self' {sockets} {self._speaks_to}; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'"
        )


def _origin(url: str) -> str:
    """``https://host:port`` of a URL; empty where there is none."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""


def build_web(service: PushService, settings: PushSettings, health: Health) -> FastAPI:
    """The ASGI application. Opens nothing by itself."""
    web = FastAPI(title="Tidemark push", docs_url=None, redoc_url=None, telemetry=NO_REQUEST_SPANS)
    web.include_router(operations_router(health))

    @web.websocket("/ws")
    async def websocket(socket: WebSocket) -> None:
        if not _origin_allowed(socket, settings):
            await socket.close(code=1008, reason="origin not allowed")
            return
        try:
            share = service.admit(socket.client.host if socket.client else "")
        except TurnedAway as away:
            metrics.TURNED_AWAY.labels("address" if away.share_is_used else "full").inc()
            await socket.send_denial_response(_denial(away))
            return
        identity = identity_of(socket.scope) if is_identified(socket.scope) else None
        visitor = Visitor(service.admission, client_of(socket.scope), identity)
        connection = Connection(socket, settings, service.hub, service.feed, service.latency, share, visitor)
        await service.serve(connection)

    @web.get("/config.json")
    async def config() -> dict[str, Any]:
        """Configuration that the dashboard reads before it starts."""
        found: dict[str, Any] = {"orders_url": settings.orders_url}
        if settings.lease_grace_s:
            found["lease_grace_ms"] = settings.lease_grace_s * 1_000
        if settings.access.issuer:
            found["sign_in"] = {"issuer": settings.access.issuer, "client_id": settings.sign_in_client}
        return found

    _add_answers(web, service)
    web.add_middleware(RequireIdentity, service="push", admission=service.admission)
    if settings.static_dir.is_dir():
        web.mount("/", Dashboard(settings), name="dashboard")
    else:

        @web.get("/")
        async def unbuilt() -> Response:
            return PlainTextResponse("The dashboard is not built: run `make web`.\n", status_code=503)

    return web


def _add_answers(web: FastAPI, service: PushService) -> None:
    """Adds the routes of all that is asked for once, beside the WebSocket."""

    @web.get("/v1/me")
    async def me(request: Request) -> Me:
        """Name and rights of the caller."""
        return Me.of(identity_of(request.scope))

    @web.get("/v1/latency")
    async def latency(window: str = "total") -> dict[str, Any]:
        """Per path, milliseconds from the origin by each clock; ``window``: total, recent (30 to 60 s) or views."""
        return service.figures(window)

    @web.get("/v1/views")
    async def views() -> dict[str, Any]:
        """By writer: how old what is shown is, whether it is complete, and what Redis does with it."""
        return service.views()

    @web.get("/v1/accounts")
    async def accounts(request: Request) -> dict[str, list[str]]:
        """Accounts that have a view in Redis, as far as the caller's right reaches."""
        try:
            found = await service.feed.accounts()
            return {"accounts": [each for each in found if not is_foreign(request.scope, each)]}
        except (RedisError, OSError) as error:
            _log.warning("accounts_unknown", error=str(error))
            raise HTTPException(503, "views cannot be read") from error


def _denial(away: TurnedAway) -> Response:
    """Instead of the handshake: 429 where the address has had its share, 503 where push is full."""
    status = 429 if away.share_is_used else 503
    problem = {"type": "about:blank", "title": away.reason, "status": status}
    return JSONResponse(
        problem, status, headers={"Retry-After": str(RETRY_AFTER_S)}, media_type="application/problem+json"
    )


def _origin_allowed(socket: WebSocket, settings: PushSettings) -> bool:
    """Browsers say which page connects: only ours may. Other clients send no origin."""
    origin = socket.headers.get("origin")
    if origin is None or "*" in settings.allowed_origins or origin in settings.allowed_origins:
        return True
    return urlsplit(origin).netloc == socket.headers.get("host")
