"""Load that the API takes on at a time, and of whom: fair shares of requests and of the event loop's time.

Whoever exceeds his share is told so with 429 long before everybody would get 503.
"""

import asyncio
import math
from collections.abc import Container
from typing import Any, Final
from urllib.parse import parse_qs

from common.access.http import is_foreign, is_identified
from common.problems import Problem
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send
from streams.service.http.identity import client_of
from streams.service.http.metering import metered
from streams.service.http.metrics import REFUSED
from streams.service.http.protocol import HOLD
from streams.service.http.shares import FairShares, ShareLimits, TooMuch

from orders.api.bodies import account_of_body, read_body, replayed, too_large
from orders.settings import OrdersSettings

_OPERATIONS: Final = ("/health/", "/metrics")
"""Operators look at an overloaded service, too: they have a share of their own, and need no room."""
_ORDERS: Final = "/v1/orders"
_WITH_AN_ORDER: Final = (_ORDERS, f"{_ORDERS}/what-if")
_ACCOUNTS: Final = "/v1/accounts/"
_CONTROLS: Final = "/v1/controls/"
"""To stop trading is what an overload may ask for: it has the share of operations."""
_OPERATIONS_PARTY: Final = "/operations"
_NOBODY: Final = ""
"""Party of requests that name no account, or one that is not known. No account has either name."""
_PROBLEM: Final = "tidemark.problem"
SETTLE_S: Final = 0.05
WRITE_S: Final = 0.0015
"""Seconds of lifecycle, venue and projection for an order or command in the same event loop, later and in batches: they
cannot be told apart by account, so they are added to each. An order takes 2.4 ms of the loop in all."""
REQUEST_S: Final = 0.0002
"""Seconds of any request in its connection, before and after the application: a third of an answer that there is no
such path."""
READ_WEIGHT: Final = 2.0
"""Time of the event loop for reads counts so many times: whoever reads can wait, and orders wait behind him."""
STRANGERS_READ_WEIGHT: Final = 6.0
"""The same for reads that name no known account: pages of the documentation, and paths that are not there."""


def share_limits(settings: OrdersSettings) -> ShareLimits:
    """One account that is alone may have four fifths of all that may wait for a verdict."""
    return ShareLimits(
        total_max=settings.http.requests_max,
        client_running_max=settings.inflight_max,
        account_running_max=max(1, settings.inflight_max * 4 // 5),
        running_share=settings.share.requests,
        busy_share=settings.share.busy,
        writes_share=settings.share.orders_per_s,
        waiting_share=settings.share.waiting,
        burst_s=settings.share.burst_ms / 1000,
        wait_s=settings.share.wait_ms / 1000,
    )


class LimitRequests:
    """ASGI middleware: reads a body of at most ``body_bytes_max`` bytes, then waits for the request's turn.

    Each of ``accounts``, those that are known to exist, has a share; all other names of a client have one together.

    Refusals pass the rules for pages of other origins, ``cors``, like every answer: else a page could not read them.
    """

    def __init__(
        self, app: ASGIApp, limits: ShareLimits, accounts: Container[str], body_bytes_max: int, cors: dict[str, Any]
    ) -> None:
        self._app = app
        self._accounts = accounts
        self._shares = FairShares(limits)
        self._body_bytes_max = body_bytes_max
        self._refusing = CORSMiddleware(_answer_problem, **cors)
        self._settled_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            account, receive = await self._account(scope, receive)
            if account != _OPERATIONS_PARTY and not self._has_share(account, scope):
                account = _NOBODY
            await self._in_turn(account, scope, receive, send)
        except Problem as problem:
            scope[_PROBLEM] = problem
            await self._refusing(scope, receive, send)
        except _Left:
            return

    def _has_share(self, account: str, scope: Scope) -> bool:
        """Nobody uses up the share of an account that is not his, or notices by the time of an answer whether it is."""
        return not (is_identified(scope) and is_foreign(scope, account)) and account in self._accounts

    async def _account(self, scope: Scope, receive: Receive) -> tuple[str, Receive]:
        """The account that the request names; "" where it names none. An order says it in its body."""
        path: str = scope["path"]
        if path.startswith(_OPERATIONS):
            return _OPERATIONS_PARTY, receive
        body = b""
        if scope["method"] == "POST":
            if _content_length(scope) > self._body_bytes_max:
                raise too_large(self._body_bytes_max)
            read = await read_body(receive, self._body_bytes_max)
            if read is None:
                raise _Left
            body, receive = read, replayed(read, receive)
        if path.startswith(_CONTROLS):
            return _OPERATIONS_PARTY, receive
        if path in _WITH_AN_ORDER and body:
            return account_of_body(scope, body), receive
        if path == _ORDERS:
            return parse_qs(scope["query_string"].decode("latin-1")).get("account_id", [""])[0], receive
        if path.startswith(f"{_ORDERS}/"):
            return path[len(_ORDERS) + 1 :].partition(".")[0], receive
        if path.startswith(_ACCOUNTS):
            return path[len(_ACCOUNTS) :].partition("/")[0], receive
        return "", receive

    async def _in_turn(self, account: str, scope: Scope, receive: Receive, send: Send) -> None:
        loop = asyncio.get_running_loop()
        writes = scope["method"] in ("POST", "DELETE")
        used_s = REQUEST_S + WRITE_S if writes else REQUEST_S
        weight = 1.0 if writes else STRANGERS_READ_WEIGHT if account == _NOBODY else READ_WEIGHT

        def use(step_s: float) -> None:
            nonlocal used_s
            used_s += step_s

        self._settle(loop.time())
        try:
            ticket = self._shares.enter(client_of(scope), account, loop.time(), writes=writes)
        except TooMuch as error:
            if account != _OPERATIONS_PARTY or error.is_greedy:
                raise _refusal(error, scope) from None
            await self._app(scope, receive, send)
            return
        try:
            if not ticket.turn.done():
                self._watch(loop)
            await ticket.turn
            await metered(self._app(scope, receive, send), use)  # type: ignore[arg-type]
        except TooMuch as error:
            raise _refusal(error, scope) from None
        finally:
            self._shares.leave(ticket, used_s * weight, loop.time())

    def _settle(self, now_s: float) -> None:
        if now_s - self._settled_s >= SETTLE_S:
            self._settled_s = now_s
            self._shares.settle(now_s)

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Time alone can free a turn, so somebody has to look while requests wait."""
        if self._timer is None:
            self._timer = loop.call_later(SETTLE_S, self._look)

    def _look(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        self._settle(loop.time())
        if self._shares.is_waited_for:
            self._watch(loop)


class _Left(Exception):
    """The client left before its body was there."""


async def _answer_problem(scope: Scope, receive: Receive, send: Send) -> None:
    problem: Problem = scope[_PROBLEM]
    await problem.response()(scope, receive, send)


def _refusal(error: TooMuch, scope: Scope) -> Problem:
    """Whoever is over his share is not read again before he may come again."""
    REFUSED.labels("share-exceeded" if error.is_greedy else "overloaded").inc()
    if not error.is_greedy:
        detail = f"{error}; this one was not begun."
        return Problem(503, "overloaded", "Too many requests at a time", detail, retry=True)
    hold = scope.get("extensions", {}).get(HOLD)
    if hold is not None:
        hold(error.again_s)
    detail, again_s = f"{error}; this one was not begun.", math.ceil(error.again_s)
    return Problem(429, "share-exceeded", "More than a fair share", detail, retry=True, retry_after_s=again_s)


def _content_length(scope: Scope) -> int:
    headers: dict[bytes, Any] = dict(scope["headers"])
    text = headers.get(b"content-length", b"0")
    return int(text) if text.isdigit() and len(text) < 20 else 0
