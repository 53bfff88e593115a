"""The ticket sends what it shows, once for each press, and keeps accounts and orders apart. In a real browser."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from common.testing.views import ViewWriter
from push.settings import built_dashboard

from tests.push.dashboard_screen import ECHO_S, PRICE, QTY, Screen, open_screen, order_event, show_account, show_orders

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (built_dashboard() / "index.html").is_file(), reason="the dashboard is not built: make web"),
]
INT64_MAX = 2**63 - 1


@pytest.fixture
async def screen(start_push: Callable[..., Any], writer: ViewWriter) -> AsyncIterator[Screen]:
    async with open_screen(start_push, writer) as opened:
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


async def test_number_as_typed_then_the_button_says_it_and_that_is_sent(screen: Screen) -> None:
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
    screen: Screen,
) -> None:
    for language in ("en-US", "de-DE"):
        await screen.language(language)
        await screen.open()
        await screen.page.call("Page.reload")
        await screen.ready()
        for price, qty in [(one, "1") for one in REFUSED_PRICES] + [("47.00", one) for one in REFUSED_QTYS]:
            await screen.type(price, qty)
            field = PRICE if qty == "1" else QTY
            reason = f"document.getElementById(document.querySelector(\"{field}\").getAttribute('aria-describedby'))"
            assert await screen.page.evaluate(f"{reason}.textContent"), (price, qty)
            assert await screen.page.evaluate(f'document.querySelector("{field}").ariaInvalid') == "true"
            assert await screen.page.evaluate("document.querySelector('.submit').disabled")
            await screen.page.press("Enter")
            await screen.page.click(".submit")
    assert screen.sent == []


async def test_enter_is_held_or_clicked_in_quick_succession_then_one_order(screen: Screen) -> None:
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


async def test_answer_is_slow_then_the_ticket_waits_and_the_next_press_is_another_order(screen: Screen) -> None:
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


async def test_no_answer_then_pressing_again_sends_the_same_order(screen: Screen) -> None:
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
    screen: Screen,
) -> None:
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


async def test_amount_beyond_53_bits_then_every_digit_is_shown_and_sent(screen: Screen, writer: ViewWriter) -> None:
    page = screen.page
    await show_account(writer, "A1", cash_e4=INT64_MAX, qty=2**53 + 1)
    await show_orders(writer, order_event("A1", 1, qty=2**53 + 1, leaves_qty=2**53 + 1, limit_price_e4=2**53 + 1))
    await screen.open()
    await screen.ready()
    assert await page.text(".account .strong") == "922,337,203,685,477.58"
    assert "9,007,199,254,740,993" in await page.text(".estimate")
    row = await page.until("[...document.querySelector('.orders .working').children].map((cell) => cell.textContent)")
    assert row[3:5] == ["9,007,199,254,740,993", "900719925474.0993"]
    await screen.type("0.0001", "9007199254740993")
    assert await screen.button() == "Buy 9,007,199,254,740,993 AAPL @ 0.0001"
    await page.press("Enter")
    await page.click("dialog .submit")
    await screen.until_sent(1)
    assert screen.sent[0]["qty"] == 2**53 + 1
    await page.until("document.querySelector('.verdict.denied')")
    assert "needed cash 900,719,925,474.10" in await page.text(".verdict-why")


async def test_account_is_mistyped_then_the_screen_says_so_and_sends_nothing(
    screen: Screen, writer: ViewWriter
) -> None:
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


async def test_order_is_large_or_through_the_quote_then_it_is_asked_about_once_and_as_set(screen: Screen) -> None:
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


async def test_limits_are_set_then_the_ticket_asks_by_them_also_after_a_reload(screen: Screen) -> None:
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
