"""Intents into the topic as fast as the broker takes them: encoded once, sent again and again under other ids."""

import itertools
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from common.contracts.topics import ORDERS_INTENTS
from streams.kafka.kafka_log import KafkaLog
from streams.kafka.partitioner import partition_of
from streams.kafka.producer import KafkaProducer
from streams.model.log import Partition, Record
from tidemark.load.plan import Action
from tidemark.load.topic import intents
from tidemark.quotes import QuoteBoard

KINDS: Final = 2_000
"""Distinct intents, apart from their ids."""
TRANSACTION_INTENTS: Final = 10_000
TRANSACTIONAL_ID: Final = "bench.overload"
PREFIX: Final = "x"


class Feeder:
    """``sent`` counts the intents that the broker has committed. To make one costs a microsecond or two."""

    def __init__(self, log: KafkaLog) -> None:
        self.sent = 0
        self._log = log
        self._producer: KafkaProducer | None = None
        self._kinds: list[tuple[Partition, bytes, bytes, bytes]] = []
        """Partition, key, and what is before and after the number in the encoded intent."""

    def prepare(self, plan: Iterator[Action], quotes: QuoteBoard) -> None:
        """Draws and encodes the intents."""
        for intent in itertools.islice(intents(plan, quotes, PREFIX), KINDS):
            encoded = ORDERS_INTENTS.schema.encode(intent)
            before, number, after = encoded.partition(f"{intent.client_order_id}".encode())
            assert number, "the id stands in the encoded intent as it is"
            key = intent.account_id.encode()
            where = Partition(ORDERS_INTENTS.name, partition_of(key, ORDERS_INTENTS.partitions))
            self._kinds.append((where, key, before, after))

    async def send(self, count: int) -> None:
        """Returns when the broker has committed them. Raises LogError."""
        if self._producer is None:
            self._producer = await self._log.fence(TRANSACTIONAL_ID)
        for first in range(0, count, TRANSACTION_INTENTS):
            await self._commit(self._producer, min(TRANSACTION_INTENTS, count - first))

    async def _commit(self, producer: KafkaProducer, count: int) -> None:
        now_ms = time.time_ns() // 1_000_000
        records: defaultdict[Partition, list[Record]] = defaultdict(list)
        for number in range(self.sent, self.sent + count):
            where, key, before, after = self._kinds[number % len(self._kinds)]
            records[where].append(Record(key, b"%s%s-%d%s" % (before, PREFIX.encode(), number, after), now_ms))
        await producer.begin()
        for where, batch in records.items():
            await producer.append(where, batch)
        await producer.commit()
        self.sent += count

    async def stop(self) -> None:
        if self._producer is not None:
            await self._producer.close()
