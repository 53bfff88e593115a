"""How many dead letters there are, by the topic that they were set aside from.

Dead letters are few, so their partitions are not followed: every few seconds their ends are asked for, and only where
one has moved are the new records read. An operator who has dealt with them deletes them; they count no longer then.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from common.contracts.topics import STAGE_INPUTS, Topic
from streams.kafka.kafka_log import KafkaLog
from streams.model.errors import Fatal, Retriable
from streams.model.log import Log, Partition
from streams.process.logs import get_logger
from streams.process.settings import Settings

from auditor import metrics

_log = get_logger(__name__)
POLL_MS: Final = 200


@dataclass(slots=True)
class _Known:
    """Knowledge of one partition of dead letters: where the next look begins, and the offsets of the records."""

    next_offset: int = 0
    offsets: list[int] = field(default_factory=list)


class DeadLetterCount:
    """The count of each topic. ``letters_max``: offsets kept of a partition; beyond it the count stands still."""

    def __init__(self, topics: Sequence[Topic] = STAGE_INPUTS, letters_max: int = 100_000) -> None:
        self._topics = topics
        self._letters_max = letters_max
        self._known: dict[tuple[Topic, int], _Known] = {}
        self.counts: Counter[str] = Counter()
        """Topic → dead letters of it."""

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    async def look(self, log: Log) -> None:
        """Asks every partition once. Raises Retriable where the log does not answer."""
        counts: Counter[str] = Counter()
        for topic in self._topics:
            for number in range(topic.partitions):
                counts[topic.name] += await self._count(log, topic, number)
        self.counts = counts
        for name, count in counts.items():
            metrics.DEAD_LETTERS.labels(name).set(count)

    async def _count(self, log: Log, topic: Topic, number: int) -> int:
        partition = Partition(topic.dead_letters, number)
        known = self._known.setdefault((topic, number), _Known())
        low, end = await log.low_watermark(partition), await log.high_watermark(partition)
        known.next_offset = max(known.next_offset, low)
        known.offsets = [offset for offset in known.offsets if offset >= low]
        if known.next_offset < end and len(known.offsets) < self._letters_max:
            reader = await log.read(partition, known.next_offset)
            try:
                while reader.position < end:
                    before = reader.position
                    known.offsets += [record.offset for record in await reader.poll(POLL_MS)]
                    if reader.position == before:
                        break  # a transaction is still open; the next look goes on here
                known.next_offset = reader.position
            finally:
                await reader.close()
        return len(known.offsets)


async def watch_dead_letters(count: DeadLetterCount, settings: Settings, interval_s: float) -> None:
    """Looks for ever. A broker that is away is asked again later; a topic that is not there yet, too."""
    backoff = settings.restart.backoff()
    while True:
        log = KafkaLog(settings, "auditor-dead-letters")
        try:
            await log.start()
            while True:
                await count.look(log)
                backoff.reset()
                await asyncio.sleep(interval_s)
        except (Retriable, Fatal, OSError) as error:
            delay_s = backoff.next()
            _log.warning("dead_letters_unknown", error=str(error), retry_in_s=delay_s)
            await asyncio.sleep(delay_s)
        finally:
            await log.stop()
