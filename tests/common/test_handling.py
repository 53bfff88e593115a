"""Answers of handlers to a batch, at once and one by one."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from common.columns import Column, OutputColumns
from common.contracts.topics import RAW_SCHEMA, RISK_GATE_CHANGELOG, Topic
from common.fleet_app import TidemarkApp
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from streams.commit.handling import PoisonError
from streams.commit.transaction import TaskParts, apply
from streams.model.blocks import Answers
from streams.model.declaration import BatchHandler
from streams.model.log import Partition, RecordFields
from streams.model.message import Message, Output, View
from streams.model.tables import Changelogged, Codec, Snapshotted, Tables
from streams.process import telemetry
from streams.process.settings import Settings
from streams.process.telemetry import Allowance
from streams.state.overlay import TaskTables
from streams.testing.memory_store import MemoryStore

INPUT = Topic("test.input", "account", RAW_SCHEMA, "test", partitions=1)
OUTPUT = Topic("test.output", "account", RAW_SCHEMA, "test", partitions=1)
OTHER = Topic("test.other", "account", RAW_SCHEMA, "test", partitions=1)
NOW_NS = 5_000_000_000
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ROWS = Changelogged("rows", Codec(bytes, bytes))


def echo(message: Message, tables: Tables, now_ns: int) -> Iterator[Output | View]:
    """Refuses what it has no value of."""
    value = message.body
    tables.changelogged("rows").put(message.key or b"", value)
    yield Output(OUTPUT, message.key or b"", value)


def block(topic: Topic, messages: Sequence[Message]) -> OutputColumns:
    """The values of the messages as they are."""
    values = [message.value or b"" for message in messages]
    ends = np.cumsum([0, *map(len, values)])
    column = Column(np.frombuffer(b"".join(values), np.uint8), ends[:-1], ends[1:])
    return OutputColumns(topic, 0, np.arange(len(values)), column, column)


def messages_of(*values: bytes | None, headers: Any = ()) -> list[Message]:
    return [Message(INPUT, 0, offset, value, value, 0, headers) for offset, value in enumerate(values)]


def parts_of(batch_handler: BatchHandler | None) -> TaskParts:
    store = MemoryStore()
    tables = TaskTables(0)
    tables.add(ROWS, store)
    outputs = frozenset({OUTPUT.name})
    changelog = Partition("test.changelog", 0)
    return TaskParts(
        "test", echo, store, tables, changelog, outputs, clock_ns=lambda: NOW_NS, batch_handler=batch_handler
    )


def written(parts: TaskParts, batch: Sequence[Message]) -> list[RecordFields]:
    return [record for _, records in apply(parts, batch).outputs for record in records]


def test_batch_when_blocks_and_handler_take_turns_then_outputs_in_order() -> None:
    def in_turns(batch: Sequence[Message], tables: Tables, now_ns: int) -> Iterator[Answers | int]:
        yield 1
        yield Answers(2, [block(OUTPUT, batch[1:3])])
        yield 0
        yield 2

    parts = parts_of(in_turns)
    values = [value for _, value, timestamp_ms, _ in written(parts, messages_of(b"a", b"b", b"c", b"d", b"e"))]
    assert values == [b"a", b"b", b"c", b"d", b"e"]
    assert set(parts.tables.overlays["rows"].changed_keys()) == {b"a", b"d", b"e"}


def fails(batch: Sequence[Message], tables: Tables, now_ns: int) -> Iterator[Answers | int]:
    """After it has written a row and answered."""
    tables.changelogged("rows").put(b"wrong", b"wrong")
    yield Answers(1, [block(OUTPUT, batch[:1])])
    raise ZeroDivisionError


def stops_early(batch: Sequence[Message], tables: Tables, now_ns: int) -> Iterator[Answers | int]:
    yield Answers(1, [block(OUTPUT, batch[:1])])


def goes_beyond(batch: Sequence[Message], tables: Tables, now_ns: int) -> Iterator[Answers | int]:
    yield Answers(len(batch) + 1, [block(OUTPUT, batch)])


def leaves_too_many(batch: Sequence[Message], tables: Tables, now_ns: int) -> Iterator[Answers | int]:
    yield len(batch)
    yield 1


def writes_elsewhere(batch: Sequence[Message], tables: Tables, now_ns: int) -> Iterator[Answers | int]:
    yield Answers(len(batch), [block(OTHER, batch)])


@pytest.mark.parametrize("batch_handler", [fails, stops_early, goes_beyond, leaves_too_many, writes_elsewhere])
def test_batch_when_its_handler_fails_then_the_handler_answers_all_of_it(batch_handler: BatchHandler) -> None:
    parts = parts_of(batch_handler)
    assert [value for _, value, *_ in written(parts, messages_of(b"a", b"b"))] == [b"a", b"b"]
    assert set(parts.tables.overlays["rows"].changed_keys()) == {b"a", b"b"}


@pytest.mark.parametrize("batch_handler", [None, fails, stops_early])
def test_batch_when_one_is_refused_then_that_one_is_named(batch_handler: BatchHandler | None) -> None:
    with pytest.raises(PoisonError) as refused:
        apply(parts_of(batch_handler), messages_of(b"a", b"b", None, b"d"))
    assert refused.value.index == 2


def test_batch_when_what_is_left_to_the_handler_is_refused_then_its_place_is_that_in_the_batch() -> None:
    def leaves_the_rest(batch: Sequence[Message], tables: Tables, now_ns: int) -> Iterator[Answers | int]:
        yield Answers(2, [block(OUTPUT, batch[:2])])
        yield len(batch) - 2

    with pytest.raises(PoisonError) as refused:
        apply(parts_of(leaves_the_rest), messages_of(b"a", b"b", b"c", None))
    assert refused.value.index == 3


def test_block_when_a_message_is_traced_then_its_records_carry_the_span_that_answered_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    monkeypatch.setattr(telemetry, "_tracer", provider.get_tracer("test"))
    monkeypatch.setattr(telemetry, "_spans", Allowance(1, lambda: 0.0))

    def at_once(batch: Sequence[Message], tables: Tables, now_ns: int) -> Iterator[Answers | int]:
        yield Answers(len(batch), [block(OUTPUT, batch)])

    traced = messages_of(b"a", b"b", b"c", headers=(("traceparent", TRACE.encode()),))
    (*_, first), (*_, second), (*_, third) = written(parts_of(at_once), [traced[0], *messages_of(b"x"), traced[1]])
    (span,) = spans.get_finished_spans()
    context = span.get_span_context()
    assert context is not None and span.parent is not None
    assert (span.name, f"{span.parent.span_id:016x}") == ("test test.input", TRACE.split("-")[2])
    assert span.start_time is not None and span.end_time is not None and span.start_time < span.end_time
    assert first == (("traceparent", f"00-{context.trace_id:032x}-{context.span_id:016x}-01".encode()),)
    assert second == ()
    assert third == (("traceparent", TRACE.encode()),)  # no span was left for it: the sender's context goes on


def test_stage_when_it_has_bulk_state_then_no_batch_handler() -> None:
    table = Snapshotted("sum", lambda _partition: [0], lambda _state, _path: None, lambda _path, _layout: [0])
    app = TidemarkApp("test", Settings())
    with pytest.raises(ValueError, match="bulk state"):
        app.stage(
            name="sum", inputs=[INPUT], outputs=[], changelog=RISK_GATE_CHANGELOG, tables=[table], batch_handler=fails
        )
