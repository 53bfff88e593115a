"""Sessions of accounts, from events of their orders: what comes late, bridges two, comes twice, or is cut anyhow."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from common.contracts.events import OrderEvent, OrderState
from common.contracts.topics import ORDERS_EVENTS, ORDERS_SESSIONS
from common.contracts.trader_sessions import LateOrderEvent, TraderSession
from common.contracts.views import CLOSED_ORDERS_RETAINED
from common.contracts.windows import Window
from hypothesis import given, settings
from hypothesis import strategies as st
from signals.settings import SignalsSettings
from signals.trader_stage import TraderStage
from signals.trader_tables import COUNTS, TABLES
from streams.model.blocks import Answers
from streams.model.message import Message, Output
from streams.testing.tables import MemoryTables

from tests.signals.trader_referee import (
    BEGIN_NS,
    S,
    Sessions,
    acts,
    after,
    events_of,
    first,
    late_of,
    newest,
    sessions_of,
)

GAPS = (5 * S, 30 * S)
LATENESS_NS = 20 * S
PARTITION = 2
CUTS = st.lists(st.integers(0, 10_000), max_size=4)
STAGE = TraderStage(GAPS, LATENESS_NS)


def message(event: OrderEvent, *, framed: bool = False) -> Message:
    text, framing = ORDERS_EVENTS.schema.encode(event), ORDERS_EVENTS.schema.framing
    assert framing is not None
    value = framing.framed(text) if framed else text
    return Message(ORDERS_EVENTS, PARTITION, 0, event.account_id.encode(), value, 0)


def tables() -> MemoryTables:
    return MemoryTables(TABLES, PARTITION)


def one_by_one(events: Iterable[OrderEvent], into: MemoryTables | None = None, stage: TraderStage = STAGE) -> list[Any]:
    """Bodies of all records, an event at a time."""
    kept, found = into or tables(), []
    for event in events:
        for output in stage.handle(message(event), kept, 0):
            assert isinstance(output, Output)
            assert (output.topic, output.partition) == (ORDERS_SESSIONS, PARTITION)
            found.append(ORDERS_SESSIONS.schema.decode(output.body))
            assert output.key == found[-1].account_id.encode()
    return found


def at_once(events: Sequence[OrderEvent], cuts: Iterable[int], *, framed: bool = False) -> list[Any]:
    """The same in batches."""
    kept, found = tables(), []
    edges = [0, *sorted(cut % (len(events) + 1) for cut in cuts), len(events)]
    for begin, end in pairwise(edges):
        batch = [message(event, framed=framed) for event in events[begin:end]]
        for said in STAGE.handle_batch(batch, kept, 0):
            assert isinstance(said, Answers), "every event is as this release writes it"
            for block in said.outputs:
                found += [ORDERS_SESSIONS.schema.decode(value or b"") for _, value, *_ in block.records(0, {})]
    return found


@settings(deadline=None, max_examples=200)
@given(acts(behind_s_max=45))
def test_sessions_in_whatever_order_events_come_then_those_of_the_referee_and_every_event_is_in_one_or_late(
    listed: Any,
) -> None:
    events, kept = events_of(listed), tables()
    records = one_by_one(events, kept)
    expected = sessions_of(events, GAPS, LATENESS_NS)
    late = late_of(events, LATENESS_NS)
    assert newest(records) == expected
    assert [each for each in records if isinstance(each, LateOrderEvent)] == late
    for gap_ns in GAPS:
        held = sum(session.events for (_, gap, _), session in expected.items() if gap == gap_ns)
        assert held + len(late) == len(events)
    counts = kept.changelogged("counts").get(COUNTS)
    assert counts is not None
    assert (counts.windowed + counts.late, counts.late, counts.repeated) == (len(events), len(late), 0)


@settings(deadline=None, max_examples=100)
@given(acts(behind_s_max=45), CUTS, st.booleans())
def test_sessions_when_events_are_cut_into_batches_then_the_last_record_of_each_is_the_same(
    listed: Any, cuts: list[int], framed: bool
) -> None:
    events = events_of(listed)
    assert last_records(at_once(events, cuts, framed=framed)) == last_records(one_by_one(events))


def last_records(records: Iterable[Any]) -> dict[Any, Any]:
    """Those taken back, and late events, too."""
    return {
        (each.account_id, each.gap_ns, each.start_ns)
        if isinstance(each, TraderSession)
        else (each.order_id, each.order_revision): each
        for each in records
    }


@settings(deadline=None, max_examples=100)
@given(acts(behind_s_max=0), st.lists(st.integers(0, LATENESS_NS // S), min_size=40, max_size=40))
def test_sessions_when_events_are_shuffled_within_the_lateness_then_those_of_the_sorted_events(
    listed: Any, delays_s: list[int]
) -> None:
    events = events_of(listed)
    comes_ns: dict[str, int] = defaultdict(int)
    order = []
    for event, delay_s in zip(events, delays_s, strict=False):
        # The events of one order come in their order, as the log has them.
        comes_ns[event.order_id] = max(comes_ns[event.order_id], event.updated_ns + delay_s * S)
        order.append(comes_ns[event.order_id])
    shuffled = [events[at] for at in sorted(range(len(events)), key=order.__getitem__)]
    assert late_of(shuffled, LATENESS_NS) == []
    assert newest(one_by_one(shuffled)) == newest(one_by_one(events))


@settings(deadline=None, max_examples=50)
@given(acts(behind_s_max=45))
def test_records_of_a_session_then_each_is_greater_than_the_one_before_and_what_is_taken_back_leads_to_who_has_it(
    listed: Any,
) -> None:
    records = [each for each in one_by_one(events_of(listed)) if isinstance(each, TraderSession)]
    revisions: dict[Any, int] = {}
    for each in records:
        name = each.account_id, each.gap_ns, each.start_ns
        assert each.revision > revisions.get(name, 0)
        assert (each.into_ns is None) == (each.events > 0)
        revisions[name] = each.revision
    standing, last = newest(records), last_records(records)
    for (account_id, gap_ns, _), each in last.items():
        while each.into_ns is not None:
            assert each.into_ns < each.start_ns
            each = last[account_id, gap_ns, each.into_ns]
        assert (account_id, gap_ns, each.start_ns) in standing


def brief(sessions: Sessions, gap_ns: int) -> list[tuple[int, int, int]]:
    """Start and end in seconds, and events."""
    return [
        ((each.start_ns - BEGIN_NS) // S, (each.end_ns - BEGIN_NS) // S, each.events)
        for (_, gap, _), each in sorted(sessions.items())
        if gap == gap_ns
    ]


def at(seconds: int) -> int:
    return BEGIN_NS + seconds * S


def test_late_event_when_it_bridges_two_sessions_then_they_are_one_and_the_later_says_into_which_it_went() -> None:
    apart = [first("A", 0, at(0)), first("A", 2, at(8))]
    kept = tables()
    assert brief(newest(before := one_by_one(apart, kept)), GAPS[0]) == [(0, 5, 1), (8, 13, 1)]
    records = one_by_one([first("A", 4, at(4))], kept)
    assert brief(newest([*before, *records]), GAPS[0]) == [(0, 13, 3)]
    (taken_back,) = [each for each in records if each.gap_ns == GAPS[0] and not each.events]
    assert (taken_back.start_ns, taken_back.into_ns, taken_back.revision) == (at(8), at(0), 2)


def test_events_that_are_a_gap_apart_then_two_sessions_and_one_ns_less_then_one() -> None:
    assert len(newest(one_by_one([first("A", 0, at(0)), first("A", 2, at(5))], stage=TraderStage((5 * S,), 0)))) == 2
    near = [first("A", 0, at(0)), first("A", 2, at(5) - 1)]
    assert len(newest(one_by_one(near, stage=TraderStage((5 * S,), 0)))) == 1


def test_numbers_of_a_session_then_what_was_entered_executed_taken_back_and_canceled() -> None:
    bought, sold, denied = first("A", 0, at(0), qty=10), first("A", 1, at(1), qty=7), first("A", 2, at(1), denied=True)
    part = after(bought, at(2), cum_qty=6, notional_e4=600, state=OrderState.PARTIALLY_FILLED)
    corrected = after(part, at(2), notional_e4=606)
    busted = after(corrected, at(3), cum_qty=4, notional_e4=404)
    gone = after(busted, at(4), state=OrderState.CANCELED, leaves_qty=0)
    asked_again = after(gone, at(4), text="cancel rejected: the order is CANCELED")
    filled = after(sold, at(4), cum_qty=7, notional_e4=700, state=OrderState.FILLED)
    events = [bought, sold, denied, part, corrected, busted, gone, asked_again, filled]
    (session,) = newest(one_by_one(events, stage=TraderStage((5 * S,), 0))).values()
    assert session == TraderSession(
        account_id="A", gap_ns=5 * S, start_ns=at(0), end_ns=at(9), revision=9, events=9, orders=2, denied=1,
        fills=2, busts=1, canceled=1, rejected=0, expired=0, ordered_qty=17, filled_qty=11, canceled_qty=6,
        bought_e4=404, sold_e4=700,
    )  # fmt: skip


def test_event_when_it_comes_again_then_it_counts_once() -> None:
    kept, order = tables(), first("A", 0, at(0))
    filled = after(order, at(1), cum_qty=10, notional_e4=5, state=OrderState.FILLED)
    records = one_by_one([order, filled, order, filled], kept)
    assert {each.events for each in newest(records).values()} == {2}
    counts = kept.changelogged("counts").get(COUNTS)
    assert counts is not None
    assert (counts.windowed, counts.repeated) == (2, 2)


def test_order_when_it_is_first_met_in_the_middle_of_its_life_then_only_what_follows_is_told_from_it() -> None:
    met = after(first("A", 0, at(0)), at(1), cum_qty=6, notional_e4=600)
    records = one_by_one([met, after(met, at(2), cum_qty=8, notional_e4=800)])
    assert {(s.orders, s.fills, s.filled_qty, s.bought_e4, s.events) for s in newest(records).values()} == {
        (0, 1, 2, 200, 2)
    }


def test_closed_orders_then_as_many_are_kept_as_the_lifecycle_keeps_and_their_busts_are_counted() -> None:
    kept = tables()
    closed = [first("A", number, at(0), denied=True) for number in range(CLOSED_ORDERS_RETAINED + 3)]
    one_by_one(closed, kept)
    known = {key for key, _ in kept.changelogged("orders").prefix(b"")}
    assert known == {each.order_id.encode() for each in closed[3:]}
    filled = after(first("A", 900, at(0)), at(0), cum_qty=10, notional_e4=50, state=OrderState.FILLED)
    busted = after(filled, at(1), cum_qty=0, notional_e4=0)
    sessions = newest(one_by_one([first("A", 900, at(0)), filled, busted], kept)).values()
    assert {(each.fills, each.busts, each.filled_qty, each.bought_e4) for each in sessions} == {(1, 1, 0, 0)}


def test_sessions_that_no_event_can_join_then_they_are_kept_no_longer() -> None:
    kept = tables()
    one_by_one([first("A", number, at(number * 100)) for number in range(50)], kept)
    row = kept.changelogged("accounts").get(b"A")
    assert row is not None
    assert {gap_ns: len(sessions) for gap_ns, sessions in row.sessions.items()} == dict.fromkeys(GAPS, 1)


def test_gap_when_it_is_no_longer_kept_then_its_sessions_are_forgotten_and_the_others_go_on() -> None:
    kept = tables()
    one_by_one([first("A", 0, at(0))], kept)
    records = one_by_one([first("A", 2, at(1))], kept, TraderStage(GAPS[1:], LATENESS_NS))
    assert [(each.gap_ns, each.events) for each in records] == [(GAPS[1], 2)]
    row = kept.changelogged("accounts").get(b"A")
    assert row is not None
    assert set(row.sessions) == {GAPS[1]}


def test_value_when_it_is_no_event_then_it_is_poison_and_its_neighbours_in_the_batch_are_not() -> None:
    poison = Message(ORDERS_EVENTS, PARTITION, 1, b"A", b"\xff", 0)
    said = list(STAGE.handle_batch([message(first("A", 0, at(0))), poison, message(first("A", 2, at(1)))], tables(), 0))
    assert [each if isinstance(each, int) else each.messages for each in said] == [1, 1, 1]
    with pytest.raises(ValueError):
        list(STAGE.handle(poison, tables(), 0))


def test_settings_then_gaps_are_of_the_table_and_each_is_kept_once() -> None:
    chosen = SignalsSettings(trader_sessions=["gap:5m", "gap:30s", "gap:5m"])
    assert chosen.trader_gaps_ns == (Window("gap:30s").gap_ns, Window("gap:5m").gap_ns)
    assert SignalsSettings().trader_gaps_ns == ()
    with pytest.raises(ValueError, match=r"on:open\+close: the table has gap:30s, gap:5m"):
        SignalsSettings(trader_sessions=["on:open+close"])
