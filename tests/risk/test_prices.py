"""Prices and amounts of the gate: ticks, collars, and orders that are at a limit and not beyond it."""

from typing import Any

import pytest
from common.checks.prices import tick_at
from common.contracts.events import AccountStatus, OrderIntent, ReasonCode
from common.contracts.reference import Instrument
from common.contracts.values import E4, INT64_MAX, OrderType, Side
from common.testing.orders import NOW_NS, instrument, intent
from hypothesis import given
from hypothesis import strategies as st
from risk.domain.account import AccountRow, Mark, PositionRow
from risk.domain.gate import AccountState, Limits, Market, Verdict, decide, listed

ACTIVE = AccountRow(AccountStatus.ACTIVE, cash_e4=1_000 * E4)
FUNDED = AccountState(ACTIVE, None)


def market(
    of: Instrument | None = None, *, bid_e4: int = 99 * E4, ask_e4: int = 101 * E4, last_e4: int = 100 * E4
) -> Market:
    return Market(of or instrument(), Mark(1, 7, bid_e4, ask_e4, last_e4, NOW_NS, NOW_NS), ord("T"))


def decided(order: OrderIntent, account: AccountState, market: Market, limits: Limits) -> Verdict:
    return decide(order, account, listed(market, limits.of(order.symbol)), NOW_NS)


@pytest.mark.parametrize(
    ("fields", "account", "limits"),
    [
        ({"limit_price_e4": 1_111_000, "qty": 9}, FUNDED, Limits()),
        ({"side": Side.SELL, "limit_price_e4": 891_000}, AccountState(ACTIVE, PositionRow(10)), Limits()),
        ({"limit_price_e4": 1, "qty": 1_000_000}, FUNDED, Limits()),  # far away and passive
        ({"side": Side.SELL, "limit_price_e4": 10**9, "qty": 1}, AccountState(ACTIVE, PositionRow(10)), Limits()),
        ({"limit_price_e4": 1_112_000, "qty": 8}, FUNDED, Limits(by_symbol={"ACME": Limits(limit_collar_bps=2_000)})),
        ({"qty": 5}, FUNDED, Limits(order_notional_max_e4=500 * E4)),
        ({}, AccountState(ACTIVE, None, open_sell_price_e4=100 * E4 + 100), Limits()),
        ({}, AccountState(ACTIVE, None, open_sell_price_e4=1), Limits(self_cross_denied=False)),
        (
            {},
            AccountState(ACTIVE, None, open_sell_price_e4=1),
            Limits(by_symbol={"ACME": Limits(self_cross_denied=False)}),
        ),
        (
            {"side": Side.SELL},
            AccountState(AccountRow(AccountStatus.ACTIVE, INT64_MAX - 10**9 - 1, 0, 0, 1), PositionRow(10)),
            Limits(),
        ),
        (
            {"qty": 4},
            AccountState(AccountRow(AccountStatus.ACTIVE, 1_000 * E4, 4), PositionRow(INT64_MAX - 8)),
            Limits(),
        ),
    ],
)
def test_order_at_the_limit_of_a_rule_then_accepted(
    fields: dict[str, Any], account: AccountState, limits: Limits
) -> None:
    assert decided(intent(**fields), account, market(), limits).denial is None


@given(
    reference_e4=st.integers(1, 10**12),
    collar_bps=st.integers(0, 9_999),
    quoted=st.booleans(),
    side=st.sampled_from(Side),
)
def test_limit_bound_then_the_collared_reference_and_the_next_tick_beyond_it_denied(
    reference_e4: int, collar_bps: int, quoted: bool, side: Side
) -> None:
    """The bound itself passes, one tick further does not, and the bound is less than two ticks beyond the collar."""
    quote_e4 = reference_e4 if quoted else 0
    of = market(bid_e4=quote_e4, ask_e4=quote_e4, last_e4=reference_e4)
    limits = Limits(limit_collar_bps=collar_bps, order_notional_max_e4=INT64_MAX)
    fields = listed(of, limits).fields
    bound_e4 = fields.buy_bound_e4 if side is Side.BUY else fields.sell_bound_e4
    rich = AccountState(AccountRow(AccountStatus.ACTIVE, 10**16), PositionRow(1))
    assert decided(intent(side=side, qty=1, limit_price_e4=bound_e4), rich, of, limits).denial is None
    tick = tick_at(fields, bound_e4 if side is Side.BUY else bound_e4 - 1)
    beyond = bound_e4 + tick if side is Side.BUY else bound_e4 - tick
    collared = reference_e4 * (10_000 + (collar_bps if side is Side.BUY else -collar_bps))
    assert abs(bound_e4 * 10_000 - collared) < 2 * max(tick, 1) * 10_000 or bound_e4 == 1
    if beyond > 0:
        verdict = decided(intent(side=side, qty=1, limit_price_e4=beyond), rich, of, limits)
        assert verdict.denial is not None
        assert verdict.denial.reason is ReasonCode.PRICE_OUTSIDE_COLLAR


@pytest.mark.parametrize(
    ("price_e4", "on_tick"), [(9_999, True), (10_000, True), (10_001, False), (10_100, True), (1, True)]
)
def test_tick_is_a_cent_from_one_dollar_on_and_a_hundredth_of_it_below(price_e4: int, on_tick: bool) -> None:
    verdict = decided(intent(limit_price_e4=price_e4, qty=1), FUNDED, market(), Limits())
    assert (verdict.denial is None) is on_tick


@pytest.mark.parametrize(
    ("ask_e4", "collar_bps", "reserved_e4"),
    [
        (1_000_000, 500, 1_050_000),
        (1_000_100, 500, 1_050_200),  # 1,050,105 is no tick
        (1_000_000, 0, 1_000_000),
        (9_000, 500, 9_450),  # below one dollar the tick is 0.0001
        (9_999, 1, 10_000),  # crosses one dollar: 9,999.9999 rounds up to it
        (9_999, 100, 10_100),  # beyond it the coarse tick counts
        (1, 1, 2),  # any collar is at least one tick
    ],
)
def test_market_buy_then_ask_plus_collar_rounded_up_to_a_tick(ask_e4: int, collar_bps: int, reserved_e4: int) -> None:
    order = intent(order_type=OrderType.MARKET, qty=3)
    verdict = decided(order, FUNDED, market(ask_e4=ask_e4), Limits(market_collar_bps=collar_bps))
    assert (verdict.price_e4, verdict.reserved_cash_e4) == (reserved_e4, 3 * reserved_e4)


@pytest.mark.parametrize(
    ("bid_e4", "collar_bps", "worst_e4"),
    [(1_000_000, 500, 950_000), (1_000_100, 500, 950_000), (10_000, 100, 9_900), (1, 500, 1), (3, 9_999, 1)],
)
def test_market_sell_then_bid_less_collar_rounded_down_to_a_tick(bid_e4: int, collar_bps: int, worst_e4: int) -> None:
    account = AccountState(ACTIVE, PositionRow(5))
    order = intent(order_type=OrderType.MARKET, side=Side.SELL, qty=5)
    verdict = decided(order, account, market(bid_e4=bid_e4), Limits(market_collar_bps=collar_bps))
    assert (verdict.denial, verdict.price_e4, verdict.reserved_qty) == (None, worst_e4, 5)


@given(
    quote_e4=st.integers(1, 2**50),
    collar_bps=st.integers(0, 9_999),
    tick=st.sampled_from((1, 50, 100, 300, 500)),
    side=st.sampled_from(Side),
)
def test_collared_price_is_on_tick_and_never_better_than_the_quote(
    quote_e4: int, collar_bps: int, tick: int, side: Side
) -> None:
    of = market(instrument(tick_e4=tick), bid_e4=quote_e4, ask_e4=quote_e4)
    fields = listed(of, Limits(market_collar_bps=collar_bps)).fields
    price_e4 = fields.buy_price_e4 if side is Side.BUY else fields.sell_price_e4
    assert price_e4 > 0
    assert price_e4 % tick_at(fields, price_e4) == 0
    exact = quote_e4 * (10_000 + (collar_bps if side is Side.BUY else -collar_bps))
    if side is Side.BUY:
        assert price_e4 * 10_000 >= exact
    else:
        assert price_e4 * 10_000 <= max(exact, 10_000)


@given(
    qty=st.integers(-INT64_MAX, INT64_MAX),
    price_e4=st.none() | st.integers(-INT64_MAX, INT64_MAX),
    order_type=st.sampled_from(OrderType),
    side=st.sampled_from(Side),
    cash_e4=st.integers(0, INT64_MAX),
    held=st.integers(0, INT64_MAX),
    ask_e4=st.integers(0, INT64_MAX),
    bid_e4=st.integers(0, INT64_MAX),
)
def test_any_order_then_a_verdict_whose_every_number_fits_64_bits(
    qty: int,
    price_e4: int | None,
    order_type: OrderType,
    side: Side,
    cash_e4: int,
    held: int,
    ask_e4: int,
    bid_e4: int,
) -> None:
    order = intent(qty=qty, limit_price_e4=price_e4, order_type=order_type, side=side)
    account = AccountState(AccountRow(AccountStatus.ACTIVE, cash_e4), PositionRow(held))
    verdict = decided(order, account, market(ask_e4=ask_e4, bid_e4=bid_e4), Limits())
    numbers = verdict.denial.compared.values() if verdict.denial else (verdict.price_e4, verdict.reserved_cash_e4)
    assert all(-INT64_MAX <= number <= INT64_MAX for number in numbers)
    if verdict.denial is None:
        assert verdict.reserved_cash_e4 <= cash_e4
        assert verdict.reserved_qty <= held
        assert verdict.reserved_cash_e4 > 0 or verdict.reserved_qty > 0


def test_limit_buy_accepted_then_cash_reserved_at_its_limit() -> None:
    verdict = decided(intent(qty=10), FUNDED, market(), Limits())
    assert verdict.denial is None
    assert (verdict.price_e4, verdict.reserved_cash_e4, verdict.reserved_qty) == (100 * E4, 1_000 * E4, 0)


def test_sell_accepted_then_shares_reserved_and_no_cash() -> None:
    account = AccountState(AccountRow(AccountStatus.ACTIVE), PositionRow(10))
    verdict = decided(intent(side=Side.SELL, qty=10), account, market(), Limits())
    assert (verdict.denial, verdict.reserved_cash_e4, verdict.reserved_qty) == (None, 0, 10)
