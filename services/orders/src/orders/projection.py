"""The projection: PostgreSQL as a fold of the committed log.

Rows and positions go into one database transaction, so a crash anywhere leaves both or neither. Several replicas may
project side by side: who takes the lock on a partition's position first applies the records, the others find them done.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from common.contracts.events import CommandResult, Decision, ExecutionReport, LedgerEntry, OrderEvent
from common.contracts.topics import ORDERS_EVENTS, ORDERS_EXECUTIONS, RISK_DECISIONS, RISK_LEDGER, Topic
from prometheus_client import Counter
from pydantic import BaseModel
from streams.model.message import Message
from streams.process.logs import get_logger

from orders.database import Connection
from orders.stops import Place
from orders.trouble import RowRefused

_log = get_logger(__name__)

TOPICS: Final[tuple[Topic, ...]] = (ORDERS_EVENTS, ORDERS_EXECUTIONS, RISK_DECISIONS, RISK_LEDGER)
ROWS = Counter("tidemark_orders_projected_rows_total", "Records projected into PostgreSQL", ["topic"])
REFUSED = Counter("tidemark_orders_projection_refused_total", "Records that could not be decoded", ["topic"])
DECODED_AT_ONCE: Final = 100
"""Records between which requests are let in: they share the event loop."""


class LedgerGap(RowRefused):
    """An account's entries are not 1, 2, 3, …: a balance made from them would be wrong."""


async def write_records(connection: Connection, messages: Sequence[Message]) -> None:
    """Rows of records that were not projected before, topic after topic, each partition in order."""
    for topic in TOPICS:
        records = await _decoded([m for m in messages if m.topic.name == topic.name])
        if records:
            await _WRITERS[topic.name](connection, records)
            ROWS.labels(topic.name).inc(len(records))


async def read_positions(connection: Connection) -> dict[Place, int]:
    """Place → next offset, as they are committed."""
    rows = await connection.fetch("SELECT topic, partition, next_offset FROM projection_positions")
    return {(row["topic"], row["partition"]): row["next_offset"] for row in rows}


async def set_positions(connection: Connection, reached: Mapping[Place, int]) -> None:
    """In the transaction that wrote the rows."""
    await connection.execute(_SET_POSITIONS, *_columns(reached), list(reached.values()))


Record = tuple[Message, Any]
"""A record and its decoded body."""


def place_of(message: Message) -> Place:
    return message.topic.name, message.partition


def _columns(places: Iterable[Place]) -> tuple[list[str], list[int]]:
    topics, partitions = zip(*places, strict=True)
    return list(topics), list(partitions)


async def lock_positions(connection: Connection, places: Sequence[Place]) -> dict[Place, int]:
    """Place → next offset. Locked in order, so that replicas wait for each other and never in a circle."""
    rows = await connection.fetch(_LOCK_POSITIONS, *_columns(places))
    if len(rows) < len(places):
        await connection.execute(_ADD_POSITIONS, *_columns(places))
        rows = await connection.fetch(_LOCK_POSITIONS, *_columns(places))
    return {(row["topic"], row["partition"]): row["next_offset"] for row in rows}


async def _decoded(messages: Sequence[Message]) -> list[Record]:
    """Decodes records; one that cannot be decoded is counted and left out: its neighbours are projected."""
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
    await connection.execute(_INSERT_EVENTS, _json_rows([order for _, order in records]))


async def _write_executions(connection: Connection, records: Sequence[Record]) -> None:
    reports: list[ExecutionReport] = [report for _, report in records]
    if referring := [report for report in reports if report.ref_execution_id is not None]:
        await connection.execute(_COMPLETE_EXECUTIONS, _json_rows(referring))
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
    "limit_price_e4, state, cum_qty, leaves_qty, notional_e4, reason, text, revision, sent_ns, updated_ns, "
    "decided_ns, intent_offset, min_qty, expire_ns"
)
_ORDER_UPDATES: Final = ", ".join(
    f"{column} = excluded.{column}"
    for column in ("state", "cum_qty", "leaves_qty", "notional_e4", "reason", "text", "revision", "updated_ns")
)
# Rows are numbered as they come, in the order of the log: no client's clock says which order is the newer one.
_UPSERT_ORDERS: Final = f"""
    INSERT INTO orders ({ORDER_COLUMNS})
    SELECT {ORDER_COLUMNS} FROM jsonb_populate_recordset(NULL::orders, $1::jsonb)
    ON CONFLICT (order_id) DO UPDATE SET {_ORDER_UPDATES} WHERE orders.revision < excluded.revision
"""
EVENT_COLUMNS: Final = "order_id, revision, state, cum_qty, leaves_qty, notional_e4, reason, text, updated_ns"
"""Columns of an order that an event changes."""
_INSERT_EVENTS: Final = f"""
    INSERT INTO order_events ({EVENT_COLUMNS})
    SELECT {EVENT_COLUMNS} FROM jsonb_populate_recordset(NULL::order_events, $1::jsonb)
    ON CONFLICT DO NOTHING
"""
EXECUTION_COLUMNS: Final = (
    "execution_id, exec_type, order_id, account_id, symbol, side, "
    "last_qty, last_price_e4, cum_qty, leaves_qty, venue_ns, text, ref_execution_id"
)
_OF_ONE_REPORT: Final = "execution_id, order_id, account_id, exec_type, last_qty, last_price_e4, cum_qty, leaves_qty"
# Rows of busts that were made before there was a column for what they refer to, when they are read once more.
_COMPLETE_EXECUTIONS: Final = f"""
    UPDATE executions AS stored SET ref_execution_id = said.ref_execution_id
    FROM (
        SELECT DISTINCT ON ({_OF_ONE_REPORT}) * FROM jsonb_populate_recordset(NULL::executions, $1::jsonb)
    ) AS said
    WHERE stored.ref_execution_id IS NULL AND stored.exec_type IN ('TRADE_CANCEL', 'TRADE_CORRECT')
    AND ({", ".join("stored." + name for name in _OF_ONE_REPORT.split(", "))})
        = ({", ".join("said." + name for name in _OF_ONE_REPORT.split(", "))})
"""
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
    "resting, account_seq, decided_ns"
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
