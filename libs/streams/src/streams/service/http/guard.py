"""Wrapper of every application of ours: names it answers to, headers of every answer, trace ids, our faults.

A page of another site can reach a server on this machine under a name of its own (DNS rebinding): the browser then
takes both for one origin. The name in ``Host`` gives it away.
"""

import re
from collections.abc import Iterable
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streams.process.logs import get_logger
from streams.process.trace_ids import HEADER, begin_request
from streams.service.http import metrics
from streams.service.http.answers import POLICY, SECURITY_HEADERS, STRICT_TRANSPORT, problem_body, problem_headers
from streams.service.http.problems import SERVER_PROBLEMS

_log = get_logger(__name__)
_HOST: Final = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?", re.ASCII)
_POLICY: Final = b"content-security-policy"
_IPV4_MAPPED: Final = "::ffff:"
"""Before the address of an IPv4 connection to a socket that listens on both."""
_FRAMES: Final = b"frame-ancestors"
_TLS: Final = ("https", "wss")


class Guard:
    """ASGI middleware around everything else: 400 and 421 by Host, 500 as a problem, security headers on every answer.

    A server also goes by the address that the client connected to: a page cannot be of that origin unless the server
    itself served it.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self._app = app
        self._hosts = frozenset(host.lower().encode() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        started = False
        trace_id = begin_request(scope["headers"]).encode()
        transport = (STRICT_TRANSPORT,) if scope.get("scheme") in _TLS else ()

        async def sending(message: Message) -> None:
            nonlocal started
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                started = True
                message = {
                    **message,
                    "headers": [*_secured(message.get("headers", [])), *transport, (HEADER, trace_id)],
                }
            await send(message)

        if refused := self._refused(scope):
            metrics.REFUSED.labels(refused).inc()
            detail = "`Host` names another server" if refused == "misdirected-request" else "give one Host: name[:port]"
            await _answer(scope, sending, refused, detail)
            return
        try:
            await self._app(scope, receive, sending)
        except ClientDisconnect:
            return  # nobody is there to be answered
        except Exception:
            _log.exception("request_failed", path=scope["path"])
            if scope["type"] == "websocket":
                raise
            if not started:
                await _answer(scope, sending, "internal-error", "The request failed by a fault of the service.")

    def _refused(self, scope: Scope) -> str | None:
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        match = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        if match is None:
            return "bad-host"
        name = match[1].lower().rstrip(b".")
        return None if name in self._hosts or name == _own_address(scope) else "misdirected-request"


def _own_address(scope: Scope) -> bytes:
    server = scope.get("server")
    address = str(server[0]).lower().removeprefix(_IPV4_MAPPED) if server else ""
    return f"[{address}]".encode() if ":" in address else address.encode()


def _secured(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Adds what is missing. A policy of the application's own keeps its words and gets ours about frames."""
    made = list(headers)
    present = {name.lower() for name, _ in made}
    for name, value in SECURITY_HEADERS:
        if name not in present:
            made.append((name, POLICY if name == _POLICY else value))
        elif name == _POLICY:
            made = [
                (each, b"%s; %s" % (text, value) if each.lower() == _POLICY and _FRAMES not in text else text)
                for each, text in made
            ]
    return made


async def _answer(scope: Scope, send: Send, kind: str, detail: str) -> None:
    body = problem_body(kind, detail)
    prefix = "websocket." if scope["type"] == "websocket" else ""
    start = {"type": f"{prefix}http.response.start", "status": SERVER_PROBLEMS[kind].status}
    await send({**start, "headers": problem_headers(kind, body)})
    await send({"type": f"{prefix}http.response.body", "body": body})
