"""uvicorn's HTTP/1.1 connection, with an end to everything a peer can make it wait for or keep.

The parser (httptools, llhttp) keeps whatever it is given until a header ends, and uvicorn sets no time for a request to
come. Here bytes go to the parser in slices: once a request's head is larger than it may be, or a request takes longer
than it may, the client gets a problem and the connection ends. What follows a request that is being answered stays
unparsed until its turn, so that one connection never has more than one slice of requests waiting.
"""

import asyncio
from enum import Enum, auto
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from streams.service.http import metrics
from streams.service.http.answers import raw_problem
from streams.service.http.connections import Connections
from streams.service.http.identity import UNKNOWN, client_of_address

SLICE_BYTES: Final = 4_096
FRAMING_MAX: Final = 8
"""Bytes around each byte of a chunked body, in the long run: chunks of one byte have five."""
LINGER_S: Final = 1.0
"""A refused client may read its answer for so long: closing at once, with bytes unread, would destroy the answer."""
LINGER_BYTES_MAX: Final = 262_144
HOLD: Final = "tidemark.hold"
"""Name of the ASGI extension ``scope["extensions"][HOLD](seconds)``: after this answer the connection is not read for
so long. It holds up whoever asks again at once after a 429, and nobody else."""


class Phase(Enum):
    """Next event of a connection."""

    REQUEST = auto()
    HEAD = auto()
    BODY = auto()
    ANSWER = auto()
    END = auto()


class Refused(Exception):
    """The request is not taken. ``kind`` is of the table of problems."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection of a server whose connections are counted in ``connections``."""

    def __init__(self, connections: Connections, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self.limits = connections.limits
        self._table = connections
        self.deadline_s: float | None = None
        self._phase = Phase.REQUEST
        self._head_bytes = 0
        self._head_fed = 0
        self._body_bytes = 0
        self._framing = 0
        self._messages = 0
        self._unfed = bytearray()
        self._refusal: Refused | None = None
        self._raised: Refused | None = None
        self._running = False
        self._hold_s = 0.0
        self._held: asyncio.TimerHandle | None = None
        self._lingered = 0

    # --- life of a connection -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        client = client_of_address(self.client[0]) if self.client else UNKNOWN
        refused = self._table.admit(self, client)
        if refused is None:
            self._wait_for(Phase.REQUEST, self.limits.head_timeout_s)
        else:
            self._phase = Phase.END
            metrics.REFUSED.labels(refused).inc()
            transport.write(raw_problem(refused, "no more connections are taken from here now"))
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._table.release(self)
        self._phase = Phase.END
        self._unfed.clear()
        if self._held is not None:
            self._held.cancel()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self) -> None:
        self._table.release(self)
        self._phase = Phase.END
        super().handle_websocket_upgrade()

    def give_up(self) -> None:
        """Closes the idle connection: another needs its place."""
        self._phase = Phase.END
        self.transport.close()

    def expire(self) -> None:
        """Ends the wait: the awaited bytes did not come in time."""
        phase, self.deadline_s = self._phase, None
        metrics.CLOSED.labels(phase.name.lower()).inc()
        if self.flow.write_paused or phase is Phase.END:
            self.transport.abort()
        elif phase is Phase.REQUEST:
            self.give_up()
        else:
            self._refuse(Refused("request-timeout", "the request did not come in time"))

    def _abandon(self, cycle: Any) -> None:
        """Its body will not come: the application is told that the client has gone, and may not answer."""
        cycle.disconnected = True
        cycle.message_event.set()
        if self.pipeline:
            self.pipeline.popleft()  # it has not begun
        else:
            self._running = False

    def pause_writing(self) -> None:
        super().pause_writing()
        self.deadline_s = self.loop.time() + self.limits.stall_timeout_s

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._phase is Phase.REQUEST:
            self._wait_for(Phase.REQUEST, self.limits.idle_timeout_s)
        elif self._phase in (Phase.HEAD, Phase.BODY):
            self._wait_for(self._phase, self.limits.head_timeout_s)
        elif self._phase is Phase.ANSWER:
            self.deadline_s = None

    def _wait_for(self, phase: Phase, seconds: float | None) -> None:
        self._phase = phase
        self.deadline_s = None if seconds is None else self.loop.time() + seconds

    # --- bytes --------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._phase is Phase.END:
            self._lingered += len(data)
            if self._lingered > LINGER_BYTES_MAX:
                self.transport.abort()
            return
        self._unfed += data
        self._feed()

    def _feed(self) -> None:
        """Gives the parser what came, until a request waits behind the one that is being answered."""
        while self._unfed and not self.pipeline and self._held is None and self._phase is not Phase.END:
            piece = bytes(self._unfed[:SLICE_BYTES])
            del self._unfed[:SLICE_BYTES]
            phase, messages = self._phase, self._messages
            try:
                self.parser.feed_data(piece)
            except httptools.HttpParserUpgrade:
                self._upgrade()
            except httptools.HttpParserError:
                raised, self._raised = self._raised, None
                self._refuse(raised or Refused("bad-framing", "the bytes are no request of this protocol's"))
            else:
                if phase is self._phase and messages == self._messages:
                    self._count_fed(phase, len(piece))
        if self._unfed and self._phase is not Phase.END:
            self.flow.pause_reading()

    def _count_fed(self, phase: Phase, count: int) -> None:
        """Counts what the parser may have kept: a header that has not ended, or what is around the pieces of a body."""
        if phase is Phase.HEAD:
            self._head_fed += count
        elif phase is Phase.BODY:
            self._framing += count
        most = self.limits.head_bytes_max
        if self._head_fed > most or self._framing > most + FRAMING_MAX * self._body_bytes:
            self._refuse(self._head_too_large())

    def _upgrade(self) -> None:
        if not self._should_upgrade():
            # The parser stops behind a request to upgrade. It is answered as if it had not asked, and is the last one.
            self.cycle.keep_alive = False
            self._unfed.clear()
        elif self._running:
            self._refuse(Refused("bad-framing", "a WebSocket cannot begin behind a request that has no answer yet"))
        else:
            self.handle_websocket_upgrade()

    def _refuse(self, refused: Refused) -> None:
        """Answers once the requests before it have their answers, and ends the connection."""
        self._unfed.clear()
        if self._phase is Phase.BODY:
            if self.cycle.response_started:
                self.transport.abort()
                return
            self._abandon(self.cycle)
        if self._running:
            self._refusal = refused
            self._wait_for(Phase.END, None)
            return
        metrics.REFUSED.labels(refused.kind).inc()
        self.transport.write(raw_problem(refused.kind, refused.detail))
        self._linger()

    def _linger(self) -> None:
        """Ends the connection without destroying the answer; what still comes is dropped."""
        self._wait_for(Phase.END, LINGER_S)
        self._unfed.clear()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    # --- the parser's calls -------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._messages += 1
        self._head_bytes = self._head_fed = self._framing = self._body_bytes = 0
        self._table.busy(self)
        self.scope["extensions"] = {HOLD: self.hold}  # type: ignore[dict-item]
        self._wait_for(Phase.HEAD, self.limits.head_timeout_s)

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > self.limits.target_bytes_max:
            self._raise(Refused("target-too-long", f"at most {self.limits.target_bytes_max} bytes"))
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._count_head(len(name) + len(value) + 4)
        if len(self.headers) > self.limits.headers_max:
            self._raise(self._head_too_large())

    def on_headers_complete(self) -> None:
        if self.parser.get_http_version() not in ("1.0", "1.1"):
            self._raise(Refused("bad-framing", "the version is HTTP/1.1"))
        if not self.url.startswith(b"/"):
            self._raise(Refused("bad-framing", "the target of a request is a path"))
        if any(name == b"transfer-encoding" for name, _ in self.headers) and not self._is_chunked():
            self._raise(Refused("bad-framing", "of transfer encodings there is one, chunked"))
        super().on_headers_complete()
        self._wait_for(Phase.BODY, self.limits.body_timeout_s)

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._body_bytes += len(body)
        self._framing -= len(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if self._phase is Phase.BODY:
            self._wait_for(Phase.ANSWER, None)

    def _is_chunked(self) -> bool:
        """By one header and nothing else: the parser reads some others to the end of the connection."""
        found = [value.lower() for name, value in self.headers if name == b"transfer-encoding"]
        return found == [b"chunked"] and self.parser.get_http_version() == "1.1"

    def _count_head(self, count: int) -> None:
        self._head_bytes += count
        if self._head_bytes > self.limits.head_bytes_max:
            self._raise(self._head_too_large())

    def _head_too_large(self) -> Refused:
        limits = self.limits
        return Refused("header-too-large", f"at most {limits.head_bytes_max} bytes in {limits.headers_max} headers")

    def _raise(self, refused: Refused) -> None:
        """The parser wraps what its callbacks raise into an error of its own."""
        self._raised = refused
        raise refused

    # --- answers ------------------------------------------------------------------------------------------------

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = True
        super()._start_asgi_task(cycle, app)

    def hold(self, seconds: float) -> None:
        """After the answer to the request that is being answered, nothing is read for so long."""
        self._hold_s = seconds

    def on_response_complete(self) -> None:
        """In place of uvicorn's own, which would begin the next request at once."""
        self._running = False
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self._hold_s:
            self.flow.pause_reading()
            self._held = self.loop.call_later(self._hold_s, self._go_on)
            self._hold_s = 0.0
        else:
            self._go_on()
        if self._phase is Phase.ANSWER and not self.pipeline and not self._running:
            self._wait_for(Phase.REQUEST, self.limits.idle_timeout_s)
            self._table.idle(self)

    def _go_on(self) -> None:
        """The next request, if there is one."""
        self._held = None
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._refusal is not None:
            self._refuse(self._refusal)
        elif self._phase is Phase.BODY:
            self._linger()  # the answer came before the body had: nobody is going to read the rest
        elif self._unfed:
            self._feed()
