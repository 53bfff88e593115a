"""Ends of partitions, asked of the broker at the moment when somebody needs to know."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable

import mode

from streams.kafka.kafka_log import KafkaLog
from streams.kafka.partitioner import partition_of
from streams.model.log import Partition
from streams.model.topics import Topic
from streams.process.settings import Settings


class LogEnds(mode.Service):  # type: ignore[misc]
    """Connects when it is first asked. Who asks while a question is yet to be sent shares its answer, so that there are
    two questions per partition at most: one on its way and one that waits for it."""

    def __init__(self, settings: Settings, client_id: str) -> None:
        super().__init__()
        self._settings = settings
        self._client_id = client_id
        self._log: KafkaLog | None = None
        self._connecting = asyncio.Lock()
        self._asking: dict[Partition, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._next: dict[Partition, asyncio.Task[int]] = {}
        self._running: set[asyncio.Task[int]] = set()

    async def end(self, topic: Topic, key: bytes) -> int:
        """The offset after the last record that the key's partition had when, or after, this was called.

        Raises LogError where the broker does not say; it may take as long as no broker can be reached.
        """
        return await self._end(Partition(topic.name, partition_of(key, topic.partitions)))

    async def ends(self, topics: Iterable[Topic]) -> dict[tuple[str, int], int]:
        """(topic, partition) → that offset, of every partition of the topics. Raises LogError as ``end`` does."""
        places = [Partition(topic.name, number) for topic in topics for number in range(topic.partitions)]
        found = await asyncio.gather(*map(self._end, places))
        return {(place.topic, place.number): end for place, end in zip(places, found, strict=True)}

    async def _end(self, partition: Partition) -> int:
        asked = self._next.get(partition)
        if asked is None:
            asked = self._next[partition] = asyncio.create_task(self._ask(partition), name=f"end of {partition}")
            self._running.add(asked)
            asked.add_done_callback(self._done)
        return await asyncio.shield(asked)

    def _done(self, asked: asyncio.Task[int]) -> None:
        self._running.discard(asked)
        if not asked.cancelled():
            asked.exception()  # whoever asked may have stopped waiting

    async def _ask(self, partition: Partition) -> int:
        async with self._asking[partition]:
            del self._next[partition]  # who comes from now on may mean records that this question does not see
            log = await self._connected()
            return await log.high_watermark(partition)

    async def _connected(self) -> KafkaLog:
        async with self._connecting:
            if self._log is None:
                log = KafkaLog(self._settings, f"{self._client_id}-ends")
                await log.start()
                self._log = log
            return self._log

    async def on_stop(self) -> None:
        for asked in self._running:
            asked.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        if self._log is not None:
            await self._log.stop()
