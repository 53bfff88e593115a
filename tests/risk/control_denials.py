"""Orders that the controls deny which are off until a limit is set: one or more for each of their reasons."""

from typing import Any

from common.checks.case import ActivityFields
from common.contracts.events import AccountStatus, ReasonCode
from common.contracts.values import E4, Side
from common.testing.orders import NOW_NS, instrument
from risk.domain.account import AccountRow, PositionRow
from risk.domain.gate import AccountState, Limits, Market

from tests.risk.gate_denials import ACTIVE, FUNDED, SECOND_NS, mark, market

CONTROL_DENIALS: dict[str, tuple[dict[str, Any], AccountState, Market, Limits, str, dict[str, int]]] = {
    "halted by a person": ({}, FUNDED, market(), Limits(trading_halted=True), "TRADING_HALTED", {}),
    "under limits that have a version": (
        {"qty": 6},
        FUNDED,
        market(),
        Limits(order_qty_max=5, firm_limits_version=3, account_limits_version=2),
        ReasonCode.QTY_TOO_LARGE,
        {"qty": 6, "qty_max": 5, "firm_limits_version": 3, "account_limits_version": 2},
    ),
    "restricted": ({}, FUNDED, market(), Limits(restricted=True), "SYMBOL_RESTRICTED", {}),
    "reduce only": (
        {},
        AccountState(ACTIVE, PositionRow(7)),
        market(),
        Limits(reduce_only=True),
        "REDUCE_ONLY",
        {"qty": 10, "held_qty": 7},
    ),
    "too much of the volume": (
        {"qty": 11},
        FUNDED,
        market(),
        Limits(average_volume_qty=1_099, volume_share_bps=100),
        "VOLUME_SHARE_EXCEEDED",
        {"qty": 11, "qty_max": 10, "average_volume_qty": 1_099},
    ),
    "volume unknown": (
        {},
        FUNDED,
        market(),
        Limits(volume_share_bps=10_000),
        "VOLUME_SHARE_EXCEEDED",
        {"qty": 10, "qty_max": 0, "average_volume_qty": 0},
    ),
    "above the band": (
        {"limit_price_e4": 1_010_100},
        FUNDED,
        market(),
        Limits(price_band_bps=100),
        "PRICE_OUTSIDE_BAND",
        {"price_e4": 1_010_100, "last_e4": 100 * E4, "price_max_e4": 101 * E4},
    ),
    "below the band": (
        {"limit_price_e4": 989_900, "side": Side.SELL},
        FUNDED,
        market(),
        Limits(price_band_bps=100),
        "PRICE_OUTSIDE_BAND",
        {"price_e4": 989_900, "last_e4": 100 * E4, "price_min_e4": 99 * E4},
    ),
    "no last sale to band": (
        {},
        FUNDED,
        market(last_e4=0),
        Limits(price_band_bps=100),
        "PRICE_OUTSIDE_BAND",
        {"price_e4": 100 * E4, "last_e4": 0, "price_max_e4": 0},
    ),
    "too much exposure": (
        {"qty": 8},
        AccountState(AccountRow(AccountStatus.ACTIVE, 1_000 * E4, 100 * E4), PositionRow(2)),
        market(),
        Limits(exposure_max_e4=1_000 * E4),
        "EXPOSURE_EXCEEDED",
        {"qty": 8, "held_qty": 2, "reserved_cash_e4": 100 * E4, "exposure_max_e4": 1_000 * E4},
    ),
    "too large a position": (
        {"qty": 4},
        AccountState(ACTIVE, PositionRow(5), open_buy_qty=2),
        market(),
        Limits(position_qty_max=10),
        "POSITION_LIMIT_EXCEEDED",
        {"qty": 4, "held_qty": 5, "open_buy_qty": 2, "position_qty_max": 10},
    ),
    "too dear a position": (
        {"qty": 4},
        AccountState(ACTIVE, PositionRow(5), open_buy_qty=2),
        market(),
        Limits(position_notional_max_e4=1_099 * E4),
        "POSITION_LIMIT_EXCEEDED",
        {"qty": 4, "held_qty": 5, "open_buy_qty": 2, "price_e4": 100 * E4, "position_notional_max_e4": 1_099 * E4},
    ),
    "prices that stand still": (
        {},
        FUNDED,
        Market(instrument(), mark(), ord("T"), 6),
        Limits(reference_age_max_ns=5),
        "REFERENCE_STALE",
        {"reference_age_ns": 6, "reference_age_max_ns": 5},
    ),
    "lost too much today": (
        {},
        AccountState(ACTIVE, None, activity=ActivityFields(loss_e4=5)),
        market(),
        Limits(daily_loss_max_e4=5),
        "LOSS_LIMIT_REACHED",
        {"loss_e4": 5, "daily_loss_max_e4": 5},
    ),
    "lost too much from the highest": (
        {},
        AccountState(ACTIVE, None, activity=ActivityFields(drawdown_e4=5)),
        market(),
        Limits(drawdown_max_e4=5),
        "DRAWDOWN_LIMIT_REACHED",
        {"drawdown_e4": 5, "drawdown_max_e4": 5},
    ),
    "too many open orders": (
        {},
        AccountState(ACTIVE, None, activity=ActivityFields(open_orders=4)),
        market(),
        Limits(open_orders_max=4),
        "OPEN_ORDERS_EXCEEDED",
        {"open_orders": 4, "open_orders_max": 4},
    ),
    "too much open notional": (
        {"qty": 1},
        AccountState(AccountRow(AccountStatus.ACTIVE, 1_000 * E4, 60 * E4, pending_cash_e4=4_001 * E4), None),
        market(),
        Limits(open_notional_max_e4=200 * E4),
        "OPEN_ORDERS_EXCEEDED",
        {
            "notional_e4": 100 * E4,
            "reserved_cash_e4": 60 * E4,
            "open_sell_notional_e4": 400_100,
            "open_notional_max_e4": 200 * E4,
        },
    ),
    "too many intents": (
        {"qty": -1},
        AccountState(ACTIVE, None, activity=ActivityFields(intents=3)),
        market(),
        Limits(throttle_intents_max=3),
        "INTENTS_THROTTLED",
        {"recent_intents": 3, "throttle_intents_max": 3, "throttle_ns": SECOND_NS},
    ),
    "too many orders lately": (
        {},
        AccountState(ACTIVE, None, activity=ActivityFields(orders=3)),
        market(),
        Limits(window_orders_max=3),
        "WINDOW_LIMIT_EXCEEDED",
        {"recent_orders": 3, "window_orders_max": 3, "window_ns": SECOND_NS},
    ),
    "the same again": (
        {},
        AccountState(ACTIVE, None, activity=ActivityFields(twin_ns=NOW_NS - 5)),
        market(),
        Limits(duplicate_ns=6),
        "DUPLICATE_ORDER",
        {"since_ns": 5, "duplicate_ns": 6},
    ),
}
