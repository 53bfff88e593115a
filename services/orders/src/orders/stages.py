"""The lifecycle stage: decisions, cancel requests and execution reports in; order events and venue messages out.

Adapts the runtime's messages and tables to ``domain/lifecycle.py``.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from common.contracts.cancels import MassCancel, OrderCancel
from common.contracts.events import CommandResult, Decision, ExecType, ExecutionReport, OrderEvent
from common.contracts.topics import (
    ORDERS_CANCEL_REPORTS,
    ORDERS_CANCELS,
    ORDERS_EVENTS,
    ORDERS_EXECUTIONS,
    RISK_DECISIONS,
    VENUE_ORDERS,
)
from common.contracts.views import FILLS_RETAINED
from common.runtime.message import Handled, Message, View
from common.runtime.tables import Tables

from orders import cancels
from orders.domain.lifecycle import CLOSED, concerns_no_order, on_decision, on_report
from orders.lifecycle_rows import TABLES as TABLES
from orders.lifecycle_rows import account_row, applied, keep_account
from orders.rows import ring_key

INPUTS: Final = (RISK_DECISIONS, ORDERS_CANCELS, ORDERS_EXECUTIONS)
OUTPUTS: Final = (ORDERS_EVENTS, ORDERS_CANCEL_REPORTS, VENUE_ORDERS)


def handle(message: Message, tables: Tables, now_ns: int) -> Handled:
    """Raises ValueError or LookupError for what cannot be: an illegal transition, an unknown order, a false report."""
    body = message.body
    match body:
        case Decision():
            return _decision(body, tables, now_ns)
        case CommandResult():
            return cancels.on_command_result(body, tables, now_ns)
        case OrderCancel():
            return cancels.on_order_cancel(body, message.offset, tables, now_ns)
        case MassCancel():
            return cancels.on_mass_cancel(body, message.offset, tables, now_ns)
        case ExecutionReport():
            return _report(body, tables, now_ns)
    raise AssertionError(f"{message.topic.name} is no input of this stage")


def _decision(decision: Decision, tables: Tables, now_ns: int) -> Handled:
    if not concerns_no_order(decision):
        order: OrderEvent | None = tables.changelogged("orders").get(decision.order_id.encode())
        step = on_decision(order, decision, now_ns)
        yield from applied(tables, step, origin_ns=decision.intent.sent_ns, just_closed=step.order.state in CLOSED)
        yield from cancels.on_begun(step.order, tables, now_ns)
    yield from cancels.on_decided(decision.intent_offset, tables, now_ns)


def _report(report: ExecutionReport, tables: Tables, now_ns: int) -> Handled:
    reports = tables.changelogged("reports")
    report_key = b"%s\0%s" % (report.order_id.encode(), report.execution_id.encode())
    if reports.get(report_key) is not None:
        return
    order: OrderEvent | None = tables.changelogged("orders").get(report.order_id.encode())
    if order is None:
        if report.exec_type is ExecType.CANCEL_REJECTED:
            return  # it had ended before the venue was asked, and so many others since that it is forgotten
        raise LookupError(f"report {report.execution_id} on order {report.order_id}, which is not known here")
    step = on_report(order, report, now_ns)
    reports.put(report_key, report.exec_type.value)
    closes = order.state not in CLOSED and step.order.state in CLOSED
    yield from applied(tables, step, origin_ns=0, just_closed=closes)
    if report.exec_type is ExecType.TRADE:
        yield from _fill(tables, report)


def _fill(tables: Tables, report: ExecutionReport) -> Handled:
    account = account_row(tables, report.account_id)
    slot = ring_key(report.account_id, account.fills, FILLS_RETAINED)
    fills = tables.changelogged("fills")
    oldest: ExecutionReport | None = fills.get(slot)
    fills.put(slot, report)
    keep_account(tables, report.account_id, replace(account, fills=account.fills + 1))
    if oldest is not None:
        yield View("fill", oldest.account_id, oldest.execution_id, None)
    yield View("fill", report.account_id, report.execution_id, report)


def views(tables: Tables) -> Iterator[View]:
    """Every view row of a partition, for refilling Redis."""
    for _, order in tables.changelogged("orders").prefix(b""):
        yield View("order", order.account_id, order.order_id, order)
    for _, report in tables.changelogged("fills").prefix(b""):
        yield View("fill", report.account_id, report.execution_id, report)
