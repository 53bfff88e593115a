"""PostgreSQL: connections that open when they are needed, deadlines that hold, and migrations.

No call waits longer than its deadline, whatever the driver does: the work runs in a task of its own, and a connection
whose work did not end well is cut without a word to the other side, which may have stopped listening. asyncpg's own
pool asks the server before it lets go of a connection, and a server that never answers would hold the caller.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, TypeVar

import asyncpg
from common.contracts.rights import SqlRole
from common.sql_roles import grants
from streams.process.backoff import Backoff
from streams.process.logs import get_logger

from orders.settings import OrdersPostgresSettings
from orders.trouble import DatabaseAway, RowRefused, Trouble, of_whole_database, translated

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection = object

_log = get_logger(__name__)
T = TypeVar("T")
Work = Callable[[Connection], Awaitable[T]]

MIGRATION_LOCK: Final = 0x7469_6465_6D61_726B
"""Key of the advisory lock that one migrating process holds ("tidemark")."""
MIGRATION_S: Final = 120.0
WAITING_PER_CONNECTION: Final = 16
"""Callers that wait for a connection, per connection there may be; one more is refused at once."""
IDLE_MAX_S: Final = 120.0
"""A connection that was not used for so long is made anew: what lies between may have forgotten it."""
BREAK_MIN_S, BREAK_MAX_S = 0.25, 2.0
"""While PostgreSQL is in trouble, one reader tries in so many seconds; the others are refused at once."""


@dataclass(slots=True, eq=False)
class _Lease:
    """Holding of one piece of work. ``held`` while it counts against the connections there may be."""

    connection: "asyncpg.Connection[asyncpg.Record] | None" = None
    held: bool = False


@dataclass(slots=True)
class _Breaker:
    """Keeps readers from waiting for a database that does not answer, each for a whole deadline."""

    backoff: Backoff = field(default_factory=lambda: Backoff(BREAK_MIN_S, BREAK_MAX_S))
    error: DatabaseAway | None = None
    until: float = 0.0
    trying: bool = False

    def begin(self) -> bool:
        """Whether this reader is the one that tries. Raises DatabaseAway where it is not its turn."""
        if self.error is None:
            return False
        if self.trying or time.monotonic() < self.until:
            raise DatabaseAway(self.error.trouble, str(self.error))
        self.trying = True
        return True

    def failed(self, error: DatabaseAway) -> None:
        if of_whole_database(error.trouble) and (self.error is None or self.trying):
            self.error, self.until = error, time.monotonic() + self.backoff.next()

    def succeeded(self) -> None:
        self.error = None
        self.backoff.reset()


class Database:
    """At most ``connections_max`` connections. Making it touches no network."""

    def __init__(
        self, postgres: OrdersPostgresSettings, connections_max: int, timeout_ms: int | None = None, role: str = ""
    ) -> None:
        """``role``: who comes, where it is another than the URL says."""
        self._dsn = postgres.dsn
        self._role = role
        self._timeout_s = (timeout_ms or postgres.timeout_ms) / 1000
        self._connections_max = connections_max
        self._slots = asyncio.Semaphore(connections_max)
        self._idle: list[tuple[asyncpg.Connection[asyncpg.Record], float]] = []
        """Open connections and when each was used last, the one used last at the end."""
        self._leases: dict[asyncio.Task[Any], _Lease] = {}
        self._breaker = _Breaker()

    @property
    def trouble(self) -> DatabaseAway | None:
        """Why readers are refused at present, if they are."""
        return self._breaker.error

    def check(self) -> tuple[bool, dict[str, Any]]:
        """Says on ``/health/ready`` whether PostgreSQL answers readers. Never a reason to be not ready."""
        error = self.trouble
        if error is None:
            return True, {"state": "ok"}
        return True, {"state": "degraded", "reason": error.trouble.value, "error": str(error)}

    async def read(self, work: Work[T]) -> T:
        """One statement, or several without a common snapshot. Raises DatabaseAway, at the deadline at the latest."""
        is_trying = self._breaker.begin()
        try:
            result = await self._bounded(self._reading, work, self._timeout_s)
        except DatabaseAway as error:
            self._breaker.failed(error)
            raise
        except RowRefused as error:
            raise DatabaseAway(Trouble.UNEXPECTED, str(error)) from error
        else:
            self._breaker.succeeded()
            return result
        finally:
            if is_trying:
                self._breaker.trying = False

    async def transaction(self, work: Work[T], timeout_s: float | None = None) -> T:
        """All of ``work`` or nothing. Raises DatabaseAway where it cannot be had, does not commit or takes too long,
        RowRefused where PostgreSQL does not take what it is given. ``work`` is done once.
        """
        return await self._bounded(self._in_transaction, work, self._timeout_s if timeout_s is None else timeout_s)

    async def _bounded(self, run: Callable[[Work[T], _Lease], Awaitable[T]], work: Work[T], timeout_s: float) -> T:
        if len(self._leases) >= self._connections_max * (1 + WAITING_PER_CONNECTION):
            raise DatabaseAway(Trouble.BUSY, "too many callers wait for a connection")
        lease = _Lease()
        task: asyncio.Task[T] = asyncio.create_task(self._leased(run, work, lease))
        self._leases[task] = lease
        task.add_done_callback(self._leases.pop)
        try:
            await asyncio.wait({task}, timeout=timeout_s)
            if not task.done():
                # Without a connection of its own it was the others that took long.
                trouble = Trouble.SLOW if lease.held else Trouble.BUSY
                raise DatabaseAway(trouble, f"no answer in {timeout_s:g} s")
            return task.result()
        except DatabaseAway:
            self._cut_idle()
            raise
        finally:
            if not task.done():
                self._abandon(task, lease)

    def _abandon(self, task: "asyncio.Task[T]", lease: _Lease) -> None:
        """Gives the task's place to others at once; whether the driver lets the task end is its own matter."""
        if lease.connection is not None:
            lease.connection.terminate()
        self._release(lease)
        task.add_done_callback(_look_at_result)
        task.cancel()

    def _release(self, lease: _Lease) -> None:
        if lease.held:
            lease.held = False
            self._slots.release()

    async def _leased(self, run: Callable[[Work[T], _Lease], Awaitable[T]], work: Work[T], lease: _Lease) -> T:
        await self._slots.acquire()
        lease.held = True
        try:
            return await run(work, lease)
        except Exception as error:
            raise translated(error) from error
        finally:
            self._release(lease)

    async def _reading(self, work: Work[T], lease: _Lease) -> T:
        was_idle = bool(self._idle)
        try:
            return await self._connected(work, lease)
        except Exception as error:
            met = translated(error)
            if not (was_idle and isinstance(met, DatabaseAway) and met.trouble is Trouble.AWAY):
                raise
        # The server was started again, or the connection was cut while nobody used it; a new one may serve.
        self._cut_idle()
        return await self._connected(work, lease)

    async def _in_transaction(self, work: Work[T], lease: _Lease) -> T:
        async def whole(connection: Connection) -> T:
            await connection.execute("BEGIN")
            result = await work(connection)
            if await connection.execute("COMMIT") != "COMMIT":
                raise DatabaseAway(Trouble.UNEXPECTED, "PostgreSQL rolled the transaction back")
            return result

        return await self._connected(whole, lease)

    async def _connected(self, work: Work[T], lease: _Lease) -> T:
        """Runs the work on a connection, which serves the next one only where all went well."""
        lease.connection = connection = self._take_idle() or await self._connect()
        try:
            result = await work(connection)
        except BaseException:
            connection.terminate()
            raise
        if lease.held:
            self._idle.append((connection, time.monotonic()))
        else:
            connection.terminate()
        lease.connection = None
        return result

    def _take_idle(self) -> "asyncpg.Connection[asyncpg.Record] | None":
        oldest = time.monotonic() - IDLE_MAX_S
        while self._idle and self._idle[0][1] < oldest:
            self._idle.pop(0)[0].terminate()
        while self._idle:
            connection, _ = self._idle.pop()
            if not connection.is_closed():
                return connection
        return None

    async def _connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        limit_ms = str(int(self._timeout_s * 1000))
        # The server ends what nobody waits for any more: a lock that an abandoned transaction held would stay.
        limits = {"statement_timeout": limit_ms, "idle_in_transaction_session_timeout": limit_ms}
        return await asyncpg.connect(
            self._dsn.get_secret_value(),
            user=self._role or None,
            timeout=self._timeout_s,
            command_timeout=None,
            server_settings=limits,
        )

    def _cut_idle(self) -> None:
        """After trouble every connection is made anew: after a failover the address leads to another server."""
        while self._idle:
            self._idle.pop()[0].terminate()

    async def migrate(self) -> list[int]:
        """Brings the schema up to date; returns the versions applied. Processes that race here take turns.

        Raises DatabaseAway; with NEWER where the schema was made by a later version than this one.
        """
        applied = await self.transaction(apply_migrations, MIGRATION_S)
        if applied:
            _log.info("migrated", versions=applied)
        return applied

    async def close(self) -> None:
        """Ends every connection; one that does not end in time is cut."""
        for task, lease in list(self._leases.items()):
            self._abandon(task, lease)
        idle = [connection for connection, _ in self._idle]
        self._idle.clear()
        if idle:
            closing = [asyncio.create_task(connection.close(timeout=self._timeout_s)) for connection in idle]
            _, late = await asyncio.wait(closing, timeout=self._timeout_s)
            for task in closing:
                task.add_done_callback(_look_at_result)
            for task in late:
                task.cancel()
            for connection in idle:
                connection.terminate()


def _look_at_result(task: "asyncio.Task[T]") -> None:
    """Nobody waits for it any more: an error of an abandoned task is not news."""
    if not task.cancelled():
        task.exception()


async def apply_migrations(connection: Connection) -> list[int]:
    """Within a transaction: applies what is missing, returns the versions. Raises DatabaseAway with NEWER."""
    await connection.execute("SET LOCAL statement_timeout = 0")
    await connection.execute("SELECT pg_advisory_xact_lock($1)", MIGRATION_LOCK)
    if await connection.fetchval("SELECT to_regclass('schema_migrations')") is None:
        await connection.execute(
            "CREATE TABLE schema_migrations "
            "(version int PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
    done = {row["version"] for row in await connection.fetch("SELECT version FROM schema_migrations")}
    known = migrations()
    if newer := sorted(done - {version for version, _, _ in known}):
        raise DatabaseAway(Trouble.NEWER, f"the schema has version {newer[-1]}, this program knows {known[-1][0]}")
    missing = [migration for migration in known if migration[0] not in done]
    for version, name, statements in missing:
        await connection.execute(statements)
        await connection.execute("INSERT INTO schema_migrations (version, name) VALUES ($1, $2)", version, name)
    if missing and not set(SqlRole) - {
        row["rolname"] for row in await connection.fetch("SELECT rolname FROM pg_roles")
    }:
        for statement in grants():  # a table that was made is nobody's but its owner's
            await connection.execute(statement)
    return [version for version, _, _ in missing]


def migrations() -> Sequence[tuple[int, str, str]]:
    """(version, name, statements) in order, from ``migrations/NNNN_name.sql``."""
    found = []
    for file in resources.files("orders").joinpath("migrations").iterdir():
        if file.name.endswith(".sql"):
            version, _, name = file.name.removesuffix(".sql").partition("_")
            found.append((int(version), name, file.read_text("utf-8")))
    return sorted(found)
