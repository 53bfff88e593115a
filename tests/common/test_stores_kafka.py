"""Sick disks and changed rows on a real broker, with the group that deals the partitions out."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from common.contracts.topics import RAW_SCHEMA, Topic
from common.fleet_topics import create_topics
from common.testing import counting_worker
from parts import Stack
from streams.group.membership import Membership
from streams.kafka.kafka_log import KafkaLog
from streams.model.declaration import Stage
from streams.model.log import Partition, Record
from streams.model.tables import Changelogged, Codec
from streams.process.settings import KafkaSettings, RestartSettings, Settings, StoreSettings
from streams.stage.runner import StageService

PARTITIONS = counting_worker.PARTITIONS
WITHIN_S = 40.0


@pytest.fixture
async def log(stack: Stack) -> AsyncIterator[KafkaLog]:
    log = KafkaLog(Settings(kafka=KafkaSettings(bootstrap=stack.kafka_bootstrap)), "test-stores")
    await log.start()
    yield log
    await log.stop()


@asynccontextmanager
async def worker(stack: Stack, stage: Stage, path: Path, name: str, **more: Any) -> AsyncIterator[StageService]:
    """A worker with a disk of its own, in this process."""
    settings = Settings(
        kafka=KafkaSettings(bootstrap=stack.kafka_bootstrap),
        data_dir=path / name,
        worker_id=name,
        session_timeout_ms=6_000,
        heartbeat_interval_ms=200,
        restart=RestartSettings(backoff_min_s=0.2, backoff_max_s=1.0),
        **more,
    )
    service = StageService(stage, settings, None)
    await service.start()
    try:
        yield service
    finally:
        await service.stop()


async def feed(log: KafkaLog, prefix: str, accounts: int) -> None:
    """One message to each account of each partition."""
    producer = await log.fence(f"{prefix}.feed")
    await producer.begin()
    for number in range(PARTITIONS):
        records = [Record(b"account-%d" % account, b"message", 0) for account in range(accounts)]
        await producer.append(Partition(counting_worker.topics(prefix)["input"].name, number), records)
    await producer.commit()
    await producer.close()


async def values(log: KafkaLog, topic: str, number: int) -> list[bytes | None]:
    """Values that can be read now."""
    end = await log.last_stable_offset(Partition(topic, number))
    reader = await log.read(Partition(topic, number), 0)
    found: list[bytes | None] = []
    while reader.position < end:
        found += [record.value for record in await reader.poll(50)]
    await reader.close()
    return found


async def answered(log: KafkaLog, prefix: str, count: int) -> None:
    output = counting_worker.topics(prefix)["output"].name
    async with asyncio.timeout(WITHIN_S):
        for number in range(PARTITIONS):
            while len(await values(log, output, number)) < count:
                await asyncio.sleep(0.1)


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not what():
            await asyncio.sleep(0.05)


def served(service: StageService) -> set[str]:
    ready, detail = service.ready()
    return {number for number, page in detail["partitions"].items() if page["state"] == "running"} if ready else set()


async def test_worker_when_its_disk_refuses_then_the_other_serves_its_partitions_until_it_can_again(
    stack: Stack, log: KafkaLog, prefix: str, tmp_path: Path
) -> None:
    stage = counting_worker.counting_stage(prefix)
    await create_topics(stack.kafka_bootstrap, list(counting_worker.topics(prefix).values()))
    (tmp_path / "sick" / prefix).mkdir(parents=True)
    (tmp_path / "sick" / prefix / "count").write_text("a file where the directory should be")
    bounds = {"store": StoreSettings(give_up_s=1.0, retry_s=1.0)}
    async with (
        worker(stack, stage, tmp_path, "healthy", **bounds) as healthy,
        worker(stack, stage, tmp_path, "sick", **bounds) as sick,
    ):
        await until(lambda: bool(sick.ready()[1]["given_up"]))
        await until(lambda: served(healthy) == {"0", "1"})
        assert not sick.tasks()
        await feed(log, prefix, 3)
        await answered(log, prefix, 3)
        (tmp_path / "sick" / prefix / "count").unlink()
        await until(lambda: len(served(sick)) == 1 and len(served(healthy)) == 1)
        assert not sick.ready()[1]["given_up"]
        await feed(log, prefix, 3)
        await answered(log, prefix, 6)
    output = counting_worker.topics(prefix)["output"].name
    for number in range(PARTITIONS):
        assert await values(log, output, number) == [b"message 1"] * 3 + [b"message 2"] * 3


def input_of(prefix: str) -> Topic:
    return Topic(f"{prefix}.input", "account", RAW_SCHEMA, "test", 4)


def member(stack: Stack, prefix: str, name: str) -> Membership:
    settings = Settings(kafka=KafkaSettings(bootstrap=stack.kafka_bootstrap), worker_id=name, heartbeat_interval_ms=500)
    return Membership(settings, prefix, [input_of(prefix).name])


async def two_members(stack: Stack, prefix: str) -> tuple[Membership, Membership]:
    """Each is dealt half of the input."""
    await create_topics(stack.kafka_bootstrap, [input_of(prefix)])
    first, second = member(stack, prefix, "sick"), member(stack, prefix, "healthy")
    await first.start()
    await second.start()
    await until(lambda: len(first.assigned.served) == len(second.assigned.served) == 2)
    return first, second


async def test_member_when_it_gives_up_more_while_it_joins_for_the_first_then_the_other_is_dealt_all_of_them(
    stack: Stack, prefix: str
) -> None:
    """The group is told of a partition in the middle of a join that tells it of another."""
    sick, healthy = await two_members(stack, prefix)
    try:
        first, second = sick.assigned.served
        sick.unable(frozenset({first}))
        async with asyncio.timeout(WITHIN_S):
            while not sick.told_unable:
                await asyncio.sleep(0)
        sick.unable(frozenset({first, second}))
        await until(lambda: healthy.assigned.served == {0, 1, 2, 3})
        assert not sick.assigned.served
    finally:
        await sick.stop(hand_over=False)
        await healthy.stop(hand_over=False)


async def test_member_when_another_process_of_it_can_serve_what_the_one_before_gave_up_then_it_is_dealt_its_share(
    stack: Stack, prefix: str
) -> None:
    sick, healthy = await two_members(stack, prefix)
    try:
        sick.unable(sick.assigned.served)
        await until(lambda: healthy.assigned.served == {0, 1, 2, 3} and not sick.assigned.served)
        await sick.stop(hand_over=False)
        sick = member(stack, prefix, "sick")
        await sick.start()
        await until(lambda: len(sick.assigned.served) == len(healthy.assigned.served) == 2)
        assert sick.assigned.served | healthy.assigned.served == {0, 1, 2, 3}
    finally:
        await sick.stop(hand_over=False)
        await healthy.stop(hand_over=False)


async def test_release_when_it_changed_the_rows_without_saying_so_then_refused_and_the_one_before_goes_on(
    stack: Stack, log: KafkaLog, prefix: str, tmp_path: Path
) -> None:
    named = counting_worker.topics(prefix)
    await create_topics(stack.kafka_bootstrap, list(named.values()))
    before = counting_worker.counting_stage(prefix)
    counted = Codec(lambda number: json.dumps({"count": number}).encode(), lambda raw: int(json.loads(raw)["count"]))
    after = replace(before, tables=(Changelogged("accounts", counted),))
    await feed(log, prefix, 3)
    async with worker(stack, before, tmp_path, "a"):
        await answered(log, prefix, 3)
    await feed(log, prefix, 3)
    async with worker(stack, after, tmp_path, "a") as refused:
        await until(lambda: {page["state"] for page in refused.ready()[1]["partitions"].values()} == {"refused"})
        assert "cannot be decoded" in refused.ready()[1]["partitions"]["0"]["reason"]
    async with worker(stack, before, tmp_path, "a"):
        await answered(log, prefix, 6)
    for number in range(PARTITIONS):
        assert await values(log, named["output"].name, number) == [b"message 1"] * 3 + [b"message 2"] * 3
        assert not await values(log, named["dead"].name, number)
