"""Movements: each takes rows and gives the rows after it, with the balanced entry that says so.

Double entry after TigerBeetle's two-phase transfers: RESERVE is pending, POST and VOID resolve it. Balances are the
fold of the entries (``common.ledger``), and what the fold checks afterwards every movement checks before it is written.
"""

from typing import Final

import msgspec
from common.contracts.events import CASH, Book, EntryKind, ExecType, ExecutionReport, Fund, Withdraw
from common.contracts.values import INT64_MAX, Side

from risk.domain.account import NO_POSITION, AccountRow, OrderRow, PositionRow

_BUY: Final = Side.BUY
_AVAILABLE: Final = Book.AVAILABLE
_RESERVED: Final = Book.RESERVED
_EXTERNAL: Final = Book.EXTERNAL
_VENUE: Final = Book.VENUE
_RESERVE: Final = EntryKind.RESERVE


class LedgerError(Exception):
    """A movement that would break an invariant. Nothing of it may be written."""


class ExecutionRefused(ValueError):
    """An execution report that contradicts the books; it is set aside and no money moves."""


class UnknownOrder(ExecutionRefused):
    """No accepted order has this id."""


class OrderEnded(ExecutionRefused):
    """Nothing of the order is open any more."""


class Overfill(ExecutionRefused):
    """More was filled than is open."""


class ReportMismatch(ExecutionRefused):
    """The report's symbol, side, quantities or price do not fit the order."""


class Leg(msgspec.Struct, frozen=True, gc=False):
    """Field by field ``contracts.events.Posting``."""

    book: Book
    asset: str
    amount: int


class Entry(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Field by field ``contracts.events.LedgerEntry``, and encoded as it (``tests/risk/test_wire.py``).

    Its place in the chain is added where it is written (``risk.domain.chain``).
    """

    account_id: str
    seq: int
    kind: EntryKind
    postings: tuple[Leg, ...]
    order_id: str | None = None
    command_id: str | None = None
    execution_id: str | None = None
    booked_ns: int


class Booked(msgspec.Struct, frozen=True, gc=False):
    """Rows after a movement, and its entry. ``position`` is None where the movement did not touch one."""

    account: AccountRow
    position: PositionRow | None
    entry: Entry


class Settled(msgspec.Struct, frozen=True, gc=False):
    """Rows after an execution report, and its entries in their order."""

    account: AccountRow
    position: PositionRow | None
    order: OrderRow
    entries: tuple[Entry, ...]


def move(
    account: AccountRow,
    position: PositionRow | None,
    entry: Entry,
    *,
    cash_e4: int = 0,
    reserved_cash_e4: int = 0,
    qty: int = 0,
    reserved_qty: int = 0,
) -> Booked:
    """Applies changes of total and reserved amounts together with the entry that describes them.

    Raises LedgerError where the sequence, a sign, the 64-bit range or the balance of the entry would break.
    """
    after = AccountRow(
        account.status, account.cash_e4 + cash_e4, account.reserved_cash_e4 + reserved_cash_e4, account.seq + 1
    )
    if entry.seq != after.seq:
        raise LedgerError(f"{entry.account_id}: entry {entry.seq} follows {account.seq}")
    _check_amounts(entry, after.cash_e4, after.reserved_cash_e4)
    if position is not None:
        position = PositionRow(position.qty + qty, position.reserved_qty + reserved_qty)
        _check_amounts(entry, position.qty, position.reserved_qty)
    elif qty or reserved_qty:
        raise LedgerError(f"{entry.account_id}: entry {entry.seq} moves shares without a position")
    _check_balanced(entry)
    return Booked(after, position, entry)


def _check_amounts(entry: Entry, total: int, reserved: int) -> None:
    if not 0 <= reserved <= total <= INT64_MAX:
        raise LedgerError(f"{entry.account_id}: entry {entry.seq} would leave {reserved} reserved of {total}")


def _check_balanced(entry: Entry) -> None:
    if len(entry.postings) == 2:
        one, other = entry.postings
        if one.asset == other.asset and one.amount == -other.amount:
            return
    sums: dict[str, int] = {}
    for leg in entry.postings:
        sums[leg.asset] = sums.get(leg.asset, 0) + leg.amount
    if not sums or any(sums.values()):
        raise LedgerError(f"{entry.account_id}: entry {entry.seq} does not balance: {sums}")


# --- money from and to outside ------------------------------------------------------------------------------------


def fund(account: AccountRow, position: PositionRow | None, command: Fund, now_ns: int) -> Booked:
    """FUND: cash, shares of a symbol, or both, come in from EXTERNAL. ``position`` is that of the symbol."""
    legs: list[Leg] = []
    cash_e4, symbol, qty = command.cash_e4, command.symbol, command.qty
    if cash_e4:
        legs += (Leg(_AVAILABLE, CASH, cash_e4), Leg(_EXTERNAL, CASH, -cash_e4))
    if symbol is not None:
        legs += (Leg(_AVAILABLE, symbol, qty), Leg(_EXTERNAL, symbol, -qty))
    entry = _command_entry(EntryKind.FUND, account, command, tuple(legs), now_ns)
    return move(account, None if symbol is None else position or NO_POSITION, entry, cash_e4=cash_e4, qty=qty)


def withdraw(account: AccountRow, command: Withdraw, now_ns: int) -> Booked:
    """WITHDRAW: available cash goes out to EXTERNAL."""
    cash_e4 = command.cash_e4
    legs = (Leg(_AVAILABLE, CASH, -cash_e4), Leg(_EXTERNAL, CASH, cash_e4))
    return move(account, None, _command_entry(EntryKind.WITHDRAW, account, command, legs, now_ns), cash_e4=-cash_e4)


def _command_entry(
    kind: EntryKind, account: AccountRow, command: Fund | Withdraw, legs: tuple[Leg, ...], now_ns: int
) -> Entry:
    return Entry(
        account_id=command.account_id,
        seq=account.seq + 1,
        kind=kind,
        postings=legs,
        command_id=command.command_id,
        booked_ns=now_ns,
    )


# --- orders -------------------------------------------------------------------------------------------------------


def reserve(
    account_id: str,
    account: AccountRow,
    position: PositionRow | None,
    order_id: str,
    symbol: str,
    reserved_cash_e4: int,
    reserved_qty: int,
    now_ns: int,
) -> Booked:
    """RESERVE: what an accepted order may cost leaves AVAILABLE, cash of a BUY or shares of a SELL."""
    asset, amount = (CASH, reserved_cash_e4) if reserved_cash_e4 else (symbol, reserved_qty)
    entry = Entry(
        account_id=account_id,
        seq=account.seq + 1,
        kind=_RESERVE,
        postings=(Leg(_AVAILABLE, asset, -amount), Leg(_RESERVED, asset, amount)),
        order_id=order_id,
        booked_ns=now_ns,
    )
    if reserved_cash_e4:
        return move(account, None, entry, reserved_cash_e4=reserved_cash_e4)
    return move(account, position, entry, reserved_qty=reserved_qty)


def settle(
    account: AccountRow, position: PositionRow | None, order: OrderRow, report: ExecutionReport, now_ns: int
) -> Settled:
    """Books a TRADE, CANCELED or REJECTED report: POST what was filled, VOID what will not be any more.

    Raises ExecutionRefused where the report contradicts the order.
    """
    _check_report(order, report)
    fill_qty = report.last_qty if report.exec_type is ExecType.TRADE else 0
    entries: list[Entry] = []
    if fill_qty:
        booked = _post(account, position, order, report, now_ns)
        account, position = booked.account, booked.position
        entries.append(booked.entry)
    leaves_qty = order.leaves_qty - fill_qty
    if leaves_qty and not report.leaves_qty:
        booked = _void(account, position, order, report, leaves_qty, now_ns)
        account, position = booked.account, booked.position
        entries.append(booked.entry)
        leaves_qty = 0
    cum_qty = order.cum_qty + fill_qty
    after = msgspec.structs.replace(order, leaves_qty=leaves_qty, cum_qty=cum_qty, touched_ns=now_ns)
    return Settled(account, position, after, tuple(entries))


def _check_report(order: OrderRow, report: ExecutionReport) -> None:
    name = report.order_id
    if report.symbol != order.symbol or report.side is not order.side:
        raise ReportMismatch(f"{name}: reported {report.side} {report.symbol}, ordered {order.side} {order.symbol}")
    if not order.leaves_qty:
        raise OrderEnded(f"{name}: {report.exec_type} {report.last_qty} after its end at {order.cum_qty}")
    if report.exec_type is not ExecType.TRADE:
        if report.leaves_qty:
            raise ReportMismatch(f"{name}: {report.exec_type} leaves {report.leaves_qty}")
        return
    if report.last_qty <= 0 or report.last_price_e4 <= 0:
        raise ReportMismatch(f"{name}: trade of {report.last_qty} at {report.last_price_e4}")
    if report.last_qty > order.leaves_qty:
        raise Overfill(f"{name}: filled {report.last_qty} of {order.leaves_qty} that are open")
    if report.cum_qty != order.cum_qty + report.last_qty:
        raise ReportMismatch(f"{name}: cum {report.cum_qty} after {order.cum_qty} and a trade of {report.last_qty}")
    if report.leaves_qty not in (0, order.leaves_qty - report.last_qty):
        raise ReportMismatch(f"{name}: leaves {report.leaves_qty} of {order.leaves_qty} after {report.last_qty}")
    if order.side is _BUY and report.last_price_e4 > order.price_e4:
        raise ReportMismatch(f"{name}: bought at {report.last_price_e4}, reserved {order.price_e4}")
    if order.side is not _BUY and report.last_price_e4 < (order.limit_price_e4 or 0):
        raise ReportMismatch(f"{name}: sold at {report.last_price_e4}, limit {order.limit_price_e4}")


def _post(
    account: AccountRow, position: PositionRow | None, order: OrderRow, report: ExecutionReport, now_ns: int
) -> Booked:
    """POST: a fill is paid from what is reserved for it; what a better price saves becomes available again."""
    qty = report.last_qty
    paid_e4 = report.last_price_e4 * qty
    symbol = order.symbol
    if order.side is _BUY:
        held_e4 = order.price_e4 * qty
        legs = [Leg(_RESERVED, CASH, -held_e4), Leg(_VENUE, CASH, paid_e4)]
        if held_e4 != paid_e4:
            legs.append(Leg(_AVAILABLE, CASH, held_e4 - paid_e4))
        legs += (Leg(_AVAILABLE, symbol, qty), Leg(_VENUE, symbol, -qty))
        entry = _execution_entry(EntryKind.POST, account, report, tuple(legs), now_ns)
        return move(account, position or NO_POSITION, entry, cash_e4=-paid_e4, reserved_cash_e4=-held_e4, qty=qty)
    legs = [
        Leg(_RESERVED, symbol, -qty),
        Leg(_VENUE, symbol, qty),
        Leg(_AVAILABLE, CASH, paid_e4),
        Leg(_VENUE, CASH, -paid_e4),
    ]
    entry = _execution_entry(EntryKind.POST, account, report, tuple(legs), now_ns)
    return move(account, position, entry, cash_e4=paid_e4, qty=-qty, reserved_qty=-qty)


def _void(
    account: AccountRow,
    position: PositionRow | None,
    order: OrderRow,
    report: ExecutionReport,
    leaves_qty: int,
    now_ns: int,
) -> Booked:
    """VOID: what is reserved for the open rest becomes available again."""
    buy = order.side is _BUY
    asset, amount = (CASH, order.price_e4 * leaves_qty) if buy else (order.symbol, leaves_qty)
    legs = (Leg(_RESERVED, asset, -amount), Leg(_AVAILABLE, asset, amount))
    entry = _execution_entry(EntryKind.VOID, account, report, legs, now_ns)
    if buy:
        return move(account, position, entry, reserved_cash_e4=-amount)
    return move(account, position, entry, reserved_qty=-amount)


def _execution_entry(
    kind: EntryKind, account: AccountRow, report: ExecutionReport, legs: tuple[Leg, ...], now_ns: int
) -> Entry:
    return Entry(
        account_id=report.account_id,
        seq=account.seq + 1,
        kind=kind,
        postings=legs,
        order_id=report.order_id,
        execution_id=report.execution_id,
        booked_ns=now_ns,
    )
