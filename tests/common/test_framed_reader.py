"""Both forms of a topic, on a log in memory: what is read of it, what is held back, and what is written."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from common.avro.codec import AvroFraming
from common.avro.on_file import by_name
from common.avro.registry import CACHE, Schemas
from common.contracts.events import OrderIntent
from common.contracts.market import BAR
from common.contracts.topics import MD_BARS, ORDERS_INTENTS, Topic
from common.contracts.values import OrderType, Side
from streams.model.declaration import Stage
from streams.model.framing import as_written, frame, is_framed
from streams.model.log import Partition, Record, StoredRecord
from streams.model.message import Message, Output
from streams.model.tables import Tables
from streams.model.topics import RAW_SCHEMA, Schema, changelog_topic
from streams.process.metrics import RESOLVED
from streams.process.settings import Settings
from streams.state import framed_reader
from streams.state.framed_reader import FramedReader, reader_of
from streams.testing.driver import StageDriver
from streams.testing.memory_log import MemoryLog

LATER_ID = 0x7EED0001
PLACE = Partition("in", 0)


def intent(number: int) -> OrderIntent:
    return OrderIntent(
        account_id="a",
        client_order_id=f"o-{number}",
        symbol="CEFI",
        side=Side.BUY,
        order_type=OrderType.MARKET,
        qty=number,
        sent_ns=17,
    )


def text(number: int) -> bytes:
    return ORDERS_INTENTS.schema.encode(intent(number))


def framing(schemas: Schemas, given: tuple[Any, int] | None = None) -> AvroFraming:
    return AvroFraming("order-intent", 1, OrderIntent, schemas, given)


class Reading:
    """A reader of a topic that anybody writes to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = MemoryLog({PLACE.topic: 1})
        self.schemas = Schemas()
        schema = Schema("order-intent", bytes, bytes, framing=framing(self.schemas))
        self.topic = Topic(PLACE.topic, schema=schema, partitions=1)

    async def reader(self) -> FramedReader:
        settings = Settings(data_dir=self.path, schema_registry_url="")
        made = reader_of(self.topic, await self.log.read(PLACE, 0), settings)
        assert isinstance(made, FramedReader)
        return made

    def put(self, *values: bytes) -> None:
        for value in values:
            self.log.put(PLACE, Record(b"a", value, 0))


def values(records: Any) -> list[bytes]:
    found: list[StoredRecord] = list(records)
    return [record.value or b"" for record in found]


@pytest.fixture
def reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reading:
    monkeypatch.setattr(framed_reader, "ASK_AGAIN_MIN_S", 0.01)
    monkeypatch.setattr(framed_reader, "ASK_AGAIN_MAX_S", 0.01)
    return Reading(tmp_path)


async def test_both_forms_when_read_then_text_that_knows_how_it_was_written(reading: Reading) -> None:
    framed = framing(Schemas()).framed(text(2))
    reading.put(text(1), framed, text(3))
    records = await (await reading.reader()).poll(0)
    assert values(records) == [text(1), text(2), text(3)]
    assert [as_written(record.value) for record in records] == [text(1), framed, text(3)]
    assert [record.offset for record in records] == [0, 1, 2]


async def test_unknown_schema_when_read_then_the_reader_stays_before_it_until_it_is_known(reading: Reading) -> None:
    schema = by_name()["order-intent.v1.avsc"].schema() | {"unit": "of a later release"}
    reading.put(text(1), framing(Schemas(), (schema, LATER_ID)).framed(text(2)), text(3))
    reader = await reading.reader()
    assert values(await reader.poll(0)) == [text(1)]
    for _ in range(3):
        assert list(await reader.poll(20)) == []
        assert reader.position == 1
        assert (reader.awaited or "").startswith(f"schema {LATER_ID}: not on file")
    (reading.path / CACHE).mkdir()
    (reading.path / CACHE / f"{LATER_ID}.avsc").write_text(json.dumps(schema), "utf-8")
    found: list[bytes] = []
    while not found:
        found = values(await reader.poll(20))
    assert found == [text(2), text(3)]
    assert (reader.position, reader.awaited) == (3, None)


async def test_damaged_value_when_read_then_as_it_stands_and_its_neighbours_are_read(reading: Reading) -> None:
    damaged = frame(by_name()["order-intent.v1.avsc"].id, b"\xff" * 9)
    short = b"\0\0"
    reading.put(text(1), damaged, short, text(2))
    assert values(await (await reading.reader()).poll(0)) == [text(1), damaged, short, text(2)]


def test_stage_that_is_told_to_write_avro_then_messages_are_framed_and_each_row_is_a_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TIDEMARK_LOG_FORMAT", "avro")
    source = Topic("in", schema=RAW_SCHEMA, partitions=1)
    copies = Topic("out", schema=ORDERS_INTENTS.schema, partitions=1)
    bars = Topic("bars", schema=MD_BARS.schema, partitions=1)
    rows = np.zeros(2, BAR)
    rows["symbol"], rows["volume"] = [b"CEFI", b"ACME"], [3, 4]

    def handle(message: Message, tables: Tables, now_ns: int) -> Iterator[Output]:
        yield Output(copies, b"a", intent(7), 0)
        yield Output(copies, b"a", None, 0)
        yield Output(bars, b"0", rows, 0)

    stage = Stage("test", "copy", handle, (source,), (copies, bars), changelog_topic("test", "copy", 1))
    with StageDriver([stage]) as driver:
        driver.send_value(source, b"go", b"a")
        copied, tombstone = driver.read(copies)
        assert is_framed(copied.value)
        assert copied.body == intent(7)
        assert tombstone.value is None
        written = driver.read(bars)
    assert [message.key for message in written] == [b"CEFI", b"ACME"]
    assert all(is_framed(message.value) for message in written)
    assert [message.body.tolist() for message in written] == [rows[:1].tolist(), rows[1:].tolist()]


async def test_framed_value_of_a_schema_that_the_stage_reads_then_left_as_it_is_and_others_are_text(
    reading: Reading,
) -> None:
    known = by_name()["order-intent.v1.avsc"]
    own = framing(Schemas()).framed(text(2))
    reading.put(text(1), own)
    log_reader = await reading.log.read(PLACE, 0)
    reader = reader_of(reading.topic, log_reader, Settings(data_dir=reading.path), known.id)
    assert values(await reader.poll(0)) == [text(1), own]
    later = framing(Schemas(), (known.schema() | {"unit": "of a later release"}, LATER_ID)).framed(text(3))
    reading.schemas.take({LATER_ID: known.schema()})
    resolved = RESOLVED.labels(PLACE.topic)._value.get()
    reading.put(own, later, b"\0")
    assert values(await reader.poll(0)) == [own, text(3), b"\0"]
    assert RESOLVED.labels(PLACE.topic)._value.get() == resolved + 1
