"""The dashboard's page in a browser, with the market, the accounts and the orders that a test shows it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from common.contracts.events import OrderEvent, OrderState
from common.contracts.values import OrderType, Side, TimeInForce
from common.contracts.views import AccountData, AlertData, PositionData, QuoteData
from common.testing.views import ViewWriter
from parts.page import Page, open_page
from push.settings import built_dashboard

from tests.push.dashboard_stand import StandInOrders, beating, stand_in_orders

ECHO_S: Final = 0.8
"""Longer than the time in which a second press of the same order counts as the first one's echo."""
PRICE: Final = "[aria-label='Limit price']"
QTY: Final = "[aria-label='Quantity']"
KEY_CODES: Final = {"Delete": 46, "Home": 36, "ArrowLeft": 37, "ArrowRight": 39}
StartPush = Callable[..., Any]


def order_event(account: str, number: int, **changes: Any) -> OrderEvent:
    """A working order of 100 shares; higher numbers are newer, whatever their senders' clocks say."""
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
        "sent_ns": 1_800_000_000_000_000_000 - number * 1_000_000_000,
        "decided_ns": 1_800_000_000_000_000_000 + number * 1_000_000_000,
        "updated_ns": 1_800_000_000_000_000_000,
    }
    return OrderEvent(**(given | changes))


def market_alert(symbol: str, kind: str, **changes: Any) -> AlertData:
    """One that goes on, of 4.2 where 3 is the threshold."""
    given: dict[str, Any] = {
        "symbol": symbol,
        "kind": kind,
        "severity": "HIGH",
        "phase": "begin",
        "begin_ns": 1_800_000_000_000_000_000,
        "peak_ns": 1_800_000_001_000_000_000,
        "end_ns": 0,
        "peak_ppm": 4_200_000,
        "threshold_ppm": 3_000_000,
        "numbers": {"price_e4": 1_003_400, "mean_price_e4": 1_000_000},
    }
    return AlertData(**(given | changes))


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
        """Waits until the ticket would send, and the picture is current enough not to be asked about."""
        await self.page.until("!document.querySelector('.submit').disabled")
        await self.page.until("document.querySelector('.pill.live')")

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


@asynccontextmanager
async def open_screen(start_push: StartPush, writer: ViewWriter) -> AsyncIterator[Screen]:
    """Starts an orders API, a browser and push; nothing is chosen yet."""
    async with stand_in_orders() as api, beating(writer, {}), open_page(1600, 900) as page:
        await show_market(writer)
        push = await start_push(static_dir=built_dashboard(), orders_url=api.url)
        yield Screen(page, api, push.url)
