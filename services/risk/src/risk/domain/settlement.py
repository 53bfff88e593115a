"""Effects of an execution report: POST what was filled, BUST what is taken back, VOID what will not be filled any more.

A report that the judge accepted (``common.executions``) is booked from what its order has reserved. Whatever is not
reserved, because the order has ended or because an operator books a break, comes from what is available, and goes back
there. Nothing is overdrawn: what is short is said in numbers, and nothing of the report is booked.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec
from common.contracts.breaks import BreakReason
from common.contracts.events import CASH, Book, EntryKind
from common.contracts.values import INT64_MAX, Side
from common.reported import Effect

from risk.domain.account import NO_POSITION, AccountRow, PositionRow
from risk.domain.ledger import Booked, Entry, Leg, move

_BUY: Final = Side.BUY
_AVAILABLE: Final = Book.AVAILABLE
_RESERVED: Final = Book.RESERVED
_VENUE: Final = Book.VENUE


class Reserved(NamedTuple):
    """Reservation for the order of a report."""

    symbol: str
    side: Side
    price_e4: int
    """Per share of a BUY."""
    qty: int
    """Shares that are still open, and reserved."""
    reopen_to_qty: int = 0
    """Once a fill is taken back, so many shares are open, and reserved again; 0: the order has ended."""


class Source(NamedTuple):
    """Origin of an entry, as it says itself."""

    account_id: str
    order_id: str
    execution_id: str
    command_id: str | None = None


class Short(NamedTuple):
    """Why the report cannot be booked, with the numbers."""

    reason: BreakReason
    compared: Mapping[str, int]


class Settled(msgspec.Struct, frozen=True, gc=False):
    """Rows after a report, what stays reserved for its order, and its entries in their order."""

    account: AccountRow
    position: PositionRow | None
    leaves_qty: int
    entries: tuple[Entry, ...]


def settle(
    account: AccountRow,
    position: PositionRow | None,
    reserved: Reserved,
    effect: Effect,
    source: Source,
    now_ns: int,
) -> Settled | Short:
    """Books what a report says has happened, whole or not at all. Quantities and prices are not negative."""
    for qty, price_e4 in ((effect.back_qty, effect.back_price_e4), (effect.fill_qty, effect.fill_price_e4)):
        if qty * price_e4 > INT64_MAX:
            compared = {"qty": qty, "price_e4": price_e4, "notional_max_e4": INT64_MAX}
            return Short(BreakReason.AMOUNT_OVERFLOW, compared)
    entries: list[Entry] = []
    leaves_qty = reserved.qty
    if effect.back_qty:
        reopened = min(effect.back_qty, max(0, reserved.reopen_to_qty - leaves_qty))
        taken = _take_back(account, position or NO_POSITION, reserved, effect, reopened, source, now_ns)
        if isinstance(taken, Short):
            return taken
        account, position, leaves_qty = taken.account, taken.position, leaves_qty + reopened
        entries.append(taken.entry)
    if effect.fill_qty:
        from_reserved = min(leaves_qty, effect.fill_qty)
        filled = _post(account, position or NO_POSITION, reserved, effect, from_reserved, source, now_ns)
        if isinstance(filled, Short):
            return filled
        account, position, leaves_qty = filled.account, filled.position, leaves_qty - from_reserved
        entries.append(filled.entry)
    if leaves_qty and effect.ends:
        released = _void(account, position, reserved, leaves_qty, source, now_ns)
        account, position, leaves_qty = released.account, released.position, 0
        entries.append(released.entry)
    return Settled(account, position, leaves_qty, tuple(entries))


def _post(
    account: AccountRow,
    position: PositionRow,
    reserved: Reserved,
    effect: Effect,
    from_reserved: int,
    source: Source,
    now_ns: int,
) -> Booked | Short:
    """POST: a fill is paid from what is reserved for it; what a better price saves becomes available again."""
    qty, symbol = effect.fill_qty, reserved.symbol
    paid_e4 = effect.fill_price_e4 * qty
    if reserved.side is _BUY:
        held_e4 = reserved.price_e4 * from_reserved
        short = _cash_short(account, paid_e4 - held_e4) or _too_many(position, qty)
        if short is not None:
            return short
        legs = [
            Leg(_RESERVED, CASH, -held_e4),
            Leg(_VENUE, CASH, paid_e4),
            Leg(_AVAILABLE, CASH, held_e4 - paid_e4),
            Leg(_AVAILABLE, symbol, qty),
            Leg(_VENUE, symbol, -qty),
        ]
        entry = _entry(EntryKind.POST, account, source, legs, now_ns)
        return move(account, position, entry, cash_e4=-paid_e4, reserved_cash_e4=-held_e4, qty=qty)
    unreserved = qty - from_reserved
    short = _shares_short(position, unreserved) or _too_much(account, paid_e4)
    if short is not None:
        return short
    legs = [
        Leg(_RESERVED, symbol, -from_reserved),
        Leg(_AVAILABLE, symbol, -unreserved),
        Leg(_VENUE, symbol, qty),
        Leg(_AVAILABLE, CASH, paid_e4),
        Leg(_VENUE, CASH, -paid_e4),
    ]
    entry = _entry(EntryKind.POST, account, source, legs, now_ns)
    return move(account, position, entry, cash_e4=paid_e4, qty=-qty, reserved_qty=-from_reserved)


def _take_back(
    account: AccountRow,
    position: PositionRow,
    reserved: Reserved,
    effect: Effect,
    reopened: int,
    source: Source,
    now_ns: int,
) -> Booked | Short:
    """BUST: a fill the other way round. What is open again is reserved again, all else becomes available."""
    qty, symbol = effect.back_qty, reserved.symbol
    paid_e4 = effect.back_price_e4 * qty
    if reserved.side is _BUY:
        held_e4 = reserved.price_e4 * reopened
        short = _shares_short(position, qty) or _too_much(account, paid_e4) or _cash_short(account, held_e4 - paid_e4)
        if short is not None:
            return short
        legs = [
            Leg(_RESERVED, CASH, held_e4),
            Leg(_VENUE, CASH, -paid_e4),
            Leg(_AVAILABLE, CASH, paid_e4 - held_e4),
            Leg(_AVAILABLE, symbol, -qty),
            Leg(_VENUE, symbol, qty),
        ]
        entry = _entry(EntryKind.BUST, account, source, legs, now_ns)
        return move(account, position, entry, cash_e4=paid_e4, reserved_cash_e4=held_e4, qty=-qty)
    short = _cash_short(account, paid_e4) or _too_many(position, qty)
    if short is not None:
        return short
    legs = [
        Leg(_RESERVED, symbol, reopened),
        Leg(_AVAILABLE, symbol, qty - reopened),
        Leg(_VENUE, symbol, -qty),
        Leg(_AVAILABLE, CASH, -paid_e4),
        Leg(_VENUE, CASH, paid_e4),
    ]
    entry = _entry(EntryKind.BUST, account, source, legs, now_ns)
    return move(account, position, entry, cash_e4=-paid_e4, qty=qty, reserved_qty=reopened)


def _void(
    account: AccountRow,
    position: PositionRow | None,
    reserved: Reserved,
    leaves_qty: int,
    source: Source,
    now_ns: int,
) -> Booked:
    """VOID: what is reserved for the open rest becomes available again."""
    buy = reserved.side is _BUY
    asset, amount = (CASH, reserved.price_e4 * leaves_qty) if buy else (reserved.symbol, leaves_qty)
    legs = [Leg(_RESERVED, asset, -amount), Leg(_AVAILABLE, asset, amount)]
    entry = _entry(EntryKind.VOID, account, source, legs, now_ns)
    if buy:
        return move(account, position, entry, reserved_cash_e4=-amount)
    return move(account, position, entry, reserved_qty=-amount)


def _entry(kind: EntryKind, account: AccountRow, source: Source, legs: list[Leg], now_ns: int) -> Entry:
    return Entry(
        account_id=source.account_id,
        seq=account.seq + 1,
        kind=kind,
        postings=tuple([leg for leg in legs if leg.amount]),
        order_id=source.order_id,
        command_id=source.command_id,
        execution_id=source.execution_id,
        booked_ns=now_ns,
    )


# --- what does not fit --------------------------------------------------------------------------------------------


def _cash_short(account: AccountRow, required_e4: int) -> Short | None:
    available_e4 = account.available_cash_e4
    if required_e4 <= available_e4:
        return None
    compared = {
        "required_cash_e4": required_e4,
        "available_cash_e4": available_e4,
        "shortfall_cash_e4": required_e4 - available_e4,
    }
    return Short(BreakReason.CASH_SHORT, compared)


def _shares_short(position: PositionRow, required: int) -> Short | None:
    available = position.available_qty
    if required <= available:
        return None
    compared = {"required_qty": required, "available_qty": available, "shortfall_qty": required - available}
    return Short(BreakReason.POSITION_SHORT, compared)


def _too_much(account: AccountRow, cash_e4: int) -> Short | None:
    if cash_e4 <= INT64_MAX - account.cash_e4:
        return None
    compared = {"cash_e4": cash_e4, "held_cash_e4": account.cash_e4, "cash_max_e4": INT64_MAX}
    return Short(BreakReason.AMOUNT_OVERFLOW, compared)


def _too_many(position: PositionRow, qty: int) -> Short | None:
    if qty <= INT64_MAX - position.qty:
        return None
    return Short(BreakReason.AMOUNT_OVERFLOW, {"qty": qty, "held_qty": position.qty, "qty_max": INT64_MAX})
