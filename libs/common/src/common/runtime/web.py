"""An ASGI application served inside the worker's own event loop."""

import asyncio
import contextlib
import socket
from typing import Any, Final

import uvicorn
from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

CONNECTIONS_MAX: Final = 4_096
NO_REQUEST_SPANS: Final[TelemetryConfig] = {"tracing": False, "metrics": False, "logs": False, "operation_spans": False}
"""FastAPI would trace every request, scrapes and health checks too. Traces begin where a request changes something."""


class _Server(uvicorn.Server):
    """Leaves signals to the worker that owns the loop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


class WebServer:
    """Binds first, so that a busy port is an error at start and port 0 is known before the first request.

    ``connections_max``: one more is answered with 503. ``options`` go to ``uvicorn.Config``; ``ws`` may name another
    WebSocket protocol class.
    """

    def __init__(
        self, app: FastAPI, host: str, port: int, connections_max: int = CONNECTIONS_MAX, **options: Any
    ) -> None:
        self._app = app
        ours = {"log_config": None, "access_log": False, "ws": "websockets-sansio", "lifespan": "on"}
        self._options = ours | {"limit_concurrency": connections_max} | options
        self._host = host
        self._wanted_port = port
        self._server: uvicorn.Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self.port = port

    async def start(self) -> None:
        """Returns when requests are accepted. Raises OSError where the address cannot be bound."""
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self._host, self._wanted_port))
        except OSError:
            listener.close()
            raise
        self.port = listener.getsockname()[1]
        config = uvicorn.Config(self._app, **self._options)
        server = _Server(config)
        self._server = server
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
