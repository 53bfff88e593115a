"""Operations on the projection: a look at it beside the log, and making it anew."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias, TypeVar

import asyncpg
from common.postgres import POSTGRES_AWAY
from orders import rebuild
from orders.database import MIGRATION_LOCK, Connection
from orders.projection import TOPICS, read_positions
from orders.stops import Place
from orders.trouble import DatabaseAway
from streams.edges.reader import CommittedReader
from streams.process.settings import Settings

from tidemark.console import CommandError

T = TypeVar("T")
CONNECT_S: Final = 10.0
STATEMENT_S: Final = 120.0
LOOK_S: Final = 0.5
DEADLOCKS_MAX: Final = 5
LogRange: TypeAlias = Mapping[Place, tuple[int, int]]
"""Topic and partition → the first offset that the log keeps, and its end."""


async def log_ranges(settings: Settings) -> LogRange:
    """First and next offset of every partition of every topic that is projected."""
    async with CommittedReader(settings, TOPICS, from_beginning=True, client_id="tidemark-cli") as reader:
        starts, ends = reader.positions, await reader.ends()
    return {place: (start, ends[place]) for place, start in sorted(starts.items())}


class ProjectionAdmin:
    """One connection per request. Raises CommandError where PostgreSQL does not do what it is asked."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    async def state(self) -> rebuild.State:
        """State of the projection; nothing is changed."""
        return await self._in_transaction(rebuild.state, commit=False)

    async def rebuild(self, requested_by: str, reason: str, *, recreate: bool) -> None:
        """Empties the rows, or makes the tables anew: services that project read the log from its beginning."""

        async def work(connection: Connection) -> None:
            await connection.execute("SELECT pg_advisory_xact_lock($1)", MIGRATION_LOCK)
            await rebuild.rebuild(connection, requested_by, reason, recreate=recreate)

        await self._in_transaction(work, commit=True, attempts=DEADLOCKS_MAX)

    async def until_reached(self, positions: Mapping[Place, int], timeout_s: float) -> None:
        """Returns once the rows are as far as the positions say. Raises CommandError where they are not in time."""
        deadline = time.monotonic() + timeout_s
        while True:
            reached = await self._in_transaction(read_positions, commit=False)
            behind = {place: offset for place, offset in positions.items() if reached.get(place, 0) < offset}
            if not behind:
                return
            if time.monotonic() > deadline:
                places = ", ".join(
                    f"{topic}/{n} at {reached.get((topic, n), 0)} of {at}" for (topic, n), at in behind.items()
                )
                raise CommandError(
                    f"after {timeout_s:g} s the rows are not all there again ({places}). They still come where an "
                    "orders service runs; its /health/ready says what keeps it"
                )
            await asyncio.sleep(LOOK_S)

    async def _in_transaction(
        self, work: Callable[[Connection], Awaitable[T]], *, commit: bool, attempts: int = 1
    ) -> T:
        try:
            connection = await asyncpg.connect(self._dsn, timeout=CONNECT_S, command_timeout=STATEMENT_S)
            try:
                await connection.execute("BEGIN")
                result = await work(connection)
                await connection.execute("COMMIT" if commit else "ROLLBACK")
                return result
            finally:
                connection.terminate()
        except asyncpg.DeadlockDetectedError as error:
            if attempts <= 1:
                raise CommandError("readers of the rows were in the way again and again: try once more") from error
            return await self._in_transaction(work, commit=commit, attempts=attempts - 1)
        except (*POSTGRES_AWAY, DatabaseAway) as error:
            raise CommandError(f"PostgreSQL gave no answer: {error or type(error).__name__}") from error
