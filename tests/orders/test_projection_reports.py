"""The projection's keeping of a venue's reports and of an order's steps: all of it, also from an older schema on."""

from typing import Any

from common.contracts.events import ExecType
from common.contracts.topics import ORDERS_EVENTS, ORDERS_EXECUTIONS
from orders import projection
from orders.database import Connection, Database, migrations
from orders.domain.lifecycle import on_decision
from orders.queries import Queries
from orders.sink import ProjectionSink

from tests.orders.projected_log import Log

TRADE = {"last_qty": 3, "last_price_e4": 10, "cum_qty": 3, "leaves_qty": 97}


async def test_reports_under_one_id_then_each_body_on_each_order_is_read_and_a_repeat_is_not(
    log: Log, database: Database, make: Any
) -> None:
    fill = make.report(1, ExecType.TRADE, last_qty=40, last_price_e4=10, cum_qty=40, leaves_qty=60)
    other = fill.model_copy(update={"last_qty": 20, "cum_qty": 60, "leaves_qty": 40})
    of_another_order = fill.model_copy(update={"order_id": "A.2"})
    bust = make.report(2, ExecType.TRADE_CANCEL, ref_execution_id="A.1.1", leaves_qty=100)
    of_another_trade = bust.model_copy(update={"ref_execution_id": "A.1.9"})
    corrected = make.report(3, ExecType.TRADE_CORRECT, **(TRADE | {"ref_execution_id": "A.1.1"}))
    again = fill.model_copy(update={"venue_ns": 9, "text": "possible resend"})
    reports = [fill, other, of_another_order, bust, of_another_trade, corrected]
    await log.project(log.records(ORDERS_EXECUTIONS, *reports[:3], again))
    await log.project(log.records(ORDERS_EXECUTIONS, again, *reports[3:], bust))
    assert (await Queries(database).executions("A", None, 10)).items == reports[::-1]


async def test_events_of_an_order_are_read_in_their_order_page_by_page(log: Log, database: Database, make: Any) -> None:
    first = on_decision(None, make.decision(make.intent()), 7).order
    steps = ({"revision": revision, "cum_qty": revision, "text": f"step {revision}"} for revision in range(2, 6))
    events = [first, *(first.model_copy(update=step) for step in steps)]
    other = on_decision(None, make.decision(make.intent("2")), 7).order
    await log.project(log.records(ORDERS_EVENTS, *events[:2], other))
    await log.project(log.records(ORDERS_EVENTS, *events[2:]))
    queries = Queries(database)
    page = await queries.order_events("A.1", 0, 3)
    assert (page.items, page.next) == (events[:3], 3)
    page = await queries.order_events("A.1", 3, 3)
    assert (page.items, page.next) == (events[3:], None)
    assert (await queries.order_events("A.1", 2**62, 3)).items == []
    assert (await queries.order_events("A.3", 0, 3)).items == []


async def test_rows_of_an_older_schema_are_completed_from_the_log_and_kept_where_it_is_forgotten(
    database: Database, make: Any
) -> None:
    """As a database of the version before: one row for an id, busts without what they refer to, no events."""
    log = Log(ProjectionSink(database))
    order = on_decision(None, make.decision(make.intent()), 7).order
    events = [order, order.model_copy(update={"revision": 2, "text": "second"})]
    forgotten = make.report(1, ExecType.NEW, leaves_qty=100)
    bust = make.report(2, ExecType.TRADE_CANCEL, ref_execution_id="A.1.1", leaves_qty=100)
    reused = forgotten.model_copy(update={"text": "", "cum_qty": 5, "leaves_qty": 95})
    records = log.records(ORDERS_EXECUTIONS, forgotten, bust, reused)
    old = [name for name in projection.EXECUTION_COLUMNS.split(", ") if name != "ref_execution_id"]
    orders = ", ".join(name for name in projection.ORDER_COLUMNS.split(", ") if name not in {"min_qty", "expire_ns"})

    async def as_before(connection: Connection) -> None:
        await connection.execute(
            "CREATE TABLE schema_migrations "
            "(version int PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        for version, name, statements in migrations()[:3]:
            await connection.execute(statements)
            await connection.execute("INSERT INTO schema_migrations VALUES ($1, $2)", version, name)
        for report in (forgotten, bust):
            values = report.model_dump(mode="json")
            marks = ", ".join(f"${number}" for number in range(1, len(old) + 1))
            await connection.execute(
                f"INSERT INTO executions ({', '.join(old)}) VALUES ({marks})", *(values[name] for name in old)
            )
        await connection.execute(
            f"INSERT INTO orders ({orders}) SELECT {orders} FROM jsonb_populate_recordset(NULL::orders, $1::jsonb)",
            projection._json_rows(events[1:]),
        )
        await connection.execute(
            "INSERT INTO projection_positions VALUES ($1, 0, 5), ($2, 0, 3)", ORDERS_EXECUTIONS.name, ORDERS_EVENTS.name
        )

    await database.transaction(as_before)
    queries = Queries(database)
    await log.sink.positions()
    assert (await queries.executions("A", None, 10)).items[1] == forgotten
    assert (await queries.order_events("A.1", 0, 10)).items == events[1:]
    await log.sink.on_started({(ORDERS_EXECUTIONS.name, 0): 2, (ORDERS_EVENTS.name, 0): 0})
    assert log.sink.holes == 0
    await log.project(records[1:])
    await log.project(log.records(ORDERS_EVENTS, *events))
    assert (await queries.executions("A", None, 10)).items == [reused, bust, forgotten]
    assert (await queries.order_events("A.1", 0, 10)).items == events
    await log.sink.on_started({(ORDERS_EXECUTIONS.name, 0): 9})
    assert log.sink.holes == 1
