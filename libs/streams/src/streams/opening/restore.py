"""Rebuilding what a task owns: the store from the changelog, bulk state from a snapshot and the input after it."""

import asyncio
import bisect
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final

from streams.commit.handling import PoisonError
from streams.commit.transaction import TaskParts
from streams.model.errors import Refused, Retriable
from streams.model.log import RESTORE_POLL_MS, Log, Partition, Reader, StoredRecord
from streams.model.message import Message
from streams.model.tables import Snapshotted
from streams.model.topics import Topic
from streams.opening.claims import Claims
from streams.opening.log_identity import begun_anew, check_changelog, check_meant
from streams.process.logs import get_logger
from streams.process.settings import Settings
from streams.state.framed_reader import reader_of
from streams.state.log_rows import LOG_KEY, landmark
from streams.state.snapshots import SnapshotDirectory
from streams.state.store import UNCHECKED_KEY, Store

_log = get_logger(__name__)
Tell = Callable[[str, int, int, int], None]
"""Called with what is being done, how many offsets of it are done, of how many, and how many rows that were."""
STALL_S: Final = 3.0
STORE_AGE_MAX_S: Final = 12 * 3_600.0
"""Half of ``delete.retention.ms``, for which a compacted topic keeps tombstones, at its default of a day."""
ROWS_AT_ONCE_MAX: Final = 2_000
_OFFSET: Final = attrgetter("offset")


async def make_usable(
    log: Log, store: Store, changelog: Partition, end: int, register: tuple[Partition, bytes] | None = None
) -> None:
    """Begins anew where reading on from the store's position would not give what the log has.

    A store that was left for longer than compaction keeps tombstones may have rows whose deletion is no longer there to
    be read. A changelog without its beginning has all that is needed where an operator has had its rows written anew,
    which ``register`` (where, and under which key) says. Raises Refused, with the store as it was, where the log is not
    the one that the store was made from.
    """
    position, age_s = store.changelog_offset(), store.age_s()
    too_old = 0 < position < end and age_s > STORE_AGE_MAX_S
    start = 0 if too_old else position
    begin = await whole_from(log, changelog, register)
    is_behind = start < begin
    await check_changelog(log, changelog, store, begin if is_behind else start, end)
    if too_old or is_behind:
        _log.warning("store_too_old", changelog=str(changelog), log_end=end, store=position, age_s=round(age_s))
        store.wipe()
    if is_behind:
        store.write([], begin)


async def whole_from(log: Log, changelog: Partition, register: tuple[Partition, bytes] | None) -> int:
    """The oldest offset of a changelog that lost its beginning, and has all that is needed all the same; else 0."""
    if register is None or not (begin := await log.low_watermark(changelog)):
        return 0
    said = await begun_anew(log, *register, changelog)
    return begin if said is not None and begin <= said else 0


class ChangelogCopy:
    """Copies the changelog into the store, in order and exactly up to where it is told, and notes the claims in it."""

    def __init__(
        self,
        log: Log,
        changelog: Partition,
        store: Store,
        tell: Tell = lambda *_: None,
        stall_s: float = STALL_S,
        check: Callable[[bytes, bytes], str] | None = None,
    ) -> None:
        self.rows = 0
        self.claims = Claims.of(store)
        self.stalled = False
        self.changelog = changelog
        self._log = log
        self._store = store
        self._tell = tell
        self._check = check
        self._stall_s = stall_s
        self.position = store.changelog_offset()
        self._reader: Reader | None = None
        self._ahead: Sequence[StoredRecord] = ()

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
                self._tell("restoring", self.position - begin, end - begin, self.rows)
            elif loop.time() - moved_s > self._stall_s:
                self.stalled = True
                raise Retriable(f"{self.changelog} cannot be read from {self.position} on to {end}")

    async def advance(self, end: int, timeout_ms: int) -> None:
        """Copies what can be read below ``end``; waits for it ``timeout_ms`` at most."""
        if self._reader is None:
            begin = await self._log.low_watermark(self.changelog)
            if begin > self.position:
                raise Refused(f"{self.changelog} begins at {begin}, and was copied up to {self.position}")
            self._reader = await self._log.read(self.changelog, self.position)
        if not self._ahead and self._reader.position < end:
            self._ahead = await self._reader.poll(timeout_ms)
        stop = min(len(self._ahead), ROWS_AT_ONCE_MAX)
        if stop and self._ahead[stop - 1].offset >= end:
            stop = bisect.bisect_left(self._ahead, end, hi=stop, key=_OFFSET)
        records, self._ahead = self._ahead[:stop], self._ahead[stop:]
        position = min(end, self._ahead[0].offset if self._ahead else self._reader.position)
        if position > self.position:
            self._write(records, position)
            await asyncio.sleep(0)  # what else runs in this process is not to wait for more than this

    def _write(self, records: Sequence[StoredRecord], position: int) -> None:
        """Rows that are none are marked: a later one may take their place, or they are of another layout."""
        rows = [(record.key, record.value) for record in records if record.key is not None]
        marks: list[tuple[bytes, bytes | None]] = []
        for record in records:
            if record.key == LOG_KEY and record.value is not None:
                check_meant(self.changelog, record.offset, record.value)
        for key, value in rows:
            if key.startswith(b"@"):
                self.claims.note(key, value)
            elif self._check and value is not None and (reason := self._check(key, value)):
                marks = [(UNCHECKED_KEY, reason.encode())]
        epoch = self._reader.epoch if self._reader else -1
        marks += [landmark(last.offset, last.key, last.value, epoch) for last in records[-1:]]
        self._store.write([*rows, *marks], position)
        self.rows += len(rows)
        self.position = position

    async def close(self) -> None:
        if self._reader:
            await self._reader.close()


class Rebuild:
    """Bulk state: the newest snapshot, then the input once more, in silence, up to the committed positions."""

    def __init__(self, log: Log, parts: TaskParts, inputs: tuple[Topic, ...], tell: Tell, settings: Settings) -> None:
        self._log = log
        self._settings = settings
        self._parts = parts
        self._inputs = inputs
        self._tell = tell
        self._refused: set[tuple[str, int]] = set()
        self._replayed = 0

    async def run(self, bulk: Snapshotted[Any], snapshots: SnapshotDirectory, positions: Mapping[str, int]) -> None:
        """Leaves the state in the task's tables. Raises Refused where the input needed for it has expired."""
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
            raise Refused(f"{partition} begins at {oldest}; offset {begin} is needed to rebuild the state of {name}")
        reader = reader_of(topic, await self._log.read(partition, begin), self._settings)
        try:
            while reader.position < end:
                for r in await reader.poll(RESTORE_POLL_MS):
                    if r.offset < end and (topic.name, r.offset) not in self._refused:
                        self._replay_one(
                            Message(topic, partition.number, r.offset, r.key, r.value, r.timestamp, r.headers)
                        )
                self._tell("replaying", min(reader.position, end) - begin, end - begin, self._replayed)
                await asyncio.sleep(0)
        finally:
            await reader.close()

    def _replay_one(self, message: Message) -> None:
        self._replayed += 1
        if not decodable(message):
            return
        parts = self._parts
        try:
            for _ in parts.handler(message, parts.tables, parts.clock_ns()):
                pass
        except Exception as error:  # a handler may raise anything
            self._refused.add((message.topic.name, message.offset))
            raise PoisonError(0, error) from error


def decodable(message: Message) -> bool:
    """Whether the topic's schema accepts the value."""
    try:
        return message.body is not None
    except Exception:  # a schema may raise anything at foreign bytes
        return False
