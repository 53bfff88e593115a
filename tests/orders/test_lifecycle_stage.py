"""The lifecycle stage on its tables: what it keeps, what it forgets, what it says."""

from typing import Any

import pytest
from common.contracts.breaks import BreakReason, BreakResolution, ExecutionBreak, ReportedEffect
from common.contracts.events import (
    BreakAction,
    CommandResult,
    ExecType,
    ExecutionReport,
    OrderState,
    ReasonCode,
)
from common.contracts.topics import (
    ORDERS_CANCELS,
    ORDERS_EVENTS,
    ORDERS_EXECUTIONS,
    RISK_BREAKS,
    RISK_DECISIONS,
    VENUE_ORDERS,
    market_partition,
)
from common.contracts.values import OrderType
from common.contracts.views import CLOSED_ORDERS_RETAINED, FILLS_RETAINED
from orders import stages
from streams.model.message import Output, View

FILL = {"last_qty": 100, "last_price_e4": 990_000, "cum_qty": 100, "leaves_qty": 0}


@pytest.fixture
def stage(make: Any) -> Any:
    return make.bench(stages.handle, stages.TABLES)


def _accept(stage: Any, make: Any, client_order_id: str = "1", **changes: Any) -> list[Output | View]:
    decision = make.decision(make.intent(client_order_id), **changes)
    handled: list[Output | View] = stage.handle(RISK_DECISIONS, "A", decision)
    return handled


def _fill(stage: Any, make: Any, order_id: str = "A.1") -> list[Output | View]:
    acknowledged = make.report(1, ExecType.NEW, order_id=order_id, leaves_qty=100)
    stage.handle(ORDERS_EXECUTIONS, "A", acknowledged)
    handled: list[Output | View] = stage.handle(
        ORDERS_EXECUTIONS, "A", make.report(2, ExecType.TRADE, order_id=order_id, **FILL)
    )
    return handled


def test_accepted_order_goes_to_its_instruments_partition(stage: Any, make: Any) -> None:
    handled = _accept(stage, make, instrument_id=7)
    to_venue = next(one for one in handled if isinstance(one, Output) and one.topic is VENUE_ORDERS)
    assert (to_venue.key, to_venue.partition) == (b"AAPL", market_partition(7))
    view = next(one for one in handled if isinstance(one, View))
    assert (view.name, view.scope, view.key, view.origin_ns) == ("order", "A", "A.1", 500)


def test_repeat_and_conflict_when_order_exists_then_it_is_untouched(stage: Any, make: Any) -> None:
    _accept(stage, make)
    before = stage.rows("orders")
    conflict = make.decision(make.intent(), ReasonCode.DUPLICATE_ID, conflict="qty")
    assert _accept(stage, make, repeat=True) == []
    assert stage.handle(RISK_DECISIONS, "A", conflict) == []
    assert stage.rows("orders") == before


def test_command_result_concerns_no_order(stage: Any, make: Any) -> None:
    _accept(stage, make)
    result = CommandResult(account_id="A", command_id="c", accepted=True, account_seq=1, decided_ns=1)
    assert stage.handle(RISK_DECISIONS, "A", result) == []


def test_report_when_it_comes_twice_then_second_is_ignored(stage: Any, make: Any) -> None:
    _accept(stage, make)
    assert make.bodies(_fill(stage, make), ORDERS_EVENTS)[0].state is OrderState.FILLED
    before = stage.state()
    assert _fill(stage, make) == []
    assert stage.state() == before


def test_report_when_it_overtakes_the_decision_then_it_waits_for_it(stage: Any, make: Any) -> None:
    assert _fill(stage, make) == []
    events = make.bodies(_accept(stage, make), ORDERS_EVENTS)
    assert [event.state for event in events] == [OrderState.ACCEPTED, OrderState.WORKING, OrderState.FILLED]
    assert stage.rows("early") == {}


@pytest.mark.parametrize("break_first", [True, False])
def test_report_when_the_gate_knows_no_such_order_then_it_waits_no_longer(
    stage: Any, make: Any, break_first: bool
) -> None:
    fill = make.report(2, ExecType.TRADE, order_id="A.ghost", **FILL)
    steps = [(RISK_BREAKS, _break(fill, BreakReason.ORDER_UNKNOWN)), (ORDERS_EXECUTIONS, fill)]
    for topic, body in steps if break_first else reversed(steps):
        assert stage.handle(topic, "A", body) == []
    assert stage.rows("early")[b"A"] == stages.EarlyRow(never=("A.ghost",))
    assert stage.handle(ORDERS_EXECUTIONS, "A", fill) == []
    assert not stage.rows("early")[b"A"].waiting


def test_early_reports_are_bounded(stage: Any, make: Any) -> None:
    for number in range(stages.EARLY_MAX + 5):
        stage.handle(ORDERS_EXECUTIONS, "A", make.report(1, ExecType.NEW, order_id=f"A.{number}", leaves_qty=100))
    waiting = stage.rows("early")[b"A"].waiting
    assert [report.order_id for report in waiting] == [f"A.{n}" for n in range(5, stages.EARLY_MAX + 5)]


def test_report_when_refused_then_nothing_changes_until_it_is_booked_by_hand(stage: Any, make: Any) -> None:
    _accept(stage, make)
    order = stage.rows("orders")
    fill = make.report(2, ExecType.TRADE, **(FILL | {"last_qty": 120, "cum_qty": 120}))
    assert stage.handle(ORDERS_EXECUTIONS, "A", fill) == []
    opened = _break(fill, BreakReason.OVERFILL, fill_qty=120, fill_price_e4=990_000, ends=True)
    assert stage.handle(RISK_BREAKS, "A", opened) == []
    assert stage.rows("orders") == order
    handled = stage.handle(RISK_BREAKS, "A", _resolution(opened, BreakAction.BOOK))
    (event,) = make.bodies(handled, ORDERS_EVENTS)
    assert (event.state, event.cum_qty, event.leaves_qty) == (OrderState.FILLED, 120, 0)
    assert event.text == "booked by hand: TRADE A.1.2: seen on the venue's screen"
    assert [view.key for view in handled if isinstance(view, View) and view.name == "fill"] == ["A.1.2"]


def test_parked_report_when_refused_to_the_venue_then_counted_back(stage: Any, make: Any) -> None:
    _accept(stage, make)
    _fill(stage, make)
    fill = make.report(2, ExecType.TRADE, **FILL)
    opened = _break(fill, BreakReason.AMOUNT_OVERFLOW, parked=True, fill_qty=100, fill_price_e4=990_000)
    assert stage.handle(RISK_BREAKS, "A", _resolution(opened, BreakAction.BOOK)) == []
    (event,) = make.bodies(stage.handle(RISK_BREAKS, "A", _resolution(opened, BreakAction.BREAK)), ORDERS_EVENTS)
    assert (event.state, event.cum_qty, event.notional_e4) == (OrderState.FILLED, 0, 0)


def test_market_order_is_held_to_its_protection_price(stage: Any, make: Any) -> None:
    intent = make.intent(order_type=OrderType.MARKET)
    stage.handle(RISK_DECISIONS, "A", make.decision(intent, protection_price_e4=1_050_000))
    beyond = FILL | {"last_price_e4": 1_050_001}
    assert stage.handle(ORDERS_EXECUTIONS, "A", make.report(1, ExecType.TRADE, **beyond)) == []
    events = stage.handle(
        ORDERS_EXECUTIONS, "A", make.report(2, ExecType.TRADE, **(FILL | {"last_price_e4": 1_050_000}))
    )
    assert make.bodies(events, ORDERS_EVENTS)[0].state is OrderState.FILLED


def test_row_of_an_older_version_then_any_report_under_its_id_is_a_repeat(stage: Any, make: Any) -> None:
    _accept(stage, make)
    stage.tables.changelogged("reports").put_encoded({b"A.1\0A.1.2": b"TRADE"})
    assert stage.handle(ORDERS_EXECUTIONS, "A", make.report(2, ExecType.TRADE, **FILL)) == []


def _break(of: ExecutionReport, reason: BreakReason, *, parked: bool = False, **effect: int) -> ExecutionBreak:
    return ExecutionBreak(
        break_id="0-7",
        account_id=of.account_id,
        order_id=of.order_id,
        reason=reason,
        parked=parked,
        effect=ReportedEffect(**effect),
        report=of,
        opened_ns=900,
    )


def _resolution(opened: ExecutionBreak, action: BreakAction) -> BreakResolution:
    return BreakResolution(
        break_id=opened.break_id,
        account_id=opened.account_id,
        command_id="r",
        action=action,
        note="seen on the venue's screen",
        resolved=opened,
        resolved_ns=950,
    )


def test_cancel_when_order_was_denied_then_answered_with_no(stage: Any, make: Any) -> None:
    stage.handle(RISK_DECISIONS, "A", make.decision(make.intent(), ReasonCode.MARK_STALE))
    event = make.bodies(stage.handle(ORDERS_CANCELS, "A", make.cancel()), ORDERS_EVENTS)[0]
    assert (event.state, event.revision, event.text) == (OrderState.DENIED, 2, "cancel rejected: the order is DENIED")


def test_closed_orders_and_fills_are_bounded_and_views_follow(stage: Any, make: Any) -> None:
    shown: dict[tuple[str, str], Any] = {}
    _accept(stage, make, "open")
    for number in range(CLOSED_ORDERS_RETAINED + 3):
        handled = [*_accept(stage, make, str(number)), *_fill(stage, make, f"A.{number}")]
        for view in (one for one in handled if isinstance(one, View)):
            shown[view.name, view.key] = view.data
            if view.data is None:
                del shown[view.name, view.key]
    assert len(stage.rows("orders")) == CLOSED_ORDERS_RETAINED + 1
    assert len(stage.rows("reports")) == 2 * CLOSED_ORDERS_RETAINED
    assert len(stage.rows("fills")) == FILLS_RETAINED
    assert b"A.open" in stage.rows("orders") and b"A.2" not in stage.rows("orders")
    refilled = {(view.name, view.key): view.data for view in stages.views(stage.tables)}
    del refilled["order", "A.open"]
    assert refilled == shown


def test_refused_cancel_when_its_order_is_forgotten_then_nothing(stage: Any, make: Any) -> None:
    refused = make.report(3, ExecType.CANCEL_REJECTED, order_id="A.gone")
    assert stage.handle(ORDERS_EXECUTIONS, "A", refused) == []
    assert stage.state() == {}


def test_refused_cancel_when_reported_again_then_one_event(stage: Any, make: Any) -> None:
    _accept(stage, make)
    refused = make.report(3, ExecType.CANCEL_REJECTED, text="too late")
    assert len(make.bodies(stage.handle(ORDERS_EXECUTIONS, "A", refused), ORDERS_EVENTS)) == 1
    assert stage.handle(ORDERS_EXECUTIONS, "A", refused) == []
