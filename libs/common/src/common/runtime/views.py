"""Views after the commit: to Redis, in order, never in the way of a transaction.

A lost Redis loses no truth: what could not be written is dropped, and once Redis answers again every scope is written
anew from the tables under a new epoch, which tells subscribers to read the snapshot.
"""

import asyncio
import contextlib
import itertools
import time
from collections import deque
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

if TYPE_CHECKING:  # push and the health strip come without the stage's dependencies
    from common.runtime.transaction import Committed

_log = get_logger(__name__)
COMMANDS_MAX = 1_000
REFILL_ROWS_MAX = 200
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


def encode_envelope(view: View, epoch: int, seq: int, stamps: tuple[int, int, int], traceparent: str = "") -> bytes:
    """One ``contracts.views.Envelope`` as JSON. ``view.data`` is a model, or whatever msgspec encodes as its JSON."""
    data = view.data
    if isinstance(data, BaseModel):
        data = msgspec.Raw(data.model_dump_json().encode())
    return _encode(
        _Envelope(1, view.name, view.scope, view.key, epoch, seq, seq - 1, data, _Stamps(*stamps), traceparent)
    )


def newest(views: Iterable[tuple[View, str]]) -> list[tuple[View, str]]:
    """Within one commit a conflated view shows its newest row per key; every other view shows all rows, in order."""
    last: dict[Any, tuple[View, str]] = {}
    for position, (view, traceparent) in enumerate(views):
        key = (view.name, view.scope, view.key) if view.name in CONFLATED_VIEWS else position
        last[key] = (view, traceparent)
    return list(last.values())


@dataclass
class _Publishing:
    """One task's side: its epoch, the sequence of each scope, and how to list every row."""

    refill: Callable[[], Iterable[View]]
    epoch: int
    sequences: dict[tuple[str, str], int] = field(default_factory=dict)
    dirty: bool = True
    filling: Iterator[View] | None = None
    """What is left of a refill; it reads the task's store."""
    shown: set[tuple[str, str, str]] = field(default_factory=set)
    """Rows that commits have written since the refill began: it would show older ones."""

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
        self._queue: deque[tuple[TaskKey, Committed]] = deque()
        self._waiting = 0
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

    def open(self, task: TaskKey, refill: Callable[[], Iterable[View]]) -> None:
        """A task begins to serve: everything it has is written under a new epoch."""
        self._tasks[task] = _Publishing(refill, time.time_ns())
        self._wake.set()

    def close(self, task: TaskKey) -> None:
        """A task ends; what it still had queued is dropped, the next owner writes it anew."""
        if publishing := self._tasks.pop(task, None):
            publishing.stop_filling()

    def publish(self, task: TaskKey, committed: "Committed") -> None:
        """Queues a commit's views. Never waits: beyond the bound the task is marked for a refill instead."""
        publishing = self._tasks.get(task)
        if publishing is None or (publishing.dirty and not self.connected):
            return
        if self._waiting + len(committed.views) > self._queue_max:
            publishing.dirty = True
            metrics.VIEWS_LOST.labels(self._app).inc(len(committed.views))
        else:
            self._waiting += len(committed.views)
            self._queue.append((task, committed))
        self._wake.set()

    async def _work(self) -> None:
        while True:
            try:
                await self._redis.ping()
                self.connected = True
                self._backoff.reset()
                while True:
                    await self._drain()
                    await self._wake.wait()
                    self._wake.clear()
            except (RedisError, OSError) as error:
                self.connected = False
                for publishing in self._tasks.values():
                    publishing.dirty = True
                    publishing.stop_filling()
                self._queue.clear()
                self._waiting = 0
                delay = self._backoff.next()
                _log.warning("redis_away", error=str(error), retry_in_s=delay)
                await asyncio.sleep(delay)

    async def _drain(self) -> None:
        while self._queue or any(p.dirty for p in self._tasks.values()):
            await self._drain_queue()
            for publishing in [p for p in self._tasks.values() if p.dirty]:
                await self._refill(publishing)

    async def _drain_queue(self) -> None:
        while self._queue:
            task, committed = self._queue.popleft()
            self._waiting -= len(committed.views)
            if task in self._tasks:
                await self._write(self._tasks[task], committed)

    async def _write(self, publishing: _Publishing, committed: "Committed") -> None:
        views = newest(committed.views)
        for at in range(0, len(views), COMMANDS_MAX):
            rows: list[str] = []  # text, since Redis 6 unpacks no other kind of string
            for view, traceparent in views[at : at + COMMANDS_MAX]:
                scope = (view.name, view.scope)
                seq = publishing.sequences.get(scope, 0) + 1
                publishing.sequences[scope] = seq
                if publishing.filling:
                    publishing.shown.add((*scope, view.key))
                    if seq == 1:
                        rows += ("DEL", view_channel(*scope), "", "")
                stamps = (view.origin_ns, committed.processed_ns, committed.committed_ns)
                envelope = encode_envelope(view, publishing.epoch, seq, stamps, traceparent)
                rows += ("HDEL" if view.data is None else "HSET", view_channel(*scope), view.key, envelope.decode())
            await self._show(args=[_pack(rows)])
        metrics.VIEWS.labels(self._app).inc(len(views))

    async def _refill(self, publishing: _Publishing) -> None:
        """Shows every row under a new epoch, some at a time: a table of a million rows is not to stop its own task.

        What is committed meanwhile is shown between them. A subscriber that has seen a part reads the snapshot again
        with the next rows, whose sequence does not follow.
        """
        publishing.dirty = False
        publishing.epoch = time.time_ns()
        publishing.sequences.clear()
        publishing.shown.clear()
        publishing.filling = iter(publishing.refill())
        while views := publishing.next_rows():
            await self._write_rows(publishing, views)
            await self._drain_queue()
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
            scopes.setdefault(scope, {})[view.key] = encode_envelope(view, publishing.epoch, seq, stamps)
        for scope, rows in scopes.items():
            pipe.hset(view_channel(*scope), mapping=rows)
            newest_row = next(reversed(rows.values()))
            pipe.publish(view_channel(*scope), newest_row)  # its new epoch sends every subscriber to the snapshot
        await pipe.execute()
        metrics.VIEWS.labels(self._app).inc(sum(map(len, scopes.values())))
