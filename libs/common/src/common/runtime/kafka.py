"""The log on a Kafka broker, through aiokafka. Its errors become Fenced, Retriable or Fatal here and nowhere else."""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka import errors as kafka_errors

from common.runtime import overrides
from common.runtime.errors import Fatal, Fenced, Retriable
from common.runtime.log import Partition, Record, StoredRecord
from common.runtime.settings import Settings

BATCH_BYTES_MAX = 900_000
"""Below the broker's default ``message.max.bytes`` of 1 MiB."""
FETCH_BYTES_MAX = 8 * 1024 * 1024
FETCH_WAIT_MS = 500
RETRY_BACKOFF_MS = 2
"""For CONCURRENT_TRANSACTIONS, and for NOT_ENOUGH_REPLICAS, which a 4.x broker answers to an older client's produce
while it writes markers. A broker that is away is not hammered: attempts end after ``request_timeout_ms``, then
the stage backs off by its own rule."""

_FENCED = (kafka_errors.ProducerFenced, kafka_errors.InvalidProducerEpoch, kafka_errors.InvalidProducerIdMapping)
_FATAL = (
    kafka_errors.UnknownTopicOrPartitionError,
    kafka_errors.TopicAuthorizationFailedError,
    kafka_errors.TransactionalIdAuthorizationFailed,
    kafka_errors.MessageSizeTooLargeError,
    kafka_errors.IncompatibleBrokerVersion,
)


@contextlib.contextmanager
def translated(what: str) -> Iterator[None]:
    """Turns the client's errors into the runtime's three."""
    try:
        yield
    except _FENCED as error:
        raise Fenced(f"{what}: {error!r}") from error
    except _FATAL as error:
        raise Fatal(f"{what}: {error!r}") from error
    except (kafka_errors.KafkaError, TimeoutError, OSError) as error:
        raise Retriable(f"{what}: {error!r}") from error
    except AssertionError as error:
        # aiokafka asserts its state transitions; one that fails means that an earlier error was fatal to this producer.
        raise Retriable(f"{what}: the client is in no state for it: {error!r}") from error


class KafkaProducer:
    """See ``log.Producer``."""

    def __init__(self, client: AIOKafkaProducer, commit_timeout_ms: int) -> None:
        self._client = client
        self._commit_timeout_s = commit_timeout_ms / 1000
        self._pending: list[tuple[Partition, int, asyncio.Future[Any]]] = []

    async def begin(self) -> None:
        with translated("begin"):
            await self._client.begin_transaction()
        self._pending.clear()

    async def append(self, partition: Partition, records: Sequence[Record]) -> None:
        with translated(f"append to {partition}"):
            batch = self._client.create_batch()
            for record in records:
                if self._add(batch, record) is None:
                    await self._send(partition, batch)
                    batch = self._client.create_batch()
                    self._add(batch, record)
            await self._send(partition, batch)

    @staticmethod
    def _add(batch: Any, record: Record) -> Any:
        headers = list(record.headers)
        return batch.append(key=record.key, value=record.value, timestamp=record.timestamp_ms, headers=headers)

    async def _send(self, partition: Partition, batch: Any) -> None:
        count = batch.record_count()
        future = await self._client.send_batch(batch, partition.topic, partition=partition.number)
        self._pending.append((partition, count, future))

    async def commit(self) -> Mapping[Partition, int]:
        with translated("commit"):
            async with asyncio.timeout(self._commit_timeout_s):
                # A batch that failed must not be left out of a transaction that commits, so it is asked first.
                ends = {partition: (await future).offset + count for partition, count, future in self._pending}
                await self._client.commit_transaction()
        self._pending.clear()
        return ends

    async def abort(self) -> None:
        with translated("abort"):
            async with asyncio.timeout(self._commit_timeout_s):
                await self._client.abort_transaction()
        self._pending.clear()

    async def close(self) -> None:
        for _, _, future in self._pending:
            future.cancel()
        # Closing only gives sockets back; whatever state the client is in, there is nothing left to lose.
        with contextlib.suppress(kafka_errors.KafkaError, TimeoutError, OSError, AssertionError):
            await asyncio.wait_for(self._client.stop(), 1.0)


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

    async def fence(self, transactional_id: str) -> KafkaProducer:
        client = AIOKafkaProducer(
            bootstrap_servers=self._settings.kafka_bootstrap,
            client_id=f"{self._client_id}-{transactional_id}",
            transactional_id=transactional_id,
            transaction_timeout_ms=self._settings.transaction_timeout_ms,
            acks="all",
            max_batch_size=BATCH_BYTES_MAX,
            max_request_size=2 * BATCH_BYTES_MAX,
            retry_backoff_ms=RETRY_BACKOFF_MS,
            request_timeout_ms=self._settings.request_timeout_ms,
        )
        with translated(f"fence {transactional_id}"):
            try:
                async with asyncio.timeout(self._settings.request_timeout_ms / 1000):
                    await client.start()
            except BaseException:
                await client.client.close()
                raise
        return KafkaProducer(client, self._settings.commit_timeout_ms)

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
