"""The gate's checks: each reason with its numbers, their order, and the price a MARKET order is held to."""

from typing import Any

import pytest
from common.checks.reasons import denials
from common.contracts.events import AccountStatus, OrderIntent, ReasonCode
from common.contracts.reference import Instrument
from common.contracts.values import E4, INT64_MAX, OrderType, Side
from common.testing.orders import NOW_NS, instrument, intent
from risk.domain.account import AccountRow, Mark, PositionRow
from risk.domain.gate import AccountState, Limits, Market, Verdict, decide, listed

ACTIVE = AccountRow(AccountStatus.ACTIVE, cash_e4=1_000 * E4)
SECOND_NS = 1_000_000_000


def mark(**fields: int) -> Mark:
    defaults = {"bid_e4": 99 * E4, "ask_e4": 101 * E4, "last_e4": 100 * E4, "event_ns": NOW_NS, "clock_ns": NOW_NS}
    return Mark(partition=1, offset=7, **{**defaults, **fields})


def market(of: Instrument | None = None, **fields: int) -> Market:
    return Market(of or instrument(), mark(**fields), ord("T"))


def decided(order: OrderIntent, account: AccountState, market: Market, limits: Limits | None = None) -> Verdict:
    return decide(order, account, listed(market, (limits or Limits()).of(order.symbol)), NOW_NS)


def denied(
    order: OrderIntent, account: AccountState, market: Market, limits: Limits | None = None
) -> tuple[str, dict[str, int]]:
    verdict = decided(order, account, market, limits)
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
    "quantity beyond the operator's limit": (
        {"qty": 1_000_001},
        FUNDED,
        market(),
        Limits(),
        ReasonCode.QTY_TOO_LARGE,
        {"qty": 1_000_001, "qty_max": 1_000_000},
    ),
    "buy above the collar": (
        {"limit_price_e4": 1_111_100},  # a tenth above the offer of 101.00 is 111.10
        FUNDED,
        market(),
        Limits(),
        ReasonCode.PRICE_OUTSIDE_COLLAR,
        {"limit_price_e4": 1_111_100, "ask_e4": 1_010_000, "price_max_e4": 1_111_000},
    ),
    "sell below the collar": (
        {"side": Side.SELL, "limit_price_e4": 890_900},  # a tenth below the bid of 99.00 is 89.10
        FUNDED,
        market(),
        Limits(),
        ReasonCode.PRICE_OUTSIDE_COLLAR,
        {"limit_price_e4": 890_900, "bid_e4": 990_000, "price_min_e4": 891_000},
    ),
    "buy above the collar of the last sale": (
        {"limit_price_e4": 1_100_100},
        FUNDED,
        market(ask_e4=0),
        Limits(),
        ReasonCode.PRICE_OUTSIDE_COLLAR,
        {"limit_price_e4": 1_100_100, "last_e4": 1_000_000, "price_max_e4": 1_100_000},
    ),
    "sell below the collar of the last sale": (
        {"side": Side.SELL, "limit_price_e4": 1},
        FUNDED,
        market(bid_e4=0),
        Limits(),
        ReasonCode.PRICE_OUTSIDE_COLLAR,
        {"limit_price_e4": 1, "last_e4": 1_000_000, "price_min_e4": 900_000},
    ),
    "buy that no price bounds": (
        {},
        FUNDED,
        market(ask_e4=0, last_e4=0),
        Limits(),
        ReasonCode.MARK_MISSING,
        {"ask_e4": 0, "last_e4": 0},
    ),
    "sell that no price bounds": (
        {"side": Side.SELL},
        FUNDED,
        market(bid_e4=0, last_e4=0),
        Limits(),
        ReasonCode.MARK_MISSING,
        {"bid_e4": 0, "last_e4": 0},
    ),
    "beyond 64 bits": (
        {"qty": INT64_MAX, "limit_price_e4": 100},
        FUNDED,
        market(),
        Limits(order_qty_max=INT64_MAX, order_notional_max_e4=INT64_MAX),
        ReasonCode.NOTIONAL_TOO_LARGE,
        {"qty": INT64_MAX, "qty_max": INT64_MAX // 100, "notional_max_e4": INT64_MAX},
    ),
    "beyond the operator's limit": (
        {"qty": 6},
        FUNDED,
        market(),
        Limits(order_notional_max_e4=500 * E4),
        ReasonCode.NOTIONAL_TOO_LARGE,
        {"qty": 6, "qty_max": 5, "notional_max_e4": 500 * E4},
    ),
    "beyond the limit of the symbol": (
        {"qty": 6},
        FUNDED,
        market(),
        Limits(by_symbol={"ACME": Limits(order_qty_max=5), "OTHER": Limits(order_qty_max=1)}),
        ReasonCode.QTY_TOO_LARGE,
        {"qty": 6, "qty_max": 5},
    ),
    "buy at the price of an own sell": (
        {},
        AccountState(ACTIVE, None, open_sell_price_e4=100 * E4),
        market(),
        Limits(),
        ReasonCode.SELF_CROSS,
        {"price_e4": 100 * E4, "crossed_price_e4": 100 * E4},
    ),
    "sell below the price of an own buy": (
        {"side": Side.SELL, "limit_price_e4": 100 * E4 - 100},
        AccountState(ACTIVE, PositionRow(10), open_buy_price_e4=100 * E4),
        market(),
        Limits(),
        ReasonCode.SELF_CROSS,
        {"price_e4": 100 * E4 - 100, "crossed_price_e4": 100 * E4},
    ),
    "market order whose worst price is beyond an own sell": (
        MARKET_BUY,
        AccountState(AccountRow(AccountStatus.ACTIVE, cash_e4=5_000 * E4), None, 0, 1_060_500),
        market(),
        Limits(),
        ReasonCode.SELF_CROSS,
        {"price_e4": 1_060_500, "crossed_price_e4": 1_060_500},
    ),
    "no room for the cash of a sell": (
        {"side": Side.SELL},
        AccountState(AccountRow(AccountStatus.ACTIVE, INT64_MAX - 10**9, 0, 0, 1), PositionRow(10)),
        market(),
        Limits(),
        ReasonCode.HEADROOM_INSUFFICIENT,
        {
            "proceeds_max_e4": 10**9,
            "held_cash_e4": INT64_MAX - 10**9,
            "pending_cash_e4": 1,
            "cash_max_e4": INT64_MAX,
        },
    ),
    "no room for the shares of a buy": (
        {"qty": 5, "limit_price_e4": 100 * E4},
        AccountState(AccountRow(AccountStatus.ACTIVE, 1_000 * E4, 4), PositionRow(INT64_MAX - 8)),
        market(),
        Limits(),
        ReasonCode.HEADROOM_INSUFFICIENT,
        {"qty": 5, "held_qty": INT64_MAX - 8, "reserved_cash_e4": 4, "qty_max": INT64_MAX},
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
    documented = {(each.reason, number) for each in denials() for number in each.numbers}
    for *_, reason, compared in DENIALS.values():
        assert {(reason, number) for number in compared} <= documented


def test_several_rules_broken_then_the_first_in_order_speaks() -> None:
    """Everything is wrong at once; mending the named thing uncovers the next one."""
    wrong = {"side": Side.SELL, "qty": -1, "limit_price_e4": None}
    large = {**wrong, "qty": 1_000_000}
    nobody = AccountState(None, None)
    suspended = AccountState(AccountRow(AccountStatus.SUSPENDED), None)
    poor = AccountState(AccountRow(AccountStatus.ACTIVE), None)
    full = AccountState(AccountRow(AccountStatus.ACTIVE, INT64_MAX), PositionRow(100), 100 * E4)
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
        ({**wrong, "qty": INT64_MAX // 100 * 100}, poor, fresh, ReasonCode.QTY_TOO_LARGE),
        (large, poor, fresh, ReasonCode.PRICE_MISSING),
        ({**large, "limit_price_e4": -3}, poor, fresh, ReasonCode.PRICE_NOT_POSITIVE),
        ({**large, "limit_price_e4": 10_001}, poor, fresh, ReasonCode.PRICE_OFF_TICK),
        ({**large, "limit_price_e4": 10_100}, poor, fresh, ReasonCode.PRICE_OUTSIDE_COLLAR),
        ({**large, "limit_price_e4": 100 * E4}, poor, fresh, ReasonCode.NOTIONAL_TOO_LARGE),
        ({**large, "qty": 100, "limit_price_e4": 100 * E4}, poor, fresh, ReasonCode.POSITION_INSUFFICIENT),
        ({**large, "qty": 100, "limit_price_e4": 100 * E4}, full, fresh, ReasonCode.SELF_CROSS),
        ({**large, "qty": 100, "limit_price_e4": 101 * E4}, full, fresh, ReasonCode.HEADROOM_INSUFFICIENT),
    ]
    for fields, account, of, reason in steps:
        assert denied(intent(**fields), account, of)[0] is reason


@pytest.mark.parametrize("clock_ns", [NOW_NS - 5 * SECOND_NS, NOW_NS, NOW_NS + 5 * SECOND_NS])
def test_clock_within_the_age_limit_then_accepted(clock_ns: int) -> None:
    assert decided(intent(), FUNDED, market(clock_ns=clock_ns)).denial is None


def test_state_never_said_and_operator_lets_it_trade_then_accepted() -> None:
    unsaid = Market(instrument(), mark(), 0)
    assert decided(intent(), FUNDED, unsaid, Limits(unsaid_state_trades=True)).denial is None
