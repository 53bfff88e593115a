"""One suite for every log: the one in memory is held to the real broker, so what is proven on it means something.

``TIDEMARK_CONFORMANCE_BOOTSTRAP=host:port`` judges the Kafka-protocol server that answers there, in the broker's place.
Its topics are called ``test.*`` and stay.
"""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest
from common.columns import Column, RecordColumns
from common.contracts.topics import RAW_SCHEMA, Topic
from common.fleet_topics import create_topics
from streams.kafka.kafka_log import KafkaLog
from streams.model.errors import Fatal, Fenced, LogError
from streams.model.log import Log, Partition, Record, StoredRecord
from streams.process.settings import KafkaSettings, Settings
from streams.testing.memory_log import MemoryLog

PARTITIONS = 2
JUDGED = os.environ.get("TIDEMARK_CONFORMANCE_BOOTSTRAP", "")


@pytest.fixture
def topic() -> str:
    return f"test.{uuid.uuid4().hex[:12]}"


@pytest.fixture(params=["memory", "kafka"])
async def log(request: pytest.FixtureRequest, topic: str) -> AsyncIterator[Log]:
    if request.param == "memory":
        yield MemoryLog({topic: PARTITIONS})
        return
    bootstrap = JUDGED or request.getfixturevalue("stack").kafka_bootstrap
    await create_topics(bootstrap, [Topic(topic, "key", RAW_SCHEMA, "test", partitions=PARTITIONS)])
    kafka = KafkaLog(Settings(kafka=KafkaSettings(bootstrap=bootstrap)), "conformance")
    await kafka.start()
    yield kafka
    await kafka.stop()


def records(*values: bytes) -> list[Record]:
    return [Record(b"key", value, 1_000) for value in values]


async def read_until(log: Log, partition: Partition, end: int, start: int = 0) -> list[StoredRecord]:
    """Reads committed records until the reader's position is ``end``."""
    reader = await log.read(partition, start)
    found: list[StoredRecord] = []
    try:
        async with asyncio.timeout(20):
            while reader.position < end:
                found += await reader.poll(50)
    finally:
        await reader.close()
    return found


def values(found: Sequence[StoredRecord]) -> list[bytes | None]:
    return [record.value for record in found]


async def test_commit_when_done_then_every_partition_shows_its_records(log: Log, topic: str) -> None:
    producer = await log.fence(f"{topic}.id")
    await producer.begin()
    await producer.append(Partition(topic, 0), records(b"1", b"2"))
    await producer.append(Partition(topic, 1), [Record(b"k", None, 7, (("name", b"value"),))])
    ends = await producer.commit()
    assert ends == {Partition(topic, 0): 2, Partition(topic, 1): 1}
    assert await log.high_watermark(Partition(topic, 0)) == 3, "the marker takes an offset"
    assert values(await read_until(log, Partition(topic, 0), 3)) == [b"1", b"2"]
    (tombstone,) = await read_until(log, Partition(topic, 1), 2)
    assert (tombstone.offset, tombstone.key, tombstone.value, tombstone.timestamp) == (0, b"k", None, 7)
    assert [tuple(header) for header in tombstone.headers] == [("name", b"value")]
    await producer.close()


async def test_transaction_when_open_then_it_is_counted_and_not_shown(log: Log, topic: str) -> None:
    producer = await log.fence(f"{topic}.id")
    other = await log.fence(f"{topic}.other")
    await producer.begin()
    await producer.append(Partition(topic, 0), records(b"open"))
    await producer.flush()
    await until_high_watermark(log, Partition(topic, 0), 1)
    await other.begin()
    await other.append(Partition(topic, 0), records(b"behind it"))
    await other.commit()
    await until_high_watermark(log, Partition(topic, 0), 3)
    reader = await log.read(Partition(topic, 0), 0)
    assert list(await reader.poll(200)) == [], "read_committed stops at the first open transaction"
    assert reader.position == 0
    await reader.close()
    await producer.commit()
    assert values(await read_until(log, Partition(topic, 0), 4)) == [b"open", b"behind it"]
    await producer.close()
    await other.close()


async def until_high_watermark(log: Log, partition: Partition, end: int) -> None:
    """A broker may answer before a marker is written: the log itself is asked."""
    async with asyncio.timeout(20):
        while await log.high_watermark(partition) < end:
            await asyncio.sleep(0.01)


async def test_abort_when_done_then_the_records_never_show_and_the_reader_passes_them(log: Log, topic: str) -> None:
    producer = await log.fence(f"{topic}.id")
    await producer.begin()
    await producer.append(Partition(topic, 0), records(b"aborted"))
    await producer.flush()
    await until_high_watermark(log, Partition(topic, 0), 1)
    await producer.abort()
    await producer.begin()
    await producer.append(Partition(topic, 0), records(b"kept"))
    ends = await producer.commit()
    assert ends[Partition(topic, 0)] == 3, "record, abort marker, record"
    assert values(await read_until(log, Partition(topic, 0), 4)) == [b"kept"]
    await producer.close()


async def test_fence_when_a_transaction_is_open_then_it_is_aborted_and_the_old_owner_is_out(
    log: Log, topic: str
) -> None:
    zombie = await log.fence(f"{topic}.id")
    await zombie.begin()
    await zombie.append(Partition(topic, 0), records(b"from the zombie"))
    await zombie.flush()
    await until_high_watermark(log, Partition(topic, 0), 1)
    owner = await log.fence(f"{topic}.id")
    end = await log.high_watermark(Partition(topic, 0))
    assert end == 2, "when fencing returns, the abort marker is in the log"
    assert await read_until(log, Partition(topic, 0), end) == []
    with pytest.raises(LogError):
        await zombie.commit()
    await owner.begin()
    await owner.append(Partition(topic, 0), records(b"from the owner"))
    await owner.commit()
    assert values(await read_until(log, Partition(topic, 0), 4)) == [b"from the owner"]
    await zombie.close()
    await owner.close()


async def test_blocked_by_when_transactions_are_open_then_their_ids_are_named_until_they_end(
    log: Log, topic: str
) -> None:
    partition = Partition(topic, 0)
    assert set(await log.blocked_by(partition)) == set()
    producers = {f"{topic}.{name}": await log.fence(f"{topic}.{name}") for name in ("gone", "here", "elsewhere")}
    for transactional_id, producer in producers.items():
        await producer.begin()
        await producer.append(Partition(topic, 1) if "elsewhere" in transactional_id else partition, records(b"open"))
        await producer.flush()
    await until_high_watermark(log, partition, 2)
    assert set(await log.blocked_by(partition)) == {f"{topic}.gone", f"{topic}.here"}
    await producers[f"{topic}.here"].commit()
    await until_high_watermark(log, partition, 3)
    assert set(await log.blocked_by(partition)) == {f"{topic}.gone"}
    successor = await log.fence(f"{topic}.gone")
    assert set(await log.blocked_by(partition)) == set()
    for producer in (*producers.values(), successor):
        await producer.close()


async def test_known_ids_when_producers_have_ended_then_they_are_named_by_their_prefix_all_the_same(
    log: Log, topic: str
) -> None:
    assert set(await log.known_ids(f"{topic}.")) == set()
    idle, done = await log.fence(f"{topic}.idle"), await log.fence(f"{topic}.done")
    await log.fence(f"{topic}-other.id")
    await done.begin()
    await done.append(Partition(topic, 0), records(b"said"))
    await done.commit()
    for producer in (idle, done):
        await producer.close()
    async with asyncio.timeout(20):
        while set(await log.known_ids(f"{topic}.")) != {f"{topic}.idle", f"{topic}.done"}:
            await asyncio.sleep(0.01)


async def test_append_when_fenced_before_then_the_owner_is_told(log: Log, topic: str) -> None:
    zombie = await log.fence(f"{topic}.id")
    owner = await log.fence(f"{topic}.id")
    await zombie.begin()
    with pytest.raises(Fenced):
        await zombie.append(Partition(topic, 0), records(b"late"))
        await zombie.commit()
    assert await log.high_watermark(Partition(topic, 0)) == 0
    await zombie.close()
    await owner.close()


async def test_producer_when_it_commits_many_times_then_order_is_kept(log: Log, topic: str) -> None:
    producer = await log.fence(f"{topic}.id")
    for number in range(20):
        await producer.begin()
        await producer.append(Partition(topic, 0), records(b"%d a" % number, b"%d b" % number))
        ends = await producer.commit()
        assert ends[Partition(topic, 0)] == 3 * number + 2
    found = values(await read_until(log, Partition(topic, 0), 60))
    assert found == [b"%d %s" % (number, letter) for number in range(20) for letter in (b"a", b"b")]
    await producer.close()


async def test_reader_when_started_in_the_middle_then_it_begins_there(log: Log, topic: str) -> None:
    producer = await log.fence(f"{topic}.id")
    await producer.begin()
    await producer.append(Partition(topic, 0), records(b"1", b"2", b"3"))
    await producer.commit()
    found = await read_until(log, Partition(topic, 0), 4, start=1)
    assert [(record.offset, record.value) for record in found] == [(1, b"2"), (2, b"3")]
    assert await log.low_watermark(Partition(topic, 0)) == 0
    await producer.close()


async def test_transaction_when_larger_than_a_batch_then_it_is_one_all_the_same(log: Log, topic: str) -> None:
    producer = await log.fence(f"{topic}.id")
    large = records(*(b"%05d" % number + b"x" * 10_000 for number in range(250)))
    for round_number in (1, 2):
        await producer.begin()
        await producer.append(Partition(topic, 0), large[:100])
        await producer.append(Partition(topic, 0), large[100:])
        ends = await producer.commit()
        assert ends == {Partition(topic, 0): round_number * 251 - 1}
    found = await read_until(log, Partition(topic, 0), 502)
    assert values(found) == 2 * [record.value for record in large]
    await producer.close()


async def test_transaction_when_it_has_nothing_for_a_partition_then_the_others_get_theirs(log: Log, topic: str) -> None:
    """A batch whose orders are all denied has an empty block of ledger entries."""
    producer = await log.fence(f"{topic}.id")
    nothing = Column(np.empty(0, np.uint8), np.empty(0, np.int64), np.empty(0, np.int64))
    await producer.begin()
    await producer.append(Partition(topic, 0), RecordColumns(nothing, nothing, 0, {}))
    await producer.append(Partition(topic, 1), records(b"1"))
    assert (await producer.commit())[Partition(topic, 1)] == 1
    await producer.begin()
    await producer.append(Partition(topic, 0), [])
    await producer.commit()
    assert await log.high_watermark(Partition(topic, 0)) == 0
    await producer.close()


async def test_transaction_when_empty_then_it_ends_without_a_trace(log: Log, topic: str) -> None:
    producer = await log.fence(f"{topic}.id")
    for end in (producer.commit, producer.abort):
        await producer.begin()
        assert not await end()
    assert await log.high_watermark(Partition(topic, 0)) == 0
    await producer.begin()
    await producer.append(Partition(topic, 0), records(b"first"))
    assert await producer.commit() == {Partition(topic, 0): 1}
    await producer.close()


async def test_partition_count_when_the_topic_is_missing_then_fatal(log: Log, topic: str) -> None:
    assert await log.partition_count(topic) == PARTITIONS
    with pytest.raises(Fatal):
        await log.partition_count(f"{topic}.missing")
