"""Wires the signals service. Nothing is opened before the worker starts."""

from common.contracts.topics import SIGNALS_MARKET_CHANGELOG
from common.contracts.windows import NS
from common.fleet_app import TidemarkApp

from signals.installed import installed_measures
from signals.settings import SignalsSettings
from signals.stages import INPUTS, OUTPUTS, handle, market_table, market_views


def build(settings: SignalsSettings) -> TidemarkApp:
    """The service: one stage, the market."""
    app = TidemarkApp("signals", settings)
    lateness_ns = round(settings.allowed_lateness_s * NS)
    app.stage(
        name="market",
        inputs=INPUTS,
        outputs=OUTPUTS,
        changelog=SIGNALS_MARKET_CHANGELOG,
        tables=(market_table(installed_measures(settings.measures), settings.snapshot_interval_s, lateness_ns),),
        views=market_views,
    )(handle)
    app.watch_dead_letters(INPUTS)
    return app
