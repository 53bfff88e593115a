"""Execution reports: each is judged, and booked, ignored, or kept as a break for a person to look at."""

from collections.abc import Iterator

import msgspec
from common.contracts.breaks import BreakReason
from common.contracts.events import ExecType, ExecutionReport, ReasonCode
from common.contracts.values import OrderType, TimeInForce
from common.executions import Break, Refusal, Repeat, judge
from common.reported import NO_EFFECT, Effect, Execution, OrderFacts
from streams.model.message import Message, Output
from streams.model.tables import Tables

from risk.booking import book, keep
from risk.breaks import open_break
from risk.domain.account import NO_PROGRESS, AccountRow, ExecutionRow, OrderRow, PositionRow, ProgressRow
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
    known = progress_row or (NO_PROGRESS if order is None else NO_PROGRESS.after(order.progress()))
    verdict = judge(facts, known.progress(), register, report)
    if isinstance(verdict, Repeat):
        return
    account: AccountRow | None = tables.changelogged("accounts").get(report.account_id.encode())
    account_seq = account.seq if account else 0
    for execution_id, seen in verdict.executions.items():
        row = ExecutionRow(account_seq, now_ns, seen.digest, seen.qty, seen.price_e4)
        # The judge remembers nothing under an id that it has not asked for.
        if (before := asked[execution_id]) is not None:
            row = msgspec.structs.replace(
                row, taken_back=before.taken_back, by_hand_qty=before.by_hand_qty, unbooked=before.unbooked
            )
        executions.put(execution_key(row_key, execution_id), row)
    row_after = known.after(verdict.progress)
    if row_after != progress_row and facts is not None:
        tables.changelogged("progress").put(row_key, row_after)
    if isinstance(verdict, Break):
        if verdict.reason is BreakReason.ORDER_UNKNOWN and order is None:
            tables.changelogged("orders").put(row_key, _burnt(report, account_seq, now_ns))
        yield open_break(message, report, Refusal(verdict.reason, verdict.compared), verdict.effect, tables, now_ns)
        return
    assert account is not None and order is not None, "an accepted order has an account"
    if verdict.doubt is not None:
        yield open_break(message, report, verdict.doubt, NO_EFFECT, tables, now_ns, held=(0, 0))
    if verdict.effect != NO_EFFECT:
        reopen_to_qty = known.open_qty(order, order.cum_qty - verdict.effect.back_qty)
        yield from _booked(message, report, order, account, verdict.effect, reopen_to_qty, tables, now_ns)


def facts_of(order: OrderRow | None) -> OrderFacts | None:
    """None where no order was ever accepted or denied under the id."""
    return None if order is None or order.reason is ReasonCode.DUPLICATE_ID else order.facts()


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
    effect: Effect,
    reopen_to_qty: int,
    tables: Tables,
    now_ns: int,
) -> Iterator[Output]:
    """Moves the money of an accepted report, or parks it: the order moves on, and the money waits for a person."""
    account_key, row_key = report.account_id.encode(), order_key(report.order_id)
    position: PositionRow | None = tables.changelogged("positions").get(position_key(account_key, order.symbol))
    source = Source(report.account_id, report.order_id, report.execution_id)
    reserved = Reserved(order.symbol, order.side, order.price_e4, order.leaves_qty, reopen_to_qty)
    settled: Settled | Short = _not_on_the_books(report, row_key, tables) or settle(
        account, position, reserved, effect, source, now_ns
    )
    if isinstance(settled, Short):
        # What was reserved for the fill stays so for the break; what only ended is open no more.
        held_qty = min(order.leaves_qty, max(0, effect.fill_qty - effect.back_qty))
        short = Refusal(settled.reason, settled.compared)
        yield open_break(message, report, short, effect, tables, now_ns, held=(held_qty, order.price_e4))
        _note_waiting(report.execution_id, effect, row_key, tables)
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


def _note_waiting(execution_id: str, effect: Effect, row_key: bytes, tables: Tables) -> None:
    """The money of an accepted report waits: its fill is not on the books, and what it takes back is not open yet."""
    executions, progress = tables.changelogged("executions"), tables.changelogged("progress")
    key = execution_key(row_key, execution_id)
    execution: ExecutionRow | None = executions.get(key)
    known: ProgressRow | None = progress.get(row_key)
    assert execution is not None and known is not None, "what the judge remembers was kept before"
    if effect.fill_qty:
        executions.put(key, msgspec.structs.replace(execution, unbooked=True))
    if (waiting_qty := effect.back_qty - effect.fill_qty) > 0:
        progress.put(row_key, msgspec.structs.replace(known, waiting_qty=known.waiting_qty + waiting_qty))


def _not_on_the_books(report: ExecutionReport, row_key: bytes, tables: Tables) -> Short | None:
    """The trade that a bust names was never booked, or an operator booked a bust of it before."""
    if report.ref_execution_id is None:
        return None
    row: ExecutionRow | None = tables.changelogged("executions").get(execution_key(row_key, report.ref_execution_id))
    is_missing = row is not None and (row.taken_back or row.unbooked)
    return Short(BreakReason.BUST_UNKNOWN, {}) if is_missing else None
