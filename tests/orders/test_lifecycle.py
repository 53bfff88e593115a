"""The order lifecycle: the table, and the functions that walk it."""

import itertools
from pathlib import Path
from typing import Any

import pytest
from common.contracts.events import ExecType, OrderEvent, OrderState, ReasonCode, VenueCancel, VenueOrder
from common.contracts.values import OrderType, Side
from hypothesis import given, settings
from hypothesis import strategies as st
from orders.domain import lifecycle
from orders.domain.lifecycle import (
    CLOSED,
    TRANSITIONS,
    IllegalTransitionError,
    ImpossibleReportError,
    Trigger,
    next_state,
    on_cancel,
    on_decision,
    on_report,
)

README = Path(__file__).parents[2] / "services" / "orders" / "README.md"


@pytest.mark.parametrize(("state", "trigger"), list(itertools.product([None, *OrderState], Trigger)))
def test_transition_when_listed_then_taken_else_illegal(state: OrderState | None, trigger: Trigger) -> None:
    if (state, trigger) in TRANSITIONS:
        assert next_state(state, trigger) is TRANSITIONS[state, trigger]
    else:
        with pytest.raises(IllegalTransitionError, match=trigger.name):
            next_state(state, trigger)


def test_closed_state_is_never_left() -> None:
    assert {after for (before, _), after in TRANSITIONS.items() if before in CLOSED} == CLOSED
    for (before, _), after in TRANSITIONS.items():
        assert before not in CLOSED or after is before


def test_every_state_is_reachable_and_every_trigger_used() -> None:
    assert set(TRANSITIONS.values()) == set(OrderState)
    assert {trigger for _, trigger in TRANSITIONS} == set(Trigger)


def test_readme_shows_the_diagram_of_the_table() -> None:
    assert f"```mermaid\n{lifecycle.diagram()}\n```" in README.read_text("utf-8")


def test_decision_when_accepted_then_order_goes_to_the_venue(make: Any) -> None:
    step = on_decision(None, make.decision(make.intent()), 7)
    assert isinstance(step.to_venue, VenueOrder)
    assert (step.order.state, step.order.leaves_qty, step.order.revision) == (OrderState.ACCEPTED, 100, 1)
    assert step.to_venue.limit_price_e4 == 1_000_000


def test_decision_when_market_order_then_venue_gets_the_protection_price(make: Any) -> None:
    intent = make.intent(order_type=OrderType.MARKET, side=Side.SELL)
    step = on_decision(None, make.decision(intent, protection_price_e4=940_500), 7)
    assert isinstance(step.to_venue, VenueOrder)
    assert step.to_venue.limit_price_e4 == 940_500
    assert step.order.limit_price_e4 is None


def test_decision_when_denied_then_order_is_closed_with_the_reason(make: Any) -> None:
    step = on_decision(None, make.decision(make.intent(), ReasonCode.CASH_INSUFFICIENT, instrument_id=None), 7)
    assert step.to_venue is None
    assert (step.order.state, step.order.leaves_qty) == (OrderState.DENIED, 0)
    assert step.order.reason is ReasonCode.CASH_INSUFFICIENT


def test_decision_when_order_exists_then_illegal(make: Any) -> None:
    decision = make.decision(make.intent())
    order = on_decision(None, decision, 7).order
    with pytest.raises(IllegalTransitionError):
        on_decision(order, decision, 8)


def _order(make: Any, state: OrderState, cum_qty: int = 0) -> OrderEvent:
    order = on_decision(None, make.decision(make.intent()), 7).order
    leaves_qty = 0 if state in CLOSED else order.qty - cum_qty
    return order.model_copy(update={"state": state, "cum_qty": cum_qty, "leaves_qty": leaves_qty})


@pytest.mark.parametrize("state", sorted(CLOSED))
def test_cancel_when_order_is_closed_then_only_told_so(make: Any, state: OrderState) -> None:
    order = _order(make, state)
    step = on_cancel(order, 700, 9)
    assert step.to_venue is None
    assert (step.order.state, step.order.revision) == (state, order.revision + 1)
    assert step.order.text == f"cancel rejected: the order is {state.name}"


def test_cancel_when_asked_twice_then_venue_is_told_once(make: Any) -> None:
    first = on_cancel(_order(make, OrderState.WORKING), 700, 9)
    again = on_cancel(first.order, 700, 10)
    assert isinstance(first.to_venue, VenueCancel)
    assert again.to_venue is None
    assert again.order.state is OrderState.PENDING_CANCEL


def test_cancel_when_refused_then_order_works_on(make: Any) -> None:
    for cum_qty, state in ((0, OrderState.WORKING), (40, OrderState.PARTIALLY_FILLED)):
        order = _order(make, OrderState.PENDING_CANCEL, cum_qty)
        step = on_report(order, make.report(9, ExecType.CANCEL_REJECTED, text="too late"), 9)
        assert step.order.state is state
        assert step.order.text == "cancel rejected: too late"


@pytest.mark.parametrize("state", [OrderState.WORKING, OrderState.PARTIALLY_FILLED, OrderState.PENDING_CANCEL])
def test_order_when_its_session_ends_then_it_is_expired_for_good(make: Any, state: OrderState) -> None:
    order = _order(make, state, cum_qty=40)
    expired = on_report(order, make.report(9, ExecType.EXPIRED, cum_qty=40, leaves_qty=0, text="over"), 9).order
    assert (expired.state, expired.cum_qty, expired.leaves_qty, expired.text) == (OrderState.EXPIRED, 40, 0, "over")
    refused = make.report(10, ExecType.CANCEL_REJECTED, cum_qty=40)
    assert on_report(expired, refused, 10).order.state is OrderState.EXPIRED


IMPOSSIBLE = {
    "other symbol": {"symbol": "MSFT"},
    "other side": {"side": Side.SELL},
    "other account": {"account_id": "B"},
    "no quantity": {"last_qty": 0},
    "no price": {"last_price_e4": 0},
    "more than is open": {"last_qty": 101, "cum_qty": 101, "leaves_qty": 0},
    "cum does not add up": {"cum_qty": 11},
    "leaves do not add up": {"leaves_qty": 89},
}


@pytest.mark.parametrize("changes", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_report_when_it_contradicts_the_order_then_raises(make: Any, changes: dict[str, Any]) -> None:
    sound = {"last_qty": 10, "last_price_e4": 990_000, "cum_qty": 10, "leaves_qty": 90}
    order = _order(make, OrderState.WORKING)
    assert on_report(order, make.report(2, ExecType.TRADE, **sound), 9).order.notional_e4 == 9_900_000
    with pytest.raises(ImpossibleReportError):
        on_report(order, make.report(2, ExecType.TRADE, **(sound | changes)), 9)


ACTIONS = st.lists(st.one_of(st.sampled_from([*ExecType, "cancel"]), st.integers(1, 60)), max_size=30)


@settings(max_examples=300, deadline=None)
@given(actions=ACTIONS)
def test_quantities_add_up_after_any_history(make_once: Any, actions: list[Any]) -> None:
    """An integer is a trade of so many shares as the venue would report it; what the table refuses changes nothing."""
    make = make_once
    order = on_decision(None, make.decision(make.intent()), 7).order
    filled = notional_e4 = 0
    for number, action in enumerate(actions, 2):
        before = order
        try:
            order = _acted(make, order, action, number)
        except (IllegalTransitionError, ImpossibleReportError):
            continue
        if isinstance(action, int):
            filled += action
            notional_e4 += action * 990_000
        assert order.revision == before.revision + 1
        assert order.cum_qty == filled <= order.qty
        assert order.notional_e4 == notional_e4
        assert order.leaves_qty == (0 if order.state in CLOSED else order.qty - order.cum_qty)
        assert (order.state is OrderState.FILLED) == (order.cum_qty == order.qty)


def _acted(make: Any, order: OrderEvent, action: Any, number: int) -> OrderEvent:
    if action == "cancel":
        return on_cancel(order, 700, number).order
    if isinstance(action, int):
        cum_qty = order.cum_qty + action
        quantities = {"last_qty": action, "last_price_e4": 990_000, "cum_qty": cum_qty, "leaves_qty": 100 - cum_qty}
        return on_report(order, make.report(number, ExecType.TRADE, **quantities), number).order
    ends = (ExecType.CANCELED, ExecType.REJECTED, ExecType.EXPIRED)
    leaves_qty = 0 if action in ends else 100 - order.cum_qty
    report = make.report(number, action, cum_qty=order.cum_qty, leaves_qty=leaves_qty)
    return on_report(order, report, number).order
