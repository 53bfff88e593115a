"""The projection's rows, thrown away and made anew from the log; the services need not stop.

Everything happens in one transaction, under the locks that projecting takes: a projection that runs notices that its
positions went back, and reads the log from there.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from orders.database import Connection, apply_migrations, migrations
from orders.projection import read_positions
from orders.stops import Place

KEPT: Final = "projection_rebuilds"
"""The record of rebuilds outlives them."""
MIGRATED: Final = "schema_migrations"
LOCK_S: Final = 30
_CREATED: Final = re.compile(r"^CREATE TABLE (?:IF NOT EXISTS )?(\w+)", re.MULTILINE)
_INDEXED: Final = re.compile(r"^CREATE (?:UNIQUE )?INDEX (\w+)", re.MULTILINE)
_PROBE: Final = "tidemark_expected_schema"


@dataclass(frozen=True, slots=True)
class State:
    """State of the projection's rows in PostgreSQL."""

    rows: Mapping[str, int | None]
    """Table → number of rows; None: there is no such table."""
    positions: Mapping[Place, int]
    holes: Sequence[tuple[str, int, int, int]]
    """(topic, partition, first offset, end offset) of records that the log did not keep until they were read."""
    rebuilds: Sequence[tuple[str, str, str]]
    """(time, by whom, why), newest first."""
    wrong_columns: Sequence[str]
    """``table.column`` that is missing, or is not what the migrations make it."""


def tables() -> list[str]:
    """Every table that the migrations make, in their order."""
    return [name for _, _, statements in migrations() for name in _CREATED.findall(statements)]


def _indexes() -> list[str]:
    return [name for _, _, statements in migrations() for name in _INDEXED.findall(statements)]


async def state(connection: Connection) -> State:
    """Within a transaction that may write: to know what the columns should be, it makes them and rolls that back."""
    there = [name for name in tables() if await connection.fetchval("SELECT to_regclass($1)", name) is not None]
    rows = {name: await connection.fetchval(f"SELECT count(*) FROM {name}") for name in there}
    positions: dict[Place, int] = {}
    if "projection_positions" in there:
        positions = await read_positions(connection)
    holes = []
    if "projection_holes" in there:
        ask = "SELECT topic, partition, first_offset, end_offset FROM projection_holes ORDER BY 1, 2, 3"
        holes = [tuple(row) for row in await connection.fetch(ask)]
    rebuilds = []
    if KEPT in there:
        ask = f"SELECT began_at::text, requested_by, reason FROM {KEPT} ORDER BY began_at DESC LIMIT 10"
        rebuilds = [tuple(row) for row in await connection.fetch(ask)]
    whole = {name: rows.get(name) for name in tables()}
    return State(whole, positions, holes, rebuilds, await _wrong_columns(connection))


async def _wrong_columns(connection: Connection) -> list[str]:
    own = await connection.fetchval("SELECT current_schema()")
    await connection.execute("SAVEPOINT probe")
    try:
        await connection.execute(f"CREATE SCHEMA {_PROBE}")
        await connection.execute(f"SET LOCAL search_path = {_PROBE}")
        for _, _, statements in migrations():
            await connection.execute(statements)
        differing = await connection.fetch(_WRONG_COLUMNS, _PROBE, own)
    except (asyncpg.ReadOnlySQLTransactionError, asyncpg.InsufficientPrivilegeError):
        differing = []  # it cannot be told here, and can be neither made right
    await connection.execute("ROLLBACK TO SAVEPOINT probe")
    return [f"{row['table_name']}.{row['column_name']}" for row in differing]


async def rebuild(connection: Connection, requested_by: str, reason: str, *, recreate: bool) -> None:
    """Within a transaction: empties the rows, or with ``recreate`` makes the tables anew, and records that it did.

    What others have attached to the tables, grants and views, stays where they are only emptied. Raises what PostgreSQL
    says; a deadlock, which readers of several tables may cause, is a reason to ask again.
    """
    await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_S}s'")
    there = [name for name in tables() if await connection.fetchval("SELECT to_regclass($1)", name) is not None]
    # Positions are made first, and projecting locks them first: whoever comes later waits there, and holds nothing.
    if there:
        await connection.execute(f"LOCK TABLE {', '.join(there)} IN ACCESS EXCLUSIVE MODE")
    before = await state(connection)
    there = [name for name in there if name != KEPT]
    if recreate:
        await connection.execute(f"DROP TABLE IF EXISTS {', '.join([*there, MIGRATED])} CASCADE")
        # A table that was renamed keeps its indexes, and they keep their names.
        await connection.execute(f"DROP INDEX IF EXISTS {', '.join(_indexes())}")
        await apply_migrations(connection)
    else:
        await connection.execute(f"TRUNCATE {', '.join(there)} RESTART IDENTITY")
    await connection.execute(
        f"INSERT INTO {KEPT} (requested_by, reason, rows_before) VALUES ($1, $2, $3)",
        requested_by,
        reason,
        json.dumps(before.rows),
    )


_WRONG_COLUMNS: Final = """
    SELECT expected.table_name, expected.column_name
    FROM (SELECT * FROM information_schema.columns WHERE table_schema = $1) AS expected
    LEFT JOIN (SELECT * FROM information_schema.columns WHERE table_schema = $2) AS found
        ON (found.table_name, found.column_name) = (expected.table_name, expected.column_name)
    WHERE (found.data_type, found.is_nullable, found.is_identity)
        IS DISTINCT FROM (expected.data_type, expected.is_nullable, expected.is_identity)
    ORDER BY expected.table_name, expected.ordinal_position
"""
