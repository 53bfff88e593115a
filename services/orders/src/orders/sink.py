"""The projection's sink: transactions, positions, and what is done where PostgreSQL does not take them.

Nothing that goes wrong here concerns anybody but readers: where PostgreSQL as a whole is in trouble, the records wait;
where one record does not fit, its partition waits with it, and says which record it is.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from prometheus_client import Gauge
from streams.edges.followers import Positions
from streams.model.message import Message
from streams.process.logs import get_logger

from orders.database import Connection, Database
from orders.projection import lock_positions, place_of, read_positions, set_positions, write_records
from orders.stops import Place, Stops
from orders.trouble import DatabaseAway, RowRefused, Trouble, of_whole_database

_log = get_logger(__name__)

LAG = Gauge("tidemark_orders_projection_lag_seconds", "Age of the newest projected record", ["topic", "partition"])
HOLES = Gauge("tidemark_orders_projection_holes", "Stretches of the log that had expired before they were projected")
LOOK_S: Final = 2.0
"""A projection without records looks this often whether PostgreSQL still has what it had, and takes writes."""
_ADD_HOLE: Final = """
    INSERT INTO projection_holes (topic, partition, first_offset, end_offset) VALUES ($1, $2, $3, $4)
    ON CONFLICT DO NOTHING
"""


class ProjectionSink:
    """See ``streams.edges.followers.Sink``. A partition of a topic whose next record does not fit stops alone."""

    def __init__(self, database: Database, on_projected: Callable[[Positions], None] = lambda _reached: None) -> None:
        self._database = database
        self._on_projected = on_projected
        self._migrated = False
        self._moved = asyncio.Event()
        self._looked_at = 0.0
        self.reached: dict[Place, int] = {}
        """Place → next offset, as it was committed last."""
        self.stops = Stops()
        self.holes = 0
        """Stretches of the log that it did not keep until they were read: their rows are missing."""
        HOLES.set_function(lambda: self.holes)

    async def positions(self) -> Mapping[Place, int]:
        """Brings the schema up to date first. Raises DatabaseAway."""
        if not self._migrated:
            await self._database.migrate()
            self._migrated = True
        try:
            stored = await self._database.transaction(_positions)
        except DatabaseAway:
            self._migrated = False
            raise
        self.holes = await self._database.transaction(_count_holes)
        self.stops.begin_anew(stored)
        self.reached.clear()
        self._has_reached(stored)
        return dict(stored)

    async def on_started(self, positions: Positions) -> None:
        """Says what the topics do not keep any more: rows of those records can never be made."""
        read = {place: self.reached.get(place, 0) for place in positions}
        if any(start > read[place] for place, start in positions.items()):
            read |= await self._database.transaction(_read_before)
        holes = [(*place, read[place], start) for place, start in positions.items() if start > read[place]]
        if holes:
            _log.error("projection_hole", holes=[f"{topic}/{n}: {first} to {end}" for topic, n, first, end in holes])
            await self._database.transaction(lambda connection: connection.executemany(_ADD_HOLE, holes))
            self.holes = await self._database.transaction(_count_holes)

    async def wants_anew(self) -> bool:
        """Whether a partition that stopped is to be tried again, or the rows are of an earlier time than they were.

        Raises DatabaseAway where PostgreSQL could take no record now: it is better known before one comes.
        """
        if self.stops.is_due():
            return True
        if time.monotonic() - self._looked_at < LOOK_S:
            return False
        stored = await self._database.transaction(_positions)
        self._looked_at = time.monotonic()
        return any(stored.get(place, 0) < next_offset for place, next_offset in self.reached.items())

    async def apply(self, messages: Sequence[Message], positions: Mapping[Place, int]) -> None:
        """One transaction; where a record does not fit, one for each partition, and the one with it stops before it.

        Raises DatabaseAway where nothing, or not everything, happened for want of the database.
        """
        going = {place: offset for place, offset in positions.items() if place not in self.stops.waiting}
        records = [m for m in messages if place_of(m) in going]
        if not going:
            return
        try:
            await self._apply(records, going)
        except (RowRefused, DatabaseAway) as error:
            if isinstance(error, DatabaseAway) and of_whole_database(error.trouble):
                raise
            for place, next_offset in going.items():
                await self._apply_alone(place, [m for m in records if place_of(m) == place], next_offset)
        for message in messages[-1:]:
            LAG.labels(message.topic.name, message.partition).set(time.time() - message.timestamp_ms / 1000)

    async def _apply_alone(self, place: Place, messages: Sequence[Message], next_offset: int) -> None:
        """Record after record where they do not fit together, until the one that does not fit at all."""
        try:
            await self._apply(messages, {place: next_offset})
        except (RowRefused, DatabaseAway) as error:
            if isinstance(error, DatabaseAway) and of_whole_database(error.trouble):
                raise
        else:
            return
        for message in messages:
            try:
                await self._apply([message], {place: message.offset + 1})
            except (RowRefused, DatabaseAway) as error:
                if isinstance(error, DatabaseAway) and of_whole_database(error.trouble):
                    raise
                self._migrated = False
                self.stops.stop(place, message, str(error))
                return

    async def _apply(self, messages: Sequence[Message], positions: Mapping[Place, int]) -> None:
        reached = await self._database.transaction(lambda connection: self._write(connection, messages, positions))
        for place in reached:
            self.stops.go_on(place)
        self._has_reached(reached)
        # Not what the rows' positions say: of a log that was made anew they know nothing.
        self._on_projected(positions)

    async def _write(
        self, connection: Connection, messages: Sequence[Message], positions: Mapping[Place, int]
    ) -> Mapping[Place, int]:
        stored = await lock_positions(connection, sorted(positions))
        for place, next_offset in stored.items():
            if next_offset < self.reached.get(place, 0):
                self._migrated = False
                text = f"the database went back to {next_offset} on {place}: it must be read again"
                raise DatabaseAway(Trouble.AWAY, text)
        await write_records(connection, [m for m in messages if m.offset >= stored[place_of(m)]])
        reached = {place: max(next_offset, stored[place]) for place, next_offset in positions.items()}
        await set_positions(connection, reached)
        return reached

    def _has_reached(self, reached: Mapping[Place, int]) -> None:
        self._looked_at = time.monotonic()
        self.reached |= reached
        self._moved.set()
        self._moved = asyncio.Event()

    async def moved(self) -> None:
        """Returns after the next transaction."""
        await self._moved.wait()


async def _count_holes(connection: Connection) -> int:
    count: int = await connection.fetchval("SELECT count(*) FROM projection_holes")
    return count


async def _read_before(connection: Connection) -> dict[Place, int]:
    """Places that are read once more → how far rows were made of them before."""
    rows = await connection.fetch(
        "SELECT topic, partition, read_before FROM projection_positions WHERE read_before > next_offset"
    )
    return {(row["topic"], row["partition"]): row["read_before"] for row in rows}


async def _positions(connection: Connection) -> dict[Place, int]:
    if await connection.fetchval("SELECT current_setting('transaction_read_only')") == "on":
        raise DatabaseAway(Trouble.READ_ONLY, "PostgreSQL takes no writes")
    return await read_positions(connection)
