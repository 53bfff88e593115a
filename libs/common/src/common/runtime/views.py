"""Views after the commit: to Redis, in order, never in the way of a transaction.

A lost Redis loses no truth: what could not be written is dropped, and once Redis answers again every scope is written
anew from the tables under a new epoch, which tells subscribers to read the snapshot.

Showing has its share of the processor and no more: after each round the publisher rests ``REST`` times as long as it
was at work, while commits go on and a conflated view keeps its newest row only. A quiet service shows a row at once; a
busy one shows an account less often than it changes, which no eye could follow.
"""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from pydantic import BaseModel
from redis.asyncio import Redis
from redis.exceptions import RedisError

from common.contracts.views import CONFLATED_VIEWS, view_channel
from common.runtime import metrics
from common.runtime.backoff import Backoff
from common.runtime.cancellation import end
from common.runtime.logs import get_logger
from common.runtime.message import View
from common.runtime.tables import Tables

if TYPE_CHECKING:  # push and the health strip come without the stage's dependencies
    from common.runtime.transaction import Committed

_log = get_logger(__name__)
COMMANDS_MAX = 1_000
REFILL_ROWS_MAX = 200
REST = 9.0
REST_MAX_S = 0.5
SHOW = """
local rows = cmsgpack.unpack(ARGV[1])
for at = 1, #rows, 4 do
  local command, channel, key, envelope = rows[at], rows[at + 1], rows[at + 2], rows[at + 3]
  if command == 'DEL' then
    redis.call('DEL', channel)
  else
    if command == 'HDEL' then redis.call('HDEL', channel, key) else redis.call('HSET', channel, key, envelope) end
    redis.call('PUBLISH', channel, envelope)
  end
end
"""
"""One argument and one answer for many views: each argument and each answer costs the client more than a view."""
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


_Waiting = tuple[View, str, "Committed"]
"""A row, the trace it belongs to, and the commit it came with."""


@dataclass
class _Publishing:
    """One task's side: its epoch, the sequence of each scope, what waits to be shown, and how to list every row."""

    tables: Tables
    refill: Callable[[Tables], Iterable[View]]
    epoch: int
    waiting: dict[Any, _Waiting] = field(default_factory=dict)
    """Of a conflated view the newest row per key; of every other view each row, in order."""
    sequences: dict[tuple[str, str], int] = field(default_factory=dict)
    dirty: bool = True
    filling: Iterator[View] | None = None
    """What is left of a refill; it reads the task's store."""
    shown: set[tuple[str, str, str]] = field(default_factory=set)
    """Rows that commits have written since the refill began: it would show older ones."""

    def add(self, committed: "Committed", number: Iterator[int]) -> None:
        """Lets a commit's rows wait; ``number`` tells apart the rows that all count."""
        waiting = self.waiting
        for view, traceparent in committed.views:
            key = (view.name, view.scope, view.key) if view.name in CONFLATED_VIEWS else next(number)
            waiting[key] = (view, traceparent, committed)

    def take(self) -> list[_Waiting]:
        """What waits."""
        taken, self.waiting = list(self.waiting.values()), {}
        return taken

    def next_rows(self) -> list[View]:
        """The next rows of the refill; empty at its end, or where the task has ended."""
        return list(itertools.islice(self.filling, REFILL_ROWS_MAX)) if self.filling else []

    def stop_filling(self) -> None:
        """Lets the store go."""
        self.filling = None
        self.shown.clear()


class ViewPublisher:
    """Writes the views of every task of this process to Redis."""

    def __init__(self, app: str, redis_url: str, queue_max: int, backoff: Backoff) -> None:
        self._app = app
        self._redis: Redis = Redis.from_url(redis_url, socket_connect_timeout=2, socket_timeout=5)
        self._show = self._redis.register_script(SHOW)
        self._queue_max = queue_max
        self._backoff = backoff
        self._tasks: dict[TaskKey, _Publishing] = {}
        self._number = itertools.count()
        self._worked_s = 0.0
        """Of the running round, without what it waited for."""
        self._wake = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self.connected = False

    def start(self) -> None:
        self._worker = asyncio.create_task(self._work(), name="views")

    async def stop(self) -> None:
        if self._worker:
            await end(self._worker)
        with contextlib.suppress(RedisError, OSError):
            await self._redis.aclose()

    def open(self, task: TaskKey, tables: Tables, refill: Callable[[Tables], Iterable[View]]) -> None:
        """A task begins to serve: everything it has is written under a new epoch. ``tables`` hold what is committed."""
        self._tasks[task] = _Publishing(tables, refill, time.time_ns())
        self._wake.set()

    def close(self, task: TaskKey) -> None:
        """A task ends; what it still had to show is dropped, the next owner writes it anew."""
        if publishing := self._tasks.pop(task, None):
            publishing.waiting.clear()
            publishing.stop_filling()

    def publish(self, task: TaskKey, committed: "Committed") -> None:
        """Lets a commit's views wait to be shown. Beyond the bound the task is marked for a refill instead."""
        publishing = self._tasks.get(task)
        if publishing is None or (publishing.dirty and not self.connected):
            return
        publishing.add(committed, self._number)
        if sum(len(each.waiting) for each in self._tasks.values()) > self._queue_max:
            publishing.dirty = True
            metrics.VIEWS_LOST.labels(self._app).inc(len(publishing.waiting))
            publishing.waiting.clear()
        self._wake.set()

    async def _work(self) -> None:
        while True:
            try:
                await self._redis.ping()
                self.connected = True
                self._backoff.reset()
                while True:
                    self._worked_s = 0.0
                    await self._drain()
                    await asyncio.sleep(min(REST * self._worked_s, REST_MAX_S))
                    await self._wake.wait()
                    self._wake.clear()
            except (RedisError, OSError) as error:
                delay = self._begin_anew()
                _log.warning("redis_away", error=str(error), retry_in_s=delay)
                await asyncio.sleep(delay)
            except Exception:  # a stage's function that makes a view: the other views are not to stand still for it
                delay = self._begin_anew()
                _log.exception("view_failed", retry_in_s=delay)
                await asyncio.sleep(delay)

    def _begin_anew(self) -> float:
        """Everything is to be shown again, after so many seconds."""
        self.connected = False
        for publishing in self._tasks.values():
            publishing.dirty = True
            publishing.waiting.clear()
            publishing.stop_filling()
        return self._backoff.next()

    async def _drain(self) -> None:
        """Shows what waits now; what comes meanwhile is for the next round."""
        await self._show_waiting()
        for publishing in [p for p in self._tasks.values() if p.dirty]:
            await self._refill(publishing)

    async def _show_waiting(self) -> None:
        for task, publishing in list(self._tasks.items()):
            waiting = publishing.take()
            for at in range(0, len(waiting), COMMANDS_MAX):
                if self._tasks.get(task) is not publishing:
                    break  # it ended meanwhile, and with it the tables that are read here
                await self._write(publishing, waiting[at : at + COMMANDS_MAX])

    async def _write(self, publishing: _Publishing, waiting: list[_Waiting]) -> None:
        began_s = time.thread_time()
        rows: list[str] = []  # text, since Redis 6 unpacks no other kind of string
        for view, traceparent, committed in waiting:
            scope = (view.name, view.scope)
            seq = publishing.sequences.get(scope, 0) + 1
            publishing.sequences[scope] = seq
            if publishing.filling:
                publishing.shown.add((*scope, view.key))
                if seq == 1:
                    rows += ("DEL", view_channel(*scope), "", "")
            stamps = (view.origin_ns, committed.processed_ns, committed.committed_ns)
            view = as_it_stands(view, publishing.tables)
            envelope = encode_envelope(view, publishing.epoch, seq, stamps, traceparent)
            rows += ("HDEL" if view.data is None else "HSET", view_channel(*scope), view.key, envelope.decode())
        packed = _pack(rows)
        self._worked_s += time.thread_time() - began_s
        await self._show(args=[packed])
        metrics.VIEWS.labels(self._app).inc(len(waiting))

    async def _refill(self, publishing: _Publishing) -> None:
        """Shows every row under a new epoch, some at a time: a table of a million rows is not to stop its own task.

        What is committed meanwhile is shown between them. A subscriber that has seen a part reads the snapshot again
        with the next rows, whose sequence does not follow.
        """
        publishing.dirty = False
        publishing.epoch = time.time_ns()
        publishing.sequences.clear()
        publishing.shown.clear()
        publishing.filling = iter(publishing.refill(publishing.tables))
        while views := publishing.next_rows():
            await self._write_rows(publishing, views)
            await self._show_waiting()
            if publishing.dirty:
                break  # too much came meanwhile; it begins anew
        publishing.stop_filling()

    async def _write_rows(self, publishing: _Publishing, views: list[View]) -> None:
        now_ns = time.time_ns()
        scopes: dict[tuple[str, str], dict[Any, Any]] = {}
        pipe = self._redis.pipeline(transaction=True)
        for view in views:
            scope = (view.name, view.scope)
            if (*scope, view.key) in publishing.shown:
                continue
            seq = publishing.sequences.get(scope, 0) + 1
            publishing.sequences[scope] = seq
            if seq == 1:
                pipe.delete(view_channel(*scope))
            stamps = (view.origin_ns, now_ns, now_ns)
            view = as_it_stands(view, publishing.tables)
            scopes.setdefault(scope, {})[view.key] = encode_envelope(view, publishing.epoch, seq, stamps)
        for scope, rows in scopes.items():
            pipe.hset(view_channel(*scope), mapping=rows)
            newest_row = next(reversed(rows.values()))
            pipe.publish(view_channel(*scope), newest_row)  # its new epoch sends every subscriber to the snapshot
        await pipe.execute()
        metrics.VIEWS.labels(self._app).inc(sum(map(len, scopes.values())))
