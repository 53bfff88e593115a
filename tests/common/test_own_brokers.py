"""A counting stage on brokers that are restarted one by one, that forget their producers, and of an older Kafka."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from common.fleet_topics import create_topics
from parts import LocalStack, native_kafka
from parts.kafka_config import broker_properties
from parts.kafka_jars import jars_of
from streams.kafka.kafka_log import KafkaLog
from streams.process.settings import KafkaSettings, Settings

from tests.common.beside import Beside, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
OLDER_KAFKA = "3.9.1"
OLDER_JARS = Path(__file__).with_name("kafka_3_9_jars.lock")
FORGETFUL: Mapping[str, str] = {
    "transactional.id.expiration.ms": "1000",
    "transaction.remove.expired.transaction.cleanup.interval.ms": "200",
    "producer.id.expiration.ms": "1000",
    "producer.id.expiration.check.interval.ms": "200",
}
QUIET_S = 6.0
"""Long enough for a forgetful broker to have forgotten who wrote last."""
BETWEEN_S = 3.0


@asynccontextmanager
async def counting(running: LocalStack, prefix: str, path: Path, brokers: int = 1) -> AsyncIterator[Beside]:
    bootstrap = running.addresses.kafka_bootstrap
    log = KafkaLog(Settings(kafka=KafkaSettings(bootstrap=bootstrap)), "test-own-brokers")
    await log.start()
    try:
        beside = Beside(bootstrap, prefix, path, log)
        await create_topics(bootstrap, list(beside.topics.values()), replication=brokers)
        yield beside
    finally:
        await log.stop()


async def test_brokers_that_are_restarted_one_by_one_then_each_message_is_answered_once(
    prefix: str, tmp_path: Path
) -> None:
    with LocalStack({"kafka"}, brokers=3, provider="native") as own:
        async with counting(own, prefix, tmp_path, brokers=3) as beside, beside.stage() as service:
            fed, enough = 0, asyncio.Event()

            async def feed() -> None:
                nonlocal fed
                while not enough.is_set():
                    await beside.feed(4)
                    fed += 4
                    await asyncio.sleep(0.05)

            def fed_beyond(count: int) -> Callable[[], bool]:
                return lambda: fed > count

            feeding = asyncio.create_task(feed())
            for number in (1, 2, 3):
                node = own.part(f"kafka-{number}")
                assert isinstance(node, native_kafka.NativeKafkaNode)
                assert await asyncio.to_thread(node.stop_in_order), "it is stopped as a rolling restart does it"
                await asyncio.sleep(BETWEEN_S)
                await asyncio.to_thread(node.start)
                await until(fed_beyond(fed + 8), "nothing can be written")
            enough.set()
            await feeding
            await beside.until_outputs(fed)
            await until(lambda: service.ready()[0], "not ready again")


async def test_broker_that_has_forgotten_a_quiet_producer_then_the_next_message_is_answered_once(
    prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native_kafka, "broker_properties", lambda brokers: {**broker_properties(brokers), **FORGETFUL})
    with LocalStack({"kafka"}, provider="native") as own:
        async with counting(own, prefix, tmp_path) as beside, beside.stage() as service:
            for round_ in (1, 2, 3):
                await beside.feed(4)
                await beside.until_outputs(4 * round_)
                await asyncio.sleep(QUIET_S)
                assert service.ready()[0]


@pytest.fixture
def older_kafka(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The local parts start Kafka 3.9 instead, of jars that a lock of its own pins."""

    def forget() -> None:
        native_kafka.java_command.cache_clear()
        native_kafka.class_archive.cache_clear()

    forget()
    with monkeypatch.context() as patch:
        patch.setattr(native_kafka, "kafka_jars", lambda: jars_of(OLDER_JARS, "kafka-3.9", f"Kafka {OLDER_KAFKA}"))
        yield
    forget()


async def test_kafka_of_the_release_before_then_killed_and_restarted_each_message_is_answered_once(
    older_kafka: None, prefix: str, tmp_path: Path
) -> None:
    with LocalStack({"kafka"}, provider="native") as own:
        async with counting(own, prefix, tmp_path) as beside:
            async with beside.stage() as service:
                await beside.feed(8)
                await beside.until_outputs(8)
                await asyncio.to_thread(own.kill, "kafka")
                await asyncio.to_thread(own.restart, "kafka")
                await beside.feed(8)
                await beside.until_outputs(16)
                await until(lambda: service.ready()[0], "not ready again")
            async with beside.stage():
                await beside.feed(8)
                await beside.until_outputs(24)
