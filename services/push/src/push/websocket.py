"""uvicorn's WebSocket protocol, with a way to be rid of a peer that does not read.

Closing a connection waits until what was written has been read. A stalled peer never reads, so its socket and buffer
would stay for good: after a grace period the connection is aborted instead.
"""

from collections.abc import Callable
from typing import Any, Final, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

DROP: Final = "tidemark.drop"
"""Name of the ASGI extension: ``scope["extensions"][DROP](code, reason, grace_s)``."""
Drop = Callable[[int, str, float], None]
ABORT_GRACE_S: Final = 2.0


class DroppableProtocol(WebSocketsSansIOProtocol):
    """Offers ``drop`` to the application, and drops peers that do not answer pings."""

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if hasattr(self, "scope"):
            extensions = cast(dict[str, Any], self.scope["extensions"])
            extensions[DROP] = self.drop

    def drop(self, code: int, reason: str, grace_s: float) -> None:
        """Writes a close frame behind what is buffered, and aborts after ``grace_s`` seconds at the latest."""
        if self.transport.is_closing():
            self.transport.abort()
            return
        if not self.close_sent:
            self.conn.send_close(code, reason)
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
            if self.read_paused:  # or the peer's answer would never be seen
                self.read_paused = False
                self.transport.resume_reading()
        self._abort_after(grace_s)

    def shutdown(self) -> None:
        super().shutdown()
        self._abort_after(ABORT_GRACE_S)

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self._abort_after(ABORT_GRACE_S)

    def _abort_after(self, grace_s: float) -> None:
        def abort() -> None:
            self.transport.abort()

        if self.close_timer is not None:
            self.close_timer.cancel()
        self.close_timer = self.loop.call_later(grace_s, abort)


def dropper(scope: Any) -> Drop | None:
    """The extension of a WebSocket's ASGI scope; None under another server."""
    drop: Drop | None = scope.get("extensions", {}).get(DROP)
    return drop
