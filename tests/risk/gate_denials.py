"""Orders that the gate denies, and why: one or more for each reason."""

from typing import Any

from common.contracts.events import AccountStatus, ReasonCode
from common.contracts.reference import Instrument
from common.contracts.values import E4, INT64_MAX, OrderType, Side
from common.testing.orders import NOW_NS, instrument
from risk.domain.account import AccountRow, Mark, PositionRow
from risk.domain.gate import AccountState, Limits, Market

ACTIVE = AccountRow(AccountStatus.ACTIVE, cash_e4=1_000 * E4)
SECOND_NS = 1_000_000_000


def mark(**fields: int) -> Mark:
    defaults = {"bid_e4": 99 * E4, "ask_e4": 101 * E4, "last_e4": 100 * E4, "event_ns": NOW_NS, "clock_ns": NOW_NS}
    return Mark(partition=1, offset=7, **{**defaults, **fields})


def market(of: Instrument | None = None, **fields: int) -> Market:
    return Market(of or instrument(), mark(**fields), ord("T"))


FUNDED = AccountState(ACTIVE, None)
MARKET_BUY = {"order_type": OrderType.MARKET}
MARKET_SELL = {"order_type": OrderType.MARKET, "side": Side.SELL}
LOTS = instrument(lot_size=100)

DENIALS: dict[str, tuple[dict[str, Any], AccountState, Market, Limits, str, dict[str, int]]] = {
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
