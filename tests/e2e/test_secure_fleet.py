"""A fleet whose Kafka, Redis and PostgreSQL know every service, as `tidemark up --secure` starts it."""

import asyncio
import json
import os
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Collection
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
import pytest_asyncio
import websockets
from common.contracts.rights import Role
from redis.exceptions import RedisError
from streams.process.settings_tree import FILE_VARIABLE
from streams.views.redis_client import redis_client
from tidemark.deployment import Deployment, DeploymentOptions
from tidemark.load.http import HttpGateway
from tidemark.state import StateDir
from tidemark.watcher import bearer
from websockets.asyncio.client import ClientConnection

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ACCOUNT = "DESK1"
CASH_E4 = 1_000_000_000
WAIT_S = 60.0
READY_S = 180.0
POLL_S = 0.2
CUT_OFF_S = 5.0
ORDERS = 100
UNAUTHENTICATED = 4401


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
    await _until_every_copy_has(fleet, ACCOUNT)


async def _until_every_copy_has(fleet: Deployment, account: str) -> None:
    headers = bearer(fleet.token("ann", (Role.TRADER,), [account]))
    async with httpx.AsyncClient(headers=headers, timeout=WAIT_S) as http, asyncio.timeout(WAIT_S):
        while True:
            entries = await http.get(f"{fleet.url('orders')}/v1/accounts/{account}/ledger")
            shown = await http.get(f"{fleet.url('push')}/v1/accounts")
            if entries.status_code == 200 and entries.json()["items"] and shown.json() == {"accounts": [account]}:
                break
            await asyncio.sleep(POLL_S)


@pytest.mark.asyncio(loop_scope="module")
async def test_command_line_in_another_process_then_the_fleet_s_record_tells_it_who_it_is(fleet: Deployment) -> None:
    """The audit reads the log, the stores, PostgreSQL and Redis."""
    environment = {name: value for name, value in os.environ.items() if name != FILE_VARIABLE}
    for command in (("status",), ("audit",), ("topics", "diff")):
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
async def test_trading_port_then_no_page_for_operators_is_there_and_at_theirs_nothing_else(fleet: Deployment) -> None:
    async with httpx.AsyncClient(timeout=WAIT_S) as http:
        for service in fleet.fleet.names:
            for page in ("/metrics", "/health/live", "/health/ready", "/openapi.json"):
                assert (await http.get(fleet.url(service) + page)).status_code == 404, service
                assert (await http.get(fleet.operations_url(service) + page)).status_code == 200, service
        token = fleet.token("ann", (Role.TRADER,), [ACCOUNT])
        path = f"/v1/accounts/{ACCOUNT}"
        assert (await http.get(fleet.url("orders") + path, headers=bearer(token))).status_code == 200
        assert (await http.get(fleet.operations_url("orders") + path, headers=bearer(token))).status_code == 404


def _order(number: int) -> dict[str, Any]:
    body = {"account_id": ACCOUNT, "client_order_id": f"o{number}", "symbol": "ZZZZ", "side": "B"}
    return body | {"order_type": "LIMIT", "qty": 1, "limit_price_e4": 10_000}


def _servers_certificate(fleet: Deployment, url: str) -> bytes:
    """Certificate that a part shows to the auditor."""
    where, own = urlsplit(url), fleet.state.secure / "auditor"
    tls = ssl.create_default_context(cafile=own / "ca.pem")
    tls.load_cert_chain(own / "certificate.pem", own / "key.pem")
    with (
        socket.create_connection((where.hostname, where.port or 0), WAIT_S) as plain,
        tls.wrap_socket(plain, server_hostname=where.hostname) as spoken,
    ):
        return spoken.getpeercert(binary_form=True) or b""


async def _end(socket_: ClientConnection) -> websockets.ConnectionClosed:
    """Reads until the other side has closed."""
    with pytest.raises(websockets.ConnectionClosed) as caught:
        while True:
            await socket_.recv()
    return caught.value


@pytest.mark.asyncio(loop_scope="module")
async def test_everything_renewed_and_a_trader_revoked_under_load_then_no_order_is_lost_and_he_is_cut_off(
    fleet: Deployment,
) -> None:
    """Twice: of the passwords before the first time Redis takes none any more, so that whoever missed it is seen."""
    assert fleet.issuer is not None
    store, answered = fleet.issuer.store, asyncio.Event()
    answers: dict[str, int] = {}
    before = await asyncio.to_thread(_servers_certificate, fleet, fleet.addresses.redis_url)

    async def trade(http: httpx.AsyncClient) -> None:
        for number in range(ORDERS):
            headers = bearer(fleet.token("ann", (Role.TRADER,), [ACCOUNT]))
            order = _order(number)
            answer = await http.post("/v1/orders", json=order, headers=headers)
            answers[order["client_order_id"]] = answer.status_code
            answered.set()
            await asyncio.sleep(0.05)

    mallory = bearer(fleet.token("mallory", (Role.TRADER,), [ACCOUNT]))
    push = fleet.url("push").replace("http", "ws") + "/ws"
    async with (
        httpx.AsyncClient(base_url=fleet.url("orders"), timeout=WAIT_S) as http,
        websockets.connect(push, additional_headers=mallory, max_size=None) as socket_,
    ):
        await socket_.send(json.dumps({"op": "subscribe", "topics": [f"account:{ACCOUNT}"]}))
        trading = asyncio.create_task(trade(http))
        await answered.wait()
        await fleet.renew()
        store.rotate()
        await fleet.renew()
        revoked_s = time.monotonic()
        store.deny_subject("mallory")
        async with asyncio.timeout(CUT_OFF_S):
            while (await http.get(f"/v1/accounts/{ACCOUNT}", headers=mallory)).status_code != 401:
                await asyncio.sleep(POLL_S)
            closed = await _end(socket_)
        assert closed.rcvd is not None
        assert closed.rcvd.code == UNAUTHENTICATED
        assert time.monotonic() - revoked_s < CUT_OFF_S
        await trading
        assert len(answers) == ORDERS
        assert set(answers.values()) <= {201, 422}, "every order was decided"
        await _until_listed(http, fleet, answers)
    assert await asyncio.to_thread(_servers_certificate, fleet, fleet.addresses.redis_url) != before
    operates = fleet.credential("test", (Role.OPERATOR,))
    async with HttpGateway(fleet.url("orders"), credential=operates) as gateway:
        await gateway.open_account("DESK2", CASH_E4, [])
    await _until_every_copy_has(fleet, "DESK2")


async def _until_listed(http: httpx.AsyncClient, fleet: Deployment, orders: Collection[str]) -> None:
    """Until the projection has every one of them."""
    headers = bearer(fleet.token("ann", (Role.TRADER,), [ACCOUNT]))
    async with asyncio.timeout(WAIT_S):
        while True:
            page = await http.get(f"/v1/accounts/{ACCOUNT}/orders", params={"limit": 200}, headers=headers)
            if page.status_code == 200 and {each["client_order_id"] for each in page.json()["items"]} >= set(orders):
                break
            await asyncio.sleep(POLL_S)


@pytest.mark.asyncio(loop_scope="module")
async def test_service_when_it_starts_after_all_was_renewed_then_its_settings_still_lead_to_the_parts(
    fleet: Deployment,
) -> None:
    await fleet.fleet.restart("auditor")
    await fleet.fleet.wait_ready(["auditor"], READY_S)


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
