"""Halts in the lifecycle stage: what is open is canceled, once, and so is what was accepted before and begins after."""

from typing import Any

import pytest
from common.contracts.controls import FIRM, ControlResult, Controls, StateSet, TradingState
from common.contracts.events import ExecType, OrderState, VenueCancel, VenueOrder
from common.contracts.topics import ORDERS_EVENTS, ORDERS_EXECUTIONS, RISK_CONTROLS
from orders.halts import HALTED_TEXT
from streams.model.message import Output, View

from tests.orders.test_cancels_stage import Room

Handled = list[Output | View]


class HaltRoom(Room):
    seq = 0

    def controls(self, *halted: str | None, account_id: str = FIRM, seq: int | None = None) -> Handled:
        """In which symbols trading is halted now; None: in all."""
        self.seq = self.seq + 1 if seq is None else seq
        states = tuple(
            StateSet(symbol=symbol, state=TradingState.HALTED, by="cat", note="why", since_ns=1) for symbol in halted
        )
        result = ControlResult(
            account_id=account_id,
            command_id=f"c{self.seq}",
            accepted=True,
            controls=Controls(account_id=account_id, seq=self.seq, states=states),
            decided_ns=5,
            command_partition=0,
            command_offset=self.seq,
        )
        handled: Handled = self.bench.handle(RISK_CONTROLS, account_id, result)
        return handled


@pytest.fixture
def room(make: Any) -> HaltRoom:
    made = HaltRoom(make)
    made.decide("1", 1)
    made.decide("2", 2, symbol="BETA")
    made.decide("1", 3, account_id="B")
    made.decide("9", 4, denied=True)
    return made


PENDING = OrderState.PENDING_CANCEL


@pytest.mark.parametrize(
    ("account_id", "symbol", "canceled"),
    [
        (FIRM, None, ["A.1", "A.2", "B.1"]),
        (FIRM, "BETA", ["A.2"]),
        ("A", None, ["A.1", "A.2"]),
        ("A", "BETA", ["A.2"]),
        ("B", "BETA", []),
    ],
)
def test_halt_then_what_is_open_there_is_canceled_and_nothing_else(
    room: HaltRoom, account_id: str, symbol: str | None, canceled: list[str]
) -> None:
    handled = room.controls(symbol, account_id=account_id)
    assert room.states(handled) == [(order_id, PENDING) for order_id in canceled]
    assert room.to_venue(handled) == [VenueCancel] * len(canceled)


def test_halt_when_said_again_or_an_older_one_then_nothing_is_canceled_twice(room: HaltRoom) -> None:
    room.controls(None)
    assert room.controls(None, seq=1) == []
    room.decide("5", 8)
    assert room.states(room.controls(None, "BETA")) == []


def test_order_when_accepted_before_the_halt_and_begun_after_it_then_canceled_as_it_begins(room: HaltRoom) -> None:
    room.controls(None, account_id="A")
    handled = room.decide("5", 5)
    assert room.to_venue(handled) == [VenueOrder, VenueCancel]
    assert room.make.bodies(handled, ORDERS_EVENTS)[-1].text == HALTED_TEXT
    assert room.to_venue(room.decide("5", 6, account_id="B")) == [VenueOrder]


def test_trading_when_resumed_then_orders_begin_as_before_and_a_new_halt_cancels_again(room: HaltRoom) -> None:
    room.controls("BETA")
    room.controls()
    assert room.to_venue(room.decide("5", 5, symbol="BETA")) == [VenueOrder]
    assert ("A.5", PENDING) in room.states(room.controls("BETA"))


def test_order_that_ends_while_halted_then_its_end_counts(room: HaltRoom, make: Any) -> None:
    room.controls(None)
    filled = make.report(1, ExecType.TRADE, last_qty=100, last_price_e4=1_000_000, cum_qty=100, leaves_qty=0)
    handled = room.bench.handle(ORDERS_EXECUTIONS, "A", filled)
    assert room.states(handled) == [("A.1", OrderState.FILLED)]
