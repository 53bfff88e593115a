"""Wires the risk service. Nothing is opened before the worker starts."""

from common.contracts.topics import RISK_GATE_CHANGELOG
from common.runtime.app import TidemarkApp

from risk.settings import RiskSettings
from risk.stages import INPUTS, OUTPUTS, SHOWS, VERIFY, account_views, gate_handler
from risk.tables import TABLES


def build(settings: RiskSettings) -> TidemarkApp:
    """The service: one stage, the gate."""
    app = TidemarkApp("risk", settings)
    app.stage(
        name="gate",
        inputs=INPUTS,
        outputs=OUTPUTS,
        changelog=RISK_GATE_CHANGELOG,
        tables=TABLES,
        views=account_views,
        shows=SHOWS,
        verify=VERIFY,
    )(gate_handler(settings.limits(), settings.id_retention_ns()))
    app.watch_dead_letters(INPUTS)
    return app
