"""The way for requests onto the log, against a real broker."""

import asyncio
import uuid

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from common.contracts.topics import RAW_SCHEMA, Topic
from parts import Stack
from streams.edges.sender import Sender
from streams.model.errors import LogError, Retriable
from streams.process.settings import KafkaSettings, Settings

REFUSED_BYTES = 2_000


async def make_topic(bootstrap: str) -> Topic:
    """One partition that refuses large records: the broker does, not the client."""
    topic = Topic(f"test.{uuid.uuid4().hex[:12]}", "key", RAW_SCHEMA, "test", partitions=1)
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        config = {"max.message.bytes": str(REFUSED_BYTES // 2)}
        await admin.create_topics([NewTopic(topic.name, 1, 1, topic_configs=config)])
    finally:
        await admin.close()
    return topic


async def test_sender_when_a_record_was_refused_then_the_next_one_is_sent(stack: Stack) -> None:
    topic = await make_topic(stack.kafka_bootstrap)
    sender = Sender(Settings(kafka=KafkaSettings(bootstrap=stack.kafka_bootstrap)), "test")
    await sender.start()
    assert await sender.send(topic, b"key", b"first") == (0, 0)
    for expected in (1, 2):
        with pytest.raises(LogError):
            await sender.send(topic, b"key", b"x" * REFUSED_BYTES)
        assert await sender.send(topic, b"key", b"next") == (0, expected)
    await sender.stop()


async def test_sender_when_its_batches_are_too_large_but_no_message_is_then_all_are_sent(stack: Stack) -> None:
    topic = await make_topic(stack.kafka_bootstrap)
    sender = Sender(Settings(kafka=KafkaSettings(bootstrap=stack.kafka_bootstrap)), "test")
    await sender.start()
    sent = await asyncio.gather(*(sender.send(topic, b"key", b"%d" % n + b"x" * 300) for n in range(50)))
    assert sorted(offset for _, offset in sent) == list(range(50))
    await sender.stop()


async def test_sender_when_stopped_then_it_says_so(stack: Stack) -> None:
    topic = await make_topic(stack.kafka_bootstrap)
    sender = Sender(Settings(kafka=KafkaSettings(bootstrap=stack.kafka_bootstrap)), "test")
    with pytest.raises(Retriable, match="not connected"):
        await sender.send(topic, b"key", b"early")
    await sender.start()
    await sender.stop()
    with pytest.raises(Retriable, match="not connected"):
        await sender.send_many(topic, [(b"key", b"late")])
