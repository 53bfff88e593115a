"""A fleet that asks everybody who he is, as `tidemark up` starts it: strangers, people, programs, and the dashboard."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import websockets
from common.contracts.rights import Role
from parts.page import open_page
from tidemark.deployment import Deployment, DeploymentOptions
from tidemark.load.http import HttpGateway
from tidemark.state import StateDir
from tidemark.watcher import bearer

from tests.e2e.described import check

pytestmark = pytest.mark.asyncio(loop_scope="module")
MINE, THEIRS = "DESK1", "OTHER1"
WAIT_S = 60.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def closed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    """Both accounts are open, with cash. There is no market: who may ask is all that is asked here."""
    options = DeploymentOptions(any_free_ports=True, keep=False, access=True, services=("risk", "orders", "push"))
    async with Deployment(StateDir(tmp_path_factory.mktemp("closed")), options) as running:
        operates = running.credential("test", (Role.OPERATOR,))
        async with HttpGateway(running.url("orders"), credential=operates) as gateway:
            for account in (MINE, THEIRS):
                await gateway.open_account(account, 1_000_000_000, [])
        yield running


def orders(deployment: Deployment, credential: str = "") -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=deployment.url("orders"), headers=bearer(credential), timeout=WAIT_S)


def trader(deployment: Deployment, subject: str = "ann") -> str:
    return deployment.token(subject, (Role.TRADER, Role.MARKET_RAW), ["DESK*"])


def order(account: str, number: int) -> dict[str, Any]:
    body = {"account_id": account, "client_order_id": f"o{number}", "symbol": "ZZZZ", "side": "B"}
    return body | {"order_type": "LIMIT", "qty": 1, "limit_price_e4": 10_000}


async def test_strangers_then_no_service_tells_them_more_than_that_it_is_there(closed: Deployment) -> None:
    async with httpx.AsyncClient(timeout=WAIT_S) as http:
        for path in (f"/v1/accounts/{MINE}", f"/v1/accounts/{MINE}/ledger", f"/v1/orders/{MINE}.o1"):
            assert (await http.get(closed.url("orders") + path)).status_code == 401
        assert (await http.post(f"{closed.url('orders')}/v1/accounts/{MINE}", json={})).status_code == 401
        for path in ("/v1/accounts", "/v1/latency", "/v1/views", "/v1/me"):
            assert (await http.get(closed.url("push") + path)).status_code == 401
    async with websockets.connect(closed.url("push").replace("http", "ws") + "/ws") as socket:
        await socket.recv()
        await socket.send(json.dumps({"op": "subscribe", "topics": ["quote", f"account:{MINE}"]}))
        assert json.loads(await socket.recv()) == {"op": "error", "reason": "authenticate first"}


async def test_trader_then_his_order_is_decided_and_another_account_is_not_there(closed: Deployment) -> None:
    async with orders(closed, trader(closed)) as http:
        answer = await http.post("/v1/orders", json=order(MINE, 1))
        assert answer.status_code in (201, 422), answer.text
        assert (await http.get(f"/v1/accounts/{MINE}/ledger")).json()["items"]
        for path in (f"/v1/accounts/{THEIRS}", f"/v1/accounts/{THEIRS}/ledger", "/v1/accounts/NOBODY"):
            assert (await http.get(path)).status_code == 404
        assert (await http.post("/v1/orders", json=order(THEIRS, 1))).status_code == 404
        assert (await http.post(f"/v1/accounts/{MINE}/fund", json={"command_id": "x", "cash_e4": 1})).status_code == 403


async def test_program_with_a_key_then_it_trades_until_the_key_is_taken_back(closed: Deployment) -> None:
    assert closed.issuer is not None
    store = closed.issuer.store
    name, key = store.make_api_key("loader", [Role.TRADER], ["DESK*"], 600)
    async with orders(closed, key) as http:
        assert (await http.get(f"/v1/accounts/{MINE}/orders")).status_code == 200
        store.remove_api_key(name)
        await _until_refused(http, 5)


async def _until_refused(http: httpx.AsyncClient, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while (await http.get(f"/v1/accounts/{MINE}/orders")).status_code != 401:
            await asyncio.sleep(0.1)


async def test_subject_when_revoked_under_load_then_cut_off_within_five_seconds_and_nobody_else_loses_an_order(
    closed: Deployment,
) -> None:
    """Keys are rotated in the middle of it, too."""
    assert closed.issuer is not None
    answers: list[int] = []
    async with orders(closed, trader(closed, "mallory")) as mallory, orders(closed) as ann:

        async def trade() -> None:
            for number in range(100, 200):
                headers = bearer(trader(closed))
                answers.append((await ann.post("/v1/orders", json=order(MINE, number), headers=headers)).status_code)
                await asyncio.sleep(0.05)

        trading = asyncio.create_task(trade())
        assert (await mallory.get(f"/v1/accounts/{MINE}/orders")).status_code == 200
        url = closed.url("push").replace("http", "ws") + "/ws"
        headers = bearer(trader(closed, "mallory"))
        async with websockets.connect(url, additional_headers=headers, max_size=None) as socket:
            await socket.send(json.dumps({"op": "subscribe", "topics": ["quote"]}))
            closed.issuer.store.rotate()
            began_s = time.monotonic()
            closed.issuer.store.deny_subject("mallory")
            await _until_refused(mallory, 5)
            with pytest.raises(websockets.ConnectionClosed) as caught:
                async with asyncio.timeout(5):
                    while True:
                        await socket.recv()
            assert time.monotonic() - began_s < 5
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 4401
        await trading
    assert len(answers) == 100
    assert set(answers) <= {201, 422}, "every order was decided"


def environment_of(pid: int) -> str:
    return Path(f"/proc/{pid}/environ").read_bytes().decode()


async def test_secrets_then_none_of_them_is_in_a_log_or_in_a_service(closed: Deployment) -> None:
    """Nor is who asked: a log is read by more people than may know whose an account is."""
    assert closed.issuer is not None
    signing = json.loads(closed.issuer.store.signing.read_text("utf-8"))
    person = "theophrastus"
    secrets = [*(jwk["d"] for jwk in signing["keys"]), person]
    token = trader(closed, person)
    async with orders(closed, token) as http:
        await http.get(f"/v1/accounts/{MINE}")
        await http.get("/v1/nothing")
        assert (await http.post("/v1/orders", json=order(MINE, 1_000))).status_code in (201, 422)
    for log in closed.state.logs.iterdir():
        text = log.read_text("utf-8", "replace")
        for secret in (*secrets, token, token.rpartition(".")[2]):
            assert secret not in text, log.name
    for service in ("orders", "push", "risk"):
        environment = environment_of(closed.fleet.pid(service))
        assert "signing.json" not in environment
        assert not [secret for secret in secrets if secret in environment]


@pytest.mark.slow
async def test_dashboard_when_opened_by_its_address_then_signed_in_and_it_trades(closed: Deployment) -> None:
    """The whole way of a newcomer: one address, the issuer there and back, the WebSocket, the API."""
    async with open_page(1280, 800) as page:
        await page.goto(closed.dashboard(symbol="", account=MINE))
        await page.until("document.querySelector('.subject')?.textContent === 'owner'", WAIT_S)
        assert "link=" not in await page.evaluate("location.href")
        assert "code=" not in await page.evaluate("location.href")
        asked = "fetch('/v1/accounts').then((answer) => answer.status)"
        assert await page.evaluate(asked) == 401, "without its token the page is a stranger, too"
        shown = "[...document.querySelectorAll('#accounts option')].map((one) => one.value).sort().join()"
        await page.until(f"{shown} === '{MINE},{THEIRS}'", WAIT_S)
        await page.evaluate(
            "[...document.querySelectorAll('button')].find((b) => b.textContent === 'Sign out').click()"
        )
        await page.until("document.querySelector('form[action=\"/sign-in\"]') !== null", WAIT_S)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("is_signed_in", [True, False], ids=["signed in", "stranger"])
async def test_api_then_it_does_what_its_description_says(
    closed: Deployment, tmp_path: Path, is_signed_in: bool
) -> None:
    """Last in this file: it opens whatever account it thinks of."""
    credential = closed.token("schemathesis", tuple(Role)) if is_signed_in else ""
    await check(closed, tmp_path, examples=8, seed=4, credential=credential)
