"""Random histories against a model that keeps no reservations: it derives them from the orders that are open."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from common.checks.prices import PROCEEDS_FACTOR
from common.contracts.breaks import ExecutionBreak
from common.contracts.events import CASH, ExecType, ExecutionReport, OrderIntent
from common.contracts.topics import ORDERS_INTENTS
from common.contracts.values import E4, OrderType, Side
from common.contracts.views import AccountData
from common.ledger.balances import Balances, fold
from common.testing.orders import fund, intent, report, set_account, trade, withdraw
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from risk.domain.gate import Limits
from risk.domain.open_orders import LEVEL, rank_e4, with_total
from risk.stages import VERIFY, account_views
from risk.tables import order_key, position_key
from streams.testing.tables import shown

SYMBOLS = ("ACME", "CASH")  # a ticker of that name exists
accounts = st.sampled_from(("a", "a", "b"))
symbols = st.sampled_from(SYMBOLS)
dollars = st.integers(-1, 40).map(lambda dollars: dollars * E4)
half_dollars = st.integers(1, 30) | st.integers(-1, 1)
quantities = st.integers(1, 9) | st.integers(-1, 0)


def levels(prices: list[int], side: Side) -> bytes:
    """The bytes in a row of open orders at these prices, which are sorted."""
    return b"".join(LEVEL.pack(rank_e4(price, side), len(list(same))) for price, same in groupby(prices))


@dataclass
class Order:
    intent: OrderIntent
    price_e4: int
    leaves: int
    cum: int = 0
    acknowledged: bool = False
    reports: list[ExecutionReport] = field(default_factory=list)
    """Judged: sent again they must change nothing."""

    @property
    def buys(self) -> bool:
        return self.intent.side is Side.BUY


@dataclass
class Account:
    active: bool = True
    cash_e4: int = 0
    shares: dict[str, int] = field(default_factory=dict)
    movements: int = 0
    orders: dict[str, Order] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)

    def held_cash_e4(self) -> int:
        return sum(order.price_e4 * order.leaves for order in self.orders.values() if order.buys)

    def held_shares(self, symbol: str) -> int:
        return sum(o.leaves for o in self.orders.values() if not o.buys and o.intent.symbol == symbol)

    def open_qty(self, symbol: str) -> int:
        """Shares that are open for a BUY."""
        return sum(o.leaves for o in self.orders.values() if o.buys and o.intent.symbol == symbol)

    def open_prices(self, symbol: str, buys: bool) -> list[int]:
        """The best first."""
        orders = (o for o in self.orders.values() if o.leaves and o.buys is buys and o.intent.symbol == symbol)
        return sorted((order.price_e4 for order in orders), reverse=buys)


class History(RuleBasedStateMachine):
    """Both worlds step together; ``check`` compares them after each step."""

    sent = Bundle("sent")
    accepted = Bundle("accepted")
    booked = Bundle("booked")

    new_desk: Callable[..., Any]

    def __init__(self) -> None:
        super().__init__()
        self.desk = self.new_desk(Limits(market_collar_bps=1_000))
        self.desk.list_instrument("CASH", 4)
        self.model: dict[str, Account] = {}
        self.ask_e4 = 10 * E4
        self.commands = 0
        self.intents = 0
        self.reports = 0
        self.last_sent: OrderIntent | None = None
        self.market(9, 10, 10)

    @initialize(cash=st.integers(0, 200), shares=st.integers(0, 20))
    def begin(self, cash: int, shares: int) -> None:
        """Most histories begin with an account that can trade both ways."""
        self.set_status("a", active=True)
        self.fund_cash("a", cash * E4, again=False)
        self.fund_shares("a", "ACME", shares)
        self.fund_shares("a", "CASH", shares)

    # --- outside ---------------------------------------------------------------------------------------------------

    @rule(bid=st.integers(0, 12), ask=st.integers(0, 12), last=st.integers(0, 12))
    def market(self, bid: int, ask: int, last: int) -> None:
        self.bid_e4, self.ask_e4, self.last_e4 = bid * E4, ask * E4, last * E4
        for symbol in SYMBOLS:
            self.desk.mark(symbol, bid_e4=self.bid_e4, ask_e4=self.ask_e4, last_e4=self.last_e4)

    def next_command(self) -> str:
        self.commands += 1
        return f"c{self.commands}"

    @rule(account_id=accounts, active=st.sampled_from((True, True, True, False)))
    def set_status(self, account_id: str, active: bool) -> None:
        command = set_account(account_id, active=active, command_id=self.next_command())
        assert self.desk.command(command).accepted
        self.model.setdefault(account_id, Account()).active = active

    @rule(account_id=accounts, cash_e4=dollars, again=st.booleans())
    def fund_cash(self, account_id: str, cash_e4: int, again: bool) -> None:
        account = self.model.get(account_id)
        command = fund(account_id, command_id=self.next_command(), cash_e4=cash_e4)
        ok = account is not None and cash_e4 > 0
        assert self.desk.command(command).accepted == ok
        if account and ok:
            account.cash_e4 += cash_e4
            account.movements += 1
        if again:
            repeated = self.desk.command(command)
            assert (repeated.accepted, repeated.repeat) == (ok, True)

    @rule(account_id=accounts, symbol=symbols, qty=quantities)
    def fund_shares(self, account_id: str, symbol: str, qty: int) -> None:
        account = self.model.get(account_id)
        command = fund(account_id, command_id=self.next_command(), symbol=symbol, qty=qty)
        ok = account is not None and qty > 0
        assert self.desk.command(command).accepted == ok
        if account and ok:
            account.shares[symbol] = account.shares.get(symbol, 0) + qty
            account.movements += 1

    @rule(account_id=accounts, cash_e4=dollars)
    def withdraw_cash(self, account_id: str, cash_e4: int) -> None:
        account = self.model.get(account_id)
        ok = account is not None and account.active and 0 < cash_e4 <= account.cash_e4 - account.held_cash_e4()
        assert self.desk.command(withdraw(account_id, command_id=self.next_command(), cash_e4=cash_e4)).accepted == ok
        if account and ok:
            account.cash_e4 -= cash_e4
            account.movements += 1

    # --- orders ----------------------------------------------------------------------------------------------------

    @rule(
        target=accepted,
        account_id=accounts,
        symbol=symbols,
        side=st.sampled_from(Side),
        qty=quantities,
        price=half_dollars,
        market=st.booleans(),
    )
    def send(self, account_id: str, symbol: str, side: Side, qty: int, price: int, market: bool) -> Any:
        self.intents += 1
        kind = {"order_type": OrderType.MARKET} if market else {"limit_price_e4": price * E4 // 2}
        order = intent(f"o{self.intents}", account_id, symbol=symbol, side=side, qty=qty, **kind)
        decision = self.desk.decide(order)
        account = self.model.get(account_id)
        price_e4 = self.price_of(order)
        ok = (
            account is not None
            and account.active
            and qty > 0
            and price_e4 > 0
            and self.in_collar(order, price_e4)
            and self.affords(account, order, price_e4)
            and not self.crosses(account, order, price_e4)
        )
        assert (decision.accepted, decision.repeat) == (ok, False)
        if account and ok:
            account.orders[order.client_order_id] = Order(order, price_e4, qty)
            account.movements += 1
            held = (price_e4 * qty, 0) if side is Side.BUY else (0, qty)
            assert (decision.reserved_cash_e4, decision.reserved_qty) == held
        if account:
            account.answers[order.client_order_id] = decision
            assert decision.account_seq == account.movements
        self.last_sent = order
        return order if ok else multiple()

    @precondition(lambda self: self.last_sent is not None)
    @rule(target=sent)
    def remember(self) -> Any:
        """Denied orders, too, are sent again and reported on."""
        return self.last_sent

    def price_of(self, order: OrderIntent) -> int:
        """Prices here are whole dollars or halves, so a tick never intervenes; a collar of a tenth."""
        if order.limit_price_e4 is not None:
            return order.limit_price_e4
        return self.ask_e4 * 11 // 10 if order.side is Side.BUY else self.bid_e4 * 9 // 10

    def in_collar(self, order: OrderIntent, price_e4: int) -> bool:
        """A tenth."""
        if order.side is Side.BUY:
            return price_e4 <= (self.ask_e4 or self.last_e4) * 11 // 10
        reference_e4 = self.bid_e4 or self.last_e4
        return price_e4 >= reference_e4 * 9 // 10 > 0

    @staticmethod
    def crosses(account: Account, order: OrderIntent, price_e4: int) -> bool:
        buys = order.side is Side.BUY
        others = account.open_prices(order.symbol, not buys)
        return bool(others) and (price_e4 >= others[0] if buys else price_e4 <= others[0])

    @staticmethod
    def affords(account: Account, order: OrderIntent, price_e4: int) -> bool:
        if order.side is Side.BUY:
            return price_e4 * order.qty <= account.cash_e4 - account.held_cash_e4()
        return order.qty <= account.shares.get(order.symbol, 0) - account.held_shares(order.symbol)

    @rule(order=sent | accepted, change_qty=st.booleans())
    def send_again(self, order: OrderIntent, change_qty: bool) -> None:
        if change_qty:
            decision = self.desk.decide(order.model_copy(update={"qty": order.qty + 1}))
            assert (decision.accepted, decision.conflict, decision.repeat) == (False, "qty", False)
            return
        decision = self.desk.decide(order.model_copy(update={"sent_ns": order.sent_ns + 1}))
        assert decision.repeat
        account = self.model.get(order.account_id)
        first = account.answers.get(order.client_order_id) if account else None
        if first is not None:
            unlike = {"repeat", "intent", "intent_offset"}
            assert decision.model_dump(exclude=unlike) == first.model_dump(exclude=unlike)

    # --- the venue -------------------------------------------------------------------------------------------------

    def order_of(self, of: OrderIntent) -> Order | None:
        account = self.model.get(of.account_id)
        return account.orders.get(of.client_order_id) if account else None

    @rule(
        target=booked,
        of=accepted | accepted | sent,
        qty=st.integers(1, 9),
        better=st.integers(0, 3),
        last=st.sampled_from((False, False, True)),
    )
    def fill(self, of: OrderIntent, qty: int, better: int, last: bool) -> ExecutionReport:
        order = self.order_of(of)
        cum = order.cum if order else 0
        price_e4 = order.price_e4 if order else E4
        price_e4 = max(price_e4 - better * 100, 100) if of.side is Side.BUY else price_e4 + better * 100
        self.reports += 1
        execution = trade(of, f"x{self.reports}", qty, price_e4, cum_qty=cum + qty)
        if last:
            execution = execution.model_copy(update={"leaves_qty": 0})
        fits = order is not None and (qty == order.leaves if last else qty <= order.leaves)
        if not self.judged(execution, fits):
            return execution
        account = self.model[of.account_id]
        assert order is not None
        order.leaves -= qty
        order.cum += qty
        order.acknowledged = True
        account.movements += 1
        sign = 1 if order.buys else -1
        account.cash_e4 -= sign * price_e4 * qty
        account.shares[of.symbol] = account.shares.get(of.symbol, 0) + sign * qty
        return execution

    def judged(self, execution: ExecutionReport, sound: bool) -> bool:
        """Reports; what is not sound must become a break, and neither may be judged a second time."""
        breaks = [each for each in self.desk.send(execution) if isinstance(each, ExecutionBreak)]
        assert len(breaks) == (not sound)
        account = self.model.get(execution.account_id)
        order = account.orders.get(execution.order_id.partition(".")[2]) if account else None
        if order is not None:
            order.reports.append(execution)
        return sound

    @rule(of=accepted | sent, exec_type=st.sampled_from((ExecType.CANCELED, ExecType.REJECTED, ExecType.EXPIRED)))
    def end(self, of: OrderIntent, exec_type: ExecType) -> None:
        order = self.order_of(of)
        self.reports += 1
        execution = report(of, exec_type, f"x{self.reports}", cum_qty=order.cum if order else 0)
        is_open = order is not None and order.leaves > 0
        sound = is_open and not (exec_type is ExecType.REJECTED and order is not None and order.acknowledged)
        if self.judged(execution, sound) and order is not None:
            order.leaves = 0
            self.model[of.account_id].movements += 1

    @rule(of=accepted)
    def acknowledge(self, of: OrderIntent) -> None:
        order = self.order_of(of)
        assert order is not None
        self.reports += 1
        if self.judged(report(of, ExecType.NEW, f"x{self.reports}", leaves_qty=of.qty), order.leaves == of.qty):
            order.acknowledged = True

    @rule(execution=booked)
    def report_again(self, execution: ExecutionReport) -> None:
        account = self.model.get(execution.account_id)
        order = account.orders.get(execution.order_id.partition(".")[2]) if account else None
        if order is not None and execution in order.reports:
            assert self.desk.send(execution) == []

    # --- what always holds -----------------------------------------------------------------------------------------

    @invariant()
    def every_intent_has_one_decision(self) -> None:
        places = [decision.intent_offset for decision in self.desk.decisions]
        assert places == list(range(self.desk.offsets.get(ORDERS_INTENTS.name, 0)))

    @invariant()
    def ledger_rows_and_model_are_one(self) -> None:
        for name, verify in VERIFY.items():
            for key, row in self.desk.tables.changelogged(name).prefix(b""):
                verify(key, row)
        folded = fold(self.desk.ledger)  # raises on a gap, an imbalance or an overdraft
        for account_id, account in self.model.items():
            balances = folded.get(account_id, Balances(account_id))
            assert not any(balances.sums().values())
            assert balances.seq == account.movements
            assert balances.total(CASH) == account.cash_e4
            assert balances.reserved(CASH) == account.held_cash_e4()
            owned = {s: (qty, account.held_shares(s)) for s, qty in account.shares.items() if qty}
            assert balances.positions() == owned
            row = self.desk.tables.changelogged("accounts").get(account_id.encode())
            assert (row.cash_e4, row.reserved_cash_e4, row.seq) == (
                balances.cash_e4,
                balances.reserved_cash_e4,
                balances.seq,
            )
            for order_id, order in account.orders.items():
                kept = self.desk.tables.changelogged("orders").get(order_key(f"{account_id}.{order_id}"))
                assert (kept.leaves_qty, kept.cum_qty) == (order.leaves, order.cum)

    @invariant()
    def open_orders_are_counted(self) -> None:
        for account_id, account in self.model.items():
            row = self.desk.tables.changelogged("accounts").get(account_id.encode())
            sells = [order for order in account.orders.values() if not order.buys]
            assert row.pending_cash_e4 == PROCEEDS_FACTOR * sum(order.price_e4 * order.leaves for order in sells)
            bought = {symbol: account.open_prices(symbol, True) for symbol in SYMBOLS}
            open_qty = {symbol: account.open_qty(symbol) for symbol in SYMBOLS}
            assert row.buy_prices == {
                symbol: with_total(levels(bought[symbol], Side.BUY), open_qty[symbol])
                for symbol in SYMBOLS
                if bought[symbol]
            }
            for symbol in SYMBOLS:
                position = self.desk.tables.changelogged("positions").get(position_key(account_id.encode(), symbol))
                sold = levels(account.open_prices(symbol, False), Side.SELL)
                assert (b"" if position is None else position.sell_prices) == sold

    @invariant()
    def views_show_the_rows(self) -> None:
        for view in account_views(self.desk.tables):
            account = self.model[view.scope]
            data = AccountData.model_validate(shown(view, self.desk.tables).data)
            positions = {p.symbol: (p.qty, p.reserved_qty) for p in data.positions}
            assert positions == {s: (qty, account.held_shares(s)) for s, qty in account.shares.items() if qty}
            assert data.cash_e4 == account.cash_e4


def test_any_history_then_nothing_is_created_lost_or_answered_twice(new_desk: Callable[..., Any]) -> None:
    class Bound(History):
        pass

    Bound.new_desk = staticmethod(new_desk)
    run_state_machine_as_test(
        Bound,
        settings=settings(
            max_examples=60, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
