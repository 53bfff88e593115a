"""Denials that halt the account until a person resumes it: which ones, under which limits, and in both paths."""

from collections.abc import Callable
from typing import Any

import pytest
from common.checks.gate import CHECKS
from common.contracts.controls import FIRM, ControlResult, TradingState
from common.contracts.topics import RISK_CONTROLS
from common.contracts.values import E4, Side
from common.testing.controls import propose, resolve, set_state
from common.testing.orders import ACCOUNT, fund, intent, set_account
from risk import stages
from risk.domain.gate import Limits
from risk.domain.stops import AT_LIMITS, REPEATS

from tests.risk.conftest import Desk
from tests.risk.test_runs import intents_of, same_both_ways, value_of

SECOND_NS = 1_000_000_000
TWICE: dict[str, Any] = {"duplicate_ns": SECOND_NS, "duplicates_max": 2, "halt_on_repeats": True}


def opened(new_desk: Callable[..., Any], **limits: Any) -> Desk:
    desk: Desk = new_desk(Limits(**limits))
    desk.open(cash_e4=100_000 * E4, shares=100)
    desk.send(set_account("other"))
    desk.send(fund("other", command_id="cash", cash_e4=100_000 * E4))
    return desk


def sent(desk: Desk, *bodies: Any) -> list[Any]:
    """Reasons of the decisions."""
    for body in bodies:
        desk.send(body)
    return [each.reason for each in desk.decisions[-len(bodies) :]]


def same(number: int, account_id: str = ACCOUNT, **fields: Any) -> Any:
    return intent(f"o{number}", account_id, qty=1, **fields)


def test_body_once_more_than_it_may_be_sent_then_the_account_is_halted_and_no_other(new_desk: Any) -> None:
    desk = opened(new_desk, **TWICE)
    assert sent(desk, *map(same, range(4))) == [None, None, "DUPLICATE_ORDER", "TRADING_HALTED"]
    assert sent(desk, same(9, "other"), same(10, "other", side=Side.BUY, limit_price_e4=99 * E4)) == [None, None]
    (halted,) = desk.controls
    assert (halted.account_id, halted.accepted, halted.command_offset) == (ACCOUNT, True, -1)
    assert halted.controls is not None
    (state,) = halted.controls.states
    assert (state.state, state.by, state.symbol) == (TradingState.HALTED, "gate", None)
    assert state.note == f"DUPLICATE_ORDER: order {ACCOUNT}.o2"


def test_account_when_halted_then_only_a_person_resumes_it(new_desk: Any) -> None:
    desk = opened(new_desk, **TWICE)
    sent(desk, *map(same, range(3)))
    refused = desk.control(set_state("back", TradingState.ACTIVE, ACCOUNT, automatic=True))
    assert refused.reason == "RESUME_NEEDS_PERSON"
    assert sent(desk, same(5, limit_price_e4=98 * E4)) == ["TRADING_HALTED"]
    assert desk.control(set_state("resume", TradingState.ACTIVE, ACCOUNT)).accepted
    assert sent(desk, same(6, limit_price_e4=98 * E4)) == [None]
    assert sent(desk, same(7)) == ["DUPLICATE_ORDER"], "what was remembered is not forgotten"
    assert [each.controls.seq for each in desk.controls if each.controls] == [1, 2, 3]


def test_body_as_often_as_it_may_be_sent_then_nobody_is_halted(new_desk: Any) -> None:
    desk = opened(new_desk, **TWICE)
    assert sent(desk, same(0), same(1)) == [None, None]
    assert desk.controls == []


def test_repeats_when_nobody_asks_to_halt_then_only_denied(new_desk: Any) -> None:
    desk = opened(new_desk, **TWICE | {"halt_on_repeats": False})
    assert sent(desk, *map(same, range(4))) == [None, None, "DUPLICATE_ORDER", "DUPLICATE_ORDER"]
    assert desk.controls == []


@pytest.mark.parametrize(
    ("limits", "at", "over"),
    [
        ({"position_qty_max": 105}, {"qty": 5}, {"qty": 1}),
        ({"position_notional_max_e4": 105 * 100 * E4}, {"qty": 5}, {"qty": 1}),
        ({"exposure_max_e4": 105 * 100 * E4}, {"qty": 5}, {"qty": 1}),
        ({"open_orders_max": 1}, {}, {}),
        ({"open_notional_max_e4": 500 * E4}, {"qty": 5}, {"qty": 1}),
        ({"window_orders_max": 1}, {}, {}),
        ({"window_qty_max": 5}, {"qty": 5}, {"qty": 1}),
        ({"window_notional_max_e4": 500 * E4}, {"qty": 5}, {"qty": 1}),
        ({"throttle_intents_max": 1}, {}, {}),
    ],
)
def test_limit_when_all_of_it_is_used_then_the_next_order_halts_the_account(
    new_desk: Any, limits: dict[str, Any], at: dict[str, Any], over: dict[str, Any]
) -> None:
    """At the limit nothing is halted; one unit over it the account is, so that what it has open is canceled."""
    desk = opened(new_desk, **limits, halt_at_limits=True)
    assert sent(desk, intent("at", **at)) == [None]
    assert desk.controls == []
    (reason,) = sent(desk, intent("over", **over))
    assert reason is not None and len(desk.controls) == 1
    assert sent(desk, intent("after", qty=1, side=Side.SELL, limit_price_e4=102 * E4)) == ["TRADING_HALTED"]


@pytest.mark.parametrize("limit", ["daily_loss_max_e4", "drawdown_max_e4"])
def test_loss_when_as_large_as_the_limit_then_the_next_buy_halts_the_account(new_desk: Any, limit: str) -> None:
    desk = opened(new_desk, **{limit: 100 * E4}, halt_at_limits=True)
    assert sent(desk, same(0)) == [None]
    desk.mark(bid_e4=98 * E4 + 100)
    assert sent(desk, same(1)) == [None]
    desk.mark(bid_e4=98 * E4)
    assert sent(desk, same(2), same(3))[1] == "TRADING_HALTED"
    assert len(desk.controls) == 1


def test_denial_for_another_reason_then_nobody_is_halted(new_desk: Any) -> None:
    desk = opened(new_desk, **TWICE, halt_at_limits=True)
    assert sent(desk, intent("large", qty=10**9), intent("none", qty=0), intent("dear", limit_price_e4=200 * E4)) != []
    assert desk.controls == []


def test_people_when_they_set_it_for_one_account_then_only_that_is_halted(new_desk: Any) -> None:
    desk = opened(new_desk, duplicate_ns=SECOND_NS)
    desk.control(propose("p", ACCOUNT, values={"halt_on_repeats": 1}))
    desk.control(resolve("r", "p", ACCOUNT))
    assert sent(desk, same(0), same(1), same(2)) == [None, "DUPLICATE_ORDER", "TRADING_HALTED"]
    assert sent(desk, same(3, "other"), same(4, "other"), same(5, "other")) == [None, *["DUPLICATE_ORDER"] * 2]


def test_account_that_nobody_opened_then_denied_and_nothing_is_halted(new_desk: Any) -> None:
    """An unknown account is asked for no limit."""
    desk = opened(new_desk, throttle_intents_max=1, halt_at_limits=True)
    assert sent(desk, same(0, "nobody"), same(1, "nobody")) == ["ACCOUNT_UNKNOWN"] * 2
    assert desk.controls == []


def test_names_of_checks_then_each_is_one_of_the_gate() -> None:
    assert {each.name for each in CHECKS} >= REPEATS | AT_LIMITS


def test_run_with_a_halt_in_it_then_as_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "RUN_MIN", 2)
    limits = Limits(**TWICE)
    orders = [intent(f"o{number}", who, qty=1) for number, who in enumerate(("rich", "poor") * 4)]
    said = same_both_ways(intents_of(map(value_of, orders)), limits=limits, says_basis=True)
    halted = [[topic for topic, *_ in outputs if topic == RISK_CONTROLS.name] for outputs in said]
    assert [len(each) for each in halted] == [0, 0, 0, 0, 1, 1, 0, 0]


def test_halt_then_the_partition_s_own_record_is_read_again_without_effect(new_desk: Any) -> None:
    desk = opened(new_desk, **TWICE)
    sent(desk, *map(same, range(3)))
    before = desk.tables.rows()
    halted: ControlResult = desk.controls[0]
    assert halted.account_id != FIRM and desk.send(halted) == []
    assert desk.tables.rows() == before
