"""Prices and amounts that the checks, the readers of the market and the ledger agree on.

What takes a ``case`` runs in both paths of the gate, so each sum and product in it fits 64 bits once the checks before
the one that asks have passed. ``market_price_e4`` and ``limit_bound_e4`` are asked once for each mark, in Python.
"""

from typing import Final

from common.checks.case import Case, MarketFields
from common.contracts.values import E4, INT64_MAX

BPS: Final = 10_000
BEYOND_64_BITS: Final = -1
"""The worst price of a MARKET BUY where 64 bits do not hold it: no quantity can be paid for."""
UNKNOWN_QTY: Final = INT64_MAX
"""Stands for shares whose number is not known: no limit has room for them."""
PROCEEDS_FACTOR: Final = 100
"""A share of an open SELL brings at most so many times the order's worst price. No price bounds it from above, so this
does: an order is accepted where this much fits beside what the account has. A better fill is booked where it fits."""


# --- of a case ----------------------------------------------------------------------------------------------------


def tick_at(market: MarketFields, price_e4: int) -> int:
    """Price increment at ``price_e4``: finer below one currency unit (Regulation NMS, rule 612)."""
    return market.tick_e4 if price_e4 >= E4 else market.sub_unit_tick_e4


def worst_price_e4(case: Case) -> int:
    """The worst price the order may trade at, and what a BUY reserves per share: the limit, or the collared quote."""
    if case.order.is_market:
        return case.market.sell_price_e4 if case.order.sell else case.market.buy_price_e4
    return case.order.limit_price_e4


def notional_qty_max(case: Case) -> int:
    """The highest quantity whose notional is within the operator's limit. A quotient, since the product may not fit."""
    price_e4 = worst_price_e4(case)
    return case.limits.order_notional_max_e4 // price_e4 if price_e4 > 0 else 0


def notional_e4(case: Case) -> int:
    """Worst price times quantity. It fits once the order is known to be within ``notional_qty_max``."""
    return worst_price_e4(case) * case.order.qty


def bound_e4(case: Case) -> int:
    """The price that a LIMIT order may not be beyond; 0 where none is known."""
    return case.market.sell_bound_e4 if case.order.sell else case.market.buy_bound_e4


def quote_e4(case: Case) -> int:
    """The side of the book that the order would meet."""
    return case.market.bid_e4 if case.order.sell else case.market.ask_e4


def crossed_price_e4(case: Case) -> int:
    """The best price of the account's own open orders that the order could meet; 0 where there is none."""
    return case.position.open_buy_price_e4 if case.order.sell else case.position.open_sell_price_e4


def meets_own(case: Case) -> bool:
    """Whether its worst price meets one of the account's own open orders."""
    own_e4 = crossed_price_e4(case)
    if own_e4 == 0:
        return False
    return worst_price_e4(case) <= own_e4 if case.order.sell else worst_price_e4(case) >= own_e4


def available_cash_e4(case: Case) -> int:
    return case.account.cash_e4 - case.account.reserved_cash_e4


def available_qty(case: Case) -> int:
    return case.position.qty - case.position.reserved_qty


def cash_room_e4(case: Case) -> int:
    """Amount by which the account's cash may still grow, with all of its open SELL orders filled."""
    return INT64_MAX - case.account.cash_e4 - case.account.pending_cash_e4


def qty_room(case: Case) -> int:
    """Shares by which the position may still grow. Each share that is open for a BUY holds 0.0001 of cash at least."""
    return INT64_MAX - case.position.qty - case.account.reserved_cash_e4


def exposure_room_qty(case: Case) -> int:
    """Shares that a BUY may still add; less than nothing where there is too much already.

    All that is reserved is taken to be for this symbol, and what is held to be worth the order's worst price. So the
    exposure is never less than it would be, were every open BUY filled and no SELL.
    """
    room_e4 = case.limits.exposure_max_e4 - case.account.reserved_cash_e4
    return -1 if room_e4 < 0 else room_e4 // worst_price_e4(case) - case.position.qty


def position_room_qty(case: Case) -> int:
    """Shares that a BUY may still add to the position, were all open BUY orders in the symbol filled and no SELL."""
    room_qty = case.limits.position_qty_max - case.position.qty
    return -1 if room_qty < 0 else room_qty - case.position.open_buy_qty


def position_notional_room_qty(case: Case) -> int:
    """The same by the operator's limit on notional, at the order's worst price."""
    room_qty = case.limits.position_notional_max_e4 // worst_price_e4(case) - case.position.qty
    return -1 if room_qty < 0 else room_qty - case.position.open_buy_qty


def open_notional_room_e4(case: Case) -> int:
    """By how much the notional of the account's open orders may still grow; -1 where it is too much already."""
    room_e4 = case.limits.open_notional_max_e4 - case.account.reserved_cash_e4
    return -1 if room_e4 < 0 else max(room_e4 - case.account.pending_cash_e4 // PROCEEDS_FACTOR, -1)


def proceeds_max_e4(price_e4: int, qty: int) -> int:
    """Largest proceeds of so many shares of an open SELL."""
    return PROCEEDS_FACTOR * price_e4 * qty


# --- of the market ------------------------------------------------------------------------------------------------


def collared_e4(market: MarketFields, reference_e4: int, collar_bps: int, *, sell: bool) -> int:
    """The reference moved against the order by the collar, rounded outwards to a tick, never below one tick."""
    if sell:
        price_e4 = reference_e4 * (BPS - collar_bps) // BPS
        return max(price_e4 - price_e4 % tick_at(market, price_e4), market.sub_unit_tick_e4)
    price_e4 = -(-reference_e4 * (BPS + collar_bps) // BPS)
    # Rounding up may cross one currency unit, where a coarser tick begins: rounding once more settles it.
    price_e4 += -price_e4 % tick_at(market, price_e4)
    return price_e4 + -price_e4 % tick_at(market, price_e4)


def market_price_e4(market: MarketFields, collar_bps: int, *, sell: bool) -> int:
    """The worst price of a MARKET order: the quote that it meets moved by the collar; 0 where that side is empty."""
    quote_e4 = market.bid_e4 if sell else market.ask_e4
    if quote_e4 <= 0:
        return 0
    price_e4 = collared_e4(market, quote_e4, collar_bps, sell=sell)
    return price_e4 if price_e4 <= INT64_MAX else BEYOND_64_BITS


def limit_bound_e4(market: MarketFields, collar_bps: int, *, sell: bool) -> int:
    """Highest price of a LIMIT BUY, lowest of a LIMIT SELL; 0 where no quote and no sale bounds it."""
    quote_e4 = market.bid_e4 if sell else market.ask_e4
    reference_e4 = quote_e4 if quote_e4 > 0 else market.last_e4
    return 0 if reference_e4 <= 0 else min(collared_e4(market, reference_e4, collar_bps, sell=sell), INT64_MAX)


def band_e4(market: MarketFields, band_bps: int, *, sell: bool) -> int:
    """The highest price of a BUY or the lowest of a SELL around the last sale; 0 where there was none.

    As the bands of the Limit Up-Limit Down plan are, with the last sale in place of the mean of five minutes.
    """
    if market.last_e4 <= 0:
        return 0
    if sell:
        return max(-(-market.last_e4 * (BPS - band_bps) // BPS), 1)
    return min(market.last_e4 * (BPS + band_bps) // BPS, INT64_MAX)


def volume_qty_max(average_volume_qty: int, share_bps: int) -> int:
    """A share of a symbol's average volume, rounded down."""
    return average_volume_qty * share_bps // BPS
