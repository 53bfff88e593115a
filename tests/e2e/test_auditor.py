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
NOTICED_S = 8.0
GONE_S = 30.0


class Audited:
    """A fleet with an auditor, and what the auditor says."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self._http = httpx.AsyncClient(timeout=30)  # how soon it notices is measured, and not asserted by this

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
TRADE = "SELECT min(execution_id) FROM executions WHERE exec_type = 'TRADE'"
CASH = "asset = '@CASH' AND book = 'AVAILABLE'"
CHANGES = {
    "balance": ("UPDATE balances SET amount = amount + {by} WHERE account_id = $1 AND " + CASH),
    "sequence": "UPDATE accounts SET ledger_seq = ledger_seq + {by} WHERE account_id = $1",
    "entry": """UPDATE ledger_entries SET postings = jsonb_set(postings, '{{0,amount}}',
                to_jsonb((postings #>> '{{0,amount}}')::bigint + {by})) WHERE account_id = $1 AND seq = 1""",
    "order": "UPDATE orders SET cum_qty = cum_qty + {by} WHERE order_id = (" + ENDED + ")",
    "order's time": "UPDATE orders SET updated_ns = updated_ns + {by} WHERE order_id = (" + ENDED + ")",
    "execution": "UPDATE executions SET last_price_e4 = last_price_e4 + {by} WHERE execution_id = (" + TRADE + ")",
    "execution's time": "UPDATE executions SET venue_ns = venue_ns + {by} WHERE execution_id = (" + TRADE + ")",
    "decision": "UPDATE decisions SET decided_ns = decided_ns + {by} WHERE order_id = (" + ENDED + ")",
    "command result": "UPDATE command_results SET decided_ns = decided_ns + {by} WHERE account_id = $1",
    "entry's time": "UPDATE ledger_entries SET booked_ns = booked_ns + {by} WHERE account_id = $1 AND seq = 1",
}
SWAPS = {
    "status": ("UPDATE accounts SET status = '{to}' WHERE account_id = $1", "SUSPENDED", "ACTIVE"),
    "order's state": ("UPDATE orders SET state = '{to}' WHERE order_id = $2", "CANCELED", "FILLED"),
    "order's account": ("UPDATE orders SET account_id = '{to}' WHERE order_id = $2", "OTHER", "split_part($2, '.', 1)"),
    "order's text": ("UPDATE orders SET text = '{to}' WHERE order_id = $2", "paid", ""),
    "order's reason": ("UPDATE orders SET reason = nullif('{to}', '') WHERE order_id = $2", "CASH_INSUFFICIENT", ""),
    "execution's text": ("UPDATE executions SET text = '{to}' WHERE execution_id = $3", "paid", ""),
    "decision's verdict": ("UPDATE decisions SET accepted = {to} WHERE order_id = $2", "false", "true"),
    "command's verdict": ("UPDATE command_results SET accepted = {to} WHERE account_id = $1", "false", "true"),
    "entry's kind": ("UPDATE ledger_entries SET kind = '{to}' WHERE account_id = $1 AND seq = 1", "WITHDRAW", "FUND"),
    "entry's command": (
        "UPDATE ledger_entries SET command_id = {to} WHERE account_id = $1 AND seq = 1",
        "command_id || 'x'",
        "left(command_id, -1)",
    ),
}
TABLES = {
    "orders": "order_id = (" + ENDED + ")",
    "executions": "execution_id = (" + TRADE + ")",
    "decisions": "order_id = (" + ENDED + ")",
    "command_results": "account_id = $1 AND command_id = (SELECT min(command_id) FROM command_results"
    " WHERE account_id = $1)",
    "ledger_entries": "account_id = $1 AND seq = 1",
}
"""Rows to be deleted, one of each table."""


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


@pytest.mark.parametrize("swap", SWAPS)
async def test_text_changed_in_postgres_then_noticed_and_gone_once_undone(audited: Audited, swap: str) -> None:
    statement, wrong, right = SWAPS[swap]
    connection = await asyncpg.connect(audited.deployment.addresses.postgres_dsn)
    try:
        known = [QUIET, await connection.fetchval(ENDED), await connection.fetchval(TRADE)]
        if right.startswith("split_part"):
            right = known[1].partition(".")[0]
        for place, value in enumerate(known, 1):
            statement = statement.replace(f"${place}", f"'{value}'")
        report = await audited.notices("postgres", lambda: connection.execute(statement.format(to=wrong)))
        assert report["first"].startswith("postgres ")
        await connection.execute(statement.format(to=right))
        await audited.until(audited.is_quiet, GONE_S)
    finally:
        await connection.close()


@pytest.mark.parametrize("table", TABLES)
async def test_row_deleted_in_postgres_then_noticed_and_gone_once_it_is_back(audited: Audited, table: str) -> None:
    connection = await asyncpg.connect(audited.deployment.addresses.postgres_dsn)
    try:
        where = TABLES[table].replace("$1", f"'{QUIET}'")
        await connection.execute(f"CREATE TEMP TABLE kept AS SELECT * FROM {table} WHERE {where}")
        (columns,) = await connection.fetch(
            "SELECT string_agg(column_name, ', ') FROM information_schema.columns"
            " WHERE table_name = $1 AND is_identity = 'NO'",
            table,
        )
        report = await audited.notices("postgres", lambda: connection.execute(f"DELETE FROM {table} WHERE {where}"))
        assert report["first"].startswith("postgres ")
        await connection.execute(f"INSERT INTO {table} ({columns[0]}) SELECT {columns[0]} FROM kept")
        await audited.until(audited.is_quiet, GONE_S)
    finally:
        await connection.close()


async def test_execution_that_the_venue_never_said_then_noticed(audited: Audited) -> None:
    connection = await asyncpg.connect(audited.deployment.addresses.postgres_dsn)
    try:
        columns = (
            "exec_type, order_id, account_id, symbol, side, last_qty, last_price_e4, cum_qty, leaves_qty, venue_ns"
        )
        forged = (
            f"INSERT INTO executions (execution_id, {columns}, text) SELECT 'forged', {columns}, text"
            f" FROM executions WHERE execution_id = ({TRADE})"
        )
        report = await audited.notices("postgres", lambda: connection.execute(forged))
        assert report["first"].startswith("postgres execution forged")
        await connection.execute("DELETE FROM executions WHERE execution_id = 'forged'")
        await audited.until(audited.is_quiet, GONE_S)
    finally:
        await connection.close()


async def newest_fill(audited: Audited) -> tuple[str, str]:
    """Channel and key of the view row of the newest trade."""
    connection = await asyncpg.connect(audited.deployment.addresses.postgres_dsn)
    newest = await connection.fetchrow(
        "SELECT execution_id, account_id FROM executions WHERE exec_type = 'TRADE' ORDER BY number DESC LIMIT 1"
    )
    await connection.close()
    assert newest is not None
    return view_channel("fill", newest["account_id"]), newest["execution_id"]


async def test_fill_changed_in_redis_then_noticed_and_gone_once_undone(audited: Audited) -> None:
    channel, key = await newest_fill(audited)
    async with Redis.from_url(audited.deployment.addresses.redis_url) as redis:
        before = await redis.hget(channel, key)
        assert before is not None
        envelope = json.loads(before)
        envelope["data"]["last_price_e4"] //= 2
        report = await audited.notices("redis", lambda: redis.hset(channel, key, json.dumps(envelope)))
        assert report["first"].startswith(f"redis execution {key}")
        await redis.hset(channel, key, before)
        await audited.until(audited.is_quiet, GONE_S)


async def test_status_changed_in_redis_then_noticed_and_gone_once_undone(audited: Audited) -> None:
    channel = view_channel("account", QUIET)
    async with Redis.from_url(audited.deployment.addresses.redis_url) as redis:
        before = await redis.hget(channel, "account")
        assert before is not None
        envelope = json.loads(before)
        envelope["data"]["status"] = "SUSPENDED"
        report = await audited.notices("redis", lambda: redis.hset(channel, "account", json.dumps(envelope)))
        assert report["first"] == f"redis account {QUIET}: status is SUSPENDED, the log says ACTIVE"[:64]
        await redis.hset(channel, "account", before)
        await audited.until(audited.is_quiet, GONE_S)


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


async def test_row_that_vanished_from_redis_then_its_writer_brings_it_back(audited: Audited) -> None:
    """The writer counts its rows in Redis and fills in what is gone; the auditor waits longer than that for a view."""
    async with Redis.from_url(audited.deployment.addresses.redis_url) as redis:
        for channel, key in (await newest_fill(audited), (view_channel("account", QUIET), "account")):
            before = await redis.hget(channel, key)
            assert before is not None

            async def is_back(channel: str = channel, key: str = key, before: str | bytes = before) -> bool:
                row = await redis.hget(channel, key)
                return row is not None and bool(json.loads(row)["data"] == json.loads(before)["data"])

            assert await redis.hdel(channel, key) == 1
            print(f"{channel}: back after {await audited.until(is_back, NOTICED_S):.2f} s")
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
