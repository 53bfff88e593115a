"""Events of others become ticks, and those become books, bars and marks; what ingest wrote is left alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from common.contracts.market_events import MarketEvent, MarketEventKind
from common.contracts.reference import Instrument
from common.contracts.ticks import decode_frame
from common.contracts.topics import MD_BARS, MD_EVENTS, MD_MARKS, MD_TICKS
from common.contracts.values import Side
from common.contracts.windows import NS
from signals import stages as market
from signals.domain.event_ticks import LEVELS_MAX
from signals.event_stage import AHEAD_MAX_NS, BEAT_NS, FEED, NoInstrument, handle, handle_batch
from signals.event_tables import TABLES
from streams.model.framing import Framing
from streams.model.message import Message, Output
from streams.testing.tables import MemoryTables, said_at_once, said_one_by_one

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
        for frame in frames:
            assert (frame.topic, frame.key) == (MD_TICKS, str(frame.partition).encode())
            if frame.partition == PARTITION:
                record = Message(MD_TICKS, PARTITION, 0, frame.key, frame.body, 0)
                self.said += [each for each in market.handle(record, self._tables, 0) if isinstance(each, Output)]

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
    fleet.take(told(tables, event(MarketEventKind.HEARTBEAT, NS, symbol="ANY")))
    bar = fleet.rows(MD_BARS)[0]
    assert (bar["open_e4"], bar["close_e4"], bar["volume"], bar["notional_e4"]) == (100, 120, 6, 620)
    assert fleet.rows(MD_MARKS)[-1][["last_e4", "volume"]].tolist() == (120, 6)


def test_trade_when_told_twice_or_taken_back_then_once_or_not_at_all_and_only_by_its_own_venue(
    tables: MemoryTables,
) -> None:
    fleet = Market()
    first, second = trade(100, 5, trade_id=1), trade(110, 7, trade_id=2)
    fleet.take(told(tables, first, first, second, event(BREAK, 1, trade_id=1), event(BREAK, 1, venue="XX", trade_id=2)))
    fleet.take(told(tables, event(MarketEventKind.HEARTBEAT, NS)))
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


def test_events_of_ingest_when_among_others_then_no_answer_in_bulk_as_one_by_one(tables: MemoryTables) -> None:
    bodies = [trade(100 + at, 1, at, from_ticks=at % 3 > 0) for at in range(30)]
    batch = [message(body, at, framed=at % 5 > 0) for at, body in enumerate(bodies)]
    beside = MemoryTables(TABLES, 1)
    beside.globals("instruments").put(b"BTCUSD", Instrument(instrument_id=INSTRUMENT, symbol="BTCUSD"))
    one_by_one = list(said_one_by_one(handle, batch, beside, NOW_NS))
    at_once = list(said_at_once(handle_batch, handle, batch, tables, NOW_NS))
    assert at_once == one_by_one
    assert [bool(said) for said in at_once] == [not body.from_ticks for body in bodies]
    answered = [said for said in handle_batch(batch, tables, NOW_NS) if not isinstance(said, int)]
    assert sum(said.messages for said in answered) == sum(
        body.from_ticks and at % 5 > 0 for at, body in enumerate(bodies)
    )


def test_event_framed_or_as_text_then_the_same(tables: MemoryTables) -> None:
    framing: Framing | None = MD_EVENTS.schema.framing
    assert framing is not None
    body = trade(3, 2, side=Side.BUY, trade_id=4, sequence=5)
    assert MD_EVENTS.schema.decode(message(body).value or b"") == body
    assert message(body, framed=False).value == framing.text(message(body).value or b"")
