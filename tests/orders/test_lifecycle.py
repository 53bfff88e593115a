"""The order lifecycle: the table, and the functions that walk it."""

import itertools
from pathlib import Path
from typing import Any

import pytest
from common.contracts.events import (
    ExecType,
    OrderEvent,
    OrderState,
    ReasonCode,
    VenueCancel,
    VenueOrder,
)
from common.contracts.values import SELF_MATCH_MODE, OrderType, SelfMatch, Side
from common.executions import Accept, judge
from common.reported import NO_EFFECT, Execution, OrderFacts, Progress
from hypothesis import given, settings
from hypothesis import strategies as st
from orders.domain import lifecycle
from orders.domain.lifecycle import (
    CLOSED,
    TRANSITIONS,
    IllegalTransitionError,
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


def test_what_the_judge_accepts_is_a_step_in_every_state() -> None:
    requests = {Trigger.ACCEPT, Trigger.DENY, Trigger.CANCEL_REQUEST}
    missing = {(state, t) for state in OrderState for t in set(Trigger) - requests if (state, t) not in TRANSITIONS}
    assert not missing


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


@pytest.mark.parametrize(("mode", "said"), [(1, None), (2, SelfMatch.CANCEL_NEWEST), (3, SelfMatch.CANCEL_OLDEST)])
def test_decision_when_it_leaves_own_orders_to_the_venue_then_the_venue_is_told(
    make: Any, mode: int, said: SelfMatch | None
) -> None:
    decision = make.decision(make.intent(), compared={SELF_MATCH_MODE: mode})
    to_venue = on_decision(None, decision, 700).to_venue
    assert isinstance(to_venue, VenueOrder) and to_venue.self_match is said


def test_decision_when_its_self_match_mode_is_of_a_newer_release_then_refused(make: Any) -> None:
    with pytest.raises(ValueError, match="self-match mode 4"):
        on_decision(None, make.decision(make.intent(), compared={SELF_MATCH_MODE: 4}), 700)


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
        step = on_report(order, make.report(9, ExecType.CANCEL_REJECTED, text="too late"), NO_EFFECT, 9)
        assert step.order.state is state
        assert step.order.text == "cancel rejected: too late"


ACTIONS = st.lists(st.one_of(st.sampled_from([*ExecType, "cancel"]), st.integers(1, 60)), max_size=30)


@settings(max_examples=300, deadline=None)
@given(actions=ACTIONS)
def test_quantities_add_up_after_any_history(make_once: Any, actions: list[Any]) -> None:
    """An integer is a trade of so many shares as the venue would report it; what the judge refuses changes nothing."""
    make = make_once
    decision = make.decision(make.intent())
    order = on_decision(None, decision, 7).order
    facts = OrderFacts(order.symbol, order.side, order.qty, decision.protection_price_e4)
    progress, memory = Progress(), dict[str, Execution]()
    last_fill = "none"
    for number, action in enumerate(actions, 2):
        if action == "cancel":
            order = on_cancel(order, 700, number).order
            continue
        report = _report(make, order, action, number, last_fill)
        verdict = judge(facts, progress, memory.get, report)
        if not isinstance(verdict, Accept):
            continue
        before, order = order, on_report(order, report, verdict.effect, number).order
        progress = verdict.progress
        memory.update(verdict.executions)
        if verdict.effect.fill_qty:
            last_fill = report.execution_id
        assert order.revision == before.revision + 1
        assert (order.cum_qty, order.notional_e4) == (progress.cum_qty, progress.notional_e4)
        assert order.cum_qty == sum(fill.qty for fill in memory.values()) <= order.qty
        assert order.leaves_qty == (0 if order.state in CLOSED else order.qty - order.cum_qty)
        assert (order.state in CLOSED) == (progress.ended is not None)
        if order.state in CLOSED:
            assert order.state.value == progress.ended


def _report(make: Any, order: OrderEvent, action: Any, number: int, last_fill: str) -> Any:
    """A report whose quantities follow from the order, whether or not it can be true."""
    cum_qty, open_qty = order.cum_qty, order.leaves_qty
    if isinstance(action, int):
        fill = {"last_qty": action, "last_price_e4": 990_000}
        return make.report(number, ExecType.TRADE, **fill, cum_qty=cum_qty + action, leaves_qty=open_qty - action)
    if action in (ExecType.TRADE_CANCEL, ExecType.TRADE_CORRECT):
        back = next((qty for qty in (1, 7, 30) if qty <= cum_qty), 0)
        fill = {"last_qty": back, "last_price_e4": 980_000} if action is ExecType.TRADE_CORRECT else {}
        left = open_qty if action is ExecType.TRADE_CORRECT or not open_qty else open_qty + back
        return make.report(number, action, ref_execution_id=last_fill, cum_qty=cum_qty, leaves_qty=left, **fill)
    leaves_qty = 0 if action in (ExecType.CANCELED, ExecType.REJECTED, ExecType.EXPIRED) else open_qty
    return make.report(number, action, cum_qty=cum_qty, leaves_qty=leaves_qty)
