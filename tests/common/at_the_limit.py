"""Cases at the limit of each check, and one step beyond it."""

from typing import Any

import msgspec
from common.checks.case import AccountFields, Case, LimitFields, MarketFields, OrderFields, PositionFields
from common.checks.controls import BODIES_MAX
from common.checks.prices import BEYOND_64_BITS, UNKNOWN_QTY
from common.checks.terms import FOK, GTD, IOC
from common.contracts.values import E4, INT64_MAX, TIMES_IN_FORCE, TimeInForce

from tests.common.any_case import NOW_NS

GTC = TIMES_IN_FORCE.index(TimeInForce.GTC)


def passing() -> Case:
    """A LIMIT BUY that every check lets pass."""
    return Case(
        OrderFields(qty=10, limit_price_e4=100 * E4, priced=True),
        AccountFields(True, True, 10_000 * E4),
        PositionFields(qty=10),
        MarketFields(
            known=True, marked=True, trading_state=ord("T"), clock_ns=NOW_NS, bid_e4=99 * E4, ask_e4=101 * E4,
            last_e4=100 * E4, lot_qty=1, tick_e4=100, sub_unit_tick_e4=1, buy_price_e4=106 * E4,
            sell_price_e4=94 * E4, buy_bound_e4=111 * E4, sell_bound_e4=89 * E4, band_high_e4=110 * E4,
            band_low_e4=90 * E4, exchange_ns=NOW_NS,
        ),
        LimitFields(),
        NOW_NS,
    )  # fmt: skip


def steps(activity: str, limit: str, at: int, beyond: int, bound: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The account did ``at``, and ``beyond``, where the operator lets it do ``bound``."""
    return (
        {f"activity.{activity}": at, f"limits.{limit}": bound},
        {f"activity.{activity}": beyond, f"limits.{limit}": bound},
    )


def least(time_in_force: int, min_qty: int) -> dict[str, Any]:
    """An order of 10 that says a minimum quantity."""
    return {"order.time_in_force": time_in_force, "order.has_min": True, "order.min_qty": min_qty}


SELL = {"order.sell": True}
BUY_OPEN = {"position.open_buy_price_e4": 100 * E4}
BAND = {"limits.price_band_bps": 1_000}
SHARE = {"limits.volume_share_bps": 33}
TWIN = {"limits.duplicate_ns": 10**9}
DATED = {"order.time_in_force": GTD, "order.expires": True}
MARKET = {"order.is_market": True, "order.priced": False, "order.limit_price_e4": 0}
AT_THE_LIMIT: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {
    "account_known": [({}, {"account.known": False})],
    "account_active": [({}, {"account.active": False})],
    "trading_not_halted": [({}, {"limits.trading_halted": True})],
    "instrument_known": [({}, {"market.known": False})],
    "symbol_unrestricted": [({}, {"limits.restricted": True})],
    "intents_not_throttled": [
        steps("intents", "throttle_intents_max", 2, 3, 3),
        ({"activity.intents": INT64_MAX}, {"activity.intents": 1, "limits.throttle_intents_max": 1}),
    ],
    "instrument_trading": [
        ({}, {"market.trading_state": ord("H")}),
        ({"market.trading_state": 0, "limits.unsaid_state_trades": True}, {"market.trading_state": 0}),
    ],
    "mark_present": [({}, {"market.marked": False})],
    "mark_fresh": [
        ({"market.clock_ns": NOW_NS - 5 * 10**9}, {"market.clock_ns": NOW_NS - 5 * 10**9 - 1}),
        ({"market.clock_ns": NOW_NS + 5 * 10**9}, {"market.clock_ns": NOW_NS + 5 * 10**9 + 1}),
    ],
    "reference_fresh": [
        (
            {"market.reference_age_ns": 7, "limits.reference_age_max_ns": 7},
            {"market.reference_age_ns": 8, "limits.reference_age_max_ns": 7},
        ),
        ({"market.reference_age_ns": INT64_MAX}, {"market.reference_age_ns": 2, "limits.reference_age_max_ns": 1}),
    ],
    "qty_positive": [({"order.qty": 1}, {"order.qty": 0})],
    "qty_on_lot": [({"order.qty": 20, "market.lot_qty": 20}, {"order.qty": 21, "market.lot_qty": 20})],
    "qty_bounded": [({"limits.order_qty_max": 10}, {"limits.order_qty_max": 9})],
    "minimum_of_immediate": [
        (least(IOC, 1), least(0, 1)),
        (least(FOK, 10), least(GTC, 10)),
        ({}, least(0, 10)),
        (least(IOC, 10), DATED | {"order.expire_ns": INT64_MAX, "order.has_min": True, "order.min_qty": 10}),
    ],
    "minimum_in_quantity": [
        (least(IOC, 10), least(IOC, 11)),
        (least(IOC, 1), least(IOC, 0)),
        (least(IOC, 1), least(IOC, -INT64_MAX)),
        (least(FOK, 10), least(FOK, 9)),
        (least(FOK, 10), least(FOK, 11)),
        ({"order.time_in_force": FOK}, least(FOK, 0)),
    ],
    "dated_has_expiry": [(DATED | {"order.expire_ns": INT64_MAX}, {"order.time_in_force": GTD})],
    "others_have_none": [
        ({"order.time_in_force": number}, {"order.time_in_force": number, "order.expires": True, "order.expire_ns": 1})
        for number in (0, IOC, FOK, GTC)
    ],
    "expiry_ahead": [
        (DATED | {"order.expire_ns": NOW_NS + 1}, DATED | {"order.expire_ns": NOW_NS}),
        (DATED | {"order.expire_ns": INT64_MAX}, DATED | {"order.expire_ns": 0}),
        (
            DATED | {"order.expire_ns": INT64_MAX, "market.exchange_ns": 1},
            DATED | {"order.expire_ns": INT64_MAX, "market.exchange_ns": 0},
        ),
    ],
    "volume_share_bounded": [
        (SHARE | {"market.volume_qty_max": 10}, SHARE | {"market.volume_qty_max": 9}),
        ({}, SHARE),
    ],
    "reduces_only": [(SELL | {"limits.reduce_only": True}, {"limits.reduce_only": True})],
    "limit_has_price": [({}, {"order.priced": False})],
    "market_has_none": [(MARKET, MARKET | {"order.priced": True})],
    "side_quoted": [
        (MARKET | {"market.ask_e4": 1}, MARKET | {"market.ask_e4": 0}),
        (MARKET | SELL | {"market.bid_e4": 1}, MARKET | SELL | {"market.bid_e4": 0}),
    ],
    "price_positive": [({"order.limit_price_e4": 1}, {"order.limit_price_e4": 0})],
    "price_on_tick": [
        ({"order.limit_price_e4": 10_000}, {"order.limit_price_e4": 10_001}),
        ({"order.limit_price_e4": 9_999}, {"order.limit_price_e4": 9_999, "market.sub_unit_tick_e4": 2}),
    ],
    "price_bound_known": [
        ({"market.ask_e4": 0}, {"market.buy_bound_e4": 0}),
        (SELL, SELL | {"market.sell_bound_e4": 0}),
    ],
    "price_in_collar": [
        ({"market.buy_bound_e4": 100 * E4}, {"market.buy_bound_e4": 100 * E4 - 1}),
        (SELL | {"market.sell_bound_e4": 100 * E4}, SELL | {"market.sell_bound_e4": 100 * E4 + 1}),
    ],
    "price_in_band": [
        (BAND | {"market.band_high_e4": 100 * E4}, BAND | {"market.band_high_e4": 100 * E4 - 1}),
        (BAND | SELL | {"market.band_low_e4": 100 * E4}, BAND | SELL | {"market.band_low_e4": 100 * E4 + 1}),
        (BAND, BAND | {"market.last_e4": 0}),
        (BAND | SELL, BAND | SELL | {"market.last_e4": 0}),
    ],
    "notional_bounded": [
        ({"limits.order_notional_max_e4": 1_000 * E4}, {"limits.order_notional_max_e4": 1_000 * E4 - 1}),
        (MARKET, MARKET | {"market.buy_price_e4": BEYOND_64_BITS}),
    ],
    "cash_sufficient": [
        ({"account.reserved_cash_e4": 9_000 * E4}, {"account.reserved_cash_e4": 9_000 * E4 + 1}),
        (SELL | {"account.cash_e4": 0}, {"account.cash_e4": 0}),
    ],
    "shares_sufficient": [(SELL, SELL | {"position.reserved_qty": 1})],
    "crosses_nothing_own": [
        ({"position.open_sell_price_e4": 100 * E4 + 1}, {"position.open_sell_price_e4": 100 * E4}),
        (SELL | {"position.open_buy_price_e4": 100 * E4 - 1}, SELL | {"position.open_buy_price_e4": 100 * E4}),
        ({"position.open_sell_price_e4": 1, "limits.self_cross_denied": False}, {"position.open_sell_price_e4": 1}),
        ({"position.open_sell_price_e4": 1, "limits.self_match_mode": 2}, {"position.open_sell_price_e4": 1}),
        (SELL | BUY_OPEN | {"limits.self_match_mode": 3}, SELL | BUY_OPEN),
    ],
    "shares_have_room": [({"position.qty": INT64_MAX - 10}, {"position.qty": INT64_MAX - 9})],
    "cash_has_room": [
        (
            SELL | {"account.cash_e4": INT64_MAX - 100 * 1_000 * E4 - 7, "account.pending_cash_e4": 7},
            SELL | {"account.cash_e4": INT64_MAX - 100 * 1_000 * E4 - 7, "account.pending_cash_e4": 8},
        )
    ],
    "exposure_bounded": [
        ({"limits.exposure_max_e4": 2_000 * E4}, {"limits.exposure_max_e4": 2_000 * E4 - 1}),
        (
            {"limits.exposure_max_e4": 2_000 * E4 + 1, "account.reserved_cash_e4": 1},
            {"limits.exposure_max_e4": 2_000 * E4, "account.reserved_cash_e4": 1},
        ),
        (SELL | {"limits.exposure_max_e4": 1}, {"limits.exposure_max_e4": 1}),
    ],
    "position_bounded": [
        ({"limits.position_qty_max": 20}, {"limits.position_qty_max": 19}),
        (
            {"limits.position_qty_max": 25, "position.open_buy_qty": 5},
            {"limits.position_qty_max": 25, "position.open_buy_qty": 6},
        ),
        (
            {"position.open_buy_qty": UNKNOWN_QTY},
            {"limits.position_qty_max": 10**6, "position.open_buy_qty": UNKNOWN_QTY},
        ),
        ({}, {"limits.position_qty_max": 9}),
        (SELL | {"limits.position_qty_max": 1}, {"limits.position_qty_max": 1}),
    ],
    "position_notional_bounded": [
        ({"limits.position_notional_max_e4": 2_000 * E4}, {"limits.position_notional_max_e4": 2_000 * E4 - 1}),
        (
            {"limits.position_notional_max_e4": 2_500 * E4, "position.open_buy_qty": 5},
            {"limits.position_notional_max_e4": 2_500 * E4, "position.open_buy_qty": 6},
        ),
        (SELL | {"limits.position_notional_max_e4": 1}, {"limits.position_notional_max_e4": 1}),
        (
            {"position.open_buy_qty": UNKNOWN_QTY},
            {"limits.position_notional_max_e4": INT64_MAX, "position.open_buy_qty": UNKNOWN_QTY},
        ),
    ],
    "daily_loss_bounded": [
        steps("loss_e4", "daily_loss_max_e4", 99, 100, 100),
        ({"activity.loss_e4": INT64_MAX}, {"activity.loss_e4": INT64_MAX, "limits.daily_loss_max_e4": INT64_MAX}),
        (
            SELL | {"activity.loss_e4": 9, "limits.daily_loss_max_e4": 1},
            {"activity.loss_e4": 1, "limits.daily_loss_max_e4": 1},
        ),
    ],
    "drawdown_bounded": [
        steps("drawdown_e4", "drawdown_max_e4", 99, 100, 100),
        (
            SELL | {"activity.drawdown_e4": 9, "limits.drawdown_max_e4": 1},
            {"activity.drawdown_e4": 1, "limits.drawdown_max_e4": 1},
        ),
    ],
    "open_orders_bounded": [steps("open_orders", "open_orders_max", 2, 3, 3)],
    "open_notional_bounded": [
        ({"limits.open_notional_max_e4": 1_000 * E4}, {"limits.open_notional_max_e4": 1_000 * E4 - 1}),
        (
            SELL | {"limits.open_notional_max_e4": 1_001 * E4, "account.pending_cash_e4": 100 * E4},
            SELL | {"limits.open_notional_max_e4": 1_001 * E4, "account.pending_cash_e4": 100 * (E4 + 1)},
        ),
        ({}, {"limits.open_notional_max_e4": 1, "account.reserved_cash_e4": 2}),
    ],
    "window_orders_bounded": [steps("orders", "window_orders_max", 2, 3, 3)],
    "window_qty_bounded": [
        steps("qty", "window_qty_max", 90, 91, 100),
        ({"activity.qty": INT64_MAX}, {"activity.qty": INT64_MAX, "limits.window_qty_max": 1}),
    ],
    "window_notional_bounded": [steps("notional_e4", "window_notional_max_e4", 5, 6, 1_000 * E4 + 5)],
    "no_recent_twin": [
        (TWIN | {"activity.twin_ns": NOW_NS - 10**9}, TWIN | {"activity.twin_ns": NOW_NS - 10**9 + 1}),
        (TWIN, TWIN | {"activity.twin_ns": NOW_NS}),
    ],
    "twins_can_be_found": [steps("bodies", "duplicate_ns", BODIES_MAX - 1, BODIES_MAX, 1)],
}
"""By check: what it lets pass at its limit, and what it denies one step beyond."""


def but(changes: dict[str, Any]) -> Case:
    """The passing case with some fields changed, each named by what has it."""
    parts = passing()._asdict()
    for name, value in changes.items():
        part, field = name.split(".")
        parts[part] = msgspec.structs.replace(parts[part], **{field: value})
    return Case(**parts)
