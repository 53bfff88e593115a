"""The projection: PostgreSQL as a fold of the committed log.

Rows and positions go into one database transaction, so a crash anywhere leaves both or neither. Several replicas may
project side by side: who takes the lock on a partition's position first applies the records, the others find them done.

Nothing that goes wrong here concerns anybody but readers: where PostgreSQL as a whole is in trouble, the records wait;
where one record does not fit, its partition waits with it, and says which record it is.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from common.contracts.events import CommandResult, Decision, ExecutionReport, LedgerEntry, OrderEvent
from common.contracts.topics import ORDERS_EVENTS, ORDERS_EXECUTIONS, RISK_DECISIONS, RISK_LEDGER, Topic
from common.runtime.followers import Positions
from common.runtime.logs import get_logger
from common.runtime.message import Message
from prometheus_client import Counter, Gauge
from pydantic import BaseModel

from orders.database import Connection, Database
from orders.stops import Place, Stops
from orders.trouble import DatabaseAway, RowRefused, Trouble, of_whole_database

_log = get_logger(__name__)

TOPICS: Final[tuple[Topic, ...]] = (ORDERS_EVENTS, ORDERS_EXECUTIONS, RISK_DECISIONS, RISK_LEDGER)
ROWS = Counter("tidemark_orders_projected_rows_total", "Records projected into PostgreSQL", ["topic"])
REFUSED = Counter("tidemark_orders_projection_refused_total", "Records that could not be decoded", ["topic"])
DECODED_AT_ONCE: Final = 100
"""Records between which requests are let in: they share the event loop."""
LAG = Gauge("tidemark_orders_projection_lag_seconds", "Age of the newest projected record", ["topic", "partition"])


HOLES = Gauge("tidemark_orders_projection_holes", "Stretches of the log that had expired before they were projected")
LOOK_S: Final = 2.0
"""A projection without records looks this often whether PostgreSQL still has what it had, and takes writes."""


class LedgerGap(RowRefused):
    """An account's entries are not 1, 2, 3, …: a balance made from them would be wrong."""


class ProjectionSink:
    """See ``common.runtime.followers.Sink``. A partition of a topic whose next record does not fit stops alone."""

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
        holes = [
            (*place, self.reached.get(place, 0), start)
            for place, start in positions.items()
            if start > self.reached.get(place, 0)
        ]
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
        records = [m for m in messages if _place(m) in going]
        if not going:
            return
        try:
            await self._apply(records, going)
        except (RowRefused, DatabaseAway) as error:
            if isinstance(error, DatabaseAway) and of_whole_database(error.trouble):
                raise
            for place, next_offset in going.items():
                await self._apply_alone(place, [m for m in records if _place(m) == place], next_offset)
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

    async def _write(
        self, connection: Connection, messages: Sequence[Message], positions: Mapping[Place, int]
    ) -> Mapping[Place, int]:
        stored = await _lock_positions(connection, sorted(positions))
        for place, next_offset in stored.items():
            if next_offset < self.reached.get(place, 0):
                self._migrated = False
                text = f"the database went back to {next_offset} on {place}: it must be read again"
                raise DatabaseAway(Trouble.AWAY, text)
        fresh = [m for m in messages if m.offset >= stored[_place(m)]]
        for topic in TOPICS:
            records = await _decoded([m for m in fresh if m.topic.name == topic.name])
            if records:
                await _WRITERS[topic.name](connection, records)
                ROWS.labels(topic.name).inc(len(records))
        reached = {place: max(next_offset, stored[place]) for place, next_offset in positions.items()}
        await connection.execute(_SET_POSITIONS, *_columns(reached), list(reached.values()))
        return reached

    def _has_reached(self, reached: Mapping[Place, int]) -> None:
        self._looked_at = time.monotonic()
        self.reached |= reached
        self._on_projected(self.reached)
        self._moved.set()
        self._moved = asyncio.Event()

    async def moved(self) -> None:
        """Returns after the next transaction."""
        await self._moved.wait()


async def _count_holes(connection: Connection) -> int:
    count: int = await connection.fetchval("SELECT count(*) FROM projection_holes")
    return count


async def _positions(connection: Connection) -> dict[Place, int]:
    if await connection.fetchval("SELECT current_setting('transaction_read_only')") == "on":
        raise DatabaseAway(Trouble.READ_ONLY, "PostgreSQL takes no writes")
    rows = await connection.fetch("SELECT topic, partition, next_offset FROM projection_positions")
    return {(row["topic"], row["partition"]): row["next_offset"] for row in rows}


Record = tuple[Message, Any]
"""A record and its decoded body."""


def _place(message: Message) -> Place:
    return message.topic.name, message.partition


def _columns(places: Iterable[Place]) -> tuple[list[str], list[int]]:
    topics, partitions = zip(*places, strict=True)
    return list(topics), list(partitions)


async def _lock_positions(connection: Connection, places: Sequence[Place]) -> dict[Place, int]:
    """Place → next offset. Locked in order, so that replicas wait for each other and never in a circle."""
    rows = await connection.fetch(_LOCK_POSITIONS, *_columns(places))
    if len(rows) < len(places):
        await connection.execute(_ADD_POSITIONS, *_columns(places))
        rows = await connection.fetch(_LOCK_POSITIONS, *_columns(places))
    return {(row["topic"], row["partition"]): row["next_offset"] for row in rows}


async def _decoded(messages: Sequence[Message]) -> list[Record]:
    """What cannot be decoded is counted and left out: its neighbours are projected all the same."""
    records = []
    for done, message in enumerate(messages):
        if done % DECODED_AT_ONCE == DECODED_AT_ONCE - 1:
            await asyncio.sleep(0)
        try:
            if b"\\u0000" in (message.value or b""):
                raise ValueError("PostgreSQL has no place for NUL in a text")
            records.append((message, message.body))
        except ValueError as error:
            REFUSED.labels(message.topic.name).inc()
            _log.error("projection_refused", topic=message.topic.name, offset=message.offset, error=str(error))
    return records


def _json_rows(bodies: Sequence[BaseModel]) -> str:
    return "[" + ",".join(body.model_dump_json() for body in bodies) + "]"


def _placed_rows(records: Sequence[Record]) -> str:
    """Rows that carry their own place in the log."""
    rows = []
    for message, body in records:
        place = f'{{"partition":{message.partition},"record_offset":{message.offset},'
        rows.append(place + body.model_dump_json().removeprefix("{"))
    return "[" + ",".join(rows) + "]"


async def _write_orders(connection: Connection, records: Sequence[Record]) -> None:
    newest: dict[str, OrderEvent] = {}
    for _, order in records:
        if order.order_id not in newest or newest[order.order_id].revision < order.revision:
            newest[order.order_id] = order
    await connection.execute(_UPSERT_ORDERS, _json_rows(list(newest.values())))


async def _write_executions(connection: Connection, records: Sequence[Record]) -> None:
    reports: list[ExecutionReport] = [report for _, report in records]
    await connection.execute(_INSERT_EXECUTIONS, _json_rows(reports))


async def _write_decisions(connection: Connection, records: Sequence[Record]) -> None:
    decisions = [record for record in records if isinstance(record[1], Decision)]
    if decisions:
        await connection.execute(_INSERT_DECISIONS, _placed_rows(decisions))
    results = [record for record in records if isinstance(record[1], CommandResult)]
    if not results:
        return
    await connection.execute(_INSERT_COMMAND_RESULTS, _placed_rows(results))
    statuses = {result.account_id: result.status.value for _, result in results if result.status is not None}
    if statuses:
        await connection.execute(_SET_STATUSES, list(statuses), list(statuses.values()))


async def _write_ledger(connection: Connection, records: Sequence[Record]) -> None:
    entries: list[LedgerEntry] = [entry for _, entry in records]
    accounts = sorted({entry.account_id for entry in entries})
    rows = await connection.fetch(_LOCK_ACCOUNTS, accounts)
    reached = {row["account_id"]: row["ledger_seq"] for row in rows}
    fresh, again = [], []
    for entry in entries:
        expected = reached[entry.account_id] + 1
        if entry.seq > expected:
            raise LedgerGap(f"account {entry.account_id}: entry {entry.seq} follows {expected - 1}")
        if entry.seq == expected:
            reached[entry.account_id] = entry.seq
            fresh.append(entry)
        else:
            again.append(entry)
    if again:
        await _check_booked(connection, again)
    if fresh:
        await connection.execute(_BOOK_ENTRIES, _json_rows(fresh))
        await connection.execute(_SET_LEDGER_SEQ, list(reached), list(reached.values()))


async def _check_booked(connection: Connection, entries: Sequence[LedgerEntry]) -> None:
    """Entries that the account's sequence says were booked. Raises LedgerGap where one is not among the rows."""
    keys = [entry.account_id for entry in entries], [entry.seq for entry in entries]
    missing = await connection.fetchrow(_FIRST_NOT_BOOKED, *keys)
    if missing is not None:
        account_id, seq, stands_at = missing
        raise LedgerGap(f"account {account_id}: entry {seq} is not among the rows, though it stands at {stands_at}")


_FIRST_NOT_BOOKED: Final = """
    SELECT account_id, asked.seq, accounts.ledger_seq
    FROM unnest($1::text[], $2::bigint[]) AS asked (account_id, seq) JOIN accounts USING (account_id)
    WHERE NOT EXISTS (
        SELECT FROM ledger_entries AS booked WHERE (booked.account_id, booked.seq) = (asked.account_id, asked.seq)
    ) LIMIT 1
"""
_ADD_HOLE: Final = """
    INSERT INTO projection_holes (topic, partition, first_offset, end_offset) VALUES ($1, $2, $3, $4)
    ON CONFLICT DO NOTHING
"""
_LOCK_POSITIONS: Final = """
    SELECT topic, partition, next_offset FROM projection_positions
    JOIN unnest($1::text[], $2::int[]) AS asked (topic, partition) USING (topic, partition)
    ORDER BY topic, partition FOR UPDATE OF projection_positions
"""
_ADD_POSITIONS: Final = """
    INSERT INTO projection_positions
    SELECT topic, partition, 0 FROM unnest($1::text[], $2::int[]) AS asked (topic, partition) ORDER BY 1, 2
    ON CONFLICT DO NOTHING
"""
_SET_POSITIONS: Final = """
    UPDATE projection_positions AS stored SET next_offset = reached.next_offset
    FROM unnest($1::text[], $2::int[], $3::bigint[]) AS reached (topic, partition, next_offset)
    WHERE stored.topic = reached.topic AND stored.partition = reached.partition
"""
ORDER_COLUMNS: Final = (
    "order_id, account_id, client_order_id, symbol, instrument_id, side, order_type, time_in_force, qty, "
    "limit_price_e4, state, cum_qty, leaves_qty, notional_e4, reason, text, revision, sent_ns, updated_ns"
)
_ORDER_UPDATES: Final = ", ".join(
    f"{column} = excluded.{column}"
    for column in ("state", "cum_qty", "leaves_qty", "notional_e4", "reason", "text", "revision", "updated_ns")
)
_UPSERT_ORDERS: Final = f"""
    INSERT INTO orders ({ORDER_COLUMNS})
    SELECT {ORDER_COLUMNS} FROM jsonb_populate_recordset(NULL::orders, $1::jsonb) ORDER BY sent_ns, order_id
    ON CONFLICT (order_id) DO UPDATE SET {_ORDER_UPDATES} WHERE orders.revision < excluded.revision
"""
EXECUTION_COLUMNS: Final = (
    "execution_id, exec_type, order_id, account_id, symbol, side, "
    "last_qty, last_price_e4, cum_qty, leaves_qty, venue_ns, text"
)
_INSERT_EXECUTIONS: Final = f"""
    INSERT INTO executions ({EXECUTION_COLUMNS})
    SELECT {EXECUTION_COLUMNS} FROM jsonb_populate_recordset(NULL::executions, $1::jsonb)
    ON CONFLICT DO NOTHING
"""
_DECISION_COLUMNS: Final = (
    "partition, record_offset, account_id, client_order_id, order_id, accepted, reason, compared, conflict, repeat, "
    "reserved_cash_e4, reserved_qty, account_seq, decided_ns, intent_partition, intent_offset"
)
_INSERT_DECISIONS: Final = f"""
    INSERT INTO decisions ({_DECISION_COLUMNS})
    SELECT {_DECISION_COLUMNS} FROM jsonb_populate_recordset(NULL::decisions, $1::jsonb)
    ON CONFLICT DO NOTHING
"""
_RESULT_COLUMNS: Final = (
    "partition, record_offset, account_id, command_id, accepted, reason, compared, repeat, status, "
    "account_seq, decided_ns"
)
_INSERT_COMMAND_RESULTS: Final = f"""
    INSERT INTO command_results ({_RESULT_COLUMNS})
    SELECT {_RESULT_COLUMNS} FROM jsonb_populate_recordset(NULL::command_results, $1::jsonb)
    ON CONFLICT DO NOTHING
"""
_SET_STATUSES: Final = """
    INSERT INTO accounts (account_id, status)
    SELECT account_id, status FROM unnest($1::text[], $2::text[]) AS said (account_id, status) ORDER BY account_id
    ON CONFLICT (account_id) DO UPDATE SET status = excluded.status
"""
_LOCK_ACCOUNTS: Final = """
    INSERT INTO accounts (account_id) SELECT unnest($1::text[])
    ON CONFLICT (account_id) DO UPDATE SET ledger_seq = accounts.ledger_seq
    RETURNING account_id, ledger_seq
"""
ENTRY_COLUMNS: Final = "account_id, seq, kind, postings, order_id, command_id, execution_id, booked_ns"
_BOOK_ENTRIES: Final = f"""
    WITH entries AS (SELECT {ENTRY_COLUMNS} FROM jsonb_populate_recordset(NULL::ledger_entries, $1::jsonb)),
    booked AS (INSERT INTO ledger_entries ({ENTRY_COLUMNS}) SELECT {ENTRY_COLUMNS} FROM entries)
    INSERT INTO balances (account_id, book, asset, amount)
    SELECT account_id, posting.book, posting.asset, sum(posting.amount)
    FROM entries, jsonb_to_recordset(postings) AS posting (book text, asset text, amount numeric)
    GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    ON CONFLICT (account_id, book, asset) DO UPDATE SET amount = balances.amount + excluded.amount
"""
_SET_LEDGER_SEQ: Final = """
    UPDATE accounts SET ledger_seq = said.seq
    FROM unnest($1::text[], $2::bigint[]) AS said (account_id, seq) WHERE accounts.account_id = said.account_id
"""

_WRITERS: Final[Mapping[str, Callable[[Connection, Sequence[Record]], Awaitable[None]]]] = {
    ORDERS_EVENTS.name: _write_orders,
    ORDERS_EXECUTIONS.name: _write_executions,
    RISK_DECISIONS.name: _write_decisions,
    RISK_LEDGER.name: _write_ledger,
}
