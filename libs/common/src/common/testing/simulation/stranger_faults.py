"""Seeded faults in what a stage makes of strangers: of whoever else writes to its inputs, or joins its group."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

from streams.group import assignment
from streams.model.log import StoredRecord
from streams.testing.memory_clients import MemoryReader

from common.testing.simulation import work
from common.testing.simulation.network import ProcessReader
from common.testing.simulation.replacing import replaced

NAMES = frozenset(topic.name for topic in work.INPUTS)


def stranger_is_shut_out() -> AbstractContextManager[None]:
    """Whoever holds an input back is treated like an earlier owner: its transaction is ended for it."""
    right = ProcessReader.poll

    async def wrong(self: ProcessReader, timeout_ms: int) -> Sequence[StoredRecord]:
        partition, broker = self._reader._partition, self._log.broker
        if partition.topic in NAMES and self.position >= broker.stable_end(partition) < broker.end_offset(partition):
            for transactional_id in broker.unmarked_in(partition):
                await self._log.fence(transactional_id, [partition])
        return await right(self, timeout_ms)

    return replaced(ProcessReader, "poll", wrong)


def open_input_is_read() -> AbstractContextManager[None]:
    """Inputs are read up to their end and not up to the last stable offset."""
    right = MemoryReader.poll

    async def wrong(self: MemoryReader, timeout_ms: int) -> Sequence[StoredRecord]:
        if self._partition.topic not in NAMES:
            return await right(self, timeout_ms)
        found = self._log.uncommitted(self._partition, self.position)
        if not found:
            return await right(self, timeout_ms)
        self.position = found[-1].offset + 1
        return found

    return replaced(MemoryReader, "poll", wrong)


def stranger_is_dealt_a_share() -> AbstractContextManager[None]:
    """Whoever is in the group is given partitions."""

    def wrong(_metadata: Any) -> bool:
        return True

    return replaced(assignment, "is_worker", wrong)


FAULTS: Final = (
    stranger_is_shut_out,
    open_input_is_read,
    stranger_is_dealt_a_share,
)
