"""Movements: who owes what after each, and what is refused."""

from typing import Any

import pytest
from common.contracts.events import (
    CASH,
    AccountStatus,
    Book,
    EntryKind,
    ExecType,
    ExecutionReport,
    LedgerEntry,
    OrderIntent,
)
from common.contracts.values import E4, INT64_MAX, Side
from common.testing.orders import ACCOUNT, NOW_NS, SYMBOL, fund, intent, report, trade, withdraw
from risk.domain import ledger
from risk.domain.account import NO_POSITION, AccountRow, OrderRow, PositionRow
from risk.domain.ledger import Entry, LedgerError, Leg, Settled
from risk.wire import encode_entry

ACTIVE = AccountStatus.ACTIVE
BUY = intent(qty=10, limit_price_e4=100 * E4)
SELL = intent(side=Side.SELL, qty=10, limit_price_e4=100 * E4)


def order_row(of: OrderIntent, *, leaves_qty: int = 10, cum_qty: int = 0) -> OrderRow:
    return OrderRow(
        symbol=of.symbol,
        side=of.side,
        order_type=of.order_type,
        time_in_force=of.time_in_force,
        qty=of.qty,
        limit_price_e4=of.limit_price_e4,
        reason=None,
        compared={},
        instrument_id=0,
        price_e4=of.limit_price_e4 or 0,
        mark=None,
        account_seq=1,
        decided_ns=NOW_NS,
        leaves_qty=leaves_qty,
        cum_qty=cum_qty,
        touched_ns=NOW_NS,
    )


def legs(entry: Entry) -> dict[tuple[Book, str], int]:
    assert LedgerEntry.model_validate_json(encode_entry(entry))
    return {(leg.book, leg.asset): leg.amount for leg in entry.postings}


def settle_buy(of: ExecutionReport, *, leaves_qty: int = 10, cum_qty: int = 0) -> Settled:
    """An account whose only reservation is that of BUY."""
    account = AccountRow(ACTIVE, 5_000 * E4, 100 * E4 * leaves_qty, 7)
    position = PositionRow(cum_qty) if cum_qty else None
    return ledger.settle(account, position, order_row(BUY, leaves_qty=leaves_qty, cum_qty=cum_qty), of, NOW_NS + 1)


def settle_sell(of: ExecutionReport) -> Settled:
    return ledger.settle(AccountRow(ACTIVE, 0, 0, 7), PositionRow(25, 10), order_row(SELL), of, NOW_NS + 1)


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
    booked = ledger.reserve(ACCOUNT, AccountRow(ACTIVE, 100, 0, 1), None, "acct-1.o", SYMBOL, 60, 0, NOW_NS)
    assert (booked.account, booked.position) == (AccountRow(ACTIVE, 100, 60, 2), None)
    assert legs(booked.entry) == {(Book.AVAILABLE, CASH): -60, (Book.RESERVED, CASH): 60}


def test_reserve_sell_then_shares_change_books() -> None:
    booked = ledger.reserve(ACCOUNT, AccountRow(ACTIVE), PositionRow(9, 2), "acct-1.o", SYMBOL, 0, 7, NOW_NS)
    assert (booked.account, booked.position) == (AccountRow(ACTIVE, 0, 0, 1), PositionRow(9, 9))
    assert legs(booked.entry) == {(Book.AVAILABLE, SYMBOL): -7, (Book.RESERVED, SYMBOL): 7}


def test_reserve_beyond_what_is_free_then_refused() -> None:
    with pytest.raises(LedgerError, match="would leave 101 reserved of 100"):
        ledger.reserve(ACCOUNT, AccountRow(ACTIVE, 100), None, "acct-1.o", SYMBOL, 101, 0, NOW_NS)
    with pytest.raises(LedgerError, match="would leave 8 reserved of 7"):
        ledger.reserve(ACCOUNT, AccountRow(ACTIVE), PositionRow(7), "acct-1.o", SYMBOL, 0, 8, NOW_NS)
    with pytest.raises(LedgerError, match="without a position"):
        ledger.reserve(ACCOUNT, AccountRow(ACTIVE), None, "acct-1.o", SYMBOL, 0, 8, NOW_NS)


def test_partial_fill_at_the_limit_then_the_rest_stays_reserved() -> None:
    settled = settle_buy(trade(BUY, "x1", 4, 100 * E4, cum_qty=4))
    assert settled.account == AccountRow(ACTIVE, 4_600 * E4, 600 * E4, 8)
    assert settled.position == PositionRow(4, 0)
    assert (settled.order.leaves_qty, settled.order.cum_qty, settled.order.touched_ns) == (6, 4, NOW_NS + 1)
    (post,) = settled.entries
    assert (post.kind, post.seq, post.execution_id) == (EntryKind.POST, 8, "x1")
    assert legs(post) == {
        (Book.RESERVED, CASH): -400 * E4,
        (Book.VENUE, CASH): 400 * E4,
        (Book.AVAILABLE, SYMBOL): 4,
        (Book.VENUE, SYMBOL): -4,
    }


def test_fill_at_a_better_price_then_the_difference_is_available_again() -> None:
    settled = settle_buy(trade(BUY, "x1", 4, 97 * E4, cum_qty=4))
    assert settled.account == AccountRow(ACTIVE, 4_612 * E4, 600 * E4, 8)
    assert legs(settled.entries[0])[Book.AVAILABLE, CASH] == 12 * E4


def test_last_fill_then_nothing_is_reserved_and_nothing_to_void() -> None:
    settled = settle_buy(trade(BUY, "x2", 6, 100 * E4, cum_qty=10), leaves_qty=6, cum_qty=4)
    assert settled.account == AccountRow(ACTIVE, 4_400 * E4, 0, 8)
    assert (settled.order.leaves_qty, len(settled.entries)) == (0, 1)


def test_sell_filled_then_cash_comes_and_shares_go() -> None:
    settled = settle_sell(trade(SELL, "x1", 4, 103 * E4, cum_qty=4))
    assert (settled.account, settled.position) == (AccountRow(ACTIVE, 412 * E4, 0, 8), PositionRow(21, 6))
    assert legs(settled.entries[0]) == {
        (Book.RESERVED, SYMBOL): -4,
        (Book.VENUE, SYMBOL): 4,
        (Book.AVAILABLE, CASH): 412 * E4,
        (Book.VENUE, CASH): -412 * E4,
    }


@pytest.mark.parametrize("exec_type", [ExecType.CANCELED, ExecType.REJECTED])
def test_order_ends_unfilled_then_all_of_it_is_released(exec_type: ExecType) -> None:
    bought = settle_buy(report(BUY, exec_type, "x1"))
    assert bought.account == AccountRow(ACTIVE, 5_000 * E4, 0, 8)
    assert legs(bought.entries[0]) == {(Book.RESERVED, CASH): -1_000 * E4, (Book.AVAILABLE, CASH): 1_000 * E4}
    sold = settle_sell(report(SELL, exec_type, "x1"))
    assert sold.position == PositionRow(25, 0)
    assert legs(sold.entries[0]) == {(Book.RESERVED, SYMBOL): -10, (Book.AVAILABLE, SYMBOL): 10}
    assert bought.order.leaves_qty == sold.order.leaves_qty == 0


def test_fill_that_ends_the_order_early_then_post_and_void_in_that_order() -> None:
    settled = settle_buy(trade(BUY, "x1", 4, 100 * E4, cum_qty=4, leaves_qty=0))
    assert [(entry.kind, entry.seq) for entry in settled.entries] == [(EntryKind.POST, 8), (EntryKind.VOID, 9)]
    assert settled.account == AccountRow(ACTIVE, 4_600 * E4, 0, 9)
    assert settled.order.leaves_qty == 0


CONTRADICTIONS: dict[str, tuple[ExecutionReport, type[ledger.ExecutionRefused]]] = {
    "overfill": (trade(BUY, "x", 11, 100 * E4, cum_qty=11), ledger.Overfill),
    "nothing filled": (trade(BUY, "x", 0, 100 * E4, cum_qty=0), ledger.ReportMismatch),
    "negative fill": (trade(BUY, "x", -1, 100 * E4, cum_qty=-1), ledger.ReportMismatch),
    "filled for nothing": (trade(BUY, "x", 1, 0, cum_qty=1), ledger.ReportMismatch),
    "a fill in between is missing": (trade(BUY, "x", 2, 100 * E4, cum_qty=5), ledger.ReportMismatch),
    "leaves do not fit": (trade(BUY, "x", 2, 100 * E4, cum_qty=2, leaves_qty=7), ledger.ReportMismatch),
    "dearer than reserved": (trade(BUY, "x", 2, 100 * E4 + 1, cum_qty=2), ledger.ReportMismatch),
    "other symbol": (trade(BUY, "x", 2, 100 * E4, cum_qty=2, symbol="EVIL"), ledger.ReportMismatch),
    "other side": (trade(BUY, "x", 2, 100 * E4, cum_qty=2, side=Side.SELL), ledger.ReportMismatch),
    "canceled, yet open": (report(BUY, ExecType.CANCELED, "x", leaves_qty=3), ledger.ReportMismatch),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_report_contradicts_the_order_then_refused(case: str) -> None:
    of, refusal = CONTRADICTIONS[case]
    with pytest.raises(refusal):
        settle_buy(of)


def test_fill_beyond_what_is_still_open_then_refused() -> None:
    with pytest.raises(ledger.Overfill, match="filled 7 of 6"):
        settle_buy(trade(BUY, "x2", 7, 100 * E4, cum_qty=11), leaves_qty=6, cum_qty=4)


def test_sold_below_its_limit_then_refused() -> None:
    with pytest.raises(ledger.ReportMismatch, match="limit"):
        settle_sell(trade(SELL, "x", 1, 100 * E4 - 1, cum_qty=1))


@pytest.mark.parametrize(
    "of",
    [
        trade(BUY, "x", 1, 100 * E4, cum_qty=11),
        report(BUY, ExecType.CANCELED, "x"),
        report(BUY, ExecType.REJECTED, "x"),
    ],
)
def test_report_after_the_end_then_refused(of: ExecutionReport) -> None:
    with pytest.raises(ledger.OrderEnded):
        settle_buy(of, leaves_qty=0, cum_qty=10)


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
    entry: dict[str, Any], changes: dict[str, int], why: str
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
