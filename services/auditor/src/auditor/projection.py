"""Rows of the projection in PostgreSQL. Each look is one transaction, and sees how far the rows are complete."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import asyncpg
from common.contracts.topics import ORDERS_EVENTS, ORDERS_EXECUTIONS, RISK_DECISIONS, RISK_LEDGER
from common.ledger.digests import ORDER_EVENTS, Rows, digest_sql
from common.ledger.fold import Balance, nonzero
from common.ledger.rows import ExecutionRow, OrderRow, stored_order
from common.postgres import POSTGRES_AWAY

from auditor.deleted import DeletedRows
from auditor.domain.compare import Kind, Look, Seen
from auditor.domain.place import Place, Positions
from auditor.domain.statuses import StatusRow
from auditor.truth import LogTruth
from auditor.walks import Connection, EntryWalk, answer_walks
from auditor.written import WrittenRows

STORE = "postgres"
TIMEOUT_S = 5.0
TOPIC_OF: Final[Mapping[str, str]] = {
    Kind.ACCOUNT: RISK_LEDGER.name,
    Kind.ENTRIES: RISK_LEDGER.name,
    Kind.ENTRY_ROWS: RISK_LEDGER.name,
    Kind.ORDER: ORDERS_EVENTS.name,
    Kind.HISTORY: ORDERS_EVENTS.name,
    Kind.EXECUTION: ORDERS_EXECUTIONS.name,
    Kind.DECISIONS: RISK_DECISIONS.name,
    Kind.RESULTS: RISK_DECISIONS.name,
}

_ACCOUNTS = "SELECT account_id, ledger_seq, status FROM accounts WHERE account_id = ANY($1)"
_BALANCES = "SELECT account_id, book, asset, amount FROM balances WHERE account_id = ANY($1)"
_ORDERS = f"SELECT order_id, revision, {', '.join(OrderRow._fields)} FROM orders WHERE order_id = ANY($1)"
_HISTORIES = f"""
    SELECT order_id, count(*)::int, sum({digest_sql(ORDER_EVENTS)}) FROM order_events
    WHERE order_id = ANY($1) GROUP BY order_id
"""
_EXECUTIONS = f"SELECT execution_id, {', '.join(ExecutionRow._fields)} FROM executions WHERE execution_id = ANY($1)"
_EXECUTION_PAGE = "SELECT execution_id FROM executions WHERE execution_id > $1 ORDER BY execution_id LIMIT $2"
_ACCOUNT_PAGE = "SELECT account_id FROM accounts WHERE account_id > $1 ORDER BY account_id LIMIT $2"


@dataclass(frozen=True, slots=True)
class Asked:
    """Which rows a look asks for; the walks come by on their own."""

    accounts: Iterable[str]
    orders: Iterable[str]
    executions: Iterable[str]
    rows_max: int
    walk_rows_max: int = 5_000


class ProjectionRows:
    """Keeps a connection, and how far the walks through the tables are."""

    def __init__(self, dsn: str, truth: LogTruth, read_bytes_max: int = 64 * 1024 * 1024) -> None:
        self._dsn = dsn
        self._truth = truth
        self._connection: Connection | None = None
        self._account_cursor = self._execution_cursor = ""
        self._written = WrittenRows(read_bytes_max)
        self._deleted = DeletedRows(truth, read_bytes_max)
        self._entries = EntryWalk(truth.entries)
        self._answers = answer_walks(truth.decisions, truth.results)

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    @property
    def haste(self) -> int:
        """How many times its usual rows the next look is to take, see ``deleted``."""
        return self._deleted.haste

    async def look(self, asked: Asked) -> Look:
        """Raises OSError where PostgreSQL does not answer, or has no projection yet."""
        try:
            if self._connection is None:
                self._connection = await asyncpg.connect(self._dsn, timeout=TIMEOUT_S, command_timeout=TIMEOUT_S)
            connection = self._connection
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                stood = await connection.fetch("SELECT topic, partition, next_offset FROM projection_positions")
                positions = {(row["topic"], row["partition"]): row["next_offset"] for row in stood}

                def reached(kind: str, place: Place) -> bool:
                    return bool(positions.get((TOPIC_OF[kind], place.partition), 0) > place.offset)

                now = await self._deleted.look(connection, reached)
                now |= await self._written.look(connection, positions, asked.rows_max)
                rows = await self._accounts(connection, {*asked.accounts, *now.accounts}, positions, asked.rows_max)
                rows += await self._orders(connection, {*asked.orders, *now.orders})
                rows += await self._executions(connection, {*asked.executions, *now.executions}, asked.rows_max)
                rows += await self._entries.look(connection, asked.walk_rows_max, reached)
                rows += await self._entries.of(connection, now.entry_accounts)
                for walk, blocks in zip(self._answers, (now.decisions, now.results), strict=True):
                    rows += await walk.look(connection, asked.walk_rows_max, reached, self._truth.starts)
                    rows += await walk.of(connection, blocks, self._truth.starts)
        except POSTGRES_AWAY as error:
            await self.close()
            raise OSError(f"PostgreSQL gave no answer: {error or type(error).__name__}") from error
        return Look(STORE, rows, reached)

    async def _accounts(
        self, connection: Connection, asked: set[str], positions: Positions, rows_max: int
    ) -> list[Seen]:
        page = [row["account_id"] for row in await connection.fetch(_ACCOUNT_PAGE, self._account_cursor, rows_max)]
        self._account_cursor = page[-1] if len(page) == rows_max else ""
        keys = list({*asked, *(key for key in page if key not in self._truth.accounts.accounts)})
        amounts: dict[str, dict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
        for row in await connection.fetch(_BALANCES, keys):
            amounts[row["account_id"]][row["book"]][row["asset"]] = int(row["amount"])
        stored = {row["account_id"]: row for row in await connection.fetch(_ACCOUNTS, keys)}
        seen = []
        for key in keys:
            if key not in stored:
                seen.append(Seen(Kind.ACCOUNT, key, 0, None))
                continue
            seq = stored[key]["ledger_seq"]
            seen.append(Seen(Kind.ACCOUNT, key, seq, _balance(seq, amounts[key])))
            partition = self._truth.statuses.partition_of(key)
            if partition is not None:
                read_to = positions.get((RISK_DECISIONS.name, partition), 0)
                seen.append(Seen(Kind.STATUS, key, read_to, StatusRow(stored[key]["status"])))
        return seen

    async def _orders(self, connection: Connection, keys: set[str]) -> list[Seen]:
        """Each order's newest state, and all columns of all of its events."""
        if not keys:
            return []
        rows = {row[0]: row for row in await connection.fetch(_ORDERS, keys)}
        seen = [
            Seen(Kind.ORDER, key, rows[key][1], stored_order(rows[key][2:]))
            if key in rows
            else Seen(Kind.ORDER, key, 0, None)
            for key in keys
        ]
        events = {row[0]: Rows.of(row[1], int(row[2])) for row in await connection.fetch(_HISTORIES, keys)}
        seen += [Seen(Kind.HISTORY, key, events[key].number if key in events else 0, events.get(key)) for key in keys]
        return seen

    async def _executions(self, connection: Connection, asked: set[str], rows_max: int) -> list[Seen]:
        """The rows of the keys, and of those among the next ones that the log does not know."""
        page = [row[0] for row in await connection.fetch(_EXECUTION_PAGE, self._execution_cursor, rows_max)]
        self._execution_cursor = page[-1] if len(page) == rows_max else ""
        keys = {*asked, *(key for key in page if key not in self._truth.executions)}
        rows: dict[str, ExecutionRow] = {}
        for row in await connection.fetch(_EXECUTIONS, keys):
            found = ExecutionRow._make(row[1:])
            if row[0] not in rows or found == self._truth.executions.at(row[0], 1):
                rows[row[0]] = found
        return [Seen(Kind.EXECUTION, key, int(key in rows), rows.get(key)) for key in keys]


def _balance(seq: int, amounts: Mapping[str, Mapping[str, int]]) -> Balance:
    return Balance(seq, nonzero(amounts.get("AVAILABLE", {})), nonzero(amounts.get("RESERVED", {})))
