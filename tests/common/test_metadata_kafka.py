"""Metadata of a client on a real broker: the task that fetches them ends of an error, or never comes to an end."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from aiokafka.client import AIOKafkaClient
from common.fleet_topics import create_topics
from parts import Stack
from streams.kafka.internals import metadata_failure
from streams.kafka.kafka_log import KafkaLog
from streams.kafka.metadata import refresh_metadata
from streams.model.log import Partition
from streams.model.topics import RAW_SCHEMA, Topic
from streams.process.settings import KafkaSettings, Settings

WITHIN_MS = 500


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[AIOKafkaClient]:
    client = AIOKafkaClient(bootstrap_servers=stack.kafka_bootstrap, client_id="test-metadata")
    await client.bootstrap()
    yield client
    await client.close()


async def ended_of_an_error(*_: Any) -> bool:
    """As uvloop says it of a connection that was closed."""
    raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")


async def never_ended(*_: Any) -> bool:
    await asyncio.Event().wait()
    return True


@pytest.mark.parametrize("update", [ended_of_an_error, never_ended])
async def test_metadata_when_the_task_that_fetches_them_is_of_no_use_then_it_is_begun_again(
    client: AIOKafkaClient, update: Callable[..., Awaitable[bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(client, "_metadata_update", update)
        with pytest.raises(TimeoutError):  # who waits for aiokafka's own has no other end
            async with asyncio.timeout(WITHIN_MS / 1_000):
                await client.force_metadata_update()
    assert (metadata_failure(client) is not None) == (update is ended_of_an_error)
    waiting = asyncio.ensure_future(client.force_metadata_update())
    await refresh_metadata(client, WITHIN_MS)
    assert await waiting is not None, "nobody is left waiting for the round that never came"
    async with asyncio.timeout(10):
        assert await client.force_metadata_update() is True
    assert metadata_failure(client) is None


async def test_log_when_its_clients_task_for_metadata_has_failed_then_it_answers_all_the_same(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = Topic(f"metadata-{uuid.uuid4().hex[:8]}", partitions=1, schema=RAW_SCHEMA)
    await create_topics(stack.kafka_bootstrap, [topic])
    log = KafkaLog(Settings(kafka=KafkaSettings(bootstrap=stack.kafka_bootstrap)), "test-metadata-log")
    await log.start()
    client = log._connected()
    with monkeypatch.context() as patch:
        patch.setattr(client, "_metadata_update", ended_of_an_error)
        with suppress(TimeoutError):
            async with asyncio.timeout(WITHIN_MS / 1_000):
                await client.force_metadata_update()
    async with asyncio.timeout(20):
        assert await log.high_watermark(Partition(topic.name, 0)) == 0  # of which no leader is known yet
    await log.stop()
