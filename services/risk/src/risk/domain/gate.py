"""The gate: an ordered tuple of pure checks. The first that objects decides; what is unknown is a denial."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec
from common.contracts.events import AccountStatus, ReasonCode
from common.contracts.reference import Instrument
from common.contracts.values import E4, INT64_MAX, OrderType, Side

from risk.domain.account import NO_POSITION, AccountRow, Mark, PositionRow
from risk.domain.intent import Order
from risk.domain.open_orders import PROCEEDS_FACTOR

BPS: Final = 10_000
TRADING: Final = ord("T")
STATE_UNSAID: Final = 0
_BUY: Final = Side.BUY
_MARKET: Final = OrderType.MARKET
_ACTIVE: Final = AccountStatus.ACTIVE


@dataclass(frozen=True, slots=True)
class Limits:
    """What an operator sets."""

    market_collar_bps: int = 500
    """How far beyond the quote a MARKET order may trade, in 1/10,000 of it."""
    mark_age_max_ns: int = 5_000_000_000
    order_notional_max_e4: int = 500_000_000_000
    unsaid_state_trades: bool = False
    """Whether an instrument may trade of which the feed never said a trading state (some recordings never do)."""
    limit_collar_bps: int = 1_000
    """How far beyond the quote the price of a LIMIT order may be, in 1/10,000 of it."""
    order_qty_max: int = 1_000_000
    self_cross_denied: bool = True
    by_symbol: Mapping[str, "Limits"] = field(default_factory=dict)
    """All limits of the symbols that have some of their own."""

    def of(self, symbol: str) -> "Limits":
        """What counts for an order in ``symbol``."""
        return self.by_symbol.get(symbol, self)


class AccountState(msgspec.Struct, frozen=True, gc=False):
    """The account and its position in the order's symbol; None where there is none."""

    row: AccountRow | None
    position: PositionRow | None
    opposite_e4: int = 0
    """Best price of the account's own open orders on the other side, in the order's symbol; 0 where there is none."""


class Market(msgspec.Struct, frozen=True, gc=False):
    """The instrument, its mark and its trading state (ITCH code), as far as they are known."""

    instrument: Instrument | None
    mark: Mark | None
    trading_state: int = STATE_UNSAID


class Denial(msgspec.Struct, frozen=True, gc=False):
    """A reason, and the numbers that were compared, with their units in their names."""

    reason: ReasonCode
    compared: dict[str, int]


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """The gate's answer. ``price_e4`` is the worst price the order may trade at, and what a BUY reserves per share."""

    denial: Denial | None
    price_e4: int = 0
    reserved_cash_e4: int = 0
    reserved_qty: int = 0


AccountCheck = Callable[[AccountState], Denial | None]
MarketCheck = Callable[[Market, Limits, int], Denial | None]
"""The last argument is the time."""
OrderCheck = Callable[[Order, Market, Limits], Denial | None]
MoneyCheck = Callable[[Order, AccountState, Limits, int], Denial | None]
"""The last argument is the price that ``worst_price_e4`` found."""


def decide(order: Order, account: AccountState, market: Market, limits: Limits, now_ns: int) -> Verdict:
    """Runs the checks in their order. Pure: the same arguments give the same verdict."""
    limits = limits.of(order.symbol)
    for account_check in ACCOUNT_CHECKS:
        if (denial := account_check(account)) is not None:
            return Verdict(denial)
    if (denial := market_denial(market, limits, now_ns)) is not None:
        return Verdict(denial)
    for order_check in ORDER_CHECKS:
        if (denial := order_check(order, market, limits)) is not None:
            return Verdict(denial)
    price_e4 = worst_price_e4(order, market, limits)
    for money_check in MONEY_CHECKS:
        if (denial := money_check(order, account, limits, price_e4)) is not None:
            return Verdict(denial)
    if order.side is _BUY:
        return Verdict(None, price_e4, reserved_cash_e4=price_e4 * order.qty)
    return Verdict(None, price_e4, reserved_qty=order.qty)


def market_denial(market: Market, limits: Limits, now_ns: int) -> Denial | None:
    """Why no order in this instrument can be accepted now; None: one can."""
    for check in MARKET_CHECKS:
        if (denial := check(market, limits, now_ns)) is not None:
            return denial
    return None


# --- prices -------------------------------------------------------------------------------------------------------


def tick_e4(instrument: Instrument, price_e4: int) -> int:
    """Price increment at ``price_e4``: finer below one currency unit (Regulation NMS, rule 612)."""
    return instrument.tick_e4 if price_e4 >= E4 else instrument.sub_unit_tick_e4


def worst_price_e4(order: Order, market: Market, limits: Limits) -> int:
    """The limit; for MARKET ``market_price_e4``. Only meaningful once the checks before have passed."""
    if order.limit_price_e4 is not None:
        return order.limit_price_e4
    return market_price_e4(order.side, market, limits)


def market_price_e4(side: Side, market: Market, limits: Limits) -> int:
    """The opposite quote moved by the collar, see ``collared_e4``."""
    assert market.instrument is not None and market.mark is not None
    quote_e4 = market.mark.ask_e4 if side is _BUY else market.mark.bid_e4
    return collared_e4(side, quote_e4, limits.market_collar_bps, market.instrument)


def collared_e4(side: Side, reference_e4: int, collar_bps: int, instrument: Instrument) -> int:
    """The reference moved against ``side`` by the collar, rounded outwards to a tick, never below one tick."""
    if side is _BUY:
        price = -(-reference_e4 * (BPS + collar_bps) // BPS)
        # Rounding up may cross one currency unit, where a coarser tick begins: rounding once more settles it.
        price += -price % tick_e4(instrument, price)
        return price + -price % tick_e4(instrument, price)
    price = reference_e4 * (BPS - collar_bps) // BPS
    tick = tick_e4(instrument, price)
    return max(price - price % tick, instrument.sub_unit_tick_e4)


def limit_bound_e4(side: Side, market: Market, limits: Limits) -> int:
    """Highest price of a LIMIT BUY, lowest of a LIMIT SELL; 0 where no quote and no sale bounds it."""
    assert market.instrument is not None and market.mark is not None
    quote_e4 = market.mark.ask_e4 if side is _BUY else market.mark.bid_e4
    reference_e4 = quote_e4 if quote_e4 > 0 else market.mark.last_e4
    if reference_e4 <= 0:
        return 0
    return min(collared_e4(side, reference_e4, limits.limit_collar_bps, market.instrument), INT64_MAX)


# --- checks -------------------------------------------------------------------------------------------------------


def account_known(account: AccountState) -> Denial | None:
    """ACCOUNT_UNKNOWN: no set_account command was ever seen for it."""
    return Denial(ReasonCode.ACCOUNT_UNKNOWN, {}) if account.row is None else None


def account_active(account: AccountState) -> Denial | None:
    """ACCOUNT_INACTIVE: it is suspended."""
    assert account.row is not None
    return None if account.row.status is _ACTIVE else Denial(ReasonCode.ACCOUNT_INACTIVE, {})


def instrument_known(market: Market, _l: Limits, _n: int) -> Denial | None:
    """INSTRUMENT_UNKNOWN: the symbol is not in the reference data."""
    return Denial(ReasonCode.INSTRUMENT_UNKNOWN, {}) if market.instrument is None else None


def instrument_trading(market: Market, limits: Limits, _n: int) -> Denial | None:
    """INSTRUMENT_HALTED: the feed's last word is not "trading", or it never said a word."""
    state = market.trading_state
    if state == TRADING or market.mark is None:
        return None
    if state == STATE_UNSAID and limits.unsaid_state_trades:
        return None
    return Denial(ReasonCode.INSTRUMENT_HALTED, {"trading_state": state})


def mark_present(market: Market, _l: Limits, _n: int) -> Denial | None:
    """MARK_MISSING: the symbol has no mark, or its partition no clock."""
    return Denial(ReasonCode.MARK_MISSING, {}) if market.mark is None else None


def mark_fresh(market: Market, limits: Limits, now_ns: int) -> Denial | None:
    """MARK_STALE: the partition's clock stands still, or is as far ahead of ours (then one of the two is wrong)."""
    assert market.mark is not None
    age_ns = now_ns - market.mark.clock_ns
    if -limits.mark_age_max_ns <= age_ns <= limits.mark_age_max_ns:
        return None
    return Denial(ReasonCode.MARK_STALE, {"mark_age_ns": age_ns, "mark_age_max_ns": limits.mark_age_max_ns})


def qty_positive(order: Order, _m: Market, _l: Limits) -> Denial | None:
    """QTY_NOT_POSITIVE."""
    return None if order.qty > 0 else Denial(ReasonCode.QTY_NOT_POSITIVE, {"qty": order.qty})


def qty_on_lot(order: Order, market: Market, _l: Limits) -> Denial | None:
    """QTY_OFF_LOT: not a multiple of the instrument's lot."""
    assert market.instrument is not None
    lot_qty = market.instrument.lot_size
    return Denial(ReasonCode.QTY_OFF_LOT, {"qty": order.qty, "lot_qty": lot_qty}) if order.qty % lot_qty else None


def qty_bounded(order: Order, _m: Market, limits: Limits) -> Denial | None:
    """QTY_TOO_LARGE: more than one order may have."""
    if order.qty <= limits.order_qty_max:
        return None
    return Denial(ReasonCode.QTY_TOO_LARGE, {"qty": order.qty, "qty_max": limits.order_qty_max})


def price_given(order: Order, market: Market, _l: Limits) -> Denial | None:
    """PRICE_MISSING, PRICE_UNEXPECTED; MARK_MISSING where a MARKET order meets an empty side of the book."""
    if order.order_type is not _MARKET:
        return None if order.limit_price_e4 is not None else Denial(ReasonCode.PRICE_MISSING, {})
    if order.limit_price_e4 is not None:
        return Denial(ReasonCode.PRICE_UNEXPECTED, {"limit_price_e4": order.limit_price_e4})
    assert market.mark is not None
    if order.side is _BUY:
        return None if market.mark.ask_e4 > 0 else Denial(ReasonCode.MARK_MISSING, {"ask_e4": market.mark.ask_e4})
    return None if market.mark.bid_e4 > 0 else Denial(ReasonCode.MARK_MISSING, {"bid_e4": market.mark.bid_e4})


def price_positive(order: Order, _m: Market, _l: Limits) -> Denial | None:
    """PRICE_NOT_POSITIVE."""
    price_e4 = order.limit_price_e4
    if price_e4 is None or price_e4 > 0:
        return None
    return Denial(ReasonCode.PRICE_NOT_POSITIVE, {"limit_price_e4": price_e4})


def price_on_tick(order: Order, market: Market, _l: Limits) -> Denial | None:
    """PRICE_OFF_TICK: not a multiple of the increment at that price (Regulation NMS, rule 612)."""
    price_e4 = order.limit_price_e4
    if price_e4 is None:
        return None
    assert market.instrument is not None
    tick = tick_e4(market.instrument, price_e4)
    if price_e4 % tick == 0:
        return None
    return Denial(ReasonCode.PRICE_OFF_TICK, {"limit_price_e4": price_e4, "tick_e4": tick})


def price_in_collar(order: Order, market: Market, limits: Limits) -> Denial | None:
    """PRICE_OUTSIDE_COLLAR: a BUY far above the offer, a SELL far below the bid (SEC rule 15c3-5, erroneous orders).

    The last sale stands in for a quote that is absent. A price that is far away and passive is no concern of this rule.
    """
    price_e4, mark = order.limit_price_e4, market.mark
    if price_e4 is None:
        return None
    assert mark is not None
    buys = order.side is _BUY
    quote_e4 = mark.ask_e4 if buys else mark.bid_e4
    if quote_e4 > 0 and (price_e4 <= quote_e4 if buys else price_e4 >= quote_e4):
        return None  # most orders; the bound is beyond the quote
    side = "ask_e4" if buys else "bid_e4"
    bound_e4 = limit_bound_e4(order.side, market, limits)
    if not bound_e4:
        return Denial(ReasonCode.MARK_MISSING, {side: quote_e4, "last_e4": mark.last_e4})
    if price_e4 <= bound_e4 if buys else price_e4 >= bound_e4:
        return None
    reference = {side: quote_e4} if quote_e4 > 0 else {"last_e4": mark.last_e4}
    bound = {"price_max_e4" if buys else "price_min_e4": bound_e4}
    return Denial(ReasonCode.PRICE_OUTSIDE_COLLAR, {"limit_price_e4": price_e4, **reference, **bound})


def notional_bounded(order: Order, _a: AccountState, limits: Limits, price_e4: int) -> Denial | None:
    """NOTIONAL_TOO_LARGE: price times quantity is above the limit, which itself fits 64 bits."""
    if price_e4 * order.qty <= limits.order_notional_max_e4:
        return None
    compared = {
        "qty": order.qty,
        "qty_max": limits.order_notional_max_e4 // price_e4,
        "notional_max_e4": limits.order_notional_max_e4,
    }
    return Denial(ReasonCode.NOTIONAL_TOO_LARGE, compared)


def money_sufficient(order: Order, account: AccountState, _l: Limits, price_e4: int) -> Denial | None:
    """CASH_INSUFFICIENT for a BUY, POSITION_INSUFFICIENT for a SELL: nothing is bought on credit or sold short."""
    if order.side is _BUY:
        assert account.row is not None
        required = price_e4 * order.qty
        available = account.row.available_cash_e4
        if required <= available:
            return None
        compared = {
            "required_cash_e4": required,
            "available_cash_e4": available,
            "shortfall_cash_e4": required - available,
        }
        return Denial(ReasonCode.CASH_INSUFFICIENT, compared)
    available = (account.position or NO_POSITION).available_qty
    if order.qty <= available:
        return None
    compared = {"required_qty": order.qty, "available_qty": available, "shortfall_qty": order.qty - available}
    return Denial(ReasonCode.POSITION_INSUFFICIENT, compared)


def crosses_nothing_own(order: Order, account: AccountState, limits: Limits, price_e4: int) -> Denial | None:
    """SELF_CROSS: it could trade with an open order of the same account (FIX SelfMatchPreventionID, tag 2362)."""
    own_e4 = account.opposite_e4
    if not own_e4 or not limits.self_cross_denied:
        return None
    if price_e4 < own_e4 if order.side is _BUY else price_e4 > own_e4:
        return None
    return Denial(ReasonCode.SELF_CROSS, {"price_e4": price_e4, "crossed_price_e4": own_e4})


def headroom_sufficient(order: Order, account: AccountState, _l: Limits, price_e4: int) -> Denial | None:
    """HEADROOM_INSUFFICIENT: were all open orders filled at the best for the account, an amount would not fit 64 bits.

    What a SELL brings at most ``open_orders`` says. A share that is open for a BUY holds 0.0001 of cash at least, so no
    more shares are open than ``reserved_cash_e4``.
    """
    assert account.row is not None
    if order.side is _BUY:
        held_qty = (account.position or NO_POSITION).qty
        if order.qty <= INT64_MAX - held_qty - account.row.reserved_cash_e4:
            return None
        compared = {
            "qty": order.qty,
            "held_qty": held_qty,
            "reserved_cash_e4": account.row.reserved_cash_e4,
            "qty_max": INT64_MAX,
        }
        return Denial(ReasonCode.HEADROOM_INSUFFICIENT, compared)
    proceeds_e4 = PROCEEDS_FACTOR * price_e4 * order.qty
    if proceeds_e4 <= INT64_MAX - account.row.cash_e4 - account.row.pending_cash_e4:
        return None
    compared = {
        "proceeds_max_e4": min(proceeds_e4, INT64_MAX),
        "held_cash_e4": account.row.cash_e4,
        "pending_cash_e4": account.row.pending_cash_e4,
        "cash_max_e4": INT64_MAX,
    }
    return Denial(ReasonCode.HEADROOM_INSUFFICIENT, compared)


ACCOUNT_CHECKS: Final[tuple[AccountCheck, ...]] = (account_known, account_active)
MARKET_CHECKS: Final[tuple[MarketCheck, ...]] = (instrument_known, instrument_trading, mark_present, mark_fresh)
ORDER_CHECKS: Final[tuple[OrderCheck, ...]] = (
    qty_positive,
    qty_on_lot,
    qty_bounded,
    price_given,
    price_positive,
    price_on_tick,
    price_in_collar,
)
MONEY_CHECKS: Final[tuple[MoneyCheck, ...]] = (
    notional_bounded,
    money_sufficient,
    crosses_nothing_own,
    headroom_sufficient,
)
"""The order matters: a later check relies on what an earlier one has established, and these on there being a price."""
