"""A worker of the orders service as a process, and what surrounds it: the test plays gate, market and client."""

import asyncio
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
from common.runtime.admin import create_topics
from common.runtime.message import Message
from common.runtime.reader import CommittedReader
from common.runtime.sender import Sender
from common.runtime.settings import Settings
from parts import LocalStack
from parts.ports import free_port
from parts.processes import Process

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


class Fleet:
    """The worker, its client, and what surrounds it."""

    def __init__(self, parts: LocalStack, directory: Path, make: Any, postgres_dsn: str, **env: str) -> None:
        addresses = parts.addresses
        self.parts = parts
        self.settings = Settings(kafka_bootstrap=addresses.kafka_bootstrap, redis_url=addresses.redis_url)
        self.sender = Sender(self.settings, "test")
        self.gate = Gate(make, self.sender)
        self.make = make
        self._port = free_port()
        self._log = directory / "worker.log"
        self._env = {
            "TIDEMARK_KAFKA_BOOTSTRAP": addresses.kafka_bootstrap,
            "TIDEMARK_REDIS_URL": addresses.redis_url,
            "TIDEMARK_POSTGRES_DSN": postgres_dsn,
            "TIDEMARK_DATA_DIR": str(directory / "data"),
            "TIDEMARK_HTTP_PORT": str(self._port),
            "TIDEMARK_WORKER_ID": "orders-1",
            "TIDEMARK_SESSION_TIMEOUT_MS": "6000",
            "TIDEMARK_RESTART_BACKOFF_MIN_S": "0.2",
            **env,
        }
        self.client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{self._port}", timeout=30)
        self.worker: Process | None = None

    async def start_worker(self) -> None:
        command = [sys.executable, "-m", "orders", "worker", "--without-web"]
        self.worker = Process(command, log=self._log, env=self._env)
        await self.until(self._ready)

    async def _ready(self) -> bool:
        try:
            return (await self.client.get("/health/ready")).status_code == 200
        except httpx.TransportError:
            return False

    async def until(self, condition: Callable[[], Any]) -> Any:
        """Asks until it is so; says what the worker logged where it never is."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                while True:
                    if found := await condition():
                        return found
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(self._log.read_text()[-6_000:]) from None

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
async def running(fleet: Fleet) -> AsyncIterator[Fleet]:
    """With its topics, its gate and its worker."""
    await create_topics(fleet.parts.addresses.kafka_bootstrap)
    await fleet.sender.start()
    gating = asyncio.create_task(fleet.gate.run(fleet.settings))
    try:
        await fleet.start_worker()
        yield fleet
    finally:
        gating.cancel()
        await asyncio.gather(gating, return_exceptions=True)
        if fleet.worker:
            await asyncio.to_thread(fleet.worker.stop, grace_s=20)
        await fleet.sender.stop()
        await fleet.client.aclose()
