"""The lifecycle stage: decisions, cancel requests and execution reports in; order events and venue messages out.

Adapts the runtime's messages and tables to ``domain/lifecycle.py``. Tables, all by account, hence co-partitioned:

table     key                     row
========  ======================  =======================================================================
orders    order_id                OrderEvent: every open order and each account's newest closed ones
reports   order_id, execution_id  the report was applied; kept as long as the order
accounts  account_id              AccountRow: counters of the two rings, cancels that came before their order
closed    account_id, ring slot   order_id of a closed order
fills     account_id, ring slot   ExecutionReport of a trade
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from common.contracts.events import (
    Decision,
    ExecType,
    ExecutionReport,
    OrderCancel,
    OrderEvent,
    VenueCancel,
    VenueOrder,
)
from common.contracts.topics import (
    ORDERS_CANCELS,
    ORDERS_EVENTS,
    ORDERS_EXECUTIONS,
    RISK_DECISIONS,
    VENUE_ORDERS,
    market_partition,
)
from common.contracts.views import CLOSED_ORDERS_RETAINED, FILLS_RETAINED
from common.runtime.message import Handled, Message, Output, View
from common.runtime.tables import Changelogged, Tables

from orders.domain.lifecycle import CLOSED, Step, concerns_no_order, on_cancel, on_decision, on_report
from orders.rows import TEXT_CODEC, json_codec, ring_key

EARLY_CANCELS_MAX: Final = 32
"""Cancel requests per account that wait for the decision on their order; the oldest gives way."""


@dataclass(frozen=True, slots=True)
class EarlyCancel:
    """A cancel request whose order's decision this stage has not read yet: the two come by different topics."""

    order_id: str
    sent_ns: int


@dataclass(frozen=True, slots=True)
class AccountRow:
    closed: int = 0
    fills: int = 0
    early_cancels: tuple[EarlyCancel, ...] = ()


TABLES: Final = (
    Changelogged("orders", json_codec(OrderEvent)),
    Changelogged("reports", TEXT_CODEC),
    Changelogged("accounts", json_codec(AccountRow)),
    Changelogged("closed", TEXT_CODEC),
    Changelogged("fills", json_codec(ExecutionReport)),
)
INPUTS: Final = (RISK_DECISIONS, ORDERS_CANCELS, ORDERS_EXECUTIONS)
OUTPUTS: Final = (ORDERS_EVENTS, VENUE_ORDERS)


def handle(message: Message, tables: Tables, now_ns: int) -> Handled:
    """Raises ValueError or LookupError for what cannot be: an illegal transition, an unknown order, a false report."""
    body = message.body
    match body:
        case Decision():
            return _decision(body, tables, now_ns)
        case OrderCancel():
            return _cancel(body, tables, now_ns)
        case ExecutionReport():
            return _report(body, tables, now_ns)
    return ()  # the answer to a command concerns no order


def _decision(decision: Decision, tables: Tables, now_ns: int) -> Handled:
    if concerns_no_order(decision):
        return
    order_id = decision.order_id
    step = on_decision(tables.changelogged("orders").get(order_id.encode()), decision, now_ns)
    yield from _applied(tables, step, origin_ns=decision.intent.sent_ns, just_closed=step.order.state in CLOSED)
    account = _account(tables, decision.account_id)
    early = next((cancel for cancel in account.early_cancels if cancel.order_id == order_id), None)
    if early is None:
        return
    others = tuple(cancel for cancel in account.early_cancels if cancel.order_id != order_id)
    _keep_account(tables, decision.account_id, replace(account, early_cancels=others))
    # A request from before the order was sent cannot have meant this order.
    if early.sent_ns >= decision.intent.sent_ns:
        request = OrderCancel(account_id=decision.account_id, order_id=order_id, sent_ns=early.sent_ns)
        yield from _cancel(request, tables, now_ns)


def _cancel(cancel: OrderCancel, tables: Tables, now_ns: int) -> Handled:
    order: OrderEvent | None = tables.changelogged("orders").get(cancel.order_id.encode())
    if order is None:
        if not cancel.order_id.startswith(f"{cancel.account_id}."):
            raise ValueError(f"order {cancel.order_id} is not an order of account {cancel.account_id}")
        account = _account(tables, cancel.account_id)
        waiting = (*account.early_cancels, EarlyCancel(cancel.order_id, cancel.sent_ns))
        _keep_account(tables, cancel.account_id, replace(account, early_cancels=waiting[-EARLY_CANCELS_MAX:]))
        return
    yield from _applied(tables, on_cancel(order, cancel, now_ns), origin_ns=cancel.sent_ns, just_closed=False)


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
    yield from _applied(tables, step, origin_ns=0, just_closed=closes)
    if report.exec_type is ExecType.TRADE:
        yield from _fill(tables, report)


def _applied(tables: Tables, step: Step, *, origin_ns: int, just_closed: bool) -> Handled:
    order = step.order
    tables.changelogged("orders").put(order.order_id.encode(), order)
    yield Output(ORDERS_EVENTS, order.account_id.encode(), order)
    if step.to_venue is not None:
        yield _venue_output(step.to_venue)
    yield View("order", order.account_id, order.order_id, order, origin_ns)
    if just_closed:
        yield from _retain_closed(tables, order)


def _venue_output(message: VenueOrder | VenueCancel) -> Output:
    return Output(VENUE_ORDERS, message.symbol.encode(), message, partition=market_partition(message.instrument_id))


def _retain_closed(tables: Tables, order: OrderEvent) -> Handled:
    """The closed order takes a slot of its account's ring; the order that had it is forgotten, reports and all."""
    account = _account(tables, order.account_id)
    slot = ring_key(order.account_id, account.closed, CLOSED_ORDERS_RETAINED)
    closed = tables.changelogged("closed")
    forgotten: str | None = closed.get(slot)
    closed.put(slot, order.order_id)
    _keep_account(tables, order.account_id, replace(account, closed=account.closed + 1))
    if forgotten is None:
        return
    tables.changelogged("orders").delete(forgotten.encode())
    reports = tables.changelogged("reports")
    for key, _ in list(reports.prefix(forgotten.encode() + b"\0")):
        reports.delete(key)
    yield View("order", order.account_id, forgotten, None)


def _fill(tables: Tables, report: ExecutionReport) -> Handled:
    account = _account(tables, report.account_id)
    slot = ring_key(report.account_id, account.fills, FILLS_RETAINED)
    fills = tables.changelogged("fills")
    oldest: ExecutionReport | None = fills.get(slot)
    fills.put(slot, report)
    _keep_account(tables, report.account_id, replace(account, fills=account.fills + 1))
    if oldest is not None:
        yield View("fill", oldest.account_id, oldest.execution_id, None)
    yield View("fill", report.account_id, report.execution_id, report)


def _account(tables: Tables, account_id: str) -> AccountRow:
    return tables.changelogged("accounts").get(account_id.encode()) or AccountRow()


def _keep_account(tables: Tables, account_id: str, row: AccountRow) -> None:
    tables.changelogged("accounts").put(account_id.encode(), row)


def views(tables: Tables) -> Iterator[View]:
    """Every view row of a partition, for refilling Redis."""
    for _, order in tables.changelogged("orders").prefix(b""):
        yield View("order", order.account_id, order.order_id, order)
    for _, report in tables.changelogged("fills").prefix(b""):
        yield View("fill", report.account_id, report.execution_id, report)
