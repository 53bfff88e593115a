"""Reads the copies of the ledger: RocksDB or its changelog, PostgreSQL, Redis. Each read is one consistent picture."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from sys import intern
from typing import Any, Final

import asyncpg
from common.contracts.events import CASH, ExecutionReport, OrderEvent
from common.contracts.topics import RISK_GATE_CHANGELOG
from common.contracts.views import AccountData, Envelope, view_channel
from common.ledger.chain import Head
from common.ledger.digests import COMMAND_RESULTS, DECISIONS, LEDGER_ENTRIES, Rows, digest_sql
from common.ledger.fold import Balance, nonzero
from common.ledger.gate_rows import CHAIN, gate_accounts, head_of
from common.ledger.rows import ExecutionRow, OrderRow, execution_row, order_row, stored_order
from common.postgres import POSTGRES_AWAY
from streams.process.settings import Settings
from streams.state.store import read_row, read_store
from streams.views.redis_client import redis_client

from tidemark.audit.checks import Copies
from tidemark.console import CommandError
from tidemark.log_end import read_committed

SCAN_KEYS: Final = 1_000
POSTGRES_TIMEOUT_S: Final = 60.0


def read_gate_stores(stores: Iterable[Path]) -> Copies:
    """Opens each store read-only beside the service that writes it. Raises CommandError where one cannot be read.

    Where workers handed a partition over, each left a store; an account's newest row is the one in service.
    """
    copies: dict[str, tuple[int, Any]] = {}
    for store in stores:
        try:
            rows = gate_accounts(read_store(store))
        except Exception as error:  # rocksdict raises bare Exception
            raise CommandError(f"cannot read the store {store}: {error}") from error
        for account, copy in rows.items():
            if account not in copies or copies[account][0] < copy[0]:
                copies[account] = copy
    return copies


def read_gate_store_heads(stores: Iterable[Path]) -> list[tuple[int, Head]]:
    """Partition and last link of the ledger, as each store has it. Raises CommandError where one cannot be read."""
    heads = []
    for store in stores:
        try:
            value = read_row(store, CHAIN)
        except OSError as error:
            raise CommandError(str(error)) from error
        if value is not None:
            heads.append((int(store.parent.name), head_of(value)))
    return heads


async def read_gate_changelog_heads(settings: Settings) -> list[tuple[int, Head]]:
    """Partition and last link of the ledger, from the changelog."""
    newest: dict[int, bytes] = {}
    async for messages in read_committed(settings, [RISK_GATE_CHANGELOG]):
        newest |= {message.partition: message.value for message in messages if message.key == CHAIN and message.value}
    return [(partition, head_of(value)) for partition, value in newest.items()]


async def read_gate_changelog(settings: Settings) -> Copies:
    """The stores' rows, from the changelog: where the gate runs on another machine."""
    rows: dict[bytes, bytes] = {}
    async for messages in read_committed(settings, [RISK_GATE_CHANGELOG]):
        for message in messages:
            if message.key is None:
                continue
            if message.value is None:
                rows.pop(message.key, None)
            else:
                rows[message.key] = message.value
    return gate_accounts(rows.items())


def _shared(value: Any) -> Any:
    """Names that recur are kept once."""
    return intern(value) if isinstance(value, str) else value


class PostgresCopies:
    """The projection, in one repeatable-read transaction per ``read``."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self.accounts: Copies = {}
        self.entries: dict[str, tuple[int, int]] = {}
        """Account → number of its entries and the highest sequence among them."""
        self.orders: Copies = {}
        self.executions: Copies = {}
        """Execution id → the rows under it."""
        self.entry_rows: Copies = {}
        """Account → every column of its ledger entries."""
        self.answers: Copies = {}
        """Partition of ``risk.decisions`` and kind of answer → every column of those rows."""

    async def read(self) -> None:
        """Raises CommandError where PostgreSQL does not answer."""
        try:
            connection = await asyncpg.connect(self._dsn, timeout=10, command_timeout=POSTGRES_TIMEOUT_S)
            try:
                async with connection.transaction(isolation="repeatable_read", readonly=True):
                    await self._read(connection)
            finally:
                await connection.close(timeout=5)
        except POSTGRES_AWAY as error:
            raise CommandError(f"PostgreSQL gave no answer: {error or type(error).__name__}") from error

    async def _read(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        amounts: dict[str, dict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
        async for row in connection.cursor("SELECT account_id, book, asset, amount FROM balances"):
            amounts[row["account_id"]][row["book"]][row["asset"]] = int(row["amount"])
        rows = await connection.fetch("SELECT account_id, ledger_seq FROM accounts")
        self.accounts = {
            row["account_id"]: (
                row["ledger_seq"],
                Balance(
                    row["ledger_seq"],
                    nonzero(amounts[row["account_id"]]["AVAILABLE"]),
                    nonzero(amounts[row["account_id"]]["RESERVED"]),
                ),
            )
            for row in rows
        }
        counted = await connection.fetch(
            "SELECT account_id, count(*) AS entries, max(seq) AS last FROM ledger_entries GROUP BY account_id"
        )
        self.entries = {row["account_id"]: (row["entries"], row["last"]) for row in counted}
        self.entry_rows = await _summed(connection, "account_id", "ledger_entries", LEDGER_ENTRIES)
        decided = await _summed(connection, "'decisions ' || partition", "decisions", DECISIONS)
        self.answers = decided | await _summed(
            connection, "'command results ' || partition", "command_results", COMMAND_RESULTS
        )
        columns = ", ".join(OrderRow._fields)
        self.orders = {
            row[0]: (row[1], stored_order(row[2:]))
            async for row in connection.cursor(f"SELECT order_id, revision, {columns} FROM orders", prefetch=5_000)
        }
        columns = ", ".join(ExecutionRow._fields)
        executions: dict[str, tuple[int, Any]] = {}
        async for row in connection.cursor(f"SELECT execution_id, {columns} FROM executions", prefetch=5_000):
            _, others = executions.get(row[0], (1, ()))
            executions[row[0]] = (1, (*others, ExecutionRow._make(map(_shared, row[1:]))))
        self.executions = executions

    def entry_gaps(self) -> Iterator[str]:
        """Accounts whose entries are not as many as the highest sequence says, or whose account row says otherwise."""
        for account_id, (seq, _) in self.accounts.items():
            count, last = self.entries.get(account_id, (0, 0))
            if not seq == count == last:
                yield f"{account_id}: {count} entries up to {last}, the account stands at {seq}"


async def _summed(
    connection: "asyncpg.Connection[asyncpg.Record]", key: str, table: str, columns: tuple[str, ...]
) -> dict[str, tuple[int, Any]]:
    """Key → number of rows, and what they come to (``digests.Rows``)."""
    rows = await connection.fetch(f"SELECT {key}, count(*), sum({digest_sql(columns)}) FROM {table} GROUP BY 1")
    return {row[0]: (row[1], Rows.of(row[1], int(row[2]))) for row in rows}


class RedisCopies:
    """The views, one hash at a time."""

    def __init__(self, url: str) -> None:
        self._redis = redis_client(url, socket_connect_timeout=5, socket_timeout=30)
        self.accounts: Copies = {}
        self.orders: Copies = {}
        self.fills: Copies = {}
        """Execution id → the fills under it."""

    async def close(self) -> None:
        await self._redis.aclose()

    async def read(self) -> None:
        """Raises OSError or RedisError where Redis does not answer."""
        accounts: dict[str, tuple[int, Any]] = {}
        for envelope in await self._envelopes("account"):
            data = AccountData.model_validate(envelope.data)
            available: dict[str, int] = {CASH: data.cash_e4 - data.reserved_cash_e4}
            reserved: dict[str, int] = {CASH: data.reserved_cash_e4}
            for position in data.positions:
                available[position.symbol] = position.qty - position.reserved_qty
                reserved[position.symbol] = position.reserved_qty
            accounts[data.account_id] = (data.seq, Balance(data.seq, nonzero(available), nonzero(reserved)))
        self.accounts = accounts
        orders = [OrderEvent.model_validate(e.data) for e in await self._envelopes("order")]
        self.orders = {order.order_id: (order.revision, order_row(order)) for order in orders}
        fills = [ExecutionReport.model_validate(e.data) for e in await self._envelopes("fill")]
        found: dict[str, tuple[int, Any]] = {}
        for fill in fills:
            _, others = found.get(fill.execution_id, (1, ()))
            found[fill.execution_id] = (1, (*others, execution_row(fill)))
        self.fills = found

    async def _envelopes(self, name: str) -> list[Envelope]:
        found: list[Envelope] = []
        async for channel in self._redis.scan_iter(match=view_channel(name, "*"), count=SCAN_KEYS):
            for value in await self._redis.hvals(channel):
                envelope = Envelope.model_validate_json(value)
                if envelope.data is not None:
                    found.append(envelope)
        return found
