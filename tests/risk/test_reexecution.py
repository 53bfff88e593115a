"""Decisions executed again come out as they were, byte for byte, whatever was said, set, halted and traded before."""

from collections.abc import Callable
from dataclasses import replace as with_
from typing import Any

import pytest
from common.checks.check import Check, CheckChain, check
from common.checks.gate import CHECKS
from common.contracts.controls import FIRM, ControlResult, TradingState
from common.contracts.events import Decision, ExecType, OrderIntent
from common.contracts.topics import RISK_DECISIONS
from common.contracts.values import E4, OrderType, Side, TimeInForce
from common.testing.controls import propose, resolve, set_state
from common.testing.orders import fund, intent, report, set_account, trade
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from risk.domain.gate import GATE, Limits
from risk.reexecution import Evidence, Executed, executed
from streams.model.message import Message

from tests.risk.conftest import Desk

PARTITION = 2
SECOND_NS = 1_000_000_000
BOUNDED = Limits(
    market_collar_bps=1_000,
    throttle_intents_max=40,
    open_orders_max=6,
    window_orders_max=8,
    duplicate_ns=SECOND_NS,
    position_qty_max=60,
    daily_loss_max_e4=300 * E4,
    drawdown_max_e4=500 * E4,
    reference_age_max_ns=20 * SECOND_NS,
    by_symbol={"CASH": Limits(order_qty_max=7)},
)


def evidence_of(desk: Any) -> Evidence:
    """The log's evidence of the desk's partition."""
    answers = [
        Message(RISK_DECISIONS, PARTITION, at, each.account_id.encode(), RISK_DECISIONS.schema.encode(each), 0)
        for at, each in enumerate(desk.answered)
    ]
    rows = desk.tables.globals("instruments").items()
    instruments = {key.decode(): row.value for key, row in rows}
    return Evidence(answers, desk.ledger, desk.basis, desk.controls, instruments)


def again(desk: Any, gate: CheckChain = GATE, **other: Any) -> list[Executed]:
    return list(executed(with_(evidence_of(desk), **other), gate, Limits()))


def differing(found: list[Executed]) -> list[tuple[bytes | None, bytes]]:
    return [(each.message.value, each.value) for each in found if not each.is_same]


sides = st.sampled_from(Side)
SAID: tuple[dict[str, int], ...] = (
    {"order_qty_max": 4},
    {"window_orders_max": 3},
    {"daily_loss_max_e4": 100},
    {"restricted": 1},
    {},
)
steps = st.one_of(
    st.tuples(
        st.just("order"), st.sampled_from("aab"), st.sampled_from(("ACME", "CASH", "ACME", "NONE")), sides,
        st.integers(-1, 9), st.integers(180, 222), st.booleans(),
    ),
    st.tuples(
        st.just("order"), st.just("a"), st.just("ACME"), sides, st.just(2), st.sampled_from((190, 210)), st.just(False)
    ),
    st.tuples(st.just("fill"), st.integers(0, 9), st.integers(1, 3)),
    st.tuples(st.just("end"), st.integers(0, 9)),
    st.tuples(st.just("mark"), st.sampled_from(("ACME", "CASH")), st.integers(95, 105), st.sampled_from("TTTHP")),
    st.tuples(st.just("clock"), st.sampled_from((1, SECOND_NS // 2, 3 * SECOND_NS, 40_000 * SECOND_NS))),
    st.tuples(st.just("stale"), st.just(9 * SECOND_NS)),
    st.tuples(st.just("status"), st.sampled_from("ab"), st.booleans()),
    st.tuples(st.just("fund"), st.sampled_from("ab"), st.integers(1, 9)),
    st.tuples(st.just("state"), st.sampled_from((FIRM, "a")), st.sampled_from(TradingState)),
    st.tuples(
        st.just("limits"), st.sampled_from((FIRM, "a")), st.sampled_from((None, "ACME")),
        st.sampled_from(SAID),
    ),
    st.tuples(st.just("again"),),
)  # fmt: skip


class Story:
    """Carries out steps on a desk."""

    def __init__(self, desk: Any) -> None:
        self.desk, self.number = desk, 0
        self.open: dict[str, tuple[OrderIntent, int]] = {}
        desk.list_instrument("CASH", 4)
        for account_id in "ab":
            self.command(set_account(account_id, command_id=f"open-{account_id}"))
            self.command(fund(account_id, command_id="cash", cash_e4=3_000 * E4))
            self.command(fund(account_id, command_id="shares", symbol="ACME", qty=20))

    def command(self, body: Any) -> Any:
        return self.desk.command(body)

    def next(self) -> str:
        self.number += 1
        return f"n{self.number}"

    def do(self, step: Any) -> None:
        getattr(self, step[0])(*step[1:])
        self.desk.now_ns += 1_000

    def order(self, account_id: str, symbol: str, side: Side, qty: int, half: int, market: bool) -> None:
        kind = {"order_type": OrderType.MARKET} if market else {"limit_price_e4": half * E4 // 2}
        body = intent(self.next(), account_id, symbol=symbol, side=side, qty=qty, **kind, **self.terms())
        if self.desk.decide(body).accepted:
            self.open[self.next()] = body, 0

    def terms(self) -> dict[str, Any]:
        """By turns, most of them none. Of those that expire one does in the future, one as the symbol's mark came."""
        terms: tuple[dict[str, Any], ...] = (
            {"time_in_force": TimeInForce.IOC, "min_qty": 2},
            {"time_in_force": TimeInForce.FOK},
            {"time_in_force": TimeInForce.GTD, "expire_ns": self.desk.now_ns + SECOND_NS},
            {"time_in_force": TimeInForce.GTD, "expire_ns": self.desk.now_ns - SECOND_NS // 4},
            {"min_qty": 1},
        )
        turn, rest = divmod(self.number, 4)
        return {} if rest else terms[turn % len(terms)]

    def fill(self, number: int, qty: int) -> None:
        for name in list(self.open)[number : number + 1]:
            body, cum = self.open[name]
            qty = min(qty, body.qty - cum)
            price_e4 = body.limit_price_e4 or 99 * E4
            self.desk.send(trade(body, f"x{self.next()}", qty, price_e4, cum_qty=cum + qty))
            self.open[name] = body, cum + qty
            if cum + qty == body.qty:
                del self.open[name]

    def end(self, number: int) -> None:
        for name in list(self.open)[number : number + 1]:
            body, cum = self.open.pop(name)
            self.desk.send(report(body, ExecType.CANCELED, f"x{self.next()}", cum_qty=cum))

    def mark(self, symbol: str, at: int, state: str) -> None:
        self.desk.mark(symbol, bid_e4=(at - 1) * E4, ask_e4=(at + 1) * E4, last_e4=at * E4, state=state)
        self.desk.tick()

    def clock(self, more_ns: int) -> None:
        self.desk.now_ns += more_ns
        self.desk.tick()

    def stale(self, more_ns: int) -> None:
        self.desk.now_ns += more_ns

    def status(self, account_id: str, active: bool) -> None:
        self.command(set_account(account_id, active=active, command_id=self.next()))

    def fund(self, account_id: str, shares: int) -> None:
        self.command(fund(account_id, command_id=self.next(), symbol="ACME", qty=shares))

    def state(self, account_id: str, state: TradingState) -> None:
        self.desk.control(set_state(self.next(), state, account_id))

    def limits(self, account_id: str, symbol: str | None, values: dict[str, int]) -> None:
        proposal = self.next()
        self.desk.control(propose(proposal, account_id, symbol=symbol, values=values))
        self.desk.control(resolve(self.next(), proposal, account_id))

    def again(self) -> None:
        for body, _ in list(self.open.values())[:1]:
            self.desk.send(body)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some=st.lists(steps, max_size=60), limits=st.sampled_from((Limits(), BOUNDED, BOUNDED)))
def test_decisions_when_executed_again_then_the_same_bytes(
    new_desk: Callable[..., Any], some: list[Any], limits: Limits
) -> None:
    story = Story(new_desk(limits))
    for step in some:
        story.do(step)
    found = again(story.desk)
    assert differing(found) == []
    assert len(found) == sum(not each.repeat for each in story.desk.decisions)


def thousands(desk: Any, count: int) -> None:
    """Orders, fills and changes of limits, none of them random."""
    story = Story(desk)
    for number in range(count):
        side = Side.SELL if number % 5 == 4 else Side.BUY
        story.do(
            ("order", "ab"[number % 2], ("ACME", "CASH")[number % 3 == 0], side, number % 9, 190 + number % 25, False)
        )
        if number % 3 == 2:
            story.do(("fill", 0, 1 + number % 3))
        if number % 7 == 6:
            story.do(("end", 0))
        if number % 11 == 0:
            story.do(("mark", "ACME", 98 + number % 5, "T" if number % 121 else "H"))
        if number % 50 == 49:
            story.do(("limits", (FIRM, "a")[number % 100 == 99], None, {"order_qty_max": 3 + number % 7}))
        story.do(("clock", SECOND_NS // 50))


@pytest.fixture(scope="module")
def busy() -> Any:
    desk = Desk(BOUNDED)
    desk.keeps_views = False
    thousands(desk, 4_000)
    return desk


def test_thousands_of_decisions_when_executed_again_then_each_the_same(busy: Any) -> None:
    found = again(busy)
    reasons = {each.said.reason for each in found}
    assert len(found) == 4_000 and len(reasons) > 6 and {None, "EXPIRY_PAST", "MIN_QTY_UNEXPECTED"} <= reasons
    assert differing(found) == []
    assert {each.settled.rules.release for each in found if each.settled.rules} == {"1.0"}


def other(of: Check) -> Check:
    """The same name and reason, and it lets everything pass."""
    numbers: Any = of.numbers
    return check(of.reason, "changed", **numbers)(lambda case: True)


def changed(name: str) -> CheckChain:
    """The gate of a release in which one check lets everything pass."""
    made = []
    for each in CHECKS:
        lenient = other(each)
        made.append(
            Check(each.name, each.reason, "changed", lenient.passes, each.numbers) if each.name == name else each
        )
    return CheckChain(tuple(made))


def test_thousands_when_an_unrelated_check_was_changed_then_each_the_same(busy: Any) -> None:
    """No order here is for a share of the average volume."""
    assert differing(again(busy, changed("volume_share_bounded"))) == []


def test_thousands_when_the_check_that_denied_was_changed_then_those_differ_and_no_others(busy: Any) -> None:
    found = again(busy, changed("qty_bounded"))
    differ = {each.said.order_id for each in found if not each.is_same}
    assert differ == {each.order_id for each in busy.decisions if each.reason == "QTY_TOO_LARGE"} and differ


def test_decision_when_controls_in_force_are_not_on_the_log_then_it_is_said(busy: Any) -> None:
    lost: list[ControlResult] = []
    with pytest.raises(ValueError, match=r"controls \d+ of"):
        again(busy, controls=lost)


def test_decision_when_a_number_was_another_then_it_differs(busy: Any) -> None:
    """A record that somebody edited."""
    evidence = evidence_of(busy)
    at, edited = next((at, each) for at, each in enumerate(evidence.answers) if isinstance(each.body, Decision))
    value = RISK_DECISIONS.schema.encode(edited.body.model_copy(update={"decided_ns": edited.body.decided_ns + 1}))
    answers = list(evidence.answers)
    answers[at] = Message(
        RISK_DECISIONS,
        PARTITION,
        edited.offset,
        edited.key,
        value.replace(b'"compared":{', b'"compared":{"x":1,', 1),
        0,
    )
    found = list(executed(with_(evidence, answers=answers), GATE, Limits()))
    assert [each.message.offset for each in found if not each.is_same] == [edited.offset]
