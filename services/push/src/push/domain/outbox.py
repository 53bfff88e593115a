"""Rows that one client has yet to be told. It never holds more than the newest row of each key, or a bounded queue.

A topic's messages are numbered per client: each snapshot and each delta takes the next ``seq`` and names the one before
it, so that a browser that missed anything sees it and asks for the topic again.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from push.domain.rows import Row, StampsNs
from push.domain.topic import Topic

RowsOf = Callable[[Topic], Iterable[Mapping[str, Row]] | None]
"""The rows of a topic as they stand, one mapping per scope; None while they are not known yet."""


class Snapshot(NamedTuple):
    """A topic from scratch."""

    topic: Topic
    seq: int
    rows: Sequence[Row]


class Change(NamedTuple):
    """Rows of a topic that came the same way at the same time."""

    topic: Topic
    seq: int
    prev: int
    rows: Sequence[Row]
    stamps: StampsNs
    traceparent: str


@dataclass(slots=True)
class _Subscription:
    """``newest`` serves conflated topics, ``queue`` the others; with a snapshot due both are empty."""

    seq: int = 0
    snapshot_due: bool = True
    newest: dict[str, Row] = field(default_factory=dict)
    queue: list[Row] = field(default_factory=list)


class Outbox:
    """The waiting changes of one client. ``wake`` is called when the first of them arrives."""

    def __init__(self, queue_max: int, rows_max: int, wake: Callable[[], None] = lambda: None) -> None:
        self._queue_max = queue_max
        self._rows_max = rows_max
        self.wake = wake
        self._topics: dict[Topic, _Subscription] = {}
        self._waiting = 0
        self.overflows = 0
        """Number of times that an unconflated queue was full, so that its topic began anew."""

    @property
    def topics(self) -> frozenset[Topic]:
        return frozenset(self._topics)

    @property
    def rows_waiting(self) -> int:
        return self._waiting

    @property
    def full(self) -> bool:
        """The client's bound is hit: it takes less than is made for it, for good."""
        return self._waiting > self._rows_max

    def subscribe(self, topic: Topic) -> bool:
        """Whether the topic is new to this client. Its snapshot is due either way."""
        new = topic not in self._topics
        if new:
            self._topics[topic] = _Subscription()
            self.wake()
        else:
            self.reset(topic)
        return new

    def unsubscribe(self, topic: Topic) -> bool:
        """Whether the client had it."""
        subscription = self._topics.pop(topic, None)
        if subscription is None:
            return False
        self._waiting -= len(subscription.newest) + len(subscription.queue)
        return True

    def reset(self, topic: Topic) -> None:
        """The topic begins anew with a snapshot; what was waiting for it is in there."""
        subscription = self._topics.get(topic)
        if subscription is None:
            return
        self._waiting -= len(subscription.newest) + len(subscription.queue)
        subscription.newest.clear()
        subscription.queue.clear()
        subscription.snapshot_due = True
        self.wake()

    def offer(self, topic: Topic, row: Row) -> None:
        """A row of the topic changed. Nothing waits for a snapshot that is due: it will hold the row."""
        subscription = self._topics.get(topic)
        if subscription is None or subscription.snapshot_due:
            return
        if topic.conflated:
            self._waiting += row.key not in subscription.newest
            subscription.newest[row.key] = row
        elif len(subscription.queue) >= self._queue_max:
            self.overflows += 1
            self.reset(topic)
        else:
            subscription.queue.append(row)
            self._waiting += 1
        self.wake()

    def take(self, rows_of: RowsOf) -> tuple[list[Snapshot], list[Change]]:
        """Everything that changed since the last time, and the snapshots that are due and can be made."""
        snapshots: list[Snapshot] = []
        changes: list[Change] = []
        for topic, subscription in self._topics.items():
            if subscription.snapshot_due:
                scopes = rows_of(topic)
                if scopes is not None:
                    rows = [row for scope in scopes for row in scope.values()]
                    subscription.seq += 1
                    subscription.snapshot_due = False
                    snapshots.append(Snapshot(topic, subscription.seq, rows))
            elif subscription.queue:
                changes += _numbered(topic, subscription, [[row] for row in subscription.queue])
                subscription.queue = []
            elif subscription.newest:
                changes += _numbered(topic, subscription, _together(subscription.newest.values()))
                subscription.newest = {}
        self._waiting = 0
        return snapshots, changes


def _together(rows: Iterable[Row]) -> Iterable[list[Row]]:
    """Groups rows that were stamped together: a heartbeat of the market changes many keys at once."""
    groups: dict[tuple[StampsNs, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.stamps, row.traceparent), []).append(row)
    return groups.values()


def _numbered(topic: Topic, subscription: _Subscription, groups: Iterable[list[Row]]) -> list[Change]:
    changes = []
    for rows in groups:
        prev = subscription.seq
        subscription.seq += 1
        changes.append(Change(topic, subscription.seq, prev, rows, rows[0].stamps, rows[0].traceparent))
    return changes
