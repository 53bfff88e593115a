"""Two workers of the gate with a million accounts, on a real broker, under load: one is killed, comes back, restarts.

Each follows the other's partitions. What is asserted is that every intent is answered once, that a takeover restores
the tail and not the table, and that partitions which stay are not stopped; how long it took is printed.
"""

import asyncio
import itertools
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from common.contracts.events import AccountStatus, Decision
from common.contracts.market import mark_clock_key
from common.contracts.topics import (
    MD_MARKS,
    ORDERS_INTENTS,
    REF_INSTRUMENTS,
    RISK_DECISIONS,
    RISK_GATE_CHANGELOG,
)
from common.contracts.values import E4
from common.fleet_topics import create_topics
from common.testing.changelog import write_rows
from common.testing.orders import clock_row, instrument, intent, mark_row
from parts import LocalStack
from parts.ports import free_port
from parts.processes import Process
from risk.domain.account import AccountRow
from risk.tables import row_codec
from streams.edges.reader import CommittedReader
from streams.edges.sender import Sender
from streams.kafka.kafka_log import KafkaLog
from streams.kafka.partitioner import partition_of
from streams.model.log import Partition
from streams.process.settings import KafkaSettings, Settings
from streams.state.store import row_key

pytestmark = pytest.mark.slow
ACCOUNTS = 1_000_000
PARTITIONS = RISK_GATE_CHANGELOG.partitions
TRADERS = 400
TAIL_ROWS_MAX = 20_000
"""Rows of a restore after a takeover at most; the whole table of a partition has a quarter of a million."""
SESSION_TIMEOUT_S = 6.0
INTERVAL_S = 0.01
DEADLINE_S = 120


def account_id(number: int) -> str:
    return f"acct-{number:07d}"


class Worker:
    """One process of the gate, with a disk and a log file of its own."""

    def __init__(self, name: str, bootstrap: str, directory: Path) -> None:
        self.log = directory / f"{name}.log"
        self._port = free_port()
        self._env = {
            "TIDEMARK_KAFKA_BOOTSTRAP": bootstrap,
            "TIDEMARK_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",  # nobody: a million views take a gigabyte
            "TIDEMARK_DATA_DIR": str(directory / name),
            "TIDEMARK_HTTP_PORT": str(self._port),
            "TIDEMARK_WORKER_ID": name,
            "TIDEMARK_STANDBYS": "1",
            "TIDEMARK_SESSION_TIMEOUT_MS": str(round(SESSION_TIMEOUT_S * 1000)),
            "TIDEMARK_MARK_MAX_AGE_MS": "600000",
        }
        self._process: Process | None = None

    async def start(self) -> None:
        command = [sys.executable, "-m", "risk", "worker", "--without-web"]
        self._process = await asyncio.to_thread(Process, command, log=self.log, env=self._env)

    async def stop(self, by: signal.Signals) -> None:
        if self._process:
            await asyncio.to_thread(self._process.stop, by=by, grace_s=20)

    async def stage(self) -> dict[str, Any]:
        """The stage as the ready page has it; empty while nobody answers."""
        async with httpx.AsyncClient() as client:
            try:
                page = (await client.get(f"http://127.0.0.1:{self._port}/health/ready")).json()
            except httpx.TransportError:
                return {}
        detail: dict[str, Any] = page["checks"]["stage gate"]["detail"]
        return detail

    async def served(self) -> set[int]:
        states = (await self.stage()).get("partitions", {})
        return {int(number) for number, page in states.items() if page["state"] == "running"}

    async def warm(self) -> set[int]:
        states = (await self.stage()).get("standbys", {})
        return {int(number) for number, page in states.items() if page["state"] == "following"}

    def opened(self, after: int = 0) -> dict[int, int]:
        """Partition → rows restored when it was opened last, of what was logged after that many bytes."""
        lines = self.log.read_bytes()[after:].splitlines()
        events = [json.loads(line) for line in lines if line.startswith(b"{") and b"task_open" in line]
        return {event["partition"]: event["rows"] for event in events if event["event"] == "task_open"}

    def logged(self) -> int:
        return self.log.stat().st_size


class Desk:
    """Sends an intent every few milliseconds and keeps every answer with the time when it came."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.sender = Sender(settings, "desk")
        self.sent: list[str] = []
        self.answers: list[tuple[float, Decision]] = []
        self._running: list[asyncio.Task[None]] = []

    async def open_market(self) -> None:
        await self.sender.start()
        await self.sender.send(REF_INSTRUMENTS, b"ACME", instrument("ACME", 1))
        await self.sender.send(MD_MARKS, b"ACME", mark_row("ACME"), partition=1)
        await self.sender.send(MD_MARKS, mark_clock_key(1), clock_row(time.time_ns()), partition=1)

    def start(self) -> None:
        self._running = [asyncio.create_task(self._read()), asyncio.create_task(self._send())]

    async def _read(self) -> None:
        async with CommittedReader(self.settings, [RISK_DECISIONS], from_beginning=True) as reader:
            async for messages in reader.batches():
                now = time.monotonic()
                self.answers += [(now, message.body) for message in messages]

    async def _send(self) -> None:
        for number in itertools.count():
            order = intent(f"o{number}", account_id(number * (ACCOUNTS // TRADERS) % ACCOUNTS), qty=1)
            await self.sender.send(ORDERS_INTENTS, order.account_id.encode(), order)
            self.sent.append(f"{order.account_id}.{order.client_order_id}")
            await asyncio.sleep(INTERVAL_S)

    async def stop(self) -> None:
        """Sends no more, and waits for every answer."""
        self._running[1].cancel()
        await asyncio.gather(self._running[1], return_exceptions=True)
        await until(lambda: len({decision.order_id for _, decision in self.answers}) >= len(self.sent))

    async def close(self) -> None:
        for running in self._running:
            running.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self.sender.stop()

    def answered(self, partitions: set[int], since: float) -> dict[int, float]:
        """Partition → when the first answer came to an intent of it, of those after ``since``."""
        first: dict[int, float] = {}
        for at, decision in self.answers:
            partition = partition_of(decision.account_id.encode(), PARTITIONS)
            if at > since and partition in partitions:
                first.setdefault(partition, at)
        return first

    def pauses(self, partitions: set[int], since: float) -> dict[int, float]:
        """Partition → the longest time between two answers, in seconds."""
        longest = dict.fromkeys(sorted(partitions), 0.0)
        last = dict.fromkeys(partitions, since)
        for at, decision in self.answers:
            partition = partition_of(decision.account_id.encode(), PARTITIONS)
            if at > since and partition in partitions:
                longest[partition] = round(max(longest[partition], at - last[partition]), 2)
                last[partition] = at
        return longest


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.02)


async def until_true(condition: Callable[[], Any], *workers: Worker) -> None:
    """Says what the workers logged where it never is."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not await condition():
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError("\n".join(worker.log.read_text()[-4_000:] for worker in workers)) from None


async def fill(settings: Settings) -> None:
    """A million accounts, each where its key belongs."""
    row = row_codec(AccountRow).encode(AccountRow(AccountStatus.ACTIVE, 1_000_000 * E4, 0, 1))
    rows: list[list[tuple[bytes, bytes]]] = [[] for _ in range(PARTITIONS)]
    for number in range(ACCOUNTS):
        key = account_id(number).encode()
        rows[partition_of(key, PARTITIONS)].append((row_key("accounts", key), row))
    log = KafkaLog(settings, "filling")
    await log.start()
    for number, share in enumerate(rows):
        await write_rows(log, Partition(RISK_GATE_CHANGELOG.name, number), share, f"filling.{number}")
    await log.stop()


@pytest.fixture
def parts() -> Iterator[LocalStack]:
    """Parts of this test's own, since its topics have their real names."""
    with LocalStack(["kafka"]) as running:
        yield running


@pytest.fixture
async def workers(parts: LocalStack, tmp_path: Path) -> AsyncIterator[tuple[Worker, Worker]]:
    bootstrap = parts.addresses.kafka_bootstrap
    await create_topics(bootstrap)
    await fill(Settings(kafka=KafkaSettings(bootstrap=bootstrap)))
    pair = (Worker("risk-1", bootstrap, tmp_path), Worker("risk-2", bootstrap, tmp_path))
    yield pair
    for worker in pair:
        await worker.stop(signal.SIGKILL)


@pytest.fixture
async def desk(parts: LocalStack) -> AsyncIterator[Desk]:
    desk = Desk(Settings(kafka=KafkaSettings(bootstrap=parts.addresses.kafka_bootstrap)))
    yield desk
    await desk.close()


async def restart(worker: Worker, other: Worker, desk: Desk, settled: Callable[[], Any]) -> None:
    """It hands its partitions over at once, and takes them again when it is back."""
    everything, own = set(range(PARTITIONS)), await worker.served()
    before, at = other.logged(), time.monotonic()
    await worker.stop(signal.SIGTERM)
    await worker.start()
    await until_true(settled, worker, other)
    back_at = time.monotonic()
    await until(lambda: set(desk.answered(everything, back_at)) == everything)
    handed_over = other.opened(before)
    assert set(handed_over) == own, "those that stay are not opened anew"
    assert max(handed_over.values()) < TAIL_ROWS_MAX
    assert await worker.served() == own
    stayed = desk.pauses(everything - own, at)
    print(f"restarted: longest pauses {desk.pauses(own, at)} s; of partitions that stay {stayed} s")


@pytest.mark.timeout(600)
async def test_workers_when_one_is_killed_and_one_restarts_then_answers_are_single_and_tails_are_restored(
    workers: tuple[Worker, Worker], desk: Desk
) -> None:
    killed, other = workers
    everything = set(range(PARTITIONS))

    async def settled() -> bool:
        first, second = await killed.served(), await other.served()
        warm = await killed.warm() == second and await other.warm() == first
        return bool(first and second) and first | second == everything and warm

    await desk.open_market()
    await killed.start()
    await other.start()
    await until_true(settled, *workers)
    taken = await killed.served()
    whole = {**killed.opened(), **other.opened()}
    assert min(whole.values()) > ACCOUNTS // PARTITIONS // 2, "what is compared with: these were opened from nothing"
    desk.start()
    await until(lambda: set(desk.answered(everything, 0.0)) == everything)

    # One is killed: the other has its partitions' stores.
    before, at = other.logged(), time.monotonic()
    await killed.stop(signal.SIGKILL)
    gone = time.monotonic() + 0.5  # answers that were on their way
    await until(lambda: set(desk.answered(taken, gone)) == taken)
    seconds = [round(first - at - SESSION_TIMEOUT_S, 2) for first in desk.answered(taken, gone).values()]
    print(f"killed: first answers {seconds} s after the session timeout of {SESSION_TIMEOUT_S:g} s")
    opened = other.opened(before)
    assert set(opened) == taken, "those that stay are not opened anew"
    assert max(opened.values()) < TAIL_ROWS_MAX, f"{opened}: a followed store is not filled from the beginning"

    # It comes back, to its old disk.
    before = other.logged()
    await killed.start()
    await until_true(settled, *workers)
    kept = await other.served()
    assert not set(other.opened(before)) & kept, "those that stay are not opened anew"
    back = killed.opened()
    assert max(back[number] for number in await killed.served()) < TAIL_ROWS_MAX

    await restart(other, killed, desk, settled)

    await desk.stop()
    ids = [decision.order_id for _, decision in desk.answers]
    assert sorted(ids) == sorted(desk.sent), "every intent is answered once"
    assert all(decision.accepted for _, decision in desk.answers)
    print(f"{len(ids)} intents; rows restored from nothing {whole}, by a takeover {opened}, on coming back {back}")
