"""The dashboard at three sizes and in two themes: what trading needs is in sight, and axe has nothing serious to say.

Pictures are kept in the directory that TIDEMARK_PICTURES names.
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from common.testing.views import ViewWriter
from parts.page import Page, open_page
from push.settings import built_dashboard

from tests.push.dashboard_breaks import refused
from tests.push.dashboard_data import PRICES
from tests.push.dashboard_screen import market_alert
from tests.push.dashboard_stand import ALL_ENTRIES, market, profit, stand_in_orders

AXE = built_dashboard().parent / "node_modules" / "axe-core" / "axe.min.js"
PICTURES = os.environ.get("TIDEMARK_PICTURES")  # read now: tests run without the variables of ours
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (built_dashboard() / "index.html").is_file(), reason="the dashboard is not built: make web"),
    pytest.mark.skipif(not AXE.is_file(), reason="the dashboard's packages are not installed: make web"),
]
SIZES = [(1600, 900), (1280, 720), (800, 1000)]
THEMES = ["dark", "light"]
IN_SIGHT = {
    "the account": ".account-choice",
    "a cancel": ".orders .cancel.active",
    "the strip": ".strip",
    "the last lamp": ".lamp.breaks",
    "the button that sends": ".submit",
    "the best bid": ".ladder .bid .level",
    "a position": ".account .table-spacer .table-row",
    "what a position has made": ".account .table-spacer .table-row :last-child",
    "what the account has made": ".account .sums .line:last-child .num",
    "the pill": ".pill",
}
WHOLLY_IN_SIGHT = """
(selector) => {
  const box = document.querySelector(selector).getBoundingClientRect();
  const at = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
  const node = document.querySelector(selector);
  const seen = at !== null && (node.contains(at) || at.contains(node));
  return seen && box.width > 0 && box.x >= 0 && box.y >= 0 && box.right <= innerWidth && box.bottom <= innerHeight;
}
"""
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


async def choose_theme(page: Page, theme: str) -> None:
    await page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])


async def filled(page: Page) -> None:
    """Waits until every part of the page shows something."""
    await page.until("document.querySelector('.pill.live')")
    await page.until("document.querySelectorAll('.watch .table-spacer .table-row').length > 5")
    await page.until("document.querySelector('.ladder .bid .level').textContent")
    await page.until("document.querySelectorAll('.lamp[data-state=ready]').length >= 7")
    await page.until("document.querySelector('.orders .cancel.active')")
    await page.until("document.querySelector('.chart-legend').textContent.includes('VWAP')")
    await page.until("!document.querySelector('.submit').disabled")
    await page.evaluate("document.fonts.ready.then(() => true)")


async def findings(page: Page) -> list[str]:
    """Violations that axe calls serious or critical, with the first element of each."""
    await page.evaluate(AXE.read_text(encoding="utf-8") + ";true")
    rules = json.dumps({"runOnly": TAGS, "resultTypes": ["violations"]})
    found = await page.evaluate(f"axe.run(document, {rules}).then((result) => result.violations)")
    return [
        f"{one['impact']} {one['id']}: {one['help']}; {len(one['nodes'])} times, first {one['nodes'][0]['html'][:200]}"
        f" {one['nodes'][0]['failureSummary']}"
        for one in found
    ]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("theme", THEMES)
async def test_page_fits_and_is_accessible(
    size: tuple[int, int], theme: str, start_push: Callable[..., Any], shared_redis: str, writer: ViewWriter
) -> None:
    async with stand_in_orders() as orders, market(shared_redis), open_page(*size) as page:
        cost_e4 = 3_000 * 10_000 * 1_000  # of every position: each has made or lost much
        held = {symbol: (100, cost_e4 if number % 2 else 1) for number, symbol in enumerate(PRICES)}
        orders.profits["ACC0001"] = profit("ACC0001", ALL_ENTRIES, -1_234_567_890_000, **held)
        push = await start_push(static_dir=built_dashboard(), orders_url=orders.url)
        breaks = {one.break_id: one.model_dump(mode="json") for one in refused("ACC0001", time.time_ns())}
        await writer.write("break", "ACC0001", breaks)
        await choose_theme(page, theme)
        await page.goto(f"{push.url}/#symbol=AAPL&account=ACC0001&window=1000000000")
        await filled(page)
        await page.until("document.querySelector('.account .table-row .down')")
        if PICTURES:
            await page.screenshot(Path(PICTURES) / f"{size[0]}x{size[1]}-{theme}.png")
        hidden = [
            name
            for name, selector in IN_SIGHT.items()
            if not await page.evaluate(f"({WHOLLY_IN_SIGHT})({json.dumps(selector)})")
        ]
        assert not hidden
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        # What is inline would need an exception in a strict content policy.
        assert await page.evaluate("document.querySelectorAll('style, script:not([src])').length") == 0
        found = await findings(page)
        assert not found, "\n".join(found)
        assert page.problems == []


async def test_page_without_a_market_is_accessible(start_push: Callable[..., Any], redis: Any) -> None:
    """Ladder, blotters and watchlist have rows to fill, and nothing to fill them with."""
    push = await start_push(static_dir=built_dashboard())
    async with open_page() as page:
        await page.goto(f"{push.url}/#symbol=AAPL&account=A1")
        await page.until("document.querySelector('.pill.stale')")
        assert not (found := await findings(page)), "\n".join(found)


@pytest.mark.parametrize("theme", THEMES)
async def test_dialogs_verdicts_and_refusals_are_accessible(
    theme: str, start_push: Callable[..., Any], shared_redis: str, writer: ViewWriter
) -> None:
    async with stand_in_orders() as orders, market(shared_redis), open_page(1280, 720) as page:
        push = await start_push(static_dir=built_dashboard(), orders_url=orders.url)
        breaks = {one.break_id: one.model_dump(mode="json") for one in refused("ACC0001", time.time_ns())}
        await writer.write("break", "ACC0001", breaks)
        alerts = {"1": market_alert("AAPL", "PRICE_SPIKE"), "2": market_alert("MSFT", "STALE_FEED", end_ns=10**18)}
        await writer.write("alert", "0", alerts)
        await choose_theme(page, theme)
        await page.goto(f"{push.url}/#symbol=AAPL&account=ACC0001&window=1000000000")
        await filled(page)
        found = {}

        async def look(name: str) -> None:
            if PICTURES:
                await page.screenshot(Path(PICTURES) / f"{name}-{theme}.png")
            found[name] = await findings(page)

        await page.click(".heatmap-toggle")
        await page.until("document.querySelector('.heatmap .chart-legend').textContent.includes('strongest')")
        await look("depth")
        await page.click(".heatmap-toggle")
        await page.until("document.querySelector('.heatmap').hidden")
        await page.click(".settings-open")
        await look("settings")
        await page.press("Escape")
        await page.click(".orders .history.active")
        await page.until("document.querySelector('.history-row')")
        await look("history")
        await page.press("Escape")
        await page.click(".lamp.alerts")
        await page.until("document.querySelectorAll('.alert-row').length == 2")
        await look("alerts")
        await page.press("Escape")
        await page.click(".lamp.breaks")
        await page.until("document.querySelectorAll('.break-row').length == 2")
        await look("breaks")
        await page.press("Escape")
        for qty in ("5000", "100"):
            await page.write("[aria-label='Quantity']", qty)
            await page.press("Enter")
            await page.until("document.querySelector('.verdict:first-child:is(.accepted, .denied)')")
        await page.write("[aria-label='Limit price']", "1.234")
        await look("refused")
        await page.write("[aria-label='Limit price']", "999.00")
        await page.press("Enter")
        await page.until("document.querySelector('.confirm')")
        await look("confirm")
        assert not any(found.values()), found
        assert [one for one in page.problems if "422" not in one and "404" not in one] == []
