"""Rows of the projection that were written since the look before, whoever wrote them.

PostgreSQL keeps with each row the transaction that made it (``xmin``). Those since the look before are few, so that a
row edited by hand is compared at the next look, however many rows the walks still have before them. A table is read
from end to end for that; one that has become large is left to the walks. A deleted row leaves nothing to be found.
"""

from dataclasses import dataclass, field
from typing import Final, TypeAlias

import asyncpg
from common.contracts.topics import RISK_DECISIONS

from auditor.domain.place import Positions
from auditor.row_keys import Block, RowKeys
from auditor.truth import BLOCK_OFFSETS

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
ACCOUNTS_MAX: Final = 8
"""Accounts whose entries are read as a whole for one entry that was written, at a look."""
_NOW: Final = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text"


def _written_since(table: str) -> str:
    """Condition on a table's rows: $1 is the transaction, $2 the size in bytes from which the table is not read."""
    return f"(SELECT pg_relation_size('{table}')) <= $2 AND age(xmin) <= age($1::text::xid)"


_ORDERS: Final = f"SELECT order_id FROM orders WHERE {_written_since('orders')} LIMIT $3"
_EVENTS: Final = f"SELECT DISTINCT order_id FROM order_events WHERE {_written_since('order_events')} LIMIT $3"
_EXECUTIONS: Final = f"SELECT execution_id FROM executions WHERE {_written_since('executions')} LIMIT $3"
_ENTRIES: Final = f"""
    SELECT account_id FROM ledger_entries WHERE {_written_since("ledger_entries")}
    GROUP BY account_id ORDER BY min(seq) LIMIT $3
"""


def _answers(table: str) -> str:
    return f"""
        SELECT partition, record_offset / {BLOCK_OFFSETS} * {BLOCK_OFFSETS} AS first_offset, min(record_offset)
        FROM {table} WHERE {_written_since(table)} GROUP BY 1, 2 ORDER BY 3
    """


@dataclass(slots=True)
class WrittenRows:
    """Remembers at which transaction, and at which positions of the projection, the look before began."""

    bytes_max: int
    _transaction: str = ""
    _positions: Positions = field(default_factory=dict)

    async def look(self, connection: Connection, positions: Positions, rows_max: int) -> RowKeys:
        """To be called in the transaction of a look, whose snapshot the next call begins from. Nothing at the first."""
        transaction, self._transaction = self._transaction, await connection.fetchval(_NOW)
        before, self._positions = self._positions, dict(positions)
        if not transaction:
            return RowKeys()

        async def keys(statement: str, most: int) -> list[str]:
            return [row[0] for row in await connection.fetch(statement, transaction, self.bytes_max, most)]

        async def blocks(table: str) -> frozenset[Block]:
            """Blocks with rows that the projection had made before; new rows are met by the walk."""
            rows = await connection.fetch(_answers(table), transaction, self.bytes_max)
            known = [Block(row[0], row[1]) for row in rows if row[2] < before.get((RISK_DECISIONS.name, row[0]), 0)]
            return frozenset(known[:1])

        return RowKeys(
            orders=frozenset([*await keys(_ORDERS, rows_max), *await keys(_EVENTS, rows_max)]),
            executions=frozenset(await keys(_EXECUTIONS, rows_max)),
            entry_accounts=frozenset(await keys(_ENTRIES, ACCOUNTS_MAX)),
            decisions=await blocks("decisions"),
            results=await blocks("command_results"),
        )
