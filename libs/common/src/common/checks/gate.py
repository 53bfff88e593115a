"""The gate: an ordered tuple of checks. The first that a case fails decides; what is unknown is a denial.

The order matters: a check relies on what those before it have established. Appending one is all it takes: it denies
orders that come one by one and orders that come in a batch, and documentation, API and metrics show it.
"""

from typing import Final

from common.checks.case import STATE_UNSAID, TRADING, Case
from common.checks.check import Check, check
from common.checks.controls import (
    daily_loss_bounded,
    drawdown_bounded,
    exposure_bounded,
    intents_not_throttled,
    no_recent_twin,
    open_notional_bounded,
    open_orders_bounded,
    position_bounded,
    position_notional_bounded,
    price_in_band,
    reduces_only,
    reference_fresh,
    symbol_unrestricted,
    trading_not_halted,
    twins_can_be_found,
    volume_share_bounded,
    window_notional_bounded,
    window_orders_bounded,
    window_qty_bounded,
)
from common.checks.prices import (
    PROCEEDS_FACTOR,
    available_cash_e4,
    available_qty,
    bound_e4,
    cash_room_e4,
    crossed_price_e4,
    meets_own,
    notional_e4,
    notional_qty_max,
    proceeds_max_e4,
    qty_room,
    quote_e4,
    tick_at,
    worst_price_e4,
)
from common.checks.terms import (
    dated_has_expiry,
    expiry_ahead,
    minimum_in_quantity,
    minimum_of_immediate,
    others_have_none,
)
from common.contracts.events import ReasonCode
from common.contracts.values import INT64_MAX, SELF_MATCH_DENIED

# --- account ------------------------------------------------------------------------------------------------------


@check(ReasonCode.ACCOUNT_UNKNOWN, "no `set_account` was ever seen for the account")
def account_known(case: Case) -> bool:
    return case.account.known


@check(ReasonCode.ACCOUNT_INACTIVE, "the account is suspended")
def account_active(case: Case) -> bool:
    return case.account.active


# --- market -------------------------------------------------------------------------------------------------------


@check(ReasonCode.INSTRUMENT_UNKNOWN, "the symbol is not in `ref.instruments`")
def instrument_known(case: Case) -> bool:
    return case.market.known


@check(
    ReasonCode.INSTRUMENT_HALTED,
    "the feed's last word on the symbol is not trading, or it never said one",
    trading_state=lambda case: case.market.trading_state,
)
def instrument_trading(case: Case) -> bool:
    state = case.market.trading_state
    if state == TRADING or not case.market.marked:
        return True
    return state == STATE_UNSAID and case.limits.unsaid_state_trades


@check(ReasonCode.MARK_MISSING, "the symbol has no mark, or its partition no clock")
def mark_present(case: Case) -> bool:
    return case.market.marked


@check(
    ReasonCode.MARK_STALE,
    "the clock of the mark's partition stands still, or is as far ahead of ours (then one of the two is wrong)",
    mark_age_ns=lambda case: case.now_ns - case.market.clock_ns,
    mark_age_max_ns=lambda case: case.limits.mark_age_max_ns,
)
def mark_fresh(case: Case) -> bool:
    return -case.limits.mark_age_max_ns <= case.now_ns - case.market.clock_ns <= case.limits.mark_age_max_ns


# --- quantity -----------------------------------------------------------------------------------------------------


@check(ReasonCode.QTY_NOT_POSITIVE, "the quantity is zero or less", qty=lambda case: case.order.qty)
def qty_positive(case: Case) -> bool:
    return case.order.qty > 0


@check(
    ReasonCode.QTY_OFF_LOT,
    "the quantity is no multiple of the instrument's lot",
    qty=lambda case: case.order.qty,
    lot_qty=lambda case: case.market.lot_qty,
)
def qty_on_lot(case: Case) -> bool:
    return case.order.qty % case.market.lot_qty == 0


@check(
    ReasonCode.QTY_TOO_LARGE,
    "the quantity is above the operator's limit",
    qty=lambda case: case.order.qty,
    qty_max=lambda case: case.limits.order_qty_max,
)
def qty_bounded(case: Case) -> bool:
    return case.order.qty <= case.limits.order_qty_max


# --- price --------------------------------------------------------------------------------------------------------


@check(ReasonCode.PRICE_MISSING, "a LIMIT order without a price")
def limit_has_price(case: Case) -> bool:
    return case.order.is_market or case.order.priced


@check(
    ReasonCode.PRICE_UNEXPECTED,
    "a MARKET order with a price",
    limit_price_e4=lambda case: case.order.limit_price_e4,
)
def market_has_none(case: Case) -> bool:
    return not (case.order.is_market and case.order.priced)


@check(
    ReasonCode.MARK_MISSING,
    "the side that a MARKET order needs is empty",
    ask_e4=lambda case: None if case.order.sell else case.market.ask_e4,
    bid_e4=lambda case: case.market.bid_e4 if case.order.sell else None,
)
def side_quoted(case: Case) -> bool:
    return not case.order.is_market or quote_e4(case) > 0


@check(
    ReasonCode.PRICE_NOT_POSITIVE,
    "the price is zero or less",
    limit_price_e4=lambda case: case.order.limit_price_e4,
)
def price_positive(case: Case) -> bool:
    return case.order.is_market or case.order.limit_price_e4 > 0


@check(
    ReasonCode.PRICE_OFF_TICK,
    "no multiple of the increment, which is finer below one currency unit (Regulation NMS, rule 612)",
    limit_price_e4=lambda case: case.order.limit_price_e4,
    tick_e4=lambda case: tick_at(case.market, case.order.limit_price_e4),
)
def price_on_tick(case: Case) -> bool:
    price_e4 = case.order.limit_price_e4
    return case.order.is_market or price_e4 % tick_at(case.market, price_e4) == 0


@check(
    ReasonCode.MARK_MISSING,
    "a LIMIT order meets neither the side that it needs nor a last sale",
    ask_e4=lambda case: None if case.order.sell else case.market.ask_e4,
    bid_e4=lambda case: case.market.bid_e4 if case.order.sell else None,
    last_e4=lambda case: case.market.last_e4,
)
def price_bound_known(case: Case) -> bool:
    return case.order.is_market or bound_e4(case) > 0


@check(
    ReasonCode.PRICE_OUTSIDE_COLLAR,
    "a LIMIT BUY too far above the offer or a LIMIT SELL too far below the bid; above or below the last sale where "
    "that side is empty (SEC rule 15c3-5, erroneous orders). Far away and passive is no concern of this rule",
    limit_price_e4=lambda case: case.order.limit_price_e4,
    ask_e4=lambda case: case.market.ask_e4 if not case.order.sell and case.market.ask_e4 > 0 else None,
    bid_e4=lambda case: case.market.bid_e4 if case.order.sell and case.market.bid_e4 > 0 else None,
    last_e4=lambda case: None if quote_e4(case) > 0 else case.market.last_e4,
    price_max_e4=lambda case: None if case.order.sell else bound_e4(case),
    price_min_e4=lambda case: bound_e4(case) if case.order.sell else None,
)
def price_in_collar(case: Case) -> bool:
    if case.order.is_market:
        return True
    if case.order.sell:
        return case.order.limit_price_e4 >= bound_e4(case)
    return case.order.limit_price_e4 <= bound_e4(case)


# --- money --------------------------------------------------------------------------------------------------------


@check(
    ReasonCode.NOTIONAL_TOO_LARGE,
    "price times quantity is above the operator's limit, which itself fits 64 bits",
    qty=lambda case: case.order.qty,
    qty_max=notional_qty_max,
    notional_max_e4=lambda case: case.limits.order_notional_max_e4,
)
def notional_bounded(case: Case) -> bool:
    return case.order.qty <= notional_qty_max(case)


@check(
    ReasonCode.CASH_INSUFFICIENT,
    "a BUY needs more than is available; nothing is bought on credit",
    required_cash_e4=notional_e4,
    available_cash_e4=available_cash_e4,
    shortfall_cash_e4=lambda case: notional_e4(case) - available_cash_e4(case),
)
def cash_sufficient(case: Case) -> bool:
    return case.order.sell or notional_e4(case) <= available_cash_e4(case)


@check(
    ReasonCode.POSITION_INSUFFICIENT,
    "a SELL needs more shares than are available; nothing is sold short",
    required_qty=lambda case: case.order.qty,
    available_qty=available_qty,
    shortfall_qty=lambda case: case.order.qty - available_qty(case),
)
def shares_sufficient(case: Case) -> bool:
    return not case.order.sell or case.order.qty <= available_qty(case)


@check(
    ReasonCode.SELF_CROSS,
    "its worst price meets an open order of the same account on the other side, and the limits do not leave it to the "
    "venue which of the two it cancels (FIX SelfMatchPreventionID, tag 2362)",
    price_e4=worst_price_e4,
    crossed_price_e4=crossed_price_e4,
    limit="self_cross_denied",
)
def crosses_nothing_own(case: Case) -> bool:
    return case.limits.self_match_mode != SELF_MATCH_DENIED or not meets_own(case)


@check(
    ReasonCode.HEADROOM_INSUFFICIENT,
    "shares could pass 64 bits, were a BUY and all open orders of the account filled",
    qty=lambda case: case.order.qty,
    held_qty=lambda case: case.position.qty,
    reserved_cash_e4=lambda case: case.account.reserved_cash_e4,
    qty_max=lambda case: INT64_MAX,
)
def shares_have_room(case: Case) -> bool:
    return case.order.sell or case.order.qty <= qty_room(case)


@check(
    ReasonCode.HEADROOM_INSUFFICIENT,
    "cash could pass 64 bits, were a SELL and all open orders of the account filled",
    proceeds_max_e4=lambda case: min(proceeds_max_e4(worst_price_e4(case), case.order.qty), INT64_MAX),
    held_cash_e4=lambda case: case.account.cash_e4,
    pending_cash_e4=lambda case: case.account.pending_cash_e4,
    cash_max_e4=lambda case: INT64_MAX,
)
def cash_has_room(case: Case) -> bool:
    return not case.order.sell or case.order.qty <= cash_room_e4(case) // PROCEEDS_FACTOR // worst_price_e4(case)


CHECKS: Final[tuple[Check, ...]] = (
    account_known,
    account_active,
    trading_not_halted,
    instrument_known,
    symbol_unrestricted,
    intents_not_throttled,
    instrument_trading,
    mark_present,
    mark_fresh,
    reference_fresh,
    qty_positive,
    qty_on_lot,
    qty_bounded,
    minimum_of_immediate,
    minimum_in_quantity,
    dated_has_expiry,
    others_have_none,
    expiry_ahead,
    volume_share_bounded,
    reduces_only,
    limit_has_price,
    market_has_none,
    side_quoted,
    price_positive,
    price_on_tick,
    price_bound_known,
    price_in_collar,
    price_in_band,
    notional_bounded,
    cash_sufficient,
    shares_sufficient,
    crosses_nothing_own,
    shares_have_room,
    cash_has_room,
    exposure_bounded,
    position_bounded,
    position_notional_bounded,
    daily_loss_bounded,
    drawdown_bounded,
    open_orders_bounded,
    open_notional_bounded,
    window_orders_bounded,
    window_qty_bounded,
    window_notional_bounded,
    no_recent_twin,
    twins_can_be_found,
)
