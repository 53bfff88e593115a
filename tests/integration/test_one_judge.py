"""Gate and lifecycle hear the same verdict on every execution report, whatever is reported and however it arrives.

Both stages run on tables in memory. What the gate writes is what the lifecycle reads; it reads each topic in order, and
the topics in any order.
"""

import copy
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from common.contracts.breaks import BreakResolution, ExecutionBreak
from common.contracts.cancels import OrderCancel
from common.contracts.events import (
    BreakAction,
    CommandResult,
    EntryKind,
    ExecType,
    ExecutionReport,
    LedgerEntry,
    OrderEvent,
    OrderIntent,
    OrderState,
    ResolveBreak,
)
from common.contracts.market import mark_clock_key
from common.contracts.topics import (
    ORDERS_CANCELS,
    ORDERS_EVENTS,
    ORDERS_EXECUTIONS,
    ORDERS_INTENTS,
    RISK_BREAKS,
    RISK_COMMANDS,
    RISK_DECISIONS,
    RISK_LEDGER,
    Topic,
)
from common.contracts.values import E4, Side
from common.executions import Execution, Progress
from common.ledger import Balances
from common.runtime.message import Output
from common.testing.orders import (
    ACCOUNT,
    NOW_NS,
    SYMBOL,
    clock_row,
    fund,
    instrument,
    intent,
    mark_row,
    report,
    set_account,
    withdraw,
)
from common.testing.tables import MemoryTables, message, written
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from orders import stages as lifecycle
from orders.domain.lifecycle import CLOSED
from risk.domain.gate import Limits
from risk.stages import Gate
from risk.tables import DAY_NS, TABLES, execution_key, order_key

CASH_E4 = 5_000 * E4
SHARES = 40
LIMIT_E4 = 100 * E4
QTY = 10


class World:
    """One account: the gate with what it has written, and the lifecycle with what of it has arrived there."""

    def __init__(self) -> None:
        self.gate = MemoryTables(TABLES)
        self.lifecycle = MemoryTables(lifecycle.TABLES)
        self.gate.globals("instruments").put(SYMBOL.encode(), instrument(SYMBOL, 3))
        self.gate.globals("marks").put(SYMBOL.encode(), mark_row(SYMBOL))
        self.gate.globals("marks").put(mark_clock_key(0), clock_row(NOW_NS))
        self.offsets: Counter[str] = Counter()
        self.written: dict[str, list[Any]] = {topic.name: [] for topic in lifecycle.INPUTS}
        self.read: Counter[str] = Counter()
        self.ledger = Balances(ACCOUNT)
        self.kinds: Counter[tuple[EntryKind, str | None, str | None]] = Counter()
        self.events: list[OrderEvent] = []

    def copied(self) -> "World":
        """Another world with the same past."""
        twin = copy.copy(self)
        twin.gate, twin.lifecycle = copy.copy(self.gate), copy.copy(self.lifecycle)
        for tables in (twin.gate, twin.lifecycle):
            tables._changelogged = {name: copy.copy(table) for name, table in tables._changelogged.items()}
            for table in tables._changelogged.values():
                table.rows = dict(table.rows)
        twin.offsets, twin.read, twin.kinds = self.offsets.copy(), self.read.copy(), self.kinds.copy()
        twin.written = {name: list(bodies) for name, bodies in self.written.items()}
        twin.ledger = copy.copy(self.ledger)
        twin.ledger.amounts = dict(self.ledger.amounts)
        twin.events = list(self.events)
        return twin

    # --- the gate --------------------------------------------------------------------------------------------------

    def tell_gate(self, topic: Topic, body: Any) -> list[Any]:
        """What the gate writes; the ledger is folded as it comes, which checks every entry."""
        offset = self.offsets[topic.name]
        self.offsets[topic.name] += 1
        if topic.name in self.written:
            self.written[topic.name].append(body)
        record = message(topic, body.account_id.encode(), body, offset=offset)
        said = []
        for item in GATE.handle(record, self.gate, NOW_NS):
            assert isinstance(item, Output)
            said.append(written(item))
            if item.topic is RISK_LEDGER:
                self._entry(said[-1])
            else:
                self.written[item.topic.name].append(said[-1])
        return said

    def _entry(self, entry: LedgerEntry) -> None:
        self.ledger.apply(entry)
        if entry.kind in (EntryKind.POST, EntryKind.BUST):
            self.kinds[entry.kind, entry.execution_id, entry.command_id] += 1

    # --- the lifecycle ---------------------------------------------------------------------------------------------

    def unread(self) -> list[str]:
        """Topics of which the lifecycle has not read all."""
        return [name for name, bodies in self.written.items() if self.read[name] < len(bodies)]

    def arrive(self, name: str) -> None:
        """The next record of a topic reaches the lifecycle."""
        topic = next(topic for topic in lifecycle.INPUTS if topic.name == name)
        body = self.written[name][self.read[name]]
        self.read[name] += 1
        record = message(topic, ACCOUNT.encode(), body, offset=self.read[name])
        for item in lifecycle.handle(record, self.lifecycle, NOW_NS):
            if isinstance(item, Output) and item.topic is ORDERS_EVENTS:
                self.events.append(written(item))

    def arrive_all(self) -> None:
        for name in (RISK_DECISIONS.name, ORDERS_CANCELS.name, ORDERS_EXECUTIONS.name, RISK_BREAKS.name):
            while name in self.unread():
                self.arrive(name)

    # --- what must hold --------------------------------------------------------------------------------------------

    def open_breaks(self) -> dict[str, ExecutionBreak]:
        found: dict[str, ExecutionBreak] = {}
        for record in self.written[RISK_BREAKS.name]:
            if isinstance(record, ExecutionBreak):
                found[record.break_id] = record
            else:
                assert isinstance(record, BreakResolution)
                del found[record.break_id]
        return found

    def check_money(self) -> None:
        """The gate's rows are the fold of the ledger, nothing is booked twice, and no cash comes from nowhere."""
        account: Any = self.gate.changelogged("accounts").get(ACCOUNT.encode())
        held = dict(self.gate.changelogged("positions").prefix(b""))
        position = held.get(f"{ACCOUNT}/{SYMBOL}".encode())
        qty, reserved_qty = (position.qty, position.reserved_qty) if position else (0, 0)
        assert (account.cash_e4, account.reserved_cash_e4) == (self.ledger.cash_e4, self.ledger.reserved_cash_e4)
        assert (qty, reserved_qty) == self.ledger.positions().get(SYMBOL, (0, 0))
        assert account.reserved_cash_e4 >= 0 and reserved_qty >= 0
        assert not any(self.ledger.sums().values())
        assert all(count == 1 for count in self.kinds.values()), self.kinds

    def check_agreement(self, of: OrderIntent) -> None:
        """Both have judged alike: the same progress, the same memory, the same order."""
        order_id = f"{of.account_id}.{of.client_order_id}"
        gate_row: Any = self.gate.changelogged("orders").get(order_key(order_id))
        order: OrderEvent | None = self.lifecycle.changelogged("orders").get(order_id.encode())
        if order is None:
            return
        gate_progress = self.gate.changelogged("progress").get(order_key(order_id))
        row = self.lifecycle.changelogged("progress").get(order_id.encode())
        mine: Progress | None = row.progress if row else None
        assert (gate_progress and gate_progress.progress()) == mine
        assert self._gate_memory(order_id) == self._lifecycle_memory(order_id)
        if order.state is OrderState.DENIED:
            return
        assert order.cum_qty == gate_row.cum_qty
        if not self._crossed(order_id):
            assert order.leaves_qty == gate_row.leaves_qty
            assert (order.state in CLOSED) == (gate_row.leaves_qty == 0)

    def _crossed(self, order_id: str) -> bool:
        """Whether money waits, or what an operator booked and a bust of the same order may have crossed: ADR 0021."""
        records = self.written[RISK_BREAKS.name]
        waits = any(one.parked and one.effect.fill_qty + one.effect.back_qty for one in self.open_breaks().values())
        booked = any(isinstance(one, BreakResolution) and one.action is BreakAction.BOOK for one in records)
        reports = self.written[ORDERS_EXECUTIONS.name]
        busted = any(one.ref_execution_id is not None and one.order_id == order_id for one in reports)
        return waits or (booked and busted)

    def _gate_memory(self, order_id: str) -> dict[str, Execution]:
        prefix = execution_key(order_key(order_id), "")
        rows = self.gate.changelogged("executions").prefix(prefix)
        return {key[len(prefix) :].decode(): row.seen() for key, row in rows}

    def _lifecycle_memory(self, order_id: str) -> dict[str, Execution]:
        prefix = order_id.encode() + b"\0"
        rows = self.lifecycle.changelogged("reports").prefix(prefix)
        return {key[len(prefix) :].decode(): row for key, row in rows if not key.startswith(prefix + b"\0")}


GATE = Gate(Limits(), 7 * DAY_NS)


def funded(of: OrderIntent | None) -> World:
    """A world with money and shares, and perhaps an order that both know of."""
    world = World()
    world.tell_gate(RISK_COMMANDS, set_account())
    world.tell_gate(RISK_COMMANDS, fund(command_id="cash", cash_e4=CASH_E4))
    world.tell_gate(RISK_COMMANDS, fund(command_id="shares", symbol=SYMBOL, qty=SHARES))
    if of is not None:
        world.tell_gate(ORDERS_INTENTS, of)
    world.arrive_all()
    return world


def trade(
    of: OrderIntent, execution_id: str, qty: int, price: int, cum: int, leaves: int, **fields: Any
) -> ExecutionReport:
    amounts = {"last_qty": qty, "last_price_e4": price * E4, "cum_qty": cum, "leaves_qty": leaves}
    return report(of, fields.pop("exec_type", ExecType.TRADE), execution_id, **amounts, **fields)


def alphabet(of: OrderIntent) -> dict[str, ExecutionReport]:
    """True words of a venue and false ones, for an order of 10 at 100."""
    beyond = 101 if of.side is Side.BUY else 99
    return {
        "new": report(of, ExecType.NEW, "n", leaves_qty=10),
        "4": trade(of, "t1", 4, 100, 4, 6),
        "same id, 6": trade(of, "t1", 6, 100, 6, 4),
        "6 more": trade(of, "t2", 6, 100, 10, 0),
        "too many": trade(of, "t3", 7, 100, 11, 0),
        "beyond the limit": trade(of, "t4", 4, beyond, 4, 6),
        "all, but cum 9": trade(of, "t5", 10, 100, 9, 1),
        "canceled": report(of, ExecType.CANCELED, "c"),
        "canceled at 4": report(of, ExecType.CANCELED, "c4", cum_qty=4),
        "expired": report(of, ExecType.EXPIRED, "e"),
        "rejected": report(of, ExecType.REJECTED, "r"),
        "bust of 4": report(of, ExecType.TRADE_CANCEL, "b", ref_execution_id="t1", cum_qty=0, leaves_qty=10),
        "bust of 4 at its end": report(of, ExecType.TRADE_CANCEL, "b6", ref_execution_id="t1", cum_qty=6),
        "4 is 3": trade(of, "k", 3, 100, 3, 7, exec_type=ExecType.TRADE_CORRECT, ref_execution_id="t1"),
        "cancel refused": report(of, ExecType.CANCEL_REJECTED, "x"),
    }


BUY = intent("o", qty=QTY, limit_price_e4=LIMIT_E4)
SELL = intent("o", qty=QTY, limit_price_e4=LIMIT_E4, side=Side.SELL)


def _walk(world: World, of: OrderIntent, words: Sequence[ExecutionReport], depth: int) -> Iterator[World]:
    """Every sequence of so many words; each is said once more to what came of it, and must then move nothing."""
    for word in words:
        after = world.copied()
        after.tell_gate(ORDERS_EXECUTIONS, word)
        after.arrive_all()
        yield after
        if depth > 1:
            yield from _walk(after, of, words, depth - 1)


@pytest.mark.parametrize("of", [BUY, SELL], ids=["buy", "sell"])
def test_every_sequence_of_three_reports_then_both_judge_alike_and_money_is_conserved(of: OrderIntent) -> None:
    worlds = 0
    for world in _walk(funded(of), of, list(alphabet(of).values()), 3):
        world.check_money()
        world.check_agreement(of)
        worlds += 1
    assert worlds == 15 + 15**2 + 15**3


@pytest.mark.slow
@pytest.mark.parametrize("of", [BUY, SELL], ids=["buy", "sell"])
def test_every_sequence_of_four_reports_then_both_judge_alike(of: OrderIntent) -> None:
    for world in _walk(funded(of), of, list(alphabet(of).values()), 4):
        world.check_money()
        world.check_agreement(of)


def test_each_word_of_the_alphabet_said_again_then_nothing_moves() -> None:
    for name, word in alphabet(BUY).items():
        world = funded(BUY)
        world.tell_gate(ORDERS_EXECUTIONS, word)
        before, breaks = world.gate.rows(), len(world.written[RISK_BREAKS.name])
        again = word.model_copy(update={"venue_ns": NOW_NS + 1, "text": "possible resend"})
        assert world.tell_gate(ORDERS_EXECUTIONS, again) == [], name
        assert world.gate.rows() == before, name
        assert len(world.written[RISK_BREAKS.name]) == breaks


WORDS = [*alphabet(BUY)]
STEPS = st.lists(
    st.one_of(
        st.sampled_from(WORDS),
        st.sampled_from(WORDS),
        st.sampled_from(["intent", "cancel", "book", "refuse", "withdraw"]),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=14,
)
"""A word, something that happens beside the venue, or the next record of one of the lifecycle's four topics."""


@settings(max_examples=1_500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS, early=st.booleans(), side=st.sampled_from(Side), tail=st.permutations(range(4)))
def test_any_history_and_any_order_of_arrival_then_both_agree_in_the_end(
    steps: list[str | int], early: bool, side: Side, tail: list[int]
) -> None:
    of = BUY if side is Side.BUY else SELL
    words = alphabet(of)
    world = funded(None)
    if not early:
        world.tell_gate(ORDERS_INTENTS, of)
    names = [topic.name for topic in lifecycle.INPUTS]
    for number, step in enumerate(steps):
        if isinstance(step, int):
            if names[step] in world.unread():
                world.arrive(names[step])
        elif step in words:
            world.tell_gate(ORDERS_EXECUTIONS, words[step])
        else:
            _beside(world, of, step, number)
        world.check_money()
    for place in tail:
        while names[place] in world.unread():
            world.arrive(names[place])
    world.arrive_all()
    world.check_money()
    world.check_agreement(of)
    revisions = [event.revision for event in world.events if event.order_id.endswith(".o")]
    assert revisions == list(range(1, len(revisions) + 1))


def _beside(world: World, of: OrderIntent, step: str, number: int) -> None:
    if step == "intent":
        world.tell_gate(ORDERS_INTENTS, of)
    elif step == "cancel":
        cancel = OrderCancel(account_id=ACCOUNT, order_id=f"{ACCOUNT}.o", sent_ns=NOW_NS)
        world.written[ORDERS_CANCELS.name].append(cancel)
    elif step == "withdraw":
        rest_e4 = world.ledger.available("@CASH")
        if rest_e4:
            world.tell_gate(RISK_COMMANDS, withdraw(command_id=f"w{number}", cash_e4=rest_e4))
    else:
        _resolve(world, BreakAction.BOOK if step == "book" else BreakAction.BREAK, number)


def _resolve(world: World, action: BreakAction, number: int) -> CommandResult | None:
    opened = next(iter(world.open_breaks()), None)
    if opened is None:
        return None
    command = ResolveBreak(
        command_id=f"r{number}", account_id=ACCOUNT, break_id=opened, action=action, note="why", sent_ns=NOW_NS
    )
    result = world.tell_gate(RISK_COMMANDS, command)[0]
    assert isinstance(result, CommandResult)
    return result
