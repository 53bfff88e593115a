"""The ticket against a whole fleet: one press is one order, also after a reload, and a cancel is its row's."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from parts.page import Page, open_page
from push.settings import built_dashboard
from tidemark.deployment import Deployment, DeploymentOptions
from tidemark.feeds import synthetic_feed
from tidemark.quotes import QuoteBoard
from tidemark.services import FLEET
from tidemark.state import StateDir

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (built_dashboard() / "index.html").is_file(), reason="the dashboard is not built: make web"),
]
WAIT_S = 60.0


@pytest.fixture
async def quiet(tmp_path: Path) -> AsyncIterator[Deployment]:
    options = DeploymentOptions(any_free_ports=True, feed=synthetic_feed(7, 2_000, 20), keep=False, services=FLEET)
    async with Deployment(StateDir(tmp_path / "fleet"), options) as running:
        yield running


async def orders_of(http: httpx.AsyncClient, account: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = (await http.get(f"/v1/accounts/{account}/orders")).json()["items"]
    return items


async def until_orders(http: httpx.AsyncClient, account: str, count: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(WAIT_S):
        while len(found := await orders_of(http, account)) < count:
            await asyncio.sleep(0.1)
    return found


async def hold_enter(page: Page, repeats: int) -> None:
    """Enter goes down, repeats as a held key does, and comes up."""
    enter: dict[str, Any] = {"key": "Enter", "windowsVirtualKeyCode": 13}
    for number in range(repeats):
        await page.call("Input.dispatchKeyEvent", type="keyDown", text="\r", autoRepeat=number > 0, **enter)
        await asyncio.sleep(0.03)
    await page.call("Input.dispatchKeyEvent", type="keyUp", **enter)


async def test_enter_is_held_and_the_page_reloads_then_each_press_is_one_order(quiet: Deployment) -> None:
    account = f"desk{secrets.token_hex(4)}"
    async with (
        QuoteBoard(quiet.addresses.redis_url) as quotes,
        httpx.AsyncClient(base_url=quiet.url("orders"), timeout=WAIT_S) as http,
        open_page() as page,
    ):
        symbol = (await quotes.wait_for_market(5, WAIT_S))[0]
        (await http.post(f"/v1/accounts/{account}", json={"command_id": "open"})).raise_for_status()
        funds = {"command_id": "fund", "cash_e4": 10**12}
        (await http.post(f"/v1/accounts/{account}/fund", json=funds)).raise_for_status()
        await page.goto(f"{quiet.url('push')}/#symbol={symbol}&account={account}&window=1000000000")
        await page.until("!document.querySelector('.submit').disabled", WAIT_S)
        await page.until("document.querySelector('.pill.live')", WAIT_S)
        # A twentieth below the quote: near enough for the gate's band, far enough to rest.
        price = "document.querySelector('[aria-label=\"Limit price\"]').value"
        price_e4 = int(await page.evaluate(f"Math.round({price} * 95) * 100"))
        units, cents = divmod(price_e4 // 100, 100)
        await page.write("[aria-label='Limit price']", f"{units},{cents:02}")
        await page.write("[aria-label='Quantity']", "100")
        assert await page.text(".submit") == f"Buy 100 {symbol} @ {units}.{cents:02}"
        await hold_enter(page, 30)
        (order,) = await until_orders(http, account, 1)
        assert (order["limit_price_e4"], order["qty"]) == (price_e4, 100)
        await asyncio.sleep(1)
        await hold_enter(page, 1)
        await until_orders(http, account, 2)
        await page.call("Page.reload")
        await page.until("document.querySelectorAll('.orders .cancel.active').length == 2", WAIT_S)
        assert await page.until("sessionStorage.getItem('tidemark.submissions') == '[]'", WAIT_S)
        await page.click(".orders .cancel.active")
        await page.until("document.querySelectorAll('.orders .cancel.active').length == 1", WAIT_S)
        assert len(await orders_of(http, account)) == 2
