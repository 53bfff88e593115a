"""Clocks of clients: their word is used to measure with, within a bound, and for nothing else.

A client whose clock is wrong may trade all the same: where ``Tidemark-Sent-Ns`` is too far from the server's clock, the
server's own time is recorded in its place, and the answer says by how much they differ.
"""

import time
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

SENT: Final = b"tidemark-sent-ns"
OFF: Final = b"tidemark-clock-off-ns"
DIGITS_MAX: Final = 19


class BoundSentTime:
    """ASGI middleware: drops a ``Tidemark-Sent-Ns`` more than ``within_s`` from now, and answers with
    ``Tidemark-Clock-Off-Ns``: how far ahead of the server's clock it was. Malformed values pass, to be refused."""

    def __init__(self, app: ASGIApp, within_s: float) -> None:
        self._app = app
        self._within_ns = round(within_s * 1e9)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        off_ns = _off_ns(scope) if scope["type"] == "http" else None
        if off_ns is None or abs(off_ns) <= self._within_ns:
            await self._app(scope, receive, send)
            return
        bounded = {**scope, "headers": [(name, value) for name, value in scope["headers"] if name != SENT]}

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), (OFF, b"%d" % off_ns)]}
            await send(message)

        await self._app(bounded, receive, sending)


def _off_ns(scope: Scope) -> int | None:
    """Ahead of now; None where there is no such header, or it is not one non-negative integer of 64 bits."""
    values = [value for name, value in scope["headers"] if name == SENT]
    if len(values) != 1 or not values[0].isdigit() or len(values[0]) > DIGITS_MAX or int(values[0]) >= 1 << 63:
        return None
    return int(values[0]) - time.time_ns()
