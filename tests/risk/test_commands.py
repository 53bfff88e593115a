"""Commands on accounts: done whole or denied whole, and answered once."""

from typing import Any

import msgspec
import pytest
from common.contracts.events import AccountStatus, EntryKind, ExecType, ReasonCode
from common.contracts.values import E4, RestingOrders
from common.testing.orders import ACCOUNT, NOW_NS, fund, intent, report, set_account, withdraw
from risk.domain.account import AccountRow

CASH_E4 = 10_000 * E4
BUY = intent("b1", qty=10, limit_price_e4=100 * E4)


def account(desk: Any) -> AccountRow:
    row = desk.tables.changelogged("accounts").get(ACCOUNT.encode())
    assert isinstance(row, AccountRow)
    return row


def test_account_opened_suspended_and_opened_again(desk: Any) -> None:
    assert desk.command(set_account()).status is AccountStatus.ACTIVE
    desk.send(fund(command_id="f", cash_e4=CASH_E4))
    result = desk.command(set_account(active=False, command_id="stop"))
    assert (result.accepted, result.status, result.account_seq) == (True, AccountStatus.SUSPENDED, 1)
    assert desk.decide(BUY).reason is ReasonCode.ACCOUNT_INACTIVE
    assert desk.command(withdraw(command_id="w", cash_e4=1)).reason is ReasonCode.ACCOUNT_INACTIVE
    assert desk.command(fund(command_id="f2", cash_e4=1)).accepted
    desk.send(set_account(command_id="go"))
    assert desk.decide(intent("b2")).accepted
    assert account(desk).cash_e4 == CASH_E4 + 1


def test_account_when_the_command_names_no_status_then_it_stays_as_it_is_and_a_new_one_is_active(desk: Any) -> None:
    plain = set_account().model_copy(update={"status": None})
    assert desk.command(plain).status is AccountStatus.ACTIVE
    desk.send(set_account(active=False, command_id="stop"))
    again = desk.command(plain.model_copy(update={"command_id": "again"}))
    assert (again.accepted, again.status, again.resting) == (True, AccountStatus.SUSPENDED, None)
    assert account(desk).status is AccountStatus.SUSPENDED


def test_suspension_says_what_becomes_of_open_orders_and_its_repeat_says_the_same(desk: Any) -> None:
    assert desk.command(set_account()).resting is None
    keep = set_account(active=False, command_id="keep").model_copy(update={"resting": RestingOrders.KEEP})
    assert [desk.command(keep).resting for _ in range(2)] == [RestingOrders.KEEP] * 2
    assert desk.results[-1].repeat
    other = desk.command(keep.model_copy(update={"resting": RestingOrders.CANCEL}))
    assert (other.reason, other.conflict, other.resting) == (ReasonCode.DUPLICATE_ID, "resting", None)
    assert desk.command(set_account(active=False, command_id="cancel")).resting is RestingOrders.CANCEL
    assert desk.command(fund(command_id="f", cash_e4=1)).resting is None, "the account is suspended, not by this"


def test_command_in_a_store_of_before_is_repeated_not_in_conflict(desk: Any) -> None:
    """Rows of commands had no word on open orders, and a suspension left them; to repeat it still answers."""
    stop = set_account(active=False, command_id="stop")
    desk.send(set_account())
    desk.send(stop)
    commands = desk.tables.changelogged("commands")
    for key, raw in list(commands.rows.items()):
        row = msgspec.msgpack.decode(raw)
        row[0] = row[0][:5]
        commands.rows[key] = msgspec.msgpack.encode(row)
    assert desk.command(stop).repeat


def test_expired_order_gives_its_reservation_back(desk: Any) -> None:
    desk.send(set_account())
    desk.send(fund(command_id="f", cash_e4=CASH_E4))
    assert desk.decide(BUY).accepted
    assert account(desk).reserved_cash_e4 == 10 * 100 * E4
    desk.send(report(BUY, ExecType.EXPIRED, "x1"))
    assert (account(desk).cash_e4, account(desk).reserved_cash_e4) == (CASH_E4, 0)
    assert desk.ledger[-1].kind is EntryKind.VOID


def test_fund_and_withdraw_then_balances_entries_and_result(desk: Any) -> None:
    desk.send(set_account())
    result, entry = desk.send(fund(command_id="f", cash_e4=50, symbol="ACME", qty=7))
    assert (result.accepted, result.account_seq, result.command_partition, result.command_offset) == (True, 1, 2, 1)
    assert (entry.kind, entry.command_id, len(entry.postings)) == (EntryKind.FUND, "f", 4)
    result, entry = desk.send(withdraw(command_id="w", cash_e4=20))
    assert (result.accepted, entry.kind, entry.seq) == (True, EntryKind.WITHDRAW, 2)
    assert desk.views[-1].data == {
        "account_id": ACCOUNT,
        "status": "ACTIVE",
        "cash_e4": 30,
        "reserved_cash_e4": 0,
        "positions": [{"symbol": "ACME", "qty": 7, "reserved_qty": 0}],
        "seq": 2,
    }


COMMAND_DENIALS: dict[str, tuple[Any, ReasonCode, dict[str, int]]] = {
    "unknown account": (fund("nobody", command_id="f", cash_e4=1), ReasonCode.ACCOUNT_UNKNOWN, {}),
    "unknown instrument": (fund(command_id="f", symbol="NONE", qty=1), ReasonCode.INSTRUMENT_UNKNOWN, {}),
    "negative cash": (fund(command_id="f", cash_e4=-1), ReasonCode.COMMAND_INVALID, {"cash_e4": -1, "qty": 0}),
    "negative shares": (
        fund(command_id="f", symbol="ACME", qty=-1),
        ReasonCode.COMMAND_INVALID,
        {"cash_e4": 0, "qty": -1},
    ),
    "nothing": (fund(command_id="f"), ReasonCode.COMMAND_INVALID, {"cash_e4": 0, "qty": 0}),
    "shares of nothing": (fund(command_id="f", qty=1), ReasonCode.COMMAND_INVALID, {"cash_e4": 0, "qty": 1}),
    "symbol without shares": (
        fund(command_id="f", cash_e4=1, symbol="ACME"),
        ReasonCode.COMMAND_INVALID,
        {"cash_e4": 1, "qty": 0},
    ),
    "more cash than 64 bits": (
        fund(command_id="f", cash_e4=2**63 - 1),
        ReasonCode.COMMAND_INVALID,
        {"cash_e4": 2**63 - 1, "held_cash_e4": 100, "cash_max_e4": 2**63 - 1},
    ),
    "more shares than 64 bits": (
        fund(command_id="f", symbol="ACME", qty=2**63 - 1),
        ReasonCode.COMMAND_INVALID,
        {"qty": 2**63 - 1, "held_qty": 5, "qty_max": 2**63 - 1},
    ),
    "withdraw nothing": (withdraw(command_id="w", cash_e4=0), ReasonCode.COMMAND_INVALID, {"cash_e4": 0}),
    "withdraw less than nothing": (withdraw(command_id="w", cash_e4=-7), ReasonCode.COMMAND_INVALID, {"cash_e4": -7}),
    "withdraw too much": (
        withdraw(command_id="w", cash_e4=101),
        ReasonCode.CASH_INSUFFICIENT,
        {"required_cash_e4": 101, "available_cash_e4": 100, "shortfall_cash_e4": 1},
    ),
}


@pytest.mark.parametrize("case", COMMAND_DENIALS)
def test_command_denied_then_reason_numbers_and_no_entry(desk: Any, case: str) -> None:
    command, reason, compared = COMMAND_DENIALS[case]
    desk.open(cash_e4=100, shares=5)
    before = account(desk)
    (result,) = desk.send(command)
    assert (result.accepted, result.reason, result.compared) == (False, reason, compared)
    assert account(desk) == before


def test_withdraw_cash_that_is_reserved_then_denied(desk: Any) -> None:
    desk.open(cash_e4=1_000 * E4)
    assert desk.decide(BUY).accepted
    result = desk.command(withdraw(command_id="w", cash_e4=1))
    assert (result.reason, result.compared["available_cash_e4"]) == (ReasonCode.CASH_INSUFFICIENT, 0)


def test_same_command_again_then_the_first_answer_and_no_entry(desk: Any) -> None:
    desk.send(set_account())
    first = desk.command(fund(command_id="f", cash_e4=50))
    before, desk.now_ns = desk.tables.rows(), desk.now_ns + 9
    (again,) = desk.send(fund(command_id="f", cash_e4=50).model_copy(update={"sent_ns": NOW_NS + 9}))
    assert again == first.model_copy(update={"repeat": True, "command_offset": 2})
    assert desk.tables.rows() == before


@pytest.mark.parametrize(
    ("other", "conflict"),
    [
        (withdraw(command_id="f", cash_e4=50), "type"),
        (fund(command_id="f", cash_e4=51), "cash_e4"),
        (fund(command_id="f", cash_e4=50, symbol="ACME", qty=1), "symbol"),
        (set_account(command_id="f"), "type"),
    ],
)
def test_same_command_id_other_body_then_denied_with_the_field(desk: Any, other: Any, conflict: str) -> None:
    desk.send(set_account())
    desk.send(fund(command_id="f", cash_e4=50))
    before = desk.tables.rows()
    (result,) = desk.send(other)
    assert (result.accepted, result.reason, result.conflict) == (False, ReasonCode.DUPLICATE_ID, conflict)
    assert (result.account_seq, desk.tables.rows()) == (1, before)
