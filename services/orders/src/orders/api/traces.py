"""A server span around every request to the API: the trace from client to painted frame begins here.

A collector that decides at a trace's end keeps those that clients asked for, by ``tidemark.client_sampled``.
"""

from typing import Final

from opentelemetry.trace import SpanKind, Status, StatusCode
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streams.process.telemetry import continued_span, is_sampled

TRACED: Final = "/v1/"
CLIENT_SAMPLED: Final = "tidemark.client_sampled"


class TraceRequests:
    """ASGI middleware. Continues the caller's ``traceparent``; health checks, scrapes and pages are not traced."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(TRACED):
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        traceparent = headers.get(b"traceparent", b"").decode("ascii", "replace")
        name = f"HTTP {scope['method']}"
        with continued_span(name, traceparent, SpanKind.SERVER, ids={CLIENT_SAMPLED: is_sampled(traceparent)}) as span:

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
                span.set_attributes({name: str(value) for name, value in scope["path_params"].items()})
