"""The overlay of recent orders: what the tail has brought and the projection has not passed."""

import itertools
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from common.contracts.events import AccountStatus, CommandResult, OrderEvent, OrderState, ReasonCode
from common.contracts.topics import ORDERS_EVENTS, RISK_DECISIONS, Topic
from hypothesis import given
from hypothesis import strategies as st
from orders.domain.lifecycle import begun, on_cancel, on_decision
from orders.recent import Recent
from streams.model.message import Message

EVENTS = (ORDERS_EVENTS.name, 1)


class Feed:
    """One partition of each topic; hands records on as the tail does."""

    def __init__(self, orders_max: int = 100) -> None:
        self.recent = Recent(orders_max)
        self._offsets: dict[str, Iterator[int]] = {}
        self.recent.on_started({(RISK_DECISIONS.name, 1): 0, EVENTS: 0})

    def commit(self, topic: Topic, *bodies: Any) -> list[int]:
        offsets = self._offsets.setdefault(topic.name, itertools.count(0, 2))
        messages = [
            Message(topic, 1, next(offsets), body.account_id.encode(), topic.schema.encode(body), 0) for body in bodies
        ]
        self.recent.on_messages(messages)
        return [message.offset for message in messages]


@pytest.fixture
def feed() -> Feed:
    return Feed()


def test_order_when_only_decided_then_as_its_decision_begins_it(feed: Feed, make: Any) -> None:
    accepted = make.decision(make.intent("1"))
    denied = make.decision(make.intent("2"), ReasonCode.MARK_STALE)
    feed.commit(RISK_DECISIONS, accepted, denied)
    assert feed.recent.order("A.1") == begun(accepted, accepted.decided_ns)
    assert feed.recent.event("A.1") is None
    assert feed.recent.decided("A.1") == accepted
    order = feed.recent.order("A.2")
    assert order is not None and (order.state, order.reason) == (OrderState.DENIED, ReasonCode.MARK_STALE)
    assert feed.recent.order("A.3") is None


def test_decision_begins_the_order_that_the_lifecycle_begins(make: Any) -> None:
    for decision in (make.decision(make.intent()), make.decision(make.intent(), ReasonCode.CASH_INSUFFICIENT)):
        assert on_decision(None, decision, 7).order == begun(decision, 7)


@pytest.mark.parametrize("changes", [{"repeat": True}, {"reason": ReasonCode.DUPLICATE_ID, "accepted": False}])
def test_decision_when_it_concerns_no_order_then_none_is_known(feed: Feed, make: Any, changes: dict[str, Any]) -> None:
    feed.commit(RISK_DECISIONS, make.decision(make.intent(), **changes))
    assert feed.recent.order("A.1") is None
    first = make.decision(make.intent())
    feed.commit(RISK_DECISIONS, first, make.decision(make.intent(), **changes))
    assert feed.recent.decided("A.1") == first


def test_order_is_its_newest_event_until_the_projection_has_passed_it(feed: Feed, make: Any) -> None:
    decision = make.decision(make.intent())
    first = on_decision(None, decision, 7).order
    second = on_cancel(first, 700, 8).order
    feed.commit(RISK_DECISIONS, decision)
    _, offset = feed.commit(ORDERS_EVENTS, first, second)
    assert feed.recent.order("A.1") == second
    assert feed.recent.decided("A.1") == decision
    feed.recent.on_projected({EVENTS: offset})
    assert feed.recent.order("A.1") == second
    feed.recent.on_projected({(ORDERS_EVENTS.name, 0): offset + 100})
    assert feed.recent.order("A.1") == second
    feed.recent.on_projected({EVENTS: offset + 1})
    assert feed.recent.order("A.1") is None
    assert feed.recent.event_offset("A") == offset
    # A database that is read anew may lack it.
    assert not feed.recent.covers(EVENTS, offset, 0)
    assert feed.recent.covers(EVENTS, offset + 1, 0)


def test_orders_beyond_the_bound_are_forgotten_and_the_gap_is_known(make: Any) -> None:
    feed = Feed(orders_max=3)
    orders = [on_decision(None, make.decision(make.intent(str(number))), 7).order for number in range(5)]
    offsets = feed.commit(ORDERS_EVENTS, *orders)
    assert [feed.recent.order(order.order_id) for order in orders] == [None, None, *orders[2:]]
    assert not feed.recent.covers(EVENTS, offsets[1], 0)
    assert feed.recent.covers(EVENTS, offsets[1] + 1, 0)


def test_tail_when_it_begins_late_then_earlier_orders_are_not_known(make: Any) -> None:
    feed = Feed()
    feed.recent.on_started({EVENTS: 70})
    began_ns = time.time_ns()
    # Begun anew where it was: nothing is missing.
    feed.recent.on_started({EVENTS: 70})
    assert not feed.recent.covers(EVENTS, 69, 0)
    assert feed.recent.covers(EVENTS, 70, 0)
    # The last offsets may be a transaction's marks, which nobody projects.
    assert feed.recent.covers(EVENTS, 69, began_ns)


def test_account_tells_its_newest_sequence_and_answer(feed: Feed, make: Any) -> None:
    result = CommandResult(
        account_id="A", command_id="c", accepted=True, status=AccountStatus.ACTIVE, account_seq=3, decided_ns=1
    )
    assert feed.recent.ledger_seq("A") == 0
    feed.commit(RISK_DECISIONS, result)
    assert (feed.recent.ledger_seq("A"), feed.recent.command_result("A")) == (3, result)
    feed.commit(RISK_DECISIONS, make.decision(make.intent(), account_seq=9))
    assert (feed.recent.ledger_seq("A"), feed.recent.command_result("A")) == (9, result)
    assert feed.recent.seen(1) == 3


def test_record_when_undecodable_then_its_neighbours_are_known(feed: Feed, make: Any) -> None:
    bad = [
        Message(topic, 1, 0, key, value, 0)
        for topic in (RISK_DECISIONS, ORDERS_EVENTS)
        for key, value in [(None, None), (b"A", b"garbage"), (b"\xff", b'{"order_id":"A.9"}')]
    ]
    feed.recent.on_messages(bad)
    first = on_decision(None, make.decision(make.intent()), 7).order
    feed.commit(ORDERS_EVENTS, first)
    assert feed.recent.order("A.9") is None
    assert feed.recent.ledger_seq("A") == 0
    assert feed.recent.order("A.1") == first


def _revisions(make: Any, order_id: int) -> Sequence[OrderEvent]:
    order = on_decision(None, make.decision(make.intent(str(order_id))), 7).order
    return [order.model_copy(update={"revision": revision}) for revision in range(1, 4)]


@given(
    steps=st.lists(st.tuples(st.integers(0, 9), st.integers(-1, 60)), max_size=60),
    orders_max=st.integers(1, 12),
)
def test_property_what_is_neither_kept_nor_projected_lies_before_whole_from(
    make_once: Any, steps: list[tuple[int, int]], orders_max: int
) -> None:
    """An order that is not kept is projected up to its newest event, or the overlay says that it cannot know."""
    feed = Feed(orders_max)
    newest: dict[str, tuple[int, OrderEvent]] = {}
    revisions = {number: iter(_revisions(make_once, number)) for number in range(10)}
    projected = 0
    for number, reached in steps:
        event = next(revisions[number], None)
        if event is not None:
            newest[event.order_id] = (feed.commit(ORDERS_EVENTS, event)[0], event)
        if reached > projected:
            projected = reached
            feed.recent.on_projected({EVENTS: projected})
        kept = 0
        for order_id, (offset, last) in newest.items():
            found = feed.recent.event(order_id)
            kept += found is not None
            if found is None:
                assert not feed.recent.covers(EVENTS, offset, 0)
            else:
                assert found == last
        assert kept <= orders_max
