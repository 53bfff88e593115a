"""Wires the signals service. Nothing is opened before the worker starts."""

from functools import partial

from common.contracts.topics import (
    MD_EVENTS,
    ORDERS_EVENTS,
    SIGNALS_EVENTS_CHANGELOG,
    SIGNALS_MARKET_CHANGELOG,
    SIGNALS_TRADERS_CHANGELOG,
)
from common.contracts.windows import NS
from common.fleet_app import TidemarkApp

from signals import event_stage, event_tables, trader_stage, trader_tables
from signals.installed import installed_measures, installed_patterns
from signals.query_api import EVENTS, STAGE, create_query_api
from signals.settings import SignalsSettings
from signals.stages import INPUTS, OUTPUTS, handle, market_table, market_views
from signals.trader_stage import TraderStage


def build(settings: SignalsSettings) -> TidemarkApp:
    """The service: the market, questions about it, the events of others, and sessions of traders."""
    app = TidemarkApp("signals", settings)
    lateness_ns, measures = round(settings.allowed_lateness_s * NS), installed_measures(settings.measures)
    app.stage(
        name=STAGE,
        inputs=INPUTS,
        outputs=OUTPUTS,
        changelog=SIGNALS_MARKET_CHANGELOG,
        tables=(
            market_table(
                measures,
                settings.snapshot_interval_s,
                lateness_ns,
                settings.alert.limits,
                installed_patterns(settings.patterns),
                settings.feed.bounds,
                settings.optional_windows,
            ),
        ),
        views=market_views,
    )(handle)
    if settings.market_events:
        silence_ns = round(settings.venue_silence_s * NS)
        app.stage(
            name=EVENTS,
            inputs=event_stage.INPUTS,
            outputs=event_stage.OUTPUTS,
            changelog=SIGNALS_EVENTS_CHANGELOG,
            tables=event_tables.TABLES,
            batch_handler=partial(event_stage.handle_batch, silence_ns=silence_ns),
            version=event_tables.LAYOUT_VERSION,
            reads_framed={MD_EVENTS: event_stage.file_of_events().id},
        )(partial(event_stage.handle, silence_ns=silence_ns))
    if settings.trader_sessions:
        traders = TraderStage(settings.trader_gaps_ns, lateness_ns)
        app.stage(
            name="traders",
            inputs=trader_stage.INPUTS,
            outputs=trader_stage.OUTPUTS,
            changelog=SIGNALS_TRADERS_CHANGELOG,
            tables=trader_tables.TABLES,
            batch_handler=traders.handle_batch,
            version=trader_tables.LAYOUT_VERSION,
            reads_framed={ORDERS_EVENTS: trader_stage.ORDERS.schema_id},
        )(traders.handle)
    app.serve(create_query_api(app, settings))
    app.watch_dead_letters([topic for stage in app.stages for topic in stage.inputs])
    return app
