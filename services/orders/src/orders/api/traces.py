"""A server span around every request that changes something: the trace from client to painted frame begins here."""

from typing import Final

from common.runtime.telemetry import continued_span
from opentelemetry.trace import SpanKind, Status, StatusCode
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_TRACED: Final = frozenset({"POST", "DELETE"})


class TraceRequests:
    """ASGI middleware. Continues the caller's ``traceparent``; reads are not traced, health checks least of all."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in _TRACED:
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        traceparent = headers.get(b"traceparent", b"").decode("ascii", "replace")
        with continued_span(f"HTTP {scope['method']}", traceparent, SpanKind.SERVER) as span:

            async def sending(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= 500:
                        span.set_status(Status(StatusCode.ERROR))
                await send(message)

            await self._app(scope, receive, sending)
            if route := scope.get("route"):
                span.update_name(f"{scope['method']} {route.path}")
                span.set_attribute("http.route", route.path)
