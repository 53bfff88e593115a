"""Seeded faults: the stage runtime made wrong in one place each. The simulation must find every one of them.

A fault is a context manager that puts a wrong piece in and takes it out again.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

from common.runtime import overlay, store, task, transaction
from common.runtime.errors import Fenced, LogError, Retriable
from common.runtime.log import Partition, Record
from common.runtime.message import Message
from common.testing.memory_log import MemoryLog, MemoryReader
from common.testing.memory_store import MemoryStore
from common.testing.simulation.network import ProcessLog, ProcessProducer

Fault = Callable[[], AbstractContextManager[None]]


@contextlib.contextmanager
def _replaced(owner: Any, name: str, wrong: Any) -> Iterator[None]:
    right = getattr(owner, name)
    setattr(owner, name, wrong)
    try:
        yield
    finally:
        setattr(owner, name, right)


# --- opening -------------------------------------------------------------------------------------------------------


def seek_before_restore() -> AbstractContextManager[None]:
    """The input is positioned by what the store said before it was restored."""
    right = task.Task._restore

    async def wrong(self: task.Task, parts: transaction.TaskParts) -> None:
        before = dict(store.positions_of(parts.store))
        await right(self, parts)
        self.positions = before

    return _replaced(task.Task, "_restore", wrong)


def watermark_before_fencing() -> AbstractContextManager[None]:
    """The changelog's end is read first, and the older owner is shut out afterwards."""
    right_fence, right_watermark = ProcessLog.fence, ProcessLog.high_watermark

    async def fence(self: ProcessLog, transactional_id: str) -> ProcessProducer:
        stage_name, _, number = transactional_id.rpartition(".")
        changelog = Partition(f"{stage_name}.changelog", int(number))
        end = await right_watermark(self, changelog)
        self.early = getattr(self, "early", {}) | {changelog: end}  # type: ignore[attr-defined]
        return await right_fence(self, transactional_id)

    async def high_watermark(self: ProcessLog, partition: Partition) -> int:
        early: dict[Partition, int] = self.early  # type: ignore[attr-defined]
        return early[partition]

    @contextlib.contextmanager
    def both() -> Iterator[None]:
        with _replaced(ProcessLog, "fence", fence), _replaced(ProcessLog, "high_watermark", high_watermark):
            yield

    return both()


def fence_skipped() -> AbstractContextManager[None]:
    """A new owner does not shut the older one out: every opening has a transactional id of its own."""
    right = ProcessLog.fence

    async def wrong(self: ProcessLog, transactional_id: str) -> ProcessProducer:
        self.openings = getattr(self, "openings", 0) + 1  # type: ignore[attr-defined]
        return await right(self, f"{transactional_id}.{id(self)}.{self.openings}")  # type: ignore[attr-defined]

    return _replaced(ProcessLog, "fence", wrong)


def two_owners_during_revocation() -> AbstractContextManager[None]:
    """The transactional id is the worker's and not the task's: an owner that is losing the partition still writes."""
    right = ProcessLog.fence

    async def wrong(self: ProcessLog, transactional_id: str) -> ProcessProducer:
        return await right(self, f"{transactional_id}.{self.process.name}")

    return _replaced(ProcessLog, "fence", wrong)


def restore_ends_early() -> AbstractContextManager[None]:
    """The restore takes one poll's records for all of the changelog."""

    async def wrong(self: task.Task, parts: transaction.TaskParts, end: int) -> int:
        reader = await self.log.read(parts.changelog, parts.store.changelog_offset())
        records = (await reader.poll(1))[:3]
        if records:
            parts.store.write([(record.key or b"", record.value) for record in records], records[-1].offset + 1)
        return len(records)

    return _replaced(task.Task, "_copy_changelog", wrong)


def restore_uncommitted() -> AbstractContextManager[None]:
    """Aborted rows of the changelog are restored like committed ones."""
    right = MemoryReader.poll

    async def wrong(self: MemoryReader, timeout_ms: int) -> Sequence[Any]:
        if not self._partition.topic.endswith("changelog"):
            return await right(self, timeout_ms)
        start, self.position = self.position, self._log.end_offset(self._partition)
        return self._log.uncommitted(self._partition, start)

    return _replaced(MemoryReader, "poll", wrong)


def restore_skipped_where_a_store_exists() -> AbstractContextManager[None]:
    """A store that has anything is taken for complete."""
    right = task.Task._copy_changelog

    async def wrong(self: task.Task, parts: transaction.TaskParts, end: int) -> int:
        return 0 if parts.store.changelog_offset() else await right(self, parts, end)

    return _replaced(task.Task, "_copy_changelog", wrong)


# --- the commit ----------------------------------------------------------------------------------------------------


def _commit_with(change: Callable[..., Any]) -> AbstractContextManager[None]:
    """Puts ``change(right, parts, batch, dead)`` in the place of the commit."""
    right = transaction.commit

    async def wrong(
        parts: transaction.TaskParts, batch: Sequence[Any], dead: transaction.DeadLetter | None = None
    ) -> transaction.Committed:
        committed: transaction.Committed = await change(right, parts, batch, dead)
        return committed

    return _replaced(task, "commit", wrong)


def ambiguous_commit_retried() -> AbstractContextManager[None]:
    """A commit without an answer is tried again with the same batch, without asking the log what became of it."""

    async def change(right: Any, parts: transaction.TaskParts, batch: Any, dead: Any) -> Any:
        for _ in range(3):
            try:
                return await right(parts, batch, dead)
            except Retriable:
                continue
        return await right(parts, batch, dead)

    return _commit_with(change)


def commit_error_swallowed() -> AbstractContextManager[None]:
    """A commit without an answer counts as done."""
    right = ProcessProducer.commit

    async def wrong(self: ProcessProducer) -> Mapping[Partition, int]:
        try:
            return await right(self)
        except Retriable:
            return dict(self._producer._ends)

    return _replaced(ProcessProducer, "commit", wrong)


def fenced_owner_goes_on() -> AbstractContextManager[None]:
    """An owner that was told to stop takes a new epoch and goes on with what it has in memory."""

    async def change(right: Any, parts: transaction.TaskParts, batch: Any, dead: Any) -> Any:
        try:
            return await right(parts, batch, dead)
        except Fenced:
            assert isinstance(parts.producer, ProcessProducer)
            parts.producer = await parts.producer._log.fence(f"{parts.name}.{parts.tables.partition}")
            return await right(parts, batch, dead)

    return _commit_with(change)


def offset_outside_the_transaction() -> AbstractContextManager[None]:
    """The input positions are written by a transaction of their own, after the one with the outputs."""
    right = ProcessProducer.append

    async def append(self: ProcessProducer, partition: Partition, records: Sequence[Record]) -> None:
        positions = [record for record in records if (record.key or b"").startswith(store.POSITION_PREFIX)]
        self.late = (partition, positions)  # type: ignore[attr-defined]
        await right(self, partition, [record for record in records if record not in positions])

    right_commit = ProcessProducer.commit

    async def commit(self: ProcessProducer) -> Mapping[Partition, int]:
        await right_commit(self)
        await self.begin()
        await right(self, *self.late)  # type: ignore[attr-defined]
        return await right_commit(self)

    @contextlib.contextmanager
    def both() -> Iterator[None]:
        with _replaced(ProcessProducer, "append", append), _replaced(ProcessProducer, "commit", commit):
            yield

    return both()


def outputs_outside_the_transaction() -> AbstractContextManager[None]:
    """Outputs are sent at once, as a plain producer does; only the changelog is transactional."""
    right = ProcessProducer.append

    async def wrong(self: ProcessProducer, partition: Partition, records: Sequence[Record]) -> None:
        if partition.topic.endswith("changelog"):
            await right(self, partition, records)
        else:
            await self._log.call("produce", lambda: self._log.broker.put(partition, *records))

    return _replaced(ProcessProducer, "append", wrong)


def store_written_before_commit() -> AbstractContextManager[None]:
    """Step 5 before step 4."""
    right = ProcessProducer.commit
    tables: dict[int, tuple[transaction.TaskParts, list[Message]]] = {}

    async def change(right_commit: Any, parts: transaction.TaskParts, batch: Any, dead: Any) -> Any:
        tables[id(parts.producer)] = (parts, list(batch))
        return await right_commit(parts, batch, dead)

    async def wrong(self: ProcessProducer) -> Mapping[Partition, int]:
        parts, batch = tables[id(self)]
        rows = [row for table in parts.tables.overlays.values() for row in table.changes()]
        positions = transaction.positions_after(batch)
        rows += [(store.position_key(topic), b"%d" % at) for topic, at in positions.items()]
        parts.store.write(rows, parts.store.changelog_offset())
        return await right(self)

    @contextlib.contextmanager
    def both() -> Iterator[None]:
        with _commit_with(change), _replaced(ProcessProducer, "commit", wrong):
            yield

    return both()


def dead_letter_without_its_offset() -> AbstractContextManager[None]:
    """The poison message is set aside, and its position moves only with the next message."""

    async def change(right: Any, parts: transaction.TaskParts, batch: Any, dead: Any) -> Any:
        if dead is None:
            return await right(parts, batch, None)
        with _replaced(transaction, "positions_after", lambda _messages: {}):
            return await right(parts, batch, dead)

    return _commit_with(change)


def position_one_short() -> AbstractContextManager[None]:
    """The position is that of the last message, not the one after it."""

    def wrong(messages: Sequence[Any]) -> dict[str, int]:
        return {message.topic.name: message.offset for message in messages}

    return _replaced(transaction, "positions_after", wrong)


def positions_left_out_of_the_store() -> AbstractContextManager[None]:
    """The store gets the rows, but not how far the input was handled."""
    right = MemoryStore.write

    def wrong(self: MemoryStore, rows: Any, changelog_offset: int) -> None:
        right(self, [row for row in rows if not row[0].startswith(store.POSITION_PREFIX)], changelog_offset)

    return _replaced(MemoryStore, "write", wrong)


def changelog_position_too_far() -> AbstractContextManager[None]:
    """The store says it is complete up to an offset that it has not seen."""
    right = MemoryStore.write

    def wrong(self: MemoryStore, rows: Any, changelog_offset: int) -> None:
        right(self, rows, changelog_offset + 4)

    return _replaced(MemoryStore, "write", wrong)


# --- tables --------------------------------------------------------------------------------------------------------


def overlay_kept_after_abort() -> AbstractContextManager[None]:
    """What a failed batch wrote is still there for the next one."""
    return _replaced(overlay.OverlayTable, "discard", lambda _self: None)


def poison_dropped() -> AbstractContextManager[None]:
    """A poison message is skipped without a dead letter."""
    return _replaced(transaction, "add_dead_letter", lambda *_: None)


def neighbours_dropped_with_poison() -> AbstractContextManager[None]:
    """The messages before the poison one in its batch are taken for handled."""
    right = task.Task._process

    async def wrong(self: task.Task, parts: transaction.TaskParts, batch: list[Any]) -> None:
        try:
            await self._commit(parts, batch)
        except transaction.PoisonError as poison:
            await self._set_aside(parts, batch[poison.index], repr(poison.cause))
            await right(self, parts, batch[poison.index + 1 :])

    return _replaced(task.Task, "_process", wrong)


def tombstones_lost() -> AbstractContextManager[None]:
    """Deleted rows are not written to the changelog, so a restore brings them back."""
    right = overlay.OverlayTable.changes

    def wrong(self: overlay.OverlayTable) -> Iterator[tuple[bytes, bytes | None]]:
        return ((key, value) for key, value in right(self) if value is not None)

    return _replaced(overlay.OverlayTable, "changes", wrong)


def compaction_loses_tombstones() -> AbstractContextManager[None]:
    """The log cleaner drops a tombstone and keeps the older value that it stood for."""
    return _replaced(MemoryLog, "compact", MemoryLog.compact_wrongly)


def tables_outlive_the_task() -> AbstractContextManager[None]:
    """Decoded rows are kept over a reopening, over what another owner did meanwhile."""
    kept: dict[Any, dict[bytes, Any]] = {}
    right = overlay.TaskTables.add

    def wrong(self: overlay.TaskTables, declaration: Any, over: Any) -> None:
        right(self, declaration, over)
        self.overlays[declaration.name]._hot = kept.setdefault((id(over), declaration.name), {})

    return _replaced(overlay.TaskTables, "add", wrong)


def store_ahead_is_ignored() -> AbstractContextManager[None]:
    """A store that claims more than the log has is believed (with a store that does claim too much)."""

    @contextlib.contextmanager
    def both() -> Iterator[None]:
        with changelog_position_too_far(), _replaced(MemoryStore, "wipe", lambda _self: None):
            yield

    return both()


def fatal_taken_for_done() -> AbstractContextManager[None]:
    """After an error of the log the batch is forgotten and the next one is taken."""

    async def change(right: Any, parts: transaction.TaskParts, batch: Any, dead: Any) -> Any:
        try:
            return await right(parts, batch, dead)
        except LogError as error:
            if isinstance(error, Fenced):
                raise
            return transaction.Committed([], transaction.positions_after(batch), 0, 0)

    return _commit_with(change)


def reader_moves_on_without_the_inbox() -> AbstractContextManager[None]:
    """After a reopening the input goes on from where it was received, not from where it was committed."""
    right = task.Task._open_inbox
    received: dict[int, dict[str, int]] = {}

    async def wrong(self: task.Task) -> Any:
        key = id(self.suspects)
        self.positions = self.positions | received.get(key, {})
        inbox = await right(self)
        received[key] = dict(self.positions)
        take = inbox.take

        async def noted(messages_max: int) -> list[Any]:
            batch: list[Any] = await take(messages_max)
            received[key] |= transaction.positions_after(batch)
            return batch

        inbox.take = noted  # type: ignore[method-assign]
        return inbox

    return _replaced(task.Task, "_open_inbox", wrong)


FAULTS: Final[dict[str, Fault]] = {
    fault.__name__.replace("_", "-"): fault
    for fault in (
        seek_before_restore,
        watermark_before_fencing,
        fence_skipped,
        two_owners_during_revocation,
        restore_ends_early,
        restore_uncommitted,
        restore_skipped_where_a_store_exists,
        ambiguous_commit_retried,
        commit_error_swallowed,
        fenced_owner_goes_on,
        offset_outside_the_transaction,
        outputs_outside_the_transaction,
        store_written_before_commit,
        dead_letter_without_its_offset,
        position_one_short,
        positions_left_out_of_the_store,
        changelog_position_too_far,
        overlay_kept_after_abort,
        poison_dropped,
        neighbours_dropped_with_poison,
        tombstones_lost,
        compaction_loses_tombstones,
        tables_outlive_the_task,
        store_ahead_is_ignored,
        fatal_taken_for_done,
        reader_moves_on_without_the_inbox,
    )
}
