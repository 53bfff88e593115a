"""Orders of one account that would meet, through gate, lifecycle and venue: whichever goes on first, none ever rests
against its own, and what is canceled for it is given back once.
"""

from collections import Counter, deque
from typing import Any

import pytest
from common.contracts.cancels import OrderCancel
from common.contracts.events import EntryKind, ExecType, ExecutionReport, OrderEvent, OrderIntent, VenueMessage
from common.contracts.market import MARK, decode_rows, encode_rows
from common.contracts.topics import (
    MD_MARKS,
    ORDERS_CANCELS,
    ORDERS_EVENTS,
    ORDERS_EXECUTIONS,
    RISK_DECISIONS,
    VENUE_ORDERS,
    Topic,
    market_partition,
)
from common.contracts.values import E4, OrderType, SelfMatch, Side, TimeInForce
from common.ledger.balances import Balances
from common.testing.orders import NOW_NS, SYMBOL, intent, mark_row
from hypothesis import given, settings
from hypothesis import strategies as st
from orders import stages as lifecycle
from orders.domain.lifecycle import CLOSED
from orders.domain.venue import CANCELED_AS_NEWEST, CANCELED_AS_OLDEST
from orders.venue import rows
from orders.venue.calendar_file import load_calendar
from orders.venue.stage import Venue
from risk.domain.account import AccountRow, OrderRow
from risk.domain.gate import Limits
from risk.tables import order_key
from streams.model.message import Output
from streams.testing.tables import MemoryTables, message, written

from tests.risk.conftest import PARTITION, Desk

INSTRUMENT = 3
ACCOUNTS = ("A", "B")
MODES = {2: SelfMatch.CANCEL_NEWEST, 3: SelfMatch.CANCEL_OLDEST}


class Fleet:
    """Gate, lifecycle and venue; each reads each topic in its order, and goes on when it is told to."""

    def __init__(self, mode: int) -> None:
        self.desk = Desk(Limits(self_match_mode=mode))
        self.desk.keeps_views = False
        for account_id in ACCOUNTS:
            self.desk.open(account_id, cash_e4=100_000 * E4, shares=1_000)
        self.lifecycle = MemoryTables(lifecycle.TABLES, PARTITION)
        self.venue = MemoryTables(rows.TABLES, market_partition(INSTRUMENT))
        self._at_venue = Venue(load_calendar("XNAS")).handle
        self.decisions, self.cancels = deque[Any](), deque[Any]()
        self._marks = 0
        self.to_venue, self.to_gate, self.to_lifecycle = deque[Any](), deque[Any](), deque[Any]()
        self.reports: list[ExecutionReport] = []
        self.sent: list[VenueMessage] = []
        self.events: dict[str, OrderEvent] = {}
        self.offsets = Counter[str]()

    def order(self, of: OrderIntent) -> None:
        self.decisions.append(self.desk.decide(of))

    def mark(self, size: int, **fields: Any) -> None:
        row, shown = mark_row(SYMBOL, **fields), self.venue.globals("marks")
        row["bid_size"] = row["ask_size"] = size
        value = encode_rows(row)
        shown.put(SYMBOL.encode(), decode_rows(MARK, value))
        self._said_by_venue(MD_MARKS, SYMBOL, decode_rows(MARK, value), self._marks)
        self._marks += 1

    def go_on(self, which: int) -> None:
        """One of them reads its next record."""
        queue, read = (
            (self.decisions, lambda body: self._said_by_lifecycle(RISK_DECISIONS, body)),
            (self.cancels, lambda body: self._said_by_lifecycle(ORDERS_CANCELS, body)),
            (self.to_venue, lambda body: self._said_by_venue(VENUE_ORDERS, body.symbol, body)),
            (self.to_gate, self.desk.send),
            (self.to_lifecycle, lambda body: self._said_by_lifecycle(ORDERS_EXECUTIONS, body)),
        )[which % 5]
        if queue:
            read(queue.popleft())

    def drain(self) -> None:
        while any((self.decisions, self.cancels, self.to_venue, self.to_gate, self.to_lifecycle)):
            for which in range(5):
                self.go_on(which)

    def _offset(self, topic: Topic) -> int:
        self.offsets[topic.name] += 1
        return self.offsets[topic.name] - 1

    def _said_by_lifecycle(self, topic: Topic, body: Any) -> None:
        record = message(topic, body.account_id.encode(), body, partition=PARTITION, offset=self._offset(topic))
        for item in lifecycle.handle(record, self.lifecycle, NOW_NS):
            if isinstance(item, Output) and item.topic is VENUE_ORDERS:
                self.to_venue.append(written(item))
                self.sent.append(self.to_venue[-1])
            elif isinstance(item, Output) and item.topic is ORDERS_EVENTS:
                self.events[written(item).order_id] = written(item)

    def _said_by_venue(self, topic: Topic, key: str, body: Any, offset: int | None = None) -> None:
        place = self._offset(topic) if offset is None else offset
        record = message(topic, key.encode(), body, partition=self.venue.partition, offset=place)
        for item in self._at_venue(record, self.venue, NOW_NS):
            assert isinstance(item, Output)
            report = written(item)
            self.reports.append(report)
            self.to_gate.append(report)
            self.to_lifecycle.append(report)
        self.nothing_rests_against_its_own()

    # --- what always holds --------------------------------------------------------------------------------------------

    def nothing_rests_against_its_own(self) -> None:
        best: dict[tuple[str, Side], int] = {}
        for _, working in self.venue.changelogged("orders").prefix(b""):
            order = working.order
            if working.open:
                place = order.account_id, Side(order.side)
                better = max if order.side == Side.BUY else min
                best[place] = better(best.get(place, order.limit_price_e4), order.limit_price_e4)
        for account_id in ACCOUNTS:
            bid, ask = best.get((account_id, Side.BUY)), best.get((account_id, Side.SELL))
            assert bid is None or ask is None or bid < ask

    def money_is_right(self) -> None:
        """Each order has at most one void, and what is reserved in the end is what is open in the end."""
        voids = Counter(entry.order_id for entry in self.desk.ledger if entry.kind is EntryKind.VOID)
        assert set(voids.values()) <= {1}
        for account_id in ACCOUNTS:
            folded = Balances(account_id)
            for entry in self.desk.ledger:
                if entry.account_id == account_id:
                    folded.apply(entry)
            open_orders = [each for each in self.events.values() if each.account_id == account_id and each.leaves_qty]
            account: AccountRow | None = self.desk.tables.changelogged("accounts").get(account_id.encode())
            assert account is not None
            bought = [each for each in open_orders if each.side is Side.BUY]
            assert account.reserved_cash_e4 == sum(each.leaves_qty * self._price_e4(each) for each in bought)

    def _price_e4(self, order: OrderEvent) -> int:
        return self._row(order.order_id).price_e4

    def _row(self, order_id: str) -> OrderRow:
        row: OrderRow | None = self.desk.tables.changelogged("orders").get(order_key(order_id))
        assert row is not None
        return row

    def all_know_the_same(self) -> None:
        for order_id, event in self.events.items():
            row = self._row(order_id)
            working = self.venue.changelogged("orders").get(order_id.encode())
            assert row.leaves_qty == event.leaves_qty == (0 if working is None else working.leaves_qty), order_id
            assert (event.state in CLOSED) == (not event.leaves_qty)


prices = st.integers(98, 102).map(lambda price: price * E4)
order_types = st.sampled_from((*[OrderType.LIMIT] * 5, OrderType.MARKET))
times_in_force = st.sampled_from((*[TimeInForce.DAY] * 4, TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK))
ordered = st.tuples(
    st.just("order"), st.sampled_from("AAB"), st.sampled_from(Side), prices, st.integers(1, 9), order_types,
    times_in_force, st.sampled_from((None, 1, 3)),
)  # fmt: skip
marked = st.tuples(st.just("mark"), st.integers(96, 100), st.integers(1, 3), st.integers(0, 12))
canceled = st.tuples(st.just("cancel"), st.integers(0, 20))
went_on = st.tuples(st.just("go on"), st.integers(0, 4))
histories = st.lists(st.one_of(*[ordered] * 4, marked, canceled, *[went_on] * 5), min_size=15, max_size=60)


def lived(mode: int, steps: list[Any]) -> Fleet:
    fleet, orders = Fleet(mode), list[OrderIntent]()
    for step in steps:
        match step:
            case "order", account_id, side, price_e4, qty, order_type, time_in_force, min_qty:
                limit = {"limit_price_e4": price_e4} if order_type is OrderType.LIMIT else {}
                least = {"min_qty": min(min_qty, qty)} if min_qty and time_in_force is TimeInForce.IOC else {}
                kind = {"order_type": order_type, "time_in_force": time_in_force, **limit, **least}
                orders.append(intent(f"o{len(orders)}", account_id, side=side, qty=qty, **kind))
                fleet.order(orders[-1])
            case "mark", bid, spread, size:
                row = {"bid_e4": bid * E4, "ask_e4": (bid + spread) * E4}
                fleet.mark(**row, size=size)
            case "cancel", number if orders:
                of = orders[number % len(orders)]
                order_id = f"{of.account_id}.{of.client_order_id}"
                fleet.cancels.append(OrderCancel(account_id=of.account_id, order_id=order_id, sent_ns=NOW_NS))
            case "go on", which:
                fleet.go_on(which)
    fleet.drain()
    return fleet


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=60, deadline=None)
@given(steps=histories)
def test_any_history_then_nothing_rests_against_its_own_and_all_know_the_same(mode: int, steps: list[Any]) -> None:
    fleet = lived(mode, steps)
    fleet.money_is_right()
    fleet.all_know_the_same()
    texts = {report.text for report in fleet.reports}
    assert (CANCELED_AS_OLDEST if mode == 2 else CANCELED_AS_NEWEST) not in texts


@pytest.mark.parametrize(("mode", "ended"), [(2, "A.new"), (3, "A.old")])
def test_two_that_meet_then_the_one_of_the_mode_is_canceled_before_the_other_trades(mode: int, ended: str) -> None:
    fleet = Fleet(mode)
    fleet.order(intent("old", "A", side=Side.SELL, qty=5, limit_price_e4=101 * E4))
    fleet.drain()
    fleet.order(intent("new", "A", qty=5, limit_price_e4=102 * E4))
    fleet.mark(bid_e4=99 * E4, ask_e4=102 * E4, size=3)
    fleet.drain()
    said = [(report.order_id, report.exec_type) for report in fleet.reports if report.exec_type is not ExecType.NEW]
    canceled = (ended, ExecType.CANCELED)
    assert said == ([canceled] if mode == 2 else [canceled, ("A.new", ExecType.TRADE)])
    assert [each.order_id for each in fleet.desk.ledger if each.kind is EntryKind.VOID] == [ended]
    fleet.money_is_right()
    fleet.all_know_the_same()


def test_orders_that_meet_nothing_own_then_the_venue_is_told_nothing() -> None:
    fleet = Fleet(3)
    fleet.order(intent("sell", "A", side=Side.SELL, qty=5, limit_price_e4=101 * E4))
    fleet.order(intent("buy", "B", qty=5, limit_price_e4=101 * E4))
    fleet.order(intent("below", "A", qty=5, limit_price_e4=100 * E4))
    fleet.order(intent("meets", "A", qty=5, limit_price_e4=101 * E4))
    fleet.drain()
    told = {order.order_id: order.self_match for order in fleet.sent if order.type == "new"}
    assert told == {"A.sell": None, "B.buy": None, "A.below": None, "A.meets": SelfMatch.CANCEL_OLDEST}
