"""Movements: each takes rows and gives the rows after it, with the balanced entry that says so.

Double entry after TigerBeetle's two-phase transfers: RESERVE is pending, POST and VOID resolve it
(``domain.settlement``). Balances are the fold of the entries (``common.ledger``), and what the fold checks afterwards
every movement checks before it is written.
"""

from typing import Final

import msgspec
from common.checks.prices import proceeds_max_e4
from common.contracts.events import CASH, Book, EntryKind, Fund, Withdraw
from common.contracts.values import INT64_MAX, Side

from risk.domain.account import NO_POSITION, AccountRow, PositionRow
from risk.domain.open_orders import with_buy, with_price, with_symbols

_AVAILABLE: Final = Book.AVAILABLE
_RESERVED: Final = Book.RESERVED
_EXTERNAL: Final = Book.EXTERNAL
_RESERVE: Final = EntryKind.RESERVE


class LedgerError(Exception):
    """A movement that would break an invariant. Nothing of it may be written."""


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


def move(
    account: AccountRow,
    position: PositionRow | None,
    entry: Entry,
    *,
    cash_e4: int = 0,
    reserved_cash_e4: int = 0,
    qty: int = 0,
    reserved_qty: int = 0,
    pending_cash_e4: int = 0,
    buy_prices: dict[str, bytes] | None = None,
    sell_prices: bytes | None = None,
) -> Booked:
    """Applies changes of total, reserved and pending amounts together with the entry that describes them.

    Prices of open orders are those after it; None: as before.

    Raises LedgerError where the sequence, a sign, the 64-bit range or the balance of the entry would break.
    """
    after = AccountRow(
        account.status,
        account.cash_e4 + cash_e4,
        account.reserved_cash_e4 + reserved_cash_e4,
        account.seq + 1,
        account.pending_cash_e4 + pending_cash_e4,
        account.buy_prices if buy_prices is None else buy_prices,
    )
    if entry.seq != after.seq:
        raise LedgerError(f"{entry.account_id}: entry {entry.seq} follows {account.seq}")
    _check_amounts(entry, after.cash_e4, after.reserved_cash_e4)
    if position is not None:
        position = PositionRow(
            position.qty + qty,
            position.reserved_qty + reserved_qty,
            position.sell_prices if sell_prices is None else sell_prices,
        )
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
    price_e4: int,
    now_ns: int,
) -> Booked:
    """RESERVE: what an accepted order may cost leaves AVAILABLE, cash of a BUY or shares of a SELL.

    ``price_e4`` is the worst that it may trade at.
    """
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
        buys = account.buy_prices
        qty = reserved_cash_e4 // price_e4
        buys = with_symbols(buys, {symbol: with_buy(buys.get(symbol, b""), price_e4, qty)})
        return move(account, None, entry, reserved_cash_e4=reserved_cash_e4, buy_prices=buys)
    sells = with_price(b"" if position is None else position.sell_prices, price_e4, Side.SELL)
    pending_cash_e4 = proceeds_max_e4(price_e4, reserved_qty)
    return move(account, position, entry, reserved_qty=reserved_qty, pending_cash_e4=pending_cash_e4, sell_prices=sells)
