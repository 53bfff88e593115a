"""Cancels in the lifecycle stage: of one order, of many, and those that a suspension asks for.

A request may come before the gate has decided on its order: the two reach this stage by different topics. It is kept
for the orders whose intents were in the log when it came in, and every request is answered: by an event of its order,
or by a record of ``orders.cancel-reports``.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from common.contracts.cancels import CancelOutcome, CancelReport, MassCancel, OrderCancel
from common.contracts.events import CommandResult, OrderEvent, OrderState
from common.contracts.topics import ORDERS_CANCEL_REPORTS
from common.contracts.values import RestingOrders
from streams.model.message import Handled, Output
from streams.model.tables import Tables

from orders.domain.cancels import PendingCancel, is_full, pending_cancel
from orders.domain.lifecycle import CLOSED, on_cancel
from orders.lifecycle_rows import Decided, account_row, applied, keep_account

DECIDED_KEY: Final = b"intents"
AFFECTED_NAMED_MAX: Final = 5_000
"""Order ids in one report at most, so that it fits a record; the count beside them is whole."""
REQUESTED_TEXT: Final = "cancel requested"
SUSPENDED_TEXT: Final = "cancel requested: the account is suspended"


def on_order_cancel(request: OrderCancel, offset: int, tables: Tables, now_ns: int) -> Handled:
    """Raises ValueError for another account's order."""
    if not request.order_id.startswith(f"{request.account_id}."):
        raise ValueError(f"order {request.order_id} is not an order of account {request.account_id}")
    cancel = pending_cancel(request, offset)
    order: OrderEvent | None = tables.changelogged("orders").get(request.order_id.encode())
    if order is not None and (request.intents_offset is None or cancel.concerns(order)):
        yield from canceled(tables, order, request.sent_ns, now_ns)
    elif cancel.is_void(_decided(tables).before):
        yield _report(tables, request.account_id, offset, CancelOutcome.ORDER_UNKNOWN, now_ns)
    elif is_full(account_row(tables, request.account_id).pending, cancel):
        yield _report(tables, request.account_id, offset, CancelOutcome.TOO_MANY_PENDING, now_ns)
    else:
        _keep(tables, request.account_id, cancel)
        yield _report(tables, request.account_id, offset, CancelOutcome.PENDING, now_ns)


def on_mass_cancel(request: MassCancel, offset: int, tables: Tables, now_ns: int) -> Handled:
    """Applied to the orders that are open here; kept for those that the gate is yet to decide on."""
    cancel = pending_cancel(request, offset)
    if has_room(tables, request.account_id, cancel):
        yield from all_canceled(tables, request.account_id, cancel, now_ns)
    else:
        yield report_on(tables, request.account_id, cancel, CancelOutcome.TOO_MANY_PENDING, now_ns)


def has_room(tables: Tables, account_id: str, cancel: PendingCancel) -> bool:
    """Whether the request can be kept, where it has to be."""
    return cancel.is_void(_decided(tables).before) or not is_full(account_row(tables, account_id).pending, cancel)


def all_canceled(tables: Tables, account_id: str, cancel: PendingCancel, now_ns: int) -> Handled:
    """Cancels the open orders that a request about many concerns, and keeps it for those that are yet to be decided."""
    affected = [order for order in open_orders(tables, account_id) if cancel.concerns(order)]
    for order in affected:
        if order.state is not OrderState.PENDING_CANCEL:
            yield from canceled(tables, order, cancel.sent_ns, now_ns, cancel.text or REQUESTED_TEXT)
    void = cancel.is_void(_decided(tables).before)
    if not void:
        _keep(tables, account_id, cancel)
    outcome = CancelOutcome.DONE if void else CancelOutcome.PENDING
    yield report_on(tables, account_id, cancel, outcome, now_ns, [order.order_id for order in affected])


def on_command_result(result: CommandResult, tables: Tables, now_ns: int) -> Handled:
    """A suspension that cancels what rests. Every order that the gate accepted before it is known here by now."""
    if result.repeat or not result.accepted or result.resting is not RestingOrders.CANCEL:
        return
    affected = list(open_orders(tables, result.account_id))
    for order in affected:
        if order.state is not OrderState.PENDING_CANCEL:
            yield from canceled(tables, order, result.decided_ns, now_ns, SUSPENDED_TEXT)
    ids = [order.order_id for order in affected]
    yield _report(tables, result.account_id, -1, CancelOutcome.DONE, now_ns, ids, result.command_id)


def on_begun(order: OrderEvent, tables: Tables, now_ns: int) -> Handled:
    """The gate has decided on an order: the requests that waited for it are carried out.

    Each request of this one order gets an event of its own. A mass cancel needs none where the order is on its way out
    already, and is kept, for others that it may concern.
    """
    row = account_row(tables, order.account_id)
    met = [cancel for cancel in row.pending if cancel.concerns(order)]
    named, mass = [cancel for cancel in met if not cancel.is_mass], [cancel for cancel in met if cancel.is_mass]
    if order.state in CLOSED:
        mass = []
    for cancel in named or mass[:1]:
        standing: OrderEvent | None = tables.changelogged("orders").get(order.order_id.encode())
        assert standing is not None, "it has just begun"
        yield from canceled(tables, standing, cancel.sent_ns, now_ns, cancel.text or REQUESTED_TEXT)
    for cancel in mass:
        yield report_on(tables, order.account_id, cancel, CancelOutcome.PENDING, now_ns, [order.order_id])
    if named:
        row = account_row(tables, order.account_id)
        rest = tuple(cancel for cancel in row.pending if cancel not in named)
        keep_account(tables, order.account_id, replace(row, pending=rest))


def on_decided(intent_offset: int, tables: Tables, now_ns: int) -> Handled:
    """The gate's decisions have come as far as this intent: requests that waited for no later one are answered."""
    known = _decided(tables)
    before = max(known.before, intent_offset + 1)
    due = list(_due(tables, before)) if known.waits else []
    for key, account_id in due:
        tables.changelogged("waits").delete(key)
        row = account_row(tables, account_id)
        void = [cancel for cancel in row.pending if cancel.is_void(before)]
        rest = tuple(cancel for cancel in row.pending if not cancel.is_void(before))
        keep_account(tables, account_id, replace(row, pending=rest))
        for cancel in void:
            outcome = CancelOutcome.DONE if cancel.is_mass else CancelOutcome.ORDER_UNKNOWN
            yield report_on(tables, account_id, cancel, outcome, now_ns)
    tables.changelogged("decided").put(DECIDED_KEY, Decided(before, known.waits - len(due)))


def open_orders(tables: Tables, account_id: str | None) -> Iterator[OrderEvent]:
    """Open orders of an account; None: of all accounts of the partition.

    An account's orders stand together: an order id begins with the account's, which has no dot, and a dot.
    """
    begin = b"" if account_id is None else f"{account_id}.".encode()
    orders: list[tuple[bytes, OrderEvent]] = list(tables.changelogged("orders").prefix(begin))
    return (order for _, order in orders if order.state not in CLOSED)


def canceled(tables: Tables, order: OrderEvent, sent_ns: int, now_ns: int, text: str = REQUESTED_TEXT) -> Handled:
    """The order after a request to cancel it, and the request to the venue."""
    return applied(tables, on_cancel(order, sent_ns, now_ns, text), origin_ns=sent_ns, just_closed=False)


def _decided(tables: Tables) -> Decided:
    return tables.changelogged("decided").get(DECIDED_KEY) or Decided()


def _keep(tables: Tables, account_id: str, cancel: PendingCancel) -> None:
    row = account_row(tables, account_id)
    keep_account(tables, account_id, replace(row, pending=(*row.pending, cancel)))
    waits, key = tables.changelogged("waits"), _waits_key(cancel.intents_offset, account_id)
    if waits.get(key) is None:
        waits.put(key, account_id)
        known = _decided(tables)
        tables.changelogged("decided").put(DECIDED_KEY, replace(known, waits=known.waits + 1))


def _waits_key(intents_offset: int, account_id: str) -> bytes:
    return intents_offset.to_bytes(8, "big") + account_id.encode()


def _due(tables: Tables, before: int) -> Iterator[tuple[bytes, str]]:
    """Accounts with requests that no later decision can concern; keys are in the order of offsets."""
    for key, account_id in tables.changelogged("waits").prefix(b""):
        if int.from_bytes(key[:8], "big") > before:
            return
        yield key, account_id


def report_on(
    tables: Tables,
    account_id: str,
    cancel: PendingCancel,
    outcome: CancelOutcome,
    now_ns: int,
    affected: list[str] | None = None,
) -> Output:
    """The word on a request that came by a record: of ``orders.cancels``, or a lapse by one of ``orders.leases``."""
    if cancel.is_lapse:
        return lease_report(tables, account_id, cancel.cancel_offset, outcome, now_ns, affected)
    return _report(tables, account_id, cancel.cancel_offset, outcome, now_ns, affected)


def lease_report(
    tables: Tables,
    account_id: str,
    offset: int,
    outcome: CancelOutcome,
    now_ns: int,
    affected: list[str] | None = None,
) -> Output:
    """The word on the record at this offset of ``orders.leases``."""
    return _report(tables, account_id, -1, outcome, now_ns, affected, lease_offset=offset)


def _report(
    tables: Tables,
    account_id: str,
    offset: int,
    outcome: CancelOutcome,
    now_ns: int,
    affected: list[str] | None = None,
    command_id: str | None = None,
    lease_offset: int | None = None,
) -> Output:
    orders = affected or []
    report = CancelReport(
        account_id=account_id,
        cancel_partition=tables.partition,
        cancel_offset=offset,
        command_id=command_id,
        lease_offset=lease_offset,
        outcome=outcome,
        affected=tuple(orders[:AFFECTED_NAMED_MAX]),
        affected_count=len(orders),
        reported_ns=now_ns,
    )
    return Output(ORDERS_CANCEL_REPORTS, account_id.encode(), report, tables.partition)
