"""Records as rows: every format says the same, and no column is lost."""

import csv
import io
import json
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from common.contracts import alerts, events, market, ticks, topics
from common.contracts.values import OrderType, Side
from streams.model.message import Message
from tidemark.tabular import Format, decoder_of
from tidemark.topic_names import UnknownTopicError, topic_named
from tidemark.writers import writer_for


def message(topic: topics.Topic, body: Any, *, offset: int = 7, key: bytes = b"k") -> Message:
    return Message(topic, 2, offset, key, topic.schema.encode(body), 1_700_000_000_000, [("why", b"test")])


def frame() -> bytes:
    rows = np.zeros(3, ticks.TICK)
    rows["kind"] = [ord("R"), ord("A"), 0]
    rows["sequence"] = [1, 2, 0]
    rows["order_ref"] = [ticks.symbol_to_ref("AAPL"), 99, 0]
    rows["side"] = [0, ord("B"), 0]
    rows["price_e4"] = [0, 1_234_500, 0]
    rows["instrument_id"] = [5, 5, -1]
    return ticks.encode_frame(rows, feed="itch", ingest_ns=11, session_ns=0)


def bars() -> Any:
    rows = np.zeros(2, market.BAR)
    rows["symbol"] = [b"AAPL", b"MSFT"]
    rows["volume"] = [3, 0]
    rows["notional_e4"] = [1_000, 0]
    return rows


INTENT = events.OrderIntent(
    account_id="a1",
    client_order_id="c1",
    symbol="AAPL",
    side=Side.BUY,
    order_type=OrderType.MARKET,
    qty=10,
    sent_ns=1,
)
DECISION = events.Decision(
    account_id="a1",
    client_order_id="c1",
    order_id="a1.c1",
    accepted=False,
    reason=events.ReasonCode.CASH_INSUFFICIENT,
    compared={"needed_e4": 5, "free_e4": 4},
    intent=INTENT,
    account_seq=3,
    decided_ns=2,
    intent_partition=0,
    intent_offset=0,
)
BODIES: dict[topics.Topic, Any] = {
    topics.MD_TICKS: frame(),
    topics.MD_BARS: bars(),
    topics.MD_MEASURES: np.zeros(1, market.MEASURED),
    topics.MD_SESSIONS: np.zeros(1, market.SESSION),
    topics.MD_PHASES: np.zeros(1, market.PHASE),
    topics.MD_LATE: np.zeros(1, market.LATE),
    topics.MD_ALERTS: np.zeros(1, alerts.ALERT),
    topics.MD_BOOKS: np.zeros(1, market.DEPTH),
    topics.MD_MARKS: np.zeros(1, market.MARK),
    topics.ORDERS_INTENTS: INTENT,
    topics.RISK_DECISIONS: DECISION,
}


def write(kind: Format, topic: topics.Topic) -> tuple[int, bytes]:
    out = io.BytesIO()
    decoder = decoder_of(topic)
    writer = writer_for(kind, decoder, out)
    count = writer.write([message(topic, BODIES[topic])]) + writer.write([message(topic, BODIES[topic], offset=8)])
    writer.close()
    return count, out.getvalue()


@pytest.mark.parametrize("topic", BODIES, ids=lambda topic: topic.name)
def test_formats_when_same_records_then_same_rows(topic: topics.Topic) -> None:
    count, jsonl = write(Format.JSONL, topic)
    _, text = write(Format.CSV, topic)
    _, parquet = write(Format.PARQUET, topic)
    rows = [json.loads(line) for line in jsonl.splitlines()]
    table = pyarrow.parquet.read_table(io.BytesIO(parquet))
    lines = list(csv.DictReader(io.StringIO(text.decode())))
    assert count == len(rows) == len(lines) == table.num_rows
    for row, line, columns in zip(rows, lines, table.to_pylist(), strict=True):
        assert set(row) <= set(line) == set(columns)
        for name, value in row.items():
            nested = isinstance(value, dict | list)
            assert (json.loads(columns[name]) if nested else columns[name]) == value
            if isinstance(value, int) and not isinstance(value, bool):
                assert int(line[name]) == value


def test_read_ticks_then_kinds_symbols_and_sides_are_words() -> None:
    rows = list(decoder_of(topics.MD_TICKS).rows([message(topics.MD_TICKS, frame())]))
    assert [row["kind"] for row in rows] == ["STOCK_DIRECTORY", "ADD", "HEARTBEAT"]
    assert [row["symbol"] for row in rows] == ["AAPL", "", ""]
    assert (rows[1]["side"], rows[1]["price_e4"], rows[1]["instrument_id"]) == ("B", 1_234_500, 5)


def test_read_bars_then_vwap_truncates_and_is_zero_without_volume() -> None:
    rows = list(decoder_of(topics.MD_BARS).rows([message(topics.MD_BARS, bars())]))
    assert [(row["symbol"], row["vwap_e4"]) for row in rows] == [("AAPL", 333), ("MSFT", 0)]


@pytest.mark.parametrize(
    ("topic", "dtype"),
    [(topics.MD_ALERTS, alerts.ALERT), (topics.MD_MEASURES, market.MEASURED), (topics.MD_LATE, market.LATE)],
    ids=lambda of: getattr(of, "name", ""),
)
def test_read_rows_then_every_field_of_their_type_is_a_column(topic: topics.Topic, dtype: np.dtype[Any]) -> None:
    body = np.ones(1, dtype)
    body["symbol"] = b"AAPL"
    [row] = decoder_of(topic).rows([message(topic, body)])
    fields = [name for name in dtype.names or () if name != "reserved"]
    assert [name for name in row if name not in ("partition", "offset", "timestamp_ms")] == fields
    assert row["symbol"] == "AAPL"
    assert all(row[name] == (body[name][0].decode() if dtype[name].kind == "S" else 1) for name in fields)


@pytest.mark.parametrize("topic", topics.TOPICS, ids=lambda topic: topic.name)
def test_columns_of_every_topic_then_place_comes_first_and_names_do_not_collide(topic: topics.Topic) -> None:
    names = decoder_of(topic).columns.names
    assert names[:3] == ["partition", "offset", "timestamp_ms"]
    assert len(set(names)) == len(names)


def test_dead_letters_when_bytes_are_no_text_then_base64() -> None:
    topic = topic_named(topics.ORDERS_INTENTS.dead_letters)
    raw = Message(topic, 0, 1, b"a1", b"\xff\x00", 5, [("error", b"not JSON")])
    [row] = decoder_of(topic).rows([raw])
    assert (row["key"], row["value"], row["headers"]) == ("a1", "base64:/wA=", {"error": "not JSON"})


def test_topic_when_unknown_then_the_error_names_the_known() -> None:
    with pytest.raises(UnknownTopicError, match=r"orders\.nothing.*orders\.intents"):
        topic_named("orders.nothing")
