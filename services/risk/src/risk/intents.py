"""Answers one intent: accepted and reserved, denied with a reason and its numbers, or as before if it was answered."""

from typing import Final, NamedTuple

from common.checks.check import CheckChain
from common.contracts.events import ReasonCode
from common.contracts.topics import RISK_WARNINGS
from common.contracts.values import Side
from msgspec.structs import replace
from streams.model.message import Message, Output
from streams.model.tables import Tables

from risk import metrics
from risk.activity import keep_activity, with_activity
from risk.basis import BasisWriter, outputs_of
from risk.booking import answer, book, keep
from risk.controls import on_halting_denial
from risk.domain.account import AccountRow, OrderRow, PositionRow, intent_conflict
from risk.domain.gate import AccountState, Denial, Limits, Listed, Market, Verdict, case_of, decide
from risk.domain.in_force import InForce
from risk.domain.intent import Intent, Order
from risk.domain.ledger import reserve
from risk.domain.open_orders import open_in
from risk.domain.stops import halts
from risk.equity import NOT_ASKED, Measured, keep_measure, measure
from risk.limit_warnings import warning_of
from risk.market import MarketReader
from risk.tables import order_key, position_key
from risk.wire import DecisionTwin, encode_decision, encode_mark

_BUY: Final = Side.BUY


class Met(NamedTuple):
    """All that an order meets. ``counted``: the limits, where one asks what the account did lately."""

    state: AccountState
    symbol: Listed
    counted: Limits | None
    measured: Measured
    firm: InForce
    own: InForce


def meet(account_key: bytes, order: Order, tables: Tables, markets: MarketReader, now_ns: int) -> Met:
    """Reads what an order meets; writes nothing."""
    account: AccountRow | None = tables.changelogged("accounts").get(account_key)
    limits = markets.limits
    firm, own = limits.firm(tables, now_ns), limits.own(tables, account_key, now_ns)
    symbol = markets.read(tables, order.symbol, limits.of(order.symbol, firm, own, order.client_order_id))
    position: PositionRow | None = tables.changelogged("positions").get(position_key(account_key, order.symbol))
    state = AccountState(account, position, *open_in(account, position, order.symbol))
    counted = limits.counted(firm, own)
    if counted is not None:
        state = with_activity(state, order, tables, account_key, counted, now_ns)
    measured = NOT_ASKED
    if limits.is_measured(firm, own):
        measured = measure(tables, account_key, account, markets, now_ns)
        lost = measured.losses
        activity = replace(state.activity, loss_e4=lost.loss_e4, drawdown_e4=lost.drawdown_e4)
        state = replace(state, activity=activity)
    return Met(state, symbol, counted, measured, firm, own)


def on_intent(
    message: Message,
    intent: Intent,
    tables: Tables,
    markets: MarketReader,
    gate: CheckChain,
    now_ns: int,
    basis: BasisWriter | None = None,
) -> list[Output]:
    """One intent by the readable gate. ``basis``: says what it stands on."""
    account_key = message.key
    assert account_key is not None
    order_id = f"{intent.account_id}.{intent.client_order_id}"
    row_key = order_key(order_id)
    account: AccountRow | None = tables.changelogged("accounts").get(account_key)
    seen: OrderRow | None = tables.changelogged("orders").get(row_key)
    if seen is not None:
        return [answer(message, on_repeat(message, intent, seen, account.seq if account else 0, now_ns))]
    met = meet(account_key, intent, tables, markets, now_ns)
    state, symbol, counted, measured = met.state, met.symbol, met.counted, met.measured
    position = state.position
    stands_on: list[Output] = []
    if basis is not None:
        said = basis.of_intent(tables, account_key, intent, met.own, met.firm, symbol, measured, message.offset, now_ns)
        stands_on = outputs_of(said, message.partition)
    keep_measure(tables, account_key, measured)
    verdict = decide(intent, state, symbol, now_ns, gate)
    if counted is not None and account is not None and symbol.market.instrument is not None:
        keep_activity(intent, verdict, tables, account_key, counted, now_ns)
    if verdict.denial is not None:
        account_seq = account.seq if account else 0
        metrics.DENIALS.labels(verdict.denial.check, verdict.denial.reason).inc()
        denied = deny(message, intent, row_key, tables, verdict.denial, symbol.market, account_seq, now_ns)
        halted: list[Output] = []
        if halts(symbol.limits, verdict.denial.check):
            why = f"{verdict.denial.reason}: order {order_id}"
            halted = on_halting_denial(message, intent.account_id, why, tables, now_ns)
        return [answer(message, denied), *stands_on, *halted]
    assert account is not None
    booked = reserve(
        intent.account_id,
        account,
        position,
        order_id,
        intent.symbol,
        verdict.reserved_cash_e4,
        verdict.reserved_qty,
        verdict.price_e4,
        now_ns,
    )
    row = _order_row(intent, verdict, symbol.market, booked.account.seq, now_ns)
    tables.changelogged("orders").put(row_key, row)
    keep(tables, account_key, booked.account, intent.symbol, position, booked.position)
    outputs = [answer(message, _decision(message, intent, row)), book(message, tables, booked.entry)]
    if symbol.is_watched:
        warning = warning_of(intent, case_of(intent, state, symbol, now_ns), now_ns)
        outputs += [] if warning is None else [Output(RISK_WARNINGS, account_key, warning, message.partition)]
    return outputs + stands_on


def on_repeat(message: Message, intent: Intent, seen: OrderRow, account_seq: int, now_ns: int) -> bytes:
    """The decision on an intent whose id was answered: the same again, or that it is another order's."""
    conflict = intent_conflict(seen, intent)
    if conflict is None:
        return _decision(message, intent, seen, repeat=True)
    return _conflict(message, intent, conflict, account_seq, now_ns)


def deny(
    message: Message,
    intent: Intent,
    row_key: bytes,
    tables: Tables,
    denial: Denial,
    market: Market,
    account_seq: int,
    now_ns: int,
) -> bytes:
    """The decision on an intent that is denied. Its id is used."""
    row = _order_row(intent, Verdict(denial), market, account_seq, now_ns)
    tables.changelogged("orders").put(row_key, row)
    return _decision(message, intent, row)


def decision_of(
    message: Message, intent: Intent, verdict: Verdict, market: Market, account_seq: int, now_ns: int
) -> bytes:
    """The decision on an intent, whose id nobody has used, by its verdict. ``account_seq``: of the account after it."""
    return _decision(message, intent, _order_row(intent, verdict, market, account_seq, now_ns))


def _order_row(intent: Intent, verdict: Verdict, market: Market, account_seq: int, now_ns: int) -> OrderRow:
    denial = verdict.denial
    return OrderRow(
        intent.symbol,
        intent.side,
        intent.order_type,
        intent.time_in_force,
        intent.qty,
        intent.limit_price_e4,
        None if denial is None else denial.reason,
        verdict.leaves_to_venue if denial is None else denial.compared,
        None if market.instrument is None else market.instrument.instrument_id,
        verdict.price_e4,
        market.mark,
        account_seq,
        now_ns,
        intent.qty if denial is None else 0,
        0,
        now_ns,
        denial is None,
        intent.min_qty,
        intent.expire_ns,
    )


def _decision(message: Message, intent: Intent, row: OrderRow, repeat: bool = False) -> bytes:
    """The decision that stands in the row. A repeat differs in ``repeat`` and in which record it answers."""
    accepted = row.reason is None
    buy = row.side is _BUY
    decision = DecisionTwin(
        account_id=intent.account_id,
        client_order_id=intent.client_order_id,
        order_id=f"{intent.account_id}.{intent.client_order_id}",
        accepted=accepted,
        reason=row.reason,
        compared=row.compared,
        repeat=repeat,
        intent=intent,
        instrument_id=row.instrument_id,
        reserved_cash_e4=row.price_e4 * row.qty if accepted and buy else 0,
        reserved_qty=row.qty if accepted and not buy else 0,
        protection_price_e4=row.price_e4 if accepted else None,
        mark=encode_mark(row.mark),
        account_seq=row.account_seq,
        decided_ns=row.decided_ns,
        intent_partition=message.partition,
        intent_offset=message.offset,
    )
    return encode_decision(decision)


def _conflict(message: Message, intent: Intent, conflict: str, account_seq: int, now_ns: int) -> bytes:
    """DUPLICATE_ID: the order that has the id stays as it is."""
    decision = DecisionTwin(
        account_id=intent.account_id,
        client_order_id=intent.client_order_id,
        order_id=f"{intent.account_id}.{intent.client_order_id}",
        accepted=False,
        reason=ReasonCode.DUPLICATE_ID,
        compared={},
        conflict=conflict,
        repeat=False,
        intent=intent,
        reserved_cash_e4=0,
        reserved_qty=0,
        account_seq=account_seq,
        decided_ns=now_ns,
        intent_partition=message.partition,
        intent_offset=message.offset,
    )
    return encode_decision(decision)
