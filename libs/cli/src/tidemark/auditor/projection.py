"""Rows of the projection in PostgreSQL. Each look is one transaction, and sees how far the rows are complete."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import asyncpg
from common.contracts.topics import ORDERS_EVENTS, RISK_LEDGER

from tidemark.audit.fold import Balance, nonzero
from tidemark.audit.rows import OrderRow
from tidemark.auditor.compare import ACCOUNT, ENTRIES, ORDER, Look, Seen
from tidemark.auditor.truth import Place
from tidemark.postgres import POSTGRES_AWAY

STORE = "postgres"
TIMEOUT_S = 5.0
TOPIC_OF = {ACCOUNT: RISK_LEDGER.name, ENTRIES: RISK_LEDGER.name, ORDER: ORDERS_EVENTS.name}
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

_ACCOUNTS = "SELECT account_id, ledger_seq FROM accounts WHERE account_id = ANY($1)"
_BALANCES = "SELECT account_id, book, asset, amount FROM balances WHERE account_id = ANY($1)"
_ORDERS = f"SELECT order_id, revision, {', '.join(OrderRow._fields)} FROM orders WHERE order_id = ANY($1)"
_ACCOUNT_PAGE = "SELECT account_id FROM accounts WHERE account_id > $1 ORDER BY account_id LIMIT $2"
_ENTRY_PAGE = """
    SELECT account_id, seq, postings FROM ledger_entries WHERE (account_id, seq) > ($1, $2)
    ORDER BY account_id, seq LIMIT $3
"""


class _EntryWalk:
    """Folds the projection's own copy of the ledger, page after page, and says what each account comes to."""

    def __init__(self) -> None:
        self.account_id = ""
        self.seq = 0
        self._broken = ""
        self._amounts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))

    def take(self, account_id: str, seq: int, postings: str) -> Seen | None:
        """Takes the next entry; returns the account before where another begins."""
        done = self.finished() if account_id != self.account_id else None
        if done is not None or account_id != self.account_id:
            self._begin(account_id)
        if seq != self.seq + 1 and not self._broken:
            self._broken = f"entry {seq} follows {self.seq}"
        self.seq = seq
        try:
            for posting in json.loads(postings):
                self._amounts[posting["book"]][posting["asset"]] += posting["amount"]
        except (ValueError, TypeError, KeyError) as error:
            self._broken = self._broken or f"entry {seq} has other postings: {error!r}"
        return done

    def finished(self) -> Seen | None:
        """The account that was walked through."""
        if not self.account_id:
            return None
        balance = Balance(self.seq, nonzero(self._amounts["AVAILABLE"]), nonzero(self._amounts["RESERVED"]))
        return Seen(ENTRIES, self.account_id, self.seq, self._broken or balance)

    def _begin(self, account_id: str) -> None:
        self.account_id, self.seq, self._broken = account_id, 0, ""
        self._amounts.clear()


class ProjectionRows:
    """Keeps a connection, and how far the walks through the tables are."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: Connection | None = None
        self._cursor = ""
        self._walk = _EntryWalk()

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def look(
        self, accounts: Iterable[str], orders: Iterable[str], known: Callable[[str], bool], rows_max: int
    ) -> Look:
        """Raises OSError where PostgreSQL does not answer, or has no projection yet."""
        try:
            if self._connection is None:
                self._connection = await asyncpg.connect(self._dsn, timeout=TIMEOUT_S, command_timeout=TIMEOUT_S)
            connection = self._connection
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                reached = await connection.fetch("SELECT topic, partition, next_offset FROM projection_positions")
                rows = await self._accounts(connection, list(accounts), known, rows_max)
                rows += await self._orders(connection, list(orders))
                rows += await self._entries(connection, rows_max)
        except POSTGRES_AWAY as error:
            await self.close()
            raise OSError(f"PostgreSQL gave no answer: {error or type(error).__name__}") from error
        positions = {(row["topic"], row["partition"]): row["next_offset"] for row in reached}
        return Look(STORE, rows, lambda kind, place: _has(positions, kind, place))

    async def _accounts(
        self, connection: Connection, keys: list[str], known: Callable[[str], bool], rows_max: int
    ) -> list[Seen]:
        page = [row["account_id"] for row in await connection.fetch(_ACCOUNT_PAGE, self._cursor, rows_max)]
        self._cursor = page[-1] if len(page) == rows_max else ""
        keys = list({*keys, *(key for key in page if not known(key))})
        amounts: dict[str, dict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
        for row in await connection.fetch(_BALANCES, keys):
            amounts[row["account_id"]][row["book"]][row["asset"]] = int(row["amount"])
        seqs = {row["account_id"]: row["ledger_seq"] for row in await connection.fetch(_ACCOUNTS, keys)}
        return [
            Seen(ACCOUNT, key, seqs[key], _balance(seqs[key], amounts[key]))
            if key in seqs
            else Seen(ACCOUNT, key, 0, None)
            for key in keys
        ]

    async def _orders(self, connection: Connection, keys: list[str]) -> list[Seen]:
        rows = {row[0]: row for row in await connection.fetch(_ORDERS, keys)} if keys else {}
        return [
            Seen(ORDER, key, rows[key][1], OrderRow._make([*rows[key][2:9], int(rows[key][9])]))
            if key in rows
            else Seen(ORDER, key, 0, None)
            for key in keys
        ]

    async def _entries(self, connection: Connection, rows_max: int) -> list[Seen]:
        seen: list[Seen] = []
        page = await connection.fetch(_ENTRY_PAGE, self._walk.account_id, self._walk.seq, rows_max)
        for row in page:
            done = self._walk.take(row["account_id"], row["seq"], row["postings"])
            if done is not None:
                seen.append(done)
        if len(page) < rows_max:
            last = self._walk.finished()
            if last is not None:
                seen.append(last)
            self._walk = _EntryWalk()
        return seen


def _balance(seq: int, amounts: Mapping[str, Mapping[str, int]]) -> Balance:
    return Balance(seq, nonzero(amounts.get("AVAILABLE", {})), nonzero(amounts.get("RESERVED", {})))


def _has(positions: Mapping[tuple[Any, Any], int], kind: str, place: Place) -> bool:
    return positions.get((TOPIC_OF[kind], place.partition), 0) > place.offset
