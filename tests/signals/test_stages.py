"""The stage's handler on tables in memory: what stands on which topic under which key, and in which view."""

from typing import Any

import numpy as np
import pytest
from common.contracts.market import BAR, DEPTH, MARK, mark_clock_key
from common.contracts.ticks import FrameError, TickKind, encode_frame
from common.contracts.topics import MD_ALERTS, MD_BARS, MD_BOOKS, MD_MARKS, MD_TICKS
from common.contracts.views import AlertData, BarData, BookData, QuoteData
from common.contracts.windows import lengths_ns
from common.testing.market_flow import SESSION_NS, directory, price, row, tick_array
from signals.domain.abuse_patterns import SHIPPED
from signals.domain.alert_board import SHOWN_MAX
from signals.stages import MARKET, handle, market_table, market_views
from streams.model.message import Message, Output, View
from streams.testing.tables import MemoryTables

S = 1_000_000_000
PARTITION = 3


def message(value: bytes) -> Message:
    return Message(MD_TICKS, PARTITION, 0, b"3", value, 0)


def frame(*rows: dict[str, int], ingest_ns: int = 55) -> Message:
    return message(encode_frame(tick_array(rows), feed="test", ingest_ns=ingest_ns, session_ns=SESSION_NS))


def order(ref: int, side: str, step: int, qty: int) -> dict[str, int]:
    fields = {"order_ref": ref, "instrument_id": 0, "side": ord(side), "price_e4": price(step), "qty": qty}
    return row(TickKind.ADD, 1, **fields)


def beat(at_ns: int) -> dict[str, int]:
    return row(TickKind.HEARTBEAT, at_ns, instrument_id=-1)


@pytest.fixture
def tables() -> MemoryTables:
    return MemoryTables([MARKET], PARTITION)


def split(items: Any) -> tuple[list[Output], list[View]]:
    listed = list(items)
    return [i for i in listed if isinstance(i, Output)], [i for i in listed if isinstance(i, View)]


DAY = (
    *directory(["AAPL"]),
    row(TickKind.TRADING_ACTION, 0, instrument_id=0, detail=ord("T")),
    order(1, "B", 0, 10),
    order(2, "B", -1, 20),
    order(3, "S", 2, 30),
    row(TickKind.EXECUTED, 2, instrument_id=0, order_ref=3, qty=5, aux_ref=1),
)


def test_frame_when_without_heartbeat_then_nothing_is_told(tables: MemoryTables) -> None:
    assert list(handle(frame(*DAY), tables, 0)) == []


def test_heartbeat_when_a_symbol_changed_then_mark_clock_and_depth_are_written(tables: MemoryTables) -> None:
    handle(frame(*DAY), tables, 0)
    records, _ = split(handle(frame(beat(3), ingest_ns=99), tables, 0))
    assert [(r.topic, r.key, r.partition) for r in records] == [
        (MD_MARKS, b"AAPL", PARTITION),
        (MD_MARKS, mark_clock_key(PARTITION), PARTITION),
        (MD_BOOKS, b"3", PARTITION),
    ]
    bodies = [r.topic.schema.decode(r.topic.schema.encode(r.body)) for r in records]
    assert [(len(body), body.dtype) for body in bodies] == [(1, MARK), (1, MARK), (1, DEPTH)]
    assert bodies[0]["bid_e4"].tolist() == [price(0)]
    assert bodies[1]["ingest_ns"].tolist() == [99]
    assert bodies[2]["bids"]["size"][0].tolist() == [10, 20, *[0] * 8]
    again, _ = split(handle(frame(beat(4)), tables, 0))
    assert [r.key for r in again] == [mark_clock_key(PARTITION)]


def test_heartbeat_when_a_symbol_traded_then_quote_book_and_live_bars_are_shown(tables: MemoryTables) -> None:
    handle(frame(*DAY), tables, 0)
    _, views = split(handle(frame(beat(3), ingest_ns=99), tables, 0))
    assert [(v.name, v.scope, v.key) for v in views] == [
        ("quote", "3", "AAPL"),
        ("book", "AAPL", "depth"),
        *(("bar", f"AAPL:{length}", str(SESSION_NS // length * length)) for length in lengths_ns()),
    ]
    assert {v.origin_ns for v in views} == {99}
    quote, book, bar, *_ = (v.data for v in views)
    assert quote == QuoteData(
        symbol="AAPL",
        bid_e4=price(0),
        bid_size=10,
        ask_e4=price(2),
        ask_size=25,
        last_e4=price(2),
        open_e4=price(2),
        volume=5,
        trading_state="T",
        event_ns=SESSION_NS + 2,
    )
    assert book == BookData(
        symbol="AAPL", bids=((price(0), 10), (price(-1), 20)), asks=((price(2), 25),), event_ns=SESSION_NS + 2
    )
    assert isinstance(bar, BarData)
    assert (bar.volume, bar.vwap_e4, bar.closed) == (5, price(2), False)


def test_window_when_it_ends_then_bars_are_one_record_and_shown_closed_at_the_heartbeat(tables: MemoryTables) -> None:
    handle(frame(*DAY, beat(3)), tables, 0)
    records, views = split(handle(frame(order(9, "B", -5, 1) | {"event_ns": SESSION_NS + S}), tables, 0))
    assert [(r.topic, r.key, r.partition) for r in records] == [(MD_BARS, b"3", PARTITION)]
    assert records[0].body.dtype == BAR
    assert records[0].body["symbol"].tolist() == [b"AAPL"]
    assert views == []
    _, views = split(handle(frame(beat(S)), tables, 0))
    assert [(v.scope, v.data.closed) for v in views if isinstance(v.data, BarData)] == [(f"AAPL:{S}", True)]


def test_views_when_refilled_then_equal_to_what_was_shown(tables: MemoryTables) -> None:
    shown: dict[tuple[str, str, str], Any] = {}
    later = [row(TickKind.TRADE, i * S, instrument_id=0, aux_ref=10 + i, price_e4=price(i), qty=1) for i in range(1, 9)]
    for part in (DAY, [beat(3)], *([trade, beat(trade["event_ns"] - SESSION_NS)] for trade in later)):
        for view in split(handle(frame(*part), tables, 0))[1]:
            shown[view.name, view.scope, view.key] = view.data
    refilled: dict[tuple[str, str, str], Any] = {(v.name, v.scope, v.key): v.data for v in market_views(tables)}
    # A book is shown when one of its levels changes, with the time of then; the instrument has traded since.
    refilled["book", "AAPL", "depth"] = refilled["book", "AAPL", "depth"].model_copy(
        update={"event_ns": SESSION_NS + 2}
    )
    assert refilled == {key: data for key, data in shown.items() if data is not None}


def test_alert_when_a_price_jumps_then_a_row_under_its_symbol_at_once_and_shown_at_the_heartbeat(
    tables: MemoryTables,
) -> None:
    trades = [
        row(TickKind.TRADE, i * S, instrument_id=0, aux_ref=10 + i, price_e4=price(i % 2), qty=1) for i in range(40)
    ]
    jump = row(TickKind.TRADE, 41 * S, instrument_id=0, aux_ref=99, price_e4=price(700), qty=1)
    handle(frame(*directory(["AAPL"]), *trades, beat(40 * S)), tables, 0)
    records, views = split(handle(frame(jump, beat(42 * S), ingest_ns=77), tables, 0))
    alerts = [r for r in records if r.topic is MD_ALERTS]
    assert {(r.key, r.partition, len(r.body)) for r in alerts} == {(b"AAPL", PARTITION, 1)}
    assert {r.body["kind"][0].decode() for r in alerts} == {"PRICE_SPIKE", "PRICE_JUMP", "HIGH_VOLATILITY"}
    shown = {v.key: v for v in views if v.name == "alert"}
    assert set(shown) == {f"AAPL:{r.body['kind'][0].decode()}:{SESSION_NS + 42 * S}" for r in alerts}
    view = shown[f"AAPL:PRICE_JUMP:{SESSION_NS + 42 * S}"]
    assert (view.scope, view.origin_ns) == ("3", 77)
    assert isinstance(view.data, AlertData)
    assert (view.data.severity, view.data.phase, view.data.end_ns) == ("HIGH", "begin", 0)
    assert view.data.numbers == {"price_e4": price(700), "mean_price_e4": 1_000_050}
    refilled = {v.key: v.data for v in market_views(tables) if v.name == "alert"}
    assert refilled == {key: shown_view.data for key, shown_view in shown.items()}
    _, views = split(handle(frame(beat(60 * S)), tables, 0))
    assert {(v.key, v.data.phase) for v in views if isinstance(v.data, AlertData)} == {(key, "end") for key in shown}


def test_pattern_when_it_matches_then_a_row_of_its_name_at_once_and_its_numbers_shown_at_the_heartbeat() -> None:
    tables = MemoryTables([market_table(patterns=list(SHIPPED.values()))], PARTITION)
    rows = directory(["AAPL"])
    for ref in range(1, 251):
        rows.append(order(ref, "B", 0, 10))
        rows.append(row(TickKind.DELETE, 1, instrument_id=0, order_ref=ref))
    records, views = split(handle(frame(*rows, beat(2)), tables, 0))
    (alert,) = [record for record in records if record.topic is MD_ALERTS]
    told = alert.body[0]
    assert (alert.key, told["kind"], told["severity"], told["phase"]) == (
        b"AAPL",
        b"QUOTE_STUFFING",
        b"MEDIUM",
        b"begin",
    )
    assert (told["begin_ns"], told["samples"], told["peak_ppm"]) == (SESSION_NS + 1, 250, 1_000_000)
    assert told["version"] == SHIPPED["QUOTE_STUFFING"].version
    (shown,) = [view.data for view in views if view.name == "alert"]
    assert isinstance(shown, AlertData)
    assert shown.numbers == {"price_e4": price(0), "volume": 10, "mean_gap_ns": 0}


def test_alerts_when_there_are_more_than_are_shown_then_those_that_began_first_are_taken_down(
    tables: MemoryTables,
) -> None:
    symbols = [f"S{i}" for i in range(SHOWN_MAX + 6)]
    trades = [
        row(TickKind.TRADE, second * S + i, instrument_id=i, aux_ref=1 + second * 100 + i, price_e4=price(0), qty=1)
        for second in range(31)
        for i in range(len(symbols))
    ]
    handle(frame(*directory(symbols), *trades, beat(31 * S)), tables, 0)
    shown: dict[str, Any] = {}
    for second, ids in ((32, range(SHOWN_MAX)), (34, range(SHOWN_MAX, len(symbols)))):
        surges = [
            row(TickKind.TRADE, second * S + i, instrument_id=i, aux_ref=90_000 + i, price_e4=price(0), qty=9)
            for i in ids
        ]
        for view in split(handle(frame(*surges, beat((second + 1) * S)), tables, 0))[1]:
            if view.name == "alert":
                shown[view.key] = view.data
        assert len([data for data in shown.values() if data is not None]) == SHOWN_MAX
    assert [key.partition(":")[0] for key, data in shown.items() if data is None] == symbols[:6]


def test_handler_when_silent_then_state_moves_although_nothing_is_asked_for(tables: MemoryTables) -> None:
    handle(frame(*DAY, beat(3)), tables, 0)
    assert tables.snapshotted("market").books.clock_ns == SESSION_NS + 3


def test_frame_when_bytes_are_no_frame_then_refused(tables: MemoryTables) -> None:
    with pytest.raises(FrameError):
        handle(message(b"x" * 200), tables, 0)


def test_bars_when_thousands_close_at_once_then_records_stay_small(tables: MemoryTables) -> None:
    count = 9_000
    trades = np.repeat(tick_array([row(TickKind.TRADE, 1, aux_ref=1, price_e4=price(0), qty=1)]), count)
    trades["instrument_id"] = np.arange(count)
    trades["aux_ref"] += np.arange(count, dtype=np.uint64)
    handle(message(encode_frame(trades, feed="test", ingest_ns=1, session_ns=SESSION_NS)), tables, 0)
    records, _ = split(handle(frame(beat(S)), tables, 0))
    bars = [r for r in records if r.topic is MD_BARS]
    assert [len(r.body) for r in bars] == [4096, 4096, count - 2 * 4096]
    ids = np.concatenate([r.body["instrument_id"] for r in bars])
    assert ids.tolist() == list(range(count))
