"""One task of a stage: a partition number across the input topics, its store, its place in a lane."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from streams.commit.handling import PoisonError
from streams.commit.lane import Lane, Session
from streams.commit.oversize import handled_again
from streams.commit.transaction import NOTHING_REFUSED, Committed, Outcome, SetAside, TaskParts, Work
from streams.model.declaration import Stage
from streams.model.errors import LogError, Newer, Refused, Retriable, TooLarge
from streams.model.framing import framed_topics
from streams.model.log import Log, Partition
from streams.model.message import Message, View
from streams.model.tables import GlobalTable, Tables
from streams.opening.claims import release
from streams.opening.continuity import check_restored
from streams.opening.layout import settle_layout
from streams.opening.log_identity import check_input
from streams.opening.ownership import Taking
from streams.opening.restore import ChangelogCopy, Rebuild, decodable, make_usable, whole_from
from streams.process import metrics
from streams.process.failpoints import passing
from streams.process.logs import get_logger
from streams.process.settings import Settings
from streams.stage.batch_size import BatchSize
from streams.stage.inbox import Inbox
from streams.stage.progress import Meter, Progress
from streams.stage.task_clock import TaskClock
from streams.state.fences import NO_PLACES, FenceView
from streams.state.framed_reader import reader_of
from streams.state.log_rows import log_key
from streams.state.overlay import TaskTables
from streams.state.snapshots import SnapshotDirectory
from streams.state.store import RocksStore, Store, destroy, position_key, positions_of
from streams.state.store_errors import CorruptStore, StoreError
from streams.views.publisher import Publisher

_log = get_logger(__name__)


def lane_of_task(stage: Stage, partition: int, log: Log, settings: Settings) -> Lane:
    """A lane for one task alone: its transactional id is the partition's."""
    observe = metrics.COMMIT_SECONDS.labels(stage.app, stage.name).observe
    writes = partial(stage.writes, partition)
    return Lane(stage.task_id(partition), log, settings, writes, observe, shared=False, rest=stage.rest)


@dataclass
class Task:
    """Opens in the one safe order, then handles until it is cancelled or must be opened anew. See ``lane.Member``."""

    stage: Stage
    partition: int
    log: Log
    settings: Settings
    shared: Mapping[str, GlobalTable]
    publisher: Publisher | None = None
    open_store: Callable[[Path], Store] = RocksStore
    clock_ns: Callable[[], int] = time.time_ns
    suspects: set[tuple[str, int]] = field(default_factory=set)
    strict: bool = False
    """Every row that is restored must be one to its table's codec: an undecodable one was found before."""
    discard: Callable[[Path], None] = destroy
    lane: Lane | None = None
    """The lane of all tasks of the process; without one the task has a lane of its own."""
    lives: Callable[[str], bool] = lambda _owner: True
    """Whether an owner may still give a partition back."""
    fences: FenceView | None = None
    progress: Progress = field(default_factory=Progress)
    positions: dict[str, int] = field(default_factory=dict)
    running_since_s: float | None = None
    """By the loop's clock; None: it is still opening."""

    def __post_init__(self) -> None:
        self._labels = (self.stage.app, self.stage.name, str(self.partition))
        self._path = self.stage.store_path(self.settings, self.partition).parent
        self._meter = Meter(self.stage.full_name, self.partition, self._show)
        self._todo: deque[Work] = deque()
        self._batch_size = BatchSize(self.settings.batch.messages_max, self.settings.batch.handling_ms / 1000)
        self._snapshots: SnapshotDirectory | None = None
        self._snapshot_due_s = 0.0
        self._saving: asyncio.Task[None] | None = None
        self._clock = TaskClock(self.clock_ns)
        self._unreadable: StoreError | None = None
        """The trouble that the views' writer met in the store."""
        self._committed: Tables | None = None
        self._parts: TaskParts
        self._inbox: Inbox

    async def run(self) -> None:
        """Until cancelled. Raises Fenced, Retriable, Fatal or StoreError; the caller opens a new task if that is right.

        A store that is damaged is gone when this ends: the next opening fills a new one from the changelog.
        """
        try:
            await self._run()
        except CorruptStore as damage:
            await self._discard_store(damage)
            raise

    async def _discard_store(self, damage: CorruptStore) -> None:
        """Raises Refused where the changelog does not go back to the beginning: nothing else has those rows."""
        changelog = Partition(self.stage.changelog.name, self.partition)
        begin = await self.log.low_watermark(changelog)
        if begin and not await whole_from(self.log, changelog, self.stage.registered(self.partition)):
            raise Refused(
                f"{damage}; {changelog} begins at {begin}, so a new store cannot be made from it", "begin"
            ) from damage
        _log.error("store_discarded", stage=self.stage.full_name, partition=self.partition, error=str(damage))
        metrics.STORES_DISCARDED.labels(*self._labels).inc()
        self.discard(self._path / "store")

    async def _run(self) -> None:
        lane = self.lane or lane_of_task(self.stage, self.partition, self.log, self.settings)
        session = await lane.enter()  # its id is fenced in, before anything is read
        passing("open.1.fenced")
        try:
            store = self.open_store(self._path / "store")
            try:
                await self._own(lane, session, store)
            finally:
                store.close()
        finally:
            await lane.exit(session)

    async def _own(self, lane: Lane, session: Session, store: Store) -> None:
        self._parts = parts = TaskParts(
            self.stage.full_name,
            self.stage.handler,
            store,
            TaskTables(self.partition, shared=self.shared),
            Partition(self.stage.changelog.name, self.partition),
            frozenset(topic.name for topic in self.stage.outputs),
            self.stage.shows,
            self.clock_ns,
            self.stage.batch_handler,
            framed_topics(self.stage.written, self.settings.log_format),
            row_records=self.stage.row_records,
        )
        taking = await self._restore(lane, session)
        self._inbox = await self._open_inbox(session.filled)
        try:
            passing("open.5.positioned")
            await self._seat(taking)
            self.progress = Progress("running")
            self.running_since_s = asyncio.get_running_loop().time()
            self._committed = parts.tables.committed()
            metrics.OWNED.labels(*self._labels).set(1)
            metrics.REFUSED.labels(*self._labels).set(0)
            if self.publisher:
                writer = self._clock.writer(self.stage.changelog.partitions, self._todo, self._inbox)
                shown = (self._committed, self._views, writer if self.stage.views else None)

                def fails(error: StoreError) -> None:
                    self._unreadable = error
                    session.filled.set()

                self.publisher.open(self._labels[1:], *shown, fails)
            await self._serve(lane, session)
        finally:
            self._committed = None
            metrics.OWNED.labels(*self._labels).set(0)
            if self.publisher:
                self.publisher.close(self._labels[1:])
            await self._inbox.stop()

    async def _seat(self, taking: Taking) -> None:
        rows, end = await taking.seat()
        if rows:
            self._parts.store_rows(rows, end)

    # --- opening ---------------------------------------------------------------------------------------------------

    async def _restore(self, lane: Lane, session: Session) -> Taking:
        parts = self._parts
        began = time.monotonic()
        end = await self.log.high_watermark(parts.changelog)
        passing("open.2.watermark-read")
        await make_usable(self.log, parts.store, parts.changelog, end, self.stage.registered(self.partition))
        taking, rows = await self._take(lane, session)
        await settle_layout(self.log, self.stage, parts, lambda: self._seat(taking), session.write)
        self.positions = dict(positions_of(parts.store))
        for table in self.stage.changelogged():
            parts.tables.add(table, parts.store)
        if bulk := self.stage.snapshotted():
            layout = f"{self.stage.full_name}.{bulk.name}"
            self._snapshots = SnapshotDirectory(self.snapshots_path, bulk, layout, self._meter)
            rebuild = Rebuild(self.log, parts, self.stage.inputs, self._meter, self.settings)
            await rebuild.run(bulk, self._snapshots, self.positions)
            self._snapshot_due_s = time.monotonic() + bulk.interval_s
        passing("open.3.restored")
        known = self.fences.known(self.stage.full_name, self.partition) if self.fences else NO_PLACES
        await check_restored(self.log, self.stage, parts, self.positions, self.settings, known)
        passing("open.4.verified")
        seconds = time.monotonic() - began
        metrics.RESTORED_ROWS.labels(*self._labels).inc(rows)
        metrics.RESTORE_SECONDS.labels(*self._labels).set(seconds)
        _log.info("task_open", stage=parts.name, partition=self.partition, rows=rows, seconds=round(seconds, 3))
        return taking

    async def _take(self, lane: Lane, session: Session) -> tuple[Taking, int]:
        """Takes the changelog over and copies it. Returns how many rows were copied, too."""
        parts, settings = self._parts, self.settings
        owed = parts.changelog not in session.writes
        stall_ms = settings.settle_timeout_ms + (0 if owed else settings.transaction.timeout_ms)
        check = self.stage.row_check(strict=self.strict)
        copy = ChangelogCopy(self.log, parts.changelog, parts.store, self._meter, stall_ms / 1000, check)
        writes = self.stage.writes(self.partition)
        task_id = self.stage.task_id(self.partition)
        taking = Taking(self.log, copy, lane.transactional_id, task_id, writes, session.write, self.lives)
        try:
            if lane.shared:
                parts.restored(await taking.as_process(settings.handover_wait_ms / 1000))
            else:
                parts.restored(await taking.as_task())
        except Retriable as error:
            if copy.stalled and await taking.free():
                session.fail(error)  # from when this lane served the partition before: its next session ends it
            raise
        finally:
            await copy.close()
        return taking, copy.rows

    def _show(self, progress: Progress) -> None:
        self.progress = progress

    async def _open_inbox(self, filled: asyncio.Event) -> Inbox:
        readers = {}
        for topic in self.stage.inputs:
            partition = Partition(topic.name, self.partition)
            start = await check_input(
                self.log, partition, self.positions.get(topic.name), self._parts.store.get(log_key(topic.name))
            )
            reader, known = await self.log.read(partition, start), self.stage.reads_framed.get(topic)
            readers[topic] = reader_of(topic, reader, self.settings, known)
            if topic.name not in self.positions:
                self._parts.unrecorded[position_key(topic.name)] = b"%d" % start
        bounds = (self.settings.inbox.messages_max, self.settings.inbox.bytes_max)
        inbox = Inbox(readers, self.partition, bounds, filled)
        inbox.start()
        return inbox

    def _views(self, committed: Tables) -> Iterable[View]:
        """Every view row. Rows of the store are listed as they are asked for, bulk state, which changes, at once."""
        if self.stage.views is None:
            return []
        views = self.stage.views(committed)
        return list(views) if self._snapshots else views

    # --- running ---------------------------------------------------------------------------------------------------

    def bulk_state(self, table: str) -> Any | None:
        """The state of a snapshotted table as the handler left it; None while the partition is not served. It is for
        reads alone, on the loop's thread, which are done before anything else is awaited.
        """
        return self._parts.tables.states[table] if self.progress.state == "running" else None

    def committed_tables(self) -> Tables | None:
        """The tables without what the running batch has written to them; None while the partition is not served. It is
        for reads alone, as ``bulk_state``. Reading them may raise StoreError.
        """
        return self._committed

    @property
    def snapshots_path(self) -> Path:
        """Directory of the snapshots of its bulk state."""
        return self._path / "snapshots"

    async def _serve(self, lane: Lane, session: Session) -> None:
        seat = session.join(self)
        try:
            await seat.ended
        except (asyncio.CancelledError, OSError):
            # Also where the store fails: whoever serves the partition next need not shut this process out, and with
            # it the partitions beside.
            await session.leave(seat)
            if lane.shared:
                with contextlib.suppress(LogError):
                    await session.write(release(self._parts.changelog))
            raise
        finally:
            await session.leave(seat)
            if self._saving:
                await asyncio.gather(self._saving, return_exceptions=True)

    def next_work(self) -> Work | None:
        """The rest of the last batch, else newly arrived messages."""
        if self._unreadable is not None:
            raise self._unreadable
        if self._saving:
            if not self._saving.done():
                return None
            self._saving = None
        if not self._todo and (batch := self._inbox.take_now(self._batch_size.current)):
            self._todo.extend(self._works(batch))
        return self._clock.hand_over(self._todo)

    @property
    def is_behind(self) -> bool:
        return bool(self._todo) or self._inbox.holds(self._batch_size.current)

    def _works(self, batch: list[Message]) -> Iterator[Work]:
        """Bulk state has no undo, so known poison is cut out of a batch before it is handled."""
        if self._snapshots:
            while (at := next((i for i, message in enumerate(batch) if self._suspicious(message)), None)) is not None:
                if at:
                    yield Work(self._parts, batch[:at])
                yield self._set_aside(batch[at], "refused by the schema or by the handler")
                batch = batch[at + 1 :]
        if batch:
            yield Work(self._parts, batch)

    def _suspicious(self, message: Message) -> bool:
        return (message.topic.name, message.offset) in self.suspects or not decodable(message)

    def _set_aside(self, message: Message, error: str, sizes_refused: Mapping[str, int] = NOTHING_REFUSED) -> Work:
        where = {"topic": message.topic.name, "partition": message.partition, "offset": message.offset}
        _log.error("dead_letter", stage=self._parts.name, error=error, **where)
        return Work(self._parts, [], SetAside(message, error), sizes_refused)

    def done(self, work: Work, outcome: Outcome) -> None:
        """Takes note of a commit, or plans what is to be done instead. Raises what ends the task."""
        self._clock.ends()
        if isinstance(outcome, PoisonError):
            self._todo.extendleft(reversed(self._around(work, outcome)))
            return
        if isinstance(outcome, TooLarge):
            self._todo.extendleft(reversed(handled_again(work, outcome)))
            return
        if isinstance(outcome, Exception):
            raise outcome
        self._batch_size.note(len(work.batch), outcome.handling_s)
        self._account(outcome, [work.dead.message] if work.dead else work.batch)
        if work.dead:
            topic = work.dead.message.topic.name
            self.suspects.discard((topic, work.dead.message.offset))
            metrics.DEAD_LETTERS.labels(*self._labels[:2], topic).inc()
        if self.publisher and outcome.views:
            self.publisher.publish(self._labels[1:], outcome)
        if self._snapshots and time.monotonic() >= self._snapshot_due_s:
            self._saving = asyncio.create_task(self._save(self._snapshots), name=f"snapshot {self._path.name}")

    def _around(self, work: Work, poison: PoisonError) -> list[Work]:
        """The batch in three: what is before the poison, the poison for itself, what is after it."""
        message = work.batch[poison.index]
        if message.value is not None and message.topic.schema.is_newer(message.value):
            if poison.index:
                cut = (work.batch[: poison.index], work.batch[poison.index :])
                return [replace(work, batch=batch) for batch in cut]
            place = f"{Partition(message.topic.name, self.partition)} at {message.offset}"
            raise Newer(f"a newer release has written {place}: {poison.cause}") from poison
        if self._snapshots:
            # What turns out to be poison has left its traces in bulk state: it costs a reopening.
            self.suspects.add((message.topic.name, message.offset))
            raise Retriable(f"{self._parts.name}: {poison}") from poison
        before = [replace(work, batch=work.batch[: poison.index])] if poison.index else []
        after = work.batch[poison.index + 1 :]
        rest = [replace(work, batch=after)] if after else []
        return [*before, self._set_aside(message, repr(poison.cause), work.sizes_refused), *rest]

    def _account(self, committed: Committed, batch: Sequence[Message]) -> None:
        self.positions.update(committed.positions)
        self._clock.committed(batch)
        metrics.BATCHES.labels(*self._labels).inc()
        for topic, position in committed.positions.items():
            metrics.POSITION.labels(*self._labels, topic).set(position)
            alone = len(committed.positions) == 1
            count = len(batch) if alone else sum(1 for message in batch if message.topic.name == topic)
            metrics.MESSAGES.labels(*self._labels, topic).inc(count)
        for input_topic in self.stage.inputs:
            metrics.INBOX.labels(*self._labels, input_topic.name).set(self._inbox.waiting(input_topic.name))

    async def _save(self, snapshots: SnapshotDirectory) -> None:
        """The task handles nothing meanwhile; the others of its lane do."""
        bulk = self.stage.snapshotted()
        assert bulk is not None
        try:
            await asyncio.to_thread(snapshots.save, self._parts.tables.states[bulk.name], dict(self.positions))
        except OSError as error:
            # Without a newer snapshot the next recovery replays more; that is no reason to stop serving.
            _log.error("snapshot_failed", stage=self._parts.name, partition=self.partition, error=str(error))
        self._snapshot_due_s = time.monotonic() + bulk.interval_s
        self._inbox.wake()
