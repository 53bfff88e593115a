"""Reads committed records up to the end that the log has at a moment."""

from collections.abc import AsyncIterator, Mapping, Sequence

from common.contracts.topics import Topic
from common.runtime.message import Message
from common.runtime.reader import CommittedReader
from common.runtime.settings import Settings

IDLE_S = 0.25

Positions = Mapping[tuple[str, int], int]
"""(topic, partition) → next offset."""


async def until_end(reader: CommittedReader, ends: Positions) -> AsyncIterator[Sequence[Message]]:
    """Batches of an entered reader until every partition has reached its end.

    The last records of a partition may be markers or those of an aborted transaction, which no batch tells of; so
    positions are looked at whenever nothing came for a moment. Records beyond the ends may be among what is yielded.
    """
    while not _reached(reader.positions, ends):
        async for messages in reader.batches(until_idle_s=IDLE_S):
            yield messages
            if _reached(reader.positions, ends):
                break
    # A reader's position runs ahead of what was handed out.
    async for messages in reader.batches(until_idle_s=IDLE_S):
        yield messages


def _reached(positions: Positions, ends: Positions) -> bool:
    return all(positions.get(partition, 0) >= end for partition, end in ends.items())


async def read_committed(
    settings: Settings, topics: Sequence[Topic], ends: dict[tuple[str, int], int] | None = None
) -> AsyncIterator[Sequence[Message]]:
    """All committed records of the topics up to the present end; ``ends`` is filled with it where it is given."""
    async with CommittedReader(settings, topics, from_beginning=True, client_id="tidemark-cli") as reader:
        now = await reader.ends()
        if ends is not None:
            ends.update(now)
        async for messages in until_end(reader, now):
            yield messages
