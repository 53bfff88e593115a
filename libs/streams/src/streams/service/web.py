"""An ASGI application served inside the worker's own event loop."""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.telemetry import TelemetryConfig
from starlette.types import ASGIApp

from streams.process.http_limits import HttpLimits
from streams.service.http.answers import MEDIA_TYPE, problem_body
from streams.service.http.connections import Connections
from streams.service.http.door import Door
from streams.service.http.guard import Guard
from streams.service.http.problems import SERVER_PROBLEMS
from streams.service.http.protocol import BoundedHttpProtocol

NO_REQUEST_SPANS: Final[TelemetryConfig] = {"tracing": False, "metrics": False, "logs": False, "operation_spans": False}
"""FastAPI would trace every request, scrapes and health checks too. Traces begin where a request changes something."""


async def _internal_error(_request: Request, _error: Exception) -> Response:
    """The framework's own answer is a line of text."""
    body = problem_body("internal-error", "The request failed by a fault of the service.")
    return Response(body, SERVER_PROBLEMS["internal-error"].status, media_type=MEDIA_TYPE)


class _Server(uvicorn.Server):
    """Leaves signals to the worker that owns the loop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


def _socket_for(host: str) -> socket.socket:
    """``::`` takes IPv4 clients, too: health checks ask 127.0.0.1, and so do people.

    The protocol is named, since asyncio sends at once (TCP_NODELAY) only where it is: the body of an answer is written
    behind its head, and would wait for the client to acknowledge that, which takes Linux 40 ms.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if listener.family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    return listener


class WebServer:
    """Binds first, so that a busy port is an error at start and port 0 is known before the first request.

    ``limits`` bound what clients may take. ``options`` go to ``uvicorn.Config``; ``ws`` names a WebSocket protocol
    class where the application has WebSockets. ``door`` lets some requests through, where not all are to be answered.
    """

    def __init__(
        self,
        app: FastAPI,
        host: str,
        port: int,
        limits: HttpLimits | None = None,
        door: Callable[[ASGIApp], Door] | None = None,
        **options: Any,
    ) -> None:
        self._connections = Connections(limits or HttpLimits())
        app.add_exception_handler(Exception, _internal_error)
        self.application = app
        let_in: ASGIApp = app
        if door is not None:
            let_in = door(app)
        self._guarded = Guard(let_in, self._connections.limits.hosts)
        ours = {
            "log_config": None,
            "access_log": False,
            "server_header": False,
            # A client is who its connection comes from, whatever its headers say.
            "proxy_headers": False,
            "http": partial(BoundedHttpProtocol, self._connections),
            "ws": "none",
            "lifespan": "on",
        }
        self._options = ours | options
        self._host = host
        self._wanted_port = port
        self._server: uvicorn.Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self.port = port

    async def start(self) -> None:
        """Returns when requests are accepted. Raises OSError where the address cannot be bound."""
        listener = _socket_for(self._host)
        try:
            listener.bind((self._host, self._wanted_port))
        except OSError:
            listener.close()
            raise
        self.port = listener.getsockname()[1]
        config = uvicorn.Config(self._guarded, **self._options)
        server = _Server(config)
        self._server = server
        self._connections.start()
        self._serving = asyncio.create_task(server.serve(sockets=[listener]), name="web")
        while not server.started:
            if self._serving.done():
                self._serving.result()
                raise OSError(f"the web server on {self._host}:{self._wanted_port} ended at start")
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Finishes open requests, then closes."""
        if self._server and self._serving:
            self._server.should_exit = True
            await self._serving
            await self._connections.stop()
