"""Whether rows of the projection were deleted: nobody of ours deletes any, and only a walk misses one that is gone.

PostgreSQL counts the rows that were deleted from each table, and says so a second or more later (``track_counts``).
When a count has grown, the looks that follow take more rows, until a round of a large table is done.
"""

from typing import Final

from auditor.walks import Connection

HASTE: Final = 8
"""Rows of such a look, in multiples of those of other looks."""
HASTE_LOOKS: Final = 8
TABLES: Final = (
    *("accounts", "balances", "ledger_entries", "decisions"),
    *("command_results", "orders", "order_events", "executions"),
)
_DELETED: Final = "SELECT relid::bigint, n_tup_del FROM pg_stat_user_tables WHERE relname = ANY($1)"


class DeletedRows:
    """Remembers the counts of the look before."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._looks_left = 0

    @property
    def haste(self) -> int:
        """How many times its usual rows the next look takes."""
        return HASTE if self._looks_left else 1

    async def look(self, connection: Connection) -> None:
        """Counts that have become smaller were reset, with a crash of the server or by hand; that says nothing."""
        counts = {row[0]: row[1] for row in await connection.fetch(_DELETED, TABLES)}
        grown = any(count > self._counts.get(table, count) for table, count in counts.items())
        self._counts = counts
        self._looks_left = HASTE_LOOKS if grown else max(0, self._looks_left - 1)
