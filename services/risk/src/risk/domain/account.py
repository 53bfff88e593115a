"""What the gate remembers: rows, immutable, replaced and never changed.

Rows are msgspec structs written as MessagePack arrays, because each intent reads and writes several of them. A row
grows only at its end, with a default, so that rows of an older version stay readable.
"""

from typing import Any, Final, NamedTuple

import msgspec
from common.contracts.events import AccountStatus, ReasonCode, RiskCommand
from common.contracts.values import OrderType, RestingOrders, Side, TimeInForce

from risk.domain.intent import Order


class AccountRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Cash of one account. ``cash_e4`` is all of it, ``reserved_cash_e4`` the part held for open orders."""

    status: AccountStatus
    cash_e4: int = 0
    reserved_cash_e4: int = 0
    seq: int = 0
    """Number of the account's last ledger entry."""

    @property
    def available_cash_e4(self) -> int:
        return self.cash_e4 - self.reserved_cash_e4


class PositionRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Shares of one symbol in one account. Absent where both would be zero."""

    qty: int = 0
    reserved_qty: int = 0

    @property
    def available_qty(self) -> int:
        return self.qty - self.reserved_qty


NO_POSITION: Final = PositionRow()


class Holdings(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Symbols of which the account has a position row, in the order they came. Changes only when one comes or goes."""

    symbols: tuple[str, ...] = ()


class Mark(NamedTuple):
    """What the gate read of the market, field by field as ``contracts.events.MarkRead``."""

    partition: int
    offset: int
    bid_e4: int
    ask_e4: int
    last_e4: int
    event_ns: int
    clock_ns: int


class OrderRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One client order id: what was asked, what was answered, and what of it is still reserved.

    One row is both the seen id and the reservation, so an intent costs one changelog record for the two.
    """

    symbol: str
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    qty: int
    limit_price_e4: int | None
    reason: ReasonCode | None
    """Why it was denied; None: accepted."""
    compared: dict[str, int]
    instrument_id: int | None
    price_e4: int
    """Price that was reserved per share of a BUY, and the worst it may trade at; 0 where denied."""
    mark: Mark | None
    account_seq: int
    decided_ns: int
    leaves_qty: int
    """Still open, and still reserved; 0 where denied or ended."""
    cum_qty: int
    touched_ns: int
    """Last decision or execution; the row may be forgotten some days after it, once nothing is open."""


class CommandBody(NamedTuple):
    """A command without its id and its time: what a repeat must have in common."""

    type: str
    status: AccountStatus | None = None
    cash_e4: int = 0
    symbol: str | None = None
    qty: int = 0
    resting: RestingOrders = RestingOrders.CANCEL


class CommandRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One command id: what was asked and what was answered."""

    body: CommandBody
    reason: ReasonCode | None
    compared: dict[str, int]
    status: AccountStatus | None
    account_seq: int
    touched_ns: int


class ExecutionRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One execution id that was booked."""

    account_seq: int
    touched_ns: int


def body_of(command: RiskCommand) -> CommandBody:
    """The comparable part of a command."""
    fields = CommandBody._fields
    return CommandBody(**{name: getattr(command, name) for name in fields if hasattr(command, name)})


INTENT_BODY: Final = ("symbol", "side", "order_type", "time_in_force", "qty", "limit_price_e4")
"""Fields of an intent that a repeat must have in common; ``sent_ns`` is not one of them."""


def intent_conflict(seen: OrderRow, intent: Order) -> str | None:
    """First field in which ``intent`` differs from the one that was answered under its id; None: a repeat."""
    return _first_difference(seen, intent, INTENT_BODY)


def command_conflict(seen: CommandRow, body: CommandBody) -> str | None:
    """First field in which ``body`` differs from the one that was answered under its id; None: a repeat."""
    return _first_difference(seen.body, body, CommandBody._fields)


def _first_difference(seen: Any, new: Any, names: tuple[str, ...]) -> str | None:
    return next((name for name in names if getattr(seen, name) != getattr(new, name)), None)
