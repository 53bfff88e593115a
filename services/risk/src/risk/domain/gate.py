"""The readable path of the gate: one case at a time, on structs. The rules are ``common.checks.gate``."""

from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec
from common.checks.case import (
    NO_ACTIVITY,
    STATE_UNSAID,
    AccountFields,
    ActivityFields,
    Case,
    LimitFields,
    MarketFields,
    OrderFields,
    PositionFields,
)
from common.checks.check import CheckChain
from common.checks.gate import CHECKS
from common.checks.prices import (
    band_e4,
    crossed_price_e4,
    limit_bound_e4,
    market_price_e4,
    meets_own,
    notional_e4,
    volume_qty_max,
    worst_price_e4,
)
from common.contracts.events import AccountStatus, ReasonCode
from common.contracts.reference import Instrument
from common.contracts.values import SELF_MATCH_DENIED, SELF_MATCH_MODE, TIMES_IN_FORCE, OrderType, Side

from risk.domain.account import NO_POSITION, AccountRow, Mark, PositionRow
from risk.domain.intent import Order
from risk.domain.limit_use import is_watched

GATE: Final = CheckChain(CHECKS)
"""The gate without checks from outside the services."""
LIMITS_VERSIONS: Final = ("firm_limits_version", "account_limits_version")
"""Beside what a check has compared, a denial says under which limits."""
_SELL: Final = Side.SELL
_MARKET: Final = OrderType.MARKET
_ACTIVE: Final = AccountStatus.ACTIVE
_NUMBER_OF: Final = {each: number for number, each in enumerate(TIMES_IN_FORCE)}


class Limits(LimitFields, frozen=True, gc=False):
    """Limits that an operator sets."""

    by_symbol: Mapping[str, "Limits"] = msgspec.field(default_factory=dict)
    """All limits of the symbols that have some of their own; the periods are the same for all."""

    def of(self, symbol: str) -> "Limits":
        """Limits for an order in ``symbol``."""
        return self.by_symbol.get(symbol, self)


class AccountState(msgspec.Struct, frozen=True, gc=False):
    """The account and its position in the order's symbol; None where there is none."""

    row: AccountRow | None
    position: PositionRow | None
    open_buy_price_e4: int = 0
    """Best price of its open BUY orders in the order's symbol; 0 where there is none."""
    open_sell_price_e4: int = 0
    open_buy_qty: int = 0
    """Shares of it that are open for a BUY, see ``open_orders.open_buy_qty``."""
    activity: ActivityFields = NO_ACTIVITY


class Market(msgspec.Struct, frozen=True, gc=False):
    """The instrument, its mark and its trading state (ITCH code), as far as they are known."""

    instrument: Instrument | None
    mark: Mark | None
    trading_state: int = STATE_UNSAID
    reference_age_ns: int = 0
    """Exchange time between the last change of the mark and the clock of its partition."""

    @property
    def exchange_ns(self) -> int:
        """The exchange's time, by that clock; 0 where there is none."""
        return 0 if self.mark is None else self.mark.event_ns + self.reference_age_ns


class Denial(msgspec.Struct, frozen=True, gc=False):
    """A reason, and the numbers that were compared, with their units in their names."""

    reason: ReasonCode
    compared: dict[str, int]
    check: str = ""
    """Name of the gate's check that says so; empty where none does."""


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """The gate's answer. ``price_e4`` is the worst price the order may trade at, and what a BUY reserves per share."""

    denial: Denial | None
    price_e4: int = 0
    reserved_cash_e4: int = 0
    reserved_qty: int = 0
    leaves_to_venue: dict[str, int] = {}
    """Numbers of an accepted order that meets an own open one, and which of the two the venue is to cancel."""


# --- the case -----------------------------------------------------------------------------------------------------


class Listed(NamedTuple):
    """A symbol as orders in it meet it, until its mark changes."""

    market: Market
    fields: MarketFields
    limits: Limits
    is_watched: bool
    """Whether an account may come near to one of the limits, see ``limit_use``."""


def listed(market: Market, limits: Limits) -> Listed:
    """``limits`` are those of the symbol."""
    return Listed(market, _with_prices(_market_fields(market), limits), limits, is_watched(limits))


def _market_fields(market: Market) -> MarketFields:
    instrument, mark = market.instrument, market.mark
    return MarketFields(
        known=instrument is not None,
        marked=mark is not None,
        trading_state=market.trading_state,
        clock_ns=0 if mark is None else mark.clock_ns,
        bid_e4=0 if mark is None else mark.bid_e4,
        ask_e4=0 if mark is None else mark.ask_e4,
        last_e4=0 if mark is None else mark.last_e4,
        lot_qty=0 if instrument is None else instrument.lot_size,
        tick_e4=0 if instrument is None else instrument.tick_e4,
        sub_unit_tick_e4=0 if instrument is None else instrument.sub_unit_tick_e4,
        reference_age_ns=market.reference_age_ns,
        exchange_ns=market.exchange_ns,
    )


def _with_prices(market: MarketFields, limits: Limits) -> MarketFields:
    if not (market.known and market.marked):
        return market
    return msgspec.structs.replace(
        market,
        buy_price_e4=market_price_e4(market, limits.market_collar_bps, sell=False),
        sell_price_e4=market_price_e4(market, limits.market_collar_bps, sell=True),
        buy_bound_e4=limit_bound_e4(market, limits.limit_collar_bps, sell=False),
        sell_bound_e4=limit_bound_e4(market, limits.limit_collar_bps, sell=True),
        band_high_e4=band_e4(market, limits.price_band_bps, sell=False),
        band_low_e4=band_e4(market, limits.price_band_bps, sell=True),
        volume_qty_max=volume_qty_max(limits.average_volume_qty, limits.volume_share_bps),
    )


def order_fields(order: Order) -> OrderFields:
    price_e4, min_qty, expire_ns = order.limit_price_e4, order.min_qty, order.expire_ns
    return OrderFields(
        order.qty,
        price_e4 or 0,
        order.side is _SELL,
        order.order_type is _MARKET,
        price_e4 is not None,
        _NUMBER_OF[order.time_in_force],
        min_qty is not None,
        min_qty or 0,
        expire_ns is not None,
        expire_ns or 0,
    )


def account_fields(row: AccountRow | None) -> AccountFields:
    if row is None:
        return AccountFields()
    return AccountFields(True, row.status is _ACTIVE, row.cash_e4, row.reserved_cash_e4, row.pending_cash_e4)


def case_of(order: Order, account: AccountState, symbol: Listed, now_ns: int) -> Case:
    """The case that the checks look at."""
    held = account.position or NO_POSITION
    open_e4 = account.open_buy_price_e4, account.open_sell_price_e4
    position = PositionFields(held.qty, held.reserved_qty, *open_e4, account.open_buy_qty)
    stood = account_fields(account.row), position
    return Case(order_fields(order), *stood, symbol.fields, symbol.limits, now_ns, account.activity)


# --- the decision -------------------------------------------------------------------------------------------------


def decide(order: Order, account: AccountState, symbol: Listed, now_ns: int, gate: CheckChain = GATE) -> Verdict:
    """Runs the checks in their order. Pure: the same arguments give the same verdict."""
    case = case_of(order, account, symbol, now_ns)
    number = gate.first_failing(case)
    if number != gate.passed:
        return Verdict(denial_of(gate, number, case))
    left = left_to_venue(case)
    if case.order.sell:
        return Verdict(None, worst_price_e4(case), reserved_qty=order.qty, leaves_to_venue=left)
    return Verdict(None, worst_price_e4(case), reserved_cash_e4=notional_e4(case), leaves_to_venue=left)


def may_leave_to_venue(limits: LimitFields) -> bool:
    """Whether the venue, and not the gate, keeps orders of one account from meeting."""
    return limits.self_cross_denied and limits.self_match_mode != SELF_MATCH_DENIED


def left_to_venue(case: Case) -> dict[str, int]:
    """See ``Verdict``. An own order that rests at the venue is open here, too, so none is missed."""
    if not may_leave_to_venue(case.limits) or not meets_own(case):
        return {}
    return {"crossed_price_e4": crossed_price_e4(case), SELF_MATCH_MODE: case.limits.self_match_mode}


def denial_of(gate: CheckChain, number: int, case: Case) -> Denial:
    """Answer of the check of this number to a case that it denies."""
    check = gate.checks[number]
    return Denial(check.reason, check.compared(case) | _versions(case.limits), check.name)


def _versions(limits: LimitFields) -> dict[str, int]:
    """Versions of the limits that people have set while the gate worked, where they have."""
    versions = {name: getattr(limits, name) for name in LIMITS_VERSIONS}
    return {name: version for name, version in versions.items() if version}
