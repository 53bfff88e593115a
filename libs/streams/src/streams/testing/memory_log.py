"""A Kafka cluster in memory that knows transactions: epochs, fencing, markers, the last stable offset, read_committed.

It keeps ``streams.model.log``'s protocols, so the real stage runs on it unchanged. ``at_step`` is called before and
after every request with the step's name; what it raises there happens to the caller, which is how a test kills a
process between a request and its answer.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from streams.model.errors import Fatal
from streams.model.log import Partition, Record, Records, StoredRecord
from streams.model.message import Headers
from streams.testing.lineage import Lineage
from streams.testing.memory_clients import Ended, Identity, MemoryProducer, MemoryReader, Transaction

Step = Callable[[str], None]


def nothing(_step: str) -> None:
    """The default: every step succeeds."""


class MemoryRecord(NamedTuple):
    """See ``log.StoredRecord``."""

    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: Headers


@dataclass(frozen=True, slots=True)
class _Entry:
    """A record of a transaction; or, without a record, the marker that ended it."""

    transaction: Transaction | None
    record: Record | None


def _transactions(entries: Sequence[_Entry]) -> set[int]:
    return {id(entry.transaction) for entry in entries if entry.transaction is not None}


class MemoryLog:
    """See ``log.Log``. ``topics``: name → number of partitions."""

    def __init__(self, topics: Mapping[str, int], at_step: Step = nothing) -> None:
        self._counts = dict(topics)
        self._entries: dict[Partition, list[_Entry]] = {
            Partition(topic, number): [] for topic, count in topics.items() for number in range(count)
        }
        self._identities: dict[str, Identity] = {}
        self.lineage = Lineage()
        self._arrived = asyncio.Event()
        self._forgets: int | None = None
        self.takes_bytes: dict[str, int] = {}
        """Topic → its ``max.message.bytes``."""
        self.at_step = at_step

    # --- what a broker does ----------------------------------------------------------------------------------------

    def put(self, partition: Partition, *records: Record) -> None:
        """Appends records outside any transaction, as a plain producer does."""
        self._entries[partition] += [_Entry(None, record) for record in records]
        self._notify()

    def _notify(self) -> None:
        self._arrived.set()
        self._arrived = asyncio.Event()

    # --- what an operator does -------------------------------------------------------------------------------------

    def trim(self, partition: Partition, begin: int) -> None:
        """DeleteRecords, or retention: what lies before ``begin`` can no longer be read."""
        self.lineage.trim(partition, min(begin, self.stable_end(partition)))

    def truncate(self, partition: Partition, end: int) -> None:
        """A replica that lacked the end became the leader. Transactions that were open, or are cut in two, are gone."""
        for identity in self._identities.values():
            if identity.transaction is not None and partition in identity.transaction.partitions:
                self.end(identity, "aborted")
                identity.epoch += 1
            for owing in identity.owing:
                owing.owed.discard(partition)
            identity.owing = [owing for owing in identity.owing if owing.owed]
        entries = self._entries[partition]
        while cut := [
            n for n, entry in enumerate(entries[:end]) if id(entry.transaction) in _transactions(entries[end:])
        ]:
            end = cut[0]  # what is left of a transaction without its marker would stop every reader
        del entries[end:]
        self.lineage.truncate(partition, end)

    def recreate(self, topic: str) -> None:
        """The topic is deleted and created again, empty."""
        for number in range(self._counts[topic]):
            self.truncate(Partition(topic, number), 0)
        self.lineage.recreate(topic)

    def end_of_epoch(self, partition: Partition, epoch: int) -> int:
        """See ``log.Log.epoch_end``."""
        return self.lineage.end_of_epoch(partition, epoch, len(self._entries[partition]))

    # --- what a broker does, continued -----------------------------------------------------------------------------

    def forget_marker(self, turn: int) -> None:
        """Leaves out one marker of the next transaction that is committed; ``turn`` says where.

        A broker that is killed after the decision and comes back may take a partition without a leader for deleted.
        """
        self._forgets = turn

    def markers_owed(self, besides: str = "") -> bool:
        """Whether readers are stopped by a transaction that has ended, in any topic but one."""
        owing = [transaction for identity in self._identities.values() for transaction in identity.owing]
        return any(partition.topic != besides for transaction in owing for partition in transaction.owed)

    def end(self, identity: Identity, state: Ended) -> None:
        """Ends the open transaction of a producer and writes its markers."""
        transaction, identity.transaction = identity.transaction, None
        if transaction is None:
            return
        identity.ended = state
        partitions = sorted(transaction.partitions)
        if self._forgets is not None and state == "committed":
            transaction.owed.add(partitions[self._forgets % len(partitions)])
            identity.owing.append(transaction)
            self._forgets = None
        for partition in partitions:
            if partition not in transaction.owed:
                self._mark(identity, transaction, partition, state)
        self._notify()

    def _mark(self, identity: Identity, transaction: Transaction | None, partition: Partition, state: Ended) -> None:
        """A marker ends whatever its producer has open in the partition.

        Left out is what takes two misfortunes in a row and no client can mend: that the marker is forgotten, and the
        same producer's next transaction is aborted before it was written again. A broker would then abort both here,
        or its coordinator would not remember how the first one ended.
        """
        self._entries[partition].append(_Entry(transaction, None))
        if transaction:
            transaction.marked[partition] = state
        for earlier in [owing for owing in identity.owing if partition in owing.owed]:
            earlier.marked[partition] = "committed"
            earlier.owed.discard(partition)
        identity.owing = [owing for owing in identity.owing if owing.owed]

    def stable_end(self, partition: Partition) -> int:
        """Offset at which read_committed stops: the first record of a transaction without a marker, else the end."""
        starts = [
            transaction.partitions[partition]
            for identity in self._identities.values()
            for transaction, waits_for in self._unmarked(identity)
            if partition in waits_for
        ]
        return min(starts, default=len(self._entries[partition]))

    def unmarked_in(self, partition: Partition) -> list[str]:
        """Transactional ids with a transaction that has no marker in the partition."""
        return [
            name
            for name, identity in self._identities.items()
            if any(partition in waits_for for _, waits_for in self._unmarked(identity))
        ]

    @staticmethod
    def _unmarked(identity: Identity) -> list[tuple[Transaction, Collection[Partition]]]:
        found: list[tuple[Transaction, Collection[Partition]]] = [(owing, owing.owed) for owing in identity.owing]
        if identity.transaction is not None:
            found.append((identity.transaction, identity.transaction.partitions))
        return found

    def committed(self, partition: Partition) -> list[StoredRecord]:
        """Every record that a read_committed reader gets."""
        return self.stored(partition, 0)

    def committed_in(self, topic: str, number: int) -> list[StoredRecord]:
        """``committed`` by topic and partition number."""
        return self.stored(Partition(topic, number), 0)

    def uncommitted(self, partition: Partition, start: int) -> list[StoredRecord]:
        """Every record from ``start`` on, aborted and open ones too."""
        return [
            MemoryRecord(offset, *entry.record)
            for offset, entry in enumerate(self._entries[partition][start:], start)
            if entry.record is not None
        ]

    def compact_wrongly(self, partition: Partition) -> None:
        """A log cleaner with a fault: it drops tombstones and keeps the values that they deleted."""
        entries = self._entries[partition]
        for offset in range(self.stable_end(partition)):
            record = entries[offset].record
            if record is not None and record.value is None:
                entries[offset] = _Entry(None, None)

    def expire_tombstones(self, partition: Partition) -> None:
        """Acts as the log cleaner once ``delete.retention.ms`` is over: tombstones go, with all that they deleted."""
        self.compact(partition)
        entries = self._entries[partition]
        for offset in range(self.stable_end(partition)):
            record = entries[offset].record
            if record is not None and record.value is None:
                entries[offset] = _Entry(None, None)

    def compact(self, partition: Partition) -> None:
        """Acts as the log cleaner below the last stable offset: of each key the newest committed record stays."""
        stable = self.stable_end(partition)
        entries = self._entries[partition]
        seen: set[bytes | None] = set()
        for offset in reversed(range(stable)):
            entry = entries[offset]
            if entry.record is None or not self._is_committed(entry, partition):
                continue
            if entry.record.key in seen:
                entries[offset] = _Entry(None, None)
            seen.add(entry.record.key)

    def stored(self, partition: Partition, start: int) -> list[StoredRecord]:
        """Committed records from ``start`` up to the last stable offset."""
        stable = self.stable_end(partition)
        return [
            MemoryRecord(offset, *entry.record)
            for offset, entry in enumerate(self._entries[partition][start:stable], start)
            if entry.record is not None and self._is_committed(entry, partition)
        ]

    @staticmethod
    def _is_committed(entry: _Entry, partition: Partition) -> bool:
        return entry.transaction is None or entry.transaction.marked.get(partition) == "committed"

    def append(self, identity: Identity, partition: Partition, records: Records) -> int:
        """Writes into the open transaction; returns the end of the partition."""
        assert identity.transaction is not None
        written = [_Entry(identity.transaction, Record._make(record)) for record in records]
        if written:  # else the partition is no part of the transaction, and gets no marker
            identity.transaction.partitions.setdefault(partition, len(self._entries[partition]))
            self._entries[partition] += written
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

    async def identity(self, topic: str) -> str:
        await self.partition_count(topic)
        return self.lineage.identity(topic)

    async def fence(self, transactional_id: str, writes: Collection[Partition] = ()) -> MemoryProducer:
        self.at_step("fence")
        producer = self.fence_now(transactional_id, writes)
        self.at_step("fenced")
        return producer

    def fence_now(self, transactional_id: str, writes: Collection[Partition] = ()) -> MemoryProducer:
        """InitProducerId; then, over ``writes``, an empty transaction that ends as the last one did."""
        identity = self._identities.setdefault(transactional_id, Identity())
        ended: Ended | None = "committed" if identity.owing else None if identity.transaction else identity.ended
        self.end(identity, "aborted")
        identity.ended = None
        identity.epoch += 1
        identity.sequences.clear()
        if ended:
            self._write_markers_again(identity, writes, ended)
        return MemoryProducer(self, identity, identity.epoch)

    def _write_markers_again(self, identity: Identity, writes: Collection[Partition], ended: Ended) -> None:
        for partition in sorted(writes):
            self._mark(identity, None, partition, ended)
            identity.ended = ended
        self._notify()

    def time_out(self, transactional_id: str) -> None:
        """The broker gives up on an open transaction: aborts it and shuts its producer out."""
        identity = self._identities.get(transactional_id)
        if identity is not None and identity.transaction is not None:
            self.end(identity, "aborted")
            identity.epoch += 1

    def open_transactions(self) -> dict[str, int]:
        """Transactional id → which of its transactions, counted by where it begins, is open."""
        return {
            name: min(identity.transaction.partitions.values(), default=0)
            for name, identity in sorted(self._identities.items())
            if identity.transaction is not None
        }

    def transactional_ids(self) -> list[str]:
        """Every id that was ever fenced."""
        return sorted(self._identities)

    def end_offset(self, partition: Partition) -> int:
        """The high watermark."""
        return len(self._entries[partition])

    async def high_watermark(self, partition: Partition) -> int:
        self.at_step("high watermark")
        return self.end_offset(partition)

    async def low_watermark(self, partition: Partition) -> int:
        return self.lineage.begin(partition)

    async def epoch_end(self, partition: Partition, epoch: int) -> int:
        return self.end_of_epoch(partition, epoch)

    async def last_stable_offset(self, partition: Partition) -> int:
        return self.stable_end(partition)

    async def blocked_by(self, partition: Partition) -> Collection[str]:
        return self.unmarked_in(partition)

    async def known_ids(self, prefix: str) -> Collection[str]:
        return [name for name in self.transactional_ids() if name.startswith(prefix)]

    async def read(self, partition: Partition, start: int) -> MemoryReader:
        return MemoryReader(self, partition, start)
