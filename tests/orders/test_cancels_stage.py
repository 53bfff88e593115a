"""Cancels in the lifecycle stage: whom a request concerns, what is kept of it, and that it is answered."""

from typing import Any

import pytest
from common.contracts.cancels import CancelOutcome, CancelReport
from common.contracts.events import (
    AccountStatus,
    CommandResult,
    Decision,
    ExecType,
    OrderState,
    ReasonCode,
    VenueCancel,
    VenueOrder,
)
from common.contracts.topics import (
    ORDERS_CANCEL_REPORTS,
    ORDERS_CANCELS,
    ORDERS_EVENTS,
    ORDERS_EXECUTIONS,
    RISK_DECISIONS,
    VENUE_ORDERS,
)
from common.contracts.values import RestingOrders, Side
from hypothesis import given, settings
from hypothesis import strategies as st
from orders import cancels, stages
from orders.domain.cancels import PENDING_MAX
from orders.domain.lifecycle import CLOSED
from streams.model.message import Output, View

Handled = list[Output | View]
UNKNOWN, PENDING, TOO_MANY, DONE = (
    CancelOutcome.ORDER_UNKNOWN,
    CancelOutcome.PENDING,
    CancelOutcome.TOO_MANY_PENDING,
    CancelOutcome.DONE,
)


class Room:
    """The stage; intents have the offsets that the test gives them."""

    def __init__(self, make: Any) -> None:
        self.make = make
        self.bench = make.bench(stages.handle, stages.TABLES)

    def decide(
        self, client_order_id: str, offset: int, *, account_id: str = "A", denied: bool = False, **intent: Any
    ) -> Handled:
        reason = ReasonCode.MARK_STALE if denied else None
        made = self.make.intent(client_order_id, account_id=account_id, **intent)
        decision: Decision = self.make.decision(made, reason, intent_offset=offset)
        handled: Handled = self.bench.handle(RISK_DECISIONS, account_id, decision)
        return handled

    def cancel(self, order_id: str, intents_offset: int | None, **changes: Any) -> Handled:
        request = self.make.cancel(order_id, intents_offset, **changes)
        handled: Handled = self.bench.handle(ORDERS_CANCELS, request.account_id, request)
        return handled

    def mass_cancel(self, intents_offset: int, **changes: Any) -> Handled:
        request = self.make.mass_cancel(intents_offset, **changes)
        handled: Handled = self.bench.handle(ORDERS_CANCELS, request.account_id, request)
        return handled

    def suspend(self, resting: RestingOrders = RestingOrders.CANCEL, **changes: Any) -> Handled:
        fields: dict[str, Any] = {"accepted": True, "status": AccountStatus.SUSPENDED, "account_seq": 1}
        result = CommandResult(account_id="A", command_id="c", resting=resting, decided_ns=1, **(fields | changes))
        handled: Handled = self.bench.handle(RISK_DECISIONS, "A", result)
        return handled

    def reports(self, handled: Handled) -> list[tuple[CancelOutcome, tuple[str, ...]]]:
        bodies: list[CancelReport] = self.make.bodies(handled, ORDERS_CANCEL_REPORTS)
        return [(report.outcome, report.affected) for report in bodies]

    def states(self, handled: Handled) -> list[tuple[str, OrderState]]:
        return [(order.order_id, order.state) for order in self.make.bodies(handled, ORDERS_EVENTS)]

    def to_venue(self, handled: Handled) -> list[type]:
        return [type(body) for body in self.make.bodies(handled, VENUE_ORDERS)]

    def waits(self) -> tuple[dict[bytes, str], int]:
        known = self.bench.rows("decided").get(cancels.DECIDED_KEY)
        return self.bench.rows("waits"), known.waits if known else 0


@pytest.fixture
def room(make: Any) -> Room:
    return Room(make)


# --- one order -----------------------------------------------------------------------------------------------------


def test_cancel_when_it_overtakes_the_decision_then_it_is_kept_for_it(room: Room) -> None:
    assert room.reports(room.cancel("A.1", intents_offset=8)) == [(PENDING, ())]
    handled = room.decide("1", offset=7)
    assert room.to_venue(handled) == [VenueOrder, VenueCancel]
    assert room.states(handled) == [("A.1", OrderState.ACCEPTED), ("A.1", OrderState.PENDING_CANCEL)]
    assert room.reports(handled) == []
    assert room.bench.rows("accounts")[b"A"].pending == () and room.waits() == ({}, 0)


@pytest.mark.parametrize("sent_ns", [1, 10**18])
def test_cancel_when_its_order_is_entered_later_then_no_effect_whatever_the_clocks(room: Room, sent_ns: int) -> None:
    """A clock one hour ahead, or one that stands: the intent came after the request."""
    assert room.reports(room.cancel("A.1", intents_offset=7, sent_ns=sent_ns)) == [(PENDING, ())]
    handled = room.decide("1", offset=7)
    assert room.states(handled) == [("A.1", OrderState.ACCEPTED)]
    assert room.reports(handled) == [(UNKNOWN, ())]
    assert room.to_venue(handled) == [VenueOrder]


def test_cancel_when_it_comes_to_the_stage_after_a_later_order_then_no_effect(room: Room) -> None:
    room.decide("1", offset=7)
    handled = room.cancel("A.1", intents_offset=7)
    assert (room.states(handled), room.reports(handled)) == ([], [(UNKNOWN, ())])


def test_cancel_when_every_earlier_intent_is_decided_then_unknown_at_once(room: Room) -> None:
    room.decide("1", offset=7, account_id="B")
    assert room.reports(room.cancel("A.1", intents_offset=8)) == [(UNKNOWN, ())]
    assert room.reports(room.cancel("A.1", intents_offset=None)) == [(UNKNOWN, ())]
    assert room.waits() == ({}, 0)


def test_cancel_when_anothers_decision_is_the_last_before_it_then_told_unknown(room: Room) -> None:
    room.cancel("A.1", intents_offset=8)
    room.cancel("A.2", intents_offset=9)
    assert room.reports(room.decide("1", offset=6, account_id="B")) == []
    assert room.reports(room.decide("2", offset=7, account_id="B")) == [(UNKNOWN, ())]
    assert [cancel.order_id for cancel in room.bench.rows("accounts")[b"A"].pending] == ["A.2"]


def test_cancel_when_asked_twice_before_the_decision_then_each_is_answered(room: Room) -> None:
    for _ in range(2):
        room.cancel("A.1", intents_offset=8)
    handled = room.decide("1", offset=7)
    assert room.to_venue(handled) == [VenueOrder, VenueCancel]
    assert [order.text for order in room.make.bodies(handled, ORDERS_EVENTS)] == [
        "",
        "cancel requested",
        "cancel already requested",
    ]


def test_cancel_when_its_order_is_denied_then_told_so(room: Room) -> None:
    room.cancel("A.1", intents_offset=8)
    handled = room.decide("1", offset=7, denied=True)
    assert room.make.bodies(handled, ORDERS_EVENTS)[-1].text == "cancel rejected: the order is DENIED"


def test_cancel_when_as_many_as_are_kept_wait_then_one_more_is_refused_and_none_is_lost(room: Room) -> None:
    for number in range(PENDING_MAX):
        assert room.reports(room.cancel(f"A.{number}", intents_offset=100)) == [(PENDING, ())]
    assert room.reports(room.cancel("A.more", intents_offset=100)) == [(TOO_MANY, ())]
    assert room.reports(room.cancel("B.1", intents_offset=100)) == [(PENDING, ())]
    for number in range(PENDING_MAX):
        assert room.to_venue(room.decide(str(number), offset=number)) == [VenueOrder, VenueCancel]
    assert room.to_venue(room.decide("more", offset=50)) == [VenueOrder]


def test_cancel_when_it_names_anothers_order_then_poison(room: Room) -> None:
    foreign = room.make.cancel("A.1", 8).model_copy(update={"account_id": "B"})
    for _ in range(2):
        with pytest.raises(ValueError, match="not an order of account B"):
            room.bench.handle(ORDERS_CANCELS, "B", foreign)
        room.decide("1", offset=7) if not room.bench.rows("orders") else None


def test_cancel_of_the_log_of_before_when_order_is_known_then_carried_out(room: Room) -> None:
    """Records without a place, and orders in the store whose place nobody noted."""
    room.decide("1", offset=-1)
    assert ORDERS_CANCELS.schema.decode(b'{"account_id":"A","order_id":"A.1","sent_ns":5}') == room.make.cancel(
        sent_ns=5
    )
    assert room.to_venue(room.cancel("A.1", intents_offset=None)) == [VenueCancel]


# --- many orders ---------------------------------------------------------------------------------------------------


def _orders(room: Room) -> None:
    room.decide("1", offset=1)
    room.decide("2", offset=2, side=Side.SELL)
    room.decide("3", offset=3, symbol="MSFT")
    room.decide("4", offset=4, denied=True)
    room.decide("1", offset=5, account_id="A-")
    room.decide("1", offset=6, account_id="AB")


@pytest.mark.parametrize(
    ("filters", "affected"),
    [
        ({}, ("A.1", "A.2", "A.3")),
        ({"symbol": "AAPL"}, ("A.1", "A.2")),
        ({"side": Side.SELL}, ("A.2",)),
        ({"symbol": "MSFT", "side": Side.SELL}, ()),
    ],
)
def test_mass_cancel_asks_for_the_open_orders_it_names(
    room: Room, filters: dict[str, Any], affected: tuple[str, ...]
) -> None:
    _orders(room)
    handled = room.mass_cancel(7, **filters)
    assert room.states(handled) == [(order_id, OrderState.PENDING_CANCEL) for order_id in affected]
    assert room.reports(handled) == [(DONE, affected)]
    again = room.mass_cancel(7, **filters)
    assert (room.states(again), room.reports(again)) == ([], [(DONE, affected)]), "the venue is asked once"


def test_mass_cancel_when_orders_are_undecided_then_kept_for_those_before_it(room: Room) -> None:
    room.decide("1", offset=1)
    assert room.reports(room.mass_cancel(4)) == [(PENDING, ("A.1",))]
    early = room.decide("2", offset=2)
    assert room.states(early)[-1] == ("A.2", OrderState.PENDING_CANCEL)
    assert room.reports(early) == [(PENDING, ("A.2",))]
    assert room.reports(room.decide("3", offset=3, denied=True)) == [(DONE, ())]
    late = room.decide("4", offset=4)
    assert (room.states(late), room.reports(late)) == ([("A.4", OrderState.ACCEPTED)], [])
    assert room.waits() == ({}, 0)


def test_mass_cancel_is_kept_although_cancels_of_single_orders_fill_their_places(room: Room) -> None:
    for number in range(PENDING_MAX):
        room.cancel(f"A.{number}", intents_offset=100)
    for _ in range(PENDING_MAX):
        assert room.reports(room.mass_cancel(100)) == [(PENDING, ())]
    assert room.reports(room.mass_cancel(100)) == [(TOO_MANY, ())]


# --- suspension ----------------------------------------------------------------------------------------------------


def test_suspension_cancels_what_is_open_and_names_it(room: Room) -> None:
    _orders(room)
    handled = room.suspend()
    assert room.states(handled) == [(f"A.{n}", OrderState.PENDING_CANCEL) for n in (1, 2, 3)]
    assert {order.text for order in room.make.bodies(handled, ORDERS_EVENTS)} == {cancels.SUSPENDED_TEXT}
    (report,) = room.make.bodies(handled, ORDERS_CANCEL_REPORTS)
    assert (report.command_id, report.cancel_offset, report.affected) == ("c", -1, ("A.1", "A.2", "A.3"))


@pytest.mark.parametrize(
    "changes", [{"resting": RestingOrders.KEEP}, {"repeat": True}, {"accepted": False}, {"resting": None}]
)
def test_suspension_when_it_keeps_or_was_answered_before_or_not_done_then_nothing(
    room: Room, changes: dict[str, Any]
) -> None:
    _orders(room)
    assert room.suspend(**changes) == []


def test_fill_that_crosses_the_suspension_still_counts(room: Room) -> None:
    room.decide("1", offset=1)
    room.suspend()
    room.bench.handle(ORDERS_EXECUTIONS, "A", room.make.report(1, ExecType.NEW, leaves_qty=100))
    trade = {"last_qty": 40, "last_price_e4": 990_000, "cum_qty": 40, "leaves_qty": 60}
    room.bench.handle(ORDERS_EXECUTIONS, "A", room.make.report(2, ExecType.TRADE, **trade))
    room.bench.handle(ORDERS_EXECUTIONS, "A", room.make.report(3, ExecType.CANCELED, cum_qty=40))
    order = room.bench.rows("orders")[b"A.1"]
    assert (order.state, order.cum_qty) == (OrderState.CANCELED, 40)


# --- any interleaving ------------------------------------------------------------------------------------------------

CLOCK = st.integers(0, 2**63 - 1)
ID = st.sampled_from(["A.1", "A.2", "B.1"])
STEP = st.one_of(
    st.tuples(st.just("submit"), ID, CLOCK, st.booleans()),
    st.tuples(st.just("cancel"), ID, CLOCK),
    st.tuples(st.just("mass"), st.sampled_from(["A", "B"]), CLOCK),
    st.tuples(st.just("decide"), st.just(""), st.just(0)),
    st.tuples(st.just("read"), st.just(""), st.just(0)),
)


class Log:
    """The API's writes, and how far gate and lifecycle have come: the two topics have no common order."""

    def __init__(self, make: Any) -> None:
        self.room = Room(make)
        self.intents: list[tuple[str, int, bool]] = []
        self.cancels: list[tuple[str, int, int]] = []
        """Order or account, end of the intents when it came in, the client's clock."""
        self.decided = self.read = 0
        self.entered: dict[str, int] = {}
        self.answers: dict[int, list[Any]] = {}
        self.asked: dict[str, set[int]] = {}
        """Order → requests after which the order was on its way out."""

    def submit(self, order_id: str, sent_ns: int, denied: bool) -> None:
        self.entered.setdefault(order_id, len(self.intents))
        self.intents.append((order_id, sent_ns, denied))

    def cancel(self, name: str, sent_ns: int) -> None:
        self.cancels.append((name, len(self.intents), sent_ns))

    def decide(self) -> None:
        """The lifecycle handles the next decision; a repeated id concerns no order."""
        if self.decided == len(self.intents):
            return
        (order_id, sent_ns, denied), offset = self.intents[self.decided], self.decided
        self.decided += 1
        account_id, client_order_id = order_id.split(".")
        made = self.room.make.intent(client_order_id, account_id=account_id, sent_ns=sent_ns)
        repeat = self.entered[order_id] != offset
        reason = ReasonCode.MARK_STALE if denied else None
        decision = self.room.make.decision(made, reason, intent_offset=offset, repeat=repeat)
        self._note(self.room.bench.handle(RISK_DECISIONS, account_id, decision))

    def read_cancel(self) -> None:
        """The lifecycle handles the next cancel request."""
        if self.read == len(self.cancels):
            return
        (name, end, sent_ns), offset = self.cancels[self.read], self.read
        self.read += 1
        if "." in name:
            request: Any = self.room.make.cancel(name, end, sent_ns=sent_ns)
        else:
            request = self.room.make.mass_cancel(end, account_id=name)
        handled = self.room.bench.handle(ORDERS_CANCELS, request.account_id, request, offset)
        self._note(handled)
        if "." in name and any("cancel" in order.text for order in self.room.make.bodies(handled, ORDERS_EVENTS)):
            self.answers.setdefault(offset, []).append("event")

    def _note(self, handled: Handled) -> None:
        for report in self.room.make.bodies(handled, ORDERS_CANCEL_REPORTS):
            self.answers.setdefault(report.cancel_offset, []).append(report.outcome)


@settings(max_examples=400, deadline=None)
@given(steps=st.lists(STEP, max_size=40))
def test_a_cancel_concerns_exactly_the_orders_in_the_log_when_it_came(make_once: Any, steps: list[Any]) -> None:
    """Whatever the interleaving of requests, decisions and reads, and whatever the clients' clocks say."""
    log = Log(make_once)
    for kind, name, sent_ns, *denied in steps:
        match kind:
            case "submit":
                log.submit(name, sent_ns, denied[0])
            case "cancel" | "mass":
                log.cancel(name, sent_ns)
            case "decide":
                log.decide()
            case "read":
                log.read_cancel()
    while log.read < len(log.cancels):
        log.read_cancel()
    while log.decided < len(log.intents):
        log.decide()
    orders = {order.order_id: order for order in log.room.bench.rows("orders").values()}
    for order_id, entered in log.entered.items():
        concerned = any(name in (order_id, order_id[0]) and entered < end for name, end, _ in log.cancels)
        order = orders[order_id]
        denied_at_entry = log.intents[entered][2]
        assert (order.state in CLOSED) == denied_at_entry
        assert (order.state is OrderState.PENDING_CANCEL) == (concerned and not denied_at_entry), order
    _answered(log)
    assert all(row.pending == () for row in log.room.bench.rows("accounts").values())
    assert log.room.waits() == ({}, 0)


def _answered(log: Log) -> None:
    """Every request has its answer: an event of its order, or a report; after a pending one another word comes."""
    for offset, (name, end, _) in enumerate(log.cancels):
        said = log.answers.get(offset, [])
        if "." not in name:
            assert said[-1] is DONE, said
        elif log.entered.get(name, end) < end:
            assert said in (["event"], [PENDING]), "at once, or by the event that came with the decision"
        else:
            assert said in ([UNKNOWN], [PENDING, UNKNOWN])
