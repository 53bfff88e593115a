"""Breaks: execution reports that are refused, kept until an operator books them or refuses them for good."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec
from common.contracts.breaks import BreakReason, BreakResolution, ExecutionBreak
from common.contracts.events import BreakAction, ExecutionReport, ReasonCode, ResolveBreak
from common.contracts.topics import RISK_BREAKS
from common.executions import Refusal
from common.reported import OF_NO_ORDER, Effect, effect_of
from streams.model.message import Message, Output, View
from streams.model.tables import Tables

from risk import metrics
from risk.booking import book, keep
from risk.domain.account import (
    NO_PROGRESS,
    AccountRow,
    BreakCount,
    BreakRow,
    ExecutionRow,
    OrderRow,
    PositionRow,
    ProgressRow,
)
from risk.domain.gate import Denial
from risk.domain.open_orders import with_leaves
from risk.domain.settlement import Reserved, Settled, Short, Source, settle
from risk.tables import SLOT_BYTES, break_key, execution_key, order_key, position_key

_DENIALS: Final[Mapping[BreakReason, ReasonCode]] = {
    BreakReason.CASH_SHORT: ReasonCode.CASH_INSUFFICIENT,
    BreakReason.POSITION_SHORT: ReasonCode.POSITION_INSUFFICIENT,
}
_WITHOUT_HOLD: Final = (0, 0)


# --- opening ------------------------------------------------------------------------------------------------------


def open_break(
    message: Message,
    report: ExecutionReport,
    refusal: Refusal,
    effect: Effect,
    tables: Tables,
    now_ns: int,
    held: tuple[int, int] | None = None,
) -> Output:
    """Keeps a refused report and says so. ``held``: the order has moved; shares and price of what stays reserved."""
    opened = ExecutionBreak(
        break_id=f"{message.partition}-{message.offset}",
        account_id=report.account_id,
        order_id=report.order_id,
        reason=refusal.reason,
        compared=dict(refusal.compared),
        parked=held is not None,
        effect=effect.reported(),
        report=report,
        opened_ns=now_ns,
    )
    held_qty, held_price_e4 = held or _WITHOUT_HOLD
    row = BreakRow(opened.model_dump_json().encode(), held_qty, held_price_e4, now_ns)
    tables.changelogged("breaks").put(break_key(opened.account_id, opened.break_id), row)
    _count(tables, opened.reason, 1)
    metrics.BREAKS.labels(opened.reason).inc()
    return _record(message, opened)


def _record(message: Message, body: ExecutionBreak | BreakResolution) -> Output:
    assert message.key is not None
    return Output(RISK_BREAKS, message.key, body, message.partition)


def _count(tables: Tables, reason: BreakReason, change: int) -> None:
    counts = tables.changelogged("break_counts")
    count: BreakCount = counts.get(reason.encode()) or BreakCount()
    counts.put(reason.encode(), BreakCount(count.open + change))
    metrics.BREAKS_OPEN.labels(tables.partition, reason).set(count.open + change)


# --- resolving ----------------------------------------------------------------------------------------------------


def resolve_break(
    message: Message, command: ResolveBreak, account: AccountRow | None, tables: Tables, now_ns: int
) -> Denial | list[Output]:
    """Books what the refused report says has happened, or lets it be; in both cases for good."""
    breaks = tables.changelogged("breaks")
    row_key = break_key(command.account_id, command.break_id)
    row: BreakRow | None = breaks.get(row_key)
    if account is None:
        return Denial(ReasonCode.ACCOUNT_UNKNOWN, {})
    if row is None:
        return Denial(ReasonCode.BREAK_UNKNOWN, {})
    if row.resolved_by is not None:
        return Denial(ReasonCode.BREAK_RESOLVED, {})
    opened = row.opened()
    moved = _moved(command, row, opened, account, tables, now_ns)
    if isinstance(moved, Denial):
        return moved
    outputs = [book(message, tables, entry) for entry in moved.entries] if moved is not None else []
    breaks.put(row_key, msgspec.structs.replace(row, touched_ns=now_ns, resolved_by=command.command_id))
    _count(tables, opened.reason, -1)
    resolution = BreakResolution(
        break_id=command.break_id,
        account_id=command.account_id,
        command_id=command.command_id,
        action=command.action,
        note=command.note,
        resolved=opened,
        resolved_ns=now_ns,
    )
    return [*outputs, _record(message, resolution)]


def _moved(
    command: ResolveBreak, row: BreakRow, opened: ExecutionBreak, account: AccountRow, tables: Tables, now_ns: int
) -> Settled | Denial | None:
    """Moves money and order, and writes their rows. None where there is nothing to move."""
    report, effect = opened.report, effect_of(opened.effect)
    books = command.action is BreakAction.BOOK
    if not books and not opened.parked:
        return None
    order_row_key = order_key(report.order_id)
    order: OrderRow | None = None
    if opened.reason not in OF_NO_ORDER:
        order = tables.changelogged("orders").get(order_row_key)
    progress: ProgressRow = tables.changelogged("progress").get(order_row_key) or NO_PROGRESS
    if books and (denial := _denial(opened, order, progress, tables)) is not None:
        return denial
    account_key = command.account_id.encode()
    position: PositionRow | None = tables.changelogged("positions").get(position_key(account_key, report.symbol))
    source = Source(command.account_id, report.order_id, report.execution_id, command.command_id)
    reserved = _reserved(row, opened, order, progress)
    moves = effect
    if opened.parked:
        # The order has moved: what was held for the report is used up, or let go.
        moves = effect._replace(ends=False) if books else Effect(ends=True)
    settled = settle(account, position, reserved, moves, source, now_ns)
    if isinstance(settled, Short):
        return Denial(_DENIALS.get(settled.reason, ReasonCode.COMMAND_INVALID), dict(settled.compared))
    if books:
        _note_by_hand(opened, tables)
    if order is not None:
        order_after, progress_after = _resolved(opened, order, progress, settled.leaves_qty, books=books)
        kept, held = with_leaves(settled.account, settled.position, order, order_after.leaves_qty)
        settled = msgspec.structs.replace(settled, account=kept, position=held)
        tables.changelogged("orders").put(order_row_key, msgspec.structs.replace(order_after, touched_ns=now_ns))
        if progress_after != progress:
            tables.changelogged("progress").put(order_row_key, progress_after)
    if settled.entries:
        keep(tables, account_key, settled.account, report.symbol, position, settled.position)
    return settled


def _resolved(
    opened: ExecutionBreak, order: OrderRow, progress: ProgressRow, reserved_qty: int, *, books: bool
) -> tuple[OrderRow, ProgressRow]:
    """The order's rows after it. ``reserved_qty`` is what is left of the reservation that it was booked from."""
    effect = opened.effect
    change_qty = effect.fill_qty - effect.back_qty
    if not opened.parked:
        after = msgspec.structs.replace(order, cum_qty=order.cum_qty + change_qty, leaves_qty=reserved_qty)
        ends = effect.ends or progress.ended_by_hand
        return after, msgspec.structs.replace(progress, ended_by_hand=ends)
    waited = _waited(opened, progress)
    if books:
        return msgspec.structs.replace(order, leaves_qty=order.leaves_qty + reserved_qty), waited
    after = msgspec.structs.replace(order, cum_qty=order.cum_qty - change_qty)
    return after, msgspec.structs.replace(waited, refused_qty=progress.refused_qty + max(0, change_qty))


def _waited(opened: ExecutionBreak, progress: ProgressRow) -> ProgressRow:
    """The order's progress without what of it has waited for this break."""
    waiting_qty = max(0, opened.effect.back_qty - opened.effect.fill_qty)
    return msgspec.structs.replace(progress, waiting_qty=max(0, progress.waiting_qty - waiting_qty))


def _reserved(row: BreakRow, opened: ExecutionBreak, order: OrderRow | None, progress: ProgressRow) -> Reserved:
    report, effect = opened.report, opened.effect
    if opened.parked:
        reopen_to_qty = 0
        if order is not None and progress.is_open(order):
            # The order has moved. A fill that is taken back is open again only now, and reserved again.
            opens_qty = _waited(opened, progress).open_qty(order, order.cum_qty) - order.leaves_qty
            reopen_to_qty = max(0, opens_qty + effect.fill_qty)
        return Reserved(report.symbol, report.side, row.held_price_e4, row.held_qty, reopen_to_qty)
    if order is None:
        return Reserved(report.symbol, report.side, 0, 0)
    reopen_to_qty = progress.open_qty(order, order.cum_qty - effect.back_qty)
    return Reserved(order.symbol, order.side, order.price_e4, order.leaves_qty, reopen_to_qty)


def _denial(opened: ExecutionBreak, order: OrderRow | None, progress: ProgressRow, tables: Tables) -> Denial | None:
    """Why a break cannot be booked, whatever there is to pay it with."""
    effect = opened.effect
    cum_qty = 0 if order is None else order.cum_qty + effect.fill_qty - effect.back_qty
    amounts = (effect.fill_qty, effect.fill_price_e4, effect.back_qty, effect.back_price_e4)
    moves = effect.fill_qty or effect.back_qty or (effect.ends and order is not None and progress.is_open(order))
    if not moves or any(amount < 0 for amount in amounts) or (cum_qty < 0 and not opened.parked):
        compared = dict(zip(("fill_qty", "fill_price_e4", "back_qty", "back_price_e4"), amounts, strict=True))
        return Denial(ReasonCode.COMMAND_INVALID, compared)
    if tables.globals("instruments").get(opened.report.symbol.encode()) is None:
        return Denial(ReasonCode.INSTRUMENT_UNKNOWN, {})
    if effect.back_qty and not _stands(opened, tables):
        return Denial(ReasonCode.COMMAND_INVALID, {"back_qty": effect.back_qty, "stands_qty": 0})
    return None


def _stands(opened: ExecutionBreak, tables: Tables) -> bool:
    """Whether the trade that a bust names is on the books. One that nobody here has heard of is the operator's word."""
    referred = _execution(opened, opened.report.ref_execution_id, tables)
    if referred is None:
        return True
    if opened.parked:
        return not (referred.taken_back or referred.unbooked)
    is_booked = referred.qty > 0 and not referred.taken_back and not referred.unbooked
    return is_booked or referred.by_hand_qty >= opened.effect.back_qty


def _execution(opened: ExecutionBreak, execution_id: str | None, tables: Tables) -> ExecutionRow | None:
    if execution_id is None:
        return None
    key = execution_key(order_key(opened.order_id), execution_id)
    row: ExecutionRow | None = tables.changelogged("executions").get(key)
    return row


def _note_by_hand(opened: ExecutionBreak, tables: Tables) -> None:
    """Remembers what was booked under an id, and taken back, without the judge: no trade is taken back twice."""
    report, effect = opened.report, opened.effect
    executions = tables.changelogged("executions")
    referred = _execution(opened, report.ref_execution_id, tables)
    if referred is not None and effect.back_qty and report.ref_execution_id is not None:
        if referred.qty and not referred.taken_back:
            after = msgspec.structs.replace(referred, taken_back=True)
        else:
            after = msgspec.structs.replace(referred, by_hand_qty=max(0, referred.by_hand_qty - effect.back_qty))
        executions.put(execution_key(order_key(opened.order_id), report.ref_execution_id), after)
    own = _execution(opened, report.execution_id, tables)
    if own is not None and effect.fill_qty:
        by_hand_qty = own.by_hand_qty if opened.parked else own.by_hand_qty + effect.fill_qty
        after = msgspec.structs.replace(own, by_hand_qty=by_hand_qty, unbooked=False)
        executions.put(execution_key(order_key(opened.order_id), report.execution_id), after)


# --- views --------------------------------------------------------------------------------------------------------


def break_view(row_key: bytes) -> View:
    """The break as it stands when it is shown; gone once it is resolved."""
    account_id, _, break_id = row_key[SLOT_BYTES:].decode().partition("\0")
    return View("break", account_id, break_id, _break_data)


def _break_data(tables: Tables, view: View) -> msgspec.Raw | None:
    row: BreakRow | None = tables.changelogged("breaks").get(break_key(view.scope, view.key))
    return None if row is None or row.resolved_by is not None else msgspec.Raw(row.record)


def break_views(tables: Tables) -> Iterator[View]:
    """Every open break of the partition. Also says how many there are, for a task that has just opened."""
    for reason, count in tables.changelogged("break_counts").prefix(b""):
        metrics.BREAKS_OPEN.labels(tables.partition, reason.decode()).set(count.open)
    rows: Iterable[tuple[bytes, BreakRow]] = tables.changelogged("breaks").prefix(b"")
    for row_key, row in rows:
        if row.resolved_by is None:
            yield break_view(row_key)
