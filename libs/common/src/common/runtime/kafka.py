"""The log on a Kafka broker. Connections, metadata, TLS and SASL are aiokafka's; the requests are ours."""

import asyncio
import time
from collections.abc import Collection, Sequence
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import CloseReason
from aiokafka.errors import KafkaError

from common.runtime.backoff import Backoff
from common.runtime.broker_watch import broker_answers
from common.runtime.client_errors import NOT_DONE, refusal, translated
from common.runtime.errors import Fatal, Retriable
from common.runtime.fetch import committed_records
from common.runtime.log import Partition, StoredRecord
from common.runtime.producer import KafkaProducer
from common.runtime.read_requests import (
    EARLIEST,
    LATEST,
    READ_COMMITTED,
    READ_UNCOMMITTED,
    Fetch,
    Fetched,
    ListOffsets,
    Offset,
)
from common.runtime.settings import Settings
from common.runtime.transaction_requests import DescribeProducers, Listed, ListTransactions, OpenProducers
from common.runtime.wire import Request

FETCH_BYTES_MAX: Final = 2 * 1024 * 1024
FETCH_WAIT_MS: Final = 500
METADATA_BACKOFF_MS: Final = 50
LEADER_AWAY_S: Final = 0.05
"""Before a leader that could not be reached, or has moved, is asked again; doubles from there."""
LEADER_AWAY_MAX_S: Final = 1.0


class Leaders:
    """Sends requests to the leader of a partition."""

    def __init__(self, client: AIOKafkaClient) -> None:
        self._client = client

    async def ask(self, partition: Partition, request: Request, purpose: str) -> Any:
        """One attempt, over the purpose's own connection. None where the leader is unknown, has moved or is away.

        Raises LogError where the broker refuses for good.
        """
        client = self._client
        node = client.cluster.leader_for_partition(TopicPartition(*partition))
        try:
            if node is None or node < 0:
                await client.add_topic(partition.topic)
                await client.force_metadata_update()
                return None
            answer = await client.send(node, request, group=purpose)
        except (KafkaError, OSError, TimeoutError):
            await client.force_metadata_update()
            return None
        if answer.error in NOT_DONE:
            await client.force_metadata_update()
            return None
        if answer.error:
            raise refusal(f"{type(request).__name__} of {partition}", answer.error)
        return answer

    def hang_up(self, purpose: str) -> None:
        """Closes the purpose's connections."""
        for place, connection in list(self._client._conns.items()):
            if place[1] == purpose:
                del self._client._conns[place]
                connection.close(reason=CloseReason.SHUTDOWN)


class KafkaReader:
    """See ``log.Reader``. Each has a connection of its own: a fetch that waits for one partition delays no other."""

    def __init__(self, leaders: Leaders, partition: Partition, start: int, purpose: str) -> None:
        self._leaders = leaders
        self._partition = partition
        self._purpose = purpose
        self._backoff = Backoff(LEADER_AWAY_S, LEADER_AWAY_MAX_S)
        self.position = start

    async def poll(self, timeout_ms: int) -> Sequence[StoredRecord]:
        topic, number = self._partition
        wait_ms = min(timeout_ms, FETCH_WAIT_MS)
        request = Fetch(topic, number, self.position, wait_ms, FETCH_BYTES_MAX)
        fetched: Fetched | None = await self._leaders.ask(self._partition, request, self._purpose)
        if fetched is None:
            await asyncio.sleep(self._backoff.next())
            return ()
        self._backoff.reset()
        with translated(f"read {self._partition}"):
            records, self.position = committed_records(fetched, self.position)
        return records

    async def close(self) -> None:
        self._leaders.hang_up(self._purpose)


class KafkaLog:
    """See ``log.Log``."""

    def __init__(self, settings: Settings, client_id: str) -> None:
        self._settings = settings
        self._client_id = client_id
        self._client: AIOKafkaClient | None = None
        self._readers = 0
        self._fencing: dict[str, asyncio.Lock] = {}

    def _make_client(self, client_id: str) -> AIOKafkaClient:
        return AIOKafkaClient(
            bootstrap_servers=self._settings.kafka_bootstrap,
            client_id=client_id,
            request_timeout_ms=self._settings.request_timeout_ms,
            retry_backoff_ms=METADATA_BACKOFF_MS,
            connections_max_idle_ms=None,  # a producer whose connection closes has to be opened anew
        )

    async def start(self) -> None:
        """Connects. Raises Retriable where no broker answers."""
        client = self._make_client(self._client_id)
        with translated(f"connect to {self._settings.kafka_bootstrap}"):
            try:
                await client.bootstrap()
            except BaseException:
                await client.close()
                raise
        self._client = client

    async def stop(self) -> None:
        if self._client is not None:
            await self._client.close()

    def _connected(self) -> AIOKafkaClient:
        if self._client is None:
            raise Retriable("the log is not connected")
        return self._client

    async def partition_count(self, topic: str) -> int:
        with translated(f"partitions of {topic}"):
            # aiokafka caches what it knows; a topic made since is only found by asking anew.
            cluster = await self._connected().fetch_all_metadata()
            numbers = cluster.partitions_for_topic(topic)
        if not numbers:
            raise Fatal(f"topic {topic} does not exist; `tidemark up` or the topics job creates it")
        return len(numbers)

    async def fence(self, transactional_id: str, writes: Collection[Partition] = ()) -> KafkaProducer:
        client = self._make_client(f"{self._client_id}-{transactional_id}")
        producer = KafkaProducer(client, transactional_id, self._settings)
        timeout_s = self._settings.request_timeout_ms / 1000
        await broker_answers()
        # Two tasks that take partitions over shut the same owner out. One at a time: the later would cut the earlier
        # off before its markers were written, and it would have to open anew.
        async with self._fencing.setdefault(transactional_id, asyncio.Lock()):
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
        return await self._offset(partition, LATEST, READ_UNCOMMITTED)

    async def low_watermark(self, partition: Partition) -> int:
        return await self._offset(partition, EARLIEST, READ_UNCOMMITTED)

    async def last_stable_offset(self, partition: Partition) -> int:
        return await self._offset(partition, LATEST, READ_COMMITTED)

    async def _offset(self, partition: Partition, at: int, isolation: int) -> int:
        answer: Offset = await self._ask_leader(partition, ListOffsets(*partition, at, isolation))
        return answer.offset

    async def blocked_by(self, partition: Partition) -> Collection[str]:
        found: OpenProducers = await self._ask_leader(partition, DescribeProducers(*partition))
        if not found.producer_ids:
            return ()
        client = self._connected()
        ids: set[str] = set()
        with translated(f"transactions that are open in {partition}"):
            for broker in (await client.fetch_all_metadata()).brokers():
                listed: Listed = await client.send(broker.nodeId, ListTransactions(found.producer_ids))
                if listed.error:
                    raise refusal(f"ListTransactions of broker {broker.nodeId}", listed.error)
                ids.update(listed.transactional_ids)
        return ids

    async def _ask_leader(self, partition: Partition, request: Request) -> Any:
        leaders = Leaders(self._connected())
        give_up_s = time.monotonic() + self._settings.request_timeout_ms / 1000
        while (answer := await leaders.ask(partition, request, "questions")) is None:
            if time.monotonic() > give_up_s:
                raise Retriable(f"no leader of {partition} answers")
            await asyncio.sleep(LEADER_AWAY_S)
        return answer

    async def read(self, partition: Partition, start: int) -> KafkaReader:
        self._readers += 1
        return KafkaReader(Leaders(self._connected()), partition, start, f"reader {self._readers}")
