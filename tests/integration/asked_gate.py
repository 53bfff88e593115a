"""Asks the gate as this process has it, and prints as JSON what it answers and where it shows its checks.

    python tests/integration/asked_gate.py QTY...

Each quantity is one order: a LIMIT BUY at 100.00 of an account with 10,000.00. All are asked one by one, and all in one
batch, each time in a world of their own.
"""

import json
import sys
from typing import Any

from common.checks.installed import gate_of
from common.checks.reasons import denial_table
from common.contracts.events import OrderIntent
from common.contracts.market import mark_clock_key
from common.contracts.topics import ORDERS_INTENTS, RISK_COMMANDS, RISK_DECISIONS
from common.contracts.values import E4
from common.testing.orders import NOW_NS, clock_row, fund, instrument, intent, mark_row, set_account
from orders.api.web import create_api
from orders.desk import Desk
from orders.queries import Queries
from orders.reads import Reads
from orders.recent import Recent
from orders.settings import OrdersSettings
from orders.verdicts import Verdicts
from prometheus_client import generate_latest
from risk import stages
from risk.settings import RiskSettings
from risk.stages import Gate
from risk.tables import DAY_NS, TABLES
from streams.testing.tables import MemoryTables, message, said_at_once, said_one_by_one

CHAIN = gate_of(RiskSettings().checks)


def world() -> tuple[Gate, MemoryTables]:
    """One account with cash, one symbol quoted 99.00 to 101.00."""
    gate, tables = Gate(RiskSettings().limits.as_limits(), DAY_NS, CHAIN), MemoryTables(TABLES, 0)
    tables.globals("instruments").put(b"ACME", instrument("ACME", 1))
    tables.globals("marks").put(mark_clock_key(0), clock_row(), 0)
    tables.globals("marks").put(b"ACME", mark_row("ACME"), 0)
    for command in (set_account(), fund(command_id="cash", cash_e4=10_000 * E4)):
        gate.handle(message(RISK_COMMANDS, command.account_id.encode(), command), tables, NOW_NS)
    return gate, tables


def answers(orders: list[OrderIntent], *, at_once: bool) -> list[Any]:
    """Reason and numbers of each decision; null where it is accepted."""
    gate, tables = world()
    batch = [
        message(ORDERS_INTENTS, order.account_id.encode(), order, offset=offset)
        for offset, order in enumerate(orders, 1)
    ]
    said = (
        said_at_once(gate.handle_batch, gate.handle, batch, tables, NOW_NS)
        if at_once
        else said_one_by_one(gate.handle, batch, tables, NOW_NS)
    )
    decisions = [RISK_DECISIONS.schema.decode(outputs[0][3] or b"") for outputs in said]
    return [None if each.accepted else [each.reason, each.compared] for each in decisions]


def description() -> dict[str, Any]:
    """``/openapi.json`` of the orders service."""
    settings, verdicts = OrdersSettings(), Verdicts(1)
    nothing: Any = None
    reads = Reads(Queries(nothing), Recent(1), nothing)
    document: dict[str, Any] = create_api(
        Desk(nothing, verdicts, settings, lambda: True, nothing), reads, settings
    ).openapi()
    return document


if __name__ == "__main__":
    vars(stages)["RUN_MIN"] = 1
    orders = [intent(f"o{number}", qty=int(qty)) for number, qty in enumerate(sys.argv[1:])]
    print(
        json.dumps(
            {
                "one_by_one": answers(orders, at_once=False),
                "batch": answers(orders, at_once=True),
                "table": denial_table(CHAIN.checks),
                "openapi": description()["components"]["schemas"]["ReasonCode"],
                "metrics": generate_latest().decode(),
            }
        )
    )
