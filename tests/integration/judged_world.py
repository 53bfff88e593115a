"""One account as the gate and as the lifecycle know it.

Both stages run on tables in memory. What the gate writes is what the lifecycle reads; it reads each topic in order, and
the topics in any order.
"""

import copy
from collections import Counter
from typing import Any

from common.contracts.breaks import BreakResolution, ExecutionBreak
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
from common.ledger.balances import Balances
from common.reported import Execution, Progress
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
)
from orders import stages as lifecycle
from orders.domain.lifecycle import CLOSED
from risk.domain.gate import Limits
from risk.stages import Gate
from risk.tables import DAY_NS, TABLES, execution_key, order_key
from streams.model.message import Output
from streams.testing.tables import MemoryTables, message, written

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
        """Hands the gate a message; returns its answers. The ledger is folded as it comes, which checks every entry."""
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
        for key, row in self.gate.changelogged("orders").prefix(b""):
            progress: Any = self.gate.changelogged("progress").get(key)
            assert progress is None or row.leaves_qty == progress.open_qty(row, row.cum_qty)

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
        is_open = gate_progress is None or gate_progress.is_open(gate_row)
        assert (order.state not in CLOSED) == is_open
        money_waits = any(one.parked and one.effect.back_qty for one in self.open_breaks().values())
        if not money_waits:
            assert order.leaves_qty == gate_row.leaves_qty

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


def resolve(world: World, action: BreakAction, number: int) -> CommandResult | None:
    """An operator's word on the oldest open break; None where none is open."""
    opened = next(iter(world.open_breaks()), None)
    if opened is None:
        return None
    command = ResolveBreak(
        command_id=f"r{number}", account_id=ACCOUNT, break_id=opened, action=action, note="why", sent_ns=NOW_NS
    )
    result = world.tell_gate(RISK_COMMANDS, command)[0]
    assert isinstance(result, CommandResult)
    return result
