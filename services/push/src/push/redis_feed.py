"""The one connection to Redis: channels are followed, hashes are read, and what was lost is begun anew.

A session lives as long as its connections. When anything fails, all of it ends: the hub is told, the wait doubles, and
the next session opens every channel and reads every hash again.
"""

import asyncio
import math
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from common.contracts.views import VIEW_PREFIX, WRITER_VIEW, RedisState, WriterData, view_channel
from pydantic import ValidationError
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from streams.process.backoff import Backoff
from streams.process.cancellation import end
from streams.process.logs import get_logger
from streams.views.redis_client import redis_client
from streams.views.redis_state import UNKNOWN_FACTS, RedisFacts, read_facts

from push import metrics
from push.codec import EnvelopeError, decode_envelope
from push.domain.freshness import WRITERS, Freshness, WriterState, worst
from push.domain.hub import Action, Close, Hub, ListScopes, Open, Read
from push.domain.mirror import Outcome
from push.domain.rows import Position, Row, Scope
from push.domain.topic import Topic
from push.latency import Latency
from push.settings import PushSettings

_log = get_logger(__name__)
BATCH_MESSAGES: Final = 256
"""Messages handled before other tasks get their turn."""
SCAN_COUNT: Final = 1_000
EVICTING_S: Final = 10.0
"""Redis counts as evicting for so long after it has evicted something."""
_WRITERS_PREFIX: Final = view_channel(WRITER_VIEW, "").encode()
_WRITERS_PATTERN: Final = view_channel(WRITER_VIEW, "*")
WATCH_PINGS: Final = 3
_LOST: Final = (RedisError, OSError, TimeoutError)


class RedisFeed:
    """Does what the hub asks for, and reports back to it."""

    def __init__(self, settings: PushSettings, hub: Hub, latency: Latency) -> None:
        self._settings = settings
        self._hub = hub
        self._latency = latency
        self._backoff = Backoff(settings.redis.backoff_min_s, settings.redis.backoff_max_s)
        self._new_queues()
        self._read_at_s: dict[Scope, float] = {}
        self._listed_at_s: dict[str, float] = {}
        self._to_list: set[Topic] = set()
        """Whole views whose search waits for a timer."""
        self._accounts: tuple[float, list[str]] = (-math.inf, [])
        self._accounts_turn = asyncio.Lock()
        self._evicted_at_s = -math.inf
        self.facts: RedisFacts = UNKNOWN_FACTS
        self.freshness = Freshness()
        self._heard_at_s = 0.0
        self._worker: asyncio.Task[None] | None = None
        self.up = False
        self.since_ns = time.time_ns()
        """When ``up`` last changed."""
        self.changed = asyncio.Event()
        """Set, and replaced by a new one, whenever ``up`` changes, or Redis is found ill or well."""

    def start(self) -> None:
        self._worker = asyncio.create_task(self._work(), name="redis")

    async def stop(self) -> None:
        if self._worker:
            await end(self._worker)

    async def ended(self) -> None:
        """Waits for the end, which only ``stop`` or an error of ours brings. Raises that error."""
        if self._worker:
            await asyncio.wait((self._worker,))
            if not self._worker.cancelled():
                self._worker.result()

    def perform(self, actions: Iterable[Action]) -> None:
        """Queues what the hub wants. Never waits: where Redis is that far behind, all is begun anew."""
        try:
            for action in actions:
                if isinstance(action, Open | Close):
                    self._commands.put_nowait(action)
                else:
                    self._reads.put_nowait(action)
        except asyncio.QueueFull:
            self._overrun.set()

    def _new_queues(self) -> None:
        actions_max = self._settings.redis.actions_max + self._hub.channels  # a new session opens all of them
        self._commands: asyncio.Queue[Open | Close] = asyncio.Queue(actions_max)
        self._reads: asyncio.Queue[Read | ListScopes] = asyncio.Queue(actions_max)
        self._overrun = asyncio.Event()

    async def _fail_when_overrun(self) -> None:
        await self._overrun.wait()
        raise TimeoutError(f"{self._settings.redis.actions_max} requests wait for Redis")

    async def accounts(self) -> list[str]:
        """Account ids that have a view, sorted; one search serves all who ask meanwhile. Raises RedisError, OSError."""
        async with self._accounts_turn:
            read_at_s, accounts = self._accounts
            if time.monotonic() - read_at_s >= self._settings.accounts_age_max_s:
                async with self._client() as client:
                    accounts = sorted([scope.scope for scope in await self._scan(client, "account")])
                self._accounts = (time.monotonic(), accounts)
            return accounts

    @property
    def redis_state(self) -> RedisState:
        """Treatment of writes by Redis, by its own word and by its writers'."""
        if not self.up:
            return RedisState.UNREACHABLE
        now_ns = time.time_ns()
        told = [each.redis for each in self.freshness.status(now_ns).values() if each.state is not WriterState.SILENT]
        evicting = time.monotonic() - self._evicted_at_s < EVICTING_S
        return worst([self.facts.state, *told, *([RedisState.EVICTING] if evicting else [])])

    def _client(self) -> Redis:
        """Without retries: a connection that was lost must not come back unnoticed.

        No error counts as one to retry, because even zero retries reconnect once before the error is raised, and two
        tasks that use one connection then read from it at the same time.
        """
        timeout_s = self._settings.redis.timeout_s
        return redis_client(
            self._settings.redis.url,
            socket_connect_timeout=timeout_s,
            socket_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0, supported_errors=()),
        )

    # --- sessions -------------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        while True:
            try:
                async with self._client() as client, client.pubsub() as pubsub:
                    await self._session(client, pubsub)
            except _LOST as error:
                cause: BaseException = error
            except ExceptionGroup as errors:
                lost, _ = errors.split(_LOST)
                if lost is None:
                    raise
                cause = lost.exceptions[0]  # what failed beside it failed because of it
            self._set_up(False)
            metrics.REDIS_LOST.inc()
            delay_s = self._backoff.next()
            _log.warning("redis_away", error=str(cause), retry_in_s=delay_s)
            await asyncio.sleep(delay_s)

    async def _session(self, client: Redis, pubsub: PubSub) -> None:
        self._new_queues()
        self._read_at_s.clear()
        self._listed_at_s.clear()
        self._to_list.clear()
        await client.ping()
        await pubsub.psubscribe(_WRITERS_PATTERN)
        self._heard_at_s = time.monotonic()
        self._backoff.reset()
        self._set_up(True)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._listen(pubsub))
                tasks.create_task(self._command(pubsub))
                tasks.create_task(self._watch(pubsub))
                tasks.create_task(self._look_at_writers(client))
                tasks.create_task(self._fail_when_overrun())
                for _ in range(self._settings.reads_parallel):
                    tasks.create_task(self._read_all(client))
                self.perform(self._hub.connected())
        finally:
            self._hub.disconnected()

    def _set_up(self, up: bool) -> None:
        if up == self.up:
            return
        self.up = up
        self.since_ns = time.time_ns()
        metrics.REDIS_UP.set(up)
        self._say_changed()

    def _say_changed(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    async def _look_at_writers(self, client: Redis) -> None:
        """Whether Redis still has what its writers said, and how it is. What the channel says is heard elsewhere."""
        while _wanted():
            before = (self.redis_state, self.facts.evicted_keys)
            self.facts = await read_facts(client)
            if self.facts.evicted_keys > before[1] >= 0:
                self._evicted_at_s = time.monotonic()
            if await self._compare_writers(client) or self.redis_state is not before[0]:
                self._say_changed()
            await asyncio.sleep(self._settings.writers_interval_s)

    async def _compare_writers(self, client: Redis) -> bool:
        """Whether Redis has just been found to have lost something."""
        pipe = client.pipeline(transaction=False)
        for writer in WRITERS:
            pipe.hgetall(view_channel(WRITER_VIEW, writer))
        found = [
            self.freshness.stored(writer, [said for raw in stored.values() if (said := _writer_data(raw))])
            for writer, stored in zip(WRITERS, await pipe.execute(), strict=True)
        ]
        return any(found)

    async def _watch(self, pubsub: PubSub) -> None:
        """A connection that stays silent although it is asked counts as lost.

        Asked several times: when it is us who were late, the answer is read before the next time.
        """
        timeout_s = self._settings.redis.timeout_s
        unanswered = 0
        while unanswered < WATCH_PINGS:
            if not _wanted():
                return
            asked_at_s = time.monotonic()
            await pubsub.ping()
            await asyncio.sleep(timeout_s / WATCH_PINGS)
            unanswered = 0 if self._heard_at_s >= asked_at_s else unanswered + 1
        raise TimeoutError(f"no answer from Redis for {timeout_s} s")

    # --- channels -------------------------------------------------------------------------------------------------

    async def _command(self, pubsub: PubSub) -> None:
        while _wanted():
            match await self._commands.get():
                case Open(topic):
                    await (pubsub.psubscribe if topic.whole else pubsub.subscribe)(_channel(topic))
                case Close(topic):
                    await (pubsub.punsubscribe if topic.whole else pubsub.unsubscribe)(_channel(topic))

    async def _listen(self, pubsub: PubSub) -> None:
        handled = 0
        while _wanted():
            message = await pubsub.get_message(timeout=None)
            handled += 1
            if handled % BATCH_MESSAGES == 0:
                self._latency.settle(time.monotonic())
                await asyncio.sleep(0)
            if message is not None:
                self._heard_at_s = time.monotonic()
                self._handle(message)

    def _handle(self, message: Mapping[str, Any]) -> None:
        kind = message["type"]
        if kind == "pmessage" and message["channel"].startswith(_WRITERS_PREFIX):
            said = _writer_data(message["data"])
            if said is not None:
                self.perform(self._hub.doubt(self.freshness.heard(said)))
        elif kind in ("message", "pmessage"):
            try:
                delta = decode_envelope(message["data"])
            except EnvelopeError as error:
                metrics.MALFORMED.inc()
                _log.warning("malformed_envelope", channel=str(message["channel"]), error=str(error))
                return
            metrics.ENVELOPES.labels(delta.scope.name).inc()
            outcome, actions = self._hub.receive(delta)
            if outcome is Outcome.APPLIED:
                self._latency.passed(delta.scope.name, delta.row.stamps)
            self.perform(actions)
        elif kind in ("subscribe", "psubscribe"):
            topic = _topic(message["channel"])
            if topic is not None and topic.name != WRITER_VIEW:
                self.perform(self._hub.opened(topic))

    # --- hashes ---------------------------------------------------------------------------------------------------

    async def _read_all(self, client: Redis) -> None:
        while _wanted():
            match await self._reads.get():
                case ListScopes(topic):
                    await self._list(client, topic)
                case Read(scope):
                    await self._read(client, scope)

    async def _list(self, client: Redis, topic: Topic) -> None:
        """A search goes over every key there is: clients that come and go must not make it a constant one."""
        now_s = time.monotonic()
        due_s = self._listed_at_s.get(topic.name, -math.inf) + self._settings.relist_interval_s
        if now_s < due_s:
            if topic not in self._to_list:
                self._to_list.add(topic)
                asyncio.get_running_loop().call_later(due_s - now_s, self._list_again, self._reads, topic)
            return
        self._listed_at_s[topic.name] = now_s
        self.perform(self._hub.listed(topic, await self._scan(client, topic.name)))

    async def _read(self, client: Redis, scope: Scope) -> None:
        now_s = time.monotonic()
        due_s = self._read_at_s.get(scope, 0.0) + self._settings.reread_interval_s
        if now_s < due_s:
            asyncio.get_running_loop().call_later(due_s - now_s, self._look_again, self._reads, Read(scope))
            return
        mirror = self._hub.read_begins(scope)
        if mirror is None:
            return
        if len(self._read_at_s) > 10_000:
            self._read_at_s.clear()
        self._read_at_s[scope] = now_s
        metrics.READS.inc()
        stored = cast(dict[bytes, bytes], await client.hgetall(view_channel(*scope)))
        if not stored and await self._compare_writers(client):
            self._say_changed()  # nothing is there because it was lost: clients hear that before they see nothing
        self.perform(self._hub.read_ends(mirror, _rows(scope, stored)))

    def _list_again(self, reads: "asyncio.Queue[Read | ListScopes]", topic: Topic) -> None:
        """The loop's timers may come up to a millisecond early: the search then finds that it waits for none, and waits
        once more."""
        if reads is self._reads:
            self._to_list.discard(topic)
        self._look_again(reads, ListScopes(topic))

    def _look_again(self, reads: "asyncio.Queue[Read | ListScopes]", action: Read | ListScopes) -> None:
        if reads is self._reads:  # else a new session reads everything anyway
            self.perform([action])

    async def _scan(self, client: Redis, view: str) -> list[Scope]:
        prefix = view_channel(view, "")
        found = [key.decode() async for key in client.scan_iter(match=f"{prefix}*", count=SCAN_COUNT)]
        return [Scope(view, key.removeprefix(prefix)) for key in dict.fromkeys(found)]


def _wanted() -> bool:
    """Whether the running task was not told to end. The client library has been seen to swallow a cancellation; a task
    that then waits for its next command would wait for ever, and the session with it."""
    task = asyncio.current_task()
    return task is None or not task.cancelling()


def _channel(topic: Topic) -> str:
    """The channel of a scope, or the pattern of a whole view. Names of scopes hold no glob of a pattern."""
    return view_channel(topic.name, "*" if topic.whole else topic.scope)


def _topic(channel: bytes) -> Topic | None:
    prefix, _, rest = channel.decode().partition(":")
    name, colon, scope = rest.partition(":")
    return Topic(name, "" if scope == "*" else scope) if prefix == VIEW_PREFIX and colon else None


def _writer_data(raw: bytes) -> WriterData | None:
    try:
        return WriterData.model_validate_json(raw)
    except ValidationError:
        metrics.MALFORMED.inc()
        return None


def _rows(scope: Scope, stored: Mapping[bytes, bytes]) -> dict[str, tuple[Position, Row]]:
    rows = {}
    for key, payload in stored.items():
        try:
            delta = decode_envelope(payload)
        except EnvelopeError as error:
            metrics.MALFORMED.inc()
            _log.warning(
                "malformed_row", scope=view_channel(*scope), key=key.decode("utf-8", "replace"), error=str(error)
            )
            continue
        if delta.row.data is not None:
            rows[delta.row.key] = (delta.position, delta.row)
    return rows
