"""The network between a process and the broker: delay, loss of a request or of its answer, a broker that is away.

``ProcessLog`` gives one process its ``log.Log``. As the real client does, it sends a produce request again with the
same sequence number when no answer came, and the broker drops the repetition; a commit whose answer is lost is
ambiguous.
"""

import asyncio
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from streams.model.errors import Retriable
from streams.model.log import Partition, Records, StoredRecord
from streams.testing.memory_clients import MemoryProducer, MemoryReader
from streams.testing.memory_log import MemoryLog

T = TypeVar("T")
REQUEST_TIMEOUT_S = 2.0
PRODUCE_TRIES = 3


class Killed(BaseException):
    """The process is gone; nothing that it would do afterwards happens."""


@dataclass(slots=True)
class Weather:
    """How the network is; probabilities per request."""

    rng: random.Random
    delay_s: float = 0.004
    slow_probability: float = 0.02
    slow_s: float = 1.5
    lost_request_probability: float = 0.004
    lost_answer_probability: float = 0.006
    lag_s: dict[str, float] = field(default_factory=dict)
    """By process: how much longer each of its requests takes at most."""
    broker_up: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class Process:
    """A worker process as the network sees it."""

    name: str
    alive: bool = True
    running: asyncio.Event = field(default_factory=asyncio.Event)


class ProcessLog:
    """See ``log.Log``."""

    def __init__(self, broker: MemoryLog, weather: Weather, process: Process) -> None:
        self.broker = broker
        self.weather = weather
        self.process = process

    async def _travel(self) -> None:
        rng, weather = self.weather.rng, self.weather
        delay = rng.expovariate(1 / weather.delay_s)
        if rng.random() < weather.slow_probability:
            delay += rng.random() * weather.slow_s
        if lag_s := weather.lag_s.get(self.process.name):
            delay += rng.random() * lag_s
        await asyncio.sleep(delay)
        await self.present()

    async def present(self) -> None:
        """A stopped process goes on only when it is continued; a killed one never."""
        while self.process.alive and not self.process.running.is_set():
            await self.process.running.wait()
        if not self.process.alive:
            raise Killed(self.process.name)

    async def call(self, what: str, request: Callable[[], T]) -> T:
        """One request. Raises Retriable where it or its answer is lost; the broker may have done it all the same."""
        await self._travel()
        rng = self.weather.rng
        if not self.weather.broker_up.is_set() or rng.random() < self.weather.lost_request_probability:
            await asyncio.sleep(REQUEST_TIMEOUT_S)
            await self.present()
            raise Retriable(f"{what}: no answer")
        answer = request()
        await self._travel()
        if rng.random() < self.weather.lost_answer_probability:
            await asyncio.sleep(REQUEST_TIMEOUT_S)
            await self.present()
            raise Retriable(f"{what}: the answer was lost")
        return answer

    async def partition_count(self, topic: str) -> int:
        return await self.broker.partition_count(topic)

    async def fence(self, transactional_id: str, writes: Collection[Partition] = ()) -> "ProcessProducer":
        producer = await self.call("fence", lambda: self.broker.fence_now(transactional_id, writes))
        return ProcessProducer(self, producer, transactional_id)

    async def high_watermark(self, partition: Partition) -> int:
        return await self.call("high watermark", lambda: self.broker.end_offset(partition))

    async def identity(self, topic: str) -> str:
        return self.broker.lineage.identity(topic)

    async def low_watermark(self, partition: Partition) -> int:
        return self.broker.lineage.begin(partition)

    async def epoch_end(self, partition: Partition, epoch: int) -> int:
        return await self.call("epoch end", lambda: self.broker.end_of_epoch(partition, epoch))

    async def last_stable_offset(self, partition: Partition) -> int:
        return await self.call("last stable offset", lambda: self.broker.stable_end(partition))

    async def blocked_by(self, partition: Partition) -> Collection[str]:
        return await self.call("blocked by", lambda: self.broker.unmarked_in(partition))

    async def known_ids(self, prefix: str) -> Collection[str]:
        await self.present()
        return await self.broker.known_ids(prefix)

    async def read(self, partition: Partition, start: int) -> "ProcessReader":
        await self.present()
        return ProcessReader(self, MemoryReader(self.broker, partition, start))


class ProcessProducer:
    """See ``log.Producer``."""

    def __init__(self, log: ProcessLog, producer: MemoryProducer, transactional_id: str) -> None:
        self.transactional_id = transactional_id
        self._log = log
        self._producer = producer

    async def begin(self) -> None:
        await self._log.present()
        self._producer.begin_now()

    async def append(self, partition: Partition, records: Records) -> None:
        sequence = self._producer.next_sequence(partition)
        for tries_left in reversed(range(PRODUCE_TRIES)):
            try:
                await self._log.call("append", lambda: self._producer.append_now(partition, records, sequence))
                return
            except Retriable:
                if not tries_left:
                    raise

    async def flush(self) -> None:
        """Appending has waited already."""

    async def commit(self) -> Mapping[Partition, int]:
        return await self._log.call("commit", self._producer.commit_now)

    async def abort(self) -> None:
        await self._log.call("abort", self._producer.abort_now)

    async def close(self) -> None:
        """Leaves an open transaction to whoever fences next."""


class ProcessReader:
    """See ``log.Reader``."""

    def __init__(self, log: ProcessLog, reader: MemoryReader) -> None:
        self._log = log
        self._reader = reader
        self.awaited: str | None = None

    @property
    def position(self) -> int:
        return self._reader.position

    @position.setter
    def position(self, value: int) -> None:
        self._reader.position = value

    @property
    def epoch(self) -> int:
        return self._reader.epoch

    async def poll(self, timeout_ms: int) -> Sequence[StoredRecord]:
        await self._log.present()
        if not self._log.weather.broker_up.is_set():
            await asyncio.sleep(REQUEST_TIMEOUT_S)
            raise Retriable("poll: no answer")
        records = await self._reader.poll(timeout_ms)
        await self._log.present()
        return records

    async def close(self) -> None:
        """Nothing to give back."""
