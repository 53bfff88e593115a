"""Limits of brokers on records, on a real one: ``max.message.bytes``, compression, null headers, version limits."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from common.testing import counting_worker
from parts import Stack
from streams.kafka.kafka_log import KafkaLog, check_versions
from streams.kafka.transaction_requests import Features
from streams.model.errors import Fatal
from streams.model.log import Partition, Record, StoredRecord
from streams.process.settings import BatchSettings, KafkaSettings, Settings, TransactionSettings
from streams.stage.task import Task

WITHIN_S = 30.0


class World:
    """The counting stage on topics of its own, of one partition that is served."""

    def __init__(self, log: KafkaLog, bootstrap: str, prefix: str) -> None:
        self.log = log
        self.bootstrap = bootstrap
        self.stage = counting_worker.counting_stage(prefix)
        self.topics = counting_worker.topics(prefix)

    async def create(self, configs: Mapping[str, str] = {}, **more: Mapping[str, str]) -> None:
        """``configs`` of every topic; ``more`` by purpose."""
        client = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await client.start()
        cleanup = {"changelog": {"cleanup.policy": "compact"}}
        await client.create_topics([
            NewTopic(topic.name, topic.partitions, 1,
                     topic_configs={**configs, **cleanup.get(purpose, {}), **more.get(purpose, {})})
            for purpose, topic in self.topics.items()
        ])  # fmt: skip
        await client.close()

    async def feed(self, *bodies: bytes, key: bytes = b"account") -> None:
        producer = await self.log.fence(f"{self.stage.app}.feeder")
        await producer.begin()
        await producer.append(Partition(self.topics["input"].name, 0), [Record(key, body, 0) for body in bodies])
        await producer.commit()
        await producer.close()

    async def serve(self, path: Path, position: int, **settings: Any) -> None:
        """Runs a task until the position of its input is reached. Raises what ends the task."""
        task = Task(self.stage, 0, self.log, Settings(data_dir=path, **settings), {})
        running = asyncio.create_task(task.run())
        try:
            async with asyncio.timeout(WITHIN_S):
                while task.positions.get(self.topics["input"].name, 0) < position:
                    if running.done():
                        running.result()
                    await asyncio.sleep(0.02)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def committed(self, purpose: str) -> Sequence[StoredRecord]:
        partition = Partition(self.topics[purpose].name, 0)
        end = await self.log.last_stable_offset(partition)
        reader = await self.log.read(partition, 0)
        found: list[StoredRecord] = []
        while reader.position < end:
            found += await reader.poll(50)
        await reader.close()
        return found


@pytest.fixture(params=[2])
async def world(stack: Stack, prefix: str, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """Parameter: the version of Kafka's transactions that is spoken."""
    settings = Settings(
        kafka=KafkaSettings(bootstrap=stack.kafka_bootstrap), transaction=TransactionSettings(version=request.param)
    )
    log = KafkaLog(settings, prefix)
    await log.start()
    yield World(log, stack.kafka_bootstrap, prefix)
    await log.stop()


@pytest.mark.parametrize("world", [1, 2], indirect=True)
async def test_batch_when_larger_than_topics_take_then_it_is_cut_until_it_fits(world: World, tmp_path: Path) -> None:
    small = {"max.message.bytes": "20000"}
    await world.create(output=small, changelog=small)
    bodies = [b"%04d" % n + b"x" * 1_000 for n in range(300)]
    await world.feed(*bodies)
    await world.serve(tmp_path, 300, batch=BatchSettings(messages_max=1_000))
    await world.feed(*bodies[:10])
    await world.serve(tmp_path, 311, batch=BatchSettings(messages_max=1_000))
    said = [record.value for record in await world.committed("output")]
    assert said == [b"%s %d" % (body, n) for n, body in enumerate([*bodies, *bodies[:10]], 1)]
    assert await world.committed("dead") == []


@pytest.mark.parametrize("world", [1, 2], indirect=True)
async def test_output_when_its_topic_does_not_take_it_then_its_message_is_set_aside_and_others_are_answered(
    world: World, tmp_path: Path
) -> None:
    await world.create(output={"max.message.bytes": "500"})
    bodies = [b"1", b"2", b"x" * 600, b"3", b"x" * 450, b"4"]
    await world.feed(*bodies)
    await world.serve(tmp_path, len(bodies))
    fit = [body for body in bodies if len(body) < 400]
    assert [record.value for record in await world.committed("output")] == [
        b"%s %d" % (body, n) for n, body in enumerate(fit, 1)
    ]
    dead = await world.committed("dead")
    assert [record.value for record in dead] == [body for body in bodies if body not in fit]
    assert b"which takes none of" in (dict(dead[0].headers)["dlq.error"] or b"")


@pytest.mark.parametrize("codec", ["snappy", "lz4", "zstd", "gzip"])
async def test_topics_when_their_broker_compresses_then_read_and_restored(
    world: World, tmp_path: Path, codec: str
) -> None:
    await world.create({"compression.type": codec})
    await world.feed(*[b"m%d" % n for n in range(20)])
    await world.serve(tmp_path / "first", 20)
    await world.feed(b"after")
    await world.serve(tmp_path / "without a store", 22)
    assert [record.value for record in await world.committed("output")][-1] == b"after 21"


async def test_header_when_it_is_null_or_foreign_then_the_record_is_handled(world: World, tmp_path: Path) -> None:
    await world.create()
    producer = AIOKafkaProducer(bootstrap_servers=world.bootstrap)
    await producer.start()
    contexts = [("traceparent", None), ("traceparent", b"\xff\xfe"), ("traceparent", b""), ("other", None)]
    for n, header in enumerate(contexts):
        sent = {"key": b"k", "partition": 0, "headers": [header]}
        await producer.send_and_wait(world.topics["input"].name, b"m%d" % n, **sent)
    await producer.stop()
    await world.serve(tmp_path, len(contexts))
    assert [record.value for record in await world.committed("output")] == [b"m0 1", b"m1 2", b"m2 3", b"m3 4"]
    assert await world.committed("dead") == []


def test_brokers_when_too_old_then_one_line_says_what_is_missing_and_which_kafka_has_it() -> None:
    kafka_3_9 = {0: (0, 11), 1: (0, 17), 2: (0, 9), 3: (0, 12), 22: (0, 5), 23: (0, 4), 61: (0, 0), 66: (0, 1)}
    check_versions(Features(kafka_3_9, {}))
    with pytest.raises(Fatal, match=r"speak Fetch 0 to 12, and version 13 is needed: Kafka 3\.1 or newer"):
        check_versions(Features({**kafka_3_9, 1: (0, 12)}, {}))
    with pytest.raises(Fatal, match="do not know Produce"):
        check_versions(Features({}, {}))
