"""Wires the signals service. Nothing is opened before the worker starts."""

from functools import partial

from common.contracts.topics import MD_EVENTS, SIGNALS_EVENTS_CHANGELOG, SIGNALS_MARKET_CHANGELOG
from common.contracts.windows import NS
from common.fleet_app import TidemarkApp

from signals import event_stage, event_tables
from signals.installed import installed_measures, installed_patterns
from signals.query_api import EVENTS, STAGE, create_query_api
from signals.settings import SignalsSettings
from signals.stages import INPUTS, OUTPUTS, handle, market_table, market_views


def build(settings: SignalsSettings) -> TidemarkApp:
    """The service: the market, questions about it, and the events of others."""
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
    app.serve(create_query_api(app, settings))
    app.watch_dead_letters((*INPUTS, *event_stage.INPUTS) if settings.market_events else INPUTS)
    return app
