"""An HTTP API that answers every request alike, and keeps what was asked."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


class Api(HTTPServer):
    """``answer``: status and body of the answers to come."""

    def __init__(self) -> None:
        self.answer: tuple[int, dict[str, Any]] = (201, {"accepted": True})
        self.asked: list[tuple[str, dict[str, Any]]] = []
        """Path and body of each request; an empty body where it had none."""
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        server = self.server
        assert isinstance(server, Api)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        server.asked.append((self.path, json.loads(body or b"{}")))
        status, answer = server.answer
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def answering() -> Iterator[Api]:
    with Api() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
