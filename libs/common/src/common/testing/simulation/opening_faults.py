"""Seeded faults in opening a task: fencing, the high watermark, restoring, positioning."""

import contextlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from common.runtime import store, task, transaction
from common.runtime.log import Partition
from common.testing.memory_log import MemoryReader
from common.testing.simulation.network import ProcessLog, ProcessProducer
from common.testing.simulation.replacing import replaced


def seek_before_restore() -> AbstractContextManager[None]:
    """The input is positioned by what the store said before it was restored."""
    right = task.Task._restore

    async def wrong(self: task.Task, parts: transaction.TaskParts) -> None:
        before = dict(store.positions_of(parts.store))
        await right(self, parts)
        self.positions = before

    return replaced(task.Task, "_restore", wrong)


def watermark_before_fencing() -> AbstractContextManager[None]:
    """The changelog's end is read first, and the older owner is shut out afterwards."""
    right_fence, right_watermark = ProcessLog.fence, ProcessLog.high_watermark

    async def fence(self: ProcessLog, transactional_id: str, writes: Collection[Partition] = ()) -> ProcessProducer:
        stage_name, _, number = transactional_id.rpartition(".")
        changelog = Partition(f"{stage_name}.changelog", int(number))
        end = await right_watermark(self, changelog)
        self.early = getattr(self, "early", {}) | {changelog: end}  # type: ignore[attr-defined]
        return await right_fence(self, transactional_id, writes)

    async def high_watermark(self: ProcessLog, partition: Partition) -> int:
        early: dict[Partition, int] = self.early  # type: ignore[attr-defined]
        return early[partition]

    @contextlib.contextmanager
    def both() -> Iterator[None]:
        with replaced(ProcessLog, "fence", fence), replaced(ProcessLog, "high_watermark", high_watermark):
            yield

    return both()


def fence_skipped() -> AbstractContextManager[None]:
    """A new owner does not shut the older one out: every opening has a transactional id of its own."""
    right = ProcessLog.fence

    async def wrong(self: ProcessLog, transactional_id: str, writes: Collection[Partition] = ()) -> ProcessProducer:
        self.openings = getattr(self, "openings", 0) + 1  # type: ignore[attr-defined]
        return await right(self, f"{transactional_id}.{id(self)}.{self.openings}", writes)  # type: ignore[attr-defined]

    return replaced(ProcessLog, "fence", wrong)


def two_owners_during_revocation() -> AbstractContextManager[None]:
    """The transactional id is the worker's and not the task's: an owner that is losing the partition still writes."""
    right = ProcessLog.fence

    async def wrong(self: ProcessLog, transactional_id: str, writes: Collection[Partition] = ()) -> ProcessProducer:
        return await right(self, f"{transactional_id}.{self.process.name}", writes)

    return replaced(ProcessLog, "fence", wrong)


def restore_ends_early() -> AbstractContextManager[None]:
    """The restore takes one poll's records for all of the changelog."""

    async def wrong(self: task.Task, parts: transaction.TaskParts, end: int) -> int:
        reader = await self.log.read(parts.changelog, parts.store.changelog_offset())
        records = (await reader.poll(1))[:3]
        if records:
            parts.store.write([(record.key or b"", record.value) for record in records], records[-1].offset + 1)
        return len(records)

    return replaced(task.Task, "_copy_changelog", wrong)


def restore_uncommitted() -> AbstractContextManager[None]:
    """Aborted rows of the changelog are restored like committed ones."""
    right = MemoryReader.poll

    async def wrong(self: MemoryReader, timeout_ms: int) -> Sequence[Any]:
        if not self._partition.topic.endswith("changelog"):
            return await right(self, timeout_ms)
        start, self.position = self.position, self._log.end_offset(self._partition)
        return self._log.uncommitted(self._partition, start)

    return replaced(MemoryReader, "poll", wrong)


def restore_skipped_where_a_store_exists() -> AbstractContextManager[None]:
    """A store that has anything is taken for complete."""
    right = task.Task._copy_changelog

    async def wrong(self: task.Task, parts: transaction.TaskParts, end: int) -> int:
        return 0 if parts.store.changelog_offset() else await right(self, parts, end)

    return replaced(task.Task, "_copy_changelog", wrong)
