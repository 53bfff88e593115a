"""Reads committed records up to the end that the log has at a moment."""

from collections.abc import AsyncIterator, Sequence

from common.contracts.topics import Topic
from streams.edges.reader import CommittedReader
from streams.model.message import Message
from streams.process.settings import Settings


async def read_committed(settings: Settings, topics: Sequence[Topic]) -> AsyncIterator[Sequence[Message]]:
    """All committed records of the topics that stand before the present ends; the last ones may stand behind."""
    async with CommittedReader(settings, topics, from_beginning=True, client_id="tidemark-cli") as reader:
        async for messages in reader.batches_until(await reader.ends()):
            yield messages
