"""Runs of messages of the common kind, which a stage answers at once; all others are the handler's, in their turn.

A run says what the handler would say, message by message, and writes the same rows. It is cheaper since it reads all
messages and rows before it begins, asks once for what is the same for all of them, and makes no ``Output`` of each
record.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from common.contracts.topics import Topic
from streams.kafka.partitioner import partition_of
from streams.model.blocks import Answers, OutputList
from streams.model.message import Message, View

from orders.wire import read, writer_of


class Said:
    """Outputs and views of a run. ``framed``: values are written framed."""

    def __init__(self, *, framed: bool) -> None:
        self._framed = framed
        self._lists: dict[tuple[str, int], OutputList] = {}
        self.views: list[tuple[int, View]] = []

    def list_of(self, topic: Topic, partition: int) -> list[tuple[int, bytes, bytes]]:
        """Records for a partition: number of the message, key and value."""
        listed = self._lists.get((topic.name, partition))
        if listed is None:
            listed = self._lists[topic.name, partition] = OutputList(topic, partition, self._framed)
        return listed.encoded

    def answers(self, messages: int) -> Answers:
        """All of it."""
        return Answers(messages, tuple(self._lists.values()), self.views)


class ToAccounts:
    """A topic by account: its writer, and where an account's records go."""

    def __init__(self, topic: Topic, said: Said, *, framed: bool) -> None:
        self.write = writer_of(topic, framed=framed)
        self._topic = topic
        self._said = said
        self._places: dict[str, tuple[bytes, list[tuple[int, bytes, bytes]]]] = {}

    def add(self, number: int, account_id: str, message: Any) -> None:
        """The answer to a message of this number."""
        place = self._places.get(account_id)
        if place is None:
            key = account_id.encode()
            listed = self._said.list_of(self._topic, partition_of(key, self._topic.partitions))
            place = self._places[account_id] = key, listed
        place[1].append((number, place[0], self.write(message)))


class Run(Protocol):
    """A run of messages of one topic."""

    def take(self, number: int, body: Any) -> bool:
        """Answers the message; False: it is none of a run, and nothing was written."""
        ...

    def answers(self, messages: int) -> Answers:
        """Writes what is the same for all, and says what was answered."""
        ...


def in_runs(
    messages: Sequence[Message], prepare: Callable[[Sequence[Any]], None], begin: Callable[[], Run]
) -> Iterator[Answers | int]:
    """Messages in runs, each ``begin``; ``prepare`` is told the twins of all of them, to ask for their rows at once."""
    bodies = list(map(read, messages))
    prepare([body for body in bodies if body is not None])
    at, end = 0, len(messages)
    while at < end:
        first, run = at, begin()
        while at < end and bodies[at] is not None and run.take(at - first, bodies[at]):
            at += 1
        if at > first:
            yield run.answers(at - first)
        first = at
        at = min(at + 1, end)
        while at < end and bodies[at] is None:
            at += 1
        if at > first:
            yield at - first
