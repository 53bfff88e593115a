"""Ten thousand steps of orders, fills, and limits that people move and trading that they stop: what holds after each.

Nothing here asks the gate what is open: it is counted from decisions and reports. The entries of the ledger sum to
zero, what the accounts have is what came in, and nothing is reserved that is not there. The worst case of a position,
all open BUY orders filled and no SELL, is never beyond its limit because of an order; where a limit was lowered below
it, it only becomes less.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from common.contracts.controls import FIRM, TradingState
from common.contracts.events import CASH, Book, ExecType, OrderIntent
from common.contracts.values import E4, Side
from common.testing.controls import propose, resolve, set_state
from common.testing.orders import fund, intent, report, set_account, trade, withdraw
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from risk.domain.gate import Limits
from risk.tables import position_key

STEPS = 10_000
ACCOUNTS = ("a", "b")
SYMBOLS = ("ACME", "BETA")
Place = tuple[str, str]
accounts, symbols = st.sampled_from(ACCOUNTS), st.sampled_from(SYMBOLS)
limits = st.sampled_from((0, 1, 5, 10, 20, 40))
"""Shares; 0: none."""


@dataclass
class Open:
    order: OrderIntent
    leaves: int
    cum: int = 0


class LimitsHistory(RuleBasedStateMachine):
    steps: ClassVar[int] = 0
    new_desk: Callable[..., Any]

    def __init__(self) -> None:
        super().__init__()
        self.desk = self.new_desk(Limits())
        self.desk.list_instrument("BETA", 4)
        self.open: list[Open] = []
        self.held: Counter[Place] = Counter()
        self.position_max: dict[tuple[str, str | None], int] = {}
        """As it was approved, by account or firm and symbol or all."""
        self.halted: dict[tuple[str, str | None], TradingState] = {}
        self.worst: Counter[Place] = Counter()
        """The worst of each position before the step."""
        self.came_in_e4 = self.numbers = self.entries = 0
        self.totals: Counter[tuple[Book, str]] = Counter()

    def name(self, kind: str) -> str:
        self.numbers += 1
        return f"{kind}{self.numbers}"

    @initialize(cash=st.integers(0, 30), shares=st.integers(0, 20))
    def begin(self, cash: int, shares: int) -> None:
        for account_id in ACCOUNTS:
            self.desk.send(set_account(account_id))
            self.fund_cash(account_id, 100 * cash + 1)
            for symbol in SYMBOLS:
                if shares:
                    self.desk.send(fund(account_id, command_id=self.name("f"), symbol=symbol, qty=shares))
                    self.held[account_id, symbol] += shares
        self.worst = self.worst_now()

    # --- money and orders ------------------------------------------------------------------------------------------

    @rule(account_id=accounts, hundreds=st.integers(1, 30))
    def fund_cash(self, account_id: str, hundreds: int) -> None:
        assert self.desk.command(fund(account_id, command_id=self.name("f"), cash_e4=hundreds * 100 * E4)).accepted
        self.came_in_e4 += hundreds * 100 * E4

    @rule(account_id=accounts, hundreds=st.integers(1, 30))
    def withdraw_cash(self, account_id: str, hundreds: int) -> None:
        result = self.desk.command(withdraw(account_id, command_id=self.name("w"), cash_e4=hundreds * 100 * E4))
        self.came_in_e4 -= hundreds * 100 * E4 if result.accepted else 0

    @rule(account_id=accounts, symbol=symbols, side=st.sampled_from(Side), qty=st.integers(1, 12))
    def send(self, account_id: str, symbol: str, side: Side, qty: int) -> None:
        price_e4 = 100 * E4 if side is Side.BUY else 101 * E4
        order = intent(self.name("o"), account_id, symbol=symbol, side=side, qty=qty, limit_price_e4=price_e4)
        decision = self.desk.decide(order)
        state = self.state(account_id, symbol)
        if state is TradingState.HALTED:
            assert decision.reason == "TRADING_HALTED"
        elif state is TradingState.REDUCING and side is Side.BUY:
            assert decision.reason == "REDUCE_ONLY"
        if decision.accepted:
            self.open.append(Open(order, qty))

    @precondition(lambda self: self.open)
    @rule(which=st.integers(0, 1_000), qty=st.integers(1, 12), better=st.integers(0, 3))
    def fill(self, which: int, qty: int, better: int) -> None:
        one = self.open[which % len(self.open)]
        qty = min(qty, one.leaves)
        one.leaves, one.cum = one.leaves - qty, one.cum + qty
        buys = one.order.side is Side.BUY
        assert one.order.limit_price_e4 is not None
        price_e4 = one.order.limit_price_e4 + (-better if buys else better) * 100
        self.desk.send(trade(one.order, self.name("x"), qty, price_e4, cum_qty=one.cum))
        self.held[one.order.account_id, one.order.symbol] += qty if buys else -qty
        self.came_in_e4 -= qty * price_e4 if buys else -qty * price_e4
        self.open = [each for each in self.open if each.leaves]

    @precondition(lambda self: self.open)
    @rule(which=st.integers(0, 1_000), how=st.sampled_from((ExecType.CANCELED, ExecType.EXPIRED)))
    def end(self, which: int, how: ExecType) -> None:
        """Trading may be halted or not: what ends an order always passes."""
        one = self.open.pop(which % len(self.open))
        self.desk.send(report(one.order, how, self.name("x"), cum_qty=one.cum))

    # --- people ----------------------------------------------------------------------------------------------------

    @rule(account_id=accounts | st.just(FIRM), symbol=symbols | st.none(), most=limits)
    def limit(self, account_id: str, symbol: str | None, most: int) -> None:
        proposal = self.name("p")
        values = {"position_qty_max": most}
        assert self.desk.control(propose(proposal, account_id, symbol=symbol, values=values)).accepted
        assert self.desk.control(resolve(self.name("a"), proposal, account_id)).accepted
        self.position_max[account_id, symbol] = most

    @rule(account_id=accounts | st.just(FIRM), symbol=symbols | st.none(), state=st.sampled_from(TradingState))
    def stop_or_resume(self, account_id: str, symbol: str | None, state: TradingState) -> None:
        assert self.desk.control(set_state(self.name("s"), state, account_id, symbol=symbol)).accepted
        self.halted[account_id, symbol] = state

    def state(self, account_id: str, symbol: str) -> TradingState:
        said = {self.halted.get((who, what)) for who in (FIRM, account_id) for what in (None, symbol)}
        worst_first = (TradingState.HALTED, TradingState.REDUCING)
        return next((state for state in worst_first if state in said), TradingState.ACTIVE)

    # --- what always holds -----------------------------------------------------------------------------------------

    def limit_of(self, account_id: str, symbol: str) -> int:
        """Most shares of a position; 0: any."""
        said = self.position_max
        if (account_id, symbol) in said:
            return said[account_id, symbol]
        both = [said[place] for place in ((FIRM, symbol), (account_id, None)) if place in said]
        if not both:
            return said.get((FIRM, None), 0)
        return min((most for most in both if most), default=0)

    def worst_now(self) -> Counter[Place]:
        worst = Counter(self.held)
        for one in self.open:
            worst[one.order.account_id, one.order.symbol] += one.leaves if one.order.side is Side.BUY else 0
        return worst

    @invariant()
    def no_position_passes_its_limit(self) -> None:
        type(self).steps += 1
        worst = self.worst_now()
        for place in worst:
            most = self.limit_of(*place)
            assert not most or worst[place] <= max(most, self.worst[place]), (place, worst[place], most)
        self.worst = worst

    @invariant()
    def nothing_is_made_or_lost(self) -> None:
        for entry in self.desk.ledger[self.entries :]:
            for posting in entry.postings:
                self.totals[posting.book, posting.asset] += posting.amount
        self.entries = len(self.desk.ledger)
        assets: Counter[str] = Counter()
        for (_, asset), amount in self.totals.items():
            assets[asset] += amount
        assert not any(assets.values())
        rows = [row for _, row in self.desk.tables.changelogged("accounts").prefix(b"")]
        assert all(0 <= row.reserved_cash_e4 <= row.cash_e4 for row in rows)
        assert sum(row.cash_e4 for row in rows) == self.came_in_e4
        assert self.totals[Book.AVAILABLE, CASH] + self.totals[Book.RESERVED, CASH] == self.came_in_e4
        reserved_e4 = sum(100 * E4 * one.leaves for one in self.open if one.order.side is Side.BUY)
        assert sum(row.reserved_cash_e4 for row in rows) == self.totals[Book.RESERVED, CASH] == reserved_e4
        for (account_id, symbol), qty in self.held.items():
            row = self.desk.tables.changelogged("positions").get(position_key(account_id.encode(), symbol))
            assert (0 if row is None else row.qty) == qty
            assert row is None or 0 <= row.reserved_qty <= row.qty


def test_any_history_of_orders_limits_and_halts_then_nothing_passes_a_limit_and_nothing_is_made_or_lost(
    new_desk: Callable[..., Any],
) -> None:
    class Bound(LimitsHistory):
        pass

    Bound.new_desk = staticmethod(new_desk)
    run_state_machine_as_test(
        Bound,
        settings=settings(
            max_examples=STEPS // 33,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert Bound.steps >= STEPS
