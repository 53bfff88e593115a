"""The log on a Kafka broker, through aiokafka. Transactions are in ``producer.py``."""

import asyncio
import contextlib
import time
from collections.abc import Collection, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.client import AIOKafkaClient

from common.runtime import overrides
from common.runtime.client_errors import translated
from common.runtime.errors import Fatal, Retriable
from common.runtime.log import Partition, StoredRecord
from common.runtime.producer import KafkaProducer
from common.runtime.settings import Settings

FETCH_BYTES_MAX = 8 * 1024 * 1024
FETCH_WAIT_MS = 500
METADATA_BACKOFF_MS = 50


class KafkaReader:
    """See ``log.Reader``. One consumer per partition: a fetch that waits for one partition delays no other."""

    def __init__(self, client: AIOKafkaConsumer, partition: Partition, start: int) -> None:
        self._client = client
        self._partition = TopicPartition(partition.topic, partition.number)
        self.position = start

    async def poll(self, timeout_ms: int) -> Sequence[StoredRecord]:
        with translated(f"read {self._partition}"):
            fetched = await self._client.getmany(self._partition, timeout_ms=timeout_ms)
            self.position = await self._client.position(self._partition)
        records: Sequence[StoredRecord] = fetched.get(self._partition, ())
        return records

    async def close(self) -> None:
        with contextlib.suppress(kafka_errors.KafkaError, TimeoutError, OSError):
            await asyncio.wait_for(self._client.stop(), 1.0)


class KafkaLog:
    """See ``log.Log``. Holds one consumer for questions about offsets and metadata."""

    def __init__(self, settings: Settings, client_id: str) -> None:
        overrides.install()
        self._settings = settings
        self._client_id = client_id
        self._questions: AIOKafkaConsumer | None = None

    async def start(self) -> None:
        """Connects. Raises Retriable where no broker answers."""
        # A read_committed consumer would be told the last stable offset for the end of a partition, and restoring until
        # there would miss a transaction that is still being completed.
        client = self._consumer("questions", isolation_level="read_uncommitted")
        with translated(f"connect to {self._settings.kafka_bootstrap}"):
            try:
                await client.start()
            except BaseException:
                await client.stop()
                raise
        self._questions = client

    async def stop(self) -> None:
        if self._questions is not None:
            await self._questions.stop()

    def _consumer(self, purpose: str, isolation_level: str = "read_committed") -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            bootstrap_servers=self._settings.kafka_bootstrap,
            client_id=f"{self._client_id}-{purpose}",
            isolation_level=isolation_level,
            enable_auto_commit=False,
            auto_offset_reset="none",
            check_crcs=False,  # overrides.py checks them, in hardware
            key_deserializer=overrides.as_stored_record,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            max_partition_fetch_bytes=FETCH_BYTES_MAX,
            request_timeout_ms=self._settings.request_timeout_ms,
            retry_backoff_ms=50,
        )

    def _ask(self) -> AIOKafkaConsumer:
        if self._questions is None:
            raise Retriable("the log is not connected")
        return self._questions

    async def partition_count(self, topic: str) -> int:
        with translated(f"partitions of {topic}"):
            client = self._ask()
            # aiokafka caches what it knows; a topic made since is only found by asking anew.
            cluster = await client._client.fetch_all_metadata()
            numbers = cluster.partitions_for_topic(topic)
        if not numbers:
            raise Fatal(f"topic {topic} does not exist; `tidemark up` or the topics job creates it")
        return len(numbers)

    async def fence(self, transactional_id: str, writes: Collection[Partition] = ()) -> KafkaProducer:
        settings = self._settings
        client = AIOKafkaClient(
            bootstrap_servers=settings.kafka_bootstrap,
            client_id=f"{self._client_id}-{transactional_id}",
            request_timeout_ms=settings.request_timeout_ms,
            retry_backoff_ms=METADATA_BACKOFF_MS,
        )
        producer = KafkaProducer(client, transactional_id, settings)
        timeout_s = settings.request_timeout_ms / 1000
        with translated(f"fence {transactional_id}"):
            try:
                async with asyncio.timeout(timeout_s):
                    await client.bootstrap()
                    await producer.fence(writes, time.monotonic() + timeout_s)
            except BaseException:
                await client.close()
                raise
        return producer

    async def high_watermark(self, partition: Partition) -> int:
        with translated(f"high watermark of {partition}"):
            ends = await self._ask().end_offsets([TopicPartition(*partition)])
        return int(ends[TopicPartition(*partition)])

    async def low_watermark(self, partition: Partition) -> int:
        with translated(f"low watermark of {partition}"):
            starts = await self._ask().beginning_offsets([TopicPartition(*partition)])
        return int(starts[TopicPartition(*partition)])

    async def last_stable_offset(self, partition: Partition) -> int:
        # Only a read_committed consumer is told this offset. It is asked seldom, so one is made for the question.
        client = self._consumer("stable")
        with translated(f"last stable offset of {partition}"):
            try:
                await client.start()
                ends = await client.end_offsets([TopicPartition(*partition)])
            finally:
                await client.stop()
        return int(ends[TopicPartition(*partition)])

    async def read(self, partition: Partition, start: int) -> KafkaReader:
        client = self._consumer(f"{partition.topic}-{partition.number}")
        tp = TopicPartition(*partition)
        with translated(f"read {partition}"):
            try:
                await client.start()
                client.assign([tp])
                client.seek(tp, start)
            except BaseException:
                await client.stop()
                raise
        return KafkaReader(client, partition, start)
