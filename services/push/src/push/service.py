"""Wiring: the hub, the feed from Redis, the connected clients, and the word to them every second."""

import asyncio
import time
from typing import Any

from common.runtime.operations import Health

from push import codec, metrics
from push.connection import Connection
from push.domain.hub import Hub
from push.latency import Latency
from push.redis_feed import RedisFeed
from push.settings import PushSettings


class PushService:
    """Everything of one push process but its web server."""

    def __init__(self, settings: PushSettings) -> None:
        self._settings = settings
        self.hub = Hub(settings.pending_deltas_max)
        self.latency = Latency()
        self.feed = RedisFeed(settings, self.hub, self.latency)
        self._connections: set[Connection] = set()
        self._ticker: asyncio.Task[None] | None = None

    @property
    def full(self) -> bool:
        return len(self._connections) >= self._settings.clients_max

    def add_checks(self, health: Health) -> None:
        health.add("redis", lambda: (self.feed.up, {"since_ns": self.feed.since_ns, "channels": self.hub.channels}))

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
        try:
            connection.tell(codec.encode_status(self.status()))
            await connection.serve()
        finally:
            self._connections.discard(connection)

    def figures(self, window: str) -> dict[str, Any]:
        """Latency by path, or by view."""
        now_s = time.monotonic()
        self.latency.settle(now_s)
        if window == "views":
            return self.latency.views()
        return self.latency.recent(now_s) if window == "recent" else self.latency.total()

    def status(self) -> dict[str, Any]:
        """How push is, for its clients."""
        return {
            "redis": {"up": self.feed.up, "since_ns": self.feed.since_ns, "behind": self.hub.behind},
            "clients": self.hub.clients,
            "latency": self.figures("recent"),
        }

    async def _tick(self) -> None:
        """Every interval, and at once when Redis comes or goes."""
        while True:
            changed = self.feed.changed
            self.latency.settle(time.monotonic())
            metrics.GAPS.set(self.hub.gaps)
            metrics.CHANNELS.set(self.hub.channels)
            if self._connections:
                message = codec.encode_status(self.status())
                for connection in self._connections:
                    connection.tell(message)
            try:
                async with asyncio.timeout(self._settings.status_interval_s):
                    await changed.wait()
            except TimeoutError:
                continue
