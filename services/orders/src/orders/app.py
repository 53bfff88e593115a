"""A process of the orders service: two stages, the HTTP API and the projection, or those of them that it is to run."""

import asyncio
from collections.abc import Callable, Iterator, Sequence

import mode
from common.contracts.topics import (
    ORDERS_CANCEL_REPORTS,
    ORDERS_EVENTS,
    ORDERS_EXECUTIONS,
    ORDERS_LIFECYCLE_CHANGELOG,
    ORDERS_VENUE_CHANGELOG,
    RISK_CONTROLS,
    RISK_DECISIONS,
    RISK_WHAT_IFS,
    VENUE_ORDERS,
)
from common.fleet_app import TidemarkApp
from streams.edges.ends import LogEnds
from streams.edges.followers import Positions
from streams.kafka.broker_watch import is_broker_away
from streams.model.message import Message
from streams.model.tables import Tables

from orders import projection, stages
from orders.api.web import create_api
from orders.database import Database
from orders.desk import Desk
from orders.lease_watch import Lapses
from orders.lifecycle_rows import LAYOUT_VERSION, MIGRATIONS
from orders.lifecycle_runs import LifecycleRuns
from orders.projected import ProjectedLog
from orders.projection_elsewhere import ProjectionElsewhere
from orders.queries import Queries
from orders.reads import Reads
from orders.recent import Recent
from orders.settings import OrdersRole, OrdersSettings
from orders.sink import ProjectionSink
from orders.venue import rows as venue_rows
from orders.venue import stage as venue_stage
from orders.venue.calendar_file import load_calendar
from orders.venue.runs import VenueRuns
from orders.verdicts import Verdicts
from orders.wire import reads_framed

PROJECTION_CONNECTIONS = 2
"""Connections that only the projection uses, so that readers cannot hold it up."""
OnProjected = Callable[[Positions], None]


class Databases(mode.Service):  # type: ignore[misc]
    """Closes the pools with the worker."""

    def __init__(self, *databases: Database) -> None:
        super().__init__()
        self._databases = databases

    async def on_stop(self) -> None:
        await asyncio.gather(*(database.close() for database in self._databases))


def build(settings: OrdersSettings) -> TidemarkApp:
    """Declares the parts that this process runs, opens nothing."""
    app = TidemarkApp("orders", settings)
    ends, hears = LogEnds(settings, "orders"), has_broker
    if settings.roles != {OrdersRole.PROJECTION}:
        app.run_service(ends)
    if OrdersRole.WORKER in settings.roles:
        declare_stages(app, settings)
    if OrdersRole.API in settings.roles:
        hears = declare_api(app, settings, ends)
    elif OrdersRole.PROJECTION in settings.roles:
        projected = declare_projection(app, settings)
        is_alone = settings.roles == {OrdersRole.PROJECTION}
        app.health.add("projection", projected.check_alone if is_alone else projected.check)
    if OrdersRole.WORKER in settings.roles:
        app.run_service(Lapses(lambda: served_rows(app), hears, app.sender, ends))
    return app


def declare_stages(app: TidemarkApp, settings: OrdersSettings) -> None:
    """The lifecycle of orders and the venue."""
    framed = settings.log_format == "avro"
    app.stage(
        name="lifecycle",
        inputs=stages.INPUTS,
        outputs=stages.OUTPUTS,
        changelog=ORDERS_LIFECYCLE_CHANGELOG,
        tables=stages.TABLES,
        views=stages.views,
        version=LAYOUT_VERSION,
        migrations=MIGRATIONS,
        rest=settings.stages_rest,
        batch_handler=LifecycleRuns(framed=framed).handle_batch,
        reads_framed=reads_framed(RISK_DECISIONS, ORDERS_EXECUTIONS),
    )(stages.handle)
    venue = venue_stage.Venue(load_calendar(settings.venue_calendar))
    app.stage(
        name="venue",
        inputs=venue_stage.INPUTS,
        outputs=venue_stage.OUTPUTS,
        changelog=ORDERS_VENUE_CHANGELOG,
        tables=venue_rows.TABLES,
        version=venue_rows.LAYOUT_VERSION,
        migrations=venue_rows.MIGRATIONS,
        rest=settings.stages_rest,
        batch_handler=VenueRuns(venue, framed=framed).handle_batch,
        reads_framed=reads_framed(VENUE_ORDERS),
    )(venue.handle)
    app.watch_dead_letters((*stages.INPUTS, *venue_stage.INPUTS))


def served_rows(app: TidemarkApp) -> Iterator[Tables]:
    """Committed rows of the lifecycle's partitions that this process serves."""
    return (rows for task in app.tasks("lifecycle") if (rows := task.committed_tables()) is not None)


def has_broker() -> bool:
    return not is_broker_away()


def declare_api(app: TidemarkApp, settings: OrdersSettings, ends: LogEnds) -> Callable[[], bool]:
    """The HTTP API with what it answers from: the committed tail, and the projection in PostgreSQL.

    Returns whether it can be heard what clients ask, and they what is committed.
    """
    verdicts = Verdicts(settings.inflight_max)
    recent = Recent(settings.orders_recent_max)

    def on_tail(messages: Sequence[Message]) -> None:
        # What a client is about to be told can be read from here on.
        recent.on_messages(
            [message for message in messages if message.topic is RISK_DECISIONS or message.topic is ORDERS_EVENTS]
        )
        verdicts.on_messages(messages)

    tail = app.tail(
        (RISK_DECISIONS, RISK_CONTROLS, RISK_WHAT_IFS, ORDERS_EVENTS, ORDERS_CANCEL_REPORTS), on_tail, recent.on_started
    )
    projected: ProjectedLog | ProjectionElsewhere
    if OrdersRole.PROJECTION in settings.roles:
        projected = declare_projection(app, settings, recent.on_projected)
    else:
        projected = declare_projection_elsewhere(app, settings, ends, recent.on_projected)
    reading = Database(settings.postgres, settings.postgres.pool_max, settings.reads_timeout_ms)
    app.run_service(Databases(reading))
    # Told, not required: whatever PostgreSQL does, orders are taken and answered all the same.
    app.health.add("projection", projected.check)
    app.health.add("reads", reading.check)
    reads = Reads(Queries(reading), recent, projected, tail.as_of_ns)

    def hears() -> bool:
        return tail.ready()[0] and has_broker()

    desk = Desk(app.sender, verdicts, settings, hears, ends)
    app.serve(create_api(desk, reads, settings))
    return hears


def declare_projection(
    app: TidemarkApp, settings: OrdersSettings, on_projected: OnProjected = lambda _reached: None
) -> ProjectedLog:
    """PostgreSQL is written by this process; ``on_projected`` is told how far."""
    projecting = Database(settings.postgres, PROJECTION_CONNECTIONS, role=settings.postgres.writer)
    sink = ProjectionSink(projecting, on_projected)
    projected = ProjectedLog(sink, app.projection(projection.TOPICS, sink, settings.projection_backoff_max_s))
    app.run_service(Databases(projecting))
    return projected


def declare_projection_elsewhere(
    app: TidemarkApp, settings: OrdersSettings, ends: LogEnds, on_projected: OnProjected
) -> ProjectionElsewhere:
    """PostgreSQL is written by another process; ``on_projected`` is told how far."""
    watching = Database(settings.postgres, 1, settings.reads_timeout_ms)
    projected = ProjectionElsewhere(watching, ends, on_projected)
    app.run_service(projected)
    app.run_service(Databases(watching))
    return projected
