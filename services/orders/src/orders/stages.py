"""The lifecycle stage: decisions, cancel requests, reports and breaks in; order events and venue messages out.

Adapts the runtime's messages and tables (``lifecycle_rows``) to ``domain/lifecycle.py``.

A report is judged as the gate judges it (``common.executions``), from the decision and the reports before it. What is
refused changes nothing here: the gate has made a break of it, whose resolution comes by ``risk.breaks``. Where the
decision on an order has not been read yet, because it comes by another topic, the order's reports wait. The gate's
break on an order that never was ends their waiting.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from common.contracts.breaks import BreakReason, BreakResolution, ExecutionBreak
from common.contracts.cancels import MassCancel, OrderCancel
from common.contracts.controls import ControlResult
from common.contracts.events import (
    BreakAction,
    CommandResult,
    Decision,
    ExecType,
    ExecutionReport,
    OrderEvent,
    OrderState,
)
from common.contracts.leases import LeaseKept, LeaseLapsed, LeaseReleased
from common.contracts.topics import (
    ORDERS_CANCEL_REPORTS,
    ORDERS_CANCELS,
    ORDERS_EVENTS,
    ORDERS_EXECUTIONS,
    ORDERS_LEASES,
    RISK_BREAKS,
    RISK_CONTROLS,
    RISK_DECISIONS,
    VENUE_ORDERS,
)
from common.contracts.twins import as_model
from common.contracts.values import INT64_MAX, Side
from common.contracts.views import FILLS_RETAINED
from common.executions import Accept, Repeat, judge
from common.reported import OF_NO_ORDER, End, Execution, OrderFacts, Progress
from prometheus_client import Counter
from streams.model.message import Handled, Message, View
from streams.model.tables import Tables

from orders import cancels, halts, leases
from orders.domain.lifecycle import CLOSED, concerns_no_order, on_decision, on_report, on_resolution, refused_by
from orders.lifecycle_rows import TABLES as TABLES
from orders.lifecycle_rows import AccountRow, ProgressRow, account_row, applied, keep_account
from orders.lifecycle_rows import EarlyRow as EarlyRow
from orders.rows import ring_key
from orders.wire import DECISION_TWIN, REPORT_TWIN, read, shown

EARLY_REPORTS = Counter(
    "tidemark_orders_early_reports_total",
    "Reports, and resolutions of breaks, on an order that the lifecycle does not know: not yet, or not any more",
)
EARLY_MAX: Final = 256
"""Reports and resolutions per account that wait for the decision on their order; the oldest gives way."""

INPUTS: Final = (RISK_DECISIONS, RISK_CONTROLS, ORDERS_CANCELS, ORDERS_LEASES, ORDERS_EXECUTIONS, RISK_BREAKS)
OUTPUTS: Final = (ORDERS_EVENTS, ORDERS_CANCEL_REPORTS, VENUE_ORDERS)


def handle(message: Message, tables: Tables, now_ns: int) -> Handled:
    """Raises ValueError for what cannot be: an illegal transition, a cancel request for another account's order."""
    twin = read(message)
    body = message.body if twin is None else twin
    match body:
        case Decision() | DECISION_TWIN():
            return _decision(body, tables, now_ns)
        case CommandResult():
            return cancels.on_command_result(body, tables, now_ns)
        case ControlResult():
            return halts.on_control_result(body, tables, now_ns)
        case OrderCancel():
            return cancels.on_order_cancel(body, message.offset, tables, now_ns)
        case MassCancel():
            return cancels.on_mass_cancel(body, message.offset, tables, now_ns)
        case LeaseKept() | LeaseReleased() | LeaseLapsed():
            return leases.on_lease(body, message.offset, tables, now_ns)
        case ExecutionReport() | REPORT_TWIN():
            return _report(body, tables, now_ns)
        case ExecutionBreak():
            return _break(body, tables)
        case BreakResolution():
            return _resolution(body, tables, now_ns)
    raise AssertionError(f"{message.topic.name} is no input of this stage")


def _decision(decision: Decision, tables: Tables, now_ns: int) -> Handled:
    if not concerns_no_order(decision):
        yield from _begun(decision, tables, now_ns)
    yield from cancels.on_decided(decision.intent_offset, tables, now_ns)


def _begun(decision: Decision, tables: Tables, now_ns: int) -> Handled:
    order_id = decision.order_id
    order: OrderEvent | None = tables.changelogged("orders").get(order_id.encode())
    step = on_decision(order, decision, now_ns)
    if decision.accepted and decision.intent.limit_price_e4 is None:
        row = ProgressRow(decision.protection_price_e4)
        tables.changelogged("progress").put(order_id.encode(), row)
    yield from applied(tables, step, origin_ns=decision.intent.sent_ns, just_closed=step.order.state in CLOSED)
    yield from cancels.on_begun(step.order, tables, now_ns)
    yield from halts.on_begun(order_id, tables, now_ns)
    for waited in _take_early(tables, decision.account_id, order_id):
        if isinstance(waited, ExecutionReport):
            yield from _report(waited, tables, now_ns)
        else:
            yield from _resolution(waited, tables, now_ns)


def _report(report: ExecutionReport, tables: Tables, now_ns: int) -> Handled:
    order: OrderEvent | None = tables.changelogged("orders").get(report.order_id.encode())
    if order is None:
        # A refused cancel of an order that is not known: it had ended before the venue was asked, and is forgotten.
        is_own = report.order_id.startswith(f"{report.account_id}.")
        if is_own and report.exec_type is not ExecType.CANCEL_REJECTED:
            _wait(tables, report.account_id, as_model(report, ExecutionReport))
        return
    reports = tables.changelogged("reports")
    row = _progress_row(tables, order)
    progress = row.progress or progress_shown_by(order)
    key = report.order_id.encode() + b"\0"
    if report.exec_type is ExecType.CANCEL_REJECTED and _was_refused_before(tables, report):
        return
    verdict = judge(facts(order, row), progress, lambda execution_id: reports.get(key + execution_id.encode()), report)
    if isinstance(verdict, Repeat):
        return
    for execution_id, seen in verdict.executions.items():
        reports.put(key + execution_id.encode(), seen)
    after = ProgressRow(row.worst_price_e4, verdict.progress, row.refused_qty)
    if verdict.executions and after != row:
        tables.changelogged("progress").put(report.order_id.encode(), after)
    if not isinstance(verdict, Accept):
        return
    step = on_report(order, report, verdict.effect, now_ns, row.refused_qty)
    closes = order.state not in CLOSED and step.order.state in CLOSED
    yield from applied(tables, step, origin_ns=0, just_closed=closes)
    if report.exec_type is ExecType.TRADE:
        yield from fill(tables, report)


def _was_refused_before(tables: Tables, report: ExecutionReport) -> bool:
    """A refused cancel is no execution and the judge does not remember it; its event is written once all the same."""
    key = b"%s\0\0%s" % (report.order_id.encode(), report.execution_id.encode())
    reports = tables.changelogged("reports")
    if reports.get(key) is not None:
        return True
    reports.put(key, Execution(""))
    return False


def _progress_row(tables: Tables, order: OrderEvent) -> ProgressRow:
    return tables.changelogged("progress").get(order.order_id.encode()) or ProgressRow()


def progress_shown_by(order: OrderEvent) -> Progress:
    """Progress of an order by its own events alone: of an older version's order, or before the first report."""
    ended = None
    if order.state in CLOSED:
        ended = End.FILLED if order.cum_qty == order.qty else End.CANCELED
    return Progress(acknowledged=order.cum_qty > 0, cum_qty=order.cum_qty, ended=ended)


def facts(order: OrderEvent, row: ProgressRow) -> OrderFacts:
    """Facts of an order, as the judge is told them."""
    worst_price_e4 = row.worst_price_e4 if row.worst_price_e4 is not None else order.limit_price_e4
    if worst_price_e4 is None:
        worst_price_e4 = INT64_MAX if order.side is Side.BUY else 0
    denied = order.state is OrderState.DENIED
    return OrderFacts(order.symbol, order.side, order.qty, worst_price_e4, denied)


def _break(opened: ExecutionBreak, tables: Tables) -> Handled:
    """The gate knows of no such order, and accepts none any more: reports on it need not wait."""
    if opened.reason is BreakReason.ORDER_UNKNOWN:
        _take_early(tables, opened.account_id, opened.order_id)
        row = _early_row(tables, opened.account_id)
        others = tuple(order_id for order_id in row.never if order_id != opened.order_id)
        _keep_early(tables, opened.account_id, replace(row, never=(*others, opened.order_id)[-EARLY_MAX:]))
    return ()


def _resolution(resolution: BreakResolution, tables: Tables, now_ns: int) -> Handled:
    opened = resolution.resolved
    if opened.reason in OF_NO_ORDER:
        return
    order: OrderEvent | None = tables.changelogged("orders").get(opened.order_id.encode())
    if order is None:
        _wait(tables, resolution.account_id, resolution)
        return
    row = _progress_row(tables, order)
    refused_qty = row.refused_qty + refused_by(resolution)
    step = on_resolution(order, resolution, now_ns, refused_qty)
    if step is None:
        return
    # From now on the order shows what was booked by hand, and no longer what the venue alone has said.
    after = replace(row, progress=row.progress or progress_shown_by(order), refused_qty=refused_qty)
    if after != row:
        tables.changelogged("progress").put(order.order_id.encode(), after)
    closes = order.state not in CLOSED and step.order.state in CLOSED
    yield from applied(tables, step, origin_ns=0, just_closed=closes)
    if resolution.action is BreakAction.BOOK and opened.report.exec_type is ExecType.TRADE:
        yield from fill(tables, opened.report)


def _wait(tables: Tables, account_id: str, message: ExecutionReport | BreakResolution) -> None:
    row = _early_row(tables, account_id)
    if _order_named_by(message) not in row.never:
        EARLY_REPORTS.inc()
        _keep_early(tables, account_id, replace(row, waiting=(*row.waiting, message)[-EARLY_MAX:]))


def _take_early(tables: Tables, account_id: str, order_id: str) -> list[ExecutionReport | BreakResolution]:
    """Messages that have waited for this order, in the order of their arrival."""
    row = _early_row(tables, account_id)
    taken = [message for message in row.waiting if _order_named_by(message) == order_id]
    if taken:
        rest = tuple(message for message in row.waiting if _order_named_by(message) != order_id)
        _keep_early(tables, account_id, replace(row, waiting=rest))
    return taken


def _early_row(tables: Tables, account_id: str) -> EarlyRow:
    return tables.changelogged("early").get(account_id.encode()) or EarlyRow()


def _keep_early(tables: Tables, account_id: str, row: EarlyRow) -> None:
    early = tables.changelogged("early")
    if row.waiting or row.never:
        early.put(account_id.encode(), row)
    else:
        early.delete(account_id.encode())


def _order_named_by(message: ExecutionReport | BreakResolution) -> str:
    return message.order_id if isinstance(message, ExecutionReport) else message.resolved.order_id


def fill(tables: Tables, report: ExecutionReport) -> Iterator[View]:
    """Keeps and shows a trade; it takes a slot of its account's ring."""
    account = account_row(tables, report.account_id)
    slot = ring_key(report.account_id, account.fills, FILLS_RETAINED)
    fills = tables.changelogged("fills")
    oldest: ExecutionReport | None = fills.get(slot)
    fills.put(slot, report)
    keep_account(tables, report.account_id, AccountRow(account.closed, account.fills + 1, account.pending))
    if oldest is not None:
        yield View("fill", oldest.account_id, oldest.execution_id, None)
    yield View("fill", report.account_id, report.execution_id, shown(report))


def views(tables: Tables) -> Iterator[View]:
    """Every view row of a partition, for refilling Redis."""
    for _, order in tables.changelogged("orders").prefix(b""):
        yield View("order", order.account_id, order.order_id, shown(order))
    for _, report in tables.changelogged("fills").prefix(b""):
        yield View("fill", report.account_id, report.execution_id, shown(report))
