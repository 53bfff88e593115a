"""The ticket sends what it shows, once for each press, and keeps orders, accounts and rows apart. In a real browser."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from common.contracts.events import ExecType, ExecutionReport, OrderEvent, OrderState
from common.contracts.values import OrderType, Side, TimeInForce
from common.contracts.views import AccountData, BookData, PositionData, QuoteData
from common.testing.page import Page, open_page
from common.testing.views import ViewWriter
from push.settings import built_dashboard

from tests.push.dashboard_stand import StandInOrders, book, stand_in_orders

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (built_dashboard() / "index.html").is_file(), reason="the dashboard is not built: make web"),
]
INT64_MAX = 2**63 - 1
ECHO_S = 0.8
"""Longer than the time in which a second press of the same order counts as the first one's echo."""
PRICE = "[aria-label='Limit price']"
QTY = "[aria-label='Quantity']"
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
KEY_CODES = {"Delete": 46, "Home": 36, "ArrowLeft": 37, "ArrowRight": 39}
Desk = Callable[..., Any]


def order_event(account: str, number: int, **changes: Any) -> OrderEvent:
    """A working order of 100 shares; higher numbers are newer."""
    given: dict[str, Any] = {
        "order_id": f"{account}.c{number}",
        "account_id": account,
        "client_order_id": f"c{number}",
        "symbol": "AAPL",
        "side": Side.BUY,
        "order_type": OrderType.LIMIT,
        "time_in_force": TimeInForce.DAY,
        "qty": 100,
        "limit_price_e4": 450_000 + number,
        "state": OrderState.WORKING,
        "leaves_qty": 100,
        "revision": 2,
        "sent_ns": 1_800_000_000_000_000_000 + number * 1_000_000_000,
        "updated_ns": 1_800_000_000_000_000_000,
    }
    return OrderEvent(**(given | changes))


async def show_orders(writer: ViewWriter, *orders: OrderEvent) -> None:
    for order in orders:
        await writer.write("order", order.account_id, {order.order_id: order.model_dump(mode="json")})


async def show_market(writer: ViewWriter) -> None:
    """Two symbols around 47.00, and two accounts."""
    quotes = {
        symbol: QuoteData(
            symbol=symbol,
            bid_e4=470_000,
            bid_size=500,
            ask_e4=470_100,
            ask_size=500,
            last_e4=470_000,
            open_e4=460_000,
            volume=volume,
            trading_state="T",
            event_ns=time.time_ns(),
        )
        for symbol, volume in (("AAPL", 1_000), ("MSFT", 900))
    }
    await writer.write("quote", "0", quotes)
    for account_id in ("A1", "A2"):
        await show_account(writer, account_id, cash_e4=10**12)


async def show_account(writer: ViewWriter, account_id: str, cash_e4: int, qty: int = 500) -> None:
    positions = (PositionData(symbol="AAPL", qty=qty, reserved_qty=0),)
    data = AccountData(
        account_id=account_id, status="ACTIVE", cash_e4=cash_e4, reserved_cash_e4=0, positions=positions, seq=1
    )
    await writer.write("account", account_id, {"account": data})


class Screen:
    """The page of one account and symbol, and the API that its ticket sends to."""

    def __init__(self, page: Page, api: StandInOrders, url: str) -> None:
        self.page = page
        self.api = api
        self.url = url

    async def open(self, account: str = "A1", symbol: str = "AAPL") -> None:
        await self.page.goto(f"{self.url}/#symbol={symbol}&account={account}&window=1000000000")
        await self.page.until(f"document.querySelector('.ticket .head-note').textContent == '{symbol}'")

    async def ready(self) -> None:
        await self.page.until("!document.querySelector('.submit').disabled")

    async def button(self) -> str:
        return await self.page.text(".submit")

    async def type(self, price: str, qty: str) -> None:
        await self.page.write(PRICE, price)
        await self.page.write(QTY, qty)

    async def key(self, kind: str, repeat: bool = False) -> None:
        """Enter goes down, or up."""
        text = {"text": "\r"} if kind == "keyDown" else {}
        await self.page.call(
            "Input.dispatchKeyEvent", type=kind, key="Enter", windowsVirtualKeyCode=13, autoRepeat=repeat, **text
        )

    async def named_key(self, key: str, times: int = 1) -> None:
        for _ in range(times):
            await self.page.call(
                "Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=KEY_CODES[key]
            )

    async def language(self, tag: str) -> None:
        await self.page.call("Emulation.setUserAgentOverride", userAgent="Chromium", acceptLanguage=tag)
        await self.page.call("Emulation.setLocaleOverride", locale=tag.replace("-", "_"))

    @property
    def sent(self) -> list[dict[str, Any]]:
        return [order for order, _ in self.api.orders]

    async def until_sent(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.sent) < count:
                await asyncio.sleep(0.02)


@pytest.fixture
async def desk(start_push: Callable[..., Any], writer: ViewWriter) -> AsyncIterator[Desk]:
    """Opens the screen."""

    @asynccontextmanager
    async def opened(width: int = 1600, height: int = 900) -> AsyncIterator[Screen]:
        async with stand_in_orders() as api, open_page(width, height) as page:
            await show_market(writer)
            push = await start_push(static_dir=built_dashboard(), orders_url=api.url)
            yield Screen(page, api, push.url)

    yield opened


UNDERSTOOD = [
    ("de-DE", "47,40", "1.500", 474_000, 1_500),
    ("de-DE", "47.4", "1 000", 474_000, 1_000),
    ("en-US", "47.40", "1,500", 474_000, 1_500),
    ("en-US", "47,4", "100", 474_000, 100),
    ("fr-FR", "47,40", "1 500", 474_000, 1_500),
    ("de-CH", "47.40", "1’500", 474_000, 1_500),
]
REFUSED_PRICES = ["1e2", "0x64", "4 7,1", "47.1.2", "-5", "+5", "1.234", "1,234", "", "abc", "47.12345", "0"]
REFUSED_QTYS = ["1,5", "1.5", "1k", "1e3", "-1", "0", "9223372036854775808"]


async def test_number_as_typed_then_the_button_says_it_and_that_is_sent(desk: Desk) -> None:
    async with desk() as screen:
        for language, price, qty, price_e4, shares in UNDERSTOOD:
            await screen.language(language)
            await screen.open()
            await screen.page.call("Page.reload")
            await screen.ready()
            await screen.type(price, qty)
            assert await screen.button() == f"Buy {shares:,} AAPL @ {price_e4 / 10_000:.2f}"
            before = len(screen.sent)
            await screen.page.press("Enter")
            await screen.until_sent(before + 1)
            assert (screen.sent[-1]["limit_price_e4"], screen.sent[-1]["qty"]) == (price_e4, shares)
            await screen.page.until("document.querySelector('.verdict:is(.accepted, .denied)')")


async def test_number_that_is_none_or_ambiguous_then_it_is_refused_beside_its_field_and_nothing_is_sent(
    desk: Desk,
) -> None:
    async with desk() as screen:
        for language in ("en-US", "de-DE"):
            await screen.language(language)
            await screen.open()
            await screen.page.call("Page.reload")
            await screen.ready()
            for price, qty in [(one, "1") for one in REFUSED_PRICES] + [("47.00", one) for one in REFUSED_QTYS]:
                await screen.type(price, qty)
                field = PRICE if qty == "1" else QTY
                reason = (
                    f"document.getElementById(document.querySelector(\"{field}\").getAttribute('aria-describedby'))"
                )
                assert await screen.page.evaluate(f"{reason}.textContent"), (price, qty)
                assert await screen.page.evaluate(f'document.querySelector("{field}").ariaInvalid') == "true"
                assert await screen.page.evaluate("document.querySelector('.submit').disabled")
                await screen.page.press("Enter")
                await screen.page.click(".submit")
        assert screen.sent == []


async def test_enter_is_held_or_clicked_in_quick_succession_then_one_order(desk: Desk) -> None:
    async with desk() as screen:
        await screen.open()
        await screen.ready()
        await screen.type("46.00", "100")
        for _ in range(30):
            await screen.key("keyDown", repeat=True)
            await asyncio.sleep(0.03)
        assert screen.sent == []  # a repeat is no press, whatever came before it
        await screen.key("keyUp")
        await screen.key("keyDown")
        for _ in range(30):
            await screen.key("keyDown", repeat=True)
            await asyncio.sleep(0.03)
        for _ in range(10):  # what a remote desktop makes of a held key
            await screen.key("keyUp")
            await screen.key("keyDown")
        await screen.key("keyUp")
        assert len(screen.sent) == 1
        await asyncio.sleep(ECHO_S)
        for _ in range(4):
            await screen.page.click(".submit")
        await asyncio.sleep(ECHO_S)
        assert len(screen.sent) == 2
        await screen.page.press("Enter")
        await screen.until_sent(3)
        assert len({order["client_order_id"] for order in screen.sent}) == 3


async def test_answer_is_slow_then_the_ticket_waits_and_the_next_press_is_another_order(desk: Desk) -> None:
    async with desk() as screen:
        await screen.open()
        await screen.ready()
        await screen.type("46.00", "100")
        screen.api.answering.clear()
        await screen.page.press("Enter")
        await screen.page.until("document.querySelector('.submit').textContent.startsWith('Waiting')")
        for _ in range(3):
            await asyncio.sleep(ECHO_S)
            await screen.page.press("Enter")
            await screen.page.click(".submit")
        assert len(screen.sent) == 1
        screen.api.answering.set()
        await screen.page.until("document.querySelector('.verdict.accepted')")
        assert len(screen.sent) == 1
        await asyncio.sleep(ECHO_S)
        await screen.page.press("Enter")
        await screen.until_sent(2)


async def test_no_answer_then_pressing_again_sends_the_same_order(desk: Desk) -> None:
    async with desk() as screen:
        await screen.open()
        await screen.ready()
        await screen.type("46.00", "100")
        screen.api.silent = True
        screen.api.known = _Forgetful()
        await screen.page.press("Enter")
        await screen.page.until("document.querySelector('.submit').textContent.startsWith('No verdict')")
        await asyncio.sleep(ECHO_S)
        screen.api.silent = False
        await screen.page.press("Enter")
        await screen.page.until("document.querySelector('.verdict.accepted')")
        assert len(screen.sent) == 2
        assert screen.sent[0] == screen.sent[1]
        assert await screen.page.evaluate("document.querySelectorAll('.verdict').length") == 1


class _Forgetful(dict[str, dict[str, Any]]):
    """A read side that never has the order."""

    def __setitem__(self, key: str, value: dict[str, Any]) -> None:
        pass


async def test_account_and_symbol_change_and_the_page_reloads_while_an_answer_is_out_then_it_is_told_with_its_own(
    desk: Desk,
) -> None:
    async with desk() as screen:
        page = screen.page
        await screen.open("A1", "AAPL")
        await screen.ready()
        await screen.type("46.00", "100")
        screen.api.answering.clear()
        await page.press("Enter")
        await screen.until_sent(1)
        await page.write(".account-choice", "A2")
        await page.press("Enter")
        await page.until("document.querySelector('.submit').textContent.startsWith('Buy 100 AAPL')")
        await page.evaluate("document.querySelectorAll('.watch .table-spacer .symbol')[1].click()")
        await page.until("document.querySelector('.submit').textContent == 'Buy 100 MSFT @ 47.01'")
        assert await page.text(".verdict.sent .verdict-what") == "Buy 100 AAPL @ 46.00"
        assert (await page.text(".verdict.sent .verdict-why")).startswith("A1")
        await page.click(".submit")
        await screen.until_sent(2)
        await page.call("Page.reload")
        await page.until("document.querySelectorAll('.verdict.accepted').length == 2")
        told = await page.evaluate("[...document.querySelectorAll('.verdict')].map((one) => one.textContent)")
        assert "Buy 100 MSFT @ 47.01" in told[0] and "A2" in told[0]
        assert "Buy 100 AAPL @ 46.00" in told[1] and "A1" in told[1]
        assert [(order["account_id"], order["symbol"]) for order in screen.sent] == [("A1", "AAPL"), ("A2", "MSFT")]
        assert set(screen.api.read) == set(screen.api.known)
        assert await page.evaluate("sessionStorage.getItem('tidemark.submissions')") == "[]"


async def test_rows_move_between_press_and_release_then_the_cancel_is_the_aimed_at_order(
    desk: Desk, writer: ViewWriter
) -> None:
    async with desk() as screen:
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


async def test_amounts_beyond_two_to_the_53_then_every_digit_is_shown_and_sent(desk: Desk, writer: ViewWriter) -> None:
    async with desk() as screen:
        page = screen.page
        await show_account(writer, "A1", cash_e4=INT64_MAX, qty=2**53 + 1)
        await show_orders(writer, order_event("A1", 1, qty=2**53 + 1, leaves_qty=2**53 + 1, limit_price_e4=2**53 + 1))
        await screen.open()
        await screen.ready()
        assert await page.text(".account .strong") == "922,337,203,685,477.58"
        assert "9,007,199,254,740,993" in await page.text(".estimate")
        row = await page.until(
            "[...document.querySelector('.orders .working').children].map((cell) => cell.textContent)"
        )
        assert row[3:5] == ["9,007,199,254,740,993", "900719925474.0993"]
        await screen.type("0.0001", "9007199254740993")
        assert await screen.button() == "Buy 9,007,199,254,740,993 AAPL @ 0.0001"
        await page.press("Enter")
        await page.click("dialog .submit")
        await screen.until_sent(1)
        assert screen.sent[0]["qty"] == 2**53 + 1
        await page.until("document.querySelector('.verdict.denied')")
        assert "needed cash 900,719,925,474.10" in await page.text(".verdict-why")


async def test_account_is_mistyped_then_the_screen_says_so_and_sells_nothing(desk: Desk, writer: ViewWriter) -> None:
    async with desk() as screen:
        page = screen.page
        await screen.open("A11")
        await page.until("document.querySelector('.submit').textContent == 'No such account: A11'")
        assert await page.evaluate("document.querySelector('.submit').disabled")
        assert await page.text(".account .head-note") == "NO SUCH ACCOUNT"
        assert await page.evaluate("document.querySelector('.account-choice').ariaInvalid") == "true"
        assert await page.text(".orders .table-empty") == "No such account"
        await screen.type("46.00", "100")
        await page.press("Enter")
        screen.api.accounts.add("A12")  # known to the API alone: its view was lost
        await page.write(".account-choice", "A12")
        await page.press("Enter")
        await page.until("document.querySelector('.submit').textContent == 'Buy 100 AAPL @ 46.00'")
        await show_account(writer, "A11", cash_e4=1)
        await page.write(".account-choice", "A11")
        await page.press("Enter")
        await page.until("document.querySelector('.account .head-note').textContent == 'ACTIVE'")
        await screen.ready()
        assert screen.sent == []


async def test_order_is_large_or_through_the_quote_then_it_is_asked_about_once_and_as_set(desk: Desk) -> None:
    async with desk() as screen:
        page = screen.page
        await screen.open()
        await screen.ready()
        for price, qty, why in (
            ("470.10", "1", "900.00 % above the ask 47.01"),
            ("47.00", "10001", "10,001 shares are more than 10,000"),
        ):
            await screen.type(price, qty)
            await screen.key("keyDown")
            await page.until("document.querySelector('dialog[open]')")
            for _ in range(20):  # the key is still down: where the focus went, it sends nothing
                await screen.key("keyDown", repeat=True)
            await screen.key("keyUp")
            assert screen.sent == []
            await asyncio.sleep(ECHO_S)
            assert why in await page.text(".cautions")
            await page.press("Escape")
            await page.until("!document.querySelector('dialog')")
        assert screen.sent == []
        await asyncio.sleep(ECHO_S)
        await page.click(".submit")
        await page.until("document.querySelector('dialog[open]')")
        await page.click("dialog .submit")
        await screen.until_sent(1)


async def test_limits_are_set_then_the_ticket_asks_by_them_also_after_a_reload(desk: Desk) -> None:
    async with desk() as screen:
        page = screen.page
        await screen.open()
        await page.click(".settings-open")
        await page.write("[data-limit=qty] input", "20000")
        await page.write("[data-limit=through_e2] input", "")
        await page.press("Escape")
        await page.call("Page.reload")
        await screen.ready()
        await screen.type("470.10", "10001")
        await page.press("Enter")
        await page.until("document.querySelector('dialog[open]')")  # 4.7 million is above the largest amount still
        assert await page.text(".cautions") == "4,701,470.10 is more than 2,000,000.00"
        await page.press("Escape")
        await screen.type("100.00", "10001")
        await page.press("Enter")
        await screen.until_sent(1)
        assert (screen.sent[0]["limit_price_e4"], screen.sent[0]["qty"]) == (1_000_000, 10_001)


async def test_fill_and_verdict_then_they_are_announced(desk: Desk, writer: ViewWriter) -> None:
    async with desk() as screen:
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
async def four_orders(desk: Desk, writer: ViewWriter) -> AsyncIterator[Screen]:
    """Three working orders, newest and largest first, and a filled one of MSFT."""
    filled = {"state": OrderState.FILLED, "cum_qty": 100, "leaves_qty": 0, "notional_e4": 47_000_000}
    async with desk() as screen:
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


async def test_ladder_by_keyboard_then_the_price_is_in_the_ticket(desk: Desk, writer: ViewWriter) -> None:
    async with desk() as screen:
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
