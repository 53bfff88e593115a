"""Received messages that are not handled yet: one queue per input topic, bounded in records and bytes, filled while a
transaction commits.
"""

import asyncio
from collections import deque
from collections.abc import Mapping

from streams.model.log import POLL_MS, Partition, Reader
from streams.model.message import Message
from streams.model.topics import Topic


class _Queue:
    """One input's records, and what they weigh: noted by fetch, so that it costs nothing per record to take one."""

    def __init__(self) -> None:
        self.records: deque[Message] = deque()
        self.bytes = 0
        self._received = 0
        self._fetches: deque[tuple[int, int]] = deque()
        """(how many records had been received with it, bytes) of each fetch that is not wholly taken yet."""

    def extend(self, messages: list[Message]) -> None:
        if not messages:
            return
        weight = sum([len(message.value or b"") for message in messages])
        self.records.extend(messages)
        self.bytes += weight
        self._received += len(messages)
        self._fetches.append((self._received, weight))

    def take(self, records_max: int) -> list[Message]:
        """The next records, at most so many."""
        if records_max >= len(self.records):
            taken = list(self.records)
            self.records.clear()
            return taken
        take = self.records.popleft
        return [take() for _ in range(records_max)]

    def settle(self) -> None:
        """Forgets the weight of fetches that were taken whole."""
        taken = self._received - len(self.records)
        while self._fetches and self._fetches[0][0] <= taken:
            self.bytes -= self._fetches.popleft()[1]


class Inbox:
    """Natural batching: whatever gathered while the last transaction committed is the next batch; there is no timer.

    ``bounds``: records, and bytes of their values, per input; a fetch that was under way may go beyond.
    ``filled`` is set when something has arrived or a pump has ended; inboxes that are emptied together share one.
    """

    def __init__(
        self,
        readers: Mapping[Topic, Reader],
        partition: int,
        bounds: tuple[int, int],
        filled: asyncio.Event | None = None,
    ) -> None:
        self._readers = readers
        self._partition = partition
        self._messages_max, self._bytes_max = bounds
        self._queues = {topic.name: _Queue() for topic in readers}
        self._filled = filled or asyncio.Event()
        self._drained = asyncio.Event()
        self._pumps: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begins to read every input."""
        for topic, reader in self._readers.items():
            name = f"pump {Partition(topic.name, self._partition)}"
            self._pumps.append(asyncio.create_task(self._pump(topic, reader), name=name))

    async def stop(self) -> None:
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        for reader in self._readers.values():
            await reader.close()

    def wake(self) -> None:
        """Lets whoever empties it look again."""
        self._filled.set()

    def waiting(self, topic: str) -> int:
        """Records received and not yet handed out."""
        return len(self._queues[topic].records)

    @property
    def holds_any(self) -> bool:
        """Whether records of any topic wait."""
        return any(queue.records for queue in self._queues.values())

    def holds(self, records: int) -> bool:
        """Whether at least as many records wait."""
        return sum(len(queue.records) for queue in self._queues.values()) >= records

    async def _pump(self, topic: Topic, reader: Reader) -> None:
        queue = self._queues[topic.name]
        try:
            while True:
                while len(queue.records) >= self._messages_max or queue.bytes >= self._bytes_max:
                    self._drained.clear()
                    await self._drained.wait()
                partition = self._partition
                queue.extend(
                    [
                        Message(topic, partition, r.offset, r.key, r.value, r.timestamp, r.headers)
                        for r in await reader.poll(POLL_MS)
                    ]
                )
                if queue.records:
                    self._filled.set()
        finally:
            self._filled.set()

    async def take(self, messages_max: int) -> list[Message]:
        """Waits for one message, then takes what is there. Raises what a pump raised."""
        while not (batch := self.take_now(messages_max)):
            self._filled.clear()
            await self._filled.wait()
        return batch

    def take_now(self, messages_max: int) -> list[Message]:
        """Takes what is there, every topic its share first. Raises what a pump raised, once there is nothing left."""
        batch: list[Message] = []
        queues = self._queues.values()
        if not self.holds_any:
            # A pump may have ended while the last batch was committed: it is asked before every wait.
            for pump in self._pumps:
                if pump.done():
                    pump.result()
            return batch
        share = max(1, messages_max // len(self._queues))
        for limit in (share, messages_max):
            for queue in queues:
                batch += queue.take(min(limit, messages_max - len(batch)))
        for queue in queues:
            queue.settle()
        self._drained.set()
        return batch
