"""Profit on the dashboard: what the orders API has folded, at the prices that the page shows. In a real browser."""

import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from common.contracts.views import AccountData, PositionData, QuoteData
from common.testing.views import ViewWriter
from push.settings import built_dashboard

from tests.push.dashboard_screen import Screen, open_screen
from tests.push.dashboard_stand import profit

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (built_dashboard() / "index.html").is_file(), reason="the dashboard is not built: make web"),
]
SUMS = "[...document.querySelectorAll('.account .sums .line')].slice(-2).map((line) => line.children[1].textContent)"
PROFITS = """
[...document.querySelectorAll('.account .table-spacer .table-row:not([hidden])')]
  .sort((a, b) => a.getAttribute('aria-rowindex') - b.getAttribute('aria-rowindex'))
  .map((row) => [row.children[0].textContent, row.lastElementChild.textContent, row.lastElementChild.className])
"""


@pytest.fixture
async def screen(start_push: Callable[..., Any], writer: ViewWriter) -> AsyncIterator[Screen]:
    async with open_screen(start_push, writer) as opened:
        yield opened


async def show_account(writer: ViewWriter, seq: int, *positions: tuple[str, int]) -> None:
    held = tuple(PositionData(symbol=symbol, qty=qty, reserved_qty=0) for symbol, qty in positions)
    data = AccountData(account_id="A1", status="ACTIVE", cash_e4=10**12, reserved_cash_e4=0, positions=held, seq=seq)
    await writer.write("account", "A1", {"account": data})


async def show_last(writer: ViewWriter, symbol: str, last_e4: int) -> None:
    sides = {"bid_e4": last_e4, "bid_size": 500, "ask_e4": last_e4 + 100, "ask_size": 500}
    quote = QuoteData(
        symbol=symbol, last_e4=last_e4, open_e4=460_000, volume=1, trading_state="T", event_ns=time.time_ns(), **sides
    )
    await writer.write("quote", "0", {symbol: quote})


async def until(screen: Screen, expression: str, wanted: Any) -> None:
    await screen.page.until(
        f"JSON.stringify({expression}) == {json.dumps(json.dumps(wanted, separators=(',', ':'), ensure_ascii=False))}"
    )


async def test_profit_follows_what_is_booked_and_every_price(screen: Screen, writer: ViewWriter) -> None:
    """Both symbols trade at 47.00."""
    await show_account(writer, 7, ("AAPL", 500), ("MSFT", -10))
    screen.api.profits["A1"] = profit("A1", 7, -12_345_600, AAPL=(500, 500 * 460_000), MSFT=(-10, -10 * 465_000))
    await screen.open()
    await until(screen, SUMS, ["−1,234.56", "+495.00"])
    await until(screen, PROFITS, [["AAPL", "+500.00", "num up"], ["MSFT", "−5.00", "num down"]])
    await show_last(writer, "MSFT", 464_000)
    await until(screen, SUMS, ["−1,234.56", "+501.00"])
    await until(screen, PROFITS, [["AAPL", "+500.00", "num up"], ["MSFT", "+1.00", "num up"]])
    asked = len(screen.api.profits_asked)
    screen.api.profits["A1"] = profit("A1", 8, 100, AAPL=(400, 400 * 470_000), MSFT=(-10, -10 * 465_000))
    await show_account(writer, 8, ("AAPL", 400), ("MSFT", -10))
    await until(screen, SUMS, ["+0.01", "+1.00"])
    await until(screen, PROFITS, [["AAPL", "0.00", "num"], ["MSFT", "+1.00", "num up"]])
    assert len(screen.api.profits_asked) == asked + 1, "one question for one entry, however many prices there were"
    assert screen.page.problems == []


async def test_profit_when_a_symbol_has_no_price_or_nobody_says_then_none_is_shown(
    screen: Screen, writer: ViewWriter
) -> None:
    await show_account(writer, 3, ("AAPL", 500), ("GONE", 10))
    screen.api.profits["A1"] = profit("A1", 3, 50_000, AAPL=(500, 500 * 460_000), GONE=(10, 1))
    await screen.open()
    await until(screen, SUMS, ["+5.00", "–"])
    await until(screen, PROFITS, [["AAPL", "+500.00", "num up"], ["GONE", "–", "num"]])
    await screen.page.write(".account-choice", "A2")
    await screen.page.press("Enter")
    await until(screen, SUMS, ["0.00", "0.00"])
    assert screen.api.profits_asked[-1] == "A2"
