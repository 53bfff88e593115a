"""The lifecycle stage on its tables: what it keeps, what it forgets, what it says."""

from typing import Any

import pytest
from common.contracts.events import CommandResult, ExecType, OrderState, ReasonCode
from common.contracts.topics import (
    ORDERS_CANCELS,
    ORDERS_EVENTS,
    ORDERS_EXECUTIONS,
    RISK_DECISIONS,
    VENUE_ORDERS,
    market_partition,
)
from common.contracts.views import CLOSED_ORDERS_RETAINED, FILLS_RETAINED
from common.runtime.message import Output, View
from orders import stages

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


def test_report_when_order_is_unknown_then_poison_and_nothing_is_kept(stage: Any, make: Any) -> None:
    with pytest.raises(LookupError, match=r"A\.1"):
        stage.handle(ORDERS_EXECUTIONS, "A", make.report(1, ExecType.NEW, leaves_qty=100))
    assert stage.state() == {}


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


def test_refused_cancel_when_its_order_is_forgotten_then_nothing_and_any_other_report_is_poison(
    stage: Any, make: Any
) -> None:
    refused = make.report(3, ExecType.CANCEL_REJECTED, order_id="A.gone")
    assert stage.handle(ORDERS_EXECUTIONS, "A", refused) == []
    with pytest.raises(LookupError, match=r"A\.gone"):
        stage.handle(ORDERS_EXECUTIONS, "A", make.report(2, ExecType.TRADE, order_id="A.gone", **FILL))
