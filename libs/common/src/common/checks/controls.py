"""Controls that are off until an operator sets a limit for them. Their places in the order are ``gate.CHECKS``.

Their reasons are codes like those of checks from outside the services: a reader of an older release reads them as they
are written, and no contract has to have another version.
"""

from typing import Final

from common.checks.case import Case
from common.checks.check import check
from common.checks.prices import (
    PROCEEDS_FACTOR,
    exposure_room_qty,
    notional_e4,
    open_notional_room_e4,
    position_notional_room_qty,
    position_room_qty,
    worst_price_e4,
)

BODIES_MAX: Final = 1_024
"""Bodies of accepted orders that are remembered of an account at most, see ``LimitFields.duplicate_ns``."""

# --- what may be traded -------------------------------------------------------------------------------------------


@check(
    "TRADING_HALTED",
    "trading of the firm, the account or the symbol is stopped, until a person resumes it",
    limit="trading_halted",
)
def trading_not_halted(case: Case) -> bool:
    return False


@check("SYMBOL_RESTRICTED", "the operator lets nobody trade the symbol", limit="restricted")
def symbol_unrestricted(case: Case) -> bool:
    return False


@check(
    "REDUCE_ONLY",
    "a BUY where orders may only make positions smaller",
    qty=lambda case: case.order.qty,
    held_qty=lambda case: case.position.qty,
    limit="reduce_only",
)
def reduces_only(case: Case) -> bool:
    return case.order.sell


@check(
    "VOLUME_SHARE_EXCEEDED",
    "the quantity is above the operator's share of the symbol's average daily volume, or nobody said that volume",
    qty=lambda case: case.order.qty,
    qty_max=lambda case: case.market.volume_qty_max,
    average_volume_qty=lambda case: case.limits.average_volume_qty,
    limit="volume_share_bps",
)
def volume_share_bounded(case: Case) -> bool:
    return case.order.qty <= case.market.volume_qty_max


@check(
    "PRICE_OUTSIDE_BAND",
    "its worst price is beyond the band around the last sale (Limit Up-Limit Down), or there was no last sale",
    price_e4=worst_price_e4,
    last_e4=lambda case: case.market.last_e4,
    price_max_e4=lambda case: None if case.order.sell else case.market.band_high_e4,
    price_min_e4=lambda case: case.market.band_low_e4 if case.order.sell else None,
    limit="price_band_bps",
)
def price_in_band(case: Case) -> bool:
    if case.market.last_e4 <= 0:
        return False
    if case.order.sell:
        return worst_price_e4(case) >= case.market.band_low_e4
    return worst_price_e4(case) <= case.market.band_high_e4


@check(
    "REFERENCE_STALE",
    "no price of the symbol has changed for longer than the operator lets it, by the clock of the exchange",
    reference_age_ns=lambda case: case.market.reference_age_ns,
    reference_age_max_ns=lambda case: case.limits.reference_age_max_ns,
    limit="reference_age_max_ns",
)
def reference_fresh(case: Case) -> bool:
    return case.market.reference_age_ns <= case.limits.reference_age_max_ns


# --- how much, and how often --------------------------------------------------------------------------------------


@check(
    "INTENTS_THROTTLED",
    "the account has sent too many intents in the symbol within the period; denied ones count, cancels do not",
    recent_intents=lambda case: case.activity.intents,
    throttle_intents_max=lambda case: case.limits.throttle_intents_max,
    throttle_ns=lambda case: case.limits.throttle_ns,
    limit="throttle_intents_max",
)
def intents_not_throttled(case: Case) -> bool:
    return case.activity.intents < case.limits.throttle_intents_max


@check(
    "EXPOSURE_EXCEEDED",
    "a BUY that would bring the account beyond the operator's limit, were it and all its open BUY orders filled and no "
    "SELL: shares held and ordered at the order's worst price, and all that is reserved",
    qty=lambda case: case.order.qty,
    held_qty=lambda case: case.position.qty,
    reserved_cash_e4=lambda case: case.account.reserved_cash_e4,
    exposure_max_e4=lambda case: case.limits.exposure_max_e4,
    limit="exposure_max_e4",
)
def exposure_bounded(case: Case) -> bool:
    return case.order.sell or case.order.qty <= exposure_room_qty(case)


@check(
    "POSITION_LIMIT_EXCEEDED",
    "a BUY that would bring the position beyond the operator's limit, were it and all open BUY orders of the account "
    "in the symbol filled and no SELL; `open_buy_qty` is 2⁶³ - 1 where it is not known",
    qty=lambda case: case.order.qty,
    held_qty=lambda case: case.position.qty,
    open_buy_qty=lambda case: case.position.open_buy_qty,
    position_qty_max=lambda case: case.limits.position_qty_max,
    limit="position_qty_max",
)
def position_bounded(case: Case) -> bool:
    return case.order.sell or case.order.qty <= position_room_qty(case)


@check(
    "POSITION_LIMIT_EXCEEDED",
    "the same in money: shares held, open for a BUY and ordered, at the order's worst price",
    qty=lambda case: case.order.qty,
    held_qty=lambda case: case.position.qty,
    open_buy_qty=lambda case: case.position.open_buy_qty,
    price_e4=worst_price_e4,
    position_notional_max_e4=lambda case: case.limits.position_notional_max_e4,
    limit="position_notional_max_e4",
)
def position_notional_bounded(case: Case) -> bool:
    return case.order.sell or case.order.qty <= position_notional_room_qty(case)


@check(
    "LOSS_LIMIT_REACHED",
    "a BUY of an account that has lost as much since its day began as the operator lets it; `loss_e4` is 2⁶³ - 1 where "
    "something is held of which no price is known",
    loss_e4=lambda case: case.activity.loss_e4,
    daily_loss_max_e4=lambda case: case.limits.daily_loss_max_e4,
    limit="daily_loss_max_e4",
)
def daily_loss_bounded(case: Case) -> bool:
    return case.order.sell or case.activity.loss_e4 < case.limits.daily_loss_max_e4


@check(
    "DRAWDOWN_LIMIT_REACHED",
    "the same from the highest that the account was worth since the limit was set",
    drawdown_e4=lambda case: case.activity.drawdown_e4,
    drawdown_max_e4=lambda case: case.limits.drawdown_max_e4,
    limit="drawdown_max_e4",
)
def drawdown_bounded(case: Case) -> bool:
    return case.order.sell or case.activity.drawdown_e4 < case.limits.drawdown_max_e4


@check(
    "OPEN_ORDERS_EXCEEDED",
    "the account has as many open orders in the symbol as the operator lets it",
    open_orders=lambda case: case.activity.open_orders,
    open_orders_max=lambda case: case.limits.open_orders_max,
    limit="open_orders_max",
)
def open_orders_bounded(case: Case) -> bool:
    return case.activity.open_orders < case.limits.open_orders_max


@check(
    "OPEN_ORDERS_EXCEEDED",
    "the notional of the account's open orders, of both sides together, would be above the operator's limit",
    notional_e4=notional_e4,
    reserved_cash_e4=lambda case: case.account.reserved_cash_e4,
    open_sell_notional_e4=lambda case: case.account.pending_cash_e4 // PROCEEDS_FACTOR,
    open_notional_max_e4=lambda case: case.limits.open_notional_max_e4,
    limit="open_notional_max_e4",
)
def open_notional_bounded(case: Case) -> bool:
    return notional_e4(case) <= open_notional_room_e4(case)


@check(
    "WINDOW_LIMIT_EXCEEDED",
    "the account has had as many orders accepted within the period as the operator lets it",
    recent_orders=lambda case: case.activity.orders,
    window_orders_max=lambda case: case.limits.window_orders_max,
    window_ns=lambda case: case.limits.window_ns,
    limit="window_orders_max",
)
def window_orders_bounded(case: Case) -> bool:
    return case.activity.orders < case.limits.window_orders_max


@check(
    "WINDOW_LIMIT_EXCEEDED",
    "the shares of the orders accepted from the account within the period would be above the operator's limit",
    qty=lambda case: case.order.qty,
    recent_qty=lambda case: case.activity.qty,
    window_qty_max=lambda case: case.limits.window_qty_max,
    window_ns=lambda case: case.limits.window_ns,
    limit="window_qty_max",
)
def window_qty_bounded(case: Case) -> bool:
    return case.order.qty <= case.limits.window_qty_max - case.activity.qty


@check(
    "WINDOW_LIMIT_EXCEEDED",
    "the notional of the orders accepted from the account within the period would be above the operator's limit",
    notional_e4=notional_e4,
    recent_notional_e4=lambda case: case.activity.notional_e4,
    window_notional_max_e4=lambda case: case.limits.window_notional_max_e4,
    window_ns=lambda case: case.limits.window_ns,
    limit="window_notional_max_e4",
)
def window_notional_bounded(case: Case) -> bool:
    return notional_e4(case) <= case.limits.window_notional_max_e4 - case.activity.notional_e4


@check(
    "DUPLICATE_ORDER",
    "an order of the same body was accepted from the account a moment ago, under another id, or as many of them as it "
    "may send",
    since_ns=lambda case: case.now_ns - case.activity.twin_ns,
    duplicate_ns=lambda case: case.limits.duplicate_ns,
    duplicates_max=lambda case: case.limits.duplicates_max if case.limits.duplicates_max > 1 else None,
    limit="duplicate_ns",
)
def no_recent_twin(case: Case) -> bool:
    twin_ns = case.activity.twin_ns
    return twin_ns == 0 or case.now_ns - twin_ns >= case.limits.duplicate_ns


@check(
    "WINDOW_LIMIT_EXCEEDED",
    "more orders of the account would have to be remembered, to find those of the same body, than are",
    recent_orders=lambda case: case.activity.bodies,
    remembered_orders_max=lambda case: BODIES_MAX,
    duplicate_ns=lambda case: case.limits.duplicate_ns,
    limit="duplicate_ns",
)
def twins_can_be_found(case: Case) -> bool:
    return case.activity.bodies < BODIES_MAX
