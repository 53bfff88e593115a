"""The projection on a real PostgreSQL: rows and positions together, never twice, never with a hole."""

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest
from common.contracts.events import (
    CASH,
    AccountStatus,
    Book,
    CommandResult,
    EntryKind,
    ExecType,
    LedgerEntry,
    OrderState,
    Posting,
    ReasonCode,
)
from common.contracts.topics import ORDERS_EVENTS, ORDERS_EXECUTIONS, RISK_DECISIONS, RISK_LEDGER
from common.contracts.values import RestingOrders
from orders import projection
from orders.database import Database, migrations
from orders.domain.lifecycle import on_cancel, on_decision
from orders.queries import Queries
from orders.sink import ProjectionSink
from orders.trouble import DatabaseAway
from parts import LocalStack

from tests.orders.projected_log import Log, open_database


async def fetch(database: Database, statement: str) -> list[asyncpg.Record]:
    """As an operator with psql."""
    return await database.read(lambda connection: connection.fetch(statement))


def entry(
    seq: int, kind: EntryKind = EntryKind.FUND, *postings: tuple[Book, str, int], account: str = "A"
) -> LedgerEntry:
    legs = postings or ((Book.AVAILABLE, CASH, 100), (Book.EXTERNAL, CASH, -100))
    return LedgerEntry(
        account_id=account,
        seq=seq,
        kind=kind,
        postings=tuple(Posting(book=book, asset=asset, amount=amount) for book, asset, amount in legs),
        booked_ns=seq,
    )


async def test_migrations_from_empty_and_again_and_side_by_side(postgres_dsn: str) -> None:
    databases = [open_database(postgres_dsn) for _ in range(4)]
    applied = await asyncio.gather(*(database.migrate() for database in databases))
    assert sorted(map(len, applied)) == [0, 0, 0, len(migrations())]
    assert await databases[0].migrate() == []
    await asyncio.gather(*(database.close() for database in databases))


def test_migrations_are_numbered_without_a_gap() -> None:
    assert [version for version, _, _ in migrations()] == list(range(1, len(migrations()) + 1))


async def test_orders_keep_the_highest_revision(log: Log, database: Database, make: Any) -> None:
    first = on_decision(None, make.decision(make.intent()), 7).order
    second = on_cancel(first, 700, 8).order
    closed = second.model_copy(update={"revision": 3, "state": OrderState.CANCELED, "leaves_qty": 0})
    await log.project(log.records(ORDERS_EVENTS, first, second))
    assert await Queries(database).order("A.1") == second
    await log.project(log.records(ORDERS_EVENTS, closed, second))
    assert await Queries(database).order("A.1") == closed
    assert await Queries(database).order("A.2") is None


async def test_orders_are_listed_in_the_order_of_the_log_whatever_their_senders_clocks_say(
    log: Log, database: Database, make: Any
) -> None:
    clocks = (2**62, 1, 500, 2**62 - 1)
    orders = [
        on_decision(None, make.decision(make.intent(str(number), sent_ns=sent_ns), decided_ns=600 + number), 7).order
        for number, sent_ns in enumerate(clocks)
    ]
    await log.project(log.records(ORDERS_EVENTS, *orders))
    page = await Queries(database).orders("A", None, 10)
    assert page.items == orders[::-1]
    assert [order.decided_ns for order in page.items] == [603, 602, 601, 600]


async def test_every_kind_of_record_is_projected(log: Log, database: Database, make: Any) -> None:
    denied = make.decision(make.intent("2"), ReasonCode.CASH_INSUFFICIENT, compared={"shortfall_cash_e4": 5})
    result = CommandResult(
        account_id="A",
        command_id="c",
        accepted=True,
        status=AccountStatus.SUSPENDED,
        resting=RestingOrders.KEEP,
        account_seq=0,
        decided_ns=1,
    )
    await log.project(log.records(RISK_DECISIONS, make.decision(make.intent()), denied, result))
    report = make.report(1, ExecType.NEW, leaves_qty=100)
    await log.project(log.records(ORDERS_EXECUTIONS, report, report))
    decisions = await fetch(database, "SELECT order_id, accepted, reason, compared FROM decisions ORDER BY 1")
    results = await fetch(database, "SELECT command_id, status, resting FROM command_results")
    assert [tuple(row) for row in decisions] == [
        ("A.1", True, None, "{}"),
        ("A.2", False, "CASH_INSUFFICIENT", '{"shortfall_cash_e4": 5}'),
    ]
    assert [tuple(row) for row in results] == [("c", "SUSPENDED", "keep")]
    assert (await Queries(database).executions("A", None, 10)).items == [report]
    account = await Queries(database).account("A")
    assert account is not None and account.status == "SUSPENDED"


async def test_balances_are_the_fold_of_the_ledger(log: Log, database: Database) -> None:
    entries = [
        entry(1),
        entry(2, EntryKind.FUND, (Book.AVAILABLE, "AAPL", 7), (Book.EXTERNAL, "AAPL", -7)),
        entry(3, EntryKind.RESERVE, (Book.AVAILABLE, CASH, -60), (Book.RESERVED, CASH, 60)),
        entry(4, EntryKind.RESERVE, (Book.AVAILABLE, "AAPL", -2), (Book.RESERVED, "AAPL", 2)),
        entry(
            5,
            EntryKind.POST,
            (Book.RESERVED, CASH, -60),
            (Book.VENUE, CASH, 60),
            (Book.VENUE, "MSFT", -3),
            (Book.AVAILABLE, "MSFT", 3),
        ),
    ]
    await log.project(log.records(RISK_LEDGER, *entries[:2]))
    await log.project(log.records(RISK_LEDGER, *entries[2:], entry(1, account="B")))
    account = await Queries(database).account("A")
    assert account is not None
    assert account.model_dump(exclude={"status"}) == {
        "account_id": "A",
        "cash_e4": 40,
        "reserved_cash_e4": 0,
        "positions": (
            {"symbol": "AAPL", "qty": 7, "reserved_qty": 2},
            {"symbol": "MSFT", "qty": 3, "reserved_qty": 0},
        ),
        "seq": 5,
    }
    page = await Queries(database).ledger("A", 0, 3)
    assert (page.items, page.next) == (entries[:3], 3)
    page = await Queries(database).ledger("A", 3, 3)
    assert (page.items, page.next) == (entries[3:], None)
    sums = await fetch(database, "SELECT asset, sum(amount) AS total FROM balances GROUP BY asset")
    assert {row["total"] for row in sums} == {0}


async def test_ledger_when_an_entry_is_missing_then_the_partition_stops_before_it(
    log: Log, database: Database, make: Any
) -> None:
    await log.project(log.records(RISK_LEDGER, entry(1)))
    reports = log.records(ORDERS_EXECUTIONS, make.report(1, ExecType.NEW, leaves_qty=100))
    ledger = log.records(RISK_LEDGER, entry(1, account="B"), entry(3), entry(2, account="B"))
    await log.sink.apply([*ledger, *reports], {(RISK_LEDGER.name, 0): 7, (ORDERS_EXECUTIONS.name, 0): 1})
    assert await log.sink.positions() == {(RISK_LEDGER.name, 0): 3, (ORDERS_EXECUTIONS.name, 0): 1}
    [(place, stop)] = log.sink.stops.by_place.items()
    assert (place, stop.offset, stop.account_id) == ((RISK_LEDGER.name, 0), 4, "A")
    assert "account A: entry 3 follows 1" in stop.text
    assert [len((await Queries(database).ledger(account, 0, 10)).items) for account in "AB"] == [1, 1]
    assert len((await Queries(database).executions("A", None, 10)).items) == 1


async def test_record_when_undecodable_then_neighbours_are_projected(log: Log, database: Database, make: Any) -> None:
    report = make.report(1, ExecType.NEW, leaves_qty=100)
    text = report.model_copy(update={"execution_id": "A.1.2", "text": "\0"})
    await log.project(log.records(ORDERS_EXECUTIONS, b"garbage", text, report))
    assert (await Queries(database).executions("A", None, 10)).items == [report]
    assert await log.sink.positions() == {(ORDERS_EXECUTIONS.name, 0): 5}


async def test_records_when_handed_on_again_then_skipped(log: Log, database: Database) -> None:
    records = log.records(RISK_LEDGER, entry(1), entry(2), entry(3))
    await log.project(records[:2])
    await log.project(records[:2])
    await log.project(records)
    account = await Queries(database).account("A")
    assert account is not None and (account.cash_e4, account.seq) == (300, 3)


async def test_records_of_several_partitions_go_into_one_transaction(log: Log, database: Database, make: Any) -> None:
    """Each partition by its own position: what one of them had before is skipped, what the other has is applied."""
    ledger = log.records(RISK_LEDGER, entry(1), entry(2))
    await log.project(ledger[:1])
    reports = log.records(ORDERS_EXECUTIONS, make.report(1, ExecType.NEW, leaves_qty=100))
    for report in reports:
        report.partition = 3
    ends = {(RISK_LEDGER.name, 0): 3, (ORDERS_EXECUTIONS.name, 3): 1}
    for _ in range(2):
        await log.sink.apply([*reports, *ledger], ends)
        assert await log.sink.positions() == ends
    account = await Queries(database).account("A")
    assert account is not None and (account.cash_e4, account.seq) == (200, 2)
    assert len((await Queries(database).executions("A", None, 10)).items) == 1


async def test_replicas_that_gather_different_partitions_do_not_wait_in_a_circle(
    database: Database, postgres_dsn: str, log: Log
) -> None:
    ledgers = [log.records(RISK_LEDGER, *(entry(seq, account=account) for seq in range(1, 21))) for account in "AB"]
    for number, records in enumerate(ledgers):
        for at, record in enumerate(records):
            record.partition, record.offset = number, at
    others = [open_database(postgres_dsn) for _ in range(2)]
    sinks = [ProjectionSink(other) for other in others]
    for sink in sinks:
        await sink.positions()

    async def replica(sink: ProjectionSink, order: Sequence[int]) -> None:
        for at in range(0, 20, 2):
            records = [record for number in order for record in ledgers[number][at : at + 2]]
            await sink.apply(records, {(RISK_LEDGER.name, number): at + 2 for number in order})

    await asyncio.gather(replica(sinks[0], (0, 1)), replica(sinks[1], (1, 0)))
    for name in "AB":
        account = await Queries(database).account(name)
        assert account is not None and (account.cash_e4, account.seq) == (2_000, 20)
    await asyncio.gather(*(other.close() for other in others))


async def test_replicas_side_by_side_apply_once(database: Database, postgres_dsn: str, log: Log) -> None:
    records = log.records(RISK_LEDGER, *(entry(seq) for seq in range(1, 41)))
    others = [open_database(postgres_dsn) for _ in range(3)]
    sinks = [ProjectionSink(other) for other in others]
    for sink in sinks:
        await sink.positions()

    async def replica(sink: ProjectionSink) -> None:
        for at in range(0, 40, 5):
            await sink.apply(records[at : at + 5], {(RISK_LEDGER.name, 0): records[at + 4].offset + 1})

    await asyncio.gather(*map(replica, sinks))
    account = await Queries(database).account("A")
    assert account is not None and (account.cash_e4, account.seq) == (4_000, 40)
    await asyncio.gather(*(other.close() for other in others))


@pytest.mark.parametrize(
    "statement", ["INSERT INTO ledger_entries", "INSERT INTO balances", "UPDATE projection_positions"]
)
async def test_crash_inside_the_transaction_then_replay_counts_once(
    log: Log, database: Database, postgres_dsn: str, statement: str
) -> None:
    """A backend that is killed at any statement takes rows and position with it."""
    await log.project(log.records(RISK_LEDGER, entry(1)))
    table = statement.split()[-1]
    killer = await asyncpg.connect(postgres_dsn)
    await killer.execute(
        "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END'"
    )
    event = "INSERT" if statement.startswith("INSERT") else "UPDATE"
    await killer.execute(f"CREATE TRIGGER die AFTER {event} ON {table} FOR EACH STATEMENT EXECUTE FUNCTION die()")
    records = log.records(RISK_LEDGER, entry(2), entry(3))
    with pytest.raises(DatabaseAway):
        await log.project(records)
    await killer.execute(f"DROP TRIGGER die ON {table}")
    await killer.close()
    assert await log.sink.positions() == {(RISK_LEDGER.name, 0): 1}
    await log.project(records)
    account = await Queries(database).account("A")
    assert account is not None and (account.cash_e4, account.seq) == (300, 3)


async def test_database_when_it_goes_back_in_time_then_it_is_read_again(log: Log, database: Database) -> None:
    """As after a restore from a backup: positions are asked anew, and the log is read from there."""
    records = log.records(RISK_LEDGER, *(entry(seq) for seq in range(1, 5)))
    await log.project(records[:3])
    for table in ("ledger_entries", "balances", "accounts", "projection_positions"):
        await fetch(database, f"DELETE FROM {table}")
    with pytest.raises(DatabaseAway, match="went back to 0"):
        await log.project(records[3:])
    assert await log.sink.positions() == {}
    await log.project(records)
    account = await Queries(database).account("A")
    assert account is not None and account.cash_e4 == 400


async def test_pages_of_orders_go_from_new_to_old_without_a_gap(log: Log, database: Database, make: Any) -> None:
    orders = [on_decision(None, make.decision(make.intent(str(number))), 7).order for number in range(5)]
    for order in orders:
        await log.project(log.records(ORDERS_EVENTS, order))
    seen, before = [], None
    while True:
        page = await Queries(database).orders("A", before, 2)
        seen += page.items
        before = page.next
        if before is None:
            break
    assert seen == orders[::-1]


async def _answers(sink: ProjectionSink) -> bool:
    try:
        await sink.positions()
    except DatabaseAway:
        return False
    return True


async def test_projection_when_postgres_is_killed_and_comes_back_then_goes_on() -> None:
    with LocalStack({"postgres"}) as parts:
        opened = open_database(parts.addresses.postgres_dsn)
        log = Log(ProjectionSink(opened))
        await log.sink.positions()
        await log.project(log.records(RISK_LEDGER, entry(1)))
        records = log.records(RISK_LEDGER, entry(2))
        await asyncio.to_thread(parts.kill, "postgres")
        with pytest.raises(DatabaseAway):
            await log.project(records)
        with pytest.raises(DatabaseAway):
            await log.sink.positions()
        await asyncio.to_thread(parts.restart, "postgres")
        async with asyncio.timeout(30):
            while not await _answers(log.sink):  # as the runtime does: a broken connection may be noticed only in use
                await asyncio.sleep(0.01)
        assert await log.sink.positions() == {(RISK_LEDGER.name, 0): 1}
        await log.project(records)
        account = await Queries(opened).account("A")
        assert account is not None and account.cash_e4 == 200
        await opened.close()


def test_every_projected_topic_has_a_writer() -> None:
    assert set(projection._WRITERS) == {topic.name for topic in projection.TOPICS}
