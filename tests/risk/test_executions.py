"""Execution reports on the stage: booked once, or a break that is booked or refused by hand."""

from typing import Any

import pytest
from common.checks.prices import PROCEEDS_FACTOR
from common.contracts.breaks import BreakReason, ExecutionBreak
from common.contracts.events import (
    AccountStatus,
    BreakAction,
    EntryKind,
    ExecType,
    ExecutionReport,
    ReasonCode,
    ResolveBreak,
)
from common.contracts.values import E4, INT64_MAX, Side
from common.testing.orders import ACCOUNT, NOW_NS, fund, intent, report, trade, withdraw
from risk import metrics
from risk.breaks import break_views
from risk.domain.account import AccountRow, OrderRow
from risk.domain.open_orders import LEVEL, with_total
from risk.tables import order_key

CASH_E4 = 10_000 * E4
BUY = intent("b1", qty=10, limit_price_e4=100 * E4)
SELL = intent("s1", side=Side.SELL, qty=10, limit_price_e4=100 * E4)


def account(desk: Any) -> AccountRow:
    row = desk.tables.changelogged("accounts").get(ACCOUNT.encode())
    assert isinstance(row, AccountRow)
    return row


def test_filled_in_parts_then_posted_in_parts_and_shown(desk: Any) -> None:
    desk.open(cash_e4=CASH_E4)
    desk.send(BUY)
    (first,) = desk.send(trade(BUY, "x1", 4, 99 * E4, cum_qty=4))
    (second,) = desk.send(trade(BUY, "x2", 6, 100 * E4, cum_qty=10))
    assert [(e.kind, e.seq, e.execution_id) for e in (first, second)] == [
        (EntryKind.POST, 3, "x1"),
        (EntryKind.POST, 4, "x2"),
    ]
    assert account(desk) == AccountRow(AccountStatus.ACTIVE, CASH_E4 - 996 * E4, 0, 4)
    assert desk.views[-1].data["positions"] == [{"symbol": "ACME", "qty": 10, "reserved_qty": 0}]


def test_everything_sold_then_no_position_row_is_left(desk: Any) -> None:
    desk.open(shares=10)
    desk.send(SELL)
    desk.send(trade(SELL, "x1", 10, 100 * E4, cum_qty=10))
    assert not desk.tables.changelogged("positions").rows
    assert not desk.tables.changelogged("holdings").rows
    assert (account(desk).cash_e4, desk.views[-1].data["positions"]) == (1_000 * E4, [])


def test_several_symbols_held_then_each_comes_and_goes_by_itself(desk: Any) -> None:
    desk.list_instrument("BETA", 7)
    desk.open(shares=10)
    desk.send(fund(command_id="b", symbol="BETA", qty=2))
    desk.send(SELL)
    desk.send(trade(SELL, "x1", 10, 100 * E4, cum_qty=10))
    assert desk.views[-1].data["positions"] == [{"symbol": "BETA", "qty": 2, "reserved_qty": 0}]


def test_part_filled_then_canceled_then_the_rest_released(desk: Any) -> None:
    desk.open(cash_e4=CASH_E4)
    desk.send(BUY)
    desk.send(trade(BUY, "x1", 4, 100 * E4, cum_qty=4))
    (void,) = desk.send(report(BUY, ExecType.CANCELED, "x2", cum_qty=4))
    assert (void.kind, void.seq) == (EntryKind.VOID, 4)
    assert account(desk) == AccountRow(AccountStatus.ACTIVE, CASH_E4 - 400 * E4, 0, 4)


def test_report_without_money_then_nothing_is_written_and_an_acknowledgement_is_remembered(desk: Any) -> None:
    desk.open(cash_e4=CASH_E4)
    desk.send(BUY)
    before = desk.tables.rows()
    assert desk.send(report(BUY, ExecType.CANCEL_REJECTED, "x0", leaves_qty=10)) == []
    assert desk.tables.rows() == before
    assert desk.send(report(BUY, ExecType.NEW, "x1", leaves_qty=10)) == []
    (refused,) = desk.send(report(BUY, ExecType.REJECTED, "x2"))
    assert refused.reason is BreakReason.REJECT_AFTER_ACKNOWLEDGE


def test_same_execution_again_then_ignored_even_after_the_end(desk: Any) -> None:
    desk.open(cash_e4=CASH_E4)
    desk.send(BUY)
    fills = [trade(BUY, "x1", 4, 100 * E4, cum_qty=4), trade(BUY, "x2", 6, 100 * E4, cum_qty=10)]
    for fill in fills:
        desk.send(fill)
    before, shown = desk.tables.rows(), len(desk.views)
    for fill in fills:
        assert desk.send(fill) == []
    assert (desk.tables.rows(), len(desk.views)) == (before, shown)


def changed(of: ExecutionReport, **fields: Any) -> ExecutionReport:
    return of.model_copy(update=fields)


FILL = trade(BUY, "x", 4, 100 * E4, cum_qty=4)
REFUSED: dict[str, tuple[ExecutionReport, BreakReason, dict[str, int]]] = {
    "never ordered": (trade(intent("ghost"), "x", 1, 100 * E4, cum_qty=1), BreakReason.ORDER_UNKNOWN, {}),
    "denied order": (trade(intent("denied", qty=-1), "x", 1, 100 * E4, cum_qty=1), BreakReason.ORDER_DENIED, {}),
    "more than is open": (
        trade(BUY, "x", 11, 100 * E4, cum_qty=11),
        BreakReason.OVERFILL,
        {"last_qty": 11, "open_qty": 10, "excess_qty": 1},
    ),
    "after its end": (
        trade(intent("ended"), "x9", 1, 100 * E4, cum_qty=1),
        BreakReason.FILL_AFTER_END,
        {"last_qty": 1, "cum_qty": 0, "leaves_qty": 0},
    ),
    "ended twice": (
        report(intent("ended"), ExecType.CANCELED, "x9"),
        BreakReason.REPORT_AFTER_END,
        {"cum_qty": 0, "order_qty": 10},
    ),
    "order of another account": (changed(FILL, account_id="acct-2"), BreakReason.ORDER_MISMATCH, {}),
    "other symbol": (changed(FILL, symbol="EVIL"), BreakReason.ORDER_MISMATCH, {}),
    "other side": (changed(FILL, side=Side.SELL), BreakReason.ORDER_MISMATCH, {}),
    "nothing filled": (
        changed(FILL, last_qty=0),
        BreakReason.AMOUNT_NOT_POSITIVE,
        {"last_qty": 0, "last_price_e4": 100 * E4},
    ),
    "filled for nothing": (
        changed(FILL, last_price_e4=0),
        BreakReason.AMOUNT_NOT_POSITIVE,
        {"last_qty": 4, "last_price_e4": 0},
    ),
    "dearer than the limit": (
        changed(FILL, last_price_e4=100 * E4 + 1),
        BreakReason.PRICE_BEYOND_LIMIT,
        {"last_price_e4": 100 * E4 + 1, "worst_price_e4": 100 * E4},
    ),
    "a fill in between is missing": (
        changed(FILL, cum_qty=6, leaves_qty=4),
        BreakReason.QUANTITIES_DISAGREE,
        {"reported_cum_qty": 6, "cum_qty": 4, "reported_leaves_qty": 4, "leaves_qty": 6},
    ),
    "the rest is gone without a word": (
        changed(FILL, leaves_qty=0),
        BreakReason.QUANTITIES_DISAGREE,
        {"reported_cum_qty": 4, "cum_qty": 4, "reported_leaves_qty": 0, "leaves_qty": 6},
    ),
    "canceled, yet open": (
        report(BUY, ExecType.CANCELED, "x", leaves_qty=3),
        BreakReason.QUANTITIES_DISAGREE,
        {"reported_leaves_qty": 3, "leaves_qty": 0},
    ),
    "bust of a trade that nobody told of": (
        report(BUY, ExecType.TRADE_CANCEL, "x", ref_execution_id="y", leaves_qty=10),
        BreakReason.BUST_UNKNOWN,
        {},
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_execution_contradicts_the_books_then_a_break_with_numbers_once_and_no_money_moves(
    desk: Any, case: str
) -> None:
    execution, reason, compared = REFUSED[case]
    for account_id in (ACCOUNT, "acct-2"):
        desk.open(account_id, cash_e4=CASH_E4)
    desk.send(BUY)
    desk.send(intent("denied", qty=-1))
    desk.send(intent("ended"))
    desk.send(report(intent("ended"), ExecType.REJECTED, "x8"))
    entries, cash = len(desk.ledger), account(desk)
    (opened,) = desk.send(execution)
    assert isinstance(opened, ExecutionBreak)
    assert (opened.reason, opened.compared, opened.report, opened.parked) == (reason, compared, execution, False)
    assert (len(desk.ledger), account(desk)) == (entries, cash)
    assert desk.send(changed(execution, venue_ns=execution.venue_ns + 1, text="resent")) == []


def test_same_execution_id_with_another_fill_then_a_break_and_each_body_only_once(desk: Any) -> None:
    desk.open(cash_e4=CASH_E4)
    desk.send(BUY)
    desk.send(trade(BUY, "x1", 4, 100 * E4, cum_qty=4))
    other = trade(BUY, "x1", 2, 100 * E4, cum_qty=6)
    (opened,) = desk.send(other)
    assert opened.reason is BreakReason.EXECUTION_ID_REUSED
    assert desk.send(other) == []
    assert desk.send(trade(BUY, "x1", 4, 100 * E4, cum_qty=4)) == []


def test_report_on_an_id_that_nobody_was_answered_under_then_no_order_is_accepted_under_it(desk: Any) -> None:
    """Else the order could be taken for the one that the venue has filled already."""
    desk.open(cash_e4=CASH_E4)
    (opened,) = desk.send(FILL)
    assert opened.reason is BreakReason.ORDER_UNKNOWN
    decision = desk.decide(BUY)
    assert (decision.accepted, decision.reason) == (False, ReasonCode.DUPLICATE_ID)
    assert account(desk).reserved_cash_e4 == 0


def test_end_with_other_shares_than_were_told_then_it_ends_and_is_doubted(desk: Any) -> None:
    desk.open(cash_e4=CASH_E4)
    desk.send(BUY)
    desk.send(trade(BUY, "x1", 4, 100 * E4, cum_qty=4))
    opened, void = desk.send(report(BUY, ExecType.CANCELED, "x2", cum_qty=6))
    assert (opened.reason, opened.parked, void.kind) == (BreakReason.QUANTITIES_DISAGREE, True, EntryKind.VOID)
    assert account(desk).reserved_cash_e4 == 0


# --- busts and corrections -----------------------------------------------------------------------------------------


def test_bust_on_an_open_order_then_the_fill_backwards_and_its_shares_are_open_again(desk: Any) -> None:
    desk.open(cash_e4=CASH_E4)
    desk.send(BUY)
    before = account(desk)
    (post,) = desk.send(trade(BUY, "x1", 4, 99 * E4, cum_qty=4))
    (bust,) = desk.send(report(BUY, ExecType.TRADE_CANCEL, "x2", ref_execution_id="x1", leaves_qty=10))
    assert (bust.kind, bust.execution_id) == (EntryKind.BUST, "x2")
    legs = {(leg.book, leg.asset): -leg.amount for leg in post.postings}
    assert {(leg.book, leg.asset): leg.amount for leg in bust.postings} == legs
    assert (account(desk).cash_e4, account(desk).reserved_cash_e4) == (before.cash_e4, before.reserved_cash_e4)
    assert desk.views[-1].data["positions"] == []
    (again,) = desk.send(report(BUY, ExecType.TRADE_CANCEL, "x3", ref_execution_id="x1", leaves_qty=10))
    assert again.reason is BreakReason.BUST_UNKNOWN


@pytest.mark.parametrize("side", Side)
def test_bust_after_the_end_then_what_was_paid_is_available_and_the_order_stays_closed(desk: Any, side: Side) -> None:
    desk.open(cash_e4=CASH_E4, shares=10)
    of = BUY if side is Side.BUY else SELL
    desk.send(of)
    desk.send(trade(of, "x1", 10, 100 * E4, cum_qty=10))
    desk.send(report(of, ExecType.TRADE_CANCEL, "x2", ref_execution_id="x1"))
    assert (account(desk).cash_e4, account(desk).reserved_cash_e4) == (CASH_E4, 0)
    assert desk.views[-1].data["positions"] == [{"symbol": "ACME", "qty": 10, "reserved_qty": 0}]
    (late,) = desk.send(trade(of, "x3", 1, 100 * E4, cum_qty=1, leaves_qty=9))
    assert late.reason is BreakReason.FILL_AFTER_END


def test_correction_then_the_old_fill_back_and_the_new_one_posted_together(desk: Any) -> None:
    desk.open(cash_e4=CASH_E4)
    desk.send(BUY)
    desk.send(trade(BUY, "x1", 4, 100 * E4, cum_qty=4))
    corrected = trade(BUY, "x2", 3, 98 * E4, cum_qty=3, exec_type=ExecType.TRADE_CORRECT, ref_execution_id="x1")
    bust, post = desk.send(corrected)
    assert (bust.kind, post.kind, post.execution_id) == (EntryKind.BUST, EntryKind.POST, "x2")
    prices = {"ACME": with_total(LEVEL.pack(-100 * E4, 1), 7)}
    after = AccountRow(AccountStatus.ACTIVE, CASH_E4 - 3 * 98 * E4, 700 * E4, post.seq, buy_prices=prices)
    assert account(desk) == after
    desk.send(report(BUY, ExecType.TRADE_CANCEL, "x3", ref_execution_id="x2", leaves_qty=10))
    assert account(desk).cash_e4 == CASH_E4


def test_bust_when_the_shares_are_sold_then_it_waits_with_numbers_and_is_booked_once_they_are_there(desk: Any) -> None:
    desk.open(cash_e4=CASH_E4)
    desk.send(BUY)
    desk.send(trade(BUY, "x1", 10, 100 * E4, cum_qty=10))
    desk.send(SELL)
    (opened,) = desk.send(report(BUY, ExecType.TRADE_CANCEL, "x2", ref_execution_id="x1"))
    assert (opened.reason, opened.parked) == (BreakReason.POSITION_SHORT, True)
    assert opened.compared == {"required_qty": 10, "available_qty": 0, "shortfall_qty": 10}
    denied = desk.command(resolve(opened, BreakAction.BOOK, "r1"))
    assert (denied.reason, denied.compared) == (ReasonCode.POSITION_INSUFFICIENT, opened.compared)
    desk.send(report(SELL, ExecType.CANCELED, "y1"))
    result, bust, resolution = desk.send(resolve(opened, BreakAction.BOOK, "r2"))
    assert (result.accepted, bust.kind, bust.command_id) == (True, EntryKind.BUST, "r2")
    assert resolution.resolved == opened
    assert account(desk).cash_e4 == CASH_E4


# --- resolving -----------------------------------------------------------------------------------------------------


def resolve(opened: ExecutionBreak, action: BreakAction, command_id: str = "r") -> ResolveBreak:
    return ResolveBreak(
        command_id=command_id,
        account_id=opened.account_id,
        break_id=opened.break_id,
        action=action,
        note="as the venue's screen shows it",
        sent_ns=NOW_NS,
    )


def order_row(desk: Any, of: Any) -> OrderRow:
    row = desk.tables.changelogged("orders").get(order_key(f"{of.account_id}.{of.client_order_id}"))
    assert isinstance(row, OrderRow)
    return row


def test_book_a_fill_of_an_open_order_then_paid_from_what_is_reserved(desk: Any) -> None:
    desk.open(cash_e4=CASH_E4)
    desk.send(BUY)
    (opened,) = desk.send(trade(BUY, "x1", 10, 100 * E4, cum_qty=9, leaves_qty=1))
    result, post, _ = desk.send(resolve(opened, BreakAction.BOOK))
    assert (result.accepted, post.kind, post.execution_id) == (True, EntryKind.POST, "x1")
    assert account(desk) == AccountRow(AccountStatus.ACTIVE, CASH_E4 - 1_000 * E4, 0, post.seq)
    assert (order_row(desk, BUY).cum_qty, order_row(desk, BUY).leaves_qty) == (10, 0)


def test_book_more_than_was_ordered_then_the_excess_is_paid_from_what_is_available_or_denied(desk: Any) -> None:
    desk.open(cash_e4=1_000 * E4)
    desk.send(BUY)
    (opened,) = desk.send(trade(BUY, "x1", 12, 100 * E4, cum_qty=12))
    denied = desk.command(resolve(opened, BreakAction.BOOK, "r1"))
    shortfall = {"required_cash_e4": 200 * E4, "available_cash_e4": 0, "shortfall_cash_e4": 200 * E4}
    assert (denied.reason, denied.compared) == (ReasonCode.CASH_INSUFFICIENT, shortfall)
    assert desk.command(resolve(opened, BreakAction.BOOK, "r1")).repeat
    desk.send(fund(command_id="more", cash_e4=200 * E4))
    assert desk.command(resolve(opened, BreakAction.BOOK, "r2")).accepted
    assert (account(desk).cash_e4, account(desk).reserved_cash_e4) == (0, 0)
    assert order_row(desk, BUY).cum_qty == 12


def test_book_a_fill_without_an_order_then_money_moves_and_unknown_instruments_do_not(desk: Any) -> None:
    desk.open(cash_e4=CASH_E4)
    (opened,) = desk.send(FILL)
    assert desk.command(resolve(opened, BreakAction.BOOK)).accepted
    assert account(desk).cash_e4 == CASH_E4 - 400 * E4
    (strange,) = desk.send(changed(FILL, order_id=f"{ACCOUNT}.strange", symbol="EVIL"))
    assert desk.command(resolve(strange, BreakAction.BOOK, "r2")).reason is ReasonCode.INSTRUMENT_UNKNOWN


def test_refuse_then_recorded_and_nothing_moves_and_no_second_word(desk: Any) -> None:
    desk.open(cash_e4=CASH_E4)
    desk.send(BUY)
    (opened,) = desk.send(trade(BUY, "x1", 11, 100 * E4, cum_qty=11))
    before = account(desk)
    result, resolution = desk.send(resolve(opened, BreakAction.BREAK))
    assert (result.accepted, resolution.action, account(desk)) == (True, BreakAction.BREAK, before)
    assert desk.command(resolve(opened, BreakAction.BOOK, "r2")).reason is ReasonCode.BREAK_RESOLVED
    unknown = resolve(opened, BreakAction.BOOK, "r3").model_copy(update={"break_id": "9-9"})
    assert desk.command(unknown).reason is ReasonCode.BREAK_UNKNOWN


def test_bust_booked_by_hand_then_the_venues_own_bust_of_it_moves_no_money_again(desk: Any) -> None:
    desk.open(cash_e4=CASH_E4)
    desk.send(BUY)
    desk.send(trade(BUY, "x1", 10, 100 * E4, cum_qty=10))
    (wrong,) = desk.send(report(BUY, ExecType.TRADE_CANCEL, "x2", ref_execution_id="x1", cum_qty=3))
    assert desk.command(resolve(wrong, BreakAction.BOOK)).accepted
    (parked,) = desk.send(report(BUY, ExecType.TRADE_CANCEL, "x3", ref_execution_id="x1"))
    assert (parked.parked, account(desk).cash_e4) == (True, CASH_E4)
    assert desk.command(resolve(parked, BreakAction.BOOK, "r2")).reason is ReasonCode.COMMAND_INVALID
    assert desk.command(resolve(parked, BreakAction.BREAK, "r3")).accepted
    assert order_row(desk, BUY).cum_qty == 0


def test_fill_that_does_not_fit_64_bits_then_its_reservation_waits_and_is_used_or_let_go(desk: Any) -> None:
    """Only a venue that pays more than any headroom is kept for can bring this about."""
    room_e4 = PROCEEDS_FACTOR * 100 * E4 * 10
    desk.open(cash_e4=INT64_MAX - room_e4, shares=10)
    desk.send(SELL)
    (opened,) = desk.send(trade(SELL, "x1", 10, (PROCEEDS_FACTOR + 1) * 100 * E4, cum_qty=10))
    assert (opened.reason, opened.parked) == (BreakReason.AMOUNT_OVERFLOW, True)
    assert (order_row(desk, SELL).leaves_qty, account(desk).pending_cash_e4) == (0, 0)
    shown = [view for view in desk.views if view.name == "account"][-1].data["positions"]
    assert shown == [{"symbol": "ACME", "qty": 10, "reserved_qty": 10}]
    assert desk.command(resolve(opened, BreakAction.BOOK, "r1")).reason is ReasonCode.COMMAND_INVALID
    assert desk.command(withdraw(command_id="w", cash_e4=room_e4)).accepted
    assert desk.command(resolve(opened, BreakAction.BOOK, "r2")).accepted
    assert account(desk).cash_e4 == INT64_MAX - room_e4 + 1_000 * E4
    assert [view for view in desk.views if view.name == "account"][-1].data["positions"] == []


def test_breaks_shown_while_open_and_counted(desk: Any) -> None:
    desk.open(cash_e4=CASH_E4)
    desk.send(BUY)
    (opened,) = desk.send(trade(BUY, "x1", 11, 100 * E4, cum_qty=11))
    shown_breaks = [view for view in desk.views if view.name == "break"]
    assert [(view.scope, view.key) for view in shown_breaks] == [(ACCOUNT, opened.break_id)]
    assert ExecutionBreak.model_validate(shown_breaks[-1].data) == opened
    assert [view.key for view in break_views(desk.tables)] == [opened.break_id]
    assert open_breaks(opened) == 1
    desk.send(resolve(opened, BreakAction.BREAK))
    assert [view.data for view in desk.views if view.name == "break"][-1] is None
    assert list(break_views(desk.tables)) == []
    assert open_breaks(opened) == 0


def open_breaks(opened: ExecutionBreak) -> float:
    partition = opened.break_id.partition("-")[0]
    return float(metrics.BREAKS_OPEN.labels(partition, opened.reason)._value.get())
