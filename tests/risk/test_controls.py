"""Limits that change while orders are decided: by whom, from when, and of whom; trading that is stopped and resumed."""

from collections.abc import Callable
from typing import Any

import pytest
from common.contracts.controls import (
    FIRM,
    ControlCommand,
    ControlResult,
    Controls,
    ProposalVerdict,
    TradingState,
)
from common.contracts.events import ReasonCode
from common.contracts.topics import RISK_CONTROL_COMMANDS, RISK_CONTROLS
from common.contracts.values import INT64_MAX, Side
from common.testing.controls import propose, resolve, set_state
from common.testing.orders import ACCOUNT, NOW_NS, SYMBOL, fund, intent, set_account
from risk.domain.controls import OVERRIDES_MAX, PROPOSALS_MAX, carry_out_control
from risk.domain.gate import Denial, Limits
from risk.domain.in_force import NOTHING_SAID, in_force, limits_of
from risk.domain.limit_values import tighter
from risk.stages import Gate
from risk.tables import DAY_NS, FIRM_COPY_KEY, TABLES
from streams.testing.tables import MemoryTables, message

from tests.risk.conftest import PARTITION, Desk

HOUR_NS = 3_600 * 10**9
CASH_E4 = 10**12


@pytest.fixture
def desk(new_desk: Callable[..., Desk]) -> Desk:
    made = new_desk()
    made.open(cash_e4=CASH_E4, shares=1_000)
    return made


def set_limits(desk: Desk, name: str, account_id: str = FIRM, **fields: Any) -> Controls:
    """Proposed by one, approved by another."""
    assert desk.control(propose(f"p{name}", account_id, **fields)).accepted
    controls = desk.control(resolve(f"a{name}", f"p{name}", account_id)).controls
    assert controls is not None
    return controls


def reason(desk: Desk, name: str, account_id: str = ACCOUNT, **fields: Any) -> str | None:
    return desk.decide(intent(name, account_id, **{"qty": 10, **fields})).reason


# --- who may ------------------------------------------------------------------------------------------------------


def test_limit_when_proposed_then_not_in_force_until_another_person_has_approved_it(desk: Desk) -> None:
    desk.control(propose("p1", values={"order_qty_max": 5}))
    assert reason(desk, "o1") is None
    own = desk.control(resolve("a1", "p1", by="ann"))
    assert (own.accepted, own.reason) == (False, "APPROVER_IS_PROPOSER")
    assert reason(desk, "o2") is None
    approved = desk.control(resolve("a2", "p1"))
    assert approved.controls is not None
    (limits,) = approved.controls.limits
    assert (limits.version, limits.proposed_by, limits.approved_by) == (1, "ann", "bob")
    denied = desk.decide(intent("o3", qty=6))
    assert (denied.reason, denied.compared) == (
        ReasonCode.QTY_TOO_LARGE,
        {"qty": 6, "qty_max": 5, "firm_limits_version": 1},
    )
    assert reason(desk, "o4", qty=5) is None


def test_proposal_when_rejected_or_never_made_then_unknown(desk: Desk) -> None:
    desk.control(propose("p1", values={"order_qty_max": 5}))
    rejected = desk.control(resolve("r1", "p1", verdict=ProposalVerdict.REJECT))
    assert rejected.controls is not None
    assert (rejected.accepted, rejected.controls.proposals, rejected.controls.limits) == (True, (), ())
    for name, proposal in (("a1", "p1"), ("a2", "p2")):
        assert desk.control(resolve(name, proposal)).reason == "PROPOSAL_UNKNOWN"


@pytest.mark.parametrize(
    "fields",
    [
        {"values": {"order_qty_max": 0}},
        {"values": {"no_such_limit": 1}},
        {"values": {"market_collar_bps": 10_000}},
        {"values": {"restricted": 2}},
        {"values": {"position_qty_max": -1}},
        {"values": {"order_qty_max": 5}, "client_order_id": "o1"},
        {"values": {"order_qty_max": 5}, "expires_ns": NOW_NS + 1},
        {"values": {"order_qty_max": 5}, "client_order_id": "o1", "expires_ns": NOW_NS + 1, "account_id": FIRM},
        {"values": {"order_qty_max": 5}, "client_order_id": "o1", "expires_ns": NOW_NS},
    ],
)
def test_proposal_when_it_cannot_be_then_denied(desk: Desk, fields: dict[str, Any]) -> None:
    result = desk.control(propose("p1", **{"account_id": ACCOUNT, **fields}))
    assert (result.accepted, result.reason, result.controls) == (False, "LIMIT_INVALID", None)


def test_command_on_an_account_that_nobody_opened_then_denied(desk: Desk) -> None:
    assert desk.control(set_state("s1", TradingState.HALTED, "nobody")).reason is ReasonCode.ACCOUNT_UNKNOWN


def test_account_when_named_as_the_firm_then_none_is_opened(desk: Desk) -> None:
    for command in (set_account(FIRM), fund(FIRM, command_id="f", cash_e4=1)):
        assert desk.command(command).reason is ReasonCode.COMMAND_INVALID
    assert desk.decide(intent("o1", FIRM)).reason is ReasonCode.ACCOUNT_UNKNOWN


def test_command_when_sent_again_then_answered_alike_and_with_another_body_the_field_is_named(desk: Desk) -> None:
    first = desk.control(propose("p1", values={"order_qty_max": 5}))
    before = desk.tables.rows()
    again = desk.control(propose("p1", values={"order_qty_max": 5}))
    assert again == first.model_copy(update={"repeat": True, "controls": None, "command_offset": 1})
    other = desk.control(propose("p1", values={"order_qty_max": 6}))
    assert (other.accepted, other.reason, other.conflict) == (False, ReasonCode.DUPLICATE_ID, "values")
    assert desk.tables.rows() == before


# --- from when ----------------------------------------------------------------------------------------------------


def test_limit_when_it_begins_later_then_the_one_before_counts_until_the_very_instant(desk: Desk) -> None:
    set_limits(desk, "1", values={"order_qty_max": 5})
    set_limits(desk, "2", values={"order_qty_max": 20}, effective_ns=NOW_NS + HOUR_NS)
    desk.now_ns = NOW_NS + HOUR_NS - 1
    desk.tick()
    assert reason(desk, "o1") is ReasonCode.QTY_TOO_LARGE
    desk.now_ns += 1
    desk.tick()
    assert reason(desk, "o2") is None
    assert desk.decide(intent("o3", qty=21)).compared["firm_limits_version"] == 2


def test_limit_when_approved_after_one_that_begins_later_then_takes_its_place(desk: Desk) -> None:
    set_limits(desk, "1", values={"order_qty_max": 50}, effective_ns=NOW_NS + HOUR_NS)
    controls = set_limits(desk, "2", values={"order_qty_max": 5})
    assert [each.version for each in controls.limits] == [2]
    desk.now_ns = NOW_NS + 2 * HOUR_NS
    desk.tick()
    assert reason(desk, "o1") is ReasonCode.QTY_TOO_LARGE


def test_values_when_none_are_said_then_the_deployments_are_back(desk: Desk) -> None:
    set_limits(desk, "1", values={"order_qty_max": 5})
    set_limits(desk, "2", values={})
    assert reason(desk, "o1") is None


# --- of whom ------------------------------------------------------------------------------------------------------


def test_limits_of_firm_symbol_account_and_both_then_the_most_special_counts() -> None:
    settings = Limits(order_qty_max=100, by_symbol={"OWN": Limits(order_qty_max=7)})

    def said(*words: tuple[str | None, dict[str, int]]) -> Any:
        controls = Controls(account_id=FIRM)
        for number, (symbol, values) in enumerate(words):
            for command in (propose(f"p{number}", symbol=symbol, values=values), resolve(f"a{number}", f"p{number}")):
                made = carry_out_control(controls, command, NOW_NS)
                assert isinstance(made, Controls)
                controls = made
        return in_force(controls, NOW_NS)

    def qty_max(symbol: str, firm: Any = NOTHING_SAID, own: Any = NOTHING_SAID) -> int:
        return limits_of(settings, symbol, firm, own).order_qty_max

    firm = said((None, {"order_qty_max": 50}), ("ACME", {"order_qty_max": 20}))
    assert [qty_max(symbol) for symbol in ("ACME", "OTHER", "OWN")] == [100, 100, 7]
    assert [qty_max(symbol, firm) for symbol in ("ACME", "OTHER", "OWN")] == [20, 50, 7]
    large, small = said((None, {"order_qty_max": 90})), said((None, {"order_qty_max": 6}))
    assert [qty_max(symbol, firm, large) for symbol in ("ACME", "OTHER", "OWN")] == [20, 90, 7]
    assert [qty_max(symbol, firm, small) for symbol in ("ACME", "OTHER", "OWN")] == [6, 6, 6]
    both = said((None, {"order_qty_max": 10}), ("ACME", {"order_qty_max": 80}))
    assert [qty_max(symbol, firm, both) for symbol in ("ACME", "OTHER")] == [80, 10]


@pytest.mark.parametrize(
    ("name", "one", "other", "tight"),
    [
        ("position_qty_max", 0, 5, 5),
        ("position_qty_max", 5, 0, 5),
        ("position_qty_max", 5, 6, 5),
        ("position_qty_max", 0, 0, 0),
        ("order_qty_max", 1, INT64_MAX, 1),
        ("market_collar_bps", 0, 500, 0),
        ("restricted", False, True, True),
        ("self_cross_denied", False, False, False),
        ("self_match_mode", 1, 3, 1),
        ("self_match_mode", 3, 2, 2),
    ],
)
def test_tighter_of_two(name: str, one: Any, other: Any, tight: Any) -> None:
    assert tighter(name, one, other) == tight


def test_override_when_approved_then_for_that_order_alone_and_not_after_its_end(desk: Desk) -> None:
    set_limits(desk, "1", values={"order_qty_max": 5})
    expiry: dict[str, Any] = {"values": {"order_qty_max": 10}, "expires_ns": NOW_NS + 10}
    for number in (1, 2):
        set_limits(desk, f"o{number}", ACCOUNT, client_order_id=f"o{number}", **expiry)
    assert reason(desk, "other") is ReasonCode.QTY_TOO_LARGE
    desk.now_ns += 9
    assert reason(desk, "o1") is None
    desk.now_ns += 1
    assert reason(desk, "o2") is ReasonCode.QTY_TOO_LARGE
    assert desk.control(propose("p9", ACCOUNT, client_order_id="o9", **expiry)).reason == "LIMIT_INVALID"


def test_override_cannot_resume_what_is_halted(desk: Desk) -> None:
    desk.control(set_state("s1", TradingState.HALTED))
    set_limits(desk, "1", ACCOUNT, client_order_id="o1", values={"reduce_only": 0}, expires_ns=NOW_NS + 9)
    assert reason(desk, "o1") == "TRADING_HALTED"


def test_limit_on_recent_orders_when_set_of_one_account_then_counted_from_then_on_and_of_nobody_else(
    desk: Desk,
) -> None:
    desk.open("acct-2", cash_e4=CASH_E4)
    assert reason(desk, "o1") is None
    set_limits(desk, "1", ACCOUNT, values={"window_orders_max": 1})
    assert [reason(desk, name) for name in ("o2", "o3")] == [None, "WINDOW_LIMIT_EXCEEDED"]
    assert [reason(desk, name, "acct-2") for name in ("o1", "o2")] == [None, None]
    assert [key for key, _ in desk.tables.changelogged("activity").prefix(b"")] == [ACCOUNT.encode()]


# --- trading states -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("account_id", "symbol"), [(FIRM, None), (FIRM, SYMBOL), (ACCOUNT, None), (ACCOUNT, SYMBOL)])
def test_trading_when_reduced_halted_and_resumed_then_sells_pass_nothing_passes_all_passes(
    desk: Desk, account_id: str, symbol: str | None
) -> None:
    sell: dict[str, Any] = {"side": Side.SELL, "limit_price_e4": 1_020_000}
    desk.control(set_state("s1", TradingState.REDUCING, account_id, symbol=symbol))
    assert [reason(desk, "b1"), reason(desk, "s1", **sell)] == ["REDUCE_ONLY", None]
    desk.control(set_state("s2", TradingState.HALTED, account_id, symbol=symbol))
    assert [reason(desk, "b2"), reason(desk, "s2", **sell)] == ["TRADING_HALTED"] * 2
    desk.control(set_state("s3", TradingState.ACTIVE, account_id, symbol=symbol))
    assert [reason(desk, "b3"), reason(desk, "s3", **sell)] == [None, None]


def test_halt_of_a_symbol_or_an_account_then_others_trade(desk: Desk) -> None:
    desk.open("acct-2", cash_e4=CASH_E4)
    desk.list_instrument("BETA", 7)
    desk.control(set_state("s1", TradingState.HALTED, symbol=SYMBOL))
    assert [reason(desk, "o1"), reason(desk, "o2", symbol="BETA")] == ["TRADING_HALTED", None]
    desk.control(set_state("s2", TradingState.ACTIVE, symbol=SYMBOL))
    desk.control(set_state("s3", TradingState.HALTED, ACCOUNT))
    assert [reason(desk, "o3"), reason(desk, "o4", "acct-2")] == ["TRADING_HALTED", None]


def test_state_when_an_alert_sets_it_then_only_a_person_resumes(desk: Desk) -> None:
    assert desk.control(set_state("s1", TradingState.HALTED, symbol=SYMBOL, automatic=True)).accepted
    for state in (TradingState.ACTIVE, TradingState.REDUCING):
        denied = desk.control(set_state(f"n{state}", state, symbol=SYMBOL, automatic=True))
        assert denied.reason == "RESUME_NEEDS_PERSON"
    assert reason(desk, "o1") == "TRADING_HALTED"
    assert desk.control(set_state("s2", TradingState.ACTIVE, symbol=SYMBOL)).accepted
    assert reason(desk, "o2") is None


def test_resting_reservations_when_halted_then_they_stay_until_the_orders_end(desk: Desk) -> None:
    assert reason(desk, "o1") is None
    before = desk.tables.changelogged("accounts").get(ACCOUNT.encode())
    desk.control(set_state("s1", TradingState.HALTED))
    assert desk.tables.changelogged("accounts").get(ACCOUNT.encode()) == before


# --- everywhere, and again ----------------------------------------------------------------------------------------


def control(gate: Gate, tables: MemoryTables, command: ControlCommand, offset: int = 0) -> list[Any]:
    record = message(
        RISK_CONTROL_COMMANDS, command.account_id.encode(), command, partition=tables.partition, offset=offset
    )
    return gate.handle(record, tables, NOW_NS)


def test_firm_when_halted_then_every_partition_is_told_in_one_transaction() -> None:
    gate, tables = Gate(Limits(), DAY_NS), MemoryTables(TABLES, PARTITION)
    outputs = control(gate, tables, set_state("s1", TradingState.HALTED))
    assert [output.partition for output in outputs] == list(range(RISK_CONTROLS.partitions))
    outputs = control(gate, tables, set_state("s2", TradingState.ACTIVE, "nobody"), 1)
    assert [output.partition for output in outputs] == [PARTITION], "a denial is told to who asked"


def test_firms_controls_when_an_older_one_comes_again_then_the_newer_stay(desk: Desk) -> None:
    first = desk.control(set_state("s1", TradingState.HALTED))
    desk.control(set_state("s2", TradingState.ACTIVE))
    kept = desk.tables.changelogged("controls").get(FIRM_COPY_KEY)
    desk.send(first)
    assert desk.tables.changelogged("controls").get(FIRM_COPY_KEY) == kept
    assert reason(desk, "o1") is None


def test_controls_when_tables_are_lost_then_had_again_from_the_topic(new_desk: Callable[..., Desk], desk: Desk) -> None:
    set_limits(desk, "1", ACCOUNT, values={"order_qty_max": 5})
    desk.control(set_state("s1", TradingState.HALTED, symbol="BETA"))
    other = new_desk()
    other.open(cash_e4=CASH_E4)
    results: list[ControlResult] = desk.controls
    for result in results:
        other.send(result)
    assert reason(other, "o1") is ReasonCode.QTY_TOO_LARGE
    other.list_instrument("BETA", 7)
    assert reason(other, "o2", symbol="BETA") == "TRADING_HALTED"


def test_proposals_when_as_many_as_are_kept_then_one_more_is_denied() -> None:
    controls: Controls | Denial = Controls(account_id=ACCOUNT)
    for number in range(PROPOSALS_MAX):
        assert isinstance(controls, Controls)
        controls = carry_out_control(controls, propose(f"p{number}", ACCOUNT), NOW_NS)
    assert isinstance(controls, Controls)
    assert too_many(carry_out_control(controls, propose("more", ACCOUNT), NOW_NS))


def test_overrides_when_as_many_as_are_kept_then_one_more_is_denied() -> None:
    controls: Controls | Denial = Controls(account_id=ACCOUNT)
    for number in range(OVERRIDES_MAX + 1):
        assert isinstance(controls, Controls)
        proposal = propose(f"p{number}", ACCOUNT, client_order_id=f"o{number}", expires_ns=INT64_MAX)
        controls = carry_out_control(controls, proposal, NOW_NS)
        assert isinstance(controls, Controls)
        controls = carry_out_control(controls, resolve(f"a{number}", f"p{number}", ACCOUNT), NOW_NS)
    assert too_many(controls)


def too_many(made: Controls | Denial) -> bool:
    return isinstance(made, Denial) and made.reason == "TOO_MANY_CONTROLS"
