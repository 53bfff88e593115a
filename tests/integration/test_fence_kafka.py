"""The auditor stops the gate where the ledger is broken: real broker, real worker, real auditor, the command itself."""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from auditor.process import Auditor
from auditor.settings import AuditorSettings, AuditSettings
from common.contracts.events import CASH, Book, CommandResult, EntryKind, LedgerEntry, Posting
from common.contracts.topics import ACCOUNTS, RISK_COMMANDS, RISK_DECISIONS, RISK_GATE_CHANGELOG, RISK_LEDGER
from common.fleet_topics import create_topics
from common.testing import accidents
from common.testing.orders import fund, set_account
from parts import LocalStack
from parts.ports import free_port
from parts.processes import Process
from streams.edges.reader import CommittedReader
from streams.edges.sender import Sender
from streams.kafka.kafka_log import KafkaLog
from streams.kafka.partitioner import partition_of
from streams.model.log import Partition
from streams.process.settings import KafkaSettings, RedisSettings
from streams.state.store import destroy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
WITHIN_S = 120.0
COMPILED_WITHIN_S = 180.0
"""A machine's first worker compiles the gate's kernels."""
UNANSWERED_S = 2.0
BROKEN = 1


def account_on(number: int) -> str:
    """An account of a partition."""
    names = (f"acct-{n}" for n in range(1_000))
    return next(name for name in names if partition_of(name.encode(), ACCOUNTS.partitions) == number)


@pytest.fixture(scope="module")
def parts() -> Iterator[LocalStack]:
    """Parts of this module's own: the topics have their real names."""
    with LocalStack() as running:
        yield running


class World:
    """A gate, and an auditor that may stop it."""

    def __init__(self, parts: LocalStack, root: Path) -> None:
        addresses = parts.addresses
        self.settings = AuditorSettings(
            kafka=KafkaSettings(bootstrap=addresses.kafka_bootstrap),
            redis=RedisSettings(url=addresses.redis_url),
            data_dir=root / "data",
            audit=AuditSettings(fence=True, hold_s=0.2, interval_s=0.2),
        )
        self.auditor = Auditor(self.settings, root)
        self.results: dict[str, CommandResult] = {}
        self._sender = Sender(self.settings, "test")
        self._log = root / "worker.log"
        self._port = free_port()
        self._environment = {
            "TIDEMARK_KAFKA_BOOTSTRAP": addresses.kafka_bootstrap,
            "TIDEMARK_REDIS_URL": addresses.redis_url,
            "TIDEMARK_DATA_DIR": str(root / "data"),
            "TIDEMARK_HTTP_PORT": str(self._port),
            "TIDEMARK_WORKER_ID": "risk-1",
            "TIDEMARK_RESTART_BACKOFF_MAX_S": "1",
            "TIDEMARK_SESSION_TIMEOUT_MS": "6000",
        }
        self.worker: Process | None = None
        self._numbers = iter(range(1_000))

    async def begin(self) -> None:
        await self._sender.start()
        await self.start()
        await self.until(self.is_ready, COMPILED_WITHIN_S)

    async def is_ready(self) -> bool:
        return bool((await self.page())["ready"])

    async def end(self) -> None:
        await self._sender.stop()
        await self.kill()

    async def start(self) -> None:
        command = [sys.executable, "-m", "risk", "worker", "--without-web"]
        self.worker = Process(command, log=self._log, env=self._environment)

    async def kill(self) -> None:
        if self.worker:
            await asyncio.to_thread(self.worker.stop, by=signal.SIGKILL, grace_s=10)

    async def page(self) -> dict[str, Any]:
        """The gate's ready page."""
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self._port}") as client:
                report: dict[str, Any] = (await client.get("/health/ready")).json()
        except httpx.TransportError:
            return {"ready": False, "checks": {}}
        return report

    async def state(self, number: int) -> dict[str, Any]:
        detail = (await self.page())["checks"].get("stage gate", {}).get("detail", {})
        found: dict[str, Any] = detail.get("partitions", {}).get(str(number), {})
        return found

    async def until(self, condition: Callable[[], Any], within_s: float = WITHIN_S) -> None:
        """Asks until it is so; says what the worker logged where it never is."""
        try:
            async with asyncio.timeout(within_s):
                while not await condition():
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(self._log.read_text()[-6_000:]) from None

    async def until_is(self, number: int, state: str) -> None:
        async def reached() -> bool:
            return (await self.state(number)).get("state") == state

        await self.until(reached)

    async def send(self, number: int, cash_e4: int = 0) -> str:
        """A command to the account of the partition; its id."""
        account, command_id = account_on(number), f"command-{next(self._numbers)}"
        opens = set_account(account).model_copy(update={"command_id": command_id})
        command = fund(account, command_id=command_id, cash_e4=cash_e4) if cash_e4 else opens
        await self._sender.send(RISK_COMMANDS, account.encode(), command)
        return command_id

    async def ask(self, number: int, cash_e4: int = 0) -> CommandResult:
        """The same, answered."""
        command_id = await self.send(number, cash_e4)
        await self.until_answered(command_id)
        return self.results[command_id]

    async def until_answered(self, command_id: str) -> None:
        async def answered() -> bool:
            return command_id in self.results

        await self.until(answered)

    async def forge(self, number: int) -> None:
        """Somebody who is no gate writes money into the ledger."""
        account = account_on(number)
        legs = [Posting(book=book, asset=CASH, amount=amount) for book, amount in
                ((Book.EXTERNAL, -5), (Book.AVAILABLE, 5))]  # fmt: skip
        entry = LedgerEntry(account_id=account, seq=9, kind=EntryKind.FUND, postings=tuple(legs), booked_ns=1)
        await self._sender.send(RISK_LEDGER, account.encode(), entry)

    async def follow(self) -> None:
        async with CommittedReader(self.settings, [RISK_DECISIONS], from_beginning=True) as reader:
            async for messages in reader.batches():
                for message in messages:
                    self.results[message.body.command_id] = message.body

    async def tidemark(self, *arguments: str) -> tuple[int, str]:
        """The command itself: exit code and what it said."""
        given = ("-P", "-m", "tidemark.main", *arguments, "--bootstrap", self.settings.kafka.bootstrap)
        process = await asyncio.create_subprocess_exec(
            sys.executable, *given, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        said, _ = await process.communicate()
        return process.returncode or 0, " ".join(said.decode().split())


@pytest.fixture
async def world(parts: LocalStack, tmp_path: Path) -> AsyncIterator[World]:
    await create_topics(parts.addresses.kafka_bootstrap)
    world = World(parts, tmp_path)
    await world.begin()
    auditing = asyncio.create_task(world.auditor.run())
    following = asyncio.create_task(world.follow())
    try:
        yield world
    finally:
        for running in (auditing, following):
            running.cancel()
        await asyncio.gather(auditing, following, return_exceptions=True)
        await world.auditor.close()
        await world.end()


async def test_changelog_of_the_gate_that_lost_everything_then_its_rows_are_made_anew_from_what_it_has_said(
    world: World,
) -> None:
    number, data = 2, world.settings.data_dir / "risk" / "gate" / "2" / "store"
    for cash_e4 in (0, 100, 20):
        assert (await world.ask(number, cash_e4)).accepted
    await world.kill()
    await asyncio.to_thread(destroy, data)
    log = KafkaLog(world.settings, "an-operator")
    await log.start()
    place = Partition(RISK_GATE_CHANGELOG.name, number)
    end = await log.high_watermark(place)
    await accidents.trim(world.settings.kafka.bootstrap, log, RISK_GATE_CHANGELOG, number, end)
    await log.stop()

    await world.start()
    await world.until_is(number, "refused")
    reason = (await world.state(number))["reason"]
    command = "stage begin risk.gate --partition 2"
    assert f"see `tidemark {command}`" in reason, reason
    waiting = await world.send(number, cash_e4=3)
    assert (await world.ask(0)).accepted
    code, said = await world.tidemark(*command.split(), "--yes")
    assert code != 0 and "stop its workers first" in said

    await world.kill()

    said = ""

    async def begins() -> bool:  # the group knows the worker until its session is over
        nonlocal said
        code, said = await world.tidemark(*command.split(), "--data-dir", str(world.settings.data_dir))
        return code == 0 and "made anew from 2 ledger entries" in said and "nothing was done" in said

    try:
        await world.until(begins)
    except AssertionError:
        raise AssertionError(said) from None
    code, said = await world.tidemark(*command.split(), "--yes", "--reason", "trimmed by mistake")
    assert code == 0 and said.endswith("risk.gate/2 begins anew"), said
    await world.start()
    await world.until_answered(waiting)
    assert (world.results[waiting].accepted, world.results[waiting].account_seq) == (True, 3)
    accounts = world.auditor.truth.accounts

    async def folded() -> bool:
        return accounts.newest(account_on(number)) == 3

    await world.until(folded)
    assert accounts.accounts[account_on(number)].balance().available == {CASH: 123}
    assert not world.auditor.truth.faults()


async def test_ledger_that_somebody_breaks_then_its_partition_stops_until_an_operator_lifts_the_fence(
    world: World,
) -> None:
    for number in range(ACCOUNTS.partitions):
        assert (await world.ask(number)).accepted
        assert (await world.ask(number, cash_e4=100)).accepted
    assert world.auditor.fencing.raised == 0, "a ledger that is sound raises nothing"

    await world.forge(BROKEN)
    await world.until_is(BROKEN, "fenced")
    reason = (await world.state(BROKEN))["reason"]
    assert "`tidemark fence lift risk.gate --partition 1` lifts it" in reason
    assert f"risk.ledger/{BROKEN} at " in reason
    assert not (await world.page())["ready"]
    waiting = await world.send(BROKEN, cash_e4=7)
    for number in set(range(ACCOUNTS.partitions)) - {BROKEN}:
        assert (await world.ask(number, cash_e4=1)).accepted
    assert waiting not in world.results

    await world.kill()
    await world.start()
    await world.until_is(BROKEN, "fenced")
    assert (await world.ask(0, cash_e4=1)).accepted
    await asyncio.sleep(UNANSWERED_S)
    assert waiting not in world.results

    lift = ("fence", "lift", "risk.gate", "--partition", str(BROKEN))
    code, said = await world.tidemark(*lift)
    assert code == 0 and "nothing was done" in said and "answers what has waited" in said
    assert (await world.state(BROKEN))["state"] == "fenced"
    code, said = await world.tidemark(*lift, "--yes", "--reason", "a test has written it")
    assert (code, said.endswith("fence risk.gate/1 is lifted")) == (0, True), said
    await world.until_answered(waiting)
    assert world.results[waiting].account_seq == 2, "what was forged is no entry of the gate's"
    code, said = await world.tidemark("fence", "show")
    assert "lifted" in said and "a test has written it" in said
    code, said = await world.tidemark(*lift, "--yes")
    assert code != 0 and "no fence risk.gate/1 is raised; none is" in said

    looks = world.auditor.verdict.looks
    await world.ask(BROKEN, cash_e4=1)
    await world.until(lambda: _reached(world, looks + 10))
    assert (await world.state(BROKEN))["state"] == "running", "the gate's own entries behind it raise nothing"
    await world.forge(BROKEN)
    began_s = time.monotonic()
    await world.until_is(BROKEN, "fenced")
    assert time.monotonic() - began_s < 20


async def _reached(world: World, looks: int) -> bool:
    return world.auditor.verdict.looks >= looks
