"""Wiring: the hub, the feed from Redis, the connected clients, and the word to them every second."""

import asyncio
import math
import time
from typing import Any

from common.access.http import Admission
from common.access.identities import identities_of
from common.contracts.views import RedisState
from streams.service.operations import Health

from push import codec, metrics
from push.connection import Connection
from push.domain.freshness import report
from push.domain.hub import Hub
from push.domain.shares import Share, Shares
from push.latency import Latency
from push.redis_feed import RedisFeed
from push.settings import PushSettings


class TurnedAway(Exception):
    """A client is not let in. ``share_is_used``: because of what its address has had; else because push is full."""

    def __init__(self, reason: str, *, share_is_used: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.share_is_used = share_is_used


class PushService:
    """Everything of one push process but its web server."""

    def __init__(self, settings: PushSettings) -> None:
        """Reads the files that the settings of identities name. Raises OSError, ValueError."""
        self._settings = settings
        self.admission = Admission("push", identities_of(settings.access))
        self.hub = Hub(settings.pending_deltas_max)
        self.latency = Latency(settings.origin_span_max_s)
        self.feed = RedisFeed(settings, self.hub, self.latency)
        self._connections: set[Connection] = set()
        self._shares = Shares(
            settings.address.handshakes_per_s_max,
            settings.address.subscriptions_per_s_max,
            settings.address.snapshot_rows_per_s_max,
            settings.address.burst_s,
        )
        self._ticker: asyncio.Task[None] | None = None

    def add_checks(self, health: Health) -> None:
        health.add("redis", self._redis_check)
        health.add("views", self._views_check)

    def _redis_check(self) -> tuple[bool, dict[str, Any]]:
        """Ready while Redis takes what is written to it: what it refuses, no screen can show."""
        state = self.feed.redis_state
        detail = {"state": state.value, "since_ns": self.feed.since_ns, "channels": self.hub.channels}
        return state in (RedisState.OK, RedisState.UNKNOWN), detail | {"policy": self.feed.facts.policy}

    def _views_check(self) -> tuple[bool, dict[str, Any]]:
        """Age of the views. Old ones are no reason to stop serving: the screen shows the age of each."""
        now_ns = time.time_ns()
        detail: dict[str, Any] = {}
        for writer, status in self.feed.freshness.status(now_ns).items():
            age_s = status.age_s(now_ns)
            detail |= {
                f"{writer}.state": status.state.value,
                f"{writer}.age_s": None if age_s is None else round(age_s, 1),
            }
        return True, detail

    def admit(self, address: str) -> Share:
        """The share of a new client's address. Raises TurnedAway."""
        now_s = time.monotonic()
        share = self._shares.of(address, now_s)
        if not share.handshakes.take(now_s):
            raise TurnedAway("too many new connections from this address", share_is_used=True)
        if share.clients >= self._settings.address.clients_max and not self._make_room(share):
            raise TurnedAway("too many connections from this address", share_is_used=True)
        if len(self._connections) >= self._settings.clients_max and not self._make_room(None):
            raise TurnedAway("too many connections", share_is_used=False)
        return share

    def _make_room(self, share: Share | None) -> bool:
        """Whether a client left that has asked for nothing; of the share's, or of anybody's. The oldest goes."""
        idle = [each for each in self._connections if each.is_idle and share in (None, each.share)]
        if not idle:
            return False
        oldest = min(idle, key=lambda each: each.id)
        self._connections.discard(oldest)
        oldest.share.clients -= 1
        oldest.give_way()
        return True

    async def start(self) -> None:
        self.feed.start()
        self._ticker = asyncio.create_task(self._tick(), name="status")

    async def stop(self) -> None:
        if self._ticker:
            self._ticker.cancel()
            await asyncio.gather(self._ticker, return_exceptions=True)
        await self.feed.stop()

    async def serve(self, connection: Connection) -> None:
        """Serves one client until it has left."""
        self._connections.add(connection)
        connection.share.clients += 1
        try:
            connection.tell(codec.encode_status(self.status()))
            await connection.serve()
        finally:
            if connection in self._connections:  # else it has made room before its end
                self._connections.discard(connection)
                connection.share.clients -= 1

    def figures(self, window: str) -> dict[str, Any]:
        """Latency by path, or by view."""
        now_s = time.monotonic()
        self.latency.settle(now_s)
        if window == "views":
            return self.latency.views()
        return self.latency.recent(now_s) if window == "recent" else self.latency.total()

    def status(self) -> dict[str, Any]:
        """State of push, for its clients."""
        return {
            "redis": {
                "up": self.feed.up,
                "state": self.feed.redis_state.value,
                "policy": self.feed.facts.policy,
                "since_ns": self.feed.since_ns,
                "behind": self.hub.behind,
            },
            "views": report(self.feed.freshness.status(time.time_ns())),
            "clients": self.hub.clients,
            "latency": self.figures("recent"),
        }

    def views(self) -> dict[str, Any]:
        """The age of each writer's views, whether they are complete, and what Redis does."""
        now_ns = time.time_ns()
        status = self.feed.freshness.status(now_ns)
        ages = {
            writer: {"age_s": each.age_s(now_ns), "current": each.is_current(now_ns)} for writer, each in status.items()
        }
        writers = {writer: said | ages[writer] for writer, said in report(status).items()}
        return {"now_ns": now_ns, "redis": self.feed.redis_state.value, "writers": writers}

    def _measure(self) -> None:
        now_ns = time.time_ns()
        for writer, status in self.feed.freshness.status(now_ns).items():
            age_s = status.age_s(now_ns)
            metrics.VIEWS_AGE.labels(writer).set(math.nan if age_s is None else age_s)
            metrics.VIEWS_CURRENT.labels(writer).set(status.is_current(now_ns))
        state = self.feed.redis_state
        for each in RedisState:
            metrics.REDIS_STATE.labels(each.value).set(each is state)

    async def _tick(self) -> None:
        """Every interval, and at once when Redis comes or goes, or has lost something."""
        while True:
            changed = self.feed.changed
            self.latency.settle(time.monotonic())
            metrics.GAPS.set(self.hub.gaps)
            metrics.CHANNELS.set(self.hub.channels)
            self._measure()
            if self._connections:
                message = codec.encode_status(self.status())
                for connection in self._connections:
                    connection.end_if_revoked()
                    connection.tell(message)
            try:
                async with asyncio.timeout(self._settings.status_interval_s):
                    await changed.wait()
            except TimeoutError:
                continue
