"""Producers and readers of a log in memory, as its clients have them."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from streams.kafka.record_batches import size_alone
from streams.model.errors import Fenced, Refused, Retriable, TooLarge
from streams.model.log import Partition, Records, StoredRecord
from streams.testing.lineage import Lineage

Ended = Literal["committed", "aborted"]


@dataclass(slots=True)
class Transaction:
    partitions: dict[Partition, int] = field(default_factory=dict)
    """First offset of the transaction in each partition that it writes to."""
    marked: dict[Partition, Ended] = field(default_factory=dict)
    """Its marker's word in each partition that has one."""
    owed: set[Partition] = field(default_factory=set)
    """Partitions for which a broker forgot the marker."""


@dataclass(slots=True)
class Identity:
    epoch: int = -1
    transaction: Transaction | None = None
    ended: Ended | None = None
    """How the last transaction of this epoch ended, as the coordinator tells it."""
    owing: list[Transaction] = field(default_factory=list)
    sequences: dict[Partition, int] = field(default_factory=dict)


class Brokers(Protocol):
    """Requests of a client to the log in memory: ``memory_log.MemoryLog``."""

    at_step: Callable[[str], None]
    takes_bytes: dict[str, int]
    lineage: Lineage

    def append(self, identity: Identity, partition: Partition, records: Records) -> int: ...

    def end(self, identity: Identity, state: Ended) -> None: ...

    def end_offset(self, partition: Partition) -> int: ...

    def stable_end(self, partition: Partition) -> int: ...

    def stored(self, partition: Partition, start: int) -> list[StoredRecord]: ...

    def uncommitted(self, partition: Partition, start: int) -> list[StoredRecord]: ...

    async def wait(self, timeout_ms: int) -> None: ...


class MemoryProducer:
    """See ``log.Producer``. What ends in ``_now`` is what the broker does with the request."""

    def __init__(self, log: Brokers, identity: Identity, epoch: int) -> None:
        self._log = log
        self._identity = identity
        self._epoch = epoch
        self._ends: dict[Partition, int] = {}
        self._sequences: dict[Partition, int] = {}
        self._too_large: TooLarge | None = None

    def _check(self) -> None:
        if self._identity.epoch != self._epoch:
            raise Fenced(f"epoch {self._epoch} is older than {self._identity.epoch}")

    def begin_now(self) -> None:
        """Only the client knows that a transaction has begun."""
        self._ends = {}
        self._too_large = None

    def next_sequence(self, partition: Partition) -> int:
        """The sequence number of the next produce request to the partition."""
        self._sequences[partition] = self._sequences.get(partition, -1) + 1
        return self._sequences[partition]

    def append_now(self, partition: Partition, records: Records, sequence: int) -> None:
        """Produce. A request that was received before is acknowledged and not written again."""
        self._check()
        if sequence <= self._identity.sequences.get(partition, -1):
            return
        self._identity.sequences[partition] = sequence
        if self._identity.transaction is None:
            self._identity.transaction = Transaction()
        records = list(records)
        takes = self._log.takes_bytes.get(partition.topic, 0)
        if takes and (size := max(map(size_alone, records), default=0)) > takes:
            self._too_large = TooLarge(partition, size, self._ends)
            return
        self._ends[partition] = self._log.append(self._identity, partition, records)

    def commit_now(self) -> Mapping[Partition, int]:
        """EndTxn, commit."""
        self._check()
        if self._too_large:
            raise self._too_large
        self._log.end(self._identity, "committed")
        return self._ends

    def abort_now(self) -> None:
        """EndTxn, abort."""
        self._check()
        self._log.end(self._identity, "aborted")

    async def begin(self) -> None:
        self._log.at_step("begin")
        self.begin_now()

    async def append(self, partition: Partition, records: Records) -> None:
        self._log.at_step("append")
        await asyncio.sleep(0)
        self.append_now(partition, records, self.next_sequence(partition))
        self._log.at_step("appended")

    async def flush(self) -> None:
        """Appending has waited already."""

    async def commit(self) -> Mapping[Partition, int]:
        self._log.at_step("commit")
        await asyncio.sleep(0)
        ends = self.commit_now()
        self._log.at_step("committed")
        return ends

    async def abort(self) -> None:
        self._log.at_step("abort")
        self.abort_now()

    async def close(self) -> None:
        """Leaves an open transaction to whoever fences next, as a killed process does."""


class MemoryReader:
    """See ``log.Reader``."""

    def __init__(self, log: Brokers, partition: Partition, start: int) -> None:
        self._log = log
        self._partition = partition
        self._creation = log.lineage.creation(partition.topic)
        self._truncations = len(log.lineage.ends_lost(partition))
        self.epoch = -1
        self.awaited: str | None = None
        self.position = start

    async def poll(self, timeout_ms: int) -> Sequence[StoredRecord]:
        await asyncio.sleep(0)
        if self._creation != self._log.lineage.creation(self._partition.topic):
            raise Refused(f"topic {self._partition.topic} was deleted and created again while it was read")
        if any(end < self.position for end in self._log.lineage.ends_lost(self._partition)[self._truncations :]):
            raise Refused(f"{self._partition} lost records before {self.position}, which were read already")
        if not self._log.lineage.begin(self._partition) <= self.position <= self._log.end_offset(self._partition):
            raise Retriable(f"{self._partition} has no offset {self.position}")
        if self._log.stable_end(self._partition) <= self.position:
            await self._log.wait(timeout_ms)
        records = self._log.stored(self._partition, self.position)
        self.position = max(self.position, self._log.stable_end(self._partition))
        if records:
            self.epoch = self._log.lineage.epoch_at(self._partition, records[-1].offset)
        return records

    async def close(self) -> None:
        """Nothing to give back."""
