"""Verdicts on orders that nobody sends: as the gate then says, to the share, and nothing of them is left behind."""

from collections.abc import Callable
from typing import Any

import pytest
from common.contracts.controls import TradingState
from common.contracts.events import OrderIntent, ReasonCode
from common.contracts.topics import RISK_WHAT_IFS
from common.contracts.values import E4, INT64_MAX, OrderType, Side, TimeInForce
from common.contracts.what_ifs import WhatIf, WhatIfAnswer
from common.testing.controls import set_state
from common.testing.orders import ACCOUNT, NOW_NS, intent
from hypothesis import given, settings
from hypothesis import strategies as st
from risk.domain.gate import Limits

from tests.risk.conftest import Desk

LOT = 100


def ask(desk: Desk, order: OrderIntent) -> WhatIfAnswer:
    before = desk.tables.rows()
    (answer,) = desk.send(WhatIf(account_id=order.account_id, question_id="q", order=order))
    assert isinstance(answer, WhatIfAnswer)
    assert desk.tables.rows() == before
    return answer


def desk_of(limits: Limits) -> Desk:
    desk = Desk(limits)
    desk.open(cash_e4=300_000 * E4, shares=2_000)
    desk.list_instrument("LOTS", 9, lot_size=LOT)
    return desk


at_most = st.sampled_from
any_limits = st.builds(
    Limits,
    order_qty_max=at_most((150, 10**6)),
    order_notional_max_e4=at_most((20_000 * E4, 10**14)),
    position_qty_max=at_most((0, 2_300)),
    position_notional_max_e4=at_most((0, 240_000 * E4)),
    exposure_max_e4=at_most((0, 250_000 * E4)),
    open_orders_max=at_most((0, 2)),
    open_notional_max_e4=at_most((0, 50_000 * E4)),
    window_orders_max=at_most((0, 3)),
    window_qty_max=at_most((0, 700)),
    window_notional_max_e4=at_most((0, 60_000 * E4)),
    throttle_intents_max=at_most((0, 4)),
    duplicate_ns=at_most((0, 10**9)),
    reduce_only=st.sampled_from((False, False, False, True)),
)
TERMS: tuple[dict[str, Any], ...] = (
    *[{}] * 4,
    {"time_in_force": TimeInForce.FOK},
    {"time_in_force": TimeInForce.FOK, "min_qty": 400},
    {"time_in_force": TimeInForce.IOC, "min_qty": 5},
    {"time_in_force": TimeInForce.IOC, "min_qty": 0},
    {"min_qty": 1},
    {"time_in_force": TimeInForce.GTD, "expire_ns": NOW_NS},
    {"time_in_force": TimeInForce.GTD, "expire_ns": NOW_NS + 1},
)
orders = st.builds(
    lambda side, symbol, qty, is_market, terms: {
        **terms,
        "side": side,
        "symbol": symbol,
        "qty": qty,
        **({"order_type": OrderType.MARKET} if is_market else {"limit_price_e4": 100 * E4}),
    },
    st.sampled_from(Side),
    st.sampled_from(("ACME", "ACME", "LOTS", "NONE")),
    st.integers(-1, 5) | st.sampled_from((100, 150, 400, 2_000, 10**6)),
    st.sampled_from((False, False, True)),
    st.sampled_from(TERMS),
)


def of_qty(asked: dict[str, Any], qty: int) -> dict[str, Any]:
    """The same order of another quantity; the minimum of a FOK is all of it."""
    least = {"min_qty": qty} if asked.get("time_in_force") is TimeInForce.FOK and "min_qty" in asked else {}
    return {**asked, "qty": qty, **least}


@settings(deadline=None, max_examples=200)
@given(limits=any_limits, before=st.lists(orders, max_size=4), asked=orders)
def test_order_when_asked_of_then_sent_then_the_same_verdict_and_up_to_the_most_shares(
    limits: Limits, before: list[dict[str, Any]], asked: dict[str, Any]
) -> None:
    def desk() -> Desk:
        made = desk_of(limits)
        for number, fields in enumerate(before):
            made.send(intent(f"b{number}", **fields))
        return made

    answer = ask(desk(), intent("o", **asked))
    decision = desk().decide(intent("o", **asked))
    same = ("accepted", "reason", "compared", "reserved_cash_e4", "reserved_qty", "protection_price_e4", "mark")
    assert {name: getattr(answer, name) for name in same} == {name: getattr(decision, name) for name in same}
    assert all(left >= 0 for left in answer.headroom.values())
    lot = LOT if asked["symbol"] == "LOTS" else 1
    if answer.qty_max:
        most = desk().decide(intent("most", **of_qty(asked, answer.qty_max)))
        assert most.accepted or most.reason == "DUPLICATE_ORDER"
    assert not desk().decide(intent("more", **of_qty(asked, answer.qty_max + lot))).accepted


def test_headroom_when_limits_are_set_then_what_is_left_of_each_and_of_no_other() -> None:
    desk = desk_of(Limits(position_qty_max=2_500, window_orders_max=5, open_notional_max_e4=50_000 * E4))
    desk.send(intent("b1", qty=100))
    answer = ask(desk, intent("o", qty=1))
    assert answer.headroom == {
        "available_cash_e4": 290_000 * E4,
        "available_qty": 2_000,
        "order_qty": 1_000_000,
        "order_notional_e4": 500_000_000_000,
        "position_qty": 400,
        "open_notional_e4": 40_000 * E4,
        "window_orders": 4,
    }
    assert answer.qty_max == 400
    assert ask(desk, intent("o", side=Side.SELL)).headroom.keys() == answer.headroom.keys() - {"position_qty"}


def test_order_when_nothing_of_it_would_pass_then_none_and_the_reason() -> None:
    desk = desk_of(Limits())
    desk.control(set_state("s1", TradingState.HALTED))
    halted = ask(desk, intent("o"))
    assert (halted.accepted, halted.reason, halted.qty_max) == (False, "TRADING_HALTED", 0)
    nobody = ask(desk, intent("o", "nobody"))
    assert (nobody.reason, nobody.qty_max) == (ReasonCode.ACCOUNT_UNKNOWN, 0)
    assert ask(desk, intent("o", limit_price_e4=INT64_MAX)).reason == "TRADING_HALTED"


def test_order_when_its_id_is_used_then_said_so() -> None:
    desk = desk_of(Limits())
    desk.send(intent("o"))
    assert ask(desk, intent("o")).reason is ReasonCode.DUPLICATE_ID


def test_question_when_of_another_accounts_order_then_refused(new_desk: Callable[..., Desk]) -> None:
    with pytest.raises(ValueError, match="asks of an order of"):
        new_desk().send(WhatIf(account_id="other", question_id="q", order=intent("o")))


def test_answer_when_it_comes_back_then_nothing_is_said(desk: Desk) -> None:
    desk.open()
    answer = ask(desk, intent("o"))
    assert RISK_WHAT_IFS.schema.decode(RISK_WHAT_IFS.schema.encode(answer)) == answer
    assert desk.send(answer) == []
    assert answer.account_id == ACCOUNT
