"""A counting stage of a test's own on a real broker, and whoever else is there."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from common.contracts.topics import Topic
from common.testing import counting_worker
from prometheus_client import REGISTRY
from streams.kafka.kafka_log import KafkaLog
from streams.model.declaration import Stage
from streams.model.log import Partition, StoredRecord
from streams.process.settings import KafkaSettings, RestartSettings, Settings
from streams.stage.runner import StageService

WITHIN_S = 30.0


async def until(condition: Callable[[], bool], what: str) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not condition():
            await asyncio.sleep(0.05)
    assert condition(), what


def measured(metric: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(metric, labels)


@dataclass
class Beside:
    """A counting stage's topics, and whoever else is there."""

    bootstrap: str
    prefix: str
    path: Path
    log: KafkaLog

    def __post_init__(self) -> None:
        self.topics = counting_worker.topics(self.prefix)
        self.group = f"{self.prefix}.count"

    def settings(self, worker: str = "one", **more: Any) -> Settings:
        fast: Mapping[str, Any] = {
            "topics_interval_s": 0.2,
            "blocked_after_s": 0.5,
            "group_offsets_interval_s": 0.3,
            "restart": RestartSettings(backoff_min_s=0.2),
            "session_timeout_ms": 6_000,
            "heartbeat_interval_ms": 200,
        }
        return Settings(
            kafka=KafkaSettings(bootstrap=self.bootstrap), data_dir=self.path / worker, worker_id=worker, **fast, **more
        )

    def measured(self, metric: str, **labels: str) -> float | None:
        return measured(metric, app=self.prefix, stage="count", **labels)

    @asynccontextmanager
    async def stage_later(
        self, worker: str = "one", where: str = "", declared: Stage | None = None
    ) -> AsyncIterator[StageService]:
        """A stage that is stopped at the end of the block; to be started inside."""
        settings = self.settings(worker).model_copy(update={"data_dir": self.path / (where or worker)})
        service = StageService(declared or counting_worker.counting_stage(self.prefix), settings, None)
        try:
            yield service
        finally:
            await service.stop()

    @asynccontextmanager
    async def stage(
        self, worker: str = "one", where: str = "", declared: Stage | None = None
    ) -> AsyncIterator[StageService]:
        async with self.stage_later(worker, where, declared) as service:
            await service.start()
            yield service

    async def feed(self, count: int, partitions: int = counting_worker.PARTITIONS, topic: Topic | None = None) -> None:
        """Some of each partition, outside any transaction."""
        async with AIOKafkaProducer(bootstrap_servers=self.bootstrap, enable_idempotence=True) as producer:
            for number in range(count):
                await producer.send_and_wait(
                    (topic or self.topics["input"]).name, b"m", b"a%d" % (number % partitions), number % partitions
                )

    async def outputs(self) -> list[StoredRecord]:
        found: list[StoredRecord] = []
        for number in range(counting_worker.PARTITIONS):
            partition = Partition(self.topics["output"].name, number)
            end, reader = await self.log.last_stable_offset(partition), await self.log.read(partition, 0)
            while reader.position < end:
                found += await reader.poll(50)
            await reader.close()
        return found

    async def until_outputs(self, wanted: int) -> None:
        async with asyncio.timeout(WITHIN_S):
            while len(found := await self.outputs()) < wanted:
                await asyncio.sleep(0.05)
        assert len({(record.key, record.value) for record in found}) == len(found) == wanted

    @asynccontextmanager
    async def consumer(self, assignor: type[AbstractPartitionAssignor]) -> AsyncIterator[AIOKafkaConsumer]:
        """Reads along with the stage's group id."""
        reading = AIOKafkaConsumer(
            self.topics["input"].name,
            bootstrap_servers=self.bootstrap,
            group_id=self.group,
            partition_assignment_strategy=(assignor,),
            enable_auto_commit=False,
        )
        await reading.start()
        try:
            yield reading
        finally:
            await reading.stop()
