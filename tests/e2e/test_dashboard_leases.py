"""Cancel on disconnect with a screen and a program: a reload and push back in time keep orders; a key that was taken
back, push that stays away and a closed tab do not.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from common.contracts.rights import Role
from parts.page import Page, open_page
from push.settings import built_dashboard
from tidemark.deployment import Deployment, DeploymentOptions
from tidemark.feeds import synthetic_feed
from tidemark.issuer.store import OWNER
from tidemark.quotes import QuoteBoard
from tidemark.services import FLEET
from tidemark.state import StateDir
from tidemark.watcher import bearer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not (built_dashboard() / "index.html").is_file(), reason="the dashboard is not built: make web"),
]
WAIT_S = 90.0
GRACE_S = 15
HELD = f"document.querySelector('.connection').textContent.includes('orders leave {GRACE_S} s after a disconnect')"


@pytest.fixture
async def closed(tmp_path: Path) -> AsyncIterator[Deployment]:
    options = DeploymentOptions(
        any_free_ports=True,
        feed=synthetic_feed(7, 2_000, 20),
        keep=False,
        services=FLEET,
        access=True,
        environment={"TIDEMARK_LEASE_GRACE_S": str(GRACE_S)},
    )
    async with Deployment(StateDir(tmp_path / "fleet"), options) as running:
        yield running


class Desk:
    """A screen's account, and what the API says of its orders."""

    def __init__(self, http: httpx.AsyncClient, account: str) -> None:
        self.http = http
        self.account = account

    async def states(self) -> dict[str, str]:
        """Client order id → state."""
        answer = await self.http.get(f"/v1/accounts/{self.account}/orders")
        return {each["client_order_id"]: each["state"] for each in answer.json()["items"]}

    async def until(self, **wanted: int) -> dict[str, str]:
        """Waits for so many orders of each state."""
        found: dict[str, str] = {}
        async with asyncio.timeout(WAIT_S):
            while [*sorted(found.values())] != sorted(state for state, count in wanted.items() for _ in range(count)):
                await asyncio.sleep(0.1)
                found = await self.states()
        return found


async def open_desk(closed: Deployment, page: Page, account: str, symbol: str) -> None:
    await page.goto(closed.dashboard(symbol=symbol, account=account, window="1000000000"))
    await page.until(f"document.querySelector('.subject')?.textContent === '{OWNER}'", WAIT_S)
    await page.until("!document.querySelector('.submit').disabled", WAIT_S)
    await page.until(HELD, WAIT_S)


async def press(page: Page) -> None:
    """The ticket's order, a twentieth below the quote: near enough for the gate's band, far enough to rest."""
    price = "document.querySelector('[aria-label=\"Limit price\"]').value"
    units, cents = divmod(int(await page.evaluate(f"Math.round({price} * 95)")), 100)
    await page.write("[aria-label='Limit price']", f"{units},{cents:02}")
    await page.write("[aria-label='Quantity']", "100")
    enter: dict[str, Any] = {"key": "Enter", "windowsVirtualKeyCode": 13}
    await page.call("Input.dispatchKeyEvent", type="keyDown", text="\r", autoRepeat=False, **enter)
    await page.call("Input.dispatchKeyEvent", type="keyUp", **enter)


async def test_orders_leave_once_whoever_sent_them_is_cut_off(closed: Deployment) -> None:
    assert closed.issuer is not None
    account = f"desk{secrets.token_hex(4)}"
    headers = bearer(closed.token("test", (Role.TRADER, Role.OPERATOR)))
    async with (
        QuoteBoard(closed.addresses.redis_url) as quotes,
        httpx.AsyncClient(base_url=closed.url("orders"), timeout=WAIT_S, headers=headers) as http,
    ):
        symbol = (await quotes.wait_for_market(5, WAIT_S))[0]
        (await http.post(f"/v1/accounts/{account}", json={"command_id": "open"})).raise_for_status()
        funds = {"command_id": "fund", "cash_e4": 10**12}
        (await http.post(f"/v1/accounts/{account}/fund", json=funds)).raise_for_status()
        desk = Desk(http, account)
        async with open_page() as page:
            await open_desk(closed, page, account, symbol)
            await press(page)
            (screens,) = await desk.until(WORKING=1)
            await page.call("Page.reload")
            await page.until(HELD, WAIT_S)
            await closed.fleet.restart("push")
            await page.until("document.querySelector('.pill.live')", WAIT_S)
            (mine,) = (await http.get(f"/v1/accounts/{account}/orders")).json()["items"]
            await program_dies(closed, desk, symbol, mine["limit_price_e4"])
            assert await desk.states() == {screens: "WORKING", "algo-1": "CANCELED"}, "the screen came back in time"
            await closed.fleet.stop(["push"])
            await desk.until(CANCELED=2)
            await closed.fleet.start(["push"])
            await page.until("document.querySelector('.pill.live')", WAIT_S)
            await page.until(HELD, WAIT_S)
            await press(page)
            await desk.until(CANCELED=2, WORKING=1)
        await desk.until(CANCELED=3)


async def program_dies(closed: Deployment, desk: Desk, symbol: str, price_e4: int) -> None:
    """A program with a key keeps a lease as long as the screen's, until the key is taken back."""
    assert closed.issuer is not None
    name, key = closed.issuer.store.make_api_key("algo", [Role.TRADER], [desk.account], 600)
    order: dict[str, Any] = {"account_id": desk.account, "client_order_id": "algo-1", "symbol": symbol, "side": "B"}
    order |= {"order_type": "LIMIT", "qty": 100, "limit_price_e4": price_e4}
    lease = {"order_prefix": "algo-", "grace_ms": GRACE_S * 1_000}
    async with httpx.AsyncClient(base_url=closed.url("orders"), timeout=WAIT_S, headers=bearer(key)) as http:
        path = f"/v1/accounts/{desk.account}/leases/algo"
        assert (await http.post(path, json=lease)).status_code == 200
        assert (await http.post("/v1/orders", json=order)).status_code == 201
        closed.issuer.store.remove_api_key(name)
        async with asyncio.timeout(WAIT_S):
            while (answer := await http.post(path, json=lease)).status_code == 200:
                await asyncio.sleep(0.2)
        assert answer.status_code == 401
    await desk.until(CANCELED=1, WORKING=1)
