"""Seeded faults in opening a task: fencing, the high watermark, restoring, positioning."""

import asyncio
import contextlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

from streams.commit import lane
from streams.model.log import Partition
from streams.opening import restore
from streams.stage import task
from streams.state import store
from streams.testing.memory_clients import MemoryReader

from common.testing.simulation.network import ProcessLog, ProcessProducer
from common.testing.simulation.replacing import replaced
from common.testing.simulation.work import CHANGELOG, PARTITIONS

CHANGELOGS: Final = [Partition(CHANGELOG.name, number) for number in range(PARTITIONS)]


def seek_before_restore() -> AbstractContextManager[None]:
    """The input is positioned by what the store said before it was restored."""
    right = task.Task._restore

    async def wrong(self: task.Task, *arguments: Any) -> Any:
        before = dict(store.positions_of(self._parts.store))
        taking = await right(self, *arguments)
        self.positions = before
        return taking

    return replaced(task.Task, "_restore", wrong)


def watermark_before_fencing() -> AbstractContextManager[None]:
    """The changelog's end is read first, and older owners are shut out afterwards."""
    right_enter, right_watermark = lane.Lane.enter, ProcessLog.high_watermark

    async def enter(self: lane.Lane) -> Any:
        log: Any = self._log
        ends = {p: await right_watermark(log, p) for p in CHANGELOGS}
        session = await right_enter(self)
        log.early = getattr(log, "early", {}) | ends
        return session

    async def high_watermark(self: ProcessLog, partition: Partition) -> int:
        early: dict[Partition, int] = getattr(self, "early", {})
        return early[partition] if partition in early else await right_watermark(self, partition)

    @contextlib.contextmanager
    def both() -> Iterator[None]:
        with replaced(lane.Lane, "enter", enter), replaced(ProcessLog, "high_watermark", high_watermark):
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
    """The restore takes three records for all of the changelog."""

    async def wrong(self: restore.ChangelogCopy, end: int) -> None:
        reader = await self._log.read(self.changelog, self.position)
        records = (await reader.poll(1))[:3]
        if records:
            self._store.write([(record.key or b"", record.value) for record in records], records[-1].offset + 1)
            for record in records:
                self.claims.note(record.key or b"", record.value)
            self.position = records[-1].offset + 1

    return replaced(restore.ChangelogCopy, "upto", wrong)


def restore_uncommitted() -> AbstractContextManager[None]:
    """Aborted rows of the changelog are restored like committed ones."""
    right = MemoryReader.poll

    async def wrong(self: MemoryReader, timeout_ms: int) -> Sequence[Any]:
        if not self._partition.topic.endswith("changelog"):
            return await right(self, timeout_ms)
        await asyncio.sleep(timeout_ms / 1000)
        start, self.position = self.position, self._log.end_offset(self._partition)
        return self._log.uncommitted(self._partition, start)

    return replaced(MemoryReader, "poll", wrong)


def restore_skipped_where_a_store_exists() -> AbstractContextManager[None]:
    """A store that has anything is taken for complete."""
    right = restore.ChangelogCopy.upto

    async def wrong(self: restore.ChangelogCopy, end: int) -> None:
        if self._store.changelog_offset() and not self.rows:
            self.position = end
        else:
            await right(self, end)

    return replaced(restore.ChangelogCopy, "upto", wrong)


def markers_not_written_again() -> AbstractContextManager[None]:
    """A new owner leaves it at fencing: markers that a broker forgot are never written."""
    right = ProcessLog.fence

    async def wrong(self: ProcessLog, transactional_id: str, writes: Collection[Partition] = ()) -> ProcessProducer:
        return await right(self, transactional_id)

    return replaced(ProcessLog, "fence", wrong)
