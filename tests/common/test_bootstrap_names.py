"""Bootstrap lists as they stand in real files: a dead first host, a name that nobody resolves, spaces, IPv6."""

import asyncio

import pytest
from common.contracts.topics import RAW_SCHEMA, Topic
from common.fleet_topics import create_topics
from parts import Stack
from streams.kafka.kafka_log import KafkaLog
from streams.model.log import Partition, Record
from streams.process.settings import KafkaSettings, Settings


@pytest.mark.parametrize(
    "given",
    [
        "127.0.0.1:1,{at}",
        "no.such.host.invalid:9092,{at}",
        "127.0.0.1:1, {at}",
        "{at},",
        "localhost:{port}",
        "[::ffff:127.0.0.1]:{port}",
    ],
)
async def test_bootstrap_when_one_of_its_servers_answers_then_the_log_is_read_and_written(
    stack: Stack, prefix: str, given: str
) -> None:
    at = stack.kafka_bootstrap
    topic = Topic(f"{prefix}.names", "key", RAW_SCHEMA, "test", partitions=1)
    await create_topics(at, [topic])
    log = KafkaLog(Settings(kafka=KafkaSettings(bootstrap=given.format(at=at, port=at.rpartition(":")[2]))), prefix)
    await log.start()
    try:
        where = Partition(topic.name, 0)
        producer = await log.fence(prefix, [where])
        await producer.begin()
        await producer.append(where, [Record(b"key", b"value", 0)])
        await producer.commit()
        await producer.close()
        reader = await log.read(where, 0)
        async with asyncio.timeout(30):
            while not (found := await reader.poll(200)):  # until its marker is written
                pass
        await reader.close()
        assert [record.value for record in found] == [b"value"]
    finally:
        await log.stop()
