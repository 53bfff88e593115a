"""The open connections of one server: how many there are of each client, and which of them is given up for a new one.

A client may hold most of what there is while nobody else wants it. Where there is no room, the connection that has been
idle for longest makes room, of the client that has most; those that never sent a request go first.
"""

import asyncio
from typing import Final, Protocol

from streams.process.cancellation import end
from streams.process.http_limits import HttpLimits
from streams.service.http import metrics

SWEEP_S: Final = 0.25
"""How often deadlines are looked at: so much later a connection may be closed."""


class Connection(Protocol):
    """The table's view of a connection."""

    deadline_s: float | None
    """By the loop's clock."""

    def expire(self) -> None:
        """The deadline has passed."""

    def give_up(self) -> None:
        """Closes an idle connection."""


class _Client:
    """Connections of one client; ``fresh`` and ``kept`` are idle ones, the longest idle first."""

    __slots__ = ("count", "fresh", "kept")

    def __init__(self) -> None:
        self.count = 0
        self.fresh: dict[Connection, None] = {}
        self.kept: dict[Connection, None] = {}

    def oldest_idle(self) -> Connection | None:
        for idle in (self.fresh, self.kept):
            if idle:
                return next(iter(idle))
        return None


class Connections:
    """Bounded by ``limits``."""

    def __init__(self, limits: HttpLimits) -> None:
        self.limits = limits
        self._clients: dict[str, _Client] = {}
        self._of: dict[Connection, str] = {}
        self._sweeping: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._of)

    def count(self, client: str) -> int:
        """Open connections of one client."""
        found = self._clients.get(client)
        return found.count if found else 0

    def admit(self, connection: Connection, client: str) -> str | None:
        """Takes a new connection in, idle. Returns the kind of problem where there is no room for it."""
        count = self.count(client)
        if count >= self.limits.address_connections and not self._make_room(client):
            return "share-exceeded"
        if len(self._of) >= self.limits.connections:
            greediest = max(self._clients, key=lambda name: self._clients[name].count)
            if not (self._make_room(greediest) or self._make_room(client)):
                return "share-exceeded" if count > len(self._of) / len(self._clients) else "overloaded"
        entry = self._clients.setdefault(client, _Client())
        entry.count += 1
        entry.fresh[connection] = None
        self._of[connection] = client
        metrics.CONNECTIONS.inc()
        return None

    def busy(self, connection: Connection) -> None:
        """A request has begun on it."""
        if client := self._of.get(connection):
            entry = self._clients[client]
            entry.fresh.pop(connection, None)
            entry.kept.pop(connection, None)

    def idle(self, connection: Connection) -> None:
        """Its request has been answered, and it waits for another."""
        if client := self._of.get(connection):
            self._clients[client].kept[connection] = None

    def release(self, connection: Connection) -> None:
        """It has ended, or speaks another protocol now. Repeating it changes nothing."""
        if client := self._of.pop(connection, None):
            entry = self._clients[client]
            entry.count -= 1
            entry.fresh.pop(connection, None)
            entry.kept.pop(connection, None)
            if not entry.count:
                del self._clients[client]
            metrics.CONNECTIONS.dec()

    def _make_room(self, client: str) -> bool:
        entry = self._clients.get(client)
        oldest = entry.oldest_idle() if entry else None
        if oldest is None:
            return False
        self.release(oldest)
        oldest.give_up()
        metrics.CLOSED.labels("room").inc()
        return True

    def start(self) -> None:
        self._sweeping = asyncio.create_task(self._sweep(), name="http-deadlines")

    async def stop(self) -> None:
        if self._sweeping:
            await end(self._sweeping)

    async def _sweep(self) -> None:
        """One look at all of them now and then costs less than a timer for each request."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_S)
            now_s = loop.time()
            for connection in [each for each in self._of if each.deadline_s is not None and each.deadline_s <= now_s]:
                connection.expire()
