"""A worker of the orders service as a process, and what surrounds it: the test plays gate, market and client."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
from common.contracts.events import (
    CASH,
    AccountStatus,
    Book,
    CommandResult,
    EntryKind,
    LedgerEntry,
    OrderIntent,
    Posting,
    ReasonCode,
)
from common.contracts.market import MARK, decode_rows, mark_clock_key
from common.contracts.topics import (
    MD_MARKS,
    ORDERS_INTENTS,
    RISK_COMMANDS,
    RISK_DECISIONS,
    RISK_LEDGER,
)
from common.fleet_topics import create_topics
from parts import LocalStack
from parts.ports import free_port
from parts.processes import Process
from streams.edges.reader import CommittedReader
from streams.edges.sender import Sender
from streams.model.message import Message
from streams.process.settings import KafkaSettings, RedisSettings, Settings

ORDER = {
    "account_id": "A",
    "symbol": "AAPL",
    "side": "B",
    "order_type": "LIMIT",
    "qty": 100,
    "limit_price_e4": 1_000_000,
}
DEADLINE_S = 60
EXCHANGE_TIME = ZoneInfo("America/New_York")


class Gate:
    """Says yes to every intent with an even client order id, remembers ids, and answers commands."""

    def __init__(self, make: Any, sender: Sender) -> None:
        self._make = make
        self._sender = sender
        self._seen: dict[str, OrderIntent] = {}
        self.answering = True

    async def answer(self, message: Message) -> None:
        body, key = message.body, message.key
        assert key is not None
        if message.topic is RISK_COMMANDS:
            suspends = getattr(body, "status", None) is AccountStatus.SUSPENDED
            answer: Any = CommandResult(
                account_id=body.account_id,
                command_id=body.command_id,
                accepted=True,
                status=getattr(body, "status", None) or AccountStatus.ACTIVE,
                resting=getattr(body, "resting", None) if suspends else None,
                account_seq=1,
                decided_ns=1,
                command_partition=message.partition,
                command_offset=message.offset,
            )
            legs = (
                Posting(book=Book.AVAILABLE, asset=CASH, amount=5),
                Posting(book=Book.EXTERNAL, asset=CASH, amount=-5),
            )
            entry = LedgerEntry(account_id=body.account_id, seq=1, kind=EntryKind.FUND, postings=legs, booked_ns=1)
            await self._sender.send(RISK_LEDGER, key, entry)
        else:
            place = {"intent_partition": message.partition, "intent_offset": message.offset}
            first = self._seen.setdefault(body.client_order_id, body)
            denied = ReasonCode.CASH_INSUFFICIENT if int(body.client_order_id) % 2 else None
            same = first.model_copy(update={"sent_ns": 0}) == body.model_copy(update={"sent_ns": 0})
            answer = self._make.decision(
                body, denied if same else ReasonCode.DUPLICATE_ID, **place, repeat=same and first is not body
            )
        if self.answering:
            await self._sender.send(RISK_DECISIONS, key, answer)

    async def run(self, settings: Settings) -> None:
        async with CommittedReader(settings, [ORDERS_INTENTS, RISK_COMMANDS], from_beginning=True) as reader:
            async for messages in reader.batches():
                for message in messages:
                    await self.answer(message)


ALL_ROLES = "api,worker,projection"


class Fleet:
    """The service, in one process or in one for each role, its client, and what surrounds it."""

    def __init__(self, parts: LocalStack, directory: Path, make: Any, postgres_dsn: str, **env: str) -> None:
        addresses = parts.addresses
        self.parts = parts
        self.settings = Settings(
            kafka=KafkaSettings(bootstrap=addresses.kafka_bootstrap), redis=RedisSettings(url=addresses.redis_url)
        )
        self.sender = Sender(self.settings, "test")
        self.gate = Gate(make, self.sender)
        self.make = make
        self._ports: dict[str, int] = {}
        """Roles of a process → its port."""
        self._directory = directory
        api_port = free_port()
        self._env = {
            "TIDEMARK_KAFKA_BOOTSTRAP": addresses.kafka_bootstrap,
            "TIDEMARK_REDIS_URL": addresses.redis_url,
            "TIDEMARK_POSTGRES_DSN": postgres_dsn,
            "TIDEMARK_DATA_DIR": str(directory / "data"),
            "TIDEMARK_WORKER_ID": "orders-1",
            "TIDEMARK_SESSION_TIMEOUT_MS": "6000",
            "TIDEMARK_RESTART_BACKOFF_MIN_S": "0.2",
            **env,
        }
        self.client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{api_port}", timeout=30)
        self._ports = dict.fromkeys((ALL_ROLES, "api"), api_port)
        self.processes: dict[str, Process] = {}
        """Roles → the process that runs them."""

    @property
    def worker(self) -> Process | None:
        """The process that runs all of the service."""
        return self.processes.get(ALL_ROLES)

    async def start_worker(self) -> None:
        await self.start(ALL_ROLES)

    async def start(self, roles: str) -> None:
        """Starts a process that runs these parts, and waits until it is ready."""
        self._ports.setdefault(roles, free_port())
        command = [sys.executable, "-m", "orders", "worker", "--without-web"]
        env = {**self._env, "TIDEMARK_ORDERS_ROLES": roles, "TIDEMARK_HTTP_PORT": str(self._ports[roles])}
        self.processes[roles] = Process(command, log=self._log(roles), env=env)
        await self.until(lambda: self._ready(roles))

    def _log(self, roles: str) -> Path:
        return self._directory / f"{roles}.log"

    async def kill(self, roles: str) -> None:
        await asyncio.to_thread(self.processes[roles].stop, by=signal.SIGKILL, grace_s=10)

    async def page(self, roles: str, path: str) -> httpx.Response:
        """A page of the process that runs these parts. Raises httpx.TransportError."""
        return await self.client.get(f"http://127.0.0.1:{self._ports[roles]}{path}")

    async def _ready(self, roles: str) -> bool:
        try:
            return (await self.page(roles, "/health/ready")).status_code == 200
        except httpx.TransportError:
            return False

    async def until(self, condition: Callable[[], Any]) -> Any:
        """Asks until it is so; says what the processes logged where it never is."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                while True:
                    if found := await condition():
                        return found
                    await asyncio.sleep(0.05)
        except TimeoutError:
            logged = [self._log(roles).read_text()[-6_000:] for roles in self.processes]
            raise AssertionError("\n".join(logged)) from None

    async def submit(self, client_order_id: str, **changes: Any) -> httpx.Response:
        return await self.client.post("/v1/orders", json=ORDER | {"client_order_id": client_order_id} | changes)

    async def until_state(self, order_id: str, state: str) -> dict[str, Any]:
        async def reached() -> Any:
            response = await self.client.get(f"/v1/orders/{order_id}")
            return response.json() if response.status_code == 200 and response.json()["state"] == state else None

        order: dict[str, Any] = await self.until(reached)
        return order

    async def mark(self, **changes: Any) -> None:
        await self.sender.send(MD_MARKS, b"AAPL", decode_rows(MARK, self.make.mark(**changes)), partition=0)

    async def clock(self, text: str) -> None:
        """The exchange's clock, New York time."""
        event_ns = int(datetime.fromisoformat(text).replace(tzinfo=EXCHANGE_TIME).timestamp()) * 10**9
        row = decode_rows(MARK, self.make.clock(event_ns))
        await self.sender.send(MD_MARKS, mark_clock_key(0), row, partition=0)


@asynccontextmanager
async def running(fleet: Fleet, *processes: str) -> AsyncIterator[Fleet]:
    """With its topics, its gate and its processes, each by its roles; one for all where none is named."""
    await create_topics(fleet.parts.addresses.kafka_bootstrap)
    await fleet.sender.start()
    gating = asyncio.create_task(fleet.gate.run(fleet.settings))
    try:
        for roles in processes or (ALL_ROLES,):
            await fleet.start(roles)
        yield fleet
    finally:
        gating.cancel()
        await asyncio.gather(gating, return_exceptions=True)
        for process in fleet.processes.values():
            await asyncio.to_thread(process.stop, grace_s=20)
        await fleet.sender.stop()
        await fleet.client.aclose()
