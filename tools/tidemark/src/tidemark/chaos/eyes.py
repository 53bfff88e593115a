"""Observers of a storm: the committed log, the views in Redis, the rows in PostgreSQL, a client of push."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, Final, Self

import asyncpg
from common.contracts.events import Decision
from common.contracts.topics import (
    MD_MARKS,
    MD_TICKS,
    ORDERS_EVENTS,
    ORDERS_EXECUTIONS,
    ORDERS_INTENTS,
    RISK_DECISIONS,
    RISK_LEDGER,
    Topic,
)
from common.contracts.views import Envelope
from common.postgres import POSTGRES_AWAY
from redis.exceptions import RedisError
from streams.edges.reader import CommittedReader
from streams.model.errors import LogError
from streams.model.message import Message
from streams.process.cancellation import end
from streams.views.redis_client import redis_client

from tidemark.chaos.invariants import INTENTS_DEAD, Invariants
from tidemark.chaos.recovery import Lane, Pulses
from tidemark.options import reader_settings
from tidemark.quotes import quote_channels
from tidemark.state import Addresses
from tidemark.watcher import Watcher

FACTS: Final = (ORDERS_INTENTS, INTENTS_DEAD, RISK_DECISIONS, RISK_LEDGER, ORDERS_EXECUTIONS, ORDERS_EVENTS)
MARKET: Final = {MD_TICKS: "ingest", MD_MARKS: "signals"}
POLL_S: Final = 0.1
REOPEN_S: Final = 0.2
CLIENT_TIMEOUT_S: Final = 2.0
NS_PER_MS: Final = 1_000_000
APPLIED_AT_ONCE: Final = 200


class Eyes:
    """A context: while it is open ``invariants`` and ``pulses`` grow. ``on_broken`` is told of what is newly broken."""

    def __init__(
        self,
        where: Addresses,
        push_url: str,
        accounts: Sequence[str],
        credential: Callable[[], str] = lambda: "",
        on_broken: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.invariants = Invariants()
        self.pulses = Pulses()
        self._where = where
        self._on_broken = on_broken
        self._positions: dict[tuple[str, int], int] = {}
        self._watcher = Watcher(push_url, accounts, credential)
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self._watcher.__aenter__()
        looking = (self._follow_log(), self._polled(self._look_at_redis), self._polled(self._look_at_push))
        self._tasks = [asyncio.create_task(look, name="eyes") for look in looking]
        self._tasks.append(asyncio.create_task(self._follow_postgres(), name="eyes"))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await end(*self._tasks)
        await self._watcher.__aexit__(kind, error, trace)

    def check(self) -> None:
        """Raises what ended one of the eyes: a storm that nobody watches proves nothing."""
        for task in self._tasks:
            if task.done():
                task.result()

    # --- the log -----------------------------------------------------------------------------------------------------

    async def _follow_log(self) -> None:
        """Reads on from where it was, over every death of a broker: no record is seen twice, none is passed over."""
        while True:
            with contextlib.suppress(LogError):
                await self._read_on()
            await asyncio.sleep(REOPEN_S)

    async def _read_on(self) -> None:
        topics: tuple[Topic, ...] = (*FACTS, *MARKET)
        settings = reader_settings(self._where)
        async with CommittedReader(settings, topics, positions=self._positions, client_id="chaos") as reader:
            async for messages in reader.batches():
                await self._take(messages)
                self._positions = reader.positions

    async def _take(self, messages: Sequence[Message]) -> None:
        seen_ns = time.time_ns()
        topic = messages[0].topic
        if (service := MARKET.get(topic)) is not None:
            last = messages[-1]
            self.pulses.note(Lane(service, last.partition), seen_ns, last.timestamp_ms * NS_PER_MS)
            return
        before = self.invariants.count()
        for number, message in enumerate(messages, 1):
            self.invariants.apply(message)
            self._pulse(message, seen_ns)
            if number % APPLIED_AT_ONCE == 0:
                await asyncio.sleep(0)
        if self.invariants.count() != before:
            for name, findings in self.invariants.broken().items():
                if findings.count:
                    self._on_broken(f"{name}: {findings.count}, {findings.examples[-1]}")

    def _pulse(self, message: Message, seen_ns: int) -> None:
        with contextlib.suppress(ValueError):
            if message.topic is RISK_DECISIONS and isinstance(message.body, Decision):
                self.pulses.note(Lane("risk", message.partition), seen_ns, message.body.intent.sent_ns)
            elif message.topic is ORDERS_EVENTS:
                self.pulses.note(Lane("orders", message.partition), seen_ns, message.body.sent_ns)

    # --- copies of what the log says ---------------------------------------------------------------------------------

    async def _polled(self, look: Callable[[Any], Awaitable[Any]]) -> None:
        state: Any = None
        while True:
            state = await look(state)
            await asyncio.sleep(POLL_S)

    async def _look_at_push(self, last: tuple[int, int] | None) -> tuple[int, int]:
        """Frames that a WebSocket client was sent; each since the last look came of something later than that."""
        now_ns, messages = time.time_ns(), self._watcher.messages
        if last is not None and messages > last[0]:
            self.pulses.note(Lane("push"), now_ns, last[1])
        return messages, now_ns

    async def _look_at_redis(self, last_ns: int | None) -> int:
        """The newest quote."""
        newest_ns = last_ns or 0
        try:
            async with redis_client(
                self._where.redis_url, socket_connect_timeout=CLIENT_TIMEOUT_S, socket_timeout=CLIENT_TIMEOUT_S
            ) as redis:
                values: list[bytes | str] = await redis.hvals(quote_channels()[0])
        except (RedisError, OSError):
            return newest_ns
        stamps = [Envelope.model_validate_json(value).stamps.committed_ns for value in values]
        newest_ns = max([newest_ns, *stamps])
        if newest_ns > (last_ns or 0):
            self.pulses.note(Lane("redis"), time.time_ns(), newest_ns)
        return newest_ns

    async def _follow_postgres(self) -> None:
        """The order that was sent last, of those in the projection."""
        last_ns = 0
        while True:
            with contextlib.suppress(*POSTGRES_AWAY):
                connection = await asyncpg.connect(
                    self._where.postgres_dsn, timeout=CLIENT_TIMEOUT_S, command_timeout=CLIENT_TIMEOUT_S
                )
                try:
                    while True:
                        newest_ns = await connection.fetchval("SELECT max(sent_ns) FROM orders") or 0
                        if newest_ns > last_ns:
                            last_ns = newest_ns
                            self.pulses.note(Lane("postgres"), time.time_ns(), newest_ns)
                        await asyncio.sleep(POLL_S)
                finally:
                    connection.terminate()
            await asyncio.sleep(REOPEN_S)
