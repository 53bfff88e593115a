"""Order entry beside every fault of PostgreSQL: 201 in time, as long as it lasts, by the process that it began with."""

import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx
import pytest
from common.contracts.topics import ORDERS_EVENTS, ORDERS_EXECUTIONS
from common.testing.accidents import trim
from common.testing.forwarder import Forwarder
from orders.database import Database
from orders.projection import TOPICS
from orders.rebuild import state, tables
from orders.settings import OrdersPostgresSettings
from orders.sink import ProjectionSink
from parts import LocalStack
from pydantic import SecretStr
from streams.edges.reader import CommittedReader
from streams.kafka.kafka_log import KafkaLog
from streams.model.log import Partition
from streams.service.app import STOP_MAX_S

from tests.orders.projected_log import open_database
from tests.orders.worker_fleet import Fleet, running

pytestmark = pytest.mark.slow
PAUSE_S = 0.04
FAULT_S = 4.0
ANSWER_MAX_S = 4.0
"""The machine may be busy. Were a fault not contained, an answer would take the five seconds of a verdict, or none."""


@pytest.fixture(scope="module")
def parts() -> Iterator[LocalStack]:
    """Parts of this module's own, since PostgreSQL is killed, and worse."""
    with LocalStack() as local:
        yield local


@pytest.fixture
async def forwarder(parts: LocalStack) -> AsyncIterator[Forwarder]:
    target = urlsplit(parts.addresses.postgres_dsn)
    assert target.hostname and target.port
    async with Forwarder(target.hostname, target.port) as between:
        yield between


@pytest.fixture
async def fleet(parts: LocalStack, tmp_path: Path, make: Any, forwarder: Forwarder) -> AsyncIterator[Fleet]:
    where = urlsplit(parts.addresses.postgres_dsn)
    user = where.netloc.split("@")[0] + "@" if "@" in where.netloc else ""
    dsn = urlunsplit(where._replace(netloc=f"{user}127.0.0.1:{forwarder.port}"))
    limits = {"TIDEMARK_READS_TIMEOUT_MS": "500", "TIDEMARK_POSTGRES_TIMEOUT_MS": "1000"}
    limits |= {"TIDEMARK_PROJECTION_BACKOFF_MAX_S": "1"}
    async with running(Fleet(parts, tmp_path, make, dsn, **limits)) as worker:
        yield worker


class Trader:
    """Sends orders all the time and reads each at the place it was told."""

    def __init__(self, fleet: Fleet, number: int) -> None:
        self._fleet = fleet
        self._number = number
        self.submitted: Counter[int] = Counter()
        self.read: Counter[int] = Counter()
        self.longest_s = 0.0
        self.ids: list[str] = []

    async def trade(self) -> None:
        while True:
            self._number += 2  # the gate says yes to even ones
            number = self._number
            began = time.monotonic()
            response = await self._fleet.submit(str(number), limit_price_e4=1)
            self.longest_s = max(self.longest_s, time.monotonic() - began)
            self.submitted[response.status_code] += 1
            self.ids.append(f"A.{number}")
            self.read[(await self._fleet.client.get(response.headers["Location"])).status_code] += 1
            await asyncio.sleep(PAUSE_S)


@asynccontextmanager
async def trading(fleet: Fleet, number: int = 0) -> AsyncIterator[Trader]:
    """Asserts at the end that nothing but 201 in time was answered, by one and the same process."""
    assert fleet.worker is not None
    trader = Trader(fleet, number)
    task = asyncio.create_task(trader.trade())
    try:
        yield trader
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert set(trader.submitted) == {201}
    assert set(trader.read) == {200}, "each was read where 201 said that it is"
    assert trader.submitted[201] > 100
    assert trader.longest_s < ANSWER_MAX_S
    assert fleet.worker.exit_code is None, "it lives"


async def check(fleet: Fleet, name: str) -> dict[str, Any]:
    """The readiness page's detail of one check; the page says ready whatever PostgreSQL does."""
    response = await fleet.client.get("/health/ready")
    assert response.status_code == 200, response.text
    detail: dict[str, Any] = response.json()["checks"][name]["detail"]
    return detail


async def until_said(fleet: Fleet, **said: str) -> dict[str, Any]:
    async def is_said() -> Any:
        detail = await check(fleet, "projection")
        return detail if detail.items() >= said.items() else None

    detail: dict[str, Any] = await fleet.until(is_said)
    return detail


async def psql(parts: LocalStack, *statements: str, read_only_too: bool = False) -> None:
    """As an operator, past the forwarder."""
    settings = {"default_transaction_read_only": "off"} if read_only_too else {}
    connection = await asyncpg.connect(parts.addresses.postgres_dsn, server_settings=settings)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


CUT_OTHERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


async def test_orders_go_on_whatever_postgres_does_and_the_rows_are_whole_afterwards(
    fleet: Fleet, parts: LocalStack, forwarder: Forwarder
) -> None:
    async with trading(fleet) as trader:
        await asyncio.sleep(1)
        await until_said(fleet, state="ok")
        for fault in (_read_only, _silent, _killed, _full, _without_a_table, _closed_to_the_role):
            at = len(trader.ids)
            await fault(fleet, parts, forwarder)
            assert len(trader.ids) - at > 20, f"orders during {fault.__name__}"
            detail = await until_said(fleet, state="ok")
            assert 0 <= detail["age_s"] < 10
    await fleet.until(lambda: _is_projected(fleet, trader.ids[-1]))
    await _rows_are_the_fold_of_the_log(fleet, parts)


async def _is_projected(fleet: Fleet, order_id: str) -> bool:
    response = await fleet.client.get(f"/v1/orders/{order_id}")
    return response.status_code == 200 and response.headers["Tidemark-As-Of"].startswith("source=projection")


async def _read_only(fleet: Fleet, parts: LocalStack, _forwarder: Forwarder) -> None:
    """As after a failover: the address leads to a standby."""
    name = urlsplit(parts.addresses.postgres_dsn).path.strip("/")
    await psql(parts, f"ALTER DATABASE {name} SET default_transaction_read_only = on", CUT_OTHERS)
    await until_said(fleet, state="degraded", reason="read-only")
    await asyncio.sleep(FAULT_S)
    first = await fleet.client.get("/v1/accounts/A/orders")
    assert first.status_code == 200, "reads go on, and say how old they are"
    assert first.headers["Tidemark-As-Of"].endswith(", behind")
    reset = f"ALTER DATABASE {name} RESET default_transaction_read_only"
    await psql(parts, reset, CUT_OTHERS, read_only_too=True)


async def _silent(fleet: Fleet, _parts: LocalStack, forwarder: Forwarder) -> None:
    forwarder.hang()
    await until_said(fleet, state="degraded", reason="slow")
    end = time.monotonic() + FAULT_S
    while time.monotonic() < end:
        began = time.monotonic()
        response = await fleet.client.get("/v1/accounts/A/orders")
        assert response.status_code == 503
        assert response.json()["type"] == "urn:tidemark:problem:reads-degraded"
        assert response.headers["Retry-After"]
        assert time.monotonic() - began < ANSWER_MAX_S
        await asyncio.sleep(PAUSE_S)
    assert (await check(fleet, "reads"))["state"] == "degraded"
    forwarder.go_on()


async def _killed(fleet: Fleet, parts: LocalStack, _forwarder: Forwarder) -> None:
    await asyncio.to_thread(parts.kill, "postgres")
    await until_said(fleet, state="degraded")
    await asyncio.sleep(FAULT_S / 2)
    await asyncio.to_thread(parts.restart, "postgres")


async def _full(fleet: Fleet, parts: LocalStack, _forwarder: Forwarder) -> None:
    """The error of PostgreSQL for a full disk, said by a trigger."""
    await psql(
        parts,
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$",
        "CREATE TRIGGER full_disk BEFORE INSERT ON orders EXECUTE FUNCTION full_disk()",
    )
    await until_said(fleet, state="degraded", reason="full")
    await asyncio.sleep(FAULT_S / 2)
    await psql(parts, "DROP FUNCTION full_disk CASCADE")


async def _without_a_table(fleet: Fleet, parts: LocalStack, _forwarder: Forwarder) -> None:
    """One topic stops and names its record; the others go on; the command makes all of it anew."""
    await psql(parts, "ALTER TABLE executions RENAME TO executions_by_hand")
    detail = await until_said(fleet, state="stopped")
    assert all(name.startswith(ORDERS_EXECUTIONS.name) for name in detail["stopped"])
    [stop, *_] = detail["stopped"].values()
    assert stop["account_id"] == "A" and 'relation "executions" does not exist' in stop["error"]
    assert (await fleet.client.get("/v1/accounts/A/executions")).json()["trouble"] == "schema"
    assert (await fleet.client.get("/v1/accounts/A/orders")).status_code == 200
    code, _, errors = await tidemark(parts, "rebuild", "--yes")
    assert code == 1 and "--recreate" in errors
    code, shown, errors = await tidemark(parts, "rebuild", "--recreate")
    assert (code, "executions" in shown, "nothing was done" in errors) == (0, True, True)
    code, _, errors = await tidemark(parts, "rebuild", "--yes", "--recreate", "--reason", "renamed by hand")
    assert code == 0, errors
    await psql(parts, "DROP TABLE executions_by_hand")


async def _closed_to_the_role(fleet: Fleet, parts: LocalStack, _forwarder: Forwarder) -> None:
    """No new connection is let in, and the old ones end."""
    name = urlsplit(parts.addresses.postgres_dsn).path.strip("/")
    admin = urlunsplit(urlsplit(parts.addresses.postgres_dsn)._replace(path="/template1"))
    connection = await asyncpg.connect(admin)
    try:
        await connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await connection.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        await until_said(fleet, state="degraded")
        await asyncio.sleep(FAULT_S / 2)
        await connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    finally:
        await connection.close()


async def tidemark(parts: LocalStack, *arguments: str) -> tuple[int, str, str]:
    where = ["--bootstrap", parts.addresses.kafka_bootstrap, "--postgres", parts.addresses.postgres_dsn]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tidemark.main", "projection", *arguments, *where),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def _rows_are_the_fold_of_the_log(fleet: Fleet, parts: LocalStack) -> None:
    """Beside rows that a projection without any fault makes in another database."""
    code, shown, errors = await tidemark(parts, "show", "--json")
    assert code == 0, errors
    found = json.loads(shown)
    assert (found["holes"], found["wrong_columns"]) == ([], [])
    assert [one["reason"] for one in found["rebuilds"]] == ["renamed by hand"]
    await psql(parts, "CREATE DATABASE beside")
    beside = urlunsplit(urlsplit(parts.addresses.postgres_dsn)._replace(path="/beside"))
    database = Database(OrdersPostgresSettings(dsn=SecretStr(beside)), 1)
    sink = ProjectionSink(database)
    await sink.positions()
    async with CommittedReader(fleet.settings, TOPICS, from_beginning=True) as reader:
        seen: set[tuple[str, int]] = set()
        async for messages in reader.batches_until(await reader.ends()):
            seen.update((message.topic.name, message.partition) for message in messages)
            await sink.apply(messages, {place: reader.positions[place] for place in seen})
        await sink.apply([], {place: reader.positions[place] for place in seen})
    await database.close()
    assert await _rows(parts.addresses.postgres_dsn) == await _rows(beside)


async def _rows(dsn: str) -> dict[str, list[str]]:
    connection = await asyncpg.connect(dsn)
    try:
        rows: dict[str, list[str]] = {}
        for table in tables():
            if table == "projection_rebuilds":
                continue
            found = await connection.fetch(f"SELECT * FROM {table}")
            rows[table] = sorted(str([value for name, value in row.items() if name != "number"]) for row in found)
        assert len(rows["orders"]) > 100
        return rows
    finally:
        await connection.close()


async def test_worker_when_it_starts_without_postgres_then_orders_are_taken(
    parts: LocalStack, tmp_path: Path, make: Any
) -> None:
    """Nothing listens there, and nothing ever has."""
    async with (
        running(Fleet(parts, tmp_path, make, "postgresql://nobody@127.0.0.1:1/nothing")) as fleet,
        trading(fleet, number=1_000_000) as trader,
    ):
        await until_said(fleet, state="degraded", reason="away")
        while len(trader.ids) <= 100:
            await asyncio.sleep(0.1)
        response = await fleet.client.get("/v1/accounts/A/orders")
        assert response.status_code == 503
        assert isinstance(response, httpx.Response)


async def test_worker_when_postgres_is_empty_and_the_beginning_of_the_log_has_expired_then_it_says_what_is_missing(
    parts: LocalStack, tmp_path: Path, make: Any
) -> None:
    dsn, bootstrap = parts.addresses.postgres_dsn, parts.addresses.kafka_bootstrap
    for name in ("whole", "filled-again"):
        (tmp_path / name).mkdir()
    async with running(Fleet(parts, tmp_path / "whole", make, dsn)) as fleet:
        for number in range(2_000_000, 2_000_010, 2):
            assert (await fleet.submit(str(number), limit_price_e4=1)).status_code == 201
        await until_said(fleet, state="ok")
    log = KafkaLog(fleet.settings, "test-expiry")
    await log.start()
    expired = []
    for number in range(ORDERS_EVENTS.partitions):
        if end := await log.high_watermark(Partition(ORDERS_EVENTS.name, number)):
            await trim(bootstrap, log, ORDERS_EVENTS, number, end - 1)
            expired.append((ORDERS_EVENTS.name, number, 0, end - 1))
    await log.stop()
    await psql(parts, "CREATE DATABASE filled_again")
    empty = urlunsplit(urlsplit(dsn)._replace(path="/filled_again"))
    async with running(Fleet(parts, tmp_path / "filled-again", make, empty)) as fleet:
        await until_said(fleet, reason=f"{len(expired)} stretches of the log expired unread")
        assert (await fleet.submit("2000010", limit_price_e4=1)).status_code == 201
    database = open_database(empty)
    assert (await database.transaction(state)).holes == expired
    await database.close()


async def test_worker_when_it_is_to_end_while_the_broker_hangs_then_it_is_gone_in_time_and_the_next_takes_orders(
    parts: LocalStack, tmp_path: Path, make: Any
) -> None:
    """As in a rolling restart beside a stuck disk."""
    async with running(Fleet(parts, tmp_path, make, parts.addresses.postgres_dsn)) as fleet:
        assert (await fleet.submit("3000000", limit_price_e4=1)).status_code == 201
        assert fleet.worker is not None
        os.kill(parts.pid("kafka"), signal.SIGSTOP)
        try:
            began_s = time.monotonic()
            assert await asyncio.to_thread(fleet.worker.stop, grace_s=2 * STOP_MAX_S), "it had to be killed"
            assert time.monotonic() - began_s < STOP_MAX_S + ANSWER_MAX_S
        finally:
            os.kill(parts.pid("kafka"), signal.SIGCONT)
        await fleet.start_worker()
        assert (await fleet.submit("3000002", limit_price_e4=1)).status_code == 201
        again = await fleet.submit("3000000", limit_price_e4=1)
        assert again.status_code == 200, "the order of before is known"
