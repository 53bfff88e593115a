"""A stage's needs of Kafka, as protocols: ``kafka.py`` has them on a broker, ``testing/memory_log.py`` in memory."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from streams.model.message import Headers

POLL_MS: Final = 1_000
RESTORE_POLL_MS: Final = 20
"""While restoring: what is left may be a marker only, which moves the position and ends no wait."""


class Partition(NamedTuple):
    """A topic partition."""

    topic: str
    number: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.number}"


class Record(NamedTuple):
    """A record to write. ``value`` None is a tombstone."""

    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: Headers = ()


RecordFields = tuple[bytes | None, bytes | None, int, Headers]
"""A ``Record``, or a plain tuple like it, which costs a third: one is made for every output and every row."""

Records = Iterable[RecordFields]
"""A list of them, or a ``blocks.RecordBlock``."""


class StoredRecord(Protocol):
    """A record as read. ``timestamp`` is in ms since the epoch, as Kafka keeps it."""

    @property
    def offset(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def headers(self) -> Headers: ...


class Producer(Protocol):
    """A transactional producer that was fenced in: every older producer of its id is refused by the broker."""

    async def begin(self) -> None:
        """Opens a transaction."""

    async def append(self, partition: Partition, records: Records) -> None:
        """Queues records, in order, as record batches of the open transaction."""

    async def flush(self) -> None:
        """Waits until the log has what was appended. A commit does it too."""

    async def commit(self) -> Mapping[Partition, int]:
        """Commits; returns per partition the offset after the last record written.

        Raises Fenced; Retriable where the outcome is unknown or the transaction failed. Never retried by the caller.
        """
        ...

    async def abort(self) -> None:
        """Rolls the open transaction back."""

    async def close(self) -> None:
        """Gives up the connection. An open transaction is left to the broker or to the next owner to abort."""


class Reader(Protocol):
    """Reads one partition in order."""

    awaited: str | None
    """The schema without which it cannot go on, and why it is not to be had; see ``state.framed_reader``."""

    @property
    def position(self) -> int:
        """Offset after everything that was returned, aborted or a marker."""
        ...

    @property
    def epoch(self) -> int:
        """Leader epoch of what was read last, -1 before anything was."""
        ...

    async def poll(self, timeout_ms: int) -> Sequence[StoredRecord]:
        """Records that have arrived, at least one unless the time runs out or only markers came.

        Raises Refused where the topic was deleted since the reader began, whether or not one of its name is there.
        """
        ...

    async def close(self) -> None: ...


class Log(Protocol):
    """A Kafka cluster."""

    async def partition_count(self, topic: str) -> int:
        """Raises Fatal where the topic does not exist."""
        ...

    async def identity(self, topic: str) -> str:
        """Cluster id and topic id: a topic that was deleted and created again, or mirrored elsewhere, has another.

        Raises Fatal where the topic does not exist.
        """
        ...

    async def fence(self, transactional_id: str, writes: Collection[Partition] = ()) -> Producer:
        """InitProducerId: aborts the open transaction of every older producer of this id and shuts it out.

        ``writes``: where the id's transactions write. A broker that died may owe markers there; they are written again.
        """
        ...

    async def high_watermark(self, partition: Partition) -> int:
        """The end of the partition, open transactions included."""
        ...

    async def low_watermark(self, partition: Partition) -> int:
        """The oldest offset that can still be read."""
        ...

    async def epoch_end(self, partition: Partition, epoch: int) -> int:
        """End of the log of this leader epoch, or of the last one before it; -1 where nobody knows (KIP-101)."""
        ...

    async def last_stable_offset(self, partition: Partition) -> int:
        """Offset at which read_committed stops: the first record of an open transaction, else the end."""
        ...

    async def blocked_by(self, partition: Partition) -> Collection[str]:
        """Transactional ids whose transactions hold the last stable offset back: open, or ended without a marker."""
        ...

    async def known_ids(self, prefix: str) -> Collection[str]:
        """Transactional ids that begin so, of every producer that a broker has not forgotten yet (KIP-664)."""
        ...

    async def read(self, partition: Partition, start: int) -> Reader:
        """Committed records from ``start`` on."""
        ...
