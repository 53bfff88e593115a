"""Execution reports on the stage: booked once, and refused where they contradict the books."""

from typing import Any

import pytest
from common.contracts.events import AccountStatus, EntryKind, ExecType
from common.contracts.values import E4, Side
from common.testing.orders import ACCOUNT, fund, intent, report, trade
from risk.domain.account import AccountRow
from risk.domain.ledger import OrderEnded, Overfill, ReportMismatch, UnknownOrder

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


@pytest.mark.parametrize("exec_type", [ExecType.NEW, ExecType.CANCEL_REJECTED])
def test_report_without_money_then_nothing_happens(desk: Any, exec_type: ExecType) -> None:
    desk.open(cash_e4=CASH_E4)
    desk.send(BUY)
    before = desk.tables.rows()
    assert desk.send(report(BUY, exec_type, "x1", leaves_qty=10)) == []
    assert desk.tables.rows() == before


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


REFUSED: dict[str, tuple[Any, type[Exception]]] = {
    "never ordered": (trade(intent("ghost"), "x", 1, 100 * E4, cum_qty=1), UnknownOrder),
    "denied order": (trade(intent("denied", qty=-1), "x", 1, 100 * E4, cum_qty=1), UnknownOrder),
    "overfill": (trade(BUY, "x", 11, 100 * E4, cum_qty=11), Overfill),
    "after its end": (trade(intent("ended"), "x9", 1, 100 * E4, cum_qty=1), OrderEnded),
    "order of another account": (
        trade(BUY, "x", 1, 100 * E4, cum_qty=1).model_copy(update={"account_id": "acct-2"}),
        ReportMismatch,
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_execution_contradicts_the_books_then_refused_and_nothing_changed(desk: Any, case: str) -> None:
    execution, refusal = REFUSED[case]
    desk.open(cash_e4=CASH_E4)
    desk.send(BUY)
    desk.send(intent("denied", qty=-1))
    desk.send(intent("ended"))
    desk.send(report(intent("ended"), ExecType.REJECTED, "x8"))
    before = desk.tables.rows()
    with pytest.raises(refusal):
        desk.send(execution)
    assert desk.tables.rows() == before
