"""Seeded faults in knowing a log again: what an operator did to it is believed, or not looked at."""

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

from streams.commit import transaction
from streams.model.errors import Refused
from streams.model.log import Log, Partition
from streams.opening import continuity, restore
from streams.opening import log_identity as identity
from streams.stage import runner as stage
from streams.stage import task
from streams.state import log_rows
from streams.state.store import Store
from streams.testing.lineage import Lineage

from common.testing.simulation import work
from common.testing.simulation.replacing import replaced


def _nothing(*_arguments: Any) -> None:
    """Looks at nothing."""


async def _nothing_soon(*_arguments: Any) -> None:
    """Looks at nothing."""


@contextlib.contextmanager
def together(*faults: AbstractContextManager[None]) -> Iterator[None]:
    """One fault in several places."""
    with contextlib.ExitStack() as stack:
        for fault in faults:
            stack.enter_context(fault)
        yield


def trimmed_changelog_is_believed() -> AbstractContextManager[None]:
    """A changelog that begins above what the store has is read from where it begins."""
    right = restore.ChangelogCopy.advance

    async def wrong(self: restore.ChangelogCopy, end: int, timeout_ms: int) -> None:
        if self._reader is None:
            self.position = max(self.position, await self._log.low_watermark(self.changelog))
        await right(self, end, timeout_ms)

    return together(
        replaced(restore, "check_changelog", _nothing_soon), replaced(restore.ChangelogCopy, "advance", wrong)
    )


def another_log_is_believed() -> AbstractContextManager[None]:
    """A topic is known by its name."""
    return together(replaced(identity, "check_identity", _nothing), replaced(continuity, "check_identity", _nothing))


def what_was_meant_is_not_read() -> AbstractContextManager[None]:
    """Commits do not say into which log, and behind what, they were to be written."""
    right = log_rows.meant_for

    def wrong(_identity: str, _offset: int) -> tuple[bytes, bytes]:
        return right("memory/any", 0)

    return together(
        replaced(transaction, "meant_for", wrong),
        replaced(identity, "check_identity", _nothing),
        replaced(continuity, "check_identity", _nothing),
    )


def commit_before_its_place_is_taken() -> AbstractContextManager[None]:
    """A commit that stands where its writer had seen other rows already is read like any other."""
    return replaced(restore, "check_meant", _nothing)


def changelog_that_went_back_is_written_on() -> AbstractContextManager[None]:
    """An owner does not see that what it wrote stands before what it had written."""

    def wrong(self: transaction.TaskParts, rows: Any, end: int) -> None:
        self.seen = 0
        right(self, rows, end)

    right = transaction.TaskParts.store_rows
    return together(replaced(transaction.TaskParts, "store_rows", wrong), replaced(restore, "check_meant", _nothing))


def landmark_is_not_looked_for() -> AbstractContextManager[None]:
    """A store is continued from its position, whatever stands before it in the log now."""
    return replaced(identity, "_check_landmark", _nothing_soon)


def store_ahead_begins_anew() -> AbstractContextManager[None]:
    """A store that is ahead of the log is thrown away, and all input is read again where the log is empty."""

    async def wrong(log: Log, changelog: Partition, store: Store, start: int, end: int) -> None:
        if store.changelog_offset() > end or store.get(log_rows.LOG_KEY):
            try:
                await right(log, changelog, store, start, end)
            except Refused:
                store.wipe()

    right = identity.check_changelog
    return together(
        replaced(restore, "check_changelog", wrong),
        replaced(continuity, "check_beginning", _nothing_soon),
        replaced(continuity, "check_identity", _nothing),
    )


def empty_changelog_is_a_beginning() -> AbstractContextManager[None]:
    """Nobody asks whether the stage was ever there."""
    return replaced(continuity, "check_beginning", _nothing_soon)


def outputs_are_not_continued() -> AbstractContextManager[None]:
    """Fault: outputs are not held to the end of their topic."""
    return replaced(work, "continues", _nothing)


def expired_input_is_skipped() -> AbstractContextManager[None]:
    """Records that expired before they were handled are passed over."""

    async def wrong(log: Log, source: Partition, position: int | None, _kept: bytes | None) -> int:
        return max(await log.low_watermark(source), position or 0)

    return replaced(task, "check_input", wrong)


def lost_end_is_read_over() -> AbstractContextManager[None]:
    """A reader goes on where it was in a log that lost its end and grew past it again."""
    return together(
        replaced(Lineage, "ends_lost", lambda *_: []),
        replaced(identity, "_check_landmark", _nothing_soon),
    )


def refusal_ends_the_process() -> AbstractContextManager[None]:
    """One partition that is refused takes those beside it along."""

    def wrong(_self: stage.StageRunner, _task: task.Task, reason: str, _before: str) -> None:
        raise Refused(reason)

    return replaced(stage.StageRunner, "_refuse", wrong)
