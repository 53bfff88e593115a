"""Views after the commit: to Redis, in order, never in the way of a transaction.

A lost Redis loses no truth: what could not be written is dropped, and once Redis answers again every scope is written
anew from the tables under a new epoch, which tells subscribers to read the snapshot. A loss that no failed command
tells of (emptied, evicted, put back from yesterday's copy) is noticed too: the epoch stands in Redis, and each hash has
as many rows as were written to it. Both are compared again and again.

Showing has its share of the processor and no more: after each round the publisher rests ``REST`` times as long as it
was at work, while commits go on and a conflated view keeps its newest row only. A quiet service shows a row at once; a
busy one shows an account less often than it changes, which no eye could follow.
"""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from pydantic import BaseModel
from redis.asyncio import Redis
from redis.exceptions import RedisError

from streams.model.message import View
from streams.model.tables import Tables
from streams.process import metrics
from streams.process.backoff import Backoff
from streams.process.cancellation import end
from streams.process.logs import get_logger
from streams.state.store_errors import StoreError
from streams.views.checks import ViewChecks
from streams.views.protocol import RedisState, view_channel
from streams.views.redis_state import state_of_error
from streams.views.task import ScopeKey, TaskViews, ViewClock, ViewWriter, Waiting

if TYPE_CHECKING:  # push and the health strip come without the stage's dependencies
    from streams.commit.transaction import Committed

_log = get_logger(__name__)
COMMANDS_MAX = 1_000
REST = 9.0
REST_MAX_S = 0.5
SHOW = """
local rows = cmsgpack.unpack(ARGV[1])
local added = {}
for at = 1, #rows, 4 do
  local command, channel, key, envelope = rows[at], rows[at + 1], rows[at + 2], rows[at + 3]
  if command == 'DEL' then
    redis.call('DEL', channel)
  else
    if command == 'HDEL' then
      added[#added + 1] = 0 - redis.call('HDEL', channel, key)
    else
      added[#added + 1] = redis.call('HSET', channel, key, envelope)
    end
    redis.call('PUBLISH', channel, envelope)
  end
end
return cmsgpack.pack(added)
"""
"""One argument and one answer for many views: each argument and each answer costs the client more than a view. The
answer is by how many rows each command has changed its hash."""
TaskKey = tuple[str, ...]


class _Stamps(msgspec.Struct, gc=False):
    """``contracts.views.Stamps``."""

    origin_ns: int
    processed_ns: int
    committed_ns: int


class _Envelope(msgspec.Struct, gc=False):
    """``contracts.views.Envelope``, encoded quickly: thousands a second are written."""

    v: int
    name: str
    scope: str
    key: str
    epoch: int
    seq: int
    prev: int
    data: Any
    stamps: _Stamps
    traceparent: str


_encode = msgspec.json.Encoder().encode
_pack = msgspec.msgpack.Encoder().encode
_unpack_counts = msgspec.msgpack.Decoder(list[int]).decode


def as_it_stands(view: View, committed: Tables) -> View:
    """The view with its data made now, where it is made from the tables."""
    if not callable(view.data):
        return view
    return View(view.name, view.scope, view.key, view.data(committed, view), view.origin_ns)


def encode_envelope(view: View, epoch: int, seq: int, stamps: tuple[int, int, int], traceparent: str = "") -> bytes:
    """One ``contracts.views.Envelope`` as JSON. ``view.data`` is a model, or whatever msgspec encodes as its JSON."""
    data = view.data
    if isinstance(data, BaseModel):
        data = msgspec.Raw(data.model_dump_json().encode())
    return _encode(
        _Envelope(1, view.name, view.scope, view.key, epoch, seq, seq - 1, data, _Stamps(*stamps), traceparent)
    )


class Publisher(Protocol):
    """Receiver of a task's rows to show; each method as ``ViewPublisher`` has it."""

    def open(
        self,
        task: TaskKey,
        tables: Tables,
        refill: Callable[[Tables], Iterable[View]],
        writer: ViewWriter | None = None,
        fails: Callable[[StoreError], None] = ...,
    ) -> None: ...

    def close(self, task: TaskKey) -> None: ...

    def publish(self, task: TaskKey, committed: "Committed") -> None: ...


class ViewPublisher:
    """Writes the views of every task of this process to Redis."""

    def __init__(
        self, app: str, redis: Redis, queue_max: int, backoff: Backoff, conflated: frozenset[str] = frozenset()
    ) -> None:
        """``conflated``: names of views of which a row that nobody has seen yet may be left out for a newer one.

        The client becomes the publisher's, which closes it.
        """
        self._app = app
        self._redis = redis
        self._show = self._redis.register_script(SHOW)
        self._queue_max = queue_max
        self._conflated = conflated
        self._backoff = backoff
        self._tasks: dict[TaskKey, TaskViews] = {}
        self._checks = ViewChecks(app, self._redis, self._tasks)
        self._number = itertools.count()
        self._worked_s = 0.0
        """Seconds of work in the running round, without its waits."""
        self._wake = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self.connected = False

    @property
    def redis_state(self) -> RedisState:
        """Treatment of our writes by Redis."""
        return self._checks.redis

    def start(self) -> None:
        self._worker = asyncio.create_task(self._work(), name="views")

    async def stop(self) -> None:
        if self._worker:
            await end(self._worker)
        with contextlib.suppress(RedisError, OSError):
            await self._redis.aclose()

    def open(
        self,
        task: TaskKey,
        tables: Tables,
        refill: Callable[[Tables], Iterable[View]],
        writer: ViewWriter | None = None,
        fails: Callable[[StoreError], None] = lambda _error: None,
    ) -> None:
        """A task begins to serve: everything it has is written under a new epoch. ``tables`` hold what is committed.

        With a ``writer`` it is said twice a second how current the views of the task (stage, partition) are. ``fails``
        is told where its store cannot be read.
        """
        self._tasks[task] = TaskViews(
            tables, refill, 0, writer, fails, self._conflated, clock=ViewClock(time.time_ns(), 0)
        )
        self._checks.opened(task)
        self._wake.set()

    def close(self, task: TaskKey) -> None:
        """A task ends; what it still had to show is dropped, the next owner writes it anew."""
        if publishing := self._tasks.pop(task, None):
            publishing.waiting.clear()
            publishing.stop_filling()
            self._checks.closed(task)

    def publish(self, task: TaskKey, committed: "Committed") -> None:
        """Lets a commit's views wait to be shown. Beyond the bound the task is marked for a refill instead."""
        publishing = self._tasks.get(task)
        if publishing is None or (publishing.dirty and not self.connected):
            return
        publishing.add(committed, self._number)
        if sum(len(each.waiting) for each in self._tasks.values()) > self._queue_max:
            publishing.dirty = "overflow"
            metrics.VIEWS_LOST.labels(self._app).inc(len(publishing.waiting))
            publishing.waiting.clear()
        self._wake.set()

    def ready(self) -> tuple[bool, dict[str, Any]]:
        """A readiness check that is always passed: who waits for a view waits for nothing that trades."""
        return True, self._checks.detail(time.time_ns())

    async def _work(self) -> None:
        while True:
            try:
                await self._redis.ping()
                self.connected = True
                await self._rounds()
            except (RedisError, OSError) as error:
                await self._fail(state_of_error(error), "redis_away", error)
            except Exception as error:  # a stage's function that makes a view: the others are not to stand still for it
                _log.exception("view_failed")
                await self._fail(RedisState.OK, "view_failed", error)

    async def _rounds(self) -> None:
        while True:
            self._worked_s = 0.0
            await self._drain()
            await self._checks.run()
            self._backoff.reset()
            await asyncio.sleep(min(REST * self._worked_s, REST_MAX_S))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._checks.until_due_s()):
                    await self._wake.wait()
            self._wake.clear()

    async def _fail(self, state: RedisState, event: str, error: Exception) -> None:
        """Everything is to be shown again, after a while; whoever listens is told why nothing comes."""
        self.connected = False
        for publishing in self._tasks.values():
            publishing.dirty = event
            publishing.waiting.clear()
            publishing.stop_filling()
        delay = self._backoff.next()
        _log.warning(event, error=str(error), redis=state.value, retry_in_s=delay)
        await self._checks.tell_trouble(state)
        await asyncio.sleep(delay)

    async def _drain(self) -> None:
        """Shows what waits now; what comes meanwhile is for the next round."""
        await self._show_waiting()
        for publishing in [p for p in self._tasks.values() if p.dirty or p.lost]:
            if publishing.dirty or await self._checks.may_repair(publishing):
                try:
                    await self._refill(publishing)
                except StoreError as error:
                    self._cannot_read(publishing, error)

    def _cannot_read(self, publishing: TaskViews, error: StoreError) -> None:
        """The task's trouble, not Redis's: it opens anew, and then shows everything."""
        publishing.dirty = ""
        publishing.waiting.clear()
        publishing.stop_filling()
        publishing.fails(error)

    async def _show_waiting(self) -> None:
        for task, publishing in list(self._tasks.items()):
            clock = publishing.progress()
            waiting = publishing.take()
            for at in range(0, len(waiting), COMMANDS_MAX):
                if self._tasks.get(task) is not publishing:
                    break  # it ended meanwhile, and with it the tables that are read here
                try:
                    await self._write(publishing, waiting[at : at + COMMANDS_MAX])
                except StoreError as error:
                    self._cannot_read(publishing, error)
                    break
            if not publishing.dirty:
                publishing.clock = clock

    async def _write(self, publishing: TaskViews, waiting: list[Waiting]) -> None:
        began_s = time.thread_time()
        rows: list[str] = []  # text, since Redis 6 unpacks no other kind of string
        scopes: list[ScopeKey] = []
        for view, traceparent, committed in waiting:
            scope = (view.name, view.scope)
            epoch, seq, first = publishing.number(scope)
            if publishing.filling:
                publishing.shown.add((*scope, view.key))
            if first:
                rows += ("DEL", view_channel(*scope), "", "")
            stamps = (view.origin_ns, committed.processed_ns, committed.committed_ns)
            view = as_it_stands(view, publishing.tables)
            envelope = encode_envelope(view, epoch, seq, stamps, traceparent)
            rows += ("HDEL" if view.data is None else "HSET", view_channel(*scope), view.key, envelope.decode())
            scopes.append(scope)
        packed = _pack(rows)
        self._worked_s += time.thread_time() - began_s
        added = _unpack_counts(await self._show(args=[packed]))
        for scope, count in zip(scopes, added, strict=True):
            if count:
                publishing.rows[scope] = publishing.rows.get(scope, 0) + count
        metrics.VIEWS.labels(self._app).inc(len(waiting))

    async def _refill(self, publishing: TaskViews) -> None:
        """Shows every row, or those of hashes that were lost, under a new epoch, some at a time: a table of a million
        rows is not to stop its own task.

        What is committed meanwhile is shown between them. A subscriber that has seen a part reads the snapshot again
        with the next rows, whose sequence does not follow.
        """
        wanted = None if publishing.dirty else frozenset(publishing.lost)
        metrics.VIEWS_REFILLS.labels(self._app, publishing.dirty or "rows_lost").inc()
        publishing.begin_filling(await self._checks.new_epoch(publishing), wanted)
        await self._checks.announce(publishing)
        while (views := publishing.next_rows()) is not None:
            await self._write_rows(publishing, views)
            await self._show_waiting()
            await self._checks.beat()
            if publishing.dirty:
                break  # too much came meanwhile; it begins anew
        if publishing.filling is None:
            return  # the task has ended, and with it the right to say what there is
        if not publishing.dirty:
            await self._remove_emptied(publishing)
            publishing.lost -= wanted or frozenset()
        publishing.stop_filling()
        await self._checks.written()

    async def _write_rows(self, publishing: TaskViews, views: list[View]) -> None:
        if not views:
            await asyncio.sleep(0)
            return
        now_ns = time.time_ns()
        scopes: dict[ScopeKey, dict[Any, Any]] = {}
        pipe = self._redis.pipeline(transaction=True)
        emptied = 0
        for view in views:
            scope = (view.name, view.scope)
            epoch, seq, first = publishing.number(scope)
            if first:
                pipe.delete(view_channel(*scope))
                emptied += 1
            stamps = (view.origin_ns, now_ns, now_ns)
            view = as_it_stands(view, publishing.tables)
            scopes.setdefault(scope, {})[view.key] = encode_envelope(view, epoch, seq, stamps)
        for scope, rows in scopes.items():
            pipe.hset(view_channel(*scope), mapping=rows)
            newest_row = next(reversed(rows.values()))
            pipe.publish(view_channel(*scope), newest_row)  # its new epoch sends every subscriber to the snapshot
        added = (await pipe.execute())[emptied::2]
        for scope, count in zip(scopes, added, strict=True):
            publishing.rows[scope] = publishing.rows.get(scope, 0) + count
        metrics.VIEWS.labels(self._app).inc(sum(map(len, scopes.values())))

    async def _remove_emptied(self, publishing: TaskViews) -> None:
        """Hashes whose rows have all gone while nothing could be written: subscribers are to see that."""
        for scope in publishing.emptied():
            channel = view_channel(*scope)
            epoch, seq, _ = publishing.number(scope)
            gone = encode_envelope(View(*scope, "", None), epoch, seq, (0, 0, 0))
            pipe = self._redis.pipeline(transaction=True)
            pipe.delete(channel)
            pipe.publish(channel, gone)
            await pipe.execute()
