"""The live auditor beside a trading fleet: silent while all is well, kills included, and quick to see what is not."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio
from common.contracts.topics import RISK_LEDGER
from common.contracts.views import Envelope, HealthData, view_channel
from redis.asyncio import Redis
from tidemark import metrics
from tidemark.deployment import Deployment, DeploymentOptions
from tidemark.feeds import synthetic_feed
from tidemark.load.clients import open_accounts
from tidemark.load.http import HttpGateway
from tidemark.load.trial import Crowd, TrialOptions
from tidemark.quotes import QuoteBoard
from tidemark.services import FLEET
from tidemark.state import StateDir

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="module")]
QUIET = "quiet"
"""An account that is funded and does not trade: nobody but the test writes its rows."""
STORES = ("log", "rocksdb", "postgres", "redis")
NOTICED_S = 5.0
GONE_S = 30.0


class Audited:
    """A fleet with an auditor, and what the auditor says."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self._http = httpx.AsyncClient(timeout=5)

    async def close(self) -> None:
        await self._http.aclose()

    async def divergence(self) -> dict[str, float]:
        """Store → ``ledger_divergence``."""
        page = metrics.parse((await self._http.get(f"{self.deployment.url('auditor')}/metrics")).text)
        return {store: metrics.total(page, "tidemark_auditor_ledger_divergence", store=store) for store in STORES}

    async def total(self, name: str) -> float:
        page = metrics.parse((await self._http.get(f"{self.deployment.url('auditor')}/metrics")).text)
        return metrics.total(page, name)

    async def report(self) -> dict[str, Any]:
        """The detail of the audit check, as the health page has it."""
        answer = await self._http.get(f"{self.deployment.url('auditor')}/health/ready")
        detail: dict[str, Any] = answer.json()["checks"]["audit"]["detail"]
        return detail

    async def until(self, condition: Callable[[], Awaitable[bool]], seconds: float) -> float:
        """Seconds until it was so; says what the auditor said where it never was."""
        began = time.monotonic()
        while not await condition():
            if time.monotonic() - began > seconds:
                raise AssertionError(f"not within {seconds} s; {await self.divergence()} {await self.report()}")
            await asyncio.sleep(0.05)
        return time.monotonic() - began

    async def notices(self, store: str, tamper: Callable[[], Awaitable[Any]]) -> dict[str, Any]:
        """Tampers, and returns the report once the store is said to differ."""
        assert (await self.divergence())[store] == 0

        async def noticed() -> bool:
            return (await self.divergence())[store] > 0

        await tamper()
        print(f"{store}: noticed after {await self.until(noticed, NOTICED_S):.2f} s")
        return await self.report()

    async def is_quiet(self) -> bool:
        return not any((await self.divergence()).values())

    async def looks_since(self, count: int) -> None:
        """Until the auditor has completed so many looks more."""
        wanted = await self.total("tidemark_auditor_look_seconds_count") + count

        async def looked() -> bool:
            return await self.total("tidemark_auditor_look_seconds_count") >= wanted

        await self.until(looked, 60)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def audited(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Audited]:
    """A fleet that has traded, with risk killed under load meanwhile."""
    options = DeploymentOptions(
        any_free_ports=True,
        feed=synthetic_feed(seed=5, rate_per_s=500, symbols=20),
        keep=False,
        services=FLEET,
        environment={"TIDEMARK_AUDIT_CALM_S": "5"},
    )
    state = StateDir(tmp_path_factory.mktemp("audited"))
    async with Deployment(state, options) as deployment, QuoteBoard(deployment.addresses.redis_url) as quotes:
        audited = Audited(deployment)
        said: list[dict[str, float]] = []

        async def listen() -> None:
            while True:
                said.append(await audited.divergence())
                await asyncio.sleep(0.2)

        listening = asyncio.create_task(listen())
        crowd = Crowd(deployment, quotes, print)
        await crowd.open(accounts=20)
        async with HttpGateway(deployment.url("orders")) as gateway:
            await open_accounts(gateway, {QUIET: ()})
        outcome = await crowd.trial(
            TrialOptions("audited", over_http=300, http_per_s=20, through_topic=2_000, kills=("risk", "orders"))
        )
        await audited.looks_since(10)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        assert [c for c in outcome.audit.comparisons if not c.is_sound] == []
        assert outcome.killed == ("risk", "orders")
        assert [row for row in said if any(row.values())] == []
        assert len(said) > 20
        yield audited
        await audited.close()


async def test_clean_run_with_kills_then_nothing_was_said_and_everything_was_compared(audited: Audited) -> None:
    assert await audited.is_quiet()
    assert await audited.total("tidemark_auditor_sequence_errors_total") == 0
    assert await audited.total("tidemark_auditor_ledger_sum_e4") == 0
    report = await audited.report()
    assert report["accounts"] == 21
    assert report["entries"] > 2_000
    assert report["unreadable"] == 0


ENDED = "SELECT min(order_id) FROM orders WHERE state = 'FILLED'"
CASH = "asset = '@CASH' AND book = 'AVAILABLE'"
CHANGES = {
    "balance": ("UPDATE balances SET amount = amount + {by} WHERE account_id = $1 AND " + CASH),
    "sequence": "UPDATE accounts SET ledger_seq = ledger_seq + {by} WHERE account_id = $1",
    "entry": """UPDATE ledger_entries SET postings = jsonb_set(postings, '{{0,amount}}',
                to_jsonb((postings #>> '{{0,amount}}')::bigint + {by})) WHERE account_id = $1 AND seq = 1""",
    "order": "UPDATE orders SET cum_qty = cum_qty + {by} WHERE order_id = (" + ENDED + ")",
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("by", [1, -1])
async def test_row_changed_in_postgres_then_noticed_and_gone_once_undone(
    audited: Audited, change: str, by: int
) -> None:
    connection = await asyncpg.connect(audited.deployment.addresses.postgres_dsn)
    try:
        arguments = [QUIET] if "$1" in CHANGES[change] else []
        report = await audited.notices(
            "postgres", lambda: connection.execute(CHANGES[change].format(by=by), *arguments)
        )
        assert report["first"].startswith("postgres ")
        await connection.execute(CHANGES[change].format(by=-by), *arguments)
        await audited.until(audited.is_quiet, GONE_S)
    finally:
        await connection.close()


async def test_view_changed_in_redis_then_noticed_and_gone_once_undone(audited: Audited) -> None:
    channel = view_channel("account", QUIET)
    async with Redis.from_url(audited.deployment.addresses.redis_url) as redis:
        before = await redis.hget(channel, "account")
        assert before is not None
        envelope = json.loads(before)
        envelope["data"]["cash_e4"] += 1
        report = await audited.notices("redis", lambda: redis.hset(channel, "account", json.dumps(envelope)))
        assert report["first"].startswith(f"redis account {QUIET}")
        await redis.hset(channel, "account", before)
        await audited.until(audited.is_quiet, GONE_S)


async def test_view_that_vanished_from_redis_then_noticed(audited: Audited) -> None:
    channel = view_channel("account", QUIET)
    async with Redis.from_url(audited.deployment.addresses.redis_url) as redis:
        before = await redis.hget(channel, "account")
        assert before is not None
        report = await audited.notices("redis", lambda: redis.delete(channel))
        assert report["first"] == f"redis account {QUIET}: missing"
        await redis.hset(channel, "account", before)
        await audited.until(audited.is_quiet, GONE_S)


async def test_health_view_says_what_the_strip_shows(audited: Audited) -> None:
    async with Redis.from_url(audited.deployment.addresses.redis_url) as redis:

        async def said() -> HealthData:
            (row,) = await redis.hvals(view_channel("health", "auditor"))
            return HealthData.model_validate(Envelope.model_validate_json(row).data)

        async def says_all_is_well() -> bool:
            detail = (await said()).detail  # a second old at most
            return bool(detail["audit.divergent"] == 0)

        await audited.until(says_all_is_well, NOTICED_S)
        health = await said()
    assert health.ready
    assert time.time_ns() - health.detail["audit.looked_ns"] < NOTICED_S * 1e9


async def tidemark(state: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and standard output of a command on the fleet."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "tidemark.main", *arguments, "--state-dir", str(state), stdout=subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


async def test_chain_of_the_log_and_of_its_export_then_whole_and_an_altered_entry_is_found_offline(
    audited: Audited, tmp_path: Path
) -> None:
    state = audited.deployment.state.root
    code, heads = await tidemark(state, "audit", "--verify-chain")
    assert (code, len(heads.splitlines())) == (0, RISK_LEDGER.partitions)
    export, kept = tmp_path / "ledger.jsonl", tmp_path / "heads"
    kept.write_text(heads, "utf-8")
    await tidemark(state, "read", RISK_LEDGER.name, "--from-beginning", "--to-end", "--out", str(export))
    offline = ("audit", "--verify-chain", str(export), "--heads", str(kept))
    assert (await tidemark(tmp_path, *offline))[0] == 0
    rows = [json.loads(line) for line in export.read_text("utf-8").splitlines()]
    assert len(rows) > 2_000
    rows[1_000]["booked_ns"] += 1
    export.write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
    code, out = await tidemark(tmp_path, *offline, "--json")
    (fault,) = json.loads(out)["faults"]
    assert (code, fault["fault"], fault["offset"]) == (1, "altered", rows[1_000]["offset"])


def gate_files(data: Path) -> tuple[Path, Path]:
    """A table file and a write-ahead log of the gate."""
    found = [path for path in data.glob("risk/gate/*/store/*") if path.stat().st_size > 200]
    return next(path for path in found if path.suffix == ".sst"), next(path for path in found if path.suffix == ".log")


def flip(file: Path) -> None:
    """Changes one bit of a file by hand."""
    with file.open("r+b") as opened:
        opened.seek(100)
        byte = opened.read(1)[0]
        opened.seek(100)
        opened.write(bytes([byte ^ 1]))


async def test_one_byte_cut_in_a_file_of_the_gate_then_noticed_and_gone_once_undone(audited: Audited) -> None:
    """Last: whoever reads the store while the byte is wrong may remember it."""
    data = Path(audited.deployment.addresses.data_dir)
    for file in gate_files(data):
        report = await audited.notices("rocksdb", partial(asyncio.to_thread, flip, file))
        assert file.name in report["first"]
        await asyncio.to_thread(flip, file)
        await audited.until(audited.is_quiet, GONE_S)
