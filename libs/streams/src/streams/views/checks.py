"""Says how current the views are, and finds out whether Redis still has what was written to it."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from pydantic import ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from streams.process import metrics
from streams.process.backoff import Backoff
from streams.process.logs import get_logger
from streams.views.protocol import WRITER_VIEW, RedisState, WriterData, view_channel
from streams.views.redis_state import UNKNOWN_FACTS, RedisFacts, read_facts
from streams.views.task import TaskViews

_log = get_logger(__name__)
BEAT_S: Final = 0.5
CHECK_S: Final = 1.0
CHECKED_SCOPES_MAX: Final = 2_000
"""Hashes of a task that are counted at each check; after Redis has evicted anything all of them are."""
EVICTING_S: Final = 10.0
"""Redis counts as evicting for so long after it has evicted something."""
RIVAL_SILENT_S: Final = 5.0
REPAIR_MIN_S: Final = 0.5
REPAIR_MAX_S: Final = 5.0
"""Between two repairs of a Redis that goes on losing rows."""
COUNT = """
local names = cmsgpack.unpack(ARGV[1])
local rows = {}
for at = 1, #names do rows[at] = redis.call('HLEN', names[at]) end
return cmsgpack.pack(rows)
"""
BEAT: Final = """
local stored = redis.call('HGET', KEYS[1], ARGV[1])
if not stored or not string.find(stored, ARGV[2], 1, true) then return stored or '' end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('PUBLISH', KEYS[1], ARGV[3])
return 1
"""
"""Says how current views are, unless Redis does not know their epoch: saying it anew would hide the loss."""
_pack = msgspec.msgpack.Encoder().encode
_unpack_counts = msgspec.msgpack.Decoder(list[int]).decode
TaskKey = tuple[str, ...]


class ViewChecks:
    """Checks for the tasks of one process. All run in turn with the writer of the views, so that counts agree."""

    def __init__(self, app: str, redis: Redis, tasks: Mapping[TaskKey, TaskViews]) -> None:
        self._app = app
        self._client = redis
        self._count = redis.register_script(COUNT)
        self._beat = redis.register_script(BEAT)
        self._tasks = tasks
        self._facts: RedisFacts = UNKNOWN_FACTS
        self._beat_due_s = self._check_due_s = self._repair_due_s = 0.0
        self._evicted_at_s = -EVICTING_S
        self._repairs = Backoff(REPAIR_MIN_S, REPAIR_MAX_S)
        self.redis = RedisState.UNKNOWN

    # --- what is said -----------------------------------------------------------------------------------------------

    def opened(self, task: TaskKey) -> None:
        """Its gauges tell the age at the time of the scrape, also while this process waits for Redis."""
        views, labels = self._tasks[task], self._labels(task)
        if labels is None:
            return
        metrics.VIEWS_AGE.labels(*labels).set_function(lambda: _age_s(views.clock.as_of_ns))
        metrics.VIEWS_DATA_AGE.labels(*labels).set_function(lambda: _age_s(views.clock.data_ns))
        metrics.VIEWS_FILLING.labels(*labels).set_function(lambda: bool(views.dirty or views.lost or views.filling))

    def closed(self, task: TaskKey) -> None:
        labels = self._labels(task)
        if labels is not None:
            for gauge in (metrics.VIEWS_AGE, metrics.VIEWS_DATA_AGE, metrics.VIEWS_FILLING):
                gauge.remove(*labels)

    def _labels(self, task: TaskKey) -> tuple[str, ...] | None:
        return (self._app, *task) if len(task) == 2 else None  # stage and partition

    def detail(self, now_ns: int) -> dict[str, Any]:
        """For ``/health/ready``: the oldest of this process's views, and what Redis does."""
        writers = [views for views in self._tasks.values() if views.writer]
        oldest_ns = min((views.clock.as_of_ns for views in writers), default=now_ns)
        filling = sum(bool(views.dirty or views.lost or views.filling) for views in writers)
        age_s = round((now_ns - oldest_ns) / 1e9, 1) if oldest_ns else -1
        return {"redis": self.redis.value, "age_s": age_s, "filling": filling, "policy": self._facts.policy}

    async def beat(self, *, changed: bool = False) -> None:
        """Says of each task how current its views are, where it is time; ``changed``: at once. Raises RedisError."""
        now_s = time.monotonic()
        if not changed and now_s < self._beat_due_s:
            return
        self._beat_due_s = now_s + BEAT_S
        for task, views in list(self._tasks.items()):
            if views.writer is None:
                continue
            channel, payload = self._payload(task, views, self.redis)
            if views.dirty:  # its turn to be filled comes, and a new epoch with it
                await self._client.publish(channel, payload)
                continue
            found = await self._beat(keys=[channel], args=[task[1], f'"epoch":{views.epoch},', payload])
            if found != 1:
                self._judge(task, views, _decoded(found), now_s)

    async def announce(self, views: TaskViews) -> None:
        """Everything of these views is about to be written: subscribers hear the new epoch. Raises RedisError."""
        task = self._task_of(views)
        if task is None or views.writer is None:
            return
        channel, payload = self._payload(task, views, self.redis)
        pipe = self._client.pipeline(transaction=True)
        pipe.hset(channel, task[1], payload)
        pipe.publish(channel, payload)
        await pipe.execute()

    async def written(self) -> None:
        """A refill has gone through, which Redis would not have let it if anything was wrong. Raises RedisError."""
        if self.redis is not RedisState.EVICTING:
            self._set_state(RedisState.OK)
        await self.beat(changed=True)

    async def tell_trouble(self, state: RedisState) -> None:
        """Nothing can be written, but a Redis that is full or read-only still passes on what is published."""
        self._set_state(state)
        try:
            for task, views in list(self._tasks.items()):
                if views.writer:
                    await self._client.publish(*self._payload(task, views, state))
        except (RedisError, OSError):
            self._set_state(RedisState.UNREACHABLE)

    def _payload(self, task: TaskKey, views: TaskViews, state: RedisState) -> tuple[str, str]:
        """Channel and message."""
        stage, partition = task
        writer = f"{self._app}.{stage}"
        data = views.data(writer, int(partition), state, time.time_ns())
        return view_channel(WRITER_VIEW, writer), data.model_dump_json()

    def _task_of(self, views: TaskViews) -> TaskKey | None:
        return next((task for task, each in self._tasks.items() if each is views), None)

    # --- what is compared -------------------------------------------------------------------------------------------

    def until_due_s(self) -> float:
        """Seconds until something is to be said or compared again."""
        return max(0.0, min(self._beat_due_s, self._check_due_s) - time.monotonic())

    async def may_repair(self, views: TaskViews) -> bool:
        """Whether hashes that were lost may be written anew. Raises RedisError.

        Not all the time where they are lost again at once, and not where another task has begun to write these views.
        """
        now_s = time.monotonic()
        if now_s < self._repair_due_s:
            return False
        self._repair_due_s = now_s + self._repairs.next()
        task = self._task_of(views)
        if task is None or views.writer is None:
            return task is not None
        stored = await self._stored(task)
        if stored is not None and stored.epoch == views.epoch:
            return True
        views.lost.clear()
        self._judge(task, views, stored, now_s)
        return False

    async def new_epoch(self, views: TaskViews) -> int:
        """Higher than every one before it, whatever the clocks of their processes said. Raises RedisError."""
        task = self._task_of(views)
        stored = await self._stored(task) if task and views.writer else None
        return max(time.time_ns(), views.epoch + 1, stored.epoch + 1 if stored else 0)

    async def run(self) -> None:
        """Compares what Redis has with what was written, and says how current it is. Raises RedisError, OSError."""
        await self.beat()
        now_s = time.monotonic()
        if now_s >= self._check_due_s:
            self._check_due_s = now_s + CHECK_S
            evicted = await self._look_at_redis(now_s)
            sound = True
            for task, views in list(self._tasks.items()):
                outdone = now_s - views.rival[2] < RIVAL_SILENT_S
                if not (views.dirty or outdone) and self._tasks.get(task) is views:
                    sound &= await self._has_rows(views, whole=evicted)
            if sound:
                self._repairs.reset()

    async def _look_at_redis(self, now_s: float) -> bool:
        """Whether rows were thrown away since the last time."""
        before, self._facts = self._facts, await read_facts(self._client)
        evicted = self._facts.run_id == before.run_id and self._facts.evicted_keys > before.evicted_keys >= 0
        if evicted:
            self._evicted_at_s = now_s
        if self._facts.may_evict and before.policy != self._facts.policy:
            _log.warning("redis_may_evict", policy=self._facts.policy, wanted="noeviction")
        state = self._facts.state
        if now_s - self._evicted_at_s < EVICTING_S and state is RedisState.OK:
            state = RedisState.EVICTING
        self._set_state(RedisState.OK if state is RedisState.UNKNOWN else state)  # it takes what is written
        return evicted

    def _set_state(self, state: RedisState) -> None:
        self.redis = state
        for each in RedisState:
            metrics.VIEWS_REDIS.labels(self._app, each.value).set(each is state)

    async def _stored(self, task: TaskKey) -> WriterData | None:
        stage, partition = task
        return _decoded(await self._client.hget(view_channel(WRITER_VIEW, f"{self._app}.{stage}"), partition))

    def _judge(self, task: TaskKey, views: TaskViews, stored: WriterData | None, now_s: float) -> None:
        """Redis does not know the epoch of these views. Unless another task serves them, they are written anew."""
        if views.is_served_by_another(stored, now_s, RIVAL_SILENT_S):
            return
        found = stored.epoch if stored else None
        _log.warning("views_lost", stage=task[0], partition=task[1], epoch=views.epoch, found=found)
        views.dirty = "epoch_lost"

    async def _has_rows(self, views: TaskViews, *, whole: bool) -> bool:
        """Whether hashes have as many rows as were written to them; those that have not are to be written anew."""
        if whole:
            views.unchecked = []
        found = True
        while scopes := views.next_unchecked(CHECKED_SCOPES_MAX):
            names = [view_channel(*scope) for scope in scopes]
            rows = _unpack_counts(await self._count(args=[_pack(names)]))
            lost = [scope for scope, count in zip(scopes, rows, strict=True) if count != views.rows.get(scope, 0)]
            if lost:
                found = False
                views.lost.update(lost)
                metrics.VIEWS_LOST_SCOPES.labels(self._app).inc(len(lost))
                _log.warning("view_rows_lost", scopes=len(lost), first=view_channel(*lost[0]))
            if not whole or not views.unchecked:
                break
            await asyncio.sleep(0)
        return found


def _decoded(stored: Any) -> WriterData | None:
    try:
        return WriterData.model_validate_json(stored) if stored else None
    except ValidationError:
        return None


def _age_s(at_ns: int) -> float:
    return (time.time_ns() - at_ns) / 1e9 if at_ns else float("nan")
