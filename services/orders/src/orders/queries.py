"""Reads of the projection, answered in the contracts' own models."""

import json
from collections.abc import Mapping
from typing import Any, Final, Generic, TypeVar

import asyncpg
from common.contracts.events import CASH, Book, ExecutionReport, LedgerEntry, OrderEvent
from common.contracts.views import AccountData, PositionData
from pydantic import BaseModel

from orders.database import Database

T = TypeVar("T")
INT64_MAX: Final = 2**63 - 1


class Page(BaseModel, Generic[T]):
    """Rows, and where the next page begins; ``next`` is absent on the last page."""

    items: list[T]
    next: int | None = None


class Queries:
    """Every method raises DatabaseAway where PostgreSQL does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def order(self, order_id: str) -> OrderEvent | None:
        async with self._database.transaction() as connection:
            row = await connection.fetchrow("SELECT * FROM orders WHERE order_id = $1", order_id)
        return _order(row) if row else None

    async def orders(self, account_id: str, before: int | None, limit: int) -> Page[OrderEvent]:
        """Newest first; ``before`` is the ``next`` of the page before."""
        rows = await self._newest("orders", account_id, before, limit)
        return _page([_order(row) for row in rows], rows, "number", limit)

    async def executions(self, account_id: str, before: int | None, limit: int) -> Page[ExecutionReport]:
        """Newest first; ``before`` is the ``next`` of the page before."""
        rows = await self._newest("executions", account_id, before, limit)
        return _page([ExecutionReport(**_without_number(row)) for row in rows], rows, "number", limit)

    async def ledger(self, account_id: str, after: int, limit: int) -> Page[LedgerEntry]:
        """By ``seq``, from ``after`` (exclusive) on."""
        async with self._database.transaction() as connection:
            rows = await connection.fetch(
                "SELECT * FROM ledger_entries WHERE account_id = $1 AND seq > $2 ORDER BY seq LIMIT $3",
                account_id,
                after,
                limit,
            )
        entries = [LedgerEntry.model_validate({**row, "postings": json.loads(row["postings"])}) for row in rows]
        return _page(entries, rows, "seq", limit)

    async def account(self, account_id: str) -> AccountData | None:
        """Status, and balances folded from the ledger up to ``seq``."""
        async with self._database.transaction() as connection:
            # One statement, one snapshot: status, sequence and balances belong together.
            rows = await connection.fetch(
                "SELECT status, ledger_seq, book, asset, amount FROM accounts LEFT JOIN balances USING (account_id)"
                " WHERE account_id = $1 ORDER BY asset",
                account_id,
            )
        return _account(account_id, rows) if rows else None

    async def _newest(self, table: str, account_id: str, before: int | None, limit: int) -> list[asyncpg.Record]:
        async with self._database.transaction() as connection:
            return await connection.fetch(
                f"SELECT * FROM {table} WHERE account_id = $1 AND number < $2 ORDER BY number DESC LIMIT $3",
                account_id,
                INT64_MAX if before is None else before,
                limit,
            )


def _without_number(row: asyncpg.Record) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "number"}


def _order(row: asyncpg.Record) -> OrderEvent:
    return OrderEvent(**{**_without_number(row), "notional_e4": int(row["notional_e4"])})


def _page(items: list[T], rows: list[asyncpg.Record], cursor: str, limit: int) -> Page[T]:
    return Page(items=items, next=rows[-1][cursor] if len(rows) == limit else None)


def _account(account_id: str, rows: list[asyncpg.Record]) -> AccountData:
    held: dict[str, dict[str, int]] = {}
    for row in rows:
        if row["book"] in (Book.AVAILABLE, Book.RESERVED):
            held.setdefault(row["asset"], {})[row["book"]] = int(row["amount"])
    cash = held.pop(CASH, {})
    return AccountData(
        account_id=account_id,
        status=rows[0]["status"],
        cash_e4=_total(cash),
        reserved_cash_e4=cash.get(Book.RESERVED, 0),
        positions=tuple(
            PositionData(symbol=symbol, qty=_total(books), reserved_qty=books.get(Book.RESERVED, 0))
            for symbol, books in held.items()
            if any(books.values())
        ),
        seq=rows[0]["ledger_seq"],
    )


def _total(books: Mapping[str, int]) -> int:
    return books.get(Book.AVAILABLE, 0) + books.get(Book.RESERVED, 0)
