"""The gate: an ordered tuple of pure checks. The first that objects decides; what is unknown is a denial."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec
from common.contracts.events import AccountStatus, ReasonCode
from common.contracts.reference import Instrument
from common.contracts.values import E4, INT64_MAX, OrderType, Side

from risk.domain.account import NO_POSITION, AccountRow, Mark, PositionRow
from risk.domain.intent import Order

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
    order_notional_max_e4: int = INT64_MAX
    unsaid_state_trades: bool = False
    """Whether an instrument may trade of which the feed never said a trading state (some recordings never do)."""


class AccountState(msgspec.Struct, frozen=True, gc=False):
    """The account and its position in the order's symbol; None where there is none."""

    row: AccountRow | None
    position: PositionRow | None


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
OrderCheck = Callable[[Order, Market], Denial | None]
MoneyCheck = Callable[[Order, AccountState, Limits, int], Denial | None]
"""The last argument is the price that ``worst_price_e4`` found."""


def decide(order: Order, account: AccountState, market: Market, limits: Limits, now_ns: int) -> Verdict:
    """Runs the checks in their order. Pure: the same arguments give the same verdict."""
    for account_check in ACCOUNT_CHECKS:
        if (denial := account_check(account)) is not None:
            return Verdict(denial)
    if (denial := market_denial(market, limits, now_ns)) is not None:
        return Verdict(denial)
    for order_check in ORDER_CHECKS:
        if (denial := order_check(order, market)) is not None:
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
    """The opposite quote moved by the collar, rounded outwards to a tick, never below one tick."""
    assert market.instrument is not None and market.mark is not None
    if side is _BUY:
        price = -(-market.mark.ask_e4 * (BPS + limits.market_collar_bps) // BPS)
        # Rounding up may cross one currency unit, where a coarser tick begins: rounding once more settles it.
        price += -price % tick_e4(market.instrument, price)
        return price + -price % tick_e4(market.instrument, price)
    price = market.mark.bid_e4 * (BPS - limits.market_collar_bps) // BPS
    tick = tick_e4(market.instrument, price)
    return max(price - price % tick, market.instrument.sub_unit_tick_e4)


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


def qty_positive(order: Order, _m: Market) -> Denial | None:
    """QTY_NOT_POSITIVE."""
    return None if order.qty > 0 else Denial(ReasonCode.QTY_NOT_POSITIVE, {"qty": order.qty})


def qty_on_lot(order: Order, market: Market) -> Denial | None:
    """QTY_OFF_LOT: not a multiple of the instrument's lot."""
    assert market.instrument is not None
    lot_qty = market.instrument.lot_size
    return Denial(ReasonCode.QTY_OFF_LOT, {"qty": order.qty, "lot_qty": lot_qty}) if order.qty % lot_qty else None


def price_given(order: Order, market: Market) -> Denial | None:
    """PRICE_MISSING, PRICE_UNEXPECTED; MARK_MISSING where a MARKET order meets an empty side of the book."""
    if order.order_type is not _MARKET:
        return None if order.limit_price_e4 is not None else Denial(ReasonCode.PRICE_MISSING, {})
    if order.limit_price_e4 is not None:
        return Denial(ReasonCode.PRICE_UNEXPECTED, {"limit_price_e4": order.limit_price_e4})
    assert market.mark is not None
    if order.side is _BUY:
        return None if market.mark.ask_e4 > 0 else Denial(ReasonCode.MARK_MISSING, {"ask_e4": market.mark.ask_e4})
    return None if market.mark.bid_e4 > 0 else Denial(ReasonCode.MARK_MISSING, {"bid_e4": market.mark.bid_e4})


def price_positive(order: Order, _m: Market) -> Denial | None:
    """PRICE_NOT_POSITIVE."""
    price_e4 = order.limit_price_e4
    if price_e4 is None or price_e4 > 0:
        return None
    return Denial(ReasonCode.PRICE_NOT_POSITIVE, {"limit_price_e4": price_e4})


def price_on_tick(order: Order, market: Market) -> Denial | None:
    """PRICE_OFF_TICK: not a multiple of the increment at that price (Regulation NMS, rule 612)."""
    price_e4 = order.limit_price_e4
    if price_e4 is None:
        return None
    assert market.instrument is not None
    tick = tick_e4(market.instrument, price_e4)
    if price_e4 % tick == 0:
        return None
    return Denial(ReasonCode.PRICE_OFF_TICK, {"limit_price_e4": price_e4, "tick_e4": tick})


def qty_bounded(order: Order, _a: AccountState, limits: Limits, price_e4: int) -> Denial | None:
    """QTY_TOO_LARGE: price times quantity is above the limit, which itself fits 64 bits."""
    if price_e4 * order.qty <= limits.order_notional_max_e4:
        return None
    compared = {
        "qty": order.qty,
        "qty_max": limits.order_notional_max_e4 // price_e4,
        "notional_max_e4": limits.order_notional_max_e4,
    }
    return Denial(ReasonCode.QTY_TOO_LARGE, compared)


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


ACCOUNT_CHECKS: Final[tuple[AccountCheck, ...]] = (account_known, account_active)
MARKET_CHECKS: Final[tuple[MarketCheck, ...]] = (instrument_known, instrument_trading, mark_present, mark_fresh)
ORDER_CHECKS: Final[tuple[OrderCheck, ...]] = (
    qty_positive,
    qty_on_lot,
    price_given,
    price_positive,
    price_on_tick,
)
MONEY_CHECKS: Final[tuple[MoneyCheck, ...]] = (qty_bounded, money_sufficient)
"""The order matters: a later check relies on what an earlier one has established, and these on there being a price."""
