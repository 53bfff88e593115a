"""The dashboard of a whole fleet under load, in a real browser: it goes on painting what is traded.

The picture is kept in the directory that TIDEMARK_PICTURES names.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from parts.page import open_page
from push.settings import built_dashboard
from tidemark.deployment import Deployment, DeploymentOptions
from tidemark.feeds import synthetic_feed
from tidemark.load.clients import PersistentGateway, open_accounts
from tidemark.load.driver import Load
from tidemark.load.http import HttpGateway
from tidemark.load.plan import account_names, actions, holdings
from tidemark.quotes import QuoteBoard
from tidemark.services import FLEET
from tidemark.state import StateDir

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (built_dashboard() / "index.html").is_file(), reason="the dashboard is not built: make web"),
]
EVENTS_PER_S = 20_000
SYMBOLS = 120
ORDERS_PER_S = 50.0
LOAD_S = 60.0
WAIT_S = 60.0
PICTURES = os.environ.get("TIDEMARK_PICTURES")  # read now: tests run without the variables of ours


@pytest.fixture
async def busy(tmp_path: Path) -> AsyncIterator[Deployment]:
    feed = synthetic_feed(7, EVENTS_PER_S, SYMBOLS)
    options = DeploymentOptions(any_free_ports=True, feed=feed, keep=False, services=FLEET)
    async with Deployment(StateDir(tmp_path / "fleet"), options) as running:
        yield running


async def painted(push_url: str) -> dict[str, int]:
    """How many changes of each path the browser has said it painted."""
    async with httpx.AsyncClient(base_url=push_url) as http:
        figures: dict[str, Any] = (await http.get("/v1/latency")).json()
    return {path: figures[path]["painted"]["n"] for path in ("market", "orders")}


async def test_dashboard_when_the_fleet_is_under_load_then_it_goes_on_painting(busy: Deployment) -> None:
    async with (
        QuoteBoard(busy.addresses.redis_url) as quotes,
        HttpGateway(busy.url("orders")) as gateway,
        open_page(1600, 1000) as page,
    ):
        symbols = await quotes.wait_for_market(20, WAIT_S)
        await quotes.watch(symbols)
        held = holdings(account_names(20, "desk"), symbols)
        await open_accounts(gateway, held)
        account = next(iter(held))
        load = Load(PersistentGateway(gateway, WAIT_S), quotes, id_prefix="busy")
        trading = asyncio.create_task(load.run(actions(1, held, ORDERS_PER_S), LOAD_S))
        choice = urlencode({"symbol": held[account][0], "account": account, "window": 1_000_000_000})
        await page.goto(f"{busy.url('push')}/#{choice}")
        await page.until("document.querySelector('.pill.live')", WAIT_S)
        await page.until("document.querySelectorAll('.watch .table-spacer .table-row').length > 20", WAIT_S)
        await page.until("document.querySelector('.ladder .bid .level').textContent", WAIT_S)
        await page.until("document.querySelector('.orders .state')", WAIT_S)
        await page.until("document.querySelector('.lamp.audit[data-state=ready]')", WAIT_S)
        await page.until("document.querySelector('.account .strong').textContent != '–'", WAIT_S)
        before = await painted(busy.url("push"))
        tally = await trading
        after = await painted(busy.url("push"))
        assert all(after[path] > before[path] for path in after)
        assert (tally.unexpected, sum(tally.errors.values())) == ([], 0)
        await page.until("document.querySelector('.pill.live')", WAIT_S)
        if PICTURES:
            await page.screenshot(Path(PICTURES) / "under_load.png")
        assert page.problems == []
