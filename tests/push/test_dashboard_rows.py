"""Rows of the dashboard: what is done to one is done to its order, by pointer and by keyboard. In a real browser."""

import json
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from common.contracts.events import ExecType, ExecutionReport, OrderState
from common.contracts.values import Side
from common.contracts.views import BarData, BookData
from common.testing.views import ViewWriter
from parts.page import open_page
from push.settings import built_dashboard

from tests.push.dashboard_breaks import refused
from tests.push.dashboard_screen import Screen, market_alert, open_screen, order_event, show_market, show_orders
from tests.push.dashboard_stand import beating, stand_in_orders

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (built_dashboard() / "index.html").is_file(), reason="the dashboard is not built: make web"),
]
QTY_COLUMN = """
[...document.querySelectorAll('.orders .table-spacer .table-row:not([hidden])')]
  .sort((a, b) => a.getAttribute('aria-rowindex') - b.getAttribute('aria-rowindex'))
  .map((row) => row.children[3].textContent)
"""
"""Quantities as the orders table shows them, from above."""
EXPORT = """
new Promise((done) => {
  const made = URL.createObjectURL;
  URL.createObjectURL = (blob) => { blob.text().then(done); return made(blob); };
  document.querySelector('.orders .export').click();
})
"""
"""The text of the file that the orders table exports."""


@pytest.fixture
async def screen(start_push: Callable[..., Any], writer: ViewWriter) -> AsyncIterator[Screen]:
    async with open_screen(start_push, writer) as opened:
        yield opened


async def test_rows_move_between_press_and_release_then_the_cancel_is_the_aimed_at_order(
    screen: Screen, writer: ViewWriter
) -> None:
    page = screen.page
    await show_orders(writer, *(order_event("A1", number) for number in range(1, 4)))
    await screen.open()
    await page.until("document.querySelectorAll('.orders .cancel.active').length == 3")
    box = await page.evaluate(
        "(({x, y}) => [x + 4, y + 4])(document.querySelector('.orders .cancel.active').getBoundingClientRect())"
    )
    at = {"x": box[0], "y": box[1], "button": "left", "clickCount": 1}
    first = await page.evaluate(f"document.elementFromPoint({box[0]}, {box[1]}).getAttribute('aria-label')")
    await page.call("Input.dispatchMouseEvent", type="mousePressed", **at)
    await show_orders(writer, order_event("A1", 9), order_event("A1", 8))
    await page.until("document.querySelector('.orders .count').textContent.startsWith('5 open')")
    await page.call("Input.dispatchMouseEvent", type="mouseReleased", **at)
    await page.until("document.querySelector('[role=status]').textContent.startsWith('Canceled')")
    assert first == "Cancel Buy 100 AAPL @ 45.0003"
    assert screen.api.canceled == ["A1.c3"]
    # The pointer rests on the table, so the new rows stand below; once it leaves they come to the top.
    assert await page.evaluate("document.querySelector('.orders .cancel.active').ariaLabel") == first
    await page.call("Input.dispatchMouseEvent", type="mouseMoved", x=700, y=200)
    await page.until(
        "document.querySelector('.orders .table-row[aria-rowindex=\"2\"] .cancel').ariaLabel.endsWith('45.0009')"
    )
    assert screen.api.canceled == ["A1.c3"]


async def test_fill_and_verdict_then_they_are_announced(screen: Screen, writer: ViewWriter) -> None:
    page = screen.page
    await screen.open()
    await screen.ready()
    await screen.type("46.00", "100")
    await page.press("Enter")
    await page.until(
        "document.querySelector('[role=status]').textContent == 'Accepted: Buy 100 AAPL @ 46.00, account A1'"
    )
    await screen.type("46.00", "5000")
    await page.press("Enter")
    await page.until(
        "document.querySelector('.announcer [role=alert]').textContent.startsWith('Denied: Buy 5,000 AAPL')"
    )
    fill = ExecutionReport(
        execution_id="x1",
        exec_type=ExecType.TRADE,
        order_id="A1.c1",
        account_id="A1",
        symbol="AAPL",
        side=Side.BUY,
        last_qty=100,
        last_price_e4=460_000,
        cum_qty=100,
        venue_ns=time.time_ns(),
    )
    await writer.write("fill", "A1", {"x1": fill.model_dump(mode="json")})
    await page.until("document.querySelector('[role=status]').textContent == 'Bought 100 AAPL @ 46.00'")


@pytest.fixture
async def four_orders(screen: Screen, writer: ViewWriter) -> AsyncIterator[Screen]:
    """Three working orders, newest and largest first, and a filled one of MSFT."""
    filled = {"state": OrderState.FILLED, "cum_qty": 100, "leaves_qty": 0, "notional_e4": 47_000_000}
    await show_orders(writer, *(order_event("A1", number, qty=100 * number) for number in range(1, 4)))
    await show_orders(writer, order_event("A1", 4, symbol="MSFT", **filled))
    await screen.open()
    await screen.page.until("document.querySelectorAll('.orders .cancel.active').length == 3")
    await screen.page.evaluate("document.querySelector('.orders [role=grid]').focus()")
    yield screen


async def test_orders_by_keyboard_then_the_active_one_is_canceled(four_orders: Screen) -> None:
    page, api = four_orders.page, four_orders.api
    for key in ("ArrowDown", "ArrowDown"):
        await page.press(key)
    await four_orders.named_key("Delete")
    await page.until("document.querySelector('[role=status]').textContent.startsWith('Canceled')")
    assert api.canceled == ["A1.c2"]
    await four_orders.named_key("ArrowRight", 9)
    await page.press("ArrowDown")
    await page.press("Enter")  # on the cell that cancels
    await page.until("document.querySelector('[role=status]').textContent.includes('45.0001')")
    assert api.canceled == ["A1.c2", "A1.c1"]


async def test_orders_sorted_and_filtered_then_the_export_is_what_is_shown(four_orders: Screen) -> None:
    page = four_orders.page
    await page.evaluate("document.querySelectorAll('.orders .table-head button')[3].click()")
    await page.until(f"{QTY_COLUMN}.join() == '300,200,100,100'")
    await page.evaluate("document.querySelectorAll('.orders .table-head button')[3].click()")
    await page.until(f"{QTY_COLUMN}.at(-1) == '300'")
    await page.write(".orders .filter", "msft filled")
    await page.until(f"{QTY_COLUMN}.length == 1")
    lines = str(await page.evaluate(EXPORT)).splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == ["A1.c4"]


async def test_row_is_opened_then_the_orders_history_shows(four_orders: Screen) -> None:
    page, api = four_orders.page, four_orders.api
    part = {"cum_qty": 100, "leaves_qty": 200, "notional_e4": 47_000_000, "state": OrderState.PARTIALLY_FILLED}
    steps: list[dict[str, Any]] = [
        {"revision": 1, "state": OrderState.ACCEPTED},
        {"revision": 2},
        {"revision": 3, "text": "of the venue", **part},
    ]
    events = [order_event("A1", 3, qty=300, **step) for step in steps]
    api.events["A1.c3"] = [event.model_dump(mode="json", exclude_none=True) for event in events]
    await page.press("ArrowDown")
    await page.press("Enter")
    await page.until("document.querySelectorAll('.history-row').length == 4")
    told = await page.text(".history-rows")
    assert "100 @ 47.00 · filled 100 · open 200 · of the venue" in told
    assert await page.text(".history-dialog > .note") == ""
    await page.press("Escape")
    await page.until("!document.querySelector('dialog')")
    assert api.canceled == []


async def test_ladder_by_keyboard_then_the_price_is_in_the_ticket(screen: Screen, writer: ViewWriter) -> None:
    page = screen.page
    asks = tuple((470_100 + 100 * level, 500) for level in range(10))
    bids = tuple((470_000 - 100 * level, 500) for level in range(10))
    await writer.write("book", "AAPL", {"depth": BookData(symbol="AAPL", bids=bids, asks=asks, event_ns=1)})
    await screen.open()
    await page.until("document.querySelector('.ladder .bid .level').textContent == '47.00'")
    await page.evaluate("document.querySelector('.rung[tabindex=\"0\"]').focus()")
    for _ in range(2):
        await page.press("ArrowDown")
    await page.press("Enter")
    await page.until("document.querySelector('.submit').textContent == 'Buy 100 AAPL @ 46.98'")
    assert screen.sent == []


async def test_breaks_then_counted_listed_with_their_command_and_gone_once_resolved(
    screen: Screen, writer: ViewWriter
) -> None:
    page = screen.page
    await screen.open()
    await page.until("document.querySelector('.lamp.breaks').textContent == 'breaks 0'")
    first, second = refused("A1", time.time_ns())
    await writer.write("break", "A1", {first.break_id: first.model_dump(mode="json")})
    await page.until("document.querySelector('.lamp.breaks[data-state=down]').textContent == 'breaks 1'")
    await page.until("document.querySelector('.announcer [role=alert]').textContent.includes('OVERFILL')")
    await page.evaluate("location.reload()")
    await page.until("document.querySelector('.lamp.breaks[data-state=down]')?.textContent == 'breaks 1'")
    await page.click(".lamp.breaks")
    told = await page.text(".break-row")
    for what in (first.order_id, "OVERFILL", "BUY 700 AAPL @ 271.40", "tidemark breaks resolve 2-1041 --book --note"):
        assert what in told, told
    await writer.write("break", "A1", {second.break_id: second.model_dump(mode="json")})
    await page.until("document.querySelectorAll('.break-row').length == 2")
    await writer.write("break", "A1", {first.break_id: None, second.break_id: None})
    await page.until("document.querySelector('.break-rows').textContent == 'No open breaks'")
    assert await page.text(".lamp.breaks") == "breaks 0"


async def test_market_alerts_then_counted_listed_with_their_numbers_and_a_symbol_leads_to_it(
    screen: Screen, writer: ViewWriter
) -> None:
    page = screen.page
    await screen.open()
    await page.until("document.querySelector('.lamp.alerts[data-state=ready]')?.textContent == 'alerts 0'")
    spike, over = (
        market_alert("MSFT", "PRICE_SPIKE"),
        market_alert("AAPL", "STALE_FEED", end_ns=1_800_000_002_000_000_000),
    )
    await writer.write("alert", "0", {"over": over})
    await writer.write("alert", "3", {"spike": spike})
    await page.until("document.querySelector('.lamp.alerts[data-state=waiting]')?.textContent == 'alerts 1'")
    await page.click(".lamp.alerts")
    told = await page.text(".alert-row")
    for what in ("MSFT", "PRICE SPIKE", "HIGH", "since ", "4.20, above 3.00", "price 100.34", "mean price 100.00"):
        assert what in told, told
    await writer.write("alert", "3", {"spike": spike.model_copy(update={"severity": "CRITICAL", "phase": "rise"})})
    await page.until("document.querySelector('.lamp.alerts[data-state=down]')")
    await page.click(".alert-row .alert-symbol")
    await page.until("!document.querySelector('dialog[open]') && location.hash.includes('symbol=MSFT')")
    await writer.write("alert", "3", {"spike": None})
    await page.until("document.querySelector('.lamp.alerts').textContent == 'alerts 0'")


async def test_alert_when_its_moment_is_asked_for_then_the_chart_shows_that_bar_of_its_symbol(
    screen: Screen, writer: ViewWriter
) -> None:
    page = screen.page
    spike = market_alert("MSFT", "PRICE_SPIKE")
    begin_ns = spike.begin_ns // 10**9 * 10**9
    bars = {}
    for number in range(300):
        start_ns, price_e4 = begin_ns + (number - 100) * 10**9, 470_000 + 100 * number
        bars[str(start_ns)] = BarData(
            symbol="MSFT", window_start_ns=start_ns, window_ns=10**9, open_e4=price_e4, high_e4=price_e4,
            low_e4=price_e4, close_e4=price_e4, volume=10, trades=1 + number, notional_e4=10 * price_e4,
            vwap_e4=price_e4, revision=0, closed=True,
        )  # fmt: skip
    await writer.write("bar", "MSFT:1000000000", bars)
    await writer.write("alert", "3", {"spike": spike})
    await screen.open()
    await page.until("document.querySelector('.lamp.alerts[data-state=waiting]')")
    await page.click(".lamp.alerts")
    await page.until("document.querySelectorAll('.alert-row').length == 1")
    await page.click(".alert-row .alert-moment")
    await page.until("!document.querySelector('dialog[open]') && location.hash.includes('symbol=MSFT')")
    shown = f"{datetime.fromtimestamp(begin_ns // 10**9, ZoneInfo('America/New_York')):%H:%M:%S}"
    await page.until(f"document.querySelector('.chart').dataset.moment == '{shown}'")
    legend = await page.text(".chart-legend")
    trades = int(legend.split("Trades ")[1].split()[0])
    closes = [47 + number / 100 for number in range(trades)]
    average = float(legend.split("SMA 20 ")[1].split()[0])
    assert abs(average - sum(closes[-20:]) / 20) < 0.006, legend  # of a half cent either is as good
    assert "EMA 50 " in legend, legend


EMPTY = "[...document.querySelectorAll(':is(.orders, .fills, .account) .table-empty')].map((note) => note.textContent)"


async def test_view_that_is_not_live_then_nothing_is_said_to_be_not_there(
    start_push: Callable[..., Any], writer: ViewWriter
) -> None:
    said: dict[str, dict[str, Any]] = {"orders.lifecycle": {"state": "filling"}}
    async with stand_in_orders() as api, beating(writer, said), open_page(1600, 900) as page:
        api.accounts.add("A9")
        await show_market(writer)
        push = await start_push(static_dir=built_dashboard(), orders_url=api.url)
        await page.goto(f"{push.url}/#symbol=AAPL&account=A9")
        unknown, known = ["Not known yet"] * 2, ["No orders", "No fills"]
        await page.until(f"JSON.stringify({EMPTY}) == JSON.stringify({json.dumps([*unknown, 'No positions'])})")
        assert await page.text(".lamp.breaks") == "breaks 0"
        said["orders.lifecycle"], said["risk.gate"] = {}, {"state": "filling"}
        await page.until(f"JSON.stringify({EMPTY}) == JSON.stringify({json.dumps([*known, 'Not known yet'])})")
        assert await page.text(".lamp.breaks") == "breaks ?"
