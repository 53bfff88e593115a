"""Many outputs at once: what a batch handler says instead of an output for each message.

Nothing here knows how a block keeps its records; ``common.columns`` has those that keep them in arrays.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from streams.model.log import RecordFields, Records
from streams.model.message import Headers, View
from streams.model.topics import Topic

Buffer = Any
"""``bytes``, or an array of bytes: what has the buffer protocol, which the type system of Python 3.11 cannot name."""


class RecordBlock(ABC):
    """Records that can lay themselves out. Whoever does not ask for that reads them one by one."""

    timestamp_ms: int
    """Timestamp of every record in the block."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __iter__(self) -> Iterator[RecordFields]: ...

    @abstractmethod
    def laid_out(self, bytes_max: int) -> Iterator[tuple[int, Buffer]]:
        """How many records, and those as a record batch (format 2) has them behind its header, until all are.

        At most ``bytes_max`` each, except for a record that is longer by itself.
        """


class OutputBlock(ABC):
    """Outputs to one partition of a topic that answer a stretch of messages."""

    topic: Topic
    partition: int
    framed: bool
    """Its values are in the topic's framed form already."""

    @abstractmethod
    def records(self, timestamp_ms: int, headers: Mapping[int, Headers]) -> Records:
        """The records. ``headers`` are those of the answers to the message with this number in the stretch."""


@dataclass(slots=True)
class OutputList(OutputBlock):
    """Outputs that were encoded one by one."""

    topic: Topic
    partition: int
    framed: bool = False
    encoded: list[tuple[int, bytes, bytes]] = field(default_factory=list)
    """Number of the message that is answered, key and value."""

    def records(self, timestamp_ms: int, headers: Mapping[int, Headers]) -> Records:
        """See ``OutputBlock``."""
        if not headers:
            return [(key, value, timestamp_ms, ()) for _, key, value in self.encoded]
        return [(key, value, timestamp_ms, headers.get(number, ())) for number, key, value in self.encoded]


class Answers(NamedTuple):
    """Answers to the next ``messages`` messages of a batch."""

    messages: int
    outputs: Sequence[OutputBlock]
    views: Sequence[tuple[int, View]] = ()
    """Rows to show, each with the number of the message that it answers."""
