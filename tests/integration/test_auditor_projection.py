"""Hand edits of the read side, on a real PostgreSQL that the real projection filled: each is seen, none is invented."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest
from auditor.deleted import HASTE_LOOKS
from auditor.domain.compare import Comparer, Kind
from auditor.projection import Asked, ProjectionRows
from auditor.truth import LogTruth
from common.contracts.events import (
    CASH,
    AccountStatus,
    Book,
    CommandResult,
    Decision,
    EntryKind,
    ExecType,
    ExecutionReport,
    LedgerEntry,
    OrderEvent,
    OrderIntent,
    OrderState,
    Posting,
    ReasonCode,
)
from common.contracts.topics import ORDERS_EVENTS, ORDERS_EXECUTIONS, RISK_DECISIONS, RISK_LEDGER, Topic
from common.contracts.values import OrderType, Side, TimeInForce
from orders.database import Database
from orders.settings import OrdersPostgresSettings
from orders.sink import ProjectionSink
from pydantic import SecretStr
from streams.model.message import Message

ROWS_MAX = 7
"""Less than there are rows, so that a walk takes several looks."""
LOOKS = 8
"""A round of every walk, and the hold."""
ORDERS = 6
SIDES = {"account_id": "A", "symbol": "ACME", "side": Side.BUY}


def order(number: int, revision: int, state: OrderState, **more: Any) -> OrderEvent:
    fields: dict[str, Any] = {
        "order_id": f"A.o{number}",
        "client_order_id": f"o{number}",
        "instrument_id": 3,
        "order_type": OrderType.LIMIT,
        "time_in_force": TimeInForce.DAY,
        "qty": 5,
        "limit_price_e4": 100_000,
        "state": state,
        "leaves_qty": 5,
        "revision": revision,
        "sent_ns": 1_800_000_000_000_000_000 + number,
        "min_qty": number % 2 or None,
        "expire_ns": 1_900_000_000_000_000_000 if number % 3 == 0 else None,
        "updated_ns": 1_800_000_000_000_000_001 + number,
    }
    return OrderEvent(**(SIDES | fields | more))


def decision(number: int, accepted: bool) -> Decision:
    intent = OrderIntent(
        **SIDES,
        client_order_id=f"o{number}",
        order_type=OrderType.LIMIT,
        time_in_force=TimeInForce.DAY,
        qty=5,
        limit_price_e4=100_000,
        sent_ns=1,
    )
    return Decision(
        account_id="A",
        client_order_id=f"o{number}",
        order_id=f"A.o{number}",
        accepted=accepted,
        reason=None if accepted else ReasonCode.CASH_INSUFFICIENT,
        compared={"needed_cash_e4": 500_000, "cash_e4": -7, "a": 1},
        conflict=None if accepted else 'a "quoted" field, ü',
        intent=intent,
        account_seq=number + 1,
        decided_ns=1_800_000_000_000_000_000,
        intent_partition=0,
        intent_offset=number,
    )


def result(number: int, status: AccountStatus) -> CommandResult:
    return CommandResult(
        account_id="A",
        command_id=f"c{number}",
        accepted=True,
        status=status,
        account_seq=1,
        decided_ns=9,
        command_partition=0,
        command_offset=number,
    )


def entry(seq: int, **more: Any) -> LedgerEntry:
    legs = (Posting(book=Book.EXTERNAL, asset=CASH, amount=-5), Posting(book=Book.AVAILABLE, asset=CASH, amount=5))
    fields: dict[str, Any] = {"kind": EntryKind.FUND, "command_id": f"c{seq}", "booked_ns": seq}
    return LedgerEntry(account_id="A", seq=seq, postings=legs, **(fields | more))


def trade(number: int) -> ExecutionReport:
    return ExecutionReport(
        **SIDES,
        execution_id=f"x{number}",
        exec_type=ExecType.TRADE,
        order_id=f"A.o{number}",
        last_qty=5,
        last_price_e4=99_000,
        cum_qty=5,
        venue_ns=7,
        text="ü|~" if number else "",
    )


class Audited:
    """A projection, the fold of the same records, and what the comparison says."""

    def __init__(self, dsn: str) -> None:
        self._database = Database(OrdersPostgresSettings(dsn=SecretStr(dsn), timeout_ms=5_000), 4)
        self.sink = ProjectionSink(self._database)
        self.truth = LogTruth(100, 100)
        self.comparer = Comparer(self.truth.folds, self.truth.place, 2.0, 60.0)
        self.rows = ProjectionRows(dsn, self.truth)
        self._offsets: dict[str, Iterator[int]] = {}
        self.positions: dict[tuple[str, int], int] = {}

    async def close(self) -> None:
        await self.rows.close()
        await self._database.close()

    async def commit(self, topic: Topic, *bodies: Any, projected: bool = True) -> None:
        """Records of one partition; each is followed by a marker."""
        offsets = self._offsets.setdefault(topic.name, itertools.count(0, 2))
        records = [Message(topic, 0, next(offsets), b"A", topic.schema.encode(body), 0) for body in bodies]
        for record in records:
            self.truth.apply(record)
        self.positions[topic.name, 0] = records[-1].offset + 2
        self.truth.reach(self.positions)
        if projected:
            await self.sink.apply(records, {(topic.name, 0): records[-1].offset + 2})

    async def look(self, count: int = LOOKS) -> list[str]:
        """Divergences after so many looks."""
        for _ in range(count):
            known = Asked(
                list(self.truth.accounts.known()),
                list(self.truth.orders.known()),
                list(self.truth.executions.known()),
                ROWS_MAX,
                ROWS_MAX,
            )
            self.comparer.settle(self.truth.positions)
            self.comparer.take(await self.rows.look(known), self.positions, time.monotonic())
        self.comparer.settle(self.truth.positions)
        return [f"{kind} {key}: {text}" for (_, kind, key), text in self.comparer.divergent.items()]


@pytest.fixture
async def audited(postgres_dsn: str) -> AsyncIterator[Audited]:
    """Six orders, half of them denied; three trades; funded ten times; suspended and active again."""
    audited = Audited(postgres_dsn)
    await audited.sink.positions()
    await audited.commit(RISK_DECISIONS, *(result(n, AccountStatus.ACTIVE) for n in range(8)))
    await audited.commit(RISK_DECISIONS, result(8, AccountStatus.SUSPENDED), result(9, AccountStatus.ACTIVE))
    await audited.commit(RISK_LEDGER, *(entry(n + 1) for n in range(10)))
    await audited.commit(RISK_DECISIONS, *(decision(n, n % 2 == 0) for n in range(ORDERS)))
    await audited.commit(ORDERS_EVENTS, *(order(n, 1, OrderState.WORKING) for n in range(ORDERS)))
    denied = {"reason": ReasonCode.CASH_INSUFFICIENT, "text": "no cash"}
    await audited.commit(ORDERS_EVENTS, *(order(n, 2, OrderState.DENIED, **denied) for n in (1, 3, 5)))
    await audited.commit(ORDERS_EXECUTIONS, *(trade(n) for n in (0, 2, 4)))
    yield audited
    await audited.close()


async def test_rows_as_the_projection_wrote_them_then_nothing_differs(audited: Audited) -> None:
    assert await audited.look() == []
    assert audited.comparer.take_compared() > 60


EDITS = {
    "balance": "UPDATE balances SET amount = amount + 1 WHERE book = 'AVAILABLE'",
    "status": "UPDATE accounts SET status = 'SUSPENDED'",
    "ledger_seq": "UPDATE accounts SET ledger_seq = ledger_seq - 1",
    "account deleted": "DELETE FROM accounts",
    "account forged": "INSERT INTO accounts (account_id, status, ledger_seq) VALUES ('Z', 'ACTIVE', 3)",
    "order deleted": "DELETE FROM orders WHERE order_id = 'A.o2'",
    "execution deleted": "DELETE FROM executions WHERE execution_id = 'x2'",
    "execution forged": "INSERT INTO executions (execution_id, exec_type, order_id, account_id, symbol, side, last_qty,"
    " last_price_e4, cum_qty, leaves_qty, venue_ns, text)"
    " VALUES ('forged', 'TRADE', 'A.o1', 'A', 'ACME', 'B', 1, 1, 1, 1, 1, '')",
    "event deleted": "DELETE FROM order_events WHERE order_id = 'A.o3' AND revision = 1",
    "last event deleted": "DELETE FROM order_events WHERE order_id = 'A.o3' AND revision = 2",
    "every event deleted": "DELETE FROM order_events",
    "event forged": "INSERT INTO order_events SELECT order_id, 3, state, cum_qty, leaves_qty, notional_e4, reason,"
    " text, updated_ns FROM order_events WHERE order_id = 'A.o3' AND revision = 2",
    "event's revision": "UPDATE order_events SET revision = 7 WHERE order_id = 'A.o3' AND revision = 1",
    "decision deleted": "DELETE FROM decisions WHERE order_id = 'A.o2'",
    "every decision deleted": "DELETE FROM decisions",
    "command result deleted": "DELETE FROM command_results WHERE command_id = 'c4'",
    "every command result deleted": "DELETE FROM command_results",
    "entry deleted": "DELETE FROM ledger_entries WHERE seq = 4",
    "last entry deleted": "DELETE FROM ledger_entries WHERE seq = 10",
    "every entry deleted": "DELETE FROM ledger_entries",
    "posting": "UPDATE ledger_entries SET postings = jsonb_set(postings, '{0,amount}', '-6') WHERE seq = 5",
    "posting's asset": "UPDATE ledger_entries SET postings = jsonb_set(postings, '{0,asset}', '\"X\"') WHERE seq = 5",
    "compared": "UPDATE decisions SET compared = '{}' WHERE order_id = 'A.o3'",
}
COLUMNS = {
    "orders": ("order_id = 'A.o3'", ["number", "order_id", "revision"]),
    "order_events": ("order_id IN ('A.o3') AND revision = 1", ["order_id", "revision"]),
    "executions": ("execution_id = 'x2'", ["number", "execution_id"]),
    "decisions": ("order_id = 'A.o3'", ["partition", "record_offset", "compared"]),
    "command_results": ("command_id = 'c4'", ["partition", "record_offset", "compared"]),
    "ledger_entries": ("seq = 5", ["account_id", "seq", "postings"]),
}
"""Tables, a row of each, and the columns that are keys, or are edited above."""


@pytest.mark.parametrize("edit", EDITS)
async def test_row_edited_by_hand_then_seen(audited: Audited, postgres_dsn: str, edit: str) -> None:
    connection = await asyncpg.connect(postgres_dsn)
    assert (await connection.execute(EDITS[edit])).split()[-1] != "0"
    await connection.close()
    assert await audited.look() != []


@pytest.mark.parametrize("table", COLUMNS)
async def test_any_column_edited_by_hand_then_seen_and_gone_once_it_is_as_it_was(
    audited: Audited, postgres_dsn: str, table: str
) -> None:
    where, keys = COLUMNS[table]
    connection = await asyncpg.connect(postgres_dsn)
    columns = await connection.fetch(
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = $1", table
    )
    changed = {"text": "concat({0}, 'x')", "boolean": "NOT {0}"}
    for name, kind in columns:
        if name in keys:
            continue
        before = await connection.fetchval(f"SELECT {name} FROM {table} WHERE {where}")
        other = changed.get(kind, "coalesce({0}, 0) + 1").format(name)
        condition = where.replace("order_id = ", "order_id LIKE '%' AND client_order_id = 'o3' AND order_id = ")
        row = await connection.fetchval(f"UPDATE {table} SET {name} = {other} WHERE {condition} RETURNING ctid")
        assert row is not None, name
        assert await audited.look() != [], name
        await connection.execute(f"UPDATE {table} SET {name} = $1 WHERE ctid = $2", before, row)
        assert await audited.look() == [], name
    await connection.close()


WRITTEN = {
    "orders": "UPDATE orders SET text = 'paid' WHERE order_id = 'A.o2'",
    "order_events": "UPDATE order_events SET text = 'paid' WHERE order_id = 'A.o3' AND revision = 1",
    "executions": "UPDATE executions SET last_price_e4 = 1 WHERE execution_id = 'x2'",
    "decisions": "UPDATE decisions SET reason = 'X' WHERE order_id = 'A.o2'",
    "command_results": "UPDATE command_results SET account_seq = account_seq + 1 WHERE command_id = 'c4'",
    "ledger_entries": "UPDATE ledger_entries SET booked_ns = booked_ns + 1 WHERE seq = 5",
}


@pytest.mark.parametrize("table", WRITTEN)
@pytest.mark.parametrize(("bytes_max", "is_seen"), [(10**9, True), (0, False)])
async def test_row_written_by_hand_then_seen_at_the_next_look_before_its_turn_comes(
    audited: Audited, postgres_dsn: str, table: str, bytes_max: int, is_seen: bool
) -> None:
    rows = ProjectionRows(postgres_dsn, audited.truth, bytes_max)
    nobody = Asked([], [], [], 2, 2)

    async def look() -> list[str]:
        audited.comparer.take(await rows.look(nobody), audited.positions, time.monotonic())
        return [text for (_, kind, _), text in audited.comparer.divergent.items() if kind != Kind.ACCOUNT]

    assert await look() == []
    connection = await asyncpg.connect(postgres_dsn)
    assert await connection.execute(WRITTEN[table]) == "UPDATE 1"
    await connection.close()
    assert len(await look()) == is_seen
    assert len(await look()) == is_seen, "a row that nobody wrote again stays what it was found to be"
    await rows.close()


DELETED = {
    "accounts": "DELETE FROM accounts WHERE account_id = 'A'",
    "orders": "DELETE FROM orders WHERE order_id = 'A.o2'",
    "order_events": "DELETE FROM order_events WHERE order_id = 'A.o3' AND revision = 1",
    "executions": "DELETE FROM executions WHERE execution_id = 'x2'",
    "ledger_entries": "DELETE FROM ledger_entries WHERE seq = 10",
    "decisions": "DELETE FROM decisions WHERE order_id = 'A.o2'",
    "command_results": "DELETE FROM command_results WHERE command_id = 'c4'",
}


async def deleted(dsn: str, statement: str) -> None:
    """Carries it out, and waits until PostgreSQL has counted it, which is when the connection's numbers are written."""
    counted = "SELECT sum(n_tup_del) FROM pg_stat_user_tables WHERE schemaname = current_schema()"
    observer = await asyncpg.connect(dsn)
    before = await observer.fetchval(counted)
    connection = await asyncpg.connect(dsn)
    assert await connection.execute(statement) == "DELETE 1"
    await connection.close()
    async with asyncio.timeout(20):
        while await observer.fetchval(counted) == before:
            await asyncio.sleep(0.05)
    await observer.close()


@pytest.mark.parametrize("table", DELETED)
async def test_row_deleted_by_hand_then_seen_at_the_next_look_before_its_turn_comes(
    audited: Audited, postgres_dsn: str, table: str
) -> None:
    """Nobody asks for the row, and the walks take a row a look: of those that are gone, only the count tells."""
    rows = ProjectionRows(postgres_dsn, audited.truth)
    nobody = Asked([], [], [], 1, 1)

    async def look() -> list[str]:
        audited.comparer.take(await rows.look(nobody), audited.positions, time.monotonic())
        return list(audited.comparer.divergent.values())

    assert await look() == []
    await deleted(postgres_dsn, DELETED[table])
    assert await look() != []
    assert rows.haste == 1
    await rows.close()


@pytest.mark.parametrize(
    ("statement", "bytes_max"),
    [(DELETED["orders"], 0), ("DELETE FROM balances WHERE asset = '@CASH' AND book = 'AVAILABLE'", 10**9)],
    ids=["table too large to be read", "rows without a version"],
)
async def test_row_deleted_by_hand_when_only_a_walk_can_miss_it_then_the_looks_that_follow_make_haste(
    audited: Audited, postgres_dsn: str, statement: str, bytes_max: int
) -> None:
    audited.rows = ProjectionRows(postgres_dsn, audited.truth, bytes_max)
    assert await audited.look() == []
    assert audited.rows.haste == 1
    await deleted(postgres_dsn, statement)
    await audited.look(1)
    assert audited.rows.haste > 1
    assert await audited.look() != []
    await audited.look(HASTE_LOOKS + 1)
    assert audited.rows.haste == 1, "and then they rest again"


async def test_projection_that_is_behind_then_excused_and_right_once_it_came(audited: Audited) -> None:
    assert await audited.look() == []
    await audited.commit(RISK_LEDGER, entry(11), projected=False)
    await audited.commit(RISK_DECISIONS, result(10, AccountStatus.SUSPENDED), projected=False)
    await audited.commit(ORDERS_EXECUTIONS, trade(5), projected=False)
    assert await audited.look() == []


async def test_log_that_has_lost_its_beginning_then_what_it_still_has_is_compared(
    audited: Audited, postgres_dsn: str
) -> None:
    """A fold that begins in the middle of the log knows nothing of older rows, and says nothing of them."""
    late = Audited(postgres_dsn)
    await late.sink.positions()
    for topic in (RISK_DECISIONS, ORDERS_EXECUTIONS, ORDERS_EVENTS):
        late._offsets[topic.name] = itertools.count(audited.positions[topic.name, 0], 2)
    late.truth.begin(audited.positions | {(RISK_LEDGER.name, 0): 0})
    late._offsets[RISK_LEDGER.name] = itertools.count(0, 2)
    await late.commit(RISK_LEDGER, *(entry(n + 1) for n in range(10)), projected=False)
    await late.commit(RISK_DECISIONS, decision(7, True), result(11, AccountStatus.ACTIVE))
    await late.commit(ORDERS_EXECUTIONS, trade(7))
    assert await late.look() == []
    connection = await asyncpg.connect(postgres_dsn)
    await connection.execute("UPDATE decisions SET accepted = false WHERE order_id = 'A.o7'")
    await connection.execute("UPDATE executions SET text = 'paid' WHERE execution_id = 'x7'")
    await connection.close()
    assert len(await late.look()) == 2
    await late.close()
