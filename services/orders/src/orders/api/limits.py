"""What the API takes on at a time. More is refused at once, so that what is under way is not slowed down."""

from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orders.api.problems import Problem

_OPERATIONS: Final = ("/health/", "/metrics")
"""Operators look at an overloaded service, too."""


class LimitRequests:
    """ASGI middleware: 503 with Retry-After beyond ``requests_max`` at a time, 413 for a body of more than
    ``body_bytes_max`` bytes, which is not read."""

    def __init__(self, app: ASGIApp, requests_max: int, body_bytes_max: int) -> None:
        self._app = app
        self._requests_max = requests_max
        self._body_bytes_max = body_bytes_max
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(_OPERATIONS):
            await self._app(scope, receive, send)
        elif self._running >= self._requests_max:
            detail = f"{self._running} requests are being answered; this one was not begun."
            problem = Problem(503, "overloaded", "Too many requests at a time", detail, retry=True)
            await problem.response()(scope, receive, send)
        elif _content_length(scope) > self._body_bytes_max:
            await _too_large(self._body_bytes_max).response()(scope, receive, send)
        else:
            self._running += 1
            try:
                await self._app(scope, self._bounded(receive), send)
            finally:
                self._running -= 1

    def _bounded(self, receive: Receive) -> Receive:
        """For a body that does not say how long it is."""
        received = 0

        async def receiving() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._body_bytes_max:
                raise HTTPException(413, _too_large(self._body_bytes_max).details.detail)
            return message

        return receiving


def _too_large(bytes_max: int) -> Problem:
    return Problem(413, "content-too-large", "Content Too Large", f"a body has at most {bytes_max} bytes")


def _content_length(scope: Scope) -> int:
    headers: dict[bytes, Any] = dict(scope["headers"])
    text = headers.get(b"content-length", b"0")
    return int(text) if text.isdigit() else 0
