"""The load generator: the plan is a function of its seed, and latency counts from the intended time."""

import asyncio
import itertools
from collections import Counter, defaultdict

import pytest
from common.contracts.values import E4, OrderType, Side, TimeInForce
from hypothesis import given
from hypothesis import strategies as st
from tidemark.load.driver import GatewayError, Load, Verdict
from tidemark.load.latency import LatencyClock
from tidemark.load.plan import (
    NS,
    TURN_ACTIONS,
    WEIGHTS,
    WRONG,
    Action,
    ActionKind,
    OrderBody,
    Quote,
    account_names,
    actions,
    holdings,
    on_tick,
    order_of,
)

HELD = holdings(account_names(10), ["AAPL", "MSFT", "NVDA"])
QUOTE = Quote(bid_e4=1_000_000, ask_e4=1_000_200, last_e4=1_000_100)


def action(kind: ActionKind, *, side: Side = Side.BUY, at_ns: int = 0, number: int = 1) -> Action:
    return Action(at_ns, number, "demo-0001", kind, "AAPL", side, 10, 3)


def test_plan_when_seed_is_equal_then_actions_are_equal() -> None:
    first, again, other = (list(itertools.islice(actions(seed, HELD, 100.0), 500)) for seed in (7, 7, 8))
    assert first == again != other


def test_plan_then_rate_and_mix_are_as_asked() -> None:
    plan = list(itertools.islice(actions(1, HELD, 200.0), 20_000))
    assert plan[-1].at_ns / NS == pytest.approx(100, rel=0.05)
    counts = Counter(a.kind for a in plan)
    assert all(
        counts[kind] / 20_000 == pytest.approx(w / sum(WEIGHTS.values()), rel=0.4) for kind, w in WEIGHTS.items()
    )


def test_plan_then_an_account_works_one_side_of_a_symbol_and_both_in_turn() -> None:
    plan = list(itertools.islice(actions(1, HELD, 200.0), 4 * TURN_ACTIONS))
    turns: defaultdict[tuple[str, str, int], set[Side]] = defaultdict(set)
    for each in plan:
        turns[each.account, each.symbol, each.number // TURN_ACTIONS].add(each.side)
    assert {len(sides) for sides in turns.values()} == {1}
    assert Counter(each.side for each in plan)[Side.BUY] == pytest.approx(len(plan) / 2, rel=0.1)
    first, second = ({turns[account, "AAPL", turn].pop() for account in HELD} for turn in (1, 2))
    assert first == second == set(Side)


def test_holdings_when_few_symbols_then_every_account_holds_each_once() -> None:
    assert all(len(set(symbols)) == len(symbols) == 3 for symbols in HELD.values())


@given(st.integers(min_value=1, max_value=10**9), st.booleans())
def test_price_then_it_is_on_the_increment_of_reg_nms_612(price_e4: int, up: bool) -> None:
    placed = on_tick(price_e4, up=up)
    assert placed % (100 if placed >= E4 else 1) == 0
    assert abs(placed - price_e4) < 100


@pytest.mark.parametrize(
    ("kind", "side", "price_e4"),
    [
        (ActionKind.PASSIVE, Side.BUY, 999_700),
        (ActionKind.PASSIVE, Side.SELL, 1_000_500),
        (ActionKind.AGGRESSIVE, Side.BUY, 1_000_500),
        (ActionKind.IOC, Side.SELL, 999_700),
        (ActionKind.FOK, Side.BUY, 1_000_500),
        (ActionKind.GTC, Side.BUY, 999_700),
    ],
)
def test_order_when_limit_then_price_is_so_many_ticks_from_the_touch(
    kind: ActionKind, side: Side, price_e4: int
) -> None:
    body = order_of(action(kind, side=side), QUOTE)
    assert body is not None
    assert body.limit_price_e4 == price_e4
    assert body.time_in_force is TimeInForce.__members__.get(kind.name, TimeInForce.DAY)
    assert body.min_qty == (body.qty if kind is ActionKind.FOK else None)


def test_order_when_below_one_unit_of_currency_then_its_ticks_are_finer() -> None:
    """Three cents beyond an offer of five are no price that anybody means."""
    body = order_of(action(ActionKind.AGGRESSIVE), Quote(bid_e4=490, ask_e4=500, last_e4=495))
    assert body is not None
    assert body.limit_price_e4 == 503


def test_order_when_market_then_without_a_price() -> None:
    body = order_of(action(ActionKind.MARKET), QUOTE)
    assert body == OrderBody("AAPL", Side.BUY, OrderType.MARKET, TimeInForce.IOC, 10, None)


def test_order_when_market_shows_nothing_then_none() -> None:
    assert order_of(action(ActionKind.PASSIVE), Quote(0, 0, 0)) is None


@pytest.mark.parametrize("kind", sorted(WRONG))
def test_order_when_wrong_on_purpose_then_it_differs_from_a_right_one(kind: ActionKind) -> None:
    body = order_of(action(kind), QUOTE)
    assert body is not None
    off_tick = body.limit_price_e4 is not None and body.limit_price_e4 % 100 != 0
    assert off_tick or body.qty in (0, 1_000_000_000) or body.symbol == "NOSUCH.X"


class Desk:
    """A stand-in for the API: answers after ``delay_s``, denies ``wrong`` symbols, fails on one client order id."""

    def __init__(self, delay_s: float = 0.0, *, stall_s: float = 0.0) -> None:
        self.delay_s = delay_s
        self.cancelled: list[str] = []
        self._stall = asyncio.Lock()
        self._stall_s = stall_s

    async def submit(self, account: str, client_order_id: str, body: OrderBody, intended_ns: int) -> Verdict:
        if client_order_id.endswith("-13"):
            raise GatewayError("HTTP 503")
        async with self._stall:
            stall_s, self._stall_s = self._stall_s, 0.0
            await asyncio.sleep(stall_s)
        await asyncio.sleep(self.delay_s)
        wrong = body.symbol != "AAPL" or body.qty in (0, 1_000_000_000)
        return Verdict(not wrong, "INSTRUMENT_UNKNOWN" if wrong else "", intended_ns + 1_000_000)

    async def cancel(self, account: str, order_id: str, intended_ns: int) -> None:
        self.cancelled.append(order_id)


async def test_load_when_api_stalls_then_every_order_due_meanwhile_counts_the_stall() -> None:
    load = Load(Desk(stall_s=0.5), lambda _: QUOTE, id_prefix="t")
    plan = [action(ActionKind.AGGRESSIVE, at_ns=i * 10_000_000, number=i + 100) for i in range(50)]
    tally = await load.run(iter(plan), 10)
    assert tally.answered.n == 50
    assert tally.answered.percentile_ms(50) > 150


async def test_load_when_actions_differ_then_each_is_counted_where_it_belongs() -> None:
    desk = Desk()
    load = Load(desk, lambda symbol: QUOTE, id_prefix="t")
    kinds = [ActionKind.CANCEL, ActionKind.PASSIVE, ActionKind.CANCEL, ActionKind.NO_QUANTITY, ActionKind.OFF_TICK]
    plan = [action(kind, at_ns=i * 50_000_000, number=i) for i, kind in enumerate(kinds)]
    plan.append(action(ActionKind.IOC, at_ns=300_000_000, number=13))
    tally = await load.run(iter(plan), 10)
    assert (tally.skipped, tally.sent, tally.accepted, tally.denied, tally.cancels) == (1, 5, 2, 1, 1)
    assert desk.cancelled == ["demo-0001.t-1"]
    assert tally.errors == {"HTTP 503": 1}
    assert tally.unexpected == ["demo-0001.t-4 was accepted though it is wrong: off_tick"]


async def test_load_when_time_is_over_then_the_rest_of_the_plan_is_not_sent() -> None:
    load = Load(Desk(), lambda _: QUOTE, id_prefix="t")
    tally = await load.run(actions(3, HELD, 1_000.0), 0.2)
    assert 100 < tally.sent + tally.skipped < 350


def test_clock_when_empty_then_it_has_no_figure_and_when_far_out_then_clamped() -> None:
    clock = LatencyClock()
    assert clock.summary().as_dict() == {"p50_ms": None, "p99_ms": None, "n": 0}
    assert str(clock.summary()) == "no samples"
    clock.record_ns(-5)
    clock.record_ns(10**15)
    assert clock.summary().n == 2
