"""The gate's checks: each reason with its numbers, their order, and the price a MARKET order is held to."""

import re
from typing import Any

import pytest
from common.contracts.events import AccountStatus, ReasonCode
from common.contracts.reference import Instrument
from common.contracts.values import E4, INT64_MAX, OrderType, Side
from common.testing.orders import NOW_NS, instrument, intent
from hypothesis import given
from hypothesis import strategies as st
from risk.domain.account import AccountRow, Mark, PositionRow
from risk.domain.gate import (
    ACCOUNT_CHECKS,
    MARKET_CHECKS,
    MONEY_CHECKS,
    ORDER_CHECKS,
    AccountState,
    Limits,
    Market,
    decide,
    tick_e4,
    worst_price_e4,
)
from risk.reasons import REASONS

ACTIVE = AccountRow(AccountStatus.ACTIVE, cash_e4=1_000 * E4)
SECOND_NS = 1_000_000_000


def mark(**fields: int) -> Mark:
    defaults = {"bid_e4": 99 * E4, "ask_e4": 101 * E4, "last_e4": 100 * E4, "event_ns": NOW_NS, "clock_ns": NOW_NS}
    return Mark(partition=1, offset=7, **{**defaults, **fields})


def market(of: Instrument | None = None, **fields: int) -> Market:
    return Market(of or instrument(), mark(**fields), ord("T"))


def denied(
    order: Any, account: AccountState, market: Market, limits: Limits | None = None
) -> tuple[str, dict[str, int]]:
    verdict = decide(order, account, market, limits or Limits(), NOW_NS)
    assert verdict.denial is not None
    assert (verdict.price_e4, verdict.reserved_cash_e4, verdict.reserved_qty) == (0, 0, 0)
    return verdict.denial.reason, verdict.denial.compared


FUNDED = AccountState(ACTIVE, None)
MARKET_BUY = {"order_type": OrderType.MARKET}
MARKET_SELL = {"order_type": OrderType.MARKET, "side": Side.SELL}
LOTS = instrument(lot_size=100)

DENIALS: dict[str, tuple[dict[str, Any], AccountState, Market, Limits, ReasonCode, dict[str, int]]] = {
    "no account": ({}, AccountState(None, None), market(), Limits(), ReasonCode.ACCOUNT_UNKNOWN, {}),
    "suspended": (
        {},
        AccountState(AccountRow(AccountStatus.SUSPENDED, 1_000 * E4), None),
        market(),
        Limits(),
        ReasonCode.ACCOUNT_INACTIVE,
        {},
    ),
    "no instrument": ({}, FUNDED, Market(None, mark(), ord("T")), Limits(), ReasonCode.INSTRUMENT_UNKNOWN, {}),
    "halted": (
        {},
        FUNDED,
        Market(instrument(), mark(), ord("H")),
        Limits(),
        ReasonCode.INSTRUMENT_HALTED,
        {"trading_state": ord("H")},
    ),
    "quotation only": (
        {},
        FUNDED,
        Market(instrument(), mark(), ord("Q")),
        Limits(),
        ReasonCode.INSTRUMENT_HALTED,
        {"trading_state": ord("Q")},
    ),
    "state never said": (
        {},
        FUNDED,
        Market(instrument(), mark(), 0),
        Limits(),
        ReasonCode.INSTRUMENT_HALTED,
        {"trading_state": 0},
    ),
    "no mark": ({}, FUNDED, Market(instrument(), None), Limits(), ReasonCode.MARK_MISSING, {}),
    "clock stands still": (
        {},
        FUNDED,
        market(clock_ns=NOW_NS - 5 * SECOND_NS - 1),
        Limits(),
        ReasonCode.MARK_STALE,
        {"mark_age_ns": 5 * SECOND_NS + 1, "mark_age_max_ns": 5 * SECOND_NS},
    ),
    "clock of the future": (
        {},
        FUNDED,
        market(clock_ns=NOW_NS + 5 * SECOND_NS + 1),
        Limits(),
        ReasonCode.MARK_STALE,
        {"mark_age_ns": -5 * SECOND_NS - 1, "mark_age_max_ns": 5 * SECOND_NS},
    ),
    "zero quantity": ({"qty": 0}, FUNDED, market(), Limits(), ReasonCode.QTY_NOT_POSITIVE, {"qty": 0}),
    "negative quantity": ({"qty": -5}, FUNDED, market(), Limits(), ReasonCode.QTY_NOT_POSITIVE, {"qty": -5}),
    "off lot": ({"qty": 150}, FUNDED, market(LOTS), Limits(), ReasonCode.QTY_OFF_LOT, {"qty": 150, "lot_qty": 100}),
    "limit without price": ({"limit_price_e4": None}, FUNDED, market(), Limits(), ReasonCode.PRICE_MISSING, {}),
    "market with price": (
        {**MARKET_BUY, "limit_price_e4": 7},
        FUNDED,
        market(),
        Limits(),
        ReasonCode.PRICE_UNEXPECTED,
        {"limit_price_e4": 7},
    ),
    "market buy, nothing offered": (
        MARKET_BUY,
        FUNDED,
        market(ask_e4=0),
        Limits(),
        ReasonCode.MARK_MISSING,
        {"ask_e4": 0},
    ),
    "market sell, nothing bid": (
        MARKET_SELL,
        FUNDED,
        market(bid_e4=0),
        Limits(),
        ReasonCode.MARK_MISSING,
        {"bid_e4": 0},
    ),
    "zero price": (
        {"limit_price_e4": 0},
        FUNDED,
        market(),
        Limits(),
        ReasonCode.PRICE_NOT_POSITIVE,
        {"limit_price_e4": 0},
    ),
    "negative price": (
        {"limit_price_e4": -100},
        FUNDED,
        market(),
        Limits(),
        ReasonCode.PRICE_NOT_POSITIVE,
        {"limit_price_e4": -100},
    ),
    "off tick": (
        {"limit_price_e4": 100 * E4 + 1},
        FUNDED,
        market(),
        Limits(),
        ReasonCode.PRICE_OFF_TICK,
        {"limit_price_e4": 100 * E4 + 1, "tick_e4": 100},
    ),
    "beyond 64 bits": (
        {"qty": INT64_MAX, "limit_price_e4": 100},
        FUNDED,
        market(),
        Limits(),
        ReasonCode.QTY_TOO_LARGE,
        {"qty": INT64_MAX, "qty_max": INT64_MAX // 100, "notional_max_e4": INT64_MAX},
    ),
    "beyond the operator's limit": (
        {"qty": 6},
        FUNDED,
        market(),
        Limits(order_notional_max_e4=500 * E4),
        ReasonCode.QTY_TOO_LARGE,
        {"qty": 6, "qty_max": 5, "notional_max_e4": 500 * E4},
    ),
    "cash short": (
        {"qty": 11},
        FUNDED,
        market(),
        Limits(),
        ReasonCode.CASH_INSUFFICIENT,
        {
            "required_cash_e4": 1_100 * E4,
            "available_cash_e4": 1_000 * E4,
            "shortfall_cash_e4": 100 * E4,
        },
    ),
    "cash reserved elsewhere": (
        {"qty": 10},
        AccountState(AccountRow(AccountStatus.ACTIVE, 1_000 * E4, 1), None),
        market(),
        Limits(),
        ReasonCode.CASH_INSUFFICIENT,
        {"required_cash_e4": 1_000 * E4, "available_cash_e4": 1_000 * E4 - 1, "shortfall_cash_e4": 1},
    ),
    "nothing to sell": (
        {"side": Side.SELL},
        FUNDED,
        market(),
        Limits(),
        ReasonCode.POSITION_INSUFFICIENT,
        {"required_qty": 10, "available_qty": 0, "shortfall_qty": 10},
    ),
    "shares reserved elsewhere": (
        {"side": Side.SELL},
        AccountState(ACTIVE, PositionRow(12, 3)),
        market(),
        Limits(),
        ReasonCode.POSITION_INSUFFICIENT,
        {"required_qty": 10, "available_qty": 9, "shortfall_qty": 1},
    ),
}


@pytest.mark.parametrize("case", DENIALS)
def test_rule_broken_then_denied_with_its_numbers(case: str) -> None:
    fields, account, of, limits, reason, compared = DENIALS[case]
    assert denied(intent(**fields), account, of, limits) == (reason, compared)


def test_every_reason_of_the_gate_is_covered() -> None:
    elsewhere = {
        ReasonCode.DUPLICATE_ID,
        ReasonCode.COMMAND_INVALID,
        ReasonCode.BREAK_UNKNOWN,
        ReasonCode.BREAK_RESOLVED,
    }
    assert {reason for *_, reason, _ in DENIALS.values()} == set(ReasonCode) - elsewhere


def test_numbers_of_a_denial_are_those_that_are_documented() -> None:
    for *_, reason, compared in DENIALS.values():
        assert set(compared) <= set(REASONS[reason].numbers)


def test_checks_stand_in_the_documented_order() -> None:
    """Each reason is documented after those that an intent meets before it."""
    documented = list(REASONS)
    met = [
        name.strip(" ,;:")
        for check in (*ACCOUNT_CHECKS, *MARKET_CHECKS, *ORDER_CHECKS, *MONEY_CHECKS)
        for name in re.findall(r"[A-Z]+_[A-Z_]+", check.__doc__ or "")
    ]
    first_met = list(dict.fromkeys(met))
    assert first_met == [code.value for code in documented if code.value in first_met]


def test_several_rules_broken_then_the_first_in_order_speaks() -> None:
    """Everything is wrong at once; mending the named thing uncovers the next one."""
    wrong = {"side": Side.SELL, "qty": -1, "limit_price_e4": None}
    nobody = AccountState(None, None)
    suspended = AccountState(AccountRow(AccountStatus.SUSPENDED), None)
    poor = AccountState(AccountRow(AccountStatus.ACTIVE), None)
    stale = mark(clock_ns=0)
    halted = Market(LOTS, stale, ord("H"))
    unhalted = Market(LOTS, stale, ord("T"))
    fresh = Market(LOTS, mark(), ord("T"))
    steps: list[tuple[dict[str, Any], AccountState, Market, ReasonCode]] = [
        (wrong, nobody, Market(None, None), ReasonCode.ACCOUNT_UNKNOWN),
        (wrong, suspended, Market(None, None), ReasonCode.ACCOUNT_INACTIVE),
        (wrong, poor, Market(None, None), ReasonCode.INSTRUMENT_UNKNOWN),
        (wrong, poor, halted, ReasonCode.INSTRUMENT_HALTED),
        (wrong, poor, unhalted, ReasonCode.MARK_STALE),
        (wrong, poor, fresh, ReasonCode.QTY_NOT_POSITIVE),
        ({**wrong, "qty": 1}, poor, fresh, ReasonCode.QTY_OFF_LOT),
        ({**wrong, "qty": INT64_MAX // 100 * 100}, poor, fresh, ReasonCode.PRICE_MISSING),
        ({**wrong, "qty": INT64_MAX // 100 * 100, "limit_price_e4": -3}, poor, fresh, ReasonCode.PRICE_NOT_POSITIVE),
        ({**wrong, "qty": INT64_MAX // 100 * 100, "limit_price_e4": 10_001}, poor, fresh, ReasonCode.PRICE_OFF_TICK),
        ({**wrong, "qty": INT64_MAX // 100 * 100, "limit_price_e4": 100}, poor, fresh, ReasonCode.QTY_TOO_LARGE),
        ({**wrong, "qty": 100, "limit_price_e4": 100}, poor, fresh, ReasonCode.POSITION_INSUFFICIENT),
    ]
    for fields, account, of, reason in steps:
        assert denied(intent(**fields), account, of)[0] is reason


def test_limit_buy_accepted_then_cash_reserved_at_its_limit() -> None:
    verdict = decide(intent(qty=10), FUNDED, market(), Limits(), NOW_NS)
    assert verdict.denial is None
    assert (verdict.price_e4, verdict.reserved_cash_e4, verdict.reserved_qty) == (100 * E4, 1_000 * E4, 0)


def test_sell_accepted_then_shares_reserved_and_no_cash() -> None:
    account = AccountState(AccountRow(AccountStatus.ACTIVE), PositionRow(10))
    verdict = decide(intent(side=Side.SELL, qty=10), account, market(), Limits(), NOW_NS)
    assert (verdict.denial, verdict.reserved_cash_e4, verdict.reserved_qty) == (None, 0, 10)


@pytest.mark.parametrize("clock_ns", [NOW_NS - 5 * SECOND_NS, NOW_NS, NOW_NS + 5 * SECOND_NS])
def test_clock_within_the_age_limit_then_accepted(clock_ns: int) -> None:
    assert decide(intent(), FUNDED, market(clock_ns=clock_ns), Limits(), NOW_NS).denial is None


def test_state_never_said_and_operator_lets_it_trade_then_accepted() -> None:
    unsaid = Market(instrument(), mark(), 0)
    assert decide(intent(), FUNDED, unsaid, Limits(unsaid_state_trades=True), NOW_NS).denial is None


@pytest.mark.parametrize(
    ("price_e4", "on_tick"), [(9_999, True), (10_000, True), (10_001, False), (10_100, True), (1, True)]
)
def test_tick_is_a_cent_from_one_dollar_on_and_a_hundredth_of_it_below(price_e4: int, on_tick: bool) -> None:
    verdict = decide(intent(limit_price_e4=price_e4, qty=1), FUNDED, market(), Limits(), NOW_NS)
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
    verdict = decide(order, FUNDED, market(ask_e4=ask_e4), Limits(market_collar_bps=collar_bps), NOW_NS)
    assert (verdict.price_e4, verdict.reserved_cash_e4) == (reserved_e4, 3 * reserved_e4)


@pytest.mark.parametrize(
    ("bid_e4", "collar_bps", "worst_e4"),
    [(1_000_000, 500, 950_000), (1_000_100, 500, 950_000), (10_000, 100, 9_900), (1, 500, 1), (3, 9_999, 1)],
)
def test_market_sell_then_bid_less_collar_rounded_down_to_a_tick(bid_e4: int, collar_bps: int, worst_e4: int) -> None:
    account = AccountState(ACTIVE, PositionRow(5))
    order = intent(order_type=OrderType.MARKET, side=Side.SELL, qty=5)
    verdict = decide(order, account, market(bid_e4=bid_e4), Limits(market_collar_bps=collar_bps), NOW_NS)
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
    order = intent(order_type=OrderType.MARKET, side=side)
    price_e4 = worst_price_e4(order, of, Limits(market_collar_bps=collar_bps))
    assert of.instrument is not None
    assert price_e4 > 0
    assert price_e4 % tick_e4(of.instrument, price_e4) == 0
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
    verdict = decide(order, account, market(ask_e4=ask_e4, bid_e4=bid_e4), Limits(), NOW_NS)
    numbers = verdict.denial.compared.values() if verdict.denial else (verdict.price_e4, verdict.reserved_cash_e4)
    assert all(-INT64_MAX <= number <= INT64_MAX for number in numbers)
    if verdict.denial is None:
        assert verdict.reserved_cash_e4 <= cash_e4
        assert verdict.reserved_qty <= held
        assert verdict.reserved_cash_e4 > 0 or verdict.reserved_qty > 0
