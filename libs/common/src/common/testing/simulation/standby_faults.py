"""Seeded faults in following a partition and in taking it over, see ``docs/adr/0014``."""

import contextlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from streams.model.log import Partition, StoredRecord
from streams.opening import restore
from streams.opening.restore import ChangelogCopy
from streams.process.backoff import Backoff
from streams.stage.standby import Standby, Standbys
from streams.testing.memory_clients import MemoryReader

from common.testing.simulation.network import ProcessLog, ProcessReader
from common.testing.simulation.replacing import replaced


def standby_kept_while_served() -> AbstractContextManager[None]:
    """The standby does not end when its partition is assigned to the process."""

    async def wrong(self: Standbys, partitions: Collection[int]) -> None:
        return

    return replaced(Standbys, "keep_only", wrong)


def standby_taken_for_complete() -> AbstractContextManager[None]:
    """A store that a standby has filled is opened as it is; what was committed since is not read."""
    right_copy, right_upto = Standby._copy, ChangelogCopy.upto

    async def copy(self: Standby, of: ChangelogCopy, backoff: Backoff) -> None:
        of._store.followed = True  # type: ignore[attr-defined]
        await right_copy(self, of, backoff)

    async def upto(self: ChangelogCopy, end: int) -> None:
        if getattr(self._store, "followed", False):
            self.position = max(self.position, end)
        else:
            await right_upto(self, end)

    @contextlib.contextmanager
    def both() -> Iterator[None]:
        with replaced(Standby, "_copy", copy), replaced(restore.ChangelogCopy, "upto", upto):
            yield

    return both()


class _Uncommitted(MemoryReader):
    async def poll(self, timeout_ms: int) -> Sequence[StoredRecord]:
        await super().poll(timeout_ms)
        start, self.position = self.read_to, self._log.end_offset(self._partition)
        self.read_to = self.position
        return self._log.uncommitted(self._partition, start)

    read_to = 0


class _UncommittedLog:
    def __init__(self, log: ProcessLog) -> None:
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def read(self, partition: Partition, start: int) -> ProcessReader:
        reader = _Uncommitted(self._log.broker, partition, start)
        reader.read_to = start
        return ProcessReader(self._log, reader)


def standby_follows_uncommitted() -> AbstractContextManager[None]:
    """A standby takes rows as they come, before their transaction is committed."""
    right = Standby._copy

    async def wrong(self: Standby, copy: ChangelogCopy, backoff: Backoff) -> None:
        copy._log = _UncommittedLog(copy._log)  # type: ignore[arg-type]
        await right(self, copy, backoff)

    return replaced(Standby, "_copy", wrong)


def standby_position_before_rows() -> AbstractContextManager[None]:
    """A standby notes how far it is before it has written the rows."""
    right_copy, right_write = Standby._copy, ChangelogCopy._write

    async def copy(self: Standby, of: ChangelogCopy, backoff: Backoff) -> None:
        of.of_standby = True  # type: ignore[attr-defined]
        await right_copy(self, of, backoff)

    def write(self: ChangelogCopy, records: Sequence[StoredRecord], position: int) -> None:
        if getattr(self, "of_standby", False):
            self._store.write([], position)
        right_write(self, records, position)

    @contextlib.contextmanager
    def both() -> Iterator[None]:
        with replaced(Standby, "_copy", copy), replaced(ChangelogCopy, "_write", write):
            yield

    return both()
