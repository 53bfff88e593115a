"""Movements: who owes what after each, and what is refused."""

from typing import Any

import pytest
from common.checks.prices import PROCEEDS_FACTOR
from common.contracts.events import CASH, AccountStatus, Book, EntryKind, LedgerEntry
from common.contracts.values import E4, INT64_MAX, Side
from common.reported import Effect
from common.testing.orders import ACCOUNT, NOW_NS, SYMBOL, fund, withdraw
from hypothesis import given
from hypothesis import strategies as st
from risk.domain import ledger
from risk.domain.account import NO_POSITION, AccountRow, PositionRow
from risk.domain.ledger import Entry, LedgerError, Leg
from risk.domain.open_orders import LEVEL, with_total
from risk.domain.settlement import Reserved, Settled, Short, Source, settle
from risk.wire import encode_entry

ACTIVE = AccountStatus.ACTIVE


def legs(entry: Entry) -> dict[tuple[Book, str], int]:
    assert LedgerEntry.model_validate_json(encode_entry(entry))
    return {(leg.book, leg.asset): leg.amount for leg in entry.postings}


SOURCE = Source(ACCOUNT, f"{ACCOUNT}.o1", "x1")


def filled(qty: int, price_e4: int, *, ends: bool = False) -> Effect:
    return Effect(fill_qty=qty, fill_price_e4=price_e4, ends=ends)


ENDED = Effect(ends=True)


def settle_buy(effect: Effect, *, leaves_qty: int = 10, cum_qty: int = 0) -> Settled:
    """An account whose only reservation is that of BUY, at 100."""
    account = AccountRow(ACTIVE, 5_000 * E4, 100 * E4 * leaves_qty, 7)
    position = PositionRow(cum_qty) if cum_qty else None
    reserved = Reserved(SYMBOL, Side.BUY, 100 * E4, leaves_qty)
    settled = settle(account, position, reserved, effect, SOURCE, NOW_NS + 1)
    assert isinstance(settled, Settled)
    return settled


def settle_sell(effect: Effect) -> Settled:
    reserved = Reserved(SYMBOL, Side.SELL, 100 * E4, 10)
    settled = settle(AccountRow(ACTIVE, 0, 0, 7), PositionRow(25, 10), reserved, effect, SOURCE, NOW_NS + 1)
    assert isinstance(settled, Settled)
    return settled


def test_fund_cash_and_shares_then_one_entry_with_both() -> None:
    booked = ledger.fund(AccountRow(ACTIVE), None, fund(command_id="f", cash_e4=50, symbol=SYMBOL, qty=3), NOW_NS)
    assert (booked.account, booked.position) == (AccountRow(ACTIVE, 50, 0, 1), PositionRow(3, 0))
    assert legs(booked.entry) == {
        (Book.AVAILABLE, CASH): 50,
        (Book.EXTERNAL, CASH): -50,
        (Book.AVAILABLE, SYMBOL): 3,
        (Book.EXTERNAL, SYMBOL): -3,
    }


def test_withdraw_then_available_cash_goes_out() -> None:
    booked = ledger.withdraw(AccountRow(ACTIVE, 50, 20, 4), withdraw(command_id="w", cash_e4=30), NOW_NS)
    assert booked.account == AccountRow(ACTIVE, 20, 20, 5)
    assert legs(booked.entry) == {(Book.AVAILABLE, CASH): -30, (Book.EXTERNAL, CASH): 30}


def test_withdraw_beyond_available_then_refused() -> None:
    with pytest.raises(LedgerError, match="would leave 20 reserved of 19"):
        ledger.withdraw(AccountRow(ACTIVE, 50, 20, 4), withdraw(command_id="w", cash_e4=31), NOW_NS)


def test_reserve_buy_then_cash_changes_books_and_stays_the_accounts() -> None:
    booked = ledger.reserve(ACCOUNT, AccountRow(ACTIVE, 100, 0, 1), None, "acct-1.o", SYMBOL, 60, 0, 6, NOW_NS)
    after = AccountRow(ACTIVE, 100, 60, 2, buy_prices={SYMBOL: with_total(LEVEL.pack(-6, 1), 10)})
    assert (booked.account, booked.position) == (after, None)
    assert legs(booked.entry) == {(Book.AVAILABLE, CASH): -60, (Book.RESERVED, CASH): 60}


def test_reserve_sell_then_shares_change_books() -> None:
    booked = ledger.reserve(ACCOUNT, AccountRow(ACTIVE), PositionRow(9, 2), "acct-1.o", SYMBOL, 0, 7, 5, NOW_NS)
    after = (AccountRow(ACTIVE, 0, 0, 1, 7 * 5 * PROCEEDS_FACTOR), PositionRow(9, 9, LEVEL.pack(5, 1)))
    assert (booked.account, booked.position) == after
    assert legs(booked.entry) == {(Book.AVAILABLE, SYMBOL): -7, (Book.RESERVED, SYMBOL): 7}


def test_reserve_beyond_what_is_free_then_refused() -> None:
    with pytest.raises(LedgerError, match="would leave 101 reserved of 100"):
        ledger.reserve(ACCOUNT, AccountRow(ACTIVE, 100), None, "acct-1.o", SYMBOL, 101, 0, 1, NOW_NS)
    with pytest.raises(LedgerError, match="would leave 8 reserved of 7"):
        ledger.reserve(ACCOUNT, AccountRow(ACTIVE), PositionRow(7), "acct-1.o", SYMBOL, 0, 8, 1, NOW_NS)
    with pytest.raises(LedgerError, match="without a position"):
        ledger.reserve(ACCOUNT, AccountRow(ACTIVE), None, "acct-1.o", SYMBOL, 0, 8, 1, NOW_NS)


def test_partial_fill_at_the_limit_then_the_rest_stays_reserved() -> None:
    settled = settle_buy(filled(4, 100 * E4))
    assert settled.account == AccountRow(ACTIVE, 4_600 * E4, 600 * E4, 8)
    assert settled.position == PositionRow(4, 0)
    assert settled.leaves_qty == 6
    (post,) = settled.entries
    assert (post.kind, post.seq, post.execution_id) == (EntryKind.POST, 8, "x1")
    assert legs(post) == {
        (Book.RESERVED, CASH): -400 * E4,
        (Book.VENUE, CASH): 400 * E4,
        (Book.AVAILABLE, SYMBOL): 4,
        (Book.VENUE, SYMBOL): -4,
    }


def test_fill_at_a_better_price_then_the_difference_is_available_again() -> None:
    settled = settle_buy(filled(4, 97 * E4))
    assert settled.account == AccountRow(ACTIVE, 4_612 * E4, 600 * E4, 8)
    assert legs(settled.entries[0])[Book.AVAILABLE, CASH] == 12 * E4


def test_last_fill_then_nothing_is_reserved_and_nothing_to_void() -> None:
    settled = settle_buy(filled(6, 100 * E4, ends=True), leaves_qty=6, cum_qty=4)
    assert settled.account == AccountRow(ACTIVE, 4_400 * E4, 0, 8)
    assert (settled.leaves_qty, len(settled.entries)) == (0, 1)


def test_sell_filled_then_cash_comes_and_shares_go() -> None:
    settled = settle_sell(filled(4, 103 * E4))
    assert (settled.account, settled.position) == (AccountRow(ACTIVE, 412 * E4, 0, 8), PositionRow(21, 6))
    assert legs(settled.entries[0]) == {
        (Book.RESERVED, SYMBOL): -4,
        (Book.VENUE, SYMBOL): 4,
        (Book.AVAILABLE, CASH): 412 * E4,
        (Book.VENUE, CASH): -412 * E4,
    }


def test_order_ends_unfilled_then_all_of_it_is_released() -> None:
    bought = settle_buy(ENDED)
    assert bought.account == AccountRow(ACTIVE, 5_000 * E4, 0, 8)
    assert legs(bought.entries[0]) == {(Book.RESERVED, CASH): -1_000 * E4, (Book.AVAILABLE, CASH): 1_000 * E4}
    sold = settle_sell(ENDED)
    assert sold.position == PositionRow(25, 0)
    assert legs(sold.entries[0]) == {(Book.RESERVED, SYMBOL): -10, (Book.AVAILABLE, SYMBOL): 10}
    assert bought.leaves_qty == sold.leaves_qty == 0


def test_fill_that_ends_the_order_early_then_post_and_void_in_that_order() -> None:
    settled = settle_buy(filled(4, 100 * E4, ends=True))
    assert [(entry.kind, entry.seq) for entry in settled.entries] == [(EntryKind.POST, 8), (EntryKind.VOID, 9)]
    assert settled.account == AccountRow(ACTIVE, 4_600 * E4, 0, 9)
    assert settled.leaves_qty == 0


@given(
    side=st.sampled_from(Side),
    reserved_qty=st.integers(0, 9),
    fill=st.tuples(st.integers(0, 12), st.integers(1, 12)),
    back=st.tuples(st.integers(0, 12), st.integers(1, 12)),
    cash=st.integers(0, 60),
    shares=st.integers(0, 12),
    reopens=st.booleans(),
    ends=st.booleans(),
)
def test_any_effect_on_any_account_then_booked_whole_or_short_in_numbers_and_never_overdrawn(
    side: Side,
    reserved_qty: int,
    fill: tuple[int, int],
    back: tuple[int, int],
    cash: int,
    shares: int,
    reopens: bool,
    ends: bool,
) -> None:
    """``move`` raises where an entry does not balance or an amount leaves its range."""
    buys = side is Side.BUY
    held_e4, held = (6 * reserved_qty, 0) if buys else (0, reserved_qty)
    account, position = AccountRow(ACTIVE, cash + held_e4, held_e4, 7), PositionRow(shares + held, held)
    effect = Effect(fill_qty=fill[0], fill_price_e4=fill[1], back_qty=back[0], back_price_e4=back[1], ends=ends)
    reserved = Reserved(SYMBOL, side, 6, reserved_qty, reopens)
    settled = settle(account, position, reserved, effect, SOURCE, NOW_NS)
    if isinstance(settled, Short):
        (shortfall,) = (number for name, number in settled.compared.items() if name.startswith("shortfall"))
        assert shortfall > 0
        return
    sign = 1 if buys else -1
    moved_cash = sign * (back[0] * back[1] - fill[0] * fill[1])
    assert settled.account.cash_e4 == account.cash_e4 + moved_cash
    after = settled.position or position
    assert after.qty == position.qty + sign * (fill[0] - back[0])
    assert (settled.account.reserved_cash_e4, after.reserved_qty) == (
        (6 * settled.leaves_qty, 0) if buys else (0, settled.leaves_qty)
    )
    assert not (ends and settled.leaves_qty)


@pytest.mark.parametrize(
    ("entry", "changes", "why"),
    [
        ({"seq": 9}, {}, "entry 9 follows 7"),
        ({"postings": (Leg(Book.AVAILABLE, CASH, 1),)}, {}, "does not balance"),
        ({"postings": ()}, {}, "does not balance"),
        ({}, {"cash_e4": -101}, "would leave 0 reserved of -1"),
        ({}, {"reserved_cash_e4": -1}, "would leave -1 reserved"),
        ({}, {"cash_e4": INT64_MAX}, "would leave"),
        ({}, {"qty": 1}, "without a position"),
    ],
)
def test_movement_breaks_an_invariant_then_nothing_is_booked(
    entry: dict[str, Any], changes: dict[str, Any], why: str
) -> None:
    sound: dict[str, Any] = {
        "account_id": ACCOUNT,
        "seq": 8,
        "kind": EntryKind.FUND,
        "postings": (Leg(Book.AVAILABLE, CASH, 1), Leg(Book.EXTERNAL, CASH, -1)),
        "booked_ns": NOW_NS,
    }
    account = AccountRow(ACTIVE, 100, 0, 7)
    with pytest.raises(LedgerError, match=why):
        ledger.move(account, None, Entry(**{**sound, **entry}), **changes)


def test_position_beyond_64_bits_then_refused() -> None:
    command = fund(command_id="f", symbol=SYMBOL, qty=INT64_MAX)
    with pytest.raises(LedgerError):
        ledger.fund(AccountRow(ACTIVE), PositionRow(1), command, NOW_NS)
    assert ledger.fund(AccountRow(ACTIVE), NO_POSITION, command, NOW_NS).position == PositionRow(INT64_MAX)
