"""PostgreSQL: a pool that opens when it is first needed, errors in the runtime's terms, and migrations."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from typing import TYPE_CHECKING, Final

import asyncpg
from common.runtime.logs import get_logger

from orders.settings import OrdersSettings

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection = PoolConnectionProxy[asyncpg.Record]
else:
    Connection = object

_log = get_logger(__name__)

MIGRATION_LOCK: Final = 0x7469_6465_6D61_726B
"""Key of the advisory lock that one migrating process holds ("tidemark")."""

_AWAY: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.UndefinedTableError,  # before the first migration
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what a statement meets on a connection that is just breaking
    OSError,
    TimeoutError,
)


class DatabaseAway(ConnectionError):
    """PostgreSQL does not answer, or asks to try again: nothing of the transaction happened."""


class Database:
    """A pool of at most ``connections_max``. Making it touches no network."""

    def __init__(self, settings: OrdersSettings, connections_max: int) -> None:
        self._settings = settings
        self._connections_max = connections_max
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._opening = asyncio.Lock()

    async def _opened(self) -> "asyncpg.Pool[asyncpg.Record]":
        async with self._opening:
            if self._pool is None:
                timeout_s = self._settings.postgres_timeout_ms / 1000
                self._pool = await asyncpg.create_pool(
                    self._settings.postgres_dsn.get_secret_value(),
                    min_size=0,
                    max_size=self._connections_max,
                    timeout=timeout_s,
                    command_timeout=timeout_s,
                )
            return self._pool

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A connection with an open transaction. Raises DatabaseAway where it cannot be had or does not commit."""
        try:
            pool = await self._opened()
            timeout_s = self._settings.postgres_timeout_ms / 1000
            async with pool.acquire(timeout=timeout_s) as connection, connection.transaction():
                yield connection
        except _AWAY as error:
            raise DatabaseAway(f"{type(error).__name__}: {error}") from error

    async def migrate(self) -> list[int]:
        """Brings the schema up to date; returns the versions applied. Processes that race here take turns."""
        applied = []
        async with self.transaction() as connection:
            await connection.execute("SELECT pg_advisory_xact_lock($1)", MIGRATION_LOCK)
            await connection.execute(
                "CREATE TABLE IF NOT EXISTS schema_migrations "
                "(version int PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
            )
            done = {row["version"] for row in await connection.fetch("SELECT version FROM schema_migrations")}
            for version, name, statements in migrations():
                if version in done:
                    continue
                await connection.execute(statements)
                await connection.execute("INSERT INTO schema_migrations (version, name) VALUES ($1, $2)", version, name)
                applied.append(version)
        if applied:
            _log.info("migrated", versions=applied)
        return applied

    async def close(self) -> None:
        """Ends every connection; one that does not end in time is cut."""
        if self._pool is not None:
            try:
                await asyncio.wait_for(self._pool.close(), self._settings.postgres_timeout_ms / 1000)
            except TimeoutError:
                self._pool.terminate()
            self._pool = None


def migrations() -> list[tuple[int, str, str]]:
    """(version, name, statements) in order, from ``migrations/NNNN_name.sql``."""
    found = []
    for file in resources.files("orders").joinpath("migrations").iterdir():
        if file.name.endswith(".sql"):
            version, _, name = file.name.removesuffix(".sql").partition("_")
            found.append((int(version), name, file.read_text("utf-8")))
    return sorted(found)
