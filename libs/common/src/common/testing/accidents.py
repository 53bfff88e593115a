"""Mistakes of operators with topics, on a real broker: records deleted, a topic deleted and created again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import PolicyViolationError
from streams.kafka.kafka_log import KafkaLog
from streams.kafka.topic_settings import settings_of
from streams.model.log import Partition

from common.contracts.topics import Topic
from common.fleet_topics import create_topics

WITHIN_S: Final = 30.0
POLL_S: Final = 0.1
POLICY: Final = "cleanup.policy"


async def trim(bootstrap: str, log: KafkaLog, topic: Topic, number: int, before: int) -> None:
    """Deletes the records of a partition below an offset; its cleanup policy is then what it was.

    The broker deletes records of no topic that is only compacted, so the policy is another one meanwhile.
    """
    usual = next(setting.value for setting in settings_of(topic, 1) if setting.name == POLICY)
    place = Partition(topic.name, number)
    await log.set_topics({topic.name: {POLICY: "delete"}})
    try:
        async with _admin(bootstrap) as client, asyncio.timeout(WITHIN_S):
            while True:
                with suppress(PolicyViolationError):  # until the broker has taken the new policy
                    await client.delete_records({TopicPartition(*place): RecordsToDelete(before)})
                if await log.low_watermark(place) >= before:
                    return
                await asyncio.sleep(POLL_S)
    finally:
        await log.set_topics({topic.name: {POLICY: usual}})


async def recreate(bootstrap: str, log: KafkaLog, topic: Topic, replication: int = 1) -> None:
    """Deletes a topic and creates it again by the same name. Raises TimeoutError where the broker takes too long."""
    before = await log.identity(topic.name)
    async with _admin(bootstrap) as client:
        await client.delete_topics([topic.name])
    async with asyncio.timeout(WITHIN_S):
        while True:
            await create_topics(bootstrap, [topic], replication)
            if await log.identity(topic.name) != before:
                return
            await asyncio.sleep(POLL_S)


@asynccontextmanager
async def _admin(bootstrap: str) -> AsyncIterator[Any]:
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap, client_id="an-operator")
    await client.start()
    try:
        yield client
    finally:
        await client.close()
