"""Rebuilding what a task owns: the store from the changelog, bulk state from a snapshot and the input after it."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from common.contracts.topics import Topic
from common.runtime.errors import Fatal, Retriable
from common.runtime.inbox import RESTORE_POLL_MS
from common.runtime.log import Log, Partition, Reader, StoredRecord
from common.runtime.message import Message
from common.runtime.ownership import Claims
from common.runtime.snapshots import SnapshotDirectory
from common.runtime.store import Store
from common.runtime.tables import Snapshotted
from common.runtime.transaction import PoisonError, TaskParts

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and of how much."""


class ChangelogCopy:
    """Copies the changelog into the store, in order and exactly up to where it is told, and notes the claims in it."""

    def __init__(self, log: Log, changelog: Partition, store: Store, progress: Progress, stall_s: float) -> None:
        self.rows = 0
        self.claims = Claims.of(store)
        self.stalled = False
        self.changelog = changelog
        self._log = log
        self._store = store
        self._progress = progress
        self._stall_s = stall_s
        self.position = store.changelog_offset()
        self._reader: Reader | None = None
        self._ahead: deque[StoredRecord] = deque()

    async def upto(self, end: int) -> None:
        """Until everything below ``end`` is in the store.

        Raises Retriable where for ``stall_s`` nothing could be read: a transaction is open, or has lost its markers.
        """
        loop = asyncio.get_running_loop()
        moved_s = loop.time()
        begin = self.position
        while self.position < end:
            before = self.position
            await self.advance(end, RESTORE_POLL_MS)
            if self.position > before:
                moved_s = loop.time()
                self._progress("restoring", self.position - begin, end - begin)
            elif loop.time() - moved_s > self._stall_s:
                self.stalled = True
                raise Retriable(f"{self.changelog} cannot be read from {self.position} on to {end}")

    async def advance(self, end: int, timeout_ms: int) -> None:
        """Copies what can be read below ``end``; waits for it ``timeout_ms`` at most."""
        if self._reader is None:
            self.position = max(self.position, await self._log.low_watermark(self.changelog))
            self._reader = await self._log.read(self.changelog, self.position)
        if not self._ahead and self._reader.position < end:
            self._ahead += await self._reader.poll(timeout_ms)
        changes = []
        while self._ahead and self._ahead[0].offset < end:
            record = self._ahead.popleft()
            if record.key is not None:
                changes.append((record.key, record.value))
                self.claims.note(record.key, record.value)
        position = min(end, self._ahead[0].offset if self._ahead else self._reader.position)
        if position > self.position:
            self._store.write(changes, position)
            self.rows += len(changes)
            self.position = position

    async def close(self) -> None:
        if self._reader:
            await self._reader.close()


class Rebuild:
    """Bulk state: the newest snapshot, then the input once more, in silence, up to the committed positions."""

    def __init__(self, log: Log, parts: TaskParts, inputs: tuple[Topic, ...], progress: Progress) -> None:
        self._log = log
        self._parts = parts
        self._inputs = inputs
        self._progress = progress
        self._refused: set[tuple[str, int]] = set()

    async def run(self, bulk: Snapshotted[Any], snapshots: SnapshotDirectory, positions: Mapping[str, int]) -> None:
        """Leaves the state in the task's tables. Raises Fatal where the input needed for it has expired."""
        tables = self._parts.tables
        while True:
            snapshot = snapshots.newest(positions)
            tables.states[bulk.name] = snapshot.state if snapshot else bulk.create(tables.partition)
            try:
                for topic in self._inputs:
                    begin = snapshot.positions.get(topic.name, 0) if snapshot else 0
                    await self._replay(topic, begin, positions.get(topic.name, 0))
                return
            except PoisonError:
                # The handler broke off in the middle of a message that was dead-lettered when it was live; the state it
                # left is not to be trusted. Without that message the replay is what happened.
                continue

    async def _replay(self, topic: Topic, begin: int, end: int) -> None:
        partition = Partition(topic.name, self._parts.tables.partition)
        if begin >= end:
            return
        if (oldest := await self._log.low_watermark(partition)) > begin:
            name = self._parts.name
            raise Fatal(f"{partition} begins at {oldest}; offset {begin} is needed to rebuild the state of {name}")
        reader = await self._log.read(partition, begin)
        try:
            while reader.position < end:
                for r in await reader.poll(RESTORE_POLL_MS):
                    if r.offset < end and (topic.name, r.offset) not in self._refused:
                        self._replay_one(
                            Message(topic, partition.number, r.offset, r.key, r.value, r.timestamp, r.headers)
                        )
                self._progress("replaying", reader.position - begin, end - begin)
                await asyncio.sleep(0)
        finally:
            await reader.close()

    def _replay_one(self, message: Message) -> None:
        if not decodable(message):
            return
        parts = self._parts
        try:
            for _ in parts.handler(message, parts.tables, parts.clock_ns()):
                pass
        except Exception as error:
            self._refused.add((message.topic.name, message.offset))
            raise PoisonError(0, error) from error


def decodable(message: Message) -> bool:
    """Whether the topic's schema accepts the value."""
    try:
        return message.body is not None
    except Exception:  # a schema may raise anything at foreign bytes
        return False
