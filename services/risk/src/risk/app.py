"""Wires the risk service. Nothing is opened before the worker starts."""

import time
from typing import Final

from common.checks.installed import gate_of
from common.columns import rows_in_columns
from common.contracts.topics import AUDITOR_FENCES, ORDERS_INTENTS, RISK_GATE_CHANGELOG, RISK_LEDGER
from common.fleet_app import TidemarkApp
from streams.process.build_info import version_of

from risk import alert_halts
from risk.alert_halts import AlertHalts
from risk.basis import BasisWriter
from risk.booking import continues_ledger
from risk.framed import file_of
from risk.framed_answers import FramedAnswers
from risk.settings import RiskSettings
from risk.stages import INPUTS, OUTPUTS, SHOWS, VERIFY, Gate, views
from risk.tables import LAYOUT_VERSION, MIGRATIONS, TABLES

NS_PER_S: Final = 1_000_000_000


def build(settings: RiskSettings) -> TidemarkApp:
    """The service: one stage, the gate; and who requests halts of it where market alerts ask for them."""
    app = TidemarkApp("risk", settings)
    framed = FramedAnswers() if settings.log_format == "avro" else None
    limits, chain = settings.limits.as_limits(), gate_of(settings.checks)
    basis = BasisWriter(version_of("risk"), chain, limits)
    gate = Gate(limits, settings.id_retention_ns(), chain, framed, basis)
    app.stage(
        name="gate",
        inputs=INPUTS,
        outputs=OUTPUTS,
        changelog=RISK_GATE_CHANGELOG,
        tables=TABLES,
        views=views,
        shows=SHOWS,
        verify=VERIFY,
        batch_handler=gate.handle_batch,
        continues={RISK_LEDGER: continues_ledger},
        version=LAYOUT_VERSION,
        migrations=MIGRATIONS,
        fences=AUDITOR_FENCES,
        reads_framed={ORDERS_INTENTS: file_of(ORDERS_INTENTS).id},
        row_records=rows_in_columns,
    )(gate.handle)
    if settings.halt.on_alerts:
        halts = AlertHalts(app.sender, round(settings.halt.alert_age_max_s * NS_PER_S), time.time_ns)
        following = app.projection(alert_halts.TOPICS, halts)
        app.health.add("alert halts", following.ready)
    app.watch_dead_letters(INPUTS)
    return app
