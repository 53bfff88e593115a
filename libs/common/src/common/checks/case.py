"""A case: all that a check may look at. Each field is declared here alone: rows of arrays get theirs from the structs.

Money is in 1e-4 currency units, quantities are whole shares, times are nanoseconds since the epoch. Whatever is not
known is 0 or False.
"""

from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from common.contracts.values import SELF_MATCH_DENIED

STATE_UNSAID: Final = 0
TRADING: Final = ord("T")


class OrderFields(msgspec.Struct, frozen=True, gc=False):
    """The client's order."""

    qty: int = 0
    limit_price_e4: int = 0
    """0 where there is none, see ``priced``."""
    sell: bool = False
    is_market: bool = False
    priced: bool = False
    """Whether it has a limit price."""
    time_in_force: int = 0
    """Its number among ``contracts.values.TIMES_IN_FORCE``."""
    has_min: bool = False
    """Whether it says a minimum quantity."""
    min_qty: int = 0
    expires: bool = False
    """Whether it says when it expires."""
    expire_ns: int = 0
    """By the exchange's time."""


class AccountFields(msgspec.Struct, frozen=True, gc=False):
    """The account that the order is for."""

    known: bool = False
    active: bool = False
    cash_e4: int = 0
    reserved_cash_e4: int = 0
    """The part of ``cash_e4`` that is held for open BUY orders."""
    pending_cash_e4: int = 0
    """Largest proceeds of its open SELL orders."""


class PositionFields(msgspec.Struct, frozen=True, gc=False):
    """The account's position in the order's symbol."""

    qty: int = 0
    reserved_qty: int = 0
    """The part of ``qty`` that is held for open SELL orders."""
    open_buy_price_e4: int = 0
    """Highest price of its open BUY orders; 0 where there is none."""
    open_sell_price_e4: int = 0
    """Lowest price of its open SELL orders; 0 where there is none."""
    open_buy_qty: int = 0
    """Shares that are open for a BUY; ``prices.UNKNOWN_QTY`` where that is not known."""


class MarketFields(msgspec.Struct, frozen=True, gc=False):
    """The order's instrument and its mark."""

    known: bool = False
    """Whether the instrument is in the reference data."""
    marked: bool = False
    """Whether there are a mark and the clock of its partition."""
    trading_state: int = STATE_UNSAID
    """As ITCH has it: the code of a letter; 0 where the feed never said one."""
    clock_ns: int = 0
    """Clock of the mark's partition."""
    bid_e4: int = 0
    ask_e4: int = 0
    last_e4: int = 0
    lot_qty: int = 0
    tick_e4: int = 0
    """Price increment at or above one currency unit."""
    sub_unit_tick_e4: int = 0
    buy_price_e4: int = 0
    """The worst price of a MARKET BUY, see ``prices.market_price_e4``; ``prices.BEYOND_64_BITS`` where none fits."""
    sell_price_e4: int = 0
    buy_bound_e4: int = 0
    """The highest price of a LIMIT BUY, see ``prices.limit_bound_e4``; 0 where no price is known that bounds it."""
    sell_bound_e4: int = 0
    """The lowest price of a LIMIT SELL, likewise."""
    band_high_e4: int = 0
    """The highest price of a BUY around the last sale, see ``prices.band_e4``; 0 where there is no last sale."""
    band_low_e4: int = 0
    """The lowest price of a SELL, likewise."""
    volume_qty_max: int = 0
    """The share of the average volume that one order may have, see ``prices.volume_qty_max``."""
    reference_age_ns: int = 0
    """Exchange time between the last change of the mark and the clock of its partition."""
    exchange_ns: int = 0
    """The exchange's time, by the same clock."""


class LimitFields(msgspec.Struct, frozen=True, gc=False):
    """Limits that an operator sets, for the order's symbol."""

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
    """Whether orders of one account are kept from meeting each other."""
    self_match_mode: int = SELF_MATCH_DENIED
    """How: see ``contracts.values.SELF_MATCH_MODES``."""
    restricted: bool = False
    """Whether nobody may trade the symbol."""
    reduce_only: bool = False
    """Whether orders may only make a position smaller."""
    price_band_bps: int = 0
    """How far from the last sale an order may trade, in 1/10,000 of it; 0: as far as the collars let it."""
    average_volume_qty: int = 0
    """Shares that are traded in the symbol on an average day; 0 where nobody said."""
    volume_share_bps: int = 0
    """Share of the average volume that one order may have, in 1/10,000; 0: any."""
    exposure_max_e4: int = 0
    """Bound of ``prices.exposure_room_qty``; 0: none, and so for all that follow."""
    open_orders_max: int = 0
    """Open orders of an account in the symbol."""
    open_notional_max_e4: int = 0
    """Worst prices times quantities of all open orders of an account, of both sides together."""
    window_ns: int = 1_000_000_000
    """The period of the three that follow: accepted orders of an account in all symbols."""
    window_orders_max: int = 0
    window_qty_max: int = 0
    window_notional_max_e4: int = 0
    throttle_ns: int = 1_000_000_000
    throttle_intents_max: int = 0
    """Intents of an account in the symbol within ``throttle_ns``, denied ones too."""
    duplicate_ns: int = 0
    """Period in which an account may send the same body ``duplicates_max`` times, under other ids."""
    duplicates_max: int = 1
    halt_on_repeats: bool = False
    """Whether an account that sends it once more is halted, until a person resumes it."""
    halt_at_limits: bool = False
    """Whether one that comes to all of a limit is, see ``stops``."""
    position_qty_max: int = 0
    """Shares of the symbol that an account may hold, with all of its open BUY orders filled and no SELL."""
    position_notional_max_e4: int = 0
    """The same in money, at the order's worst price."""
    reference_age_max_ns: int = 0
    """Exchange time that a mark may be without a change."""
    trading_halted: bool = False
    """Whether a person or an alert has stopped firm, account or symbol."""
    daily_loss_max_e4: int = 0
    """Loss that an account may make in a day, before it may only make positions smaller."""
    drawdown_max_e4: int = 0
    """The same from the highest that it was worth."""
    firm_limits_version: int = 0
    """Version of the firm's limits that were set while the gate worked; 0: those of the deployment."""
    account_limits_version: int = 0
    """The same of the account's own."""


class ActivityFields(msgspec.Struct, frozen=True, gc=False):
    """Recent and open orders of the account. Counted only where a limit asks for one of these, else all are 0."""

    orders: int = 0
    """Orders of the account that were accepted within ``window_ns``."""
    qty: int = 0
    """Their shares; INT64_MAX also stands for more."""
    notional_e4: int = 0
    """Their worst prices times quantities, likewise."""
    bodies: int = 0
    """Bodies that are remembered of the account, see ``duplicate_ns``."""
    intents: int = 0
    """Intents of the account in the symbol within ``throttle_ns``, before this one."""
    open_orders: int = 0
    """Open orders of the account in the symbol."""
    twin_ns: int = 0
    """When the last order but ``duplicates_max`` - 1 of the same body was accepted; 0: never, or long ago."""
    loss_e4: int = 0
    """Worth that the account has lost since its day began; INT64_MAX where that is not known."""
    drawdown_e4: int = 0
    """Likewise since it was worth the most."""


NO_ACTIVITY: Final = ActivityFields()


class Case(NamedTuple):
    """One order and what it meets: structs, or rows of arrays with the same fields."""

    order: OrderFields
    account: AccountFields
    position: PositionFields
    market: MarketFields
    limits: LimitFields
    now_ns: int
    activity: ActivityFields = NO_ACTIVITY


_KINDS: Final[dict[Any, str]] = {int: "<i8", bool: "?"}


def row_of(fields: type[msgspec.Struct], *more: tuple[str, str]) -> np.dtype[Any]:
    """The row that has the struct's fields and ``more`` behind them. Raises KeyError for what is no number."""
    own = [(field.name, _KINDS[field.type]) for field in msgspec.structs.fields(fields)]
    return np.dtype([*own, *more], align=True)
