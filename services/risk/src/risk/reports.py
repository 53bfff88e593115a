"""Execution reports: each is judged, and booked, ignored, or kept as a break for a person to look at."""

from collections.abc import Iterator

import msgspec
from common.contracts.breaks import BreakReason
from common.contracts.events import ExecType, ExecutionReport, ReasonCode
from common.contracts.values import OrderType, TimeInForce
from common.executions import NO_EFFECT, Accept, Break, Effect, Execution, OrderFacts, Progress, Repeat, judge
from common.runtime.message import Message, Output
from common.runtime.tables import Tables

from risk.booking import book, keep
from risk.breaks import open_break
from risk.domain.account import AccountRow, ExecutionRow, OrderRow, PositionRow, ProgressRow
from risk.domain.open_orders import with_leaves
from risk.domain.settlement import Reserved, Settled, Short, Source, settle
from risk.tables import execution_key, order_key, position_key


def on_execution(message: Message, report: ExecutionReport, tables: Tables, now_ns: int) -> Iterator[Output]:
    """Books what the venue says, once. What cannot be true, or cannot be booked, becomes a break."""
    if report.exec_type is ExecType.CANCEL_REJECTED:
        return
    row_key = order_key(report.order_id)
    executions = tables.changelogged("executions")
    order: OrderRow | None = tables.changelogged("orders").get(row_key)
    progress_row: ProgressRow | None = tables.changelogged("progress").get(row_key)

    asked: dict[str, ExecutionRow | None] = {}

    def register(execution_id: str) -> Execution | None:
        row: ExecutionRow | None = executions.get(execution_key(row_key, execution_id))
        asked[execution_id] = row
        return None if row is None else row.seen()

    facts = facts_of(order)
    progress = Progress()
    if progress_row is not None:
        progress = progress_row.progress()
    elif order is not None:
        progress = order.progress()
    verdict = judge(facts, progress, register, report)
    if isinstance(verdict, Repeat):
        return
    account: AccountRow | None = tables.changelogged("accounts").get(report.account_id.encode())
    account_seq = account.seq if account else 0
    for execution_id, seen in verdict.executions.items():
        # The judge remembers nothing under an id that it has not asked for.
        before = asked[execution_id]
        by_hand = (False, 0) if before is None else (before.taken_back, before.by_hand_qty)
        row = ExecutionRow(account_seq, now_ns, seen.digest, seen.qty, seen.price_e4, *by_hand)
        executions.put(execution_key(row_key, execution_id), row)
    if isinstance(verdict, Break):
        if progress_row is None and facts is not None:
            tables.changelogged("progress").put(row_key, progress_row_of(progress))
        if verdict.reason is BreakReason.ORDER_UNKNOWN and order is None:
            tables.changelogged("orders").put(row_key, _burnt(report, account_seq, now_ns))
        yield open_break(message, report, verdict, tables, now_ns)
        return
    row_after = progress_row_of(verdict.progress)
    if row_after != progress_row:
        tables.changelogged("progress").put(row_key, row_after)
    assert account is not None and order is not None, "an accepted order has an account"
    if verdict.doubt is not None:
        doubted = Break(verdict.doubt.reason, verdict.doubt.compared, NO_EFFECT, {})
        yield open_break(message, report, doubted, tables, now_ns, held=(0, 0))
    if verdict.effect != NO_EFFECT:
        reopens = progress.ended is None
        yield from _booked(message, report, order, account, verdict, reopens=reopens, tables=tables, now_ns=now_ns)


def facts_of(order: OrderRow | None) -> OrderFacts | None:
    """None where no order was ever accepted or denied under the id."""
    return None if order is None or order.reason is ReasonCode.DUPLICATE_ID else order.facts()


def progress_row_of(progress: Progress) -> ProgressRow:
    """The row that keeps it."""
    return ProgressRow(progress.acknowledged, progress.cum_qty, progress.notional_e4, progress.ended)


def _burnt(report: ExecutionReport, account_seq: int, now_ns: int) -> OrderRow:
    """Stands for an id that a venue used before anybody was answered under it.

    An order that came under it later could never be told from the one that the venue means, so every intent with this
    id is denied as another order's.
    """
    return OrderRow(
        report.symbol,
        report.side,
        OrderType.LIMIT,
        TimeInForce.DAY,
        0,
        None,
        ReasonCode.DUPLICATE_ID,
        {},
        None,
        0,
        None,
        account_seq,
        now_ns,
        0,
        0,
        now_ns,
    )


def _booked(
    message: Message,
    report: ExecutionReport,
    order: OrderRow,
    account: AccountRow,
    verdict: Accept,
    *,
    reopens: bool,
    tables: Tables,
    now_ns: int,
) -> Iterator[Output]:
    """Moves the money of an accepted report, or parks it: the order moves on, and the money waits for a person."""
    effect = verdict.effect
    account_key, row_key = report.account_id.encode(), order_key(report.order_id)
    position: PositionRow | None = tables.changelogged("positions").get(position_key(account_key, order.symbol))
    source = Source(report.account_id, report.order_id, report.execution_id)
    reserved = Reserved(order.symbol, order.side, order.price_e4, order.leaves_qty, reopens and order.leaves_qty > 0)
    settled: Settled | Short = _taken_back_already(report, row_key, tables) or settle(
        account, position, reserved, effect, source, now_ns
    )
    if isinstance(settled, Short):
        # What was reserved for the fill stays so for the break; what only ended is open no more.
        held_qty = min(order.leaves_qty, max(0, effect.fill_qty - effect.back_qty))
        refused = Break(settled.reason, settled.compared, effect, {})
        yield open_break(message, report, refused, tables, now_ns, held=(held_qty, order.price_e4))
        rest = reserved._replace(qty=order.leaves_qty - held_qty)
        settled = settle(account, position, rest, Effect(ends=effect.ends), source, now_ns)
        assert isinstance(settled, Settled), "to release is always possible"
    cum_qty = order.cum_qty + effect.fill_qty - effect.back_qty
    tables.changelogged("orders").put(
        row_key,
        msgspec.structs.replace(order, leaves_qty=settled.leaves_qty, cum_qty=cum_qty, touched_ns=now_ns),
    )
    account_after, position_after = with_leaves(settled.account, settled.position, order, settled.leaves_qty)
    if (account_after, position_after) != (account, position):
        keep(tables, account_key, account_after, order.symbol, position, position_after)
    for entry in settled.entries:
        yield book(message, tables, entry)


def _taken_back_already(report: ExecutionReport, row_key: bytes, tables: Tables) -> Short | None:
    """An operator booked a bust of the same trade before."""
    if report.ref_execution_id is None:
        return None
    row: ExecutionRow | None = tables.changelogged("executions").get(execution_key(row_key, report.ref_execution_id))
    return Short(BreakReason.BUST_UNKNOWN, {}) if row is not None and row.taken_back else None
