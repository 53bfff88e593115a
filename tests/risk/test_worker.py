"""The service as a process on real Kafka and Redis, killed under load: the test plays market, clients and venue."""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from common.contracts.events import CommandResult, Decision, ExecType, LedgerEntry, OrderIntent
from common.contracts.market import mark_clock_key
from common.contracts.topics import (
    MD_MARKS,
    ORDERS_EXECUTIONS,
    ORDERS_INTENTS,
    REF_INSTRUMENTS,
    RISK_COMMANDS,
    RISK_DECISIONS,
    RISK_LEDGER,
)
from common.contracts.values import E4, Side
from common.contracts.views import AccountData, Envelope, view_channel
from common.fleet_topics import create_topics
from common.ledger.balances import Balances, fold
from common.testing.orders import clock_row, fund, instrument, intent, mark_row, report, set_account, trade
from parts import LocalStack
from parts.ports import free_port
from parts.processes import Process
from risk.tables import TABLES
from streams.edges.reader import CommittedReader
from streams.edges.sender import Sender
from streams.model.tables import Changelogged
from streams.process.settings import KafkaSettings, RedisSettings, Settings
from streams.state.store import POSITION_PREFIX, read_store, row_key
from streams.views.redis_client import redis_client

pytestmark = pytest.mark.slow
ACCOUNTS = [f"acct-{number}" for number in range(20)]
INTENTS = 2_000
KILLS = 3
DEADLINE_S = 120


@pytest.fixture(scope="module")
def parts() -> Iterator[LocalStack]:
    """Parts of this module's own, since its topics have their real names."""
    with LocalStack() as running:
        yield running


class Fleet:
    """The worker and what surrounds it; everything committed is kept."""

    def __init__(self, parts: LocalStack, directory: Path) -> None:
        addresses = parts.addresses
        self.settings = Settings(
            kafka=KafkaSettings(bootstrap=addresses.kafka_bootstrap), redis=RedisSettings(url=addresses.redis_url)
        )
        self.sender = Sender(self.settings, "test")
        self.data = directory / "data"
        self.decisions: list[Decision] = []
        self.results: list[CommandResult] = []
        self.entries: list[LedgerEntry] = []
        self._port = free_port()
        self._log = directory / "worker.log"
        self._env = {
            "TIDEMARK_KAFKA_BOOTSTRAP": addresses.kafka_bootstrap,
            "TIDEMARK_REDIS_URL": addresses.redis_url,
            "TIDEMARK_DATA_DIR": str(self.data),
            "TIDEMARK_HTTP_PORT": str(self._port),
            "TIDEMARK_WORKER_ID": "risk-1",
            "TIDEMARK_SESSION_TIMEOUT_MS": "6000",
            "TIDEMARK_RESTART_BACKOFF_MIN_S": "0.2",
            "TIDEMARK_MARK_MAX_AGE_MS": "600000",
        }
        self.worker: Process | None = None

    async def start_worker(self) -> None:
        self.worker = Process([sys.executable, "-m", "risk", "worker", "--without-web"], log=self._log, env=self._env)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self._port}") as client:

            async def ready() -> bool:
                try:
                    return (await client.get("/health/ready")).status_code == 200
                except httpx.TransportError:
                    return False

            await self.until(ready)

    async def kill_worker(self) -> None:
        assert self.worker is not None
        await asyncio.to_thread(self.worker.stop, by=signal.SIGKILL, grace_s=10)

    async def until(self, condition: Callable[[], Any]) -> None:
        """Asks until it is so; says what the worker logged where it never is."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not await condition():
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(self._log.read_text()[-6_000:]) from None

    async def until_count(self, kept: Sequence[Any], count: int) -> None:
        async def reached() -> bool:
            return len(kept) >= count

        await self.until(reached)

    async def until_handled(self, records: dict[str, int]) -> None:
        """Until the gate's own positions stand behind everything that was sent: topics have no order among them."""

        async def handled() -> bool:
            positions = dict.fromkeys(records, 0)
            for store in self.data.glob("risk/gate/*/store"):
                for key, value in read_store(store):
                    topic = key.removeprefix(POSITION_PREFIX).decode(errors="replace")
                    if key.startswith(POSITION_PREFIX) and topic in positions:
                        positions[topic] += int(value)
            return positions == records

        await self.until(handled)

    async def follow(self) -> None:
        async with CommittedReader(self.settings, [RISK_DECISIONS, RISK_LEDGER], from_beginning=True) as reader:
            async for messages in reader.batches():
                for message in messages:
                    body = message.body
                    if isinstance(body, Decision):
                        self.decisions.append(body)
                    elif isinstance(body, CommandResult):
                        self.results.append(body)
                    else:
                        self.entries.append(body)

    async def open_market(self) -> None:
        await self.sender.send(REF_INSTRUMENTS, b"ACME", instrument("ACME", 1))
        await self.sender.send(MD_MARKS, b"ACME", mark_row("ACME"), partition=1)
        await self.sender.send(MD_MARKS, mark_clock_key(1), clock_row(time.time_ns()), partition=1)

    async def open_accounts(self) -> None:
        for account_id in ACCOUNTS:
            commands = (
                set_account(account_id),
                fund(account_id, command_id="f", cash_e4=100_000 * E4, symbol="ACME", qty=1_000),
            )
            for command in commands:
                await self.sender.send(RISK_COMMANDS, account_id.encode(), command)
        await self.until_count(self.results, 2 * len(ACCOUNTS))
        assert all(result.accepted for result in self.results)

    async def send_intent(self, order: OrderIntent) -> None:
        await self.sender.send(ORDERS_INTENTS, order.account_id.encode(), order)

    def store_rows(self, table: str) -> dict[bytes, Any]:
        declaration = next(of for of in TABLES if of.name == table)
        assert isinstance(declaration, Changelogged)
        prefix = row_key(table, b"")
        return {
            key.removeprefix(prefix): declaration.codec.decode(value)
            for store in self.data.glob("risk/gate/*/store")
            for key, value in read_store(store)
            if key.startswith(prefix)
        }


@pytest.fixture
async def fleet(parts: LocalStack, tmp_path: Path) -> AsyncIterator[Fleet]:
    await create_topics(parts.addresses.kafka_bootstrap)
    fleet = Fleet(parts, tmp_path)
    await fleet.sender.start()
    following = asyncio.create_task(fleet.follow())
    try:
        await fleet.open_market()
        await fleet.start_worker()
        await fleet.open_accounts()
        yield fleet
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        if fleet.worker:
            await asyncio.to_thread(fleet.worker.stop, grace_s=20)
        await fleet.sender.stop()


def order(number: int) -> OrderIntent:
    """Every tenth is a repeat of the one before it, every seventh a sell."""
    number -= number % 10 == 9
    side = Side.SELL if number % 7 == 0 else Side.BUY
    return intent(f"o{number}", ACCOUNTS[number // 10 % len(ACCOUNTS)], side=side, qty=1 + number % 9)


def reports(decisions: Sequence[Decision]) -> Iterator[Any]:
    """The venue fills two in three accepted orders in part, twice, cancels the rest, and says each thing two times."""
    for decision in decisions:
        of = decision.intent
        if not decision.accepted or decision.repeat or of.qty < 3 or int(of.client_order_id[1:]) % 3 == 0:
            continue
        name = decision.order_id
        for said in (
            trade(of, f"{name}.1", 1, 100 * E4, cum_qty=1),
            trade(of, f"{name}.2", 1, 100 * E4, cum_qty=2),
            report(of, ExecType.CANCELED, f"{name}.3", cum_qty=2),
        ):
            yield said
            yield said


async def test_gate_killed_under_load_then_nothing_lost_doubled_or_created(fleet: Fleet) -> None:
    for number in range(INTENTS):
        await fleet.send_intent(order(number))
        if number % (INTENTS // KILLS) == INTENTS // KILLS - 1:
            await fleet.kill_worker()
            await fleet.start_worker()
    await fleet.until_count(fleet.decisions, INTENTS)
    said = list(reports(fleet.decisions))
    reserved = sum(decision.accepted and not decision.repeat for decision in fleet.decisions)
    movements = len(ACCOUNTS) + reserved + len(said) // 2
    for number, execution in enumerate(said):
        await fleet.sender.send(ORDERS_EXECUTIONS, execution.account_id.encode(), execution)
        if number == len(said) // 2:
            await fleet.kill_worker()
            await fleet.start_worker()
    await fleet.until_handled({ORDERS_INTENTS.name: INTENTS, ORDERS_EXECUTIONS.name: len(said)})
    await fleet.until_count(fleet.entries, movements)

    places = [(decision.intent_partition, decision.intent_offset) for decision in fleet.decisions]
    assert len(places) == len(set(places)) == INTENTS
    assert sum(decision.repeat for decision in fleet.decisions) == INTENTS // 10
    assert len(fleet.entries) == movements
    executions = [(entry.kind, entry.execution_id) for entry in fleet.entries if entry.execution_id]
    assert len(executions) == len(set(executions)) == len(said) // 2
    balances = fold(fleet.entries)
    assert set(balances) == set(ACCOUNTS)
    await _rows_equal(fleet, balances)
    await _views_equal(fleet, balances)


async def _rows_equal(fleet: Fleet, balances: dict[str, Balances]) -> None:
    assert fleet.worker is not None
    await asyncio.to_thread(fleet.worker.stop, grace_s=20)
    accounts, positions = fleet.store_rows("accounts"), fleet.store_rows("positions")
    # The stopped store is the whole truth: had anything been booked that was not read, its sequences would say so.
    assert sum(row.seq for row in accounts.values()) == len(fleet.entries)
    for account_id, folded in balances.items():
        row = accounts[account_id.encode()]
        assert (row.seq, row.cash_e4, row.reserved_cash_e4) == (folded.seq, folded.cash_e4, folded.reserved_cash_e4)
        held = positions[f"{account_id}/ACME".encode()]
        assert folded.positions() == {"ACME": (held.qty, held.reserved_qty)}
        assert not any(folded.sums().values())
    await fleet.start_worker()


async def _views_equal(fleet: Fleet, balances: dict[str, Balances]) -> None:
    async with redis_client(fleet.settings.redis.url) as redis:
        for account_id, folded in balances.items():

            async def shown(account_id: str = account_id, folded: Balances = folded) -> bool:
                raw = await redis.hget(view_channel("account", account_id), "account")
                data = AccountData.model_validate(Envelope.model_validate_json(raw).data) if raw else None
                return data is not None and (data.seq, data.cash_e4) == (folded.seq, folded.cash_e4)

            await fleet.until(shown)
