"""A transactional producer on Kafka's protocol: one Produce request per leader and one EndTxn make a transaction.

aiokafka's own producer gathers, linger and retries in a background task per partition set, and speaks only the first
version of transactions. A stage knows its whole batch before it sends anything, so none of that is needed: what is
here are the requests in order, with record batches from aiokafka's Cython encoder over aiokafka's connections.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.errors import KafkaError

from streams.kafka.client_errors import NOT_DONE, TOO_LARGE, UNKNOWN_TOPIC_OR_PARTITION, refusal, translated
from streams.kafka.internals import connection_to
from streams.kafka.metadata import refresh_metadata
from streams.kafka.protocol import Request
from streams.kafka.record_batches import BATCH_BYTES_MAX, SEQUENCES, RecordBatches, halves, record_count
from streams.kafka.transaction_requests import (
    AddPartitionsToTxn,
    ApiVersions,
    DescribeTransactions,
    EndTxn,
    EndTxnBumping,
    Features,
    InitProducerId,
    Produce,
    Produced,
    ProducerId,
    Transaction,
)
from streams.model.blocks import RecordBlock
from streams.model.errors import Retriable, TooLarge
from streams.model.log import Partition, Records
from streams.process.failpoints import passing
from streams.process.settings import Settings

BACKOFF_S: Final = 0.001
"""Before a request is sent again that the broker did not do yet: markers take about a millisecond to write."""
BACKOFF_MAX_S: Final = 0.1
ENDED: Final = {"CompleteCommit": True, "PrepareCommit": True, "CompleteAbort": False, "PrepareAbort": False}
"""The coordinator's words for a transaction that is decided → whether it was committed."""
TRANSACTION_FEATURE: Final = "transaction.version"
METADATA_SPREADS_S: Final = 5.0
"""A topic that a broker still does not know after this does not exist."""
_LEADERLESS: Final = (-1, -1)
_LEADER_MOVED: Final = {-1, 3, 5, 6}
_AGAIN: Final = NOT_DONE | {-1}
"""Codes after which a request is repeated a little later."""
_COORDINATOR_MOVED: Final = {15, 16}


class KafkaProducer:
    """See ``log.Producer``. Made by ``fence``."""

    def __init__(self, client: AIOKafkaClient, transactional_id: str, settings: Settings) -> None:
        self._client = client
        self._id = transactional_id
        self._transaction_timeout_ms = settings.transaction.timeout_ms
        self._commit_timeout_s = settings.commit_timeout_ms / 1000
        self._request_timeout_ms = settings.request_timeout_ms
        self._version_max = settings.transaction.version
        self._coordinator = -1
        self._identity = ProducerId(0, -1, -1)
        self._bumps_epoch = False
        self._speaks: Mapping[int, tuple[int, int]] = {}
        self._sequences: dict[Partition, int] = {}
        self._bytes_max: dict[str, int] = {}
        """Largest batches of topics whose brokers refused larger ones."""
        self._batches: dict[Partition, RecordBatches] = {}
        self._ends: dict[Partition, int] = {}
        self._sent = False
        self._connections: dict[int, Any] = {}

    # --- fencing ---------------------------------------------------------------------------------------------------

    async def fence(self, writes: Collection[Partition], give_up_s: float) -> None:
        """Shuts every older producer of the id out, and has the markers of its last transaction written once more.

        A broker that is killed after it decided a transaction may come back and, while the partitions have no leader
        yet, take them for deleted and never write the markers (Kafka 4.3: "Couldn't find leader endpoint … likely
        deleted already and hence can be skipped"). Readers then wait at that transaction for ever, though it ended. An
        empty transaction of the same producer id over the same partitions, ended the same way, writes the markers.
        ``give_up_s`` is a time of ``time.monotonic``.
        """
        features: Features = await self._client.send(self._client.get_random_node(), ApiVersions())
        self._bumps_epoch = min(features.levels.get(TRANSACTION_FEATURE, 0), self._version_max) >= 2
        self._speaks = features.versions
        ended = None
        if DescribeTransactions.API_KEY in features.versions:
            last: Transaction = await self._ask(DescribeTransactions(self._id), give_up_s)
            ended = ENDED.get(last.state)
        self._identity = await self._ask(InitProducerId(self._id, self._transaction_timeout_ms), give_up_s)
        if writes and ended is not None:
            await self._add_partitions(writes, give_up_s)
            await self._ask(EndTxn(self._id, self._identity, ended, self._newest(EndTxn, 4)), give_up_s)

    def _newest(self, request: type[Request], ours: int) -> int:
        """The version that both sides speak."""
        return min(ours, self._speaks[request.API_KEY][1])

    async def _ask(self, request: Request, give_up_s: float, *, repeatable: bool = True) -> Any:
        """Asks the coordinator until it has done it; again without an answer only what is ``repeatable``."""
        backoff_s = BACKOFF_S
        while True:
            try:
                answer = await self._send_to_coordinator(request)
            except (KafkaError, OSError, TimeoutError):
                self._coordinator = -1
                if not repeatable or time.monotonic() > give_up_s:
                    raise
            else:
                if answer.error == 0:
                    return answer
                if answer.error not in NOT_DONE or time.monotonic() > give_up_s:
                    raise refusal(f"{type(request).__name__} of {self._id}", answer.error)
                if answer.error in _COORDINATOR_MOVED:
                    self._coordinator = -1
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)

    async def _send_to_coordinator(self, request: Request) -> Any:
        client = self._client
        if self._coordinator < 0:
            node = await client.coordinator_lookup(CoordinationType.TRANSACTION, self._id)
            if client.cluster.broker_metadata(node) is None:
                await refresh_metadata(client, self._request_timeout_ms)
            self._coordinator = node
        return await client.send(self._coordinator, request, group=ConnectionGroup.COORDINATION)

    async def _add_partitions(self, partitions: Iterable[Partition], give_up_s: float) -> None:
        topics: dict[str, list[int]] = {}
        for topic, number in partitions:
            topics.setdefault(topic, []).append(number)
        await self._ask(AddPartitionsToTxn(self._id, self._identity, topics), give_up_s)

    # --- a transaction ---------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        self._batches = {}
        self._ends = {}
        self._sent = False

    async def append(self, partition: Partition, records: Records) -> None:
        batches = self._batches.get(partition)
        if batches is None:
            bytes_max = self._bytes_max.get(partition.topic, BATCH_BYTES_MAX)
            batches = RecordBatches(self._identity, self._sequences.get(partition, 0), bytes_max)
            self._batches[partition] = batches
        if isinstance(records, RecordBlock):
            batches.extend_block(records)
        else:
            batches.extend(records)

    async def flush(self) -> None:
        if self._batches:
            with translated(f"append by {self._id}"):
                async with asyncio.timeout(self._commit_timeout_s):
                    await self._produce()

    async def commit(self) -> Mapping[Partition, int]:
        await self.flush()
        passing("commit.3.acknowledged")
        await self._end(committed=True)
        return self._ends

    async def abort(self) -> None:
        self._batches = {}
        await self._end(committed=False)

    async def close(self) -> None:
        # Closing only gives sockets back; whatever state the client is in, there is nothing left to lose.
        with contextlib.suppress(KafkaError, TimeoutError, OSError):
            await asyncio.wait_for(self._client.close(), 1.0)

    async def _end(self, *, committed: bool) -> None:
        if not self._sent:
            return  # the coordinator has not heard of it
        kind, version = (EndTxnBumping, 5) if self._bumps_epoch else (EndTxn, self._newest(EndTxn, 4))
        with translated(f"end the transaction of {self._id}"):
            async with asyncio.timeout(self._commit_timeout_s):
                give_up_s = time.monotonic() + self._commit_timeout_s
                answer = await self._ask(
                    kind(self._id, self._identity, committed, version), give_up_s, repeatable=False
                )
        if self._bumps_epoch:
            self._identity = answer
            self._sequences.clear()
        self._sent = False

    async def _produce(self) -> None:
        batches, self._batches = self._batches, {}
        # A block may be empty: of a batch whose orders are all denied there is no ledger entry.
        queues = {partition: deque(encoded) for partition, rows in batches.items() if (encoded := rows.encoded())}
        if not queues:
            return
        self._sent = True
        if not self._bumps_epoch:
            await self._add_partitions(queues, time.monotonic() + self._commit_timeout_s)
        await self._deliver(queues)

    async def _deliver(self, queues: dict[Partition, deque[bytes]]) -> None:
        """Sends the batches until each is acknowledged; the broker knows a repeated one by its sequence numbers.

        A request carries one batch of a partition; nearly always there is but one. Raises TooLarge.
        """
        backoff_s = BACKOFF_S
        unknown_until_s = time.monotonic() + METADATA_SPREADS_S
        while queues:
            asked = list(queues)
            answers = await self._produce_once({partition: queue[0] for partition, queue in queues.items()})
            too_large = None
            for partition, (code, offset) in answers.items():
                if code == 0:
                    self._acknowledged(partition, queues, offset)
                elif code in TOO_LARGE:
                    too_large = self._make_smaller(partition, queues[partition]) or too_large
                elif code not in NOT_DONE or (
                    code == UNKNOWN_TOPIC_OR_PARTITION and time.monotonic() > unknown_until_s
                ):
                    raise refusal(f"append to {partition}", code)
            if too_large:
                raise too_large
            codes = {answers.get(partition, _LEADERLESS)[0] for partition in asked}
            if codes & _LEADER_MOVED:
                await refresh_metadata(self._client, self._request_timeout_ms)
            if codes & _AGAIN:
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)

    def _acknowledged(self, partition: Partition, queues: dict[Partition, deque[bytes]], offset: int) -> None:
        count = record_count(queues[partition].popleft())
        self._ends[partition] = offset + count
        self._sequences[partition] = (self._sequences.get(partition, 0) + count) % SEQUENCES
        if not queues[partition]:
            del queues[partition]

    def _make_smaller(self, partition: Partition, queue: deque[bytes]) -> TooLarge | None:
        """Cuts the first batch in two, and remembers it for the topic; the error where it is a single record's."""
        refused = queue.popleft()
        if record_count(refused) == 1:
            return TooLarge(partition, len(refused), self._ends)
        self._bytes_max[partition.topic] = len(refused) // 2
        queue.extendleft(reversed(halves(refused)))
        return None

    async def _produce_once(self, pending: Mapping[Partition, bytes]) -> dict[Partition, tuple[int, int]]:
        """One request to each leader. A partition without a leader is not in the answer."""
        leaders: dict[int, dict[str, dict[int, bytes]]] = {}
        cluster = self._client.cluster
        for partition, batch in pending.items():
            node = cluster.leader_for_partition(TopicPartition(*partition))
            if node is None and cluster.partitions_for_topic(partition.topic) is None:
                self._client.add_topic(partition.topic)  # the future that it gives has no end of its own
                await refresh_metadata(self._client, self._request_timeout_ms)
                node = cluster.leader_for_partition(TopicPartition(*partition))
            if node is not None and node >= 0:
                leaders.setdefault(node, {}).setdefault(partition.topic, {})[partition.number] = batch
        found = await asyncio.gather(*(self._produce_to(node, batches) for node, batches in leaders.items()))
        return {Partition(*partition): answer for answers in found for partition, answer in answers.items()}

    async def _produce_to(
        self, node: int, batches: Mapping[str, Mapping[int, bytes]]
    ) -> Mapping[tuple[str, int], tuple[int, int]]:
        await self._check_connection(node)
        version = self._newest(Produce, 12 if self._bumps_epoch else 11)
        request = Produce(version, self._id, int(self._commit_timeout_s * 1000), batches)
        answer: Produced = await self._client.send(node, request)
        return answer.partitions

    async def _check_connection(self, node: int) -> None:
        """A producer whose connection broke does not go on: the broker may have died, and owe markers.

        Were the next transaction aborted, its abort markers would take back the one before, which was answered as
        committed. A new opening has the markers written first. Raises Retriable.
        """
        connection = await connection_to(self._client, node)
        if connection is None or self._connections.setdefault(node, connection) is not connection:
            raise Retriable(f"the connection of {self._id} to broker {node} was lost")
