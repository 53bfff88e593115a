"""The log on a Kafka broker. Connections, metadata, TLS and SASL are aiokafka's; the requests are ours."""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import for_code

from streams.kafka.blockers import Blocker, HeldBack
from streams.kafka.broker_watch import broker_answers
from streams.kafka.client_errors import UNKNOWN_TOPIC_OR_PARTITION, refusal, translated
from streams.kafka.fetch import committed_records, last_leader_epoch
from streams.kafka.internals import replicas_of
from streams.kafka.leaders import Leaders
from streams.kafka.producer import KafkaProducer
from streams.kafka.protocol import Request
from streams.kafka.read_requests import (
    EARLIEST,
    LATEST,
    READ_COMMITTED,
    READ_UNCOMMITTED,
    DescribeTopic,
    EpochEnd,
    Fetch,
    Fetched,
    ListOffsets,
    Offset,
    OffsetForLeaderEpoch,
)
from streams.kafka.security import client_security
from streams.kafka.topic_requests import AlterConfigs, Altered, DescribeConfigs, TopicSettings
from streams.kafka.topic_settings import FoundTopic, FoundTopics
from streams.kafka.transaction_requests import (
    ApiVersions,
    DescribeProducers,
    DescribeTransactions,
    Features,
    InitProducerId,
    Listed,
    ListTransactions,
    OpenProducers,
    Produce,
    Transaction,
)
from streams.model.errors import Fatal, Refused, Retriable
from streams.model.log import Partition, StoredRecord
from streams.process.backoff import Backoff
from streams.process.settings import Settings

FETCH_BYTES_MAX: Final = 2 * 1024 * 1024
FETCH_WAIT_MS: Final = 500
METADATA_BACKOFF_MS: Final = 50
LEADER_AWAY_S: Final = 0.05
"""Before a leader that could not be reached, or has moved, is asked again; doubles from there."""
LEADER_AWAY_MAX_S: Final = 1.0
GONE_LOOKS: Final = 4
"""How often in a row a topic must be missing before it counts as deleted: metadata spread from broker to broker."""


NEEDED: Final[Mapping[type[Request], int]] = {
    Produce: 9,
    Fetch: 13,
    ListOffsets: 6,
    DescribeTopic: 12,
    OffsetForLeaderEpoch: 4,
    InitProducerId: 4,
    DescribeProducers: 0,
    ListTransactions: 0,
}
"""Request → the version without which a stage cannot work. ``Fetch`` 13 names topics by id; Kafka 3.1 has them all."""
OLDEST_KAFKA: Final = "3.1"


def check_versions(brokers: Features) -> None:
    """Raises Fatal where the brokers lack a request that is needed: they would close the connection without a word."""
    for request, version in NEEDED.items():
        oldest, newest = brokers.versions.get(request.API_KEY, (0, -1))
        if newest < version:
            name = "Metadata" if request is DescribeTopic else request.__name__
            has = f"speak {name} {oldest} to {newest}" if newest >= 0 else f"do not know {name}"
            raise Fatal(f"the brokers {has}, and version {version} is needed: Kafka {OLDEST_KAFKA} or newer")


class KafkaReader:
    """See ``log.Reader``. Each has a connection of its own: a fetch that waits for one partition delays no other."""

    def __init__(
        self,
        leaders: Leaders,
        partition: Partition,
        start: int,
        purpose: str,
        on_close: Callable[["KafkaReader"], None] = lambda _reader: None,
    ) -> None:
        self._leaders = leaders
        self.partition = partition
        self._purpose = purpose
        self._on_close = on_close
        self.held_back: HeldBack | None = None
        self.awaited: str | None = None
        self._backoff = Backoff(LEADER_AWAY_S, LEADER_AWAY_MAX_S)
        self._topic_id: bytes | None = None
        self.epoch = -1
        self._gone_looks = 0
        self.position = start

    async def poll(self, timeout_ms: int) -> Sequence[StoredRecord]:
        fetched = await self._fetch(min(timeout_ms, FETCH_WAIT_MS))
        if fetched is None:
            await self._identify()
            await asyncio.sleep(self._backoff.next())
            return ()
        self._backoff.reset()
        if fetched.diverged:
            raise Refused(f"{self.partition} lost records before {self.position}, which were read already")
        self.epoch = last_leader_epoch(fetched.data, self.epoch)
        with translated(f"read {self.partition}"):
            records, self.position = committed_records(fetched, self.position)
        self._note_held_back(fetched)
        return records

    def _note_held_back(self, fetched: Fetched) -> None:
        before = self.held_back
        if not self.position >= fetched.stable < fetched.end:
            self.held_back = None
        elif before is None or before.stable != fetched.stable:
            self.held_back = HeldBack(fetched.stable, fetched.end, time.monotonic())
        else:
            self.held_back = before._replace(end=fetched.end)

    async def _fetch(self, wait_ms: int) -> Fetched | None:
        """None where the topic is not identified yet, or its leader is away."""
        if self._topic_id is None:
            await self._identify()
        if self._topic_id is None:
            return None
        request = Fetch(self._topic_id, self.partition.number, self.position, wait_ms, FETCH_BYTES_MAX, self.epoch)
        fetched: Fetched | None = await self._leaders.ask(self.partition, request, self._purpose)
        return fetched

    async def _identify(self) -> None:
        """Raises Refused where the name stands for another topic than when the reader began, or for none any more."""
        found = await self._leaders.identify(self.partition.topic)
        if found is None:
            return
        if found.error:
            self._gone_looks += found.error == UNKNOWN_TOPIC_OR_PARTITION
            if self._topic_id is not None and self._gone_looks >= GONE_LOOKS:
                raise Refused(f"topic {self.partition.topic} was deleted while it was read")
            return
        self._gone_looks = 0
        if self._topic_id not in (None, found.topic_id):
            raise Refused(f"topic {self.partition.topic} was deleted and created again while it was read")
        self._topic_id = found.topic_id

    async def close(self) -> None:
        self._on_close(self)
        self._leaders.hang_up(self._purpose)


class KafkaLog:
    """See ``log.Log``."""

    def __init__(self, settings: Settings, client_id: str) -> None:
        self._settings = settings
        self._client_id = client_id
        self._client: AIOKafkaClient | None = None
        self._readers = 0
        self._open_readers: set[KafkaReader] = set()
        self._fencing: dict[str, asyncio.Lock] = {}

    def _make_client(self, client_id: str) -> AIOKafkaClient:
        return AIOKafkaClient(
            bootstrap_servers=self._settings.kafka.bootstrap,
            client_id=client_id,
            request_timeout_ms=self._settings.request_timeout_ms,
            retry_backoff_ms=METADATA_BACKOFF_MS,
            connections_max_idle_ms=None,  # a producer whose connection closes has to be opened anew
            **client_security(self._settings.kafka),
        )

    async def start(self) -> None:
        """Connects. Raises Retriable where no broker answers, Fatal where the brokers are too old."""
        client = self._make_client(self._client_id)
        with translated(f"connect to {self._settings.kafka.bootstrap}"):
            try:
                await client.bootstrap()
                check_versions(await client.send(client.get_random_node(), ApiVersions()))
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

    def _leaders(self) -> Leaders:
        return Leaders(self._connected(), self._settings.request_timeout_ms)

    async def partition_count(self, topic: str) -> int:
        with translated(f"partitions of {topic}"):
            # aiokafka caches what it knows; a topic made since is only found by asking anew.
            cluster = await self._connected().fetch_all_metadata()
            numbers = cluster.partitions_for_topic(topic)
        if not numbers:
            raise Fatal(f"topic {topic} does not exist; `tidemark up` or the topics job creates it")
        return len(numbers)

    async def partition_counts(self, topics: Collection[str]) -> Mapping[str, int]:
        """Topic → number of its partitions, of those that are there. Raises Retriable where no broker answers."""
        with translated("partitions of topics"):
            cluster = await self._connected().fetch_all_metadata()
        return {topic: len(numbers) for topic in topics if (numbers := cluster.partitions_for_topic(topic))}

    async def found_topics(self, topics: Collection[str]) -> FoundTopics:
        """The topics as the brokers have them; one that is not there is left out.

        Raises Retriable where no broker answers.
        """
        client = self._connected()
        with translated("settings of topics"):
            cluster = await client.fetch_all_metadata()
            told: TopicSettings = await client.send(client.get_random_node(), DescribeConfigs(topics))
        found = {}
        for topic in topics:
            if numbers := cluster.partitions_for_topic(topic):
                replicas = min(replicas_of(cluster, topic, numbers))
                found[topic] = FoundTopic(len(numbers), replicas, told.settings.get(topic, {}))
        return FoundTopics(len(cluster.brokers()), found)

    async def set_topics(self, settings: Mapping[str, Mapping[str, str]]) -> Mapping[str, str]:
        """Sets these settings of topics; returns topic → why, of those where the broker does not."""
        client = self._connected()
        with translated("set topics"):
            answer: Altered = await client.send(client.get_random_node(), AlterConfigs(settings))
        return {topic: f"{for_code(code).__name__} {words}".rstrip() for topic, (code, words) in answer.refused.items()}

    async def identity(self, topic: str) -> str:
        leaders = self._leaders()
        give_up_s = time.monotonic() + self._settings.request_timeout_ms / 1000
        while (found := await leaders.identify(topic)) is None or found.error:
            if time.monotonic() > give_up_s:
                if found is not None and found.error == UNKNOWN_TOPIC_OR_PARTITION:
                    raise Fatal(f"topic {topic} does not exist; `tidemark up` or the topics job creates it")
                raise Retriable(f"no broker says which topic {topic} is")
            await asyncio.sleep(LEADER_AWAY_S)
        return f"{found.cluster_id}/{found.topic_id.hex()}"

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

    async def epoch_end(self, partition: Partition, epoch: int) -> int:
        answer: EpochEnd = await self._ask_leader(partition, OffsetForLeaderEpoch(*partition, epoch))
        return answer.offset

    async def last_stable_offset(self, partition: Partition) -> int:
        return await self._offset(partition, LATEST, READ_COMMITTED)

    async def offset_at(self, partition: Partition, at_ms: int) -> int | None:
        """Offset of the first record, committed or not, whose time is ``at_ms`` or later; None where there is none."""
        found = await self._offset(partition, at_ms, READ_UNCOMMITTED)
        return None if found < 0 else found

    async def _offset(self, partition: Partition, at: int, isolation: int) -> int:
        answer: Offset = await self._ask_leader(partition, ListOffsets(*partition, at, isolation))
        return answer.offset

    async def blocked_by(self, partition: Partition) -> Collection[str]:
        return {each.transactional_id for each in await self.blockers(partition) if each.transactional_id}

    async def blockers(self, partition: Partition) -> list[Blocker]:
        """Transactions that hold the last stable offset back, with all that the brokers know of them (KIP-664)."""
        found: OpenProducers = await self._ask_leader(partition, DescribeProducers(*partition))
        if not found.producers:
            return []
        client = self._connected()
        ids: dict[int, tuple[str, Transaction]] = {}
        with translated(f"transactions that are open in {partition}"):
            for broker, producer_id, transactional_id in await self._listed(
                [producer.producer_id for producer in found.producers]
            ):
                ids[producer_id] = transactional_id, await client.send(broker, DescribeTransactions(transactional_id))
        unknown = ("", Transaction(0, ""))
        return [Blocker.of(producer, *ids.get(producer.producer_id, unknown)) for producer in found.producers]

    async def known_ids(self, prefix: str) -> Collection[str]:
        with translated("transactional ids"):
            return {found for *_, found in await self._listed([]) if found.startswith(prefix)}

    async def _listed(self, producer_ids: Sequence[int]) -> list[tuple[int, int, str]]:
        """(coordinating broker, producer id, transactional id) of these producers; of all where none is given."""
        client, found = self._connected(), []
        for broker in (await client.fetch_all_metadata()).brokers():
            listed: Listed = await client.send(broker.nodeId, ListTransactions(producer_ids))
            if listed.error:
                raise refusal(f"ListTransactions of broker {broker.nodeId}", listed.error)
            found += [(broker.nodeId, *each) for each in listed.transactional_ids.items()]
        return found

    def held_back(self) -> dict[Partition, HeldBack]:
        """Partitions whose readers have arrived at the last stable offset while the log goes on behind it."""
        return {reader.partition: reader.held_back for reader in self._open_readers if reader.held_back is not None}

    def awaited(self) -> dict[Partition, str]:
        """Partitions whose readers wait for a schema, with the reason why it cannot be had."""
        return {reader.partition: reader.awaited for reader in self._open_readers if reader.awaited is not None}

    async def _ask_leader(self, partition: Partition, request: Request) -> Any:
        leaders = self._leaders()
        give_up_s = time.monotonic() + self._settings.request_timeout_ms / 1000
        while (answer := await leaders.ask(partition, request, "questions")) is None:
            if time.monotonic() > give_up_s:
                raise Retriable(f"no leader of {partition} answers")
            await asyncio.sleep(LEADER_AWAY_S)
        return answer

    async def read(self, partition: Partition, start: int) -> KafkaReader:
        self._readers += 1
        reader = KafkaReader(
            Leaders(self._connected(), self._settings.request_timeout_ms),
            partition,
            start,
            f"reader {self._readers}",
            self._open_readers.discard,
        )
        self._open_readers.add(reader)
        return reader
