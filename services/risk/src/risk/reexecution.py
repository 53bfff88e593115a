"""Executes decisions again, by the gate's own checks, from what stands on the log. Pure.

The account as it stood is the fold of its ledger up to the entry that the decision names, with the orders that were
open then; the mark stands in the decision; limits, code and losses are those of ``risk.basis``. What comes out is the
record as the gate would write it today: the same bytes, or it is said what is other.

The fold is not the gate's: it knows no report of the venue and no break, only entries. Where shares are parked in a
break it takes them for open, which the gate does not.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from common.checks.case import STATE_UNSAID, TRADING, Case
from common.checks.check import CheckChain
from common.checks.prices import proceeds_max_e4
from common.contracts.basis import Basis, GateRules, Losses
from common.contracts.controls import FIRM, ControlResult, Controls
from common.contracts.events import CASH, AccountStatus, Book, CommandResult, Decision, LedgerEntry, ReasonCode
from common.contracts.reference import Instrument
from common.contracts.topics import ORDERS_INTENTS
from common.contracts.values import Side
from msgspec.structs import replace
from streams.model.message import Message

from risk.controls import LimitReader
from risk.domain.account import AccountRow, Mark, OrderRow, PositionRow
from risk.domain.activity import NO_ROW, ActivityRow, Done, activity_of, body_of_order, open_orders, with_done
from risk.domain.gate import AccountState, Limits, Listed, Market, case_of, decide, listed
from risk.domain.in_force import NOTHING_SAID, InForce, in_force
from risk.domain.intent import Intent
from risk.domain.limit_values import as_fields
from risk.domain.open_orders import open_in, with_buy, with_leaves, with_price, with_symbols
from risk.intents import decision_of

_OWN: Final = (Book.AVAILABLE, Book.RESERVED)


class Settled(NamedTuple):
    """The basis of a decision, beside the account."""

    rules: GateRules | None
    """None: the gate that decided said nothing, and the caller's limits stand in."""
    limits: Limits
    firm: InForce
    own: InForce
    losses: Losses | None


class Executed(NamedTuple):
    """One decision, and what the gate of today makes of it."""

    message: Message
    said: Decision
    value: bytes
    """The record as it would be written now."""
    case: Case
    account: AccountRow | None
    position: PositionRow | None
    symbol: Listed
    settled: Settled
    counted: Limits | None
    """Limits for the periods, where one of them asks what the account did lately."""

    @property
    def is_same(self) -> bool:
        return self.value == self.message.value


@dataclass(frozen=True, slots=True)
class Evidence:
    """Committed records of one partition of the gate's topics, each in the order of its topic."""

    answers: Sequence[Message]
    entries: Iterable[LedgerEntry]
    basis: Iterable[Basis] = ()
    controls: Iterable[ControlResult] = ()
    instruments: Mapping[str, Instrument] = field(default_factory=dict)


# --- what was said of all -----------------------------------------------------------------------------------------


class _Said:
    """Reads ``risk.basis`` along with the intents."""

    def __init__(self, evidence: Evidence, limits: Limits) -> None:
        self._records = sorted(evidence.basis, key=lambda each: each.intent_offset)
        self._next = 0
        self._controls: dict[tuple[str, int], Controls] = {}
        for result in evidence.controls:
            if result.controls is not None:
                self._controls[result.account_id, result.controls.seq] = result.controls
        self._limits = limits
        self._rules: GateRules | None = None
        self._seqs: dict[str, int] = {}
        self._losses: dict[str, Losses | None] = {}
        marks = [each.mark for each in self._records if each.mark is not None]
        self._states = {(mark.partition, mark.offset): mark.trading_state for mark in marks}
        self._clocks = {(mark.partition, mark.clock_ns): mark.clock_event_ns for mark in marks}

    def of(self, decision: Decision) -> Settled:
        """Raises ValueError where controls were in force that the log does not have any more."""
        while self._next < len(self._records) and self._records[self._next].intent_offset <= decision.intent_offset:
            self._take(self._records[self._next])
            self._next += 1
        firm, own = self._in_force(FIRM, decision), self._in_force(decision.account_id, decision)
        return Settled(self._rules, self._limits, firm, own, self._losses.get(decision.account_id))

    def _take(self, record: Basis) -> None:
        if record.controls_seq is not None:
            self._seqs[record.account_id] = record.controls_seq
        if record.gate is not None:
            self._rules, self._limits = record.gate, limits_in(record.gate)
        if record.account_id != FIRM:
            self._losses[record.account_id] = record.losses

    def _in_force(self, account_id: str, decision: Decision) -> InForce:
        seq = self._seqs.get(account_id, 0)
        if not seq:
            return NOTHING_SAID
        controls = self._controls.get((account_id, seq))
        if controls is None:
            raise ValueError(f"{decision.order_id}: controls {seq} of {account_id} are not on the log")
        return in_force(controls, decision.decided_ns)

    def market(self, decision: Decision, instrument: Instrument | None) -> Market:
        """The market as the decision met it."""
        if decision.mark is None:
            return Market(instrument, None, STATE_UNSAID)
        mark = Mark(**decision.mark.model_dump())
        state = self._states.get((mark.partition, mark.offset), decision.compared.get("trading_state", TRADING))
        clock_event_ns = self._clocks.get((mark.partition, mark.clock_ns), mark.event_ns)
        return Market(instrument, mark, state, clock_event_ns - mark.event_ns)


def limits_in(rules: GateRules) -> Limits:
    """Limits of the deployment. Raises KeyError for one that this release does not know."""
    general = Limits(**as_fields(rules.limits))
    own = {each.symbol: replace(general, **as_fields(each.limits)) for each in rules.of_symbols}
    return replace(general, by_symbol=own)


# --- the account --------------------------------------------------------------------------------------------------


class AccountFold:
    """One account, as the gate's rows have it, out of its ledger and of the answers to it."""

    def __init__(self) -> None:
        self.row: AccountRow | None = None
        self.positions: dict[str, PositionRow] = {}
        self._orders: dict[str, OrderRow] = {}
        """Open part of each order that was accepted."""
        self.activity: ActivityRow = NO_ROW

    def told(self, result: CommandResult) -> None:
        """Its status; an account is there from the first command on that the gate has carried out."""
        if result.status is not None:
            row = self.row or AccountRow(result.status)
            self.row = replace(row, status=result.status)

    def accepted(self, decision: Decision) -> None:
        """An order whose entry comes next."""
        intent = decision.intent
        self._orders[decision.order_id] = OrderRow(
            intent.symbol, intent.side, intent.order_type, intent.time_in_force, intent.qty, intent.limit_price_e4,
            None, {}, decision.instrument_id, decision.protection_price_e4 or 0, None, 0, 0, intent.qty, 0, 0, True,
            intent.min_qty, intent.expire_ns,
        )  # fmt: skip

    def book(self, entry: LedgerEntry) -> None:
        """The next entry. Raises ValueError where it does not follow the one before."""
        row = self.row or AccountRow(AccountStatus.ACTIVE)
        if entry.seq != row.seq + 1:
            raise ValueError(f"{entry.account_id}: entry {entry.seq} follows {row.seq}")
        cash_e4 = reserved_e4 = 0
        shares: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
        for posting in entry.postings:
            if posting.book not in _OWN:
                continue
            reserved = posting.amount if posting.book is Book.RESERVED else 0
            if posting.asset == CASH:
                cash_e4, reserved_e4 = cash_e4 + posting.amount, reserved_e4 + reserved
            else:
                shares[posting.asset][0] += posting.amount
                shares[posting.asset][1] += reserved
        self.row = replace(
            row, cash_e4=row.cash_e4 + cash_e4, reserved_cash_e4=row.reserved_cash_e4 + reserved_e4, seq=entry.seq
        )
        for symbol, (qty, reserved_qty) in shares.items():
            before = self.positions.get(symbol, PositionRow())
            self.positions[symbol] = replace(
                before, qty=before.qty + qty, reserved_qty=before.reserved_qty + reserved_qty
            )
        order = self._orders.get(entry.order_id or "")
        if order is not None:
            symbol_reserved = shares[order.symbol][1] if order.side is Side.SELL else 0
            self._count(entry, order, reserved_e4, symbol_reserved)
        for symbol in [symbol for symbol in shares if not self.positions[symbol].qty]:
            del self.positions[symbol]

    def _count(self, entry: LedgerEntry, order: OrderRow, reserved_e4: int, reserved_qty: int) -> None:
        """Prices of open orders, as ``ledger.reserve`` and ``open_orders.with_leaves`` keep them."""
        assert self.row is not None and entry.order_id is not None
        position = self.positions.get(order.symbol)
        moved = reserved_qty if order.side is Side.SELL else reserved_e4 // order.price_e4
        if entry.kind == "RESERVE":
            self.row, position = _opened(self.row, position, order)
        else:
            leaves_qty = order.leaves_qty + moved
            self.row, position = with_leaves(self.row, position, order, leaves_qty)
            order = replace(order, leaves_qty=leaves_qty)
        if position is not None:
            self.positions[order.symbol] = position
        self._orders[entry.order_id] = order

    def state(self, symbol: str) -> AccountState:
        """As an order in the symbol meets it."""
        position = self.positions.get(symbol)
        return AccountState(self.row, position, *open_in(self.row, position, symbol))


def _opened(row: AccountRow, position: PositionRow | None, order: OrderRow) -> tuple[AccountRow, PositionRow | None]:
    if order.side is Side.BUY:
        levels = with_buy(row.buy_prices.get(order.symbol, b""), order.price_e4, order.qty)
        return replace(row, buy_prices=with_symbols(row.buy_prices, {order.symbol: levels})), position
    assert position is not None, "what is reserved is held"
    pending_e4 = row.pending_cash_e4 + proceeds_max_e4(order.price_e4, order.qty)
    levels = with_price(position.sell_prices, order.price_e4, Side.SELL)
    return replace(row, pending_cash_e4=pending_e4), replace(position, sell_prices=levels)


# --- executing ----------------------------------------------------------------------------------------------------


def executed(evidence: Evidence, gate: CheckChain, limits: Limits) -> Iterator[Executed]:
    """Each first answer to an order, in the order of the intents, executed again. ``limits``: where nothing was said.

    Raises ValueError where ledger and answers do not belong together.
    """
    said = _Said(evidence, limits)
    entries: defaultdict[str, list[LedgerEntry]] = defaultdict(list)
    for entry in evidence.entries:
        entries[entry.account_id].append(entry)
    folds: defaultdict[str, AccountFold] = defaultdict(AccountFold)
    at: defaultdict[str, int] = defaultdict(int)

    def book(account_id: str, seq: int) -> AccountFold:
        """The account after so many entries."""
        fold, of = folds[account_id], entries[account_id]
        while at[account_id] < min(seq, len(of)):
            fold.book(of[at[account_id]])
            at[account_id] += 1
        return fold

    for message in evidence.answers:
        body = message.body
        if isinstance(body, CommandResult):
            book(body.account_id, body.account_seq)
            if body.accepted and not body.repeat:
                folds[body.account_id].told(body)
        elif not body.repeat and body.reason is not ReasonCode.DUPLICATE_ID:
            fold = book(body.account_id, body.account_seq - body.accepted)
            yield _execute(message, body, fold, said, evidence.instruments, gate)
            if body.accepted:
                fold.accepted(body)
                book(body.account_id, body.account_seq)


def _execute(
    message: Message,
    said: Decision,
    fold: AccountFold,
    basis: _Said,
    instruments: Mapping[str, Instrument],
    gate: CheckChain,
) -> Executed:
    settled = basis.of(said)
    reader = LimitReader(settled.limits)
    intent = Intent(**dict(said.intent))
    instrument = None
    if said.instrument_id is not None:
        known = instruments.get(said.intent.symbol)
        instrument = known or Instrument(instrument_id=said.instrument_id, symbol=said.intent.symbol)
    symbol = listed(
        basis.market(said, instrument),
        reader.of(intent.symbol, settled.firm, settled.own, intent.client_order_id),
    )
    state = fold.state(intent.symbol)
    counted = reader.counted(settled.firm, settled.own)
    if counted is not None:
        opened = open_orders(state.row, state.position, intent.symbol)
        state = replace(state, activity=activity_of(fold.activity, intent, opened, counted, said.decided_ns))
    if settled.losses is not None:
        lost = settled.losses
        state = replace(state, activity=replace(state.activity, loss_e4=lost.loss_e4, drawdown_e4=lost.drawdown_e4))
    verdict = decide(intent, state, symbol, said.decided_ns, gate)
    seq = 0 if fold.row is None else fold.row.seq
    answered = Message(ORDERS_INTENTS, said.intent_partition, said.intent_offset, message.key, None, 0)
    value = decision_of(answered, intent, verdict, symbol.market, seq + (verdict.denial is None), said.decided_ns)
    case = case_of(intent, state, symbol, said.decided_ns)
    done = Executed(message, said, value, case, fold.row, state.position, symbol, settled, counted)
    if counted is not None and fold.row is not None and instrument is not None:
        fold.activity = with_done(fold.activity, done_of(said, intent, counted), counted, said.decided_ns)
    return done


def done_of(said: Decision, intent: Intent, limits: Limits) -> Done:
    """An answered order's share in the periods, as ``activity.keep_activity`` counts it."""
    if not said.accepted:
        return Done({intent.symbol: 1})
    bodies = (body_of_order(intent),) if limits.duplicate_ns > 0 else ()
    return Done({intent.symbol: 1}, 1, intent.qty, (said.protection_price_e4 or 0) * intent.qty, bodies)
