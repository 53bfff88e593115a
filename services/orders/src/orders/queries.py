"""Reads of the projection, answered in the contracts' own models."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

import asyncpg
from common.contracts.events import CASH, Book, ExecutionReport, LedgerEntry, OrderEvent
from common.contracts.topics import ORDERS_EVENTS
from common.contracts.values import INT64_MAX
from common.contracts.views import AccountData, PositionData
from pydantic import BaseModel
from streams.process.logs import get_logger

from orders.database import Database
from orders.projection import ENTRY_COLUMNS, EVENT_COLUMNS, EXECUTION_COLUMNS, ORDER_COLUMNS
from orders.trouble import DatabaseAway, Trouble

_log = get_logger(__name__)
T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    """Rows, and where the next page begins; ``next`` is absent on the last page."""

    items: list[T]
    next: int | None = None


class Absence(NamedTuple):
    """PostgreSQL's knowledge of an order of which it has no row, in one snapshot."""

    is_absent: bool
    is_decided: bool
    """The gate has decided on it, and no order event is projected yet."""
    next_offset: int
    """Next offset of ``orders.events`` to be projected on the partition."""


class Queries:
    """Every method raises DatabaseAway where PostgreSQL does not answer, or answers with what no record has become."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def order(self, order_id: str) -> OrderEvent | None:
        rows = await self._fetch(f"SELECT {ORDER_COLUMNS} FROM orders WHERE order_id = $1", order_id)
        return _read("order", rows[0], "order_id", _order) if rows else None

    async def absence(self, order_id: str, partition: int) -> Absence:
        """Asked where ``order`` found nothing: whether that means anything."""
        [row] = await self._fetch(_ABSENCE, order_id, ORDERS_EVENTS.name, partition)
        return Absence(row["is_absent"], row["is_decided"], row["next_offset"] or 0)

    async def orders(self, account_id: str, before: int | None, limit: int) -> Page[OrderEvent]:
        """Newest first; ``before`` is the ``next`` of the page before."""
        rows = await self._newest("orders", ORDER_COLUMNS, account_id, before, limit)
        return _page([_read("order", row, "order_id", _order) for row in rows], rows, "number", limit)

    async def order_events(self, order_id: str, after: int, limit: int) -> Page[OrderEvent]:
        """Every event of an order, by ``revision``, from ``after`` (exclusive) on."""
        rows = await self._fetch(
            f"SELECT {_EVENT_OF_ORDER} FROM order_events AS event JOIN orders USING (order_id)"
            " WHERE order_id = $1 AND event.revision > $2 ORDER BY event.revision LIMIT $3",
            order_id,
            min(after, _REVISION_MAX),
            limit,
        )
        return _page([_read("event of order", row, "order_id", _order) for row in rows], rows, "revision", limit)

    async def executions(self, account_id: str, before: int | None, limit: int) -> Page[ExecutionReport]:
        """Newest first; ``before`` is the ``next`` of the page before."""
        rows = await self._newest("executions", EXECUTION_COLUMNS, account_id, before, limit)
        return _page([_read("execution", row, "execution_id", _execution) for row in rows], rows, "number", limit)

    async def ledger(self, account_id: str, after: int, limit: int) -> Page[LedgerEntry]:
        """By ``seq``, from ``after`` (exclusive) on."""
        rows = await self._fetch(
            f"SELECT {ENTRY_COLUMNS} FROM ledger_entries WHERE account_id = $1 AND seq > $2 ORDER BY seq LIMIT $3",
            account_id,
            after,
            limit,
        )
        return _page([_read("ledger entry", row, "seq", _entry) for row in rows], rows, "seq", limit)

    async def ledger_seq(self, account_id: str) -> int:
        """Sequence of the account's newest entry; 0 where there is none."""
        rows = await self._fetch("SELECT ledger_seq FROM accounts WHERE account_id = $1", account_id)
        return rows[0]["ledger_seq"] if rows else 0

    async def account(self, account_id: str) -> AccountData | None:
        """Status, and balances folded from the ledger up to ``seq``."""
        # One statement, one snapshot: status, sequence and balances belong together.
        rows = await self._fetch(
            "SELECT status, ledger_seq, book, asset, amount FROM accounts LEFT JOIN balances USING (account_id)"
            " WHERE account_id = $1 ORDER BY asset",
            account_id,
        )
        return _read("account", rows, "", lambda found: _account(account_id, found)) if rows else None

    async def _newest(
        self, table: str, columns: str, account_id: str, before: int | None, limit: int
    ) -> list[asyncpg.Record]:
        return await self._fetch(
            f"SELECT {columns}, number FROM {table}"
            " WHERE account_id = $1 AND number < $2 ORDER BY number DESC LIMIT $3",
            account_id,
            INT64_MAX if before is None else before,
            limit,
        )

    async def _fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        return await self._database.read(lambda connection: connection.fetch(statement, *arguments))


_REVISION_MAX: Final = 2**31 - 1
_EVENT_OF_ORDER: Final = ", ".join(
    name if name == "order_id" else f"{'event' if name in EVENT_COLUMNS.split(', ') else 'orders'}.{name}"
    for name in ORDER_COLUMNS.split(", ")
)
_ABSENCE: Final = """
    SELECT NOT EXISTS (SELECT FROM orders WHERE order_id = $1) AS is_absent,
        EXISTS (
            SELECT FROM decisions
            WHERE order_id = $1 AND NOT repeat AND reason IS DISTINCT FROM 'DUPLICATE_ID'
        ) AS is_decided,
        (SELECT next_offset FROM projection_positions WHERE topic = $2 AND partition = $3) AS next_offset
"""
S = TypeVar("S")


def _read(what: str, row: S, key: str, decode: Callable[[S], T]) -> T:
    """Raises DatabaseAway with ROW, which names it, for a row that no record can have become."""
    try:
        return decode(row)
    except (ValueError, TypeError, LookupError, ArithmeticError) as error:
        name = f"{what} {row[key]}" if isinstance(row, asyncpg.Record) else what
        _log.error("row_refused", row=name, error=str(error))
        raise DatabaseAway(Trouble.ROW, f"the row of {name} is not what the log says: {_brief(error)}") from error


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _without_number(row: asyncpg.Record) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "number"}


def _order(row: asyncpg.Record) -> OrderEvent:
    return OrderEvent(**{**_without_number(row), "notional_e4": int(row["notional_e4"])})


def _execution(row: asyncpg.Record) -> ExecutionReport:
    return ExecutionReport(**_without_number(row))


def _entry(row: asyncpg.Record) -> LedgerEntry:
    return LedgerEntry.model_validate({**row, "postings": json.loads(row["postings"])})


def _page(items: list[T], rows: list[asyncpg.Record], cursor: str, limit: int) -> Page[T]:
    return Page(items=items, next=rows[-1][cursor] if len(rows) == limit else None)


def _account(account_id: str, rows: Sequence[asyncpg.Record]) -> AccountData:
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
