"""Rows of the dashboard: what is done to one is done to its order, by pointer and by keyboard. In a real browser."""

import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from common.contracts.events import ExecType, ExecutionReport, OrderState
from common.contracts.values import Side
from common.contracts.views import BookData
from common.testing.views import ViewWriter
from push.settings import built_dashboard

from tests.push.dashboard_screen import Screen, open_screen, order_event, show_orders
from tests.push.dashboard_stand import book

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (built_dashboard() / "index.html").is_file(), reason="the dashboard is not built: make web"),
]
QTY_COLUMN = """
[...document.querySelectorAll('.orders .table-spacer .table-row:not([hidden])')]
  .sort((a, b) => a.getAttribute('aria-rowindex') - b.getAttribute('aria-rowindex'))
  .map((row) => row.children[3].textContent)
"""
"""What the orders table shows of its quantities, from above."""
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
    known = {"account_id": "A1", "client_order_id": "c3", "symbol": "AAPL", "side": "B", "qty": 300}
    book(api.known, known | {"limit_price_e4": 450_003, "time_in_force": "DAY", "order_type": "LIMIT"}, "WORKING")
    report = {"exec_type": "TRADE", "account_id": "A1", "last_qty": 100, "last_price_e4": 470_000, "cum_qty": 100}
    report |= {"leaves_qty": 0, "venue_ns": time.time_ns()}
    api.executions = [report | {"order_id": f"A1.c{number}", "text": f"of c{number}"} for number in (4, 3, 2)]
    await page.press("ArrowDown")
    await page.press("Enter")
    await page.until("document.querySelector('.history-rows').textContent.includes('100 @ 47.00')")
    told = await page.text(".history-rows")
    assert "of c3" in told
    assert "of c4" not in told
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
