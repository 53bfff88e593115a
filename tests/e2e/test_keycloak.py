"""A fleet that believes Keycloak: by settings alone, without a line of ours that knows which provider it is."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest
import pytest_asyncio
from common.contracts.rights import Role
from parts.page import open_page
from tidemark.deployment import Deployment, DeploymentOptions
from tidemark.load.http import HttpGateway
from tidemark.state import StateDir
from tidemark.watcher import bearer

from tests.integration.keycloak import ROLES_CLAIM, Keycloak

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.asyncio(loop_scope="module")]
MINE, THEIRS = "DESK1", "OTHER1"
PROGRAM = "loader"
WAIT_S = 90.0


@dataclass(frozen=True, slots=True)
class Closed:
    """Fleet, its provider, and the password of everybody there."""

    fleet: Deployment
    keycloak: Keycloak
    password: str

    def orders(self, token: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.fleet.url("orders"), headers=bearer(token), timeout=WAIT_S)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def closed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Closed]:
    """Ann trades for DESK*, Oda operates; both accounts are open."""
    password = secrets.token_urlsafe(16)
    keycloak = Keycloak(tmp_path_factory.mktemp("keycloak"), password)
    await asyncio.to_thread(keycloak.start)
    try:
        await keycloak.make_realm()
        for role in Role:
            await keycloak.add_role(role.value)
        await keycloak.add_person("ann", password, [Role.TRADER.value, Role.MARKET_RAW.value], ["DESK*"])
        await keycloak.add_person("oda", password, [Role.OPERATOR.value], [])
        await keycloak.add_program(PROGRAM, is_for_us=True)
        believed = {"TIDEMARK_ACCESS_ISSUER": keycloak.issuer, "TIDEMARK_ACCESS_ROLES_CLAIM": ROLES_CLAIM}
        options = DeploymentOptions(
            any_free_ports=True, keep=False, environment=believed, services=("risk", "orders", "push")
        )
        async with Deployment(StateDir(tmp_path_factory.mktemp("closed")), options) as running:
            await keycloak.add_dashboard(running.url("push"))
            operates = await keycloak.token(PROGRAM, "oda", password)
            async with HttpGateway(running.url("orders"), credential=lambda: operates) as gateway:
                for account in (MINE, THEIRS):
                    await gateway.open_account(account, 1_000_000_000, [])
            yield Closed(running, keycloak, password)
    finally:
        await asyncio.to_thread(keycloak.stop)


async def test_trader_then_he_has_his_roles_and_accounts_and_no_others(closed: Closed) -> None:
    token = await closed.keycloak.token(PROGRAM, "ann", closed.password)
    async with closed.orders(token) as http:
        assert (await http.get(f"/v1/accounts/{MINE}")).status_code == 200
        assert (await http.get(f"/v1/accounts/{THEIRS}")).status_code == 404
        assert (await http.post(f"/v1/accounts/{MINE}/fund", json={"command_id": "x", "cash_e4": 1})).status_code == 403
    async with httpx.AsyncClient(base_url=closed.fleet.url("push"), headers=bearer(token), timeout=WAIT_S) as http:
        me = (await http.get("/v1/me")).json()
    assert (me["client"], me["roles"], me["accounts"]) == (PROGRAM, ["market-raw", "trader"], ["DESK*"])


async def test_dashboard_then_keycloak_s_page_signs_in_and_signing_out_goes_back_to_it(closed: Closed) -> None:
    async with open_page(1280, 800) as page:
        await page.goto(f"{closed.fleet.url('push')}/#account={MINE}")
        await page.until("document.querySelector('#password') !== null", WAIT_S)
        assert await page.evaluate("location.origin") == closed.keycloak.address
        await page.write("#username", "ann")
        await page.write("#password", closed.password)
        await page.press("Enter")
        await page.until("document.querySelector('.subject')?.textContent", WAIT_S)
        assert await page.evaluate("location.origin") == closed.fleet.url("push")
        assert "code=" not in await page.evaluate("location.href")
        shown = "[...document.querySelectorAll('#accounts option')].map((one) => one.value).join()"
        await page.until(f"{shown} === '{MINE}'", WAIT_S)
        await page.evaluate(
            "[...document.querySelectorAll('button')].find((b) => b.textContent === 'Sign out').click()"
        )
        await page.until(f"location.origin === '{closed.keycloak.address}'", WAIT_S)
