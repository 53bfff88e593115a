"""Result codes of TigerBeetle's ``create_transfers`` that apply to an order's money, and what the gate says instead.

Pending is an accepted intent, post a fill, void the end of an order, and a linked pair a correction: a trade taken back
and another in its place. A post of less than all leaves the rest pending here, as an order that is filled in parts is.
Rows are those of TigerBeetle's reference (create_transfers, and its guide to two-phase transfers).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from common.contracts.breaks import ExecutionBreak
from common.contracts.events import CommandResult, Decision, EntryKind, ExecType, LedgerEntry
from common.contracts.values import E4, INT64_MAX, Side
from common.testing.orders import ACCOUNT, fund, intent, report, set_account, trade, withdraw

from tests.risk.conftest import Desk

OTHER = "acct-2"
BUY = intent("b1", qty=10, limit_price_e4=100 * E4)
SELL = intent("s1", side=Side.SELL, qty=10, limit_price_e4=100 * E4)
CASH_E4, SHARES = 1_500 * E4, 10
PART = trade(BUY, "x1", 4, 100 * E4, cum_qty=4)
ALL = trade(BUY, "x1", 10, 90 * E4, cum_qty=10)
ONE_MORE = trade(BUY, "x2", 1, 100 * E4, cum_qty=11)
CANCELED = report(BUY, ExecType.CANCELED, "x1")
EXPIRED = report(BUY, ExecType.EXPIRED, "x1")
CORRECTED = trade(BUY, "x2", 10, 100 * E4, cum_qty=10, exec_type=ExecType.TRADE_CORRECT, ref_execution_id="x1")


class Row(NamedTuple):
    """``code`` with what it is about behind a comma, what came before, the event, and what is said to it."""

    code: str
    before: Sequence[Any]
    event: Any
    said: tuple[str, ...]


PENDING = (
    Row("created", (), BUY, ("accepted", "RESERVE")),
    Row("exists", (BUY,), BUY, ("accepted again",)),
    Row("exists_with_different_amount", (BUY,), intent("b1", qty=11), ("DUPLICATE_ID qty",)),
    Row("exists_with_different_flags, side", (BUY,), intent("b1", side=Side.SELL), ("DUPLICATE_ID side",)),
    Row("exists_with_different_ledger", (BUY,), intent("b1", symbol="BETA"), ("DUPLICATE_ID symbol",)),
    Row("id_already_failed", (intent("b1", qty=0),), intent("b1", qty=0), ("QTY_NOT_POSITIVE again",)),
    Row("amount_must_not_be_zero", (), intent("b1", qty=0), ("QTY_NOT_POSITIVE",)),
    Row("debit_account_not_found", (), intent("b1", "nobody"), ("ACCOUNT_UNKNOWN",)),
    Row("debit_account_already_closed", (set_account(active=False, command_id="c"),), BUY, ("ACCOUNT_INACTIVE",)),
    Row("ledger_must_not_be_zero, unknown", (), intent("b1", symbol="NONE"), ("INSTRUMENT_UNKNOWN",)),
    Row("exceeds_credits", (), intent("b1", qty=16), ("CASH_INSUFFICIENT",)),
    Row("exceeds_credits, pending counts", (BUY,), intent("b2", qty=6), ("CASH_INSUFFICIENT",)),
    Row("exceeds_credits, the last of it", (BUY,), intent("b2", qty=5), ("accepted", "RESERVE")),
    Row("exceeds_credits, voided comes back", (BUY, CANCELED), intent("b2", qty=15), ("accepted", "RESERVE")),
    Row("exceeds_debits", (), intent("s1", side=Side.SELL, qty=11), ("POSITION_INSUFFICIENT",)),
    Row("exceeds_debits, pending counts", (SELL,), intent("s2", side=Side.SELL, qty=1), ("POSITION_INSUFFICIENT",)),
    Row(
        "overflows_credits",
        (fund(command_id="f", symbol="ACME", qty=INT64_MAX - SHARES - 9),),
        BUY,
        ("HEADROOM_INSUFFICIENT",),
    ),
)
RESOLVED = (
    Row("created, post", (BUY,), ALL, ("POST",)),
    Row("created, post of a part", (BUY,), PART, ("POST",)),
    Row("created, post of the rest", (BUY, PART), trade(BUY, "x2", 6, 100 * E4, cum_qty=10), ("POST",)),
    Row("created, void", (BUY,), CANCELED, ("VOID",)),
    Row("created, void of the rest", (BUY, PART), report(BUY, ExecType.CANCELED, "x2", cum_qty=4), ("VOID",)),
    Row("created, void as it expires", (BUY,), EXPIRED, ("VOID",)),
    Row("exists, post", (BUY, PART), PART, ()),
    Row("exists, void", (BUY, CANCELED), CANCELED, ()),
    Row(
        "exists_with_different_amount, post",
        (BUY, PART),
        trade(BUY, "x1", 5, 100 * E4, cum_qty=5),
        ("EXECUTION_ID_REUSED",),
    ),
    Row("pending_transfer_not_found", (), ALL, ("ORDER_UNKNOWN",)),
    Row("pending_transfer_not_pending", (intent("b1", qty=0),), ALL, ("ORDER_DENIED",)),
    Row(
        "pending_transfer_has_different_ledger", (BUY,), ALL.model_copy(update={"symbol": "BETA"}), ("ORDER_MISMATCH",)
    ),
    Row(
        "pending_transfer_has_different_debit_account_id",
        (BUY,),
        ALL.model_copy(update={"account_id": OTHER}),
        ("ORDER_MISMATCH",),
    ),
    Row(
        "pending_transfer_has_different_credit_account_id, side",
        (BUY,),
        ALL.model_copy(update={"side": Side.SELL}),
        ("ORDER_MISMATCH",),
    ),
    Row(
        "pending_transfer_has_different_amount, void of a part",
        (BUY,),
        report(BUY, ExecType.CANCELED, "x1", leaves_qty=5),
        ("QUANTITIES_DISAGREE",),
    ),
    Row("exceeds_pending_transfer_amount", (BUY,), trade(BUY, "x1", 11, 90 * E4, cum_qty=11), ("OVERFILL",)),
    Row(
        "exceeds_pending_transfer_amount, of the rest",
        (BUY, PART),
        trade(BUY, "x2", 7, 90 * E4, cum_qty=11),
        ("OVERFILL",),
    ),
    Row("pending_transfer_already_posted, post", (BUY, ALL), ONE_MORE, ("FILL_AFTER_END",)),
    Row(
        "pending_transfer_already_posted, void",
        (BUY, ALL),
        report(BUY, ExecType.CANCELED, "x2", cum_qty=10),
        ("REPORT_AFTER_END",),
    ),
    Row(
        "pending_transfer_already_voided, post",
        (BUY, CANCELED),
        trade(BUY, "x2", 1, 90 * E4, cum_qty=1),
        ("FILL_AFTER_END",),
    ),
    Row(
        "pending_transfer_already_voided, void",
        (BUY, CANCELED),
        report(BUY, ExecType.CANCELED, "x2"),
        ("REPORT_AFTER_END",),
    ),
    Row("pending_transfer_expired, post", (BUY, EXPIRED), trade(BUY, "x2", 1, 90 * E4, cum_qty=1), ("FILL_AFTER_END",)),
    Row("pending_transfer_expired, void", (BUY, EXPIRED), report(BUY, ExecType.CANCELED, "x2"), ("REPORT_AFTER_END",)),
    Row("created, linked", (BUY, ALL), CORRECTED, ("BUST", "POST")),
    Row(
        "linked_event_failed",
        (BUY, ALL, withdraw(command_id="w", cash_e4=CASH_E4 - 900 * E4)),
        CORRECTED,
        ("CASH_SHORT",),
    ),
    Row("exists, linked", (BUY, ALL, CORRECTED), CORRECTED, ()),
)


def said_by(seen: Sequence[Any]) -> tuple[str, ...]:
    """Verdicts with the field of a conflict, kinds of entries, reasons of breaks."""
    said: list[str] = []
    for each in seen:
        match each:
            case Decision() | CommandResult():
                verdict = "accepted" if each.reason is None else each.reason.value
                said.append(" ".join(filter(None, (verdict, each.conflict, "again" if each.repeat else ""))))
            case LedgerEntry():
                said.append(each.kind.value)
            case ExecutionBreak():
                said.append(each.reason.value)
    return tuple(said)


def money(desk: Desk) -> dict[tuple[str, bytes], bytes]:
    """Rows of accounts and positions."""
    return {place: row for place, row in desk.tables.rows().items() if place[0] in ("accounts", "positions")}


@pytest.mark.parametrize("row", [*PENDING, *RESOLVED], ids=lambda row: row.code)
def test_row_then_what_the_gate_says_and_nothing_moves_that_was_refused(desk: Desk, row: Row) -> None:
    desk.list_instrument("BETA", 7)
    desk.open(cash_e4=CASH_E4, shares=SHARES)
    desk.open(OTHER)
    for body in row.before:
        desk.send(body)
    before = money(desk)
    assert said_by(desk.send(row.event)) == row.said
    moved = {kind.value for kind in EntryKind} & set(row.said)
    assert (money(desk) != before) is bool(moved)
    assert said_by(desk.send(row.event)) in (
        (),
        tuple(f"{each} again" for each in row.said if each not in moved),
        row.said,
    )
    balances_add_up(desk)


def balances_add_up(desk: Desk) -> None:
    """Σ of each asset is zero over all books, and nobody has reserved more than he has."""
    sums: dict[str, int] = {}
    for entry in desk.ledger:
        for posting in entry.postings:
            sums[posting.asset] = sums.get(posting.asset, 0) + posting.amount
    assert not any(sums.values())
    account = desk.tables.changelogged("accounts").get(ACCOUNT.encode())
    assert account is not None and 0 <= account.reserved_cash_e4 <= account.cash_e4
