"""The gate stage on tables in memory: answers, repeats, conflicts, poison, what is shown and what is forgotten."""

from collections.abc import Callable
from typing import Any

import pytest
from common.contracts.events import (
    AccountStatus,
    BreakAction,
    EntryKind,
    ExecType,
    MarkRead,
    ReasonCode,
    ResolveBreak,
)
from common.contracts.topics import ORDERS_INTENTS
from common.contracts.values import E4, OrderType, Side, TimeInForce
from common.contracts.views import AccountData
from common.testing.orders import (
    ACCOUNT,
    NOW_NS,
    intent,
    mark_row,
    report,
    set_account,
    trade,
)
from risk.domain.account import AccountRow, PositionRow
from risk.domain.gate import Limits
from risk.domain.ledger import LedgerError
from risk.stages import VERIFY, Gate, KeyMismatch, account_views
from risk.tables import DAY_NS, SLOTS, SWEEP_EVERY_INTENTS, order_key, order_of
from streams.model.message import Message
from streams.testing.tables import shown

CASH_E4 = 10_000 * E4
BUY = intent("b1", qty=10, limit_price_e4=100 * E4)
SELL = intent("s1", side=Side.SELL, qty=10, limit_price_e4=100 * E4)


def account(desk: Any) -> AccountRow:
    row = desk.tables.changelogged("accounts").get(ACCOUNT.encode())
    assert isinstance(row, AccountRow)
    return row


# --- intents ------------------------------------------------------------------------------------------------------


def test_buy_accepted_then_decision_entry_and_view_agree(desk: Any) -> None:
    desk.open(cash_e4=CASH_E4)
    decision, entry = desk.send(BUY)
    assert (decision.accepted, decision.reason, decision.repeat) == (True, None, False)
    assert (decision.order_id, decision.instrument_id, decision.intent) == ("acct-1.b1", 3, BUY)
    assert (decision.reserved_cash_e4, decision.reserved_qty) == (1_000 * E4, 0)
    assert (decision.protection_price_e4, decision.account_seq, decision.decided_ns) == (100 * E4, 2, NOW_NS)
    assert (decision.intent_partition, decision.intent_offset) == (2, 0)
    assert (entry.kind, entry.seq, entry.order_id) == (EntryKind.RESERVE, 2, "acct-1.b1")
    view = desk.views[-1]
    assert (view.name, view.scope, view.key) == ("account", ACCOUNT, "account")
    assert AccountData.model_validate(view.data) == AccountData(
        account_id=ACCOUNT, status="ACTIVE", cash_e4=CASH_E4, reserved_cash_e4=1_000 * E4, positions=(), seq=2
    )


def test_decision_carries_the_mark_it_read_and_where_it_stands(desk: Any) -> None:
    desk.open(cash_e4=CASH_E4)
    desk.mark(bid_e4=98 * E4, ask_e4=102 * E4, last_e4=99 * E4)
    row = desk.tables.globals("marks").get(b"ACME")
    assert desk.decide(BUY).mark == MarkRead(
        partition=3,
        offset=row.offset,
        bid_e4=98 * E4,
        ask_e4=102 * E4,
        last_e4=99 * E4,
        event_ns=NOW_NS,
        clock_ns=NOW_NS,
    )


def test_market_sell_then_shares_reserved_and_a_protection_price(desk: Any) -> None:
    desk.open(shares=10)
    decision = desk.decide(intent("m", side=Side.SELL, order_type=OrderType.MARKET))
    assert (decision.accepted, decision.reserved_qty, decision.reserved_cash_e4) == (True, 10, 0)
    assert decision.protection_price_e4 == 940_500  # bid 99.00 less 5 %, rounded down to a cent
    assert desk.views[-1].data["positions"] == [{"symbol": "ACME", "qty": 10, "reserved_qty": 10}]


def test_intent_denied_then_no_entry_no_view_and_no_change_of_the_account(desk: Any) -> None:
    desk.open(cash_e4=999 * E4)
    shown, before = len(desk.views), account(desk)
    (decision,) = desk.send(BUY)
    assert (decision.accepted, decision.reason, decision.account_seq) == (False, ReasonCode.CASH_INSUFFICIENT, 1)
    assert decision.compared["shortfall_cash_e4"] == 1 * E4
    assert decision.protection_price_e4 is None
    assert (len(desk.views), account(desk)) == (shown, before)


def test_account_never_opened_then_denied_with_sequence_zero(desk: Any) -> None:
    decision = desk.decide(BUY)
    assert (decision.reason, decision.account_seq) == (ReasonCode.ACCOUNT_UNKNOWN, 0)


@pytest.mark.parametrize("state", ["H", "P", "Q", ""])
def test_mark_says_not_trading_then_denied(desk: Any, state: str) -> None:
    desk.open(cash_e4=CASH_E4)
    desk.mark(state=state)
    assert desk.decide(BUY).reason is ReasonCode.INSTRUMENT_HALTED


def test_partition_clock_missing_or_old_then_denied(desk: Any) -> None:
    desk.open(cash_e4=CASH_E4)
    desk.now_ns += 5_000_000_001
    assert desk.decide(BUY).reason is ReasonCode.MARK_STALE
    desk.tick()
    assert desk.decide(intent("b2")).accepted
    desk.tables.globals("marks").put(b"@3", None)
    assert desk.decide(intent("b3")).reason is ReasonCode.MARK_MISSING


def test_clock_of_another_partition_does_not_help(desk: Any) -> None:
    desk.open(cash_e4=CASH_E4)
    desk.tables.globals("marks").put(b"ACME", mark_row(), partition=1)
    assert desk.decide(BUY).reason is ReasonCode.MARK_MISSING


# --- repeats and conflicts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cash_e4", [CASH_E4, 1])
def test_same_intent_again_then_the_first_answer_and_nothing_reserved(desk: Any, cash_e4: int) -> None:
    desk.open(cash_e4=cash_e4)
    first = desk.decide(BUY)
    entries, before = len(desk.ledger), desk.tables.rows()
    desk.now_ns += 1_000
    again = BUY.model_copy(update={"sent_ns": BUY.sent_ns + 5})
    (decision,) = desk.send(again)
    expected = {"repeat": True, "intent": again, "intent_offset": 1}
    assert decision == first.model_copy(update=expected)
    assert (len(desk.ledger), desk.tables.rows()) == (entries, before)


def test_same_intent_after_the_order_ended_then_still_the_first_answer(desk: Any) -> None:
    desk.open(cash_e4=CASH_E4)
    first = desk.decide(BUY)
    desk.send(trade(BUY, "x1", 10, 100 * E4, cum_qty=10))
    assert desk.decide(BUY) == first.model_copy(update={"repeat": True, "intent_offset": 1})


def test_denied_intent_again_once_it_would_pass_then_denied_as_before(desk: Any) -> None:
    assert desk.decide(BUY).reason is ReasonCode.ACCOUNT_UNKNOWN
    desk.open(cash_e4=CASH_E4)
    again = desk.decide(BUY)
    assert (again.reason, again.repeat) == (ReasonCode.ACCOUNT_UNKNOWN, True)


@pytest.mark.parametrize(
    ("changes", "conflict"),
    [
        ({"symbol": "OTHER"}, "symbol"),
        ({"side": Side.SELL, "qty": 11}, "side"),
        ({"order_type": OrderType.MARKET, "limit_price_e4": None}, "order_type"),
        ({"time_in_force": "IOC"}, "time_in_force"),
        ({"qty": 11, "limit_price_e4": 1}, "qty"),
        ({"limit_price_e4": 100 * E4 + 100}, "limit_price_e4"),
        ({"min_qty": 10}, "min_qty"),
        ({"expire_ns": NOW_NS + 1}, "expire_ns"),
    ],
)
def test_same_id_other_body_then_denied_with_the_first_field_that_differs(
    desk: Any, changes: dict[str, Any], conflict: str
) -> None:
    desk.open(cash_e4=CASH_E4)
    desk.decide(BUY)
    before = desk.tables.rows()
    decision = desk.decide(intent("b1", **{"qty": 10, "limit_price_e4": 100 * E4, **changes}))
    assert (decision.accepted, decision.reason, decision.repeat) == (False, ReasonCode.DUPLICATE_ID, False)
    assert (decision.conflict, decision.account_seq, desk.tables.rows()) == (conflict, 2, before)


def test_order_with_terms_when_it_is_sent_again_then_the_first_answer_or_the_term_that_differs(desk: Any) -> None:
    desk.open(cash_e4=CASH_E4)
    fok = intent("fok", time_in_force=TimeInForce.FOK, min_qty=10)
    first = desk.decide(fok)
    assert first.accepted and first.intent == fok
    assert desk.decide(fok).repeat
    assert desk.decide(fok.model_copy(update={"min_qty": None})).conflict == "min_qty"
    gtd = intent("gtd", time_in_force=TimeInForce.GTD, expire_ns=NOW_NS + 1)
    assert desk.decide(gtd).accepted and desk.decide(gtd).repeat
    assert desk.decide(gtd.model_copy(update={"expire_ns": NOW_NS + 2})).conflict == "expire_ns"


def test_expiry_when_the_exchanges_clock_has_passed_it_then_denied_although_the_symbol_is_quiet(desk: Any) -> None:
    """The mark is older than the clock of its partition: that clock is what counts."""
    desk.open(cash_e4=CASH_E4)
    desk.now_ns += 1_000
    desk.tick()
    at, after = (
        desk.decide(intent(f"d{number}", time_in_force=TimeInForce.GTD, expire_ns=NOW_NS + 1_000 + number))
        for number in (0, 1)
    )
    assert (at.accepted, at.reason) == (False, "EXPIRY_PAST")
    assert at.compared == {"expire_ns": NOW_NS + 1_000, "exchange_ns": NOW_NS + 1_000}
    assert after.accepted
    (mark,) = [each.mark for each in desk.basis if each.mark is not None]
    assert mark.clock_event_ns == NOW_NS + 1_000


def test_same_id_in_another_account_then_a_new_order(desk: Any) -> None:
    desk.open(cash_e4=CASH_E4)
    desk.open("acct-2", cash_e4=CASH_E4)
    assert desk.decide(BUY).accepted
    other = desk.decide(intent("b1", "acct-2"))
    assert (other.accepted, other.repeat) == (True, False)


# --- poison -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [BUY, set_account(), trade(BUY, "x", 1, 1, cum_qty=1)])
@pytest.mark.parametrize("key", [b"", b"acct-2", b"\xff"])
def test_key_is_not_the_bodys_account_then_refused(desk: Any, body: Any, key: bytes) -> None:
    desk.open(cash_e4=CASH_E4)
    before = desk.tables.rows()
    with pytest.raises(KeyMismatch):
        desk.send(body, key)
    assert desk.tables.rows() == before


@pytest.mark.parametrize("value", [None, b"", b"{}", b"\xff\x00", b'{"account_id":"acct-1"}', b"[1]"])
def test_value_is_no_intent_then_refused(desk: Any, value: bytes | None) -> None:
    handle = Gate(Limits(), DAY_NS).handle
    with pytest.raises(ValueError):
        list(handle(Message(ORDERS_INTENTS, 0, 0, b"acct-1", value, 0), desk.tables, NOW_NS))


# --- views, invariants, retention ---------------------------------------------------------------------------------


def test_refill_lists_every_account_as_it_was_last_shown(desk: Any) -> None:
    for number in range(3):
        desk.open(f"acct-{number}", cash_e4=CASH_E4, shares=number)
    newest = {view.scope: view.data for view in desk.views}
    assert {view.scope: shown(view, desk.tables).data for view in account_views(desk.tables)} == newest
    assert len(newest) == 3


def test_restored_rows_that_no_ledger_could_have_made_then_refused(desk: Any) -> None:
    desk.open(cash_e4=CASH_E4, shares=3)
    rows = [(name, *row) for name in VERIFY for row in desk.tables.changelogged(name).prefix(b"")]
    assert {name for name, _, _ in rows} == {"accounts", "positions"}
    for name, key, row in rows:
        VERIFY[name](key, row)
    with pytest.raises(LedgerError, match="account bad"):
        VERIFY["accounts"](b"bad", AccountRow(AccountStatus.ACTIVE, 10, 11))
    with pytest.raises(LedgerError, match="position bad/ACME"):
        VERIFY["positions"](b"bad/ACME", PositionRow(3, 4))


def test_retention_over_then_closed_ids_are_forgotten_and_open_orders_stay(new_desk: Callable[..., Any]) -> None:
    desk = new_desk(retention_ns=2 * DAY_NS)
    desk.open(cash_e4=CASH_E4)
    resting, ended = intent("resting"), intent("ended")
    assert desk.decide(resting).accepted and desk.decide(ended).accepted
    desk.send(report(ended, ExecType.CANCELED, "x1"))
    desk.send(report(resting, ExecType.NEW, "n1", leaves_qty=10))
    for number, action in ((3, BreakAction.BREAK), (4, None)):
        (opened,) = desk.send(report(ended, ExecType.CANCELED, f"x{number}"))
        if action is not None:
            resolve = {"command_id": "r", "account_id": "acct-1", "break_id": opened.break_id, "note": "late"}
            assert desk.command(ResolveBreak(**resolve, action=action, sent_ns=NOW_NS)).accepted
    names = ("orders", "progress", "executions", "commands", "breaks")
    kept = {name: len(desk.tables.changelogged(name).rows) for name in names}
    assert kept == {"orders": 2, "progress": 2, "executions": 4, "commands": 3, "breaks": 2}

    def pass_a_day() -> None:
        """Enough intents to carry the cursor through all slots; they are repeats, so they leave no rows."""
        desk.now_ns += DAY_NS
        for slot in range(SLOTS):
            desk.offsets[ORDERS_INTENTS.name] = (slot + 1) * SWEEP_EVERY_INTENTS
            desk.send(resting)

    pass_a_day()
    pass_a_day()
    assert desk.decide(ended).repeat
    pass_a_day()
    assert set(desk.tables.changelogged("orders").rows) == {order_key("acct-1.resting")}
    resting_keys = {order_key("acct-1.resting")}
    assert set(desk.tables.changelogged("progress").rows) == resting_keys
    assert {order_of(key) for key in desk.tables.changelogged("executions").rows} == resting_keys
    assert not desk.tables.changelogged("commands").rows
    assert [row.resolved_by for _, row in desk.tables.changelogged("breaks").prefix(b"")] == [None]
    assert account(desk).reserved_cash_e4 == 1_000 * E4
    (void,) = desk.send(report(resting, ExecType.CANCELED, "x2"))
    assert void.kind is EntryKind.VOID
