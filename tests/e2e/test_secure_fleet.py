"""A fleet whose Kafka, Redis and PostgreSQL know every service, as `tidemark up --secure` starts it."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest
import pytest_asyncio
from common.contracts.rights import Role, SqlRole
from redis.exceptions import RedisError
from streams.process.settings import FILE_VARIABLE
from streams.views.redis_client import redis_client
from tidemark.authority import Authority
from tidemark.deployment import Deployment, DeploymentOptions
from tidemark.load.http import HttpGateway
from tidemark.state import StateDir
from tidemark.watcher import bearer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ACCOUNT = "DESK1"
CASH_E4 = 1_000_000_000
WAIT_S = 60.0
POLL_S = 0.2


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    """One account is open, with cash."""
    options = DeploymentOptions(
        any_free_ports=True, keep=False, access=True, secure=True, services=("risk", "orders", "push", "auditor")
    )
    async with Deployment(StateDir(tmp_path_factory.mktemp("secure")), options) as running:
        operates = running.credential("test", (Role.OPERATOR,))
        async with HttpGateway(running.url("orders"), credential=operates) as gateway:
            await gateway.open_account(ACCOUNT, CASH_E4, [])
        yield running


@pytest.mark.asyncio(loop_scope="module")
async def test_account_when_it_is_funded_then_every_copy_has_it(fleet: Deployment) -> None:
    """Through the log, the projection in PostgreSQL and the view in Redis, each by its service's own identity."""
    token = fleet.token("ann", (Role.TRADER,), [ACCOUNT])
    async with httpx.AsyncClient(headers=bearer(token), timeout=WAIT_S) as http, asyncio.timeout(WAIT_S):
        while True:
            entries = await http.get(f"{fleet.url('orders')}/v1/accounts/{ACCOUNT}/ledger")
            shown = await http.get(f"{fleet.url('push')}/v1/accounts")
            if entries.status_code == 200 and entries.json()["items"] and shown.json() == {"accounts": [ACCOUNT]}:
                break
            await asyncio.sleep(POLL_S)


@pytest.mark.asyncio(loop_scope="module")
async def test_command_line_in_another_process_then_the_fleet_s_record_tells_it_who_it_is(fleet: Deployment) -> None:
    """The audit reads the log, the stores, PostgreSQL and Redis."""
    environment = {name: value for name, value in os.environ.items() if name != FILE_VARIABLE}
    for command in (("status",), ("audit",), ("topics", "list")):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tidemark.main", *command, "--state-dir", str(fleet.state.root),
            env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        assert process.returncode == 0, f"{command}: {(out + err).decode()}"


@pytest.mark.asyncio(loop_scope="module")
async def test_parts_then_they_are_closed_to_whoever_has_the_address_alone(fleet: Deployment) -> None:
    parts = fleet.stack.addresses if fleet.stack else None
    assert parts is not None
    assert parts.redis_url.startswith("rediss://")
    async with redis_client(parts.redis_url.replace("rediss", "redis")) as redis:
        with pytest.raises((RedisError, OSError)):
            await redis.ping()
    with pytest.raises((asyncpg.PostgresError, OSError)):
        await asyncpg.connect(parts.postgres_dsn, ssl=False, timeout=WAIT_S)


@pytest.mark.asyncio(loop_scope="module")
async def test_certificates_when_issued_anew_while_it_runs_then_orders_go_on(fleet: Deployment) -> None:
    """Nothing is started again: new connections take the new files."""
    Authority(fleet.state.secure).issue(["127.0.0.1", "localhost"])
    operates = fleet.credential("test", (Role.OPERATOR,))
    async with HttpGateway(fleet.url("orders"), credential=operates) as gateway:
        await gateway.open_account("DESK2", CASH_E4, [])
    dsn = Authority(fleet.state.secure).postgres_dsn(
        "auditor", SqlRole.AUDITOR, fleet.addresses.postgres_dsn.partition("@")[2].partition("?")[0]
    )
    connection = await asyncpg.connect(dsn, timeout=WAIT_S)
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()


def test_logs_then_no_password_and_no_key_is_in_them(fleet: Deployment) -> None:
    secrets = [
        line.partition(":")[2]
        for path in fleet.state.secure.glob("*/passwords")
        for line in path.read_text("utf-8").splitlines()
    ]
    secrets += [path.read_text("utf-8").splitlines()[1] for path in fleet.state.secure.glob("*/*.key")]
    assert secrets
    for log in fleet.state.logs.iterdir():
        text = log.read_text("utf-8", errors="replace")
        assert not [secret for secret in secrets if secret in text], log.name
