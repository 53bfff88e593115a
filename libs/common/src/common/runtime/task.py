"""One task of a stage: a partition number across the input topics, its store, its producer, its loop."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.contracts.topics import Topic
from common.runtime import metrics
from common.runtime.errors import Fatal, Retriable
from common.runtime.failpoints import passing
from common.runtime.inbox import RESTORE_POLL_MS, Inbox
from common.runtime.log import Log, Partition
from common.runtime.logs import get_logger
from common.runtime.message import Message, View
from common.runtime.overlay import TaskTables
from common.runtime.settings import Settings
from common.runtime.snapshots import SnapshotDirectory
from common.runtime.store import RocksStore, Store, positions_of
from common.runtime.tables import Changelogged, Global, GlobalTable, Snapshotted, TableDeclaration, Tables
from common.runtime.transaction import (
    Committed,
    DeadLetter,
    Handler,
    PoisonError,
    TaskParts,
    commit,
)
from common.runtime.views import ViewPublisher

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Stage:
    """What ``@app.stage`` declared."""

    app: str
    name: str
    handler: Handler
    inputs: tuple[Topic, ...]
    outputs: tuple[Topic, ...]
    changelog: Topic
    tables: tuple[TableDeclaration, ...] = ()
    views: Callable[[Tables], Iterable[View]] | None = None
    verify: Callable[[Tables], None] | None = None

    @property
    def full_name(self) -> str:
        return f"{self.app}.{self.name}"

    def changelogged(self) -> list[Changelogged]:
        return [table for table in self.tables if isinstance(table, Changelogged)]

    def snapshotted(self) -> Snapshotted[Any] | None:
        return next((table for table in self.tables if isinstance(table, Snapshotted)), None)

    def globals(self) -> list[Global]:
        return [table for table in self.tables if isinstance(table, Global)]


@dataclass
class Progress:
    """For the ready page: how far an opening task is."""

    state: str = "opening"
    done: int = 0
    of: int = 0


@dataclass
class Task:
    """Opens in the one safe order, then handles and commits until it is cancelled or must be opened anew."""

    stage: Stage
    partition: int
    log: Log
    settings: Settings
    shared: Mapping[str, GlobalTable]
    publisher: ViewPublisher | None = None
    open_store: Callable[[Path], Store] = RocksStore
    clock_ns: Callable[[], int] = time.time_ns
    suspects: set[tuple[str, int]] = field(default_factory=set)
    progress: Progress = field(default_factory=Progress)
    positions: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._labels = (self.stage.app, self.stage.name, str(self.partition))
        self._path = self.settings.data_dir / self.stage.app / self.stage.name / str(self.partition)
        self._snapshots: SnapshotDirectory | None = None
        self._snapshot_due_s = 0.0
        self._unsettled: Mapping[Partition, int] = {}

    async def run(self) -> None:
        """Until cancelled. Raises Fenced, Retriable or Fatal; the caller opens a new task where that is right."""
        producer = await self.log.fence(f"{self.stage.full_name}.{self.partition}")  # before anything is read
        passing("open.1.fenced")
        store: Store | None = None
        inbox: Inbox | None = None
        try:
            store = self.open_store(self._path / "store")
            parts = TaskParts(
                self.stage.full_name,
                self.stage.handler,
                producer,
                store,
                TaskTables(self.partition, shared=self.shared),
                Partition(self.stage.changelog.name, self.partition),
                frozenset(topic.name for topic in self.stage.outputs),
                self.clock_ns,
            )
            await self._restore(parts)
            inbox = await self._open_inbox()
            passing("open.5.positioned")
            self.progress = Progress("running")
            metrics.OWNED.labels(*self._labels).set(1)
            if self.publisher:
                self.publisher.open(self._labels[1:], lambda: self._committed_views(parts))
            await self._serve(parts, inbox)
        finally:
            metrics.OWNED.labels(*self._labels).set(0)
            if self.publisher:
                self.publisher.close(self._labels[1:])
            if inbox:
                await inbox.stop()
            if store:
                store.close()
            await producer.close()

    # --- opening ---------------------------------------------------------------------------------------------------

    async def _restore(self, parts: TaskParts) -> None:
        began = time.monotonic()
        end = await self.log.high_watermark(parts.changelog)  # after fencing: nobody can add to it any more
        passing("open.2.watermark-read")
        if parts.store.changelog_offset() > end:
            _log.error("store_ahead_of_log", stage=parts.name, partition=self.partition, log_end=end)
            parts.store.wipe()
        rows = await self._copy_changelog(parts, end)
        self.positions = dict(positions_of(parts.store))
        for table in self.stage.changelogged():
            parts.tables.add(table, parts.store)
        if bulk := self.stage.snapshotted():
            self._snapshots = SnapshotDirectory(self._path / "snapshots", bulk)
            await self._rebuild(parts, bulk, self._snapshots)
            self._snapshot_due_s = time.monotonic() + bulk.interval_s
        passing("open.3.restored")
        if self.stage.verify:
            try:
                self.stage.verify(parts.tables)
            except AssertionError as error:
                raise Fatal(f"{parts.name}.{self.partition}: the restored rows break an invariant: {error}") from error
        passing("open.4.verified")
        seconds = time.monotonic() - began
        metrics.RESTORED_ROWS.labels(*self._labels).inc(rows)
        metrics.RESTORE_SECONDS.labels(*self._labels).set(seconds)
        _log.info("task_open", stage=parts.name, partition=self.partition, rows=rows, seconds=round(seconds, 3))

    async def _copy_changelog(self, parts: TaskParts, end: int) -> int:
        start = max(parts.store.changelog_offset(), await self.log.low_watermark(parts.changelog))
        if start >= end:
            return 0
        reader = await self.log.read(parts.changelog, start)
        rows = 0
        try:
            while reader.position < end:
                records = await reader.poll(RESTORE_POLL_MS)
                changes = [(record.key, record.value) for record in records if record.key is not None]
                parts.store.write(changes, reader.position)
                rows += len(changes)
                self.progress = Progress("restoring", reader.position - start, end - start)
        finally:
            await reader.close()
        return rows

    async def _rebuild(self, parts: TaskParts, bulk: Snapshotted[Any], snapshots: SnapshotDirectory) -> None:
        """Newest snapshot, then the input once more, in silence, up to the committed positions."""
        refused: set[tuple[str, int]] = set()
        while True:
            snapshot = snapshots.newest(self.positions)
            parts.tables.states[bulk.name] = snapshot.state if snapshot else bulk.create(self.partition)
            try:
                for topic in self.stage.inputs:
                    begin = snapshot.positions.get(topic.name, 0) if snapshot else 0
                    await self._replay(parts, topic, begin, refused)
                return
            except PoisonError:
                # The handler broke off in the middle of a message that was dead-lettered when it was live; the state it
                # left is not to be trusted. Without that message the replay is what happened.
                continue

    async def _replay(self, parts: TaskParts, topic: Topic, begin: int, refused: set[tuple[str, int]]) -> None:
        partition = Partition(topic.name, self.partition)
        end = self.positions.get(topic.name, 0)
        if begin >= end:
            return
        if (oldest := await self.log.low_watermark(partition)) > begin:
            raise Fatal(
                f"{partition} begins at {oldest}; offset {begin} is needed to rebuild the state of {parts.name}"
            )
        reader = await self.log.read(partition, begin)
        try:
            while reader.position < end:
                for r in await reader.poll(RESTORE_POLL_MS):
                    if r.offset < end and (topic.name, r.offset) not in refused:
                        message = Message(topic, self.partition, r.offset, r.key, r.value, r.timestamp_ms, r.headers)
                        self._replay_one(parts, message, refused)
                self.progress = Progress("replaying", reader.position - begin, end - begin)
                await asyncio.sleep(0)
        finally:
            await reader.close()

    @staticmethod
    def _replay_one(parts: TaskParts, message: Message, refused: set[tuple[str, int]]) -> None:
        if not decodable(message):
            return
        try:
            for _ in parts.handler(message, parts.tables, parts.clock_ns()):
                pass
        except Exception as error:
            refused.add((message.topic.name, message.offset))
            raise PoisonError(0, error) from error

    async def _open_inbox(self) -> Inbox:
        readers = {}
        for topic in self.stage.inputs:
            partition = Partition(topic.name, self.partition)
            oldest = await self.log.low_watermark(partition)
            position = self.positions.get(topic.name)
            if position is not None and position < oldest:
                raise Fatal(f"{partition} begins at {oldest}, but only {position} were handled: records expired unread")
            readers[topic] = await self.log.read(partition, oldest if position is None else position)
        inbox = Inbox(readers, self.partition, self.settings.inbox_messages_max)
        inbox.start()
        return inbox

    def _committed_views(self, parts: TaskParts) -> list[View]:
        """Every view row. Overlays of its own keep what is not committed yet out of sight."""
        if self.stage.views is None:
            return []
        tables = TaskTables(self.partition, states=parts.tables.states, shared=self.shared)
        for table in self.stage.changelogged():
            tables.add(table, parts.store)
        return list(self.stage.views(tables))

    # --- running ---------------------------------------------------------------------------------------------------

    async def _serve(self, parts: TaskParts, inbox: Inbox) -> None:
        while True:
            batch = await self._next_batch(inbox)
            began = time.monotonic()
            if self._snapshots:
                await self._process_bulk(parts, batch)
            else:
                await self._process(parts, batch)
            metrics.COMMIT_SECONDS.labels(*self._labels[:2]).observe(time.monotonic() - began)
            for topic in self.stage.inputs:
                metrics.INBOX.labels(*self._labels, topic.name).set(inbox.waiting(topic.name))
            if self._snapshots and time.monotonic() >= self._snapshot_due_s:
                await self._snapshot(parts, self._snapshots)

    async def _next_batch(self, inbox: Inbox) -> list[Message]:
        if self._unsettled:
            try:
                async with asyncio.timeout(self.settings.settle_timeout_ms / 1000):
                    return await inbox.take(self.settings.batch_messages_max)
            except TimeoutError:
                await self._check_settled()
        return await inbox.take(self.settings.batch_messages_max)

    async def _check_settled(self) -> None:
        """A broker that dies right after a commit may come back and forget the markers it owed; readers wait for ever.

        Raises Retriable: an opening has the markers written once more.
        """
        for partition, end in self._unsettled.items():
            if (stable := await self.log.last_stable_offset(partition)) < end:
                raise Retriable(f"{partition} is stable up to {stable}, but everything before {end} is committed")
        self._unsettled = {}

    async def _process(self, parts: TaskParts, batch: list[Message]) -> None:
        while batch:
            try:
                await self._commit(parts, batch)
                return
            except PoisonError as poison:
                if poison.index:
                    await self._commit(parts, batch[: poison.index])
                await self._set_aside(parts, batch[poison.index], repr(poison.cause))
                batch = batch[poison.index + 1 :]

    async def _process_bulk(self, parts: TaskParts, batch: list[Message]) -> None:
        """Bulk state has no undo: known poison is cut out first; what turns out to be poison costs a reopening."""
        while batch:
            sound = next((i for i, message in enumerate(batch) if self._suspicious(message)), len(batch))
            if sound:
                try:
                    await self._commit(parts, batch[:sound])
                except PoisonError as poison:
                    message = batch[poison.index]
                    self.suspects.add((message.topic.name, message.offset))
                    raise Retriable(f"{parts.name}: {poison}") from poison
            if sound < len(batch):
                await self._set_aside(parts, batch[sound], "refused by the schema or by the handler")
            batch = batch[sound + 1 :]

    def _suspicious(self, message: Message) -> bool:
        return (message.topic.name, message.offset) in self.suspects or not decodable(message)

    async def _commit(self, parts: TaskParts, batch: list[Message]) -> None:
        committed = await commit(parts, batch)
        self._account(committed, batch)
        if self.publisher and committed.views:
            self.publisher.publish(self._labels[1:], committed)

    async def _set_aside(self, parts: TaskParts, message: Message, error: str) -> None:
        where = {"topic": message.topic.name, "partition": message.partition, "offset": message.offset}
        _log.error("dead_letter", stage=parts.name, error=error, **where)
        self._account(await commit(parts, [], DeadLetter(message, error)), [message])
        self.suspects.discard((message.topic.name, message.offset))
        metrics.DEAD_LETTERS.labels(*self._labels[:2], message.topic.name).inc()

    def _account(self, committed: Committed, batch: list[Message]) -> None:
        self.positions.update(committed.positions)
        self._unsettled = committed.ends
        metrics.BATCHES.labels(*self._labels).inc()
        for topic, position in committed.positions.items():
            metrics.POSITION.labels(*self._labels, topic).set(position)
            count = sum(1 for message in batch if message.topic.name == topic)
            metrics.MESSAGES.labels(*self._labels, topic).inc(count)

    async def _snapshot(self, parts: TaskParts, snapshots: SnapshotDirectory) -> None:
        bulk = self.stage.snapshotted()
        assert bulk is not None
        try:
            await asyncio.to_thread(snapshots.save, parts.tables.states[bulk.name], dict(self.positions))
        except OSError as error:
            # Without a newer snapshot the next recovery replays more; that is no reason to stop serving.
            _log.error("snapshot_failed", stage=parts.name, partition=self.partition, error=str(error))
        self._snapshot_due_s = time.monotonic() + bulk.interval_s


def decodable(message: Message) -> bool:
    """Whether the topic's schema accepts the value."""
    try:
        return message.body is not None
    except Exception:  # a schema may raise anything at foreign bytes
        return False
