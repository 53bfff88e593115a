"""Sends a plan when it is due, whether or not earlier orders were answered (open loop).

Latency counts from the INTENDED send time, so that a stall of the system shows in every order that should have gone out
meanwhile, and not only in the one that happened to wait (no coordinated omission).
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from math import inf
from typing import Any, Final, Protocol

from common.contracts.values import order_id_of

from tidemark.load.latency import LatencyClock
from tidemark.load.plan import NS, RESTING, WRONG, Action, ActionKind, OrderBody, Quote, order_of

IN_FLIGHT_MAX: Final = 2_000
OPEN_PER_ACCOUNT_MAX: Final = 64
EXAMPLES_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class Verdict:
    """The gate's committed answer, as the API gave it."""

    accepted: bool
    reason: str
    decided_ns: int


class GatewayError(RuntimeError):
    """The API gave no verdict: a refused connection, a timeout, a status that is none of an answer's."""


class Gateway(Protocol):
    """Takes orders and cancels, over HTTP or through the topic."""

    async def submit(self, account: str, client_order_id: str, body: OrderBody, intended_ns: int) -> Verdict:
        """Returns the committed verdict. Raises GatewayError where there is none."""
        ...

    async def cancel(self, account: str, order_id: str, intended_ns: int) -> None:
        """Returns when the request was answered, whatever the answer. Raises GatewayError."""
        ...


@dataclass(slots=True)
class Tally:
    """Counts of a load. ``unexpected`` lists wrong orders that were accepted all the same."""

    sent: int = 0
    orders: int = 0
    """Orders among what was sent; the rest are cancels."""
    accepted: int = 0
    denied: int = 0
    cancels: int = 0
    skipped: int = 0
    """Actions without a price or without an order to cancel."""
    overflow: int = 0
    """Actions not sent because too many were unanswered."""
    errors: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    unexpected: list[str] = field(default_factory=list)
    answered: LatencyClock = field(default_factory=LatencyClock)
    """Intended send time → verdict in the client's hands."""
    processed: LatencyClock = field(default_factory=LatencyClock)
    """Intended send time → decided by the gate."""


class Load:
    """One run of a plan."""

    def __init__(self, gateway: Gateway, quote: Callable[[str], Quote | None], *, id_prefix: str) -> None:
        self.tally = Tally()
        self._gateway = gateway
        self._quote = quote
        self._id_prefix = id_prefix
        self._open: dict[str, deque[str]] = {}
        self._in_flight: set[asyncio.Task[None]] = set()

    @property
    def in_flight(self) -> int:
        """Requests that wait for their answer."""
        return len(self._in_flight)

    async def run(self, plan: Iterator[Action], seconds: float, orders: float = inf) -> Tally:
        """Runs the plan for so many seconds or orders, and waits for the answers that are still due."""
        loop = asyncio.get_running_loop()
        began_s, began_ns = loop.time(), time.time_ns()
        try:
            for action in plan:
                if action.at_ns > seconds * NS or self.tally.orders >= orders:
                    break
                wait_s = began_s + action.at_ns / NS - loop.time()
                if wait_s > 0:
                    await asyncio.sleep(wait_s)
                self._launch(action, began_ns + action.at_ns)
            await self._drain()
        finally:
            for task in self._in_flight:
                task.cancel()
            await self._drain()
        return self.tally

    async def _drain(self) -> None:
        while self._in_flight:
            await asyncio.gather(*self._in_flight, return_exceptions=True)

    def _launch(self, action: Action, intended_ns: int) -> None:
        if len(self._in_flight) >= IN_FLIGHT_MAX:
            self.tally.overflow += 1
            return
        work = self._work(action, intended_ns)
        if work is None:
            self.tally.skipped += 1
            return
        self.tally.sent += 1
        self.tally.orders += action.kind is not ActionKind.CANCEL
        task = asyncio.create_task(work)
        self._in_flight.add(task)
        task.add_done_callback(self._in_flight.discard)

    def _work(self, action: Action, intended_ns: int) -> Coroutine[Any, Any, None] | None:
        if action.kind is ActionKind.CANCEL:
            orders = self._open.get(action.account)
            return self._cancel(action, orders.popleft(), intended_ns) if orders else None
        quote = self._quote(action.symbol)
        body = order_of(action, quote) if quote is not None else None
        return self._submit(action, body, intended_ns) if body is not None else None

    async def _submit(self, action: Action, body: OrderBody, intended_ns: int) -> None:
        client_order_id = f"{self._id_prefix}-{action.number}"
        try:
            verdict = await self._gateway.submit(action.account, client_order_id, body, intended_ns)
        except GatewayError as error:
            self.tally.errors[str(error)] += 1
            return
        self.tally.answered.record_ns(time.time_ns() - intended_ns)
        self.tally.processed.record_ns(verdict.decided_ns - intended_ns)
        self._count(action, verdict, order_id_of(action.account, client_order_id))

    def _count(self, action: Action, verdict: Verdict, order_id: str) -> None:
        if not verdict.accepted:
            self.tally.denied += 1
            self.tally.reasons[verdict.reason] += 1
            return
        self.tally.accepted += 1
        if action.kind in WRONG and len(self.tally.unexpected) < EXAMPLES_MAX:
            self.tally.unexpected.append(f"{order_id} was accepted though it is wrong: {action.kind}")
        if action.kind in RESTING:
            self._open.setdefault(action.account, deque(maxlen=OPEN_PER_ACCOUNT_MAX)).append(order_id)

    async def _cancel(self, action: Action, order_id: str, intended_ns: int) -> None:
        try:
            await self._gateway.cancel(action.account, order_id, intended_ns)
            self.tally.cancels += 1
        except GatewayError as error:
            self.tally.errors[str(error)] += 1
