"""Events of others become ticks, and those become books, bars and marks; what ingest wrote is left alone."""

import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import fastavro
import numpy as np
import pytest
from common.contracts.market_events import MarketEvent, MarketEventKind
from common.contracts.reference import Instrument
from common.contracts.ticks import decode_frame
from common.contracts.topics import MD_BARS, MD_EVENTS, MD_MARKS, MD_TICKS
from common.contracts.values import Side
from common.contracts.windows import EVENTS_BOUND_NS, NS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from signals import stages as market
from signals.domain.event_ticks import LEVELS_MAX
from signals.domain.venue_silence import SILENCE_NS
from signals.event_stage import (
    AHEAD_MAX_NS,
    BEAT_NS,
    FEED,
    TICKS_MAX,
    NoInstrument,
    file_of_events,
    handle,
    handle_batch,
)
from signals.event_tables import TABLES
from streams.model.framing import Framing, Unframed, frame
from streams.model.message import Message, Output
from streams.testing.tables import MemoryTables

NOW_NS = 1_700_000_000 * NS
INSTRUMENT = 6
PARTITION = INSTRUMENT % MD_TICKS.partitions
TRADE, BREAK, QUOTE, BBO = (
    MarketEventKind.TRADE,
    MarketEventKind.TRADE_BREAK,
    MarketEventKind.QUOTE,
    MarketEventKind.BBO,
)


def event(kind: MarketEventKind, at_ns: int = 0, **said: Any) -> Any:
    return MarketEvent(**({"kind": kind, "symbol": "BTCUSD", "venue": "KRKN", "event_ns": NOW_NS + at_ns} | said))


def trade(price_e4: int, qty: int, at_ns: int = 0, **said: Any) -> Any:
    return event(TRADE, at_ns, price_e4=price_e4, qty=qty, **said)


def message(body: Any, offset: int = 0, *, framed: bool = True) -> Message:
    text = MD_EVENTS.schema.encode(body)
    framing = MD_EVENTS.schema.framing
    assert framing is not None
    return Message(MD_EVENTS, 1, offset, body.symbol.encode(), framing.framed(text) if framed else text, 0)


@pytest.fixture
def tables() -> MemoryTables:
    made = MemoryTables(TABLES, 1)
    made.globals("instruments").put(b"BTCUSD", Instrument(instrument_id=INSTRUMENT, symbol="BTCUSD"))
    return made


def told(tables: MemoryTables, *events: Any, now_ns: int = NOW_NS) -> list[Output]:
    return [output for each in events for output in handle(message(each), tables, now_ns)]


class Market:
    """The other stage, and what it says to the frames that it gets."""

    def __init__(self) -> None:
        self._tables = MemoryTables([market.MARKET], PARTITION)
        self.said: list[Output] = []

    def take(self, frames: Sequence[Output]) -> None:
        for each in frames:
            assert (each.topic, each.key) == (MD_TICKS, str(each.partition).encode())
            if each.partition == PARTITION:
                told = Message(MD_TICKS, PARTITION, 0, each.key, each.body, 0)
                self.said += [said for said in market.handle(told, self._tables, 0) if isinstance(said, Output)]

    def rows(self, topic: Any) -> Any:
        """Those of the instrument."""
        rows = np.concatenate([each.body for each in self.said if each.topic is topic])
        return rows[rows["instrument_id"] == INSTRUMENT]

    def depth(self) -> tuple[list[Any], list[Any]]:
        of = self._tables.snapshotted("market").depths(np.array([INSTRUMENT]), 0)[0]
        return of["bids"][: of["bid_levels"]].tolist(), of["asks"][: of["ask_levels"]].tolist()


def test_trades_of_others_then_a_bar_and_a_mark_with_their_numbers(tables: MemoryTables) -> None:
    fleet = Market()
    fleet.take(told(tables, trade(100, 5), trade(120, 1, BEAT_NS, trade_id=9, side=Side.SELL)))
    fleet.take(told(tables, event(MarketEventKind.HEARTBEAT, NS + EVENTS_BOUND_NS, symbol="ANY")))
    bar = fleet.rows(MD_BARS)[0]
    assert (bar["open_e4"], bar["close_e4"], bar["volume"], bar["notional_e4"]) == (100, 120, 6, 620)
    assert fleet.rows(MD_MARKS)[-1][["last_e4", "volume"]].tolist() == (120, 6)


def test_trade_when_told_twice_or_taken_back_then_once_or_not_at_all_and_only_by_its_own_venue(
    tables: MemoryTables,
) -> None:
    fleet = Market()
    first, second = trade(100, 5, trade_id=1), trade(110, 7, trade_id=2)
    fleet.take(told(tables, first, first, second, event(BREAK, 1, trade_id=1), event(BREAK, 1, venue="XX", trade_id=2)))
    fleet.take(told(tables, event(MarketEventKind.HEARTBEAT, NS + EVENTS_BOUND_NS)))
    assert fleet.rows(MD_BARS)[0]["volume"] == 7


def test_best_bid_and_offer_of_two_venues_then_the_book_holds_both_and_the_older_of_each_is_gone(
    tables: MemoryTables,
) -> None:
    fleet = Market()
    one = {"bid_e4": 100, "bid_size": 3, "ask_e4": 104, "ask_size": 4}
    fleet.take(told(tables, event(BBO, **one), event(BBO, venue="XX", **(one | {"bid_e4": 101}))))
    assert fleet.depth() == ([(101, 3), (100, 3)], [(104, 8)])
    fleet.take(told(tables, event(BBO, 1, **(one | {"bid_e4": 99, "ask_e4": 0, "ask_size": 0}))))
    assert fleet.depth() == ([(101, 3), (99, 3)], [(104, 4)])


def test_quotes_then_levels_come_change_and_go(tables: MemoryTables) -> None:
    fleet = Market()
    quotes = [(Side.BUY, 100, 3), (Side.BUY, 99, 2), (Side.SELL, 105, 1), (Side.BUY, 99, 7), (Side.BUY, 100, 0)]
    for side, price, qty in quotes:
        fleet.take(told(tables, event(QUOTE, side=side, price_e4=price, qty=qty)))
    assert fleet.depth() == ([(99, 7)], [(105, 1)])


def test_levels_of_a_side_when_there_are_too_many_then_the_worst_goes(tables: MemoryTables) -> None:
    fleet = Market()
    for price in range(1, LEVELS_MAX + 3):
        fleet.take(told(tables, event(QUOTE, side=Side.BUY, price_e4=price, qty=1)))
    row = tables.changelogged("shown").get(b"%d/KRKN" % INSTRUMENT)
    assert row is not None
    assert sorted(row.bids) == list(range(3, LEVELS_MAX + 3))
    assert fleet.depth()[0][0] == (LEVELS_MAX + 2, 1)


def test_heartbeat_then_every_partition_has_its_time_and_none_goes_back(tables: MemoryTables) -> None:
    beat = event(MarketEventKind.HEARTBEAT, 5)
    frames = [(each.partition, decode_frame(each.body)) for each in told(tables, beat, beat)]
    assert [number for number, _ in frames] == list(range(MD_TICKS.partitions))
    assert {(frame.feed, frame.ticks["event_ns"].tolist()[0]) for _, frame in frames} == {(FEED, NOW_NS + 5)}
    assert told(tables, event(MarketEventKind.HEARTBEAT, 4)) == []


def test_event_when_nobody_has_announced_its_symbol_then_refused_by_name(tables: MemoryTables) -> None:
    with pytest.raises(NoInstrument, match="ETHUSD"):
        told(tables, event(TRADE, symbol="ETHUSD", price_e4=1, qty=1))


def test_event_when_its_time_is_to_come_then_refused_as_it_would_end_every_window(tables: MemoryTables) -> None:
    assert told(tables, trade(1, 1, AHEAD_MAX_NS))
    with pytest.raises(ValueError, match="ahead of the clock"):
        told(tables, trade(1, 1, AHEAD_MAX_NS + 1))


@pytest.mark.parametrize(
    "said",
    [
        {"kind": "TRADE", "qty": 1},
        {"kind": "TRADE", "price_e4": 1, "qty": 0},
        {"kind": "TRADE_BREAK"},
        {"kind": "QUOTE", "price_e4": 1, "qty": 1},
        {"kind": "BBO", "bid_e4": 1, "bid_size": 1},
    ],
)
def test_event_when_it_says_too_little_for_its_kind_then_refused(said: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"TRADE|QUOTE|BBO"):
        MarketEvent.model_validate({"symbol": "A", "venue": "XNAS", "event_ns": 1} | said)


def test_venue_that_falls_silent_then_its_levels_leave_the_book_and_return_as_soon_as_it_speaks(
    tables: MemoryTables,
) -> None:
    fleet = Market()
    both = {"bid_size": 3, "ask_size": 4}
    fleet.take(told(tables, event(BBO, bid_e4=100, ask_e4=110, venue="DEAD", **both)))
    fleet.take(told(tables, event(BBO, SILENCE_NS, bid_e4=99, ask_e4=111, **both), now_ns=NOW_NS + SILENCE_NS))
    assert fleet.depth() == ([(100, 3), (99, 3)], [(110, 4), (111, 4)]), "not yet: the bound is not passed"
    fleet.take(told(tables, event(MarketEventKind.HEARTBEAT, SILENCE_NS + 1), now_ns=NOW_NS + SILENCE_NS))
    assert fleet.depth() == ([(99, 3)], [(111, 4)])
    back = event(QUOTE, SILENCE_NS + 2, side=Side.BUY, price_e4=98, qty=1, venue="DEAD")
    fleet.take(told(tables, back, now_ns=NOW_NS + SILENCE_NS))
    assert fleet.depth() == ([(100, 3), (99, 3), (98, 1)], [(110, 4), (111, 4)])


SHOWN = st.builds(
    lambda venue, at, side, price_e4, qty: event(
        QUOTE, at * SILENCE_NS // 3 - 10 * SILENCE_NS, venue=venue, side=side, price_e4=price_e4, qty=qty
    ),
    st.sampled_from(["AA", "BB", "CC"]),
    st.integers(0, 12),
    st.sampled_from([Side.BUY, Side.SELL]),
    st.integers(1, 3),
    st.integers(0, 2),
)


@settings(max_examples=80, deadline=None)
@given(events=st.lists(SHOWN, min_size=1, max_size=14))
def test_book_after_any_quotes_then_it_is_what_the_venues_show_that_spoke_within_the_bound(events: list[Any]) -> None:
    tables, fleet = fresh(), Market()
    fleet.take(told(tables, trade(1, 1, -20 * SILENCE_NS, venue="TRADES")))
    levels: dict[str, dict[tuple[Side, int], int]] = {}
    spoke_ns = {"TRADES": 0}
    for each in events:
        fleet.take(told(tables, each))
        levels.setdefault(each.venue, {})[each.side, each.price_e4] = each.qty
        spoke_ns[each.venue] = max(spoke_ns.get(each.venue, 0), each.event_ns)
    counted = [name for name, at_ns in spoke_ns.items() if at_ns >= max(spoke_ns.values()) - SILENCE_NS]
    together: Counter[tuple[Side, int]] = Counter()
    for venue in counted:
        together.update(levels.get(venue, {}))
    bids, asks = fleet.depth()
    assert dict(bids) == {price: qty for (side, price), qty in together.items() if side is Side.BUY and qty}
    assert dict(asks) == {price: qty for (side, price), qty in together.items() if side is Side.SELL and qty}


# --- many at once -----------------------------------------------------------------------------------------------------

SYMBOLS = {"BTCUSD": INSTRUMENT, "ETHUSD": INSTRUMENT + 1, "XRPUSD": INSTRUMENT + MD_TICKS.partitions}
TIMES = st.integers(-2, 20).map(lambda step: step * BEAT_NS // 4) | st.sampled_from([86_400 * NS, AHEAD_MAX_NS + 1])
VENUES = ("KRKN", "XX", "YY")
SHORT_NS = BEAT_NS
"""A silence that begins and ends several times among the drawn events."""
AMOUNTS = st.integers(0, 3)
MAYBE = st.none() | AMOUNTS
SAID = st.fixed_dictionaries(
    {
        "kind": st.sampled_from([kind.value for kind in MarketEventKind]),
        "symbol": st.sampled_from([*SYMBOLS, "NOBODY", "lower", ""]) | st.sampled_from([*SYMBOLS]),
        "venue": st.sampled_from([*VENUES, "no venue"]) | st.just("KRKN"),
        "event_ns": TIMES.map(lambda at: NOW_NS - 10 * NS + at),
        "price_e4": MAYBE | AMOUNTS,
        "qty": MAYBE | AMOUNTS,
        "side": st.sampled_from([None, "B", "S"]),
        "trade_id": MAYBE,
        "bid_e4": MAYBE | AMOUNTS,
        "bid_size": MAYBE | AMOUNTS,
        "ask_e4": MAYBE | AMOUNTS,
        "ask_size": AMOUNTS | st.just(-1),
        "sequence": MAYBE,
    }
)
OWN = st.builds(lambda at: trade(1, 1, at, from_ticks=True).model_dump(mode="json"), st.integers(0, NS))
"""Events that ingest wrote: they are passed over as they are."""
FORMS = st.sampled_from(["framed", "framed", "framed", "text", "newer", "torn"])


def fresh() -> MemoryTables:
    made = MemoryTables(TABLES, 1)
    for symbol, instrument_id in SYMBOLS.items():
        made.globals("instruments").put(symbol.encode(), Instrument(instrument_id=instrument_id, symbol=symbol))
    return made


def record(said: dict[str, Any], form: str, offset: int) -> Message:
    """Whatever somebody may write, as the runtime gives it: what is framed by another schema is text by then."""
    said = {"from_ticks": False} | said
    text = json.dumps({name: value for name, value in said.items() if value is not None}).encode()
    if form in ("framed", "torn"):
        value = frame(file_of_events().id, avro_body(said))
        return Message(MD_EVENTS, 1, offset, b"", value if form == "framed" else value[:-1], 0)
    return Message(MD_EVENTS, 1, offset, b"", Unframed.of(text, b"") if form == "newer" else text, 0)


def avro_body(said: dict[str, Any]) -> bytes:
    body = io.BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(file_of_events().schema()), said)
    return body.getvalue()


class Written:
    """Ticks of each partition in their order with feed and session, and what was refused."""

    def __init__(self) -> None:
        self.ticks: dict[int, list[Any]] = {}
        self.refused: list[int] = []

    def take(self, said: Iterable[Output] | Iterable[tuple[int, bytes]]) -> None:
        for each in said:
            number, body = (each.partition, each.body) if isinstance(each, Output) else each
            taken = decode_frame(body)
            assert len(taken.ticks) <= TICKS_MAX
            told = [(taken.feed, taken.session_ns, taken.ingest_ns, tick) for tick in taken.ticks.tolist()]
            self.ticks.setdefault(number or 0, []).extend(told)

    def one_by_one(self, batch: Sequence[Message], tables: Any) -> "Written":
        for each in batch:
            try:
                self.take(handle(each, tables, NOW_NS, SHORT_NS))
            except ValueError:
                self.refused.append(each.offset)
        return self

    def at_once(self, batch: Sequence[Message], tables: Any) -> "Written":
        begin = 0
        for said in handle_batch(batch, tables, NOW_NS, SHORT_NS):
            if isinstance(said, int):
                self.one_by_one(batch[begin : begin + said], tables)
                begin += said
                continue
            for block in said.outputs:
                self.take((block.partition, value or b"") for _, value, _, _ in block.records(0, {}))
            begin += said.messages
        assert begin == len(batch)
        return self


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    said=st.lists(st.tuples(SAID | SAID | OWN, FORMS), max_size=30),
    cuts=st.lists(st.integers(0, 30), max_size=2).map(sorted),
)
def test_events_when_many_at_once_then_ticks_rows_and_refusals_are_those_of_one_by_one(
    said: list[tuple[dict[str, Any], str]], cuts: list[int]
) -> None:
    batch = [record(each, form, at) for at, (each, form) in enumerate(said)]
    alone, together = fresh(), fresh()
    one_by_one = Written().one_by_one(batch, alone)
    at_once = Written()
    for begin, end in pairwise([0, *cuts, len(batch)]):
        at_once.at_once(batch[begin : max(begin, end)], together)
    assert at_once.ticks == one_by_one.ticks
    assert at_once.refused == one_by_one.refused
    for name in ("shown", "beats", "speakers"):
        assert together.changelogged(name).rows == alone.changelogged(name).rows


def test_events_when_all_are_sound_then_none_is_left_to_the_handler_and_a_partition_has_one_frame() -> None:
    batch = [message(trade(100, 1, at, trade_id=at, from_ticks=at % 3 == 0), at) for at in range(30)]
    (answers,) = handle_batch(batch, fresh(), NOW_NS)
    assert not isinstance(answers, int)
    ((key, value, _, _),) = [each for block in answers.outputs for each in block.records(0, {})]
    assert (answers.messages, key) == (30, b"%d" % PARTITION)
    assert len(decode_frame(value or b"").ticks) == 20 + 1


def test_events_when_more_than_a_frame_holds_or_of_two_days_then_frames_follow_each_other() -> None:
    many = [message(trade(100, 1, trade_id=at), at) for at in range(TICKS_MAX + 5)]
    many.append(message(trade(100, 1, -86_400 * NS), len(many)))
    (answers,) = handle_batch(many, fresh(), NOW_NS)
    assert not isinstance(answers, int)
    frames = [decode_frame(value or b"") for block in answers.outputs for _, value, _, _ in block.records(0, {})]
    assert [len(frame.ticks) for frame in frames] == [TICKS_MAX, 6, 1]
    assert frames[2].session_ns == frames[1].session_ns - 86_400 * NS


def test_trace_of_an_event_among_many_then_its_frame_carries_it() -> None:
    batch = [message(trade(100, 1, at), at) for at in range(9)]
    batch[5].headers = (("traceparent", b"00-1-2-01"),)
    (answers,) = handle_batch(batch, fresh(), NOW_NS)
    assert not isinstance(answers, int)
    headers = {5: batch[5].headers}
    assert [more for block in answers.outputs for _, _, _, more in block.records(0, headers)] == [batch[5].headers]


def test_event_framed_or_as_text_then_the_same(tables: MemoryTables) -> None:
    framing: Framing | None = MD_EVENTS.schema.framing
    assert framing is not None
    body = trade(3, 2, side=Side.BUY, trade_id=4, sequence=5)
    assert MD_EVENTS.schema.decode(message(body).value or b"") == body
    assert message(body, framed=False).value == framing.text(message(body).value or b"")
