"""Seeded faults: the stage runtime made wrong in one place each. The simulation must find every one of them.

A fault is a context manager that puts a wrong piece in and takes it out again.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

from streams.commit import lane, transaction
from streams.commit.handling import PoisonError
from streams.model.errors import Fenced, LogError, Retriable
from streams.model.log import Partition, Record, Records
from streams.stage import task
from streams.state import overlay, store
from streams.testing.memory_log import MemoryLog
from streams.testing.memory_store import MemoryStore

from common.testing.simulation import (
    beginning_faults,
    log_faults,
    opening_faults,
    ownership_faults,
    standby_faults,
    store_faults,
    stranger_faults,
)
from common.testing.simulation.network import ProcessProducer
from common.testing.simulation.replacing import replaced

Fault = Callable[[], AbstractContextManager[None]]


# --- the commit ----------------------------------------------------------------------------------------------------


def _commit_with(change: Callable[..., Any]) -> AbstractContextManager[None]:
    """Puts ``change(right, producer, works, notes)`` in the place of the commit."""
    right = transaction.commit

    async def wrong(producer: Any, works: Sequence[transaction.Work], notes: Sequence[transaction.Note] = ()) -> Any:
        return await change(right, producer, works, notes)

    return replaced(lane, "commit", wrong)


def ambiguous_commit_retried() -> AbstractContextManager[None]:
    """A commit without an answer is tried again with the same batch, without asking the log what became of it."""

    async def change(right: Any, producer: Any, works: Any, notes: Any) -> Any:
        for _ in range(3):
            try:
                return await right(producer, works, notes)
            except Retriable:
                continue
        return await right(producer, works, notes)

    return _commit_with(change)


def commit_error_swallowed() -> AbstractContextManager[None]:
    """A commit without an answer counts as done."""
    right = ProcessProducer.commit

    async def wrong(self: ProcessProducer) -> Mapping[Partition, int]:
        try:
            return await right(self)
        except Retriable:
            return dict(self._producer._ends)

    return replaced(ProcessProducer, "commit", wrong)


def fenced_owner_goes_on() -> AbstractContextManager[None]:
    """An owner that was told to stop takes a new epoch and goes on with what it has in memory."""
    newest: dict[int, ProcessProducer] = {}

    async def change(right: Any, producer: ProcessProducer, works: Any, notes: Any) -> Any:
        try:
            return await right(newest.get(id(producer), producer), works, notes)
        except Fenced:
            newest[id(producer)] = await producer._log.fence(producer.transactional_id)
            return await right(newest[id(producer)], works, notes)

    return _commit_with(change)


def offset_outside_the_transaction() -> AbstractContextManager[None]:
    """The input positions are written by a transaction of their own, after the one with the outputs."""
    right = ProcessProducer.append

    async def append(self: ProcessProducer, partition: Partition, records: Records) -> None:
        positions = [record for record in records if (record[0] or b"").startswith(store.POSITION_PREFIX)]
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
        with replaced(ProcessProducer, "append", append), replaced(ProcessProducer, "commit", commit):
            yield

    return both()


def outputs_outside_the_transaction() -> AbstractContextManager[None]:
    """Outputs are sent at once, as a plain producer does; only the changelog is transactional."""
    right = ProcessProducer.append

    async def wrong(self: ProcessProducer, partition: Partition, records: Records) -> None:
        if partition.topic.endswith("changelog"):
            await right(self, partition, records)
        else:
            await self._log.call("produce", lambda: self._log.broker.put(partition, *map(Record._make, records)))

    return replaced(ProcessProducer, "append", wrong)


def store_written_before_commit() -> AbstractContextManager[None]:
    """Step 5 before step 4."""
    right = ProcessProducer.commit
    pending: dict[int, Sequence[transaction.Work]] = {}

    async def change(right_commit: Any, producer: Any, works: Sequence[transaction.Work], notes: Any) -> Any:
        pending[id(producer)] = works
        return await right_commit(producer, works, notes)

    async def wrong(self: ProcessProducer) -> Mapping[Partition, int]:
        for work in pending[id(self)]:
            rows = [row for table in work.parts.tables.overlays.values() for row in table.changes()]
            positions = transaction.positions_after(work.batch)
            rows += [(store.position_key(topic), b"%d" % at) for topic, at in positions.items()]
            work.parts.store.write(rows, work.parts.store.changelog_offset())
        return await right(self)

    @contextlib.contextmanager
    def both() -> Iterator[None]:
        with _commit_with(change), replaced(ProcessProducer, "commit", wrong):
            yield

    return both()


def dead_letter_without_its_offset() -> AbstractContextManager[None]:
    """The poison message is set aside, and its position moves only with the next message."""
    right = transaction._apply_work

    def wrong(work: transaction.Work) -> Any:
        if work.dead is None:
            return right(work)
        with replaced(transaction, "positions_after", lambda _messages: {}):
            return right(work)

    return replaced(transaction, "_apply_work", wrong)


def position_one_short() -> AbstractContextManager[None]:
    """The position is that of the last message, not the one after it."""

    def wrong(messages: Sequence[Any]) -> dict[str, int]:
        return {message.topic.name: message.offset for message in messages}

    return replaced(transaction, "positions_after", wrong)


def positions_left_out_of_the_store() -> AbstractContextManager[None]:
    """The store gets the rows, but not how far the input was handled."""
    right = MemoryStore.write

    def wrong(self: MemoryStore, rows: Any, changelog_offset: int) -> None:
        right(self, [row for row in rows if not row[0].startswith(store.POSITION_PREFIX)], changelog_offset)

    return replaced(MemoryStore, "write", wrong)


def changelog_position_too_far() -> AbstractContextManager[None]:
    """The store says it is complete up to an offset that it has not seen."""
    right = MemoryStore.write

    def wrong(self: MemoryStore, rows: Any, changelog_offset: int) -> None:
        right(self, rows, changelog_offset + 4)

    return replaced(MemoryStore, "write", wrong)


# --- tables --------------------------------------------------------------------------------------------------------


def overlay_kept_after_abort() -> AbstractContextManager[None]:
    """Fault: the writes of a failed batch are still there for the next one."""
    return replaced(overlay.OverlayTable, "discard", lambda _self: None)


def poison_dropped() -> AbstractContextManager[None]:
    """A poison message is skipped without a dead letter."""
    return replaced(transaction, "add_dead_letter", lambda *_: None)


def neighbours_dropped_with_poison() -> AbstractContextManager[None]:
    """The messages before the poison one in its batch are taken for handled."""
    right = task.Task._around

    def wrong(self: task.Task, work: transaction.Work, poison: PoisonError) -> list[transaction.Work]:
        return [other for other in right(self, work, poison) if other.dead or other.batch[0] is not work.batch[0]]

    return replaced(task.Task, "_around", wrong)


def tombstones_lost() -> AbstractContextManager[None]:
    """Deleted rows are not written to the changelog, so a restore brings them back."""
    right = overlay.OverlayTable.changes

    def wrong(self: overlay.OverlayTable) -> Iterator[tuple[bytes, bytes | None]]:
        return ((key, value) for key, value in right(self) if value is not None)

    return replaced(overlay.OverlayTable, "changes", wrong)


def compaction_loses_tombstones() -> AbstractContextManager[None]:
    """The log cleaner drops a tombstone and keeps the older value that it stood for."""
    return replaced(MemoryLog, "compact", MemoryLog.compact_wrongly)


def tables_outlive_the_task() -> AbstractContextManager[None]:
    """Decoded rows are kept over a reopening, over what another owner did meanwhile."""
    kept: dict[Any, dict[bytes, Any]] = {}
    right = overlay.TaskTables.add

    def wrong(self: overlay.TaskTables, declaration: Any, over: Any) -> None:
        right(self, declaration, over)
        self.overlays[declaration.name]._hot = kept.setdefault((id(over), declaration.name), {})

    return replaced(overlay.TaskTables, "add", wrong)


def store_ahead_is_ignored() -> AbstractContextManager[None]:
    """A store that claims more than the log has is believed (with a store that does claim too much)."""

    @contextlib.contextmanager
    def both() -> Iterator[None]:
        with changelog_position_too_far(), replaced(MemoryStore, "wipe", lambda _self: None):
            yield

    return both()


def fatal_taken_for_done() -> AbstractContextManager[None]:
    """After an error of the log the batch is forgotten and the next one is taken."""

    async def change(right: Any, producer: Any, works: Sequence[transaction.Work], notes: Any) -> Any:
        try:
            return await right(producer, works, notes)
        except LogError as error:
            if notes or isinstance(error, Fenced):
                raise
            positions = [transaction.positions_after(work.batch) for work in works]
            return [transaction.Committed([], position, 0, 0, {}, 0.0) for position in positions], {}

    return _commit_with(change)


def reader_moves_on_without_the_inbox() -> AbstractContextManager[None]:
    """After a reopening the input goes on from where it was received, not from where it was committed."""
    right = task.Task._open_inbox
    received: dict[int, dict[str, int]] = {}

    async def wrong(self: task.Task, filled: Any) -> Any:
        key = id(self.suspects)
        self.positions = self.positions | received.get(key, {})
        inbox = await right(self, filled)
        received[key] = dict(self.positions)
        take = inbox.take_now

        def noted(messages_max: int) -> list[Any]:
            batch: list[Any] = take(messages_max)
            received[key] |= transaction.positions_after(batch)
            return batch

        inbox.take_now = noted  # type: ignore[method-assign]
        return inbox

    return replaced(task.Task, "_open_inbox", wrong)


GENERAL: Final[tuple[Fault, ...]] = (
    opening_faults.seek_before_restore,
    opening_faults.watermark_before_fencing,
    opening_faults.fence_skipped,
    opening_faults.two_owners_during_revocation,
    opening_faults.restore_ends_early,
    opening_faults.restore_uncommitted,
    opening_faults.restore_skipped_where_a_store_exists,
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
    opening_faults.markers_not_written_again,
)
OWNERSHIP: Final[tuple[Fault, ...]] = (
    ownership_faults.no_look_back,
    ownership_faults.look_back_does_not_wait,
    ownership_faults.owner_row_left_out,
    ownership_faults.released_before_leaving,
    ownership_faults.released_and_still_served,
    ownership_faults.fences_the_wrong_id,
    ownership_faults.owed_markers_left_behind,
)
LAGGARD: Final[tuple[Fault, ...]] = (
    ownership_faults.only_the_newest_claim_counts,
    ownership_faults.not_restored_after_the_look_back,
    ownership_faults.claims_before_the_owner_row_dropped,
    ownership_faults.store_jumps_over_claims,
)
MIXED: Final[tuple[Fault, ...]] = (
    ownership_faults.task_id_not_shut_out_after_the_claim,
    ownership_faults.task_ignores_claims,
)
STANDBY: Final[tuple[Fault, ...]] = (
    standby_faults.standby_kept_while_served,
    standby_faults.standby_taken_for_complete,
    standby_faults.standby_follows_uncommitted,
    standby_faults.standby_position_before_rows,
)


OPERATOR: Final[tuple[Fault, ...]] = (
    log_faults.trimmed_changelog_is_believed,
    log_faults.another_log_is_believed,
    log_faults.what_was_meant_is_not_read,
    log_faults.commit_before_its_place_is_taken,
    log_faults.changelog_that_went_back_is_written_on,
    log_faults.landmark_is_not_looked_for,
    log_faults.store_ahead_begins_anew,
    log_faults.empty_changelog_is_a_beginning,
    log_faults.outputs_are_not_continued,
    log_faults.expired_input_is_skipped,
    log_faults.lost_end_is_read_over,
    log_faults.refusal_ends_the_process,
)
STRANGERS: Final[tuple[Fault, ...]] = stranger_faults.FAULTS
DISK: Final[tuple[Fault, ...]] = store_faults.FAULTS
BEGINNING: Final[tuple[Fault, ...]] = beginning_faults.FAULTS


def _name(fault: Fault) -> str:
    return fault.__name__.replace("_", "-")


FAULTS: Final[dict[str, Fault]] = {
    _name(fault): fault
    for fault in (*GENERAL, *OWNERSHIP, *LAGGARD, *MIXED, *STANDBY, *OPERATOR, *STRANGERS, *DISK, *BEGINNING)
}
MODES_OF: Final[dict[str, tuple[str, ...]]] = {
    **{_name(fault): ("task", "process") for fault in GENERAL},
    # A process looks at the changelog's end several times while it takes a partition over: see its own faults.
    _name(opening_faults.watermark_before_fencing): ("task",),
    **{_name(fault): ("race",) for fault in OWNERSHIP},
    _name(ownership_faults.owed_markers_left_behind): ("process",),
    **{_name(fault): ("laggard",) for fault in LAGGARD},
    **{_name(fault): ("mixed",) for fault in MIXED},
    **{_name(fault): ("standby",) for fault in STANDBY},
    **{_name(fault): ("operator",) for fault in OPERATOR},
    **{_name(fault): ("strangers",) for fault in STRANGERS},
    **{_name(fault): ("disk",) for fault in DISK},
    **{_name(fault): ("beginning",) for fault in BEGINNING},
}
"""Modes in which each fault must be found: with a producer per task, one per process, workers of both kinds, with one
per process in a race for the partitions, in a race with laggards, or where workers keep standbys."""
