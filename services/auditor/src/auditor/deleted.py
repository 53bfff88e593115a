"""Rows that were deleted from the projection: nobody of ours deletes any, and what is gone leaves nothing to be found.

PostgreSQL counts the rows that were deleted from each table, and says so a second or more later (``track_counts``).
Where a count has grown, the keys of the table are read from end to end, each with the version that its rows stand at,
and those that are behind the log are compared at once. A table that has become large is left to the walks, which then
take more rows until a round of it is done.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Final, NamedTuple, TypeAlias

import asyncpg

from auditor.domain.compare import Kind
from auditor.domain.place import Place
from auditor.row_keys import Block, RowKeys
from auditor.truth import BLOCK_OFFSETS, LogTruth

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
HASTE: Final = 8
"""Rows of such a look, in multiples of those of other looks."""
HASTE_LOOKS: Final = 8
_DELETED: Final = """
    SELECT relname::text, n_tup_del, pg_relation_size(relid) FROM pg_stat_user_tables
    WHERE schemaname = current_schema()
"""


class Versions(NamedTuple):
    """Statement for (key, version) of a table's rows, as the fold of a kind counts them.

    ``keys_max``: keys that are compared at a look for what the table lost; less where a key has many rows.
    """

    kind: str
    statement: str
    compared: Callable[[Iterable[str]], RowKeys]
    keys_max: int = 200


def _orders(keys: Iterable[str]) -> RowKeys:
    return RowKeys(orders=frozenset(keys))


def _by_block(table: str) -> str:
    return f"""
        SELECT concat(partition, '/', record_offset / {BLOCK_OFFSETS} * {BLOCK_OFFSETS}), count(*)
        FROM {table} GROUP BY 1
    """


def _block(key: str) -> Block:
    partition, _, first_offset = key.partition("/")
    return Block(int(partition), int(first_offset))


TABLES: Final[Mapping[str, Versions | None]] = {
    "accounts": Versions(
        Kind.ACCOUNT, "SELECT account_id, ledger_seq FROM accounts", lambda keys: RowKeys(accounts=frozenset(keys))
    ),
    "balances": None,
    "orders": Versions(Kind.ORDER, "SELECT order_id, revision FROM orders", _orders),
    "order_events": Versions(Kind.HISTORY, "SELECT order_id, count(*) FROM order_events GROUP BY 1", _orders),
    "executions": Versions(
        Kind.EXECUTION, "SELECT execution_id, 1 FROM executions", lambda keys: RowKeys(executions=frozenset(keys))
    ),
    "ledger_entries": Versions(
        Kind.ENTRY_ROWS,
        "SELECT account_id, count(*) FROM ledger_entries GROUP BY 1",
        lambda keys: RowKeys(entry_accounts=frozenset(keys)),
        8,
    ),
    "decisions": Versions(
        Kind.DECISIONS, _by_block("decisions"), lambda keys: RowKeys(decisions=frozenset(map(_block, keys))), 1
    ),
    "command_results": Versions(
        Kind.RESULTS, _by_block("command_results"), lambda keys: RowKeys(results=frozenset(map(_block, keys))), 1
    ),
}
"""None: the rows of a key have no version; the walks find what is gone."""


class DeletedRows:
    """Remembers the counts of the look before. ``bytes_max``: size from which a table is not read from end to end."""

    def __init__(self, truth: LogTruth, bytes_max: int) -> None:
        self._truth = truth
        self._bytes_max = bytes_max
        self._counts: dict[str, int] = {}
        self._looks_left = 0

    @property
    def haste(self) -> int:
        """How many times its usual rows the next look takes."""
        return HASTE if self._looks_left else 1

    async def look(self, connection: Connection, reached: Callable[[str, Place], bool]) -> RowKeys:
        """Keys that lack rows. Counts that have become smaller were reset, with a crash of the server or by hand;
        that says nothing.
        """
        rows = [row for row in await connection.fetch(_DELETED) if row[0] in TABLES]
        grown = [(table, size) for table, count, size in rows if count > self._counts.get(table, count)]
        self._counts = {table: count for table, count, _ in rows}
        self._looks_left = max(0, self._looks_left - 1)
        lacking = RowKeys()
        for table, size in grown:
            versions = TABLES[table]
            if versions is None or size > self._bytes_max:
                self._looks_left = HASTE_LOOKS
            else:
                lacking |= await self._lacking(connection, versions, reached)
        return lacking

    async def _lacking(
        self, connection: Connection, versions: Versions, reached: Callable[[str, Place], bool]
    ) -> RowKeys:
        kind, statement, compared, keys_max = versions
        stored: dict[str, int] = {row[0]: row[1] for row in await connection.fetch(statement)}
        fold = self._truth.folds[kind]
        behind = (
            key
            for key in fold.known()
            if stored.get(key, 0) < fold.newest(key) and reached(kind, self._truth.place(kind, key))
        )
        return compared(islice(behind, keys_max))
