"""Clients that trade all through a storm: over HTTP and through the topic, asking again until they have an answer."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, takewhile
from math import inf
from types import TracebackType
from typing import Final, Self

from common.contracts.events import OrderIntent
from common.contracts.topics import ORDERS_INTENTS
from common.contracts.values import order_id_of
from streams.edges.sender import Sender
from streams.model.errors import Retriable
from streams.process.settings import KafkaSettings, Settings

from tidemark.load.clients import PersistentGateway
from tidemark.load.driver import Gateway, Load, Tally, Verdict
from tidemark.load.http import HttpGateway
from tidemark.load.plan import NS, Action, OrderBody, actions
from tidemark.load.topic import intents
from tidemark.quotes import QuoteBoard
from tidemark.state import Addresses

PERSIST_S: Final = 120.0
RESEND_S: Final = 0.5
SEND_TIMEOUT_S: Final = 15.0
IN_FLIGHT_MAX: Final = 5_000
VOLLEY_NS: Final = 400_000_000
"""One transaction per partition, stage and volley instead of one per intent: three brokers on two cores want that."""


class SteadySender:
    """Sends intents until the broker has each. What a broken connection left open is sent again: ids make that safe."""

    def __init__(self, settings: Settings) -> None:
        self._sender = Sender(settings, "chaos")
        self.acknowledged: set[str] = set()
        """Ids of the orders that the brokers said they have."""

    async def send(self, intent: OrderIntent) -> None:
        """Returns when the intent is safe in the log."""
        while True:
            try:
                async with asyncio.timeout(SEND_TIMEOUT_S):
                    await self._sender.send(ORDERS_INTENTS, intent.account_id.encode(), intent)
            except (Retriable, TimeoutError):
                await asyncio.sleep(RESEND_S)
            else:
                self.acknowledged.add(order_id_of(intent.account_id, intent.client_order_id))
                return

    async def start(self) -> None:
        """Raises Retriable where no broker answers."""
        await self._sender.start()

    async def stop(self) -> None:
        await self._sender.stop()


class Noting:
    """A gateway that remembers which orders were answered."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.answered: set[str] = set()

    async def submit(self, account: str, client_order_id: str, body: OrderBody, intended_ns: int) -> Verdict:
        """See ``Gateway``."""
        verdict = await self._gateway.submit(account, client_order_id, body, intended_ns)
        self.answered.add(order_id_of(account, client_order_id))
        return verdict

    async def cancel(self, account: str, order_id: str, intended_ns: int) -> None:
        """See ``Gateway``."""
        await self._gateway.cancel(account, order_id, intended_ns)


class Traffic:
    """A context. ``finish`` ends the sending and waits until every client has its answer."""

    def __init__(
        self,
        where: Addresses,
        gateway: HttpGateway,
        quotes: QuoteBoard,
        held: Mapping[str, Sequence[str]],
        seed: int,
        *,
        http_per_s: float,
        topic_per_s: float,
    ) -> None:
        self._held, self._seed = {name: tuple(symbols) for name, symbols in held.items()}, seed
        self._rates = (http_per_s, topic_per_s)
        self._quotes = quotes
        self._http = gateway
        self._gateway = Noting(PersistentGateway(self._http, PERSIST_S))
        self._load = Load(self._gateway, quotes, id_prefix=f"storm{seed}-http")
        self._sender = SteadySender(
            Settings(kafka=KafkaSettings(bootstrap=where.kafka_bootstrap), request_timeout_ms=5_000)
        )
        self._ended = False
        self._running: list[asyncio.Task[object]] = []
        self._in_flight: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self._sender.start()
        await self._http.__aenter__()
        over_http = self._load.run(self._until_ended(actions(self._seed, self._held, self._rates[0])), inf)
        self._running = [asyncio.create_task(over_http), asyncio.create_task(self._through_topic())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in (*self._running, *self._in_flight):
            task.cancel()
        await asyncio.gather(*self._running, *self._in_flight, return_exceptions=True)
        await self._sender.stop()
        await self._http.__aexit__(kind, error, trace)

    @property
    def acknowledged(self) -> set[str]:
        """Orders that some client was told of: the broker has it, or here is the verdict."""
        return self._sender.acknowledged | self._gateway.answered

    @property
    def tally(self) -> Tally:
        """Counts of the orders that were sent over HTTP."""
        return self._load.tally

    async def finish(self, timeout_s: float) -> Counter[str]:
        """Ends the sending; returns how many requests got no answer within the time, by what they got."""
        self._ended = True
        done, _ = await asyncio.wait(self._running, timeout=timeout_s)
        for task in done:
            task.result()
        waiting = {
            "nothing, through the topic": len(self._in_flight),
            "nothing, over HTTP": self._load.in_flight,
            "never sent": self.tally.overflow,
        }
        return +(self.tally.errors + Counter(waiting))

    def _until_ended(self, plan: Iterator[Action]) -> Iterator[Action]:
        return takewhile(lambda _: not self._ended, plan)

    async def _through_topic(self) -> None:
        """Open loop: an intent is due when it is due, whatever the brokers are doing. They go out in volleys."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        plan = self._until_ended(actions(self._seed + 1, self._held, self._rates[1]))
        for volley, due in groupby(plan, lambda action: action.at_ns // VOLLEY_NS):
            await asyncio.sleep(began_s + (volley + 1) * VOLLEY_NS / NS - loop.time())
            for intent in intents(iter(due), self._quotes, f"storm{self._seed}-topic"):
                if len(self._in_flight) < IN_FLIGHT_MAX:
                    task = asyncio.create_task(self._sender.send(intent))
                    self._in_flight.add(task)
                    task.add_done_callback(self._in_flight.discard)
        while self._in_flight:
            await asyncio.gather(*self._in_flight)
