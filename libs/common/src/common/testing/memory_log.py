"""A Kafka cluster in memory that knows transactions: epochs, fencing, markers, the last stable offset, read_committed.

It keeps ``common.runtime.log``'s protocols, so the real stage runs on it unchanged. ``at_step`` is called before and
after every request with the step's name; what it raises there happens to the caller, which is how a test kills a
process between a request and its answer.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from common.runtime.errors import Fatal, Fenced
from common.runtime.log import Partition, Record, StoredRecord

Step = Callable[[str], None]


def nothing(_step: str) -> None:
    """The default: every step succeeds."""


@dataclass(slots=True)
class _Transaction:
    state: Literal["open", "committed", "aborted"] = "open"
    partitions: set[Partition] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A record of a transaction; or, without a record, the marker that ended it."""

    transaction: _Transaction | None
    record: Record | None


@dataclass(slots=True)
class _Identity:
    epoch: int = -1
    transaction: _Transaction | None = None


class MemoryLog:
    """See ``log.Log``. ``topics``: name → number of partitions."""

    def __init__(self, topics: Mapping[str, int], at_step: Step = nothing) -> None:
        self._counts = dict(topics)
        self._entries: dict[Partition, list[_Entry]] = {
            Partition(topic, number): [] for topic, count in topics.items() for number in range(count)
        }
        self._identities: dict[str, _Identity] = {}
        self._arrived = asyncio.Event()
        self.at_step = at_step

    # --- what a broker does ----------------------------------------------------------------------------------------

    def put(self, partition: Partition, *records: Record) -> None:
        """Appends records outside any transaction, as a plain producer does."""
        self._entries[partition] += [_Entry(None, record) for record in records]
        self._notify()

    def _notify(self) -> None:
        self._arrived.set()
        self._arrived = asyncio.Event()

    def end(self, identity: _Identity, state: Literal["committed", "aborted"]) -> None:
        """Ends the open transaction of a producer and writes its markers."""
        transaction, identity.transaction = identity.transaction, None
        if transaction is None:
            return
        transaction.state = state
        for partition in transaction.partitions:
            self._entries[partition].append(_Entry(transaction, None))
        self._notify()

    def last_stable_offset(self, partition: Partition) -> int:
        """Where read_committed stops: the first record of an open transaction, else the end."""
        entries = self._entries[partition]
        for offset, entry in enumerate(entries):
            if entry.transaction is not None and entry.transaction.state == "open":
                return offset
        return len(entries)

    def committed(self, partition: Partition) -> list[StoredRecord]:
        """Every record that a read_committed reader gets."""
        return self.stored(partition, 0)

    def stored(self, partition: Partition, start: int) -> list[StoredRecord]:
        """Committed records from ``start`` up to the last stable offset."""
        stable = self.last_stable_offset(partition)
        return [
            StoredRecord(offset, *entry.record)
            for offset, entry in enumerate(self._entries[partition][start:stable], start)
            if entry.record is not None and (entry.transaction is None or entry.transaction.state == "committed")
        ]

    def append(self, identity: _Identity, partition: Partition, records: Sequence[Record]) -> int:
        """Writes into the open transaction; returns the end of the partition."""
        assert identity.transaction is not None
        identity.transaction.partitions.add(partition)
        self._entries[partition] += [_Entry(identity.transaction, record) for record in records]
        return len(self._entries[partition])

    async def wait(self, timeout_ms: int) -> None:
        """Until something is written, or the time is up."""
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                await self._arrived.wait()
        except TimeoutError:
            return

    # --- log.Log ---------------------------------------------------------------------------------------------------

    async def partition_count(self, topic: str) -> int:
        if topic not in self._counts:
            raise Fatal(f"topic {topic} does not exist")
        return self._counts[topic]

    async def fence(self, transactional_id: str) -> "MemoryProducer":
        self.at_step("fence")
        identity = self._identities.setdefault(transactional_id, _Identity())
        self.end(identity, "aborted")
        identity.epoch += 1
        self.at_step("fenced")
        return MemoryProducer(self, identity, identity.epoch)

    async def high_watermark(self, partition: Partition) -> int:
        self.at_step("high watermark")
        return len(self._entries[partition])

    async def low_watermark(self, partition: Partition) -> int:
        return 0

    async def read(self, partition: Partition, start: int) -> "MemoryReader":
        return MemoryReader(self, partition, start)


class MemoryProducer:
    """See ``log.Producer``."""

    def __init__(self, log: MemoryLog, identity: _Identity, epoch: int) -> None:
        self._log = log
        self._identity = identity
        self._epoch = epoch
        self._ends: dict[Partition, int] = {}

    def _check(self) -> None:
        if self._identity.epoch != self._epoch:
            raise Fenced(f"epoch {self._epoch} is older than {self._identity.epoch}")

    async def begin(self) -> None:
        self._log.at_step("begin")
        self._ends = {}

    async def append(self, partition: Partition, records: Sequence[Record]) -> None:
        self._log.at_step("append")
        await asyncio.sleep(0)
        self._check()
        if self._identity.transaction is None:
            self._identity.transaction = _Transaction()
        self._ends[partition] = self._log.append(self._identity, partition, records)
        self._log.at_step("appended")

    async def commit(self) -> Mapping[Partition, int]:
        self._log.at_step("commit")
        await asyncio.sleep(0)
        self._check()
        self._log.end(self._identity, "committed")
        self._log.at_step("committed")
        return self._ends

    async def abort(self) -> None:
        self._log.at_step("abort")
        self._check()
        self._log.end(self._identity, "aborted")

    async def close(self) -> None:
        """Leaves an open transaction to whoever fences next, as a killed process does."""


class MemoryReader:
    """See ``log.Reader``."""

    def __init__(self, log: MemoryLog, partition: Partition, start: int) -> None:
        self._log = log
        self._partition = partition
        self.position = start

    async def poll(self, timeout_ms: int) -> Sequence[StoredRecord]:
        await asyncio.sleep(0)
        if self._log.last_stable_offset(self._partition) <= self.position:
            await self._log.wait(timeout_ms)
        records = self._log.stored(self._partition, self.position)
        self.position = max(self.position, self._log.last_stable_offset(self._partition))
        return records

    async def close(self) -> None:
        """Nothing to give back."""
