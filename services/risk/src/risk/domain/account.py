"""The gate's memory: rows, immutable, replaced and never changed.

Rows are msgspec structs written as MessagePack arrays, because each intent reads and writes several of them. A row
grows only at its end, with a default, so that rows of an older version stay readable.
"""

from typing import Any, Final, NamedTuple

import msgspec
from common.contracts.breaks import ExecutionBreak
from common.contracts.events import AccountStatus, BreakAction, ReasonCode, RiskCommand
from common.contracts.values import OrderType, RestingOrders, Side, TimeInForce
from common.reported import End, Execution, OrderFacts, Progress, leaves_qty

from risk.domain.intent import Order


class AccountRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Cash of one account. ``cash_e4`` is all of it, ``reserved_cash_e4`` the part held for open orders."""

    status: AccountStatus
    cash_e4: int = 0
    reserved_cash_e4: int = 0
    seq: int = 0
    """Number of the account's last ledger entry."""
    pending_cash_e4: int = 0
    """Largest proceeds of its open SELL orders, see ``open_orders``."""
    buy_prices: dict[str, bytes] = {}
    """Symbol → levels of its open BUY orders, see ``open_orders``; in the order of the symbols, none of them empty."""

    @property
    def available_cash_e4(self) -> int:
        return self.cash_e4 - self.reserved_cash_e4


class PositionRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Shares of one symbol in one account. Absent where both would be zero."""

    qty: int = 0
    reserved_qty: int = 0
    sell_prices: bytes = b""
    """Levels of its open SELL orders, see ``open_orders``."""

    @property
    def available_qty(self) -> int:
        return self.qty - self.reserved_qty


NO_POSITION: Final = PositionRow()


class Holdings(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Symbols of which the account has a position row, in the order they came. Changes only when one comes or goes."""

    symbols: tuple[str, ...] = ()


class Mark(NamedTuple):
    """The gate's reading of the market, field by field as ``contracts.events.MarkRead``."""

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
    counted: bool = False
    """Whether its price and its proceeds are counted in the rows of account and position (``open_orders``). False where
    denied, and in rows of a version that did not count."""
    min_qty: int | None = None
    expire_ns: int | None = None

    def facts(self) -> OrderFacts:
        """The judge's facts of an order that was answered."""
        return OrderFacts(self.symbol, self.side, self.qty, self.price_e4, denied=self.reason is not None)

    def progress(self) -> Progress:
        """Progress of an order by the row alone: of an older version's order, or before the first report."""
        ended = None
        if not self.leaves_qty:
            ended = End.FILLED if self.cum_qty == self.qty else End.CANCELED
        return Progress(acknowledged=self.cum_qty > 0, cum_qty=self.cum_qty, ended=ended)


class CommandBody(NamedTuple):
    """A command without its id and its time: what a repeat must have in common."""

    type: str
    status: AccountStatus | None = None
    cash_e4: int = 0
    symbol: str | None = None
    qty: int = 0
    break_id: str | None = None
    action: BreakAction | None = None
    note: str | None = None
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
    """One execution id that the judge has seen on an order: ``common.reported.Execution``, and when."""

    account_seq: int
    touched_ns: int
    digest: str = ""
    qty: int = 0
    price_e4: int = 0
    taken_back: bool = False
    """An operator has booked a bust of it, which the judge, who hears only the venue, does not know of."""
    by_hand_qty: int = 0
    """Shares that an operator has booked under the id, and that were not taken back."""
    unbooked: bool = False
    """It was accepted, but its money could not be booked and no operator has booked it: no bust of it moves any."""

    def seen(self) -> Execution:
        """As the judge knows it."""
        return Execution(self.digest, self.qty, self.price_e4)


class ProgressRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """``common.reported.Progress`` of one order: written with its first report."""

    acknowledged: bool
    cum_qty: int
    notional_e4: int
    ended: End | None
    excess_qty: int = 0
    refused_qty: int = 0
    """Shares of accepted fills that an operator has refused to the venue."""
    ended_by_hand: bool = False
    """An operator has booked a report that ends the order."""
    waiting_qty: int = 0
    """Shares of accepted busts whose money waits in a break: until then they are not open, and not reserved."""

    def progress(self) -> Progress:
        """As the judge knows it."""
        return Progress(self.acknowledged, self.cum_qty, self.notional_e4, self.ended, self.excess_qty)

    def after(self, progress: Progress) -> "ProgressRow":
        """The row once the judge knows more; what operators have said stays."""
        p = progress
        return ProgressRow(
            p.acknowledged,
            p.cum_qty,
            p.notional_e4,
            p.ended,
            p.excess_qty,
            self.refused_qty,
            self.ended_by_hand,
            self.waiting_qty,
        )

    def is_open(self, order: OrderRow) -> bool:
        """Whether the order was accepted, and neither the venue nor an operator has ended it."""
        return order.reason is None and self.ended is None and not self.ended_by_hand

    def open_qty(self, order: OrderRow, cum_qty: int) -> int:
        """Open shares of the order once ``cum_qty`` of it is traded, by the venue's reports and by operators."""
        return leaves_qty(order.qty, cum_qty + self.waiting_qty, self.refused_qty) if self.is_open(order) else 0


NO_PROGRESS: Final = ProgressRow(False, 0, 0, None)


class BreakRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One report that was refused."""

    record: bytes
    """The ``ExecutionBreak`` as JSON."""
    held_qty: int
    """Shares whose reservation waits with it, where it is parked."""
    held_price_e4: int
    touched_ns: int
    resolved_by: str | None = None
    """The command that resolved it; None: it is open."""

    def opened(self) -> ExecutionBreak:
        """The break as it was written."""
        return ExecutionBreak.model_validate_json(self.record)


class BreakCount(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How many breaks of one reason are open in the partition."""

    open: int = 0


def body_of(command: RiskCommand) -> CommandBody:
    """The comparable part of a command."""
    fields = CommandBody._fields
    return CommandBody(**{name: getattr(command, name) for name in fields if hasattr(command, name)})


INTENT_BODY: Final = (
    "symbol", "side", "order_type", "time_in_force", "qty", "limit_price_e4", "min_qty", "expire_ns",
)  # fmt: skip
"""Fields of an intent that a repeat must have in common; ``sent_ns`` is not one of them."""


def intent_conflict(seen: OrderRow, intent: Order) -> str | None:
    """First field in which ``intent`` differs from the one that was answered under its id; None: a repeat."""
    return _first_difference(seen, intent, INTENT_BODY)


def command_conflict(seen: CommandRow, body: CommandBody) -> str | None:
    """First field in which ``body`` differs from the one that was answered under its id; None: a repeat."""
    return _first_difference(seen.body, body, CommandBody._fields)


def _first_difference(seen: Any, new: Any, names: tuple[str, ...]) -> str | None:
    return next((name for name in names if getattr(seen, name) != getattr(new, name)), None)
