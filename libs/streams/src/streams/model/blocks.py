"""Many outputs at once: what a batch handler says instead of an output for each message.

Nothing here knows how a block keeps its records; ``common.columns`` has those that keep them in arrays.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from streams.model.log import RecordFields
from streams.model.message import Headers
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
    def records(self, timestamp_ms: int, headers: Mapping[int, Headers]) -> RecordBlock:
        """The records. ``headers`` are those of the answers to the message with this number in the stretch."""


class Answers(NamedTuple):
    """Answers to the next ``messages`` messages of a batch."""

    messages: int
    outputs: Sequence[OutputBlock]
