"""The dashboard in a real browser, on a lively market. Pictures are kept in the directory that TIDEMARK_PICTURES names.

Needs the built dashboard (make web) and a Chromium (parts.browser finds or fetches one).
"""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from common.testing.views import ViewWriter
from parts import LocalStack
from parts.page import Page, open_page
from push.settings import AddressSettings, PushRedisSettings, built_dashboard
from streams.process.settings import HttpSettings

from tests.push.dashboard_screen import order_event, show_orders
from tests.push.dashboard_stand import beating, market, stand_in_orders

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (built_dashboard() / "index.html").is_file(), reason="the dashboard is not built: make web"),
]
PICTURES = os.environ.get("TIDEMARK_PICTURES")  # read now: tests run without the variables of ours


async def keep_picture(page: Page, name: str) -> None:
    if PICTURES:
        await page.screenshot(Path(PICTURES) / f"{name}.png")


async def test_dashboard_shows_the_market_the_account_and_the_clocks_without_a_console_error(
    start_push: Callable[..., Any], shared_redis: str, redis: Any
) -> None:
    push = await start_push(static_dir=built_dashboard(), worker_id="push-1")
    async with market(shared_redis), open_page() as page:
        await page.goto(f"{push.url}/#symbol=AAPL&account=ACC0001&window=1000000000")
        await page.until("document.querySelector('.pill.live')")
        await page.until("document.querySelectorAll('.watch .table-spacer .table-row').length > 30")
        await page.until("document.querySelectorAll('.ladder .bid .level')[9].textContent")
        await page.until("document.querySelectorAll('.lamp[data-state=ready]').length == 9")
        await page.until("document.querySelector('.orders .state.open')")
        await page.until("document.querySelector('.account .strong').textContent != '–'")
        await page.until("document.querySelector('.chart-legend').textContent.includes('VWAP')")
        with_digits = ".filter((node) => /[0-9]/.test(node.textContent))"
        painted = f"[...document.querySelectorAll('.clock-value')]{with_digits}.length == 6"
        await page.until(painted, timeout_s=60)
        await keep_picture(page, "dashboard")
        async with httpx.AsyncClient(base_url=push.url) as http:
            figures = (await http.get("/v1/latency")).json()
        assert figures["market"]["painted"]["n"] > 0
        assert figures["orders"]["painted"]["p50_ms"] >= figures["orders"]["committed"]["p50_ms"]
        assert await page.evaluate(
            "performance.getEntriesByType('resource').every((r) => r.name.startsWith(location.origin))"
        )
        assert page.problems == []


async def test_auditor_that_stops_looking_then_the_strip_says_so(
    start_push: Callable[..., Any], shared_redis: str, redis: Any
) -> None:
    push = await start_push(static_dir=built_dashboard())
    async with open_page() as page:
        async with market(shared_redis):
            await page.goto(f"{push.url}/#symbol=AAPL")
            await page.until("document.querySelector('.lamp.audit[data-state=ready]')")
            assert (await page.text(".lamp.audit")).startswith("audit ok")
        await page.until("document.querySelector('.lamp.audit[data-state=down]')", timeout_s=30)
        assert await page.text(".lamp.audit") == "audit silent"


async def test_ticket_then_the_verdict_shows_with_its_numbers(
    start_push: Callable[..., Any], shared_redis: str, redis: Any
) -> None:
    async with stand_in_orders() as api:
        push = await start_push(static_dir=built_dashboard(), orders_url=api.url)
        async with market(shared_redis), open_page() as page:
            await page.goto(f"{push.url}/#symbol=AAPL&account=ACC0001")
            await page.until("document.querySelectorAll('.ladder .bid .level')[2].textContent")
            await page.click(".ladder .rung.bid")
            await page.press("s")
            await page.until("document.querySelector('.submit').textContent.startsWith('Sell 100 AAPL @ ')")
            await page.click(".submit")
            await page.until("document.querySelector('.verdict.accepted')")
            await page.write(".ticket .number", "5000")
            await page.press("Enter")
            await page.until("document.querySelector('.verdict.denied')")
            why = await page.text(".verdict.denied .verdict-why")
            assert "CASH_INSUFFICIENT" in why
            assert "available cash 123.45" in why
            await keep_picture(page, "ticket")
    (first, headers), (second, _) = api.orders
    assert first["side"] == "S"
    assert isinstance(first["limit_price_e4"], int)
    assert first["client_order_id"] != second["client_order_id"]
    assert headers["traceparent"].endswith("-01")
    assert int(headers["tidemark-sent-ns"]) > 1_600_000_000_000_000_000


async def test_keys_and_search_then_the_symbol_changes_with_its_book_and_chart(
    start_push: Callable[..., Any], shared_redis: str, redis: Any
) -> None:
    push = await start_push(static_dir=built_dashboard())
    async with market(shared_redis), open_page() as page:
        await page.goto(f"{push.url}/#symbol=AAPL&account=ACC0001")
        await page.until("document.querySelector('.watch .chosen')")
        await page.press("/")
        await page.call("Input.insertText", text="nvd")
        await page.until("document.querySelector('.watch .count').textContent.startsWith('1 of')")
        await page.press("Enter")
        await page.until("document.querySelector('.chart-symbol').textContent == 'NVDA'")
        await page.press("2")
        await page.until("document.querySelector('.chart .segments .on').textContent == '1 min'")
        await page.press("Escape")
        await page.until("document.querySelectorAll('.watch .table-spacer .table-row').length > 30")
        await page.until("document.querySelector('.ladder .head-note').textContent == 'NVDA'")
        await page.until("document.querySelectorAll('.ladder .ask .level')[9].textContent")
        assert "symbol=NVDA" in await page.evaluate("location.hash")
        assert page.problems == []


async def test_redis_and_push_go_away_then_the_picture_is_marked_stale_and_comes_back(
    start_push: Callable[..., Any], tmp_path: Path
) -> None:
    with LocalStack({"redis"}, data_dir=tmp_path / "stack") as stack:
        push = await start_push(static_dir=built_dashboard(), redis=PushRedisSettings(url=stack.addresses.redis_url))
        port = push.process.port
        async with open_page() as page:
            async with market(stack.addresses.redis_url):
                await page.goto(f"{push.url}/#symbol=AAPL&account=ACC0001")
                await page.until("document.querySelector('.watch .chosen')")
            await asyncio.to_thread(stack.kill, "redis")
            await page.until("document.documentElement.dataset.link == 'stale'")
            assert "Redis is away" in await page.text(".banner")
            await keep_picture(page, "stale")
            await asyncio.to_thread(stack.restart, "redis")
            await page.until("document.documentElement.dataset.link == 'live'")
            await push.process.stop()
            await page.until("document.documentElement.dataset.link == 'offline'")
            again = await start_push(
                static_dir=built_dashboard(),
                redis=PushRedisSettings(url=stack.addresses.redis_url),
                http=HttpSettings(port=port),
            )
            assert again.process.port == port
            await page.until("document.documentElement.dataset.link == 'live'")
            await page.until("document.querySelector('.watch .chosen')")


PILL = "document.querySelector('.pill').textContent"


async def test_data_that_grow_old_although_everything_answers_then_the_pill_tells_their_age(
    start_push: Callable[..., Any], redis: Any
) -> None:
    push = await start_push(static_dir=built_dashboard())
    said: dict[str, dict[str, Any]] = {}
    async with beating(ViewWriter(redis), said), open_page() as page:
        await page.goto(f"{push.url}/#symbol=AAPL&account=ACC0001")
        await page.until("document.querySelector('.pill.live')")
        said["orders.lifecycle"] = {"as_of_ns": time.time_ns() - 2_000_000_000}
        await page.until("document.querySelector('.pill.delayed')")
        assert (await page.text(".pill")).startswith("DELAYED ")
        assert (await page.text(".banner")).startswith("Behind: orders — as of ")
        await page.until("document.querySelector('.pill.stale')", timeout_s=30)
        assert await page.evaluate("document.documentElement.dataset.link == 'stale'"), "what is not current looks it"
        await keep_picture(page, "old")
        said["orders.lifecycle"] = {"state": "filling"}
        await page.until(f"{PILL} == 'INCOMPLETE · ORDERS'")
        said.clear()
        await page.until("document.querySelector('.pill.live')")
        await redis.flushall()
        said["risk.gate"] = {"redis": "full"}
        await page.until(f"{PILL} == 'STALE · REDIS FULL'")
        await page.until(
            "[...document.querySelectorAll('.lamp[data-state=down]')].some((n) => n.textContent == 'redis full')"
        )
        said.clear()
        await page.until("document.querySelector('.pill.live')")
        assert page.problems == []


async def test_writer_that_dies_then_the_pill_and_its_lamp_tell_since_when(
    start_push: Callable[..., Any], redis: Any
) -> None:
    push = await start_push(static_dir=built_dashboard())
    async with open_page() as page:
        async with beating(ViewWriter(redis), {}):
            await page.goto(f"{push.url}/#symbol=AAPL&account=ACC0001")
            await page.until("document.querySelector('.pill.live')")
        await page.until("document.querySelector('.pill.delayed')")
        await page.until("document.querySelector('.pill.stale')", timeout_s=30)
        banner = "document.querySelector('.banner').textContent"
        await page.until(f"{banner}.startsWith('No word of: market, account, orders — as of ')")


async def test_screen_that_nobody_spoke_to_then_it_is_not_live(start_push: Callable[..., Any], redis: Any) -> None:
    push = await start_push(static_dir=built_dashboard())
    async with open_page() as page:
        await page.goto(f"{push.url}/#symbol=AAPL")
        await page.until(f"{PILL} == 'NO MARKET'")


async def test_page_that_stood_still_then_it_says_how_old_it_is_before_it_is_live_again(
    start_push: Callable[..., Any], redis: Any
) -> None:
    writer = ViewWriter(redis)
    push = await start_push(static_dir=built_dashboard())
    async with open_page() as page:
        async with beating(writer, {}):
            await page.goto(f"{push.url}/#symbol=AAPL")
            await page.until("document.querySelector('.pill.live')")
            # The page's own thread stands still, as all of it does while a laptop sleeps; then every state is written
            # down. The writers fall silent meanwhile: nothing that waits to be read makes the picture new.
            await page.evaluate(
                "globalThis.seen = []; const pill = document.querySelector('.pill');"
                "new MutationObserver(() => seen.push(pill.textContent)).observe(pill,"
                " {childList: true, characterData: true, subtree: true});"
                "const wake = Date.now() + 7000; setTimeout(() => { while (Date.now() < wake) ; }, 0)"
            )
        await page.until("globalThis.seen.length >= 1", timeout_s=30)
        seen = await page.evaluate("globalThis.seen")
        assert all(text.startswith(("STALE", "DELAYED")) for text in seen), seen
        async with beating(writer, {}):
            await page.until("document.querySelector('.pill.live')")


async def test_page_that_comes_back_then_it_is_not_live_before_the_rows_of_each_topic_are_new(
    start_push: Callable[..., Any], redis: Any
) -> None:
    writer = ViewWriter(redis)
    push = await start_push(
        static_dir=built_dashboard(),
        address=AddressSettings(snapshot_rows_per_s_max=30, burst_s=1),
        status_interval_s=0.1,
    )
    await show_orders(writer, order_event("A1", 1))
    async with beating(writer, {}), open_page() as page:
        await page.goto(f"{push.url}/#symbol=AAPL&account=A1")
        await page.until("document.querySelector('.pill.live') && document.querySelector('.orders .state.open')")
        # Written down at every change: what was said of rows that a trader sees.
        await page.evaluate(
            "globalThis.seen = []; setInterval(() => seen.push("
            "[document.querySelector('.pill').textContent, document.querySelector('.orders .count').textContent]), 5)"
        )
        for connection in list(push.process.service._connections):
            connection.give_way()
        await show_orders(writer, order_event("A1", 2), order_event("A1", 3))
        await page.until("seen.some(([pill, orders]) => pill == 'LIVE' && orders.startsWith('3 open'))", timeout_s=60)
        seen = await page.evaluate("seen")
        gone = next(n for n, (pill, _) in enumerate(seen) if pill != "LIVE")
        assert "INCOMPLETE" in {pill for pill, _ in seen[gone:]}, "the writers' word was there before the rows"
        assert not [orders for pill, orders in seen[gone:] if pill == "LIVE" and not orders.startswith("3 open")]
