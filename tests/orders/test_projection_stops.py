"""Rows and tables that were changed by hand: what does not fit stops alone, is named, and is made anew on request."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
import pytest
from common.contracts.events import OrderEvent
from common.contracts.topics import ORDERS_EVENTS, ORDERS_EXECUTIONS, RISK_DECISIONS, RISK_LEDGER, Topic
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from orders import stops
from orders.database import Database
from orders.queries import Queries
from orders.rebuild import state
from orders.settings import OrdersPostgresSettings
from orders.sink import ProjectionSink
from orders.trouble import DatabaseAway, Trouble
from pydantic import SecretStr

from tests.orders.projected_history import PARTITIONS, History, make_anew, rows, sql, stopped


@pytest.fixture
async def database(postgres_dsn: str) -> AsyncIterator[Database]:
    opened = Database(OrdersPostgresSettings(dsn=SecretStr(postgres_dsn)), 4)
    yield opened
    await opened.close()


@pytest.fixture
def history(make: Any) -> History:
    return History(make)


@pytest.fixture
def sink(database: Database) -> ProjectionSink:
    return ProjectionSink(database)


async def test_row_when_it_does_not_fit_then_its_partition_stops_and_names_it(
    history: History, sink: ProjectionSink, database: Database
) -> None:
    await sink.positions()
    await sql(database, "ALTER TABLE orders ADD CHECK (order_id <> 'A1.2')")
    await history.project(sink)
    bad = [m for m in history.place(ORDERS_EVENTS, 1) if b'"A1.2"' in (m.value or b"")]
    assert stopped(sink) == [(ORDERS_EVENTS.name, 1, bad[0].offset, "A1")]
    [stop] = sink.stops.by_place.values()
    assert "orders_order_id_check" in stop.text
    assert await Queries(database).order("A1.1") is not None, "what stands before it is there"
    assert await Queries(database).order("A0.3") is not None, "and the other partition"
    for topic in (ORDERS_EXECUTIONS, RISK_DECISIONS, RISK_LEDGER):
        for partition in range(PARTITIONS):
            assert sink.reached[topic.name, partition] == history.place(topic, partition)[-1].offset + 1
    await sql(database, "ALTER TABLE orders DROP CONSTRAINT orders_order_id_check")
    await history.project(sink)
    assert stopped(sink) == []
    assert await Queries(database).order("A1.3") is not None


@pytest.mark.parametrize(
    ("topic", "damage"),
    [
        (ORDERS_EXECUTIONS, "DROP TABLE executions"),
        (ORDERS_EXECUTIONS, "ALTER TABLE executions RENAME TO was_executions"),
        (ORDERS_EXECUTIONS, "ALTER TABLE executions DROP COLUMN last_qty"),
        (ORDERS_EVENTS, "ALTER TABLE orders ALTER COLUMN limit_price_e4 TYPE smallint"),
        (RISK_DECISIONS, "ALTER TABLE decisions ADD COLUMN more int NOT NULL"),
        (RISK_LEDGER, "ALTER TABLE balances RENAME TO was_balances"),
    ],
)
async def test_table_when_it_is_not_what_it_was_then_its_topic_stops_until_the_tables_are_made_anew(
    history: History, sink: ProjectionSink, database: Database, topic: Topic, damage: str
) -> None:
    await sink.positions()
    await sql(database, damage)
    await history.project(sink)
    assert {name for name, *_ in stopped(sink)} == {topic.name}
    assert len(sink.stops.by_place) == PARTITIONS
    found = await database.transaction(state)
    assert None in found.rows.values() or found.wrong_columns or "ADD COLUMN" in damage
    await make_anew(database, recreate=True)
    await history.project(sink)
    assert stopped(sink) == []
    whole = Database(OrdersPostgresSettings(dsn=database._dsn), 1)
    found = await whole.transaction(state)
    assert found.wrong_columns == []
    assert found.rows["orders"] == found.rows["executions"] == found.rows["decisions"] == found.rows["ledger_entries"]
    await whole.close()


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE accounts SET ledger_seq = ledger_seq + 7 WHERE account_id = 'A3'",
        "UPDATE accounts SET ledger_seq = ledger_seq - 1 WHERE account_id = 'A3'",
        "DELETE FROM accounts WHERE account_id = 'A3'",
        "TRUNCATE ledger_entries; UPDATE accounts SET ledger_seq = 9 WHERE account_id = 'A3'",
    ],
)
async def test_account_when_its_sequence_was_edited_then_the_next_entry_is_named_and_none_is_left_out(
    history: History, sink: ProjectionSink, database: Database, edit: str
) -> None:
    """An entry that is passed over because the row says that it was booked would be money lost without a word."""
    await sink.positions()
    whole = history.messages
    last = history.place(RISK_LEDGER, 1)[-1]
    history.messages = [m for m in whole if m is not last]
    await history.project(sink)
    await database.transaction(lambda connection: connection.execute(edit))
    history.messages = whole
    await history.project(sink)
    assert [(name, partition, account) for name, partition, _, account in stopped(sink)] == [
        (RISK_LEDGER.name, 1, "A3")
    ]
    await make_anew(database)
    await history.project(sink)
    assert stopped(sink) == []
    account = await Queries(database).account("A3")
    assert account is not None and (account.cash_e4, account.seq) == (6, 3)


async def test_stop_is_tried_again_after_a_while_and_goes_on_where_it_was(
    history: History, sink: ProjectionSink, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stops, "RETRY_MIN_S", 2.0)
    await sink.positions()
    await sql(database, "ALTER TABLE executions RENAME TO away")
    await history.project(sink)
    assert not await sink.wants_anew()
    async with asyncio.timeout(20):
        while not await sink.wants_anew():
            await asyncio.sleep(0.1)
    await sql(database, "ALTER TABLE away RENAME TO executions")
    await history.project(sink)
    assert stopped(sink) == [] and not await sink.wants_anew()
    assert len((await Queries(database).executions("A0", None, 10)).items) == 3


async def test_projection_when_the_whole_database_is_in_trouble_then_no_partition_is_blamed(
    history: History, sink: ProjectionSink, database: Database
) -> None:
    await sink.positions()
    for sqlstate, trouble in [("53100", Trouble.FULL), ("25006", Trouble.READ_ONLY), ("57P01", Trouble.AWAY)]:
        await sql(
            database,
            "CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = '{sqlstate}'; END $$",
        )
        await sql(database, "CREATE OR REPLACE TRIGGER fails BEFORE INSERT ON executions EXECUTE FUNCTION fail()")
        with pytest.raises(DatabaseAway) as raised:
            await history.project(sink)
        assert raised.value.trouble is trouble
        assert stopped(sink) == []
    await sql(database, "DROP TRIGGER fails ON executions")
    await history.project(sink)
    assert (await database.transaction(state)).rows["executions"] == 12


async def test_database_when_read_only_then_it_is_known_before_a_record_comes(
    history: History, sink: ProjectionSink, database: Database, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orders.sink.LOOK_S", 0.0)
    await history.project(sink)
    name = (await sql(database, "SELECT current_database() AS name"))[0]["name"]
    await sql(database, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    operator = await asyncpg.connect(postgres_dsn)
    await operator.execute(_CUT_OTHERS)
    await operator.close()
    for ask in (sink.wants_anew, sink.positions):
        async with asyncio.timeout(10):
            while True:
                try:
                    await ask()
                except DatabaseAway as error:
                    if error.trouble is Trouble.READ_ONLY:
                        break
                await asyncio.sleep(0.01)
    assert await Queries(database).order("A0.1") is not None, "reads go on"
    healer = await asyncpg.connect(postgres_dsn, server_settings={"default_transaction_read_only": "off"})
    await healer.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    await healer.execute(_CUT_OTHERS)
    await healer.close()
    async with asyncio.timeout(10):
        while True:
            try:
                await sink.positions()
            except DatabaseAway:
                await asyncio.sleep(0.01)
            else:
                break


_CUT_OTHERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


@pytest.mark.parametrize("recreate", [False, True])
async def test_rebuild_while_projecting_then_the_rows_are_the_same_and_it_is_recorded(
    history: History, sink: ProjectionSink, database: Database, recreate: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orders.sink.LOOK_S", 0.0)
    await history.project(sink)
    before = await rows(database)
    await sql(database, "UPDATE orders SET state = 'CANCELED' WHERE order_id = 'A0.1'")
    await sql(database, "DELETE FROM executions WHERE order_id = 'A0.1'")
    await make_anew(database, recreate=recreate)
    assert await sink.wants_anew(), "without a record that comes"
    await history.project(sink)
    assert await rows(database) == before
    found = await database.transaction(state)
    assert [(by, why) for _, by, why in found.rebuilds] == [("test", "by hand")]


async def test_rebuild_when_records_come_at_the_same_time_then_none_is_lost_or_twice(
    history: History, sink: ProjectionSink, database: Database
) -> None:
    await history.project(sink)
    before = await rows(database)

    async def projecting() -> None:
        for _ in range(60):
            try:
                await history.project(sink)
                last = history.messages[-1]
                await sink.apply([last], {(last.topic.name, last.partition): last.offset + 1})
            except DatabaseAway:
                continue
            await asyncio.sleep(0)

    async def rebuilding() -> None:
        for number in range(6):
            await make_anew(database, recreate=bool(number % 2))

    await asyncio.gather(projecting(), rebuilding())
    await history.project(sink)
    assert stopped(sink) == []
    assert await rows(database) == before


async def test_hole_in_the_log_is_recorded(history: History, sink: ProjectionSink, database: Database) -> None:
    """An empty PostgreSQL and topics whose first records have expired: what lacks is said, not only lacking."""
    await history.project(sink)
    await make_anew(database)
    await sink.positions()
    starts = {(ORDERS_EVENTS.name, 0): 6, (ORDERS_EVENTS.name, 1): 0, (RISK_LEDGER.name, 0): 0}
    for _ in range(2):
        await sink.on_started(starts)
    found = await database.transaction(state)
    assert found.holes == [(ORDERS_EVENTS.name, 0, 0, 6)]
    assert sink.holes == 1
    again = ProjectionSink(database)
    await again.positions()
    assert again.holes == 1, "it is still missing after a restart"


async def test_position_when_its_row_is_deleted_then_the_rows_are_read_again_and_stay_the_same(
    history: History, sink: ProjectionSink, database: Database
) -> None:
    await history.project(sink)
    before = await rows(database)
    await sql(database, "DELETE FROM projection_positions")
    await history.project(sink)
    assert stopped(sink) == []
    assert await rows(database) == before


EDITS: Sequence[str] = (
    "DELETE FROM orders WHERE account_id = 'A0'",
    "UPDATE orders SET revision = 99",
    "DELETE FROM executions",
    "DELETE FROM decisions WHERE accepted",
    "UPDATE accounts SET ledger_seq = ledger_seq + 1",
    "UPDATE accounts SET ledger_seq = 0 WHERE account_id = 'A2'",
    "DELETE FROM balances",
    "DELETE FROM ledger_entries WHERE seq = 1",
    "DELETE FROM projection_positions WHERE partition = 0",
    "UPDATE projection_positions SET next_offset = next_offset + 3",
    "ALTER TABLE orders DROP COLUMN text",
    "DROP TABLE command_results",
    "DROP TABLE schema_migrations",
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=st.lists(st.sampled_from(EDITS), min_size=1, max_size=3, unique=True), cut=st.integers(1, 47))
async def test_property_after_any_edits_a_rebuild_makes_the_rows_what_they_were(
    history: History, database: Database, edits: list[str], cut: int
) -> None:
    """Whatever was done to the rows before or while records were projected."""
    await make_anew_from_nothing(database)
    fresh = ProjectionSink(database)
    await history.project(fresh)
    before = await rows(database)
    await make_anew_from_nothing(database)
    sink = ProjectionSink(database)
    whole, history.messages = history.messages, history.messages[:cut]
    try:
        await history.project(sink)
        for edit in edits:
            await sql(database, edit)
        history.messages = whole
        for _ in range(2):
            try:
                await history.project(sink)
            except DatabaseAway:
                continue
        await make_anew(database, recreate=True)
        async with asyncio.timeout(20):
            while True:
                try:
                    await history.project(sink)
                except DatabaseAway:
                    continue
                break
        assert stopped(sink) == []
        assert await rows(database) == before
    finally:
        history.messages = whole


async def make_anew_from_nothing(database: Database) -> None:
    await sql(database, "DROP SCHEMA public CASCADE")
    await sql(database, "CREATE SCHEMA public")


async def test_read_when_the_row_was_edited_into_nonsense_then_it_is_named(
    history: History, sink: ProjectionSink, database: Database
) -> None:
    await history.project(sink)
    await sql(database, "UPDATE orders SET state = 'PAID' WHERE order_id = 'A0.1'")
    await sql(database, "UPDATE executions SET exec_type = '?' WHERE order_id = 'A0.1'")
    await sql(database, "UPDATE ledger_entries SET postings = '7' WHERE seq = 2")
    await sql(database, "UPDATE balances SET amount = 'NaN' WHERE account_id = 'A2'")
    queries = Queries(database)
    for ask, name in [
        (queries.order("A0.1"), "order A0.1"),
        (queries.orders("A0", None, 10), "order A0.1"),
        (queries.executions("A0", None, 10), "execution A0.1.1"),
        (queries.ledger("A0", 0, 10), "ledger entry 2"),
        (queries.account("A2"), "account"),
    ]:
        with pytest.raises(DatabaseAway, match=f"row of {name} is not what the log says") as raised:
            await ask
        assert raised.value.trouble is Trouble.ROW
    order = await queries.order("A0.2")
    assert isinstance(order, OrderEvent)
