"""A broker that is killed right after it decided a transaction comes back without the markers it owed."""

import asyncio
from collections.abc import Iterator

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from parts import LocalStack
from streams.kafka.kafka_log import KafkaLog
from streams.model.log import Partition, Record
from streams.process.settings import KafkaSettings, Settings

ROUNDS = 3
"""Kafka 4.3 loses the markers in most kills, not in all."""


@pytest.fixture(scope="module")
def own() -> Iterator[LocalStack]:
    """A broker of this module's own: it is killed."""
    with LocalStack({"kafka"}) as running:
        yield running


async def create_topic(bootstrap: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=2, replication_factor=1)])
    finally:
        await admin.close()


async def connected(bootstrap: str) -> KafkaLog:
    log = KafkaLog(Settings(kafka=KafkaSettings(bootstrap=bootstrap)), "markers")
    await log.start()
    return log


async def read_to_end(log: KafkaLog, partition: Partition) -> list[bytes | None]:
    end = await log.high_watermark(partition)
    reader = await log.read(partition, 0)
    found: list[bytes | None] = []
    async with asyncio.timeout(20):
        while reader.position < end:
            found += [record.value for record in await reader.poll(50)]
    await reader.close()
    return found


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("committed", [True, False])
async def test_fence_when_the_broker_was_killed_after_the_decision_then_it_stands_and_is_readable(
    own: LocalStack, prefix: str, committed: bool
) -> None:
    bootstrap = own.addresses.kafka_bootstrap
    for number in range(ROUNDS):
        topic = f"{prefix}.{committed}.{number}"
        await create_topic(bootstrap, topic)
        writes = [Partition(topic, 0), Partition(topic, 1)]
        log = await connected(bootstrap)
        producer = await log.fence(topic, writes)
        await producer.begin()
        for partition in writes:
            await producer.append(partition, [Record(b"k", b"decided", 1)])
        await producer.flush()
        await (producer.commit() if committed else producer.abort())
        own.kill("kafka")
        own.restart("kafka")
        await producer.close()
        await log.stop()

        log = await connected(bootstrap)
        producer = await log.fence(topic, writes)
        for partition in writes:
            assert await read_to_end(log, partition) == ([b"decided"] if committed else [])
        await producer.begin()
        await producer.append(writes[0], [Record(b"k", b"next", 1)])
        await producer.commit()
        await producer.close()
        await log.stop()
