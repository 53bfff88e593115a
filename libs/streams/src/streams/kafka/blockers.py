"""Facts about a reader that waits, and about the open transaction it waits for."""

from datetime import UTC, datetime
from typing import NamedTuple, Self

from streams.kafka.transaction_requests import OpenProducer, Transaction


class HeldBack(NamedTuple):
    """A reader waits at the last stable offset, before records of an open transaction. ``since_s``: monotonic."""

    stable: int
    end: int
    since_s: float


class Blocker(NamedTuple):
    """An open transaction in a partition. Without an id no coordinator knows of it: it will never end by itself."""

    transactional_id: str
    producer_id: int
    begins_at: int
    state: str
    began_ms: int
    wrote_ms: int
    timeout_ms: int

    @classmethod
    def of(cls, producer: OpenProducer, transactional_id: str, told: Transaction) -> Self:
        times = (told.began_ms, producer.wrote_ms, told.timeout_ms)
        return cls(transactional_id, producer.producer_id, producer.begins_at, told.state, *times)

    def __str__(self) -> str:
        since_ms = self.began_ms if self.began_ms > 0 else self.wrote_ms
        since = datetime.fromtimestamp(since_ms / 1000, UTC).isoformat(timespec="seconds")
        where = f"from offset {self.begins_at}, since {since}"
        if not self.transactional_id:
            return (
                f"producer {self.producer_id}, {where}, unknown to its coordinator: `kafka-transactions abort` ends it"
            )
        until = f"times out after {self.timeout_ms / 1000:.0f} s" if self.timeout_ms else "no timeout known"
        return f"transactional id {self.transactional_id} (producer {self.producer_id}), {where}, {until}"
