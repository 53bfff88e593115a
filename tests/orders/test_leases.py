"""Leases: who is overdue, what a lapse cancels, and that it cancels once, whoever notices it and how often."""

from typing import Any

import pytest
from common.contracts.cancels import CancelOutcome, CancelReport
from common.contracts.events import Decision, OrderEvent, OrderState, VenueCancel, VenueOrder
from common.contracts.leases import LeaseKept, LeaseLapsed, LeaseReleased
from common.contracts.topics import ORDERS_CANCEL_REPORTS, ORDERS_EVENTS, ORDERS_LEASES, RISK_DECISIONS, VENUE_ORDERS
from hypothesis import given, settings
from hypothesis import strategies as st
from orders import stages
from orders.domain.cancels import PENDING_MAX
from orders.domain.leases import AGAIN_S, BLIND_S, LEASES_MAX, Held, LeaseWatch
from orders.lease_watch import Lapses
from orders.leases import held
from streams.model.errors import Retriable
from streams.model.message import Output, View
from streams.model.topics import Topic

from tests.orders.world import World, order

Handled = list[Output | View]
DONE, PENDING, TOO_MANY = CancelOutcome.DONE, CancelOutcome.PENDING, CancelOutcome.TOO_MANY_PENDING


class Room:
    """The lifecycle stage, with intents at offsets that the test gives and leases in the order of their coming."""

    def __init__(self, make: Any) -> None:
        self.make = make
        self.bench = make.bench(stages.handle, stages.TABLES)
        self._offset = -1

    def decide(self, client_order_id: str, offset: int, account_id: str = "A") -> Handled:
        decision: Decision = self.make.decision(
            self.make.intent(client_order_id, account_id=account_id), intent_offset=offset
        )
        handled: Handled = self.bench.handle(RISK_DECISIONS, account_id, decision)
        return handled

    def hear(self, request: LeaseKept | LeaseReleased | LeaseLapsed) -> Handled:
        self._offset += 1
        handled: Handled = self.bench.handle(ORDERS_LEASES, request.account_id, request, self._offset)
        return handled

    def keep(self, lease_id: str = "desk", **changes: Any) -> int:
        """The place of the record."""
        assert self.outcomes(self.hear(self.make.lease(lease_id, **changes))) == [DONE]
        return self._offset

    def lapse(self, kept_offset: int, intents_offset: int, lease_id: str = "desk") -> Handled:
        return self.hear(self.make.lapse(kept_offset, intents_offset, lease_id))

    def outcomes(self, handled: Handled) -> list[CancelOutcome]:
        reports: list[CancelReport] = self.make.bodies(handled, ORDERS_CANCEL_REPORTS)
        assert all(report.cancel_offset == -1 for report in reports), "it is nobody's answer to a cancel"
        return [report.outcome for report in reports]

    def canceled(self, handled: Handled) -> list[str]:
        events: list[OrderEvent] = self.make.bodies(handled, ORDERS_EVENTS)
        return [event.order_id for event in events if event.state is OrderState.PENDING_CANCEL]

    def to_venue(self, handled: Handled) -> list[type]:
        return [type(body) for body in self.make.bodies(handled, VENUE_ORDERS)]


@pytest.fixture
def room(make: Any) -> Room:
    return Room(make)


# --- the stage -------------------------------------------------------------------------------------------------------


def test_lapse_cancels_the_orders_that_the_lease_stands_for_and_says_why(room: Room) -> None:
    for number, client_order_id in enumerate(("desk-1", "desk-2", "algo-1")):
        room.decide(client_order_id, number)
    room.decide("desk-1", 3, account_id="AB")
    kept = room.keep(order_prefix="desk-")
    handled = room.lapse(kept, 4)
    assert room.canceled(handled) == ["A.desk-1", "A.desk-2"]
    assert {event.text for event in room.make.bodies(handled, ORDERS_EVENTS)} == {
        "cancel requested: lease desk has lapsed"
    }
    (report,) = room.make.bodies(handled, ORDERS_CANCEL_REPORTS)
    assert (report.outcome, report.affected, report.lease_offset) == (DONE, ("A.desk-1", "A.desk-2"), kept + 1)
    assert room.bench.rows("leases") == {}


def test_lapse_without_a_prefix_concerns_all_orders_of_the_account(room: Room) -> None:
    room.decide("1", 0)
    room.decide("x", 1)
    assert room.canceled(room.lapse(room.keep(), 2)) == ["A.1", "A.x"]


def test_lapse_when_the_lease_was_kept_since_then_nothing(room: Room) -> None:
    """The holder came back within the grace: his record stands before the lapse, whoever wrote what first."""
    room.decide("1", 0)
    first = room.keep()
    second = room.keep()
    handled = room.lapse(first, 1)
    assert (room.canceled(handled), room.outcomes(handled)) == ([], [DONE])
    assert held(room.bench.tables) == {("A", "desk"): Held(second, 10_000)}


def test_lapse_when_noticed_twice_then_what_was_entered_since_stays(room: Room) -> None:
    room.decide("1", 0)
    kept = room.keep()
    assert room.canceled(room.lapse(kept, 1)) == ["A.1"]
    room.decide("2", 1)
    assert room.canceled(room.lapse(kept, 2)) == []
    again = room.keep()
    assert room.canceled(room.lapse(kept, 2)) == []
    assert room.canceled(room.lapse(again, 2)) == ["A.2"]


def test_released_lease_leaves_its_orders(room: Room) -> None:
    room.decide("1", 0)
    kept = room.keep()
    released = room.hear(LeaseReleased(account_id="A", lease_id="desk", sent_ns=1))
    assert (room.canceled(released), room.outcomes(released)) == ([], [DONE])
    assert room.canceled(room.lapse(kept, 1)) == []


def test_lapse_while_the_gate_is_behind_then_its_orders_are_canceled_as_they_begin(room: Room) -> None:
    kept = room.keep(order_prefix="desk-")
    assert room.outcomes(room.lapse(kept, 3)) == [PENDING]
    begun = room.decide("desk-1", 0)
    assert room.to_venue(begun) == [VenueOrder, VenueCancel]
    assert room.make.bodies(begun, ORDERS_EVENTS)[-1].text == "cancel requested: lease desk has lapsed"
    assert room.to_venue(room.decide("algo-1", 1)) == [VenueOrder]
    assert room.outcomes(room.decide("desk-2", 2))[-1] is DONE
    assert room.to_venue(room.decide("desk-3", 3)) == [VenueOrder], "entered after the lapse"


def test_lapse_when_as_many_cancels_as_are_kept_wait_then_the_lease_stays_to_lapse_later(room: Room) -> None:
    kept = room.keep()
    for number in range(PENDING_MAX):
        assert room.outcomes(room.lapse(room.keep(f"other{number}"), 9, f"other{number}")) == [PENDING]
    assert room.outcomes(room.lapse(kept, 9)) == [TOO_MANY]
    assert set(held(room.bench.tables)) == {("A", "desk")}


def test_lease_beyond_those_that_an_account_may_have_is_refused_and_others_are_kept(room: Room) -> None:
    for number in range(LEASES_MAX):
        room.keep(str(number))
    assert room.outcomes(room.hear(room.make.lease("more"))) == [TOO_MANY]
    room.keep("0")
    room.keep("more", account_id="A-")
    assert len(held(room.bench.tables)) == LEASES_MAX + 1


LEASES = ("p", "q")
STEP = st.one_of(
    st.tuples(st.just("submit"), st.sampled_from(["A.p-1", "A.p-2", "A.q-1", "A.q-2", "B.p-1"])),
    st.tuples(st.just("decide"), st.just("")),
    st.tuples(st.just("keep"), st.sampled_from(LEASES)),
    st.tuples(st.just("release"), st.sampled_from(LEASES)),
    st.tuples(st.just("notice"), st.sampled_from(LEASES)),
    st.tuples(st.just("look"), st.just("")),
    st.tuples(st.just("read"), st.just("")),
)


class Log:
    """The records of leases in their order, and beside them the intents; each process has read as far as it has."""

    def __init__(self, make: Any) -> None:
        self.room = Room(make)
        self.intents: list[str] = []
        self.records: list[Any] = []
        self.decided = self.read = 0
        self.entered: dict[str, int] = {}
        self.seen: dict[str, int] = {}
        """Lease → newest record as an observer has it, who looks now and then."""
        self.venue_cancels: list[str] = []

    def write(self, kind: str, lease_id: str) -> None:
        make = self.room.make
        if kind == "keep":
            self.records.append(make.lease(lease_id, order_prefix=f"{lease_id}-"))
        elif kind == "release":
            self.records.append(LeaseReleased(account_id="A", lease_id=lease_id, sent_ns=1))
        elif lease_id in self.seen:
            self.records.append(make.lapse(self.seen[lease_id], len(self.intents), lease_id))

    def step(self, kind: str, name: str) -> None:
        match kind:
            case "submit":
                self.entered.setdefault(name, len(self.intents))
                self.intents.append(name)
            case "decide":
                self.decide()
            case "look":
                self.seen = {lease: row.kept_offset for (_, lease), row in held(self.room.bench.tables).items()}
            case "read":
                self.hear()
            case _:
                self.write(kind, name)

    def decide(self) -> None:
        if self.decided < len(self.intents):
            order_id, offset = self.intents[self.decided], self.decided
            self.decided += 1
            account_id, client_order_id = order_id.split(".")
            made = self.room.make.intent(client_order_id, account_id=account_id)
            repeat = self.entered[order_id] != offset
            decision = self.room.make.decision(made, intent_offset=offset, repeat=repeat)
            self._note(self.room.bench.handle(RISK_DECISIONS, account_id, decision))

    def hear(self) -> None:
        if self.read < len(self.records):
            request, offset = self.records[self.read], self.read
            self.read += 1
            self._note(self.room.bench.handle(ORDERS_LEASES, "A", request, offset))

    def _note(self, handled: Handled) -> None:
        for body in self.room.make.bodies(handled, VENUE_ORDERS):
            if isinstance(body, VenueCancel):
                self.venue_cancels.append(body.order_id)

    def concerned(self) -> set[str]:
        """By the log alone: orders before a lapse that names the newest record of its lease."""
        newest: dict[str, int | None] = {}
        found: set[str] = set()
        for offset, record in enumerate(self.records):
            match record:
                case LeaseKept():
                    newest[record.lease_id] = offset
                case LeaseReleased():
                    newest[record.lease_id] = None
                case LeaseLapsed() if newest.get(record.lease_id) == record.kept_offset:
                    newest[record.lease_id] = None
                    mine = (each for each in self.entered if each.startswith(f"A.{record.lease_id}-"))
                    found |= {each for each in mine if self.entered[each] < record.intents_offset}
        return found


@settings(max_examples=400, deadline=None)
@given(steps=st.lists(STEP, max_size=60))
def test_orders_are_canceled_once_and_exactly_where_nobody_kept_their_lease(make_once: Any, steps: list[Any]) -> None:
    """Whatever the interleaving of holders, observers with old news, the gate and the lifecycle."""
    log = Log(make_once)
    for kind, name in steps:
        log.step(kind, name)
    while log.read < len(log.records):
        log.hear()
    while log.decided < len(log.intents):
        log.decide()
    concerned = log.concerned()
    states = {each.order_id: each.state for each in log.room.bench.rows("orders").values()}
    pending = {order_id for order_id, state in states.items() if state is OrderState.PENDING_CANCEL}
    assert pending == concerned
    assert sorted(log.venue_cancels) == sorted(concerned), "the venue is asked once"
    assert all(row.pending == () for row in log.room.bench.rows("accounts").values())


# --- the watch -------------------------------------------------------------------------------------------------------

GRACE_S = 10.0
HELD = Held(7, int(GRACE_S * 1_000))


def _looks(watch: LeaseWatch[str], lease: Held, begin_s: float, end_s: float) -> list[float]:
    """Looks twice a second; the times at which the lease was overdue."""
    times = [begin_s + n / 2 for n in range(int((end_s - begin_s) * 2) + 1)]
    return [now_s for now_s in times if watch.look({"a": lease}, now_s)]


def test_lease_that_nobody_keeps_is_overdue_after_its_grace_and_again_until_it_is_gone() -> None:
    watch: LeaseWatch[str] = LeaseWatch()
    assert _looks(watch, HELD, 100, 125) == [110, 110 + AGAIN_S, 110 + 2 * AGAIN_S, 125]
    assert watch.look({}, 125.5) == []


@given(waits_s=st.lists(st.floats(0.5, GRACE_S - 0.5), max_size=12))
def test_lease_that_is_kept_in_time_is_never_overdue(waits_s: list[float]) -> None:
    watch: LeaseWatch[str] = LeaseWatch()
    now_s = 100.0
    for kept_offset, wait_s in enumerate(waits_s):
        assert _looks(watch, Held(kept_offset, HELD.grace_ms), now_s, now_s + wait_s) == []
        now_s += wait_s


def test_watch_that_could_not_look_for_long_gives_every_holder_his_grace_again() -> None:
    """A suspended process, or a log that nobody could write to: nobody could be heard meanwhile."""
    watch: LeaseWatch[str] = LeaseWatch()
    assert _looks(watch, HELD, 100, 109) == []
    back_s = 109 + BLIND_S + 1
    assert _looks(watch, HELD, back_s, back_s + GRACE_S) == [back_s + GRACE_S]


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


async def test_lapse_is_put_on_the_log_behind_every_order_and_again_where_the_log_was_away(make: Any) -> None:
    world, clock = World(make), Clock()
    hears = True
    lapses = Lapses(lambda: [world.bench.tables], lambda: hears, world, world, clock, lambda: 1)
    async with world.client() as client:
        kept = await client.post("/v1/accounts/A/leases/desk", json={"grace_ms": 10_000})
        assert (kept.status_code, kept.json()) == (200, {"account_id": "A", "lease_id": "desk", "held": True})
        assert (await client.post("/v1/orders", json=order(1))).status_code == 201
        for clock.now_s in (0.0, 3.0, 6.0, 9.0):
            await lapses.look()
        send = world.send

        async def away(topic: Topic, key: bytes, body: Any) -> tuple[int, int]:
            raise Retriable("no broker")

        world.send = away  # type: ignore[method-assign]
        clock.now_s = 10.0
        await lapses.look()
        world.send = send  # type: ignore[method-assign]
        hears = False
        clock.now_s = 14.0
        await lapses.look()
        assert world.state("A.1") is OrderState.WORKING
        hears = True
        clock.now_s = 15.0
        await lapses.look()
        world.settle()
        assert world.state("A.1") is OrderState.CANCELED
        clock.now_s = 16.0
        await lapses.look()
    assert held(world.bench.tables) == {}


# --- the API ---------------------------------------------------------------------------------------------------------


async def test_lease_when_kept_released_or_one_too_many_then_told_so(make: Any) -> None:
    world = World(make)
    async with world.client() as client:
        for number in range(LEASES_MAX):
            assert (await client.post(f"/v1/accounts/A/leases/{number}", json={"grace_ms": 1_000})).status_code == 200
        refused = await client.post("/v1/accounts/A/leases/more", json={"grace_ms": 1_000})
        assert (refused.status_code, refused.json()["type"]) == (429, "urn:tidemark:problem:too-many-leases")
        assert refused.headers["Retry-After"]
        for _ in range(2):
            released = await client.delete("/v1/accounts/A/leases/0")
            assert (released.status_code, released.json()["held"]) == (200, False)
        body = {"order_prefix": "web-", "grace_ms": 2_000}
        assert (await client.post("/v1/accounts/A/leases/more", json=body)).status_code == 200
    assert world.bench.rows("leases")[b"A.more"].order_prefix == "web-"


@pytest.mark.parametrize(
    "body", [{}, {"grace_ms": 999}, {"grace_ms": 300_001}, {"grace_ms": 2_000, "order_prefix": "a."}]
)
async def test_lease_when_malformed_then_400_and_none_is_held(make: Any, body: dict[str, Any]) -> None:
    world = World(make)
    async with world.client() as client:
        assert (await client.post("/v1/accounts/A/leases/desk", json=body)).status_code == 400
        assert (await client.post("/v1/accounts/A/leases/a.b", json={"grace_ms": 2_000})).status_code == 400
    assert not world.bench.rows("leases")
