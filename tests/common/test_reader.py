"""Readers of whole topics, against a real broker."""

import asyncio
import time
import uuid
from collections import defaultdict

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from common.contracts.topics import RAW_SCHEMA, Topic
from parts import Stack
from streams.edges.reader import CommittedReader
from streams.edges.sender import Sender
from streams.model.errors import Retriable
from streams.process.settings import KafkaSettings, Settings

PARTITIONS = 3


@pytest.fixture
async def topic(stack: Stack) -> Topic:
    made = Topic(f"test.{uuid.uuid4().hex[:12]}", "key", RAW_SCHEMA, "test", partitions=PARTITIONS)
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(made.name, PARTITIONS, 1)])
    finally:
        await admin.close()
    return made


async def write(settings: Settings, topic: Topic, count: int) -> None:
    sender = Sender(settings, "test")
    await sender.start()
    for number in range(count):
        await sender.send(topic, b"key", b"%d" % number, partition=number % PARTITIONS)
    await sender.stop()


@pytest.mark.parametrize("at_most", [1, 7, 1_000])
async def test_gather_when_several_partitions_have_records_then_each_comes_in_order_and_whole(
    stack: Stack, topic: Topic, at_most: int
) -> None:
    settings = Settings(kafka=KafkaSettings(bootstrap=stack.kafka_bootstrap))
    await write(settings, topic, 60)
    found: dict[int, list[int]] = defaultdict(list)
    async with (
        asyncio.timeout(20),
        CommittedReader(settings, [topic], from_beginning=True, pace_s=0.01) as reader,
    ):
        while sum(map(len, found.values())) < 60:
            messages = await reader.gather(at_most)
            assert 0 < len(messages) <= at_most
            for message in messages:
                found[message.partition].append(int(message.value or b""))
            assert reader.gathered == {(topic.name, number): len(found[number]) for number in range(PARTITIONS)}
    assert found == {number: list(range(number, 60, PARTITIONS)) for number in range(PARTITIONS)}


async def test_reader_when_a_partition_cannot_be_read_any_more_then_it_says_so(stack: Stack, topic: Topic) -> None:
    settings = Settings(kafka=KafkaSettings(bootstrap=stack.kafka_bootstrap))
    await write(settings, topic, PARTITIONS)
    beyond = {(topic.name, number): 1_000 for number in range(PARTITIONS)}
    async with asyncio.timeout(20), CommittedReader(settings, [topic], positions=beyond) as reader:
        with pytest.raises(Retriable, match="OffsetOutOfRange"):
            await reader.gather(10)


async def test_batches_when_nothing_comes_in_time_then_they_end(stack: Stack, topic: Topic) -> None:
    settings = Settings(kafka=KafkaSettings(bootstrap=stack.kafka_bootstrap))
    await write(settings, topic, PARTITIONS)
    async with asyncio.timeout(20), CommittedReader(settings, [topic], from_beginning=True) as reader:
        values = {message.value async for batch in reader.batches(until_idle_s=1.0) for message in batch}
    assert values == {b"0", b"1", b"2"}


async def test_time_that_is_read_through_when_asked_for_while_records_wait_then_it_is_that_of_the_last_wait(
    stack: Stack, topic: Topic
) -> None:
    settings = Settings(kafka=KafkaSettings(bootstrap=stack.kafka_bootstrap))
    began_ns = time.time_ns()
    async with asyncio.timeout(20), CommittedReader(settings, [topic]) as reader:
        for _ in range(2):
            assert [batch async for batch in reader.batches(until_idle_s=1.0)] == []
        await write(settings, topic, 30 * PARTITIONS)
        assert len(await reader.gather(1)) == 1
        assert began_ns < reader.read_through_ns() < time.time_ns()


async def test_time_that_is_read_through_from_the_end_on_then_it_is_known_at_once(stack: Stack, topic: Topic) -> None:
    settings = Settings(kafka=KafkaSettings(bootstrap=stack.kafka_bootstrap))
    began_ns = time.time_ns()
    async with CommittedReader(settings, [topic]) as reader:
        assert began_ns < reader.read_through_ns() < time.time_ns()
    async with CommittedReader(settings, [topic], from_beginning=True) as reader:
        assert reader.read_through_ns() == 0, "nobody has looked yet"


async def test_offsets_at_a_time_then_the_first_record_of_it_or_later_and_the_end_where_there_is_none(
    stack: Stack, topic: Topic
) -> None:
    settings, now_ms = Settings(kafka=KafkaSettings(bootstrap=stack.kafka_bootstrap)), time.time_ns() // 1_000_000
    async with AIOKafkaProducer(bootstrap_servers=stack.kafka_bootstrap) as producer:
        for after_ms in (0, 10, 5, 20):  # the third by a clock that is behind
            await producer.send_and_wait(topic.name, b"", partition=0, timestamp_ms=now_ms + after_ms)
    async with CommittedReader(settings, [topic], from_beginning=True) as reader:
        found = {after_ms: await reader.offsets_at(now_ms + after_ms) for after_ms in (-1, 0, 1, 5, 10, 11, 20, 21)}
    assert {after_ms: each[topic.name, 0] for after_ms, each in found.items()} == {
        -1: 0, 0: 0, 1: 1, 5: 1, 10: 1, 11: 3, 20: 3, 21: 4,
    }  # fmt: skip
    assert {each[topic.name, 1] for each in found.values()} == {0}
