"""Messages of the orders domain: one JSON record per message, used unchanged by the HTTP API.

Keys are account ids (symbols on ``venue.orders``). Every ``*_ns`` is nanoseconds since the epoch, every ``*_e4`` is in
1e-4 currency units. Money is two-phase: accept = reserve, fill = post, cancel, reject and expire = void.
"""

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from common.contracts.personal import Personal
from common.contracts.reason_codes import TRANSIENT_REASONS as TRANSIENT_REASONS
from common.contracts.reason_codes import ReasonCode as ReasonCode
from common.contracts.values import (
    AccountId,
    BreakId,
    CashE4,
    ClientOrderId,
    InstrumentId,
    OrderId,
    OrderType,
    PriceE4,
    Quantity,
    RestingOrders,
    SelfMatch,
    Sha256,
    Side,
    Symbol,
    TimeInForce,
    TimestampNs,
)

ExecutionId = Annotated[str, Personal.IN_ACCOUNT]
"""The venue's own; that of a simulated one begins with the order's."""


class Event(BaseModel):
    """Base of every message: frozen, and closed to fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# --- orders.intents -----------------------------------------------------------------------------------------------


class OrderIntent(Event):
    """A client wants to trade (FIX NewOrderSingle, 35=D). Key: account_id.

    Quantity and price are not constrained here: the gate denies what is wrong, with a reason code.
    """

    account_id: AccountId
    client_order_id: ClientOrderId
    symbol: Symbol
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce = TimeInForce.DAY
    qty: Quantity
    limit_price_e4: Quantity | None = Field(default=None, description="required for LIMIT, absent for MARKET")
    sent_ns: TimestampNs = Field(description="when the sender meant to send it")
    min_qty: Quantity | None = Field(default=None, description="IOC, FOK: shares that trade at once, or none does")
    expire_ns: TimestampNs | None = Field(
        default=None, description="when a GTD order expires, by the exchange's time (FIX ExpireTime, tag 126)"
    )


# --- risk.commands ------------------------------------------------------------------------------------------------


class Caller(Event):
    """The giver of a command, as the request that brought it was verified."""

    subject: Annotated[str, StringConstraints(min_length=1, max_length=256), Personal.TEXT]
    client: Annotated[str, StringConstraints(max_length=256), Personal.TEXT] = Field(
        description="the program; empty: not said"
    )
    address: Annotated[str, StringConstraints(max_length=64), Personal.TEXT] = Field(
        description="of the other end of the connection"
    )


class AccountStatus(StrEnum):
    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"


class SetAccount(Event):
    """Opens an account, or changes its status. Without a status a new account is ACTIVE, and another stays as it is."""

    type: Literal["set_account"] = "set_account"
    command_id: ClientOrderId
    account_id: AccountId
    status: AccountStatus | None = None
    resting: RestingOrders = RestingOrders.CANCEL
    sent_ns: TimestampNs
    who: Caller | None = None


class Fund(Event):
    """Cash, or a position in ``symbol``, comes in from outside."""

    type: Literal["fund"] = "fund"
    command_id: ClientOrderId
    account_id: AccountId
    cash_e4: CashE4 = 0
    symbol: Symbol | None = None
    qty: Quantity = 0
    sent_ns: TimestampNs
    who: Caller | None = None


class Withdraw(Event):
    """Free cash goes out. Denied, never partial, where it is short."""

    type: Literal["withdraw"] = "withdraw"
    command_id: ClientOrderId
    account_id: AccountId
    cash_e4: CashE4
    sent_ns: TimestampNs
    who: Caller | None = None


class BreakAction(StrEnum):
    """An operator's verdict on a break: the trade happened and is booked, or the venue is refused for good."""

    BOOK = "BOOK"
    BREAK = "BREAK"


class ResolveBreak(Event):
    """An operator's word on an execution report that was refused (``contracts.breaks``)."""

    type: Literal["resolve_break"] = "resolve_break"
    command_id: ClientOrderId
    account_id: AccountId
    break_id: BreakId
    action: BreakAction
    note: Annotated[str, StringConstraints(min_length=1, max_length=500), Personal.TEXT] = Field(
        description="why, for the record"
    )
    sent_ns: TimestampNs
    who: Caller | None = None


RiskCommand = Annotated[SetAccount | Fund | Withdraw | ResolveBreak, Field(discriminator="type")]


# --- risk.decisions -----------------------------------------------------------------------------------------------


class MarkRead(Event):
    """The mark a decision was made from, with its place in the log, so that it can be re-executed."""

    partition: int
    offset: int
    bid_e4: PriceE4
    ask_e4: PriceE4
    last_e4: PriceE4
    event_ns: TimestampNs
    clock_ns: TimestampNs = Field(description="ingest time of the partition's clock row")


class Decision(Event):
    """The gate's answer to one intent. Key: account_id. Exactly one for every record of ``orders.intents``."""

    type: Literal["decision"] = "decision"
    account_id: AccountId
    client_order_id: ClientOrderId
    order_id: OrderId
    accepted: bool
    reason: ReasonCode | None = None
    compared: dict[str, int] = Field(default_factory=dict, description="the numbers behind the verdict, units in names")
    conflict: str | None = Field(default=None, description="the first field that differs, with DUPLICATE_ID")
    repeat: bool = Field(default=False, description="the same intent was answered before; nothing was reserved again")
    intent: OrderIntent
    instrument_id: InstrumentId | None = None
    reserved_cash_e4: CashE4 = 0
    reserved_qty: Quantity = 0
    protection_price_e4: PriceE4 | None = Field(
        default=None,
        description="the worst price it may trade at: the limit, or for MARKET the collared quote; absent when denied",
    )
    mark: MarkRead | None = None
    account_seq: int = Field(description="ledger sequence of the account after this decision")
    decided_ns: TimestampNs
    intent_partition: int
    intent_offset: int


class CommandResult(Event):
    """The answer to one record of ``risk.commands``. Key: account_id."""

    type: Literal["command_result"] = "command_result"
    account_id: AccountId
    command_id: ClientOrderId
    accepted: bool
    reason: ReasonCode | None = None
    compared: dict[str, int] = Field(default_factory=dict)
    conflict: str | None = Field(default=None, description="the first field that differs, with DUPLICATE_ID")
    repeat: bool = False
    status: AccountStatus | None = Field(default=None, description="of the account after it; absent if there is none")
    resting: RestingOrders | None = Field(default=None, description="only in the answer to a suspension")
    account_seq: int
    decided_ns: TimestampNs
    command_partition: int = Field(default=-1, description="where the command stands in the log; -1: not said")
    command_offset: int = -1


RiskDecision = Annotated[Decision | CommandResult, Field(discriminator="type")]


# --- risk.ledger --------------------------------------------------------------------------------------------------


class EntryKind(StrEnum):
    """Kind of a movement. TigerBeetle's two-phase transfers: RESERVE is pending, POST and VOID resolve it.

    BUST takes a POST back: cash and shares return to where they were before the trade, into what is available.
    """

    FUND = "FUND"
    WITHDRAW = "WITHDRAW"
    RESERVE = "RESERVE"
    POST = "POST"
    VOID = "VOID"
    BUST = "BUST"


class Book(StrEnum):
    """The side of a posting. AVAILABLE and RESERVED are the client's; EXTERNAL and VENUE are the other ends."""

    AVAILABLE = "AVAILABLE"
    RESERVED = "RESERVED"
    EXTERNAL = "EXTERNAL"
    VENUE = "VENUE"


CASH: Literal["@CASH"] = "@CASH"
"""The asset name of cash; every other asset is a symbol. No symbol begins with @, while CASH is one (on XNAS)."""


class Posting(Event):
    """One leg. ``amount`` is in e4 currency units for CASH, in shares otherwise; positive increases the book."""

    book: Book
    asset: str
    amount: Quantity


class LedgerEntry(Event):
    """One immutable, balanced movement: its postings sum to zero for each asset. Key: account_id.

    ``seq`` counts 1, 2, 3, … within the account without a gap, ``chain_seq`` within the partition.

    ``chain`` is SHA-256(chain of the partition's entry before, 32 bytes · this entry as JSON without ``chain``), in
    hexadecimal. That JSON has the fields in the order below, absent ones left out, no white space, and UTF-8 as it is;
    it is the record's value without ``,"chain":"…"`` at its end. Before the first entry stands
    SHA-256(``risk.ledger/{partition}``). Entries of version 1 have neither field.
    """

    account_id: AccountId
    seq: int = Field(ge=1)
    kind: EntryKind
    postings: tuple[Posting, ...]
    order_id: OrderId | None = None
    command_id: ClientOrderId | None = None
    execution_id: ExecutionId | None = None
    booked_ns: TimestampNs
    chain_seq: int | None = Field(default=None, ge=1)
    chain: Annotated[Sha256, Personal.TEXT] | None = None


# --- venue.orders, orders.executions ------------------------------------------------------------------------------


class VenueOrder(Event):
    """An accepted order on its way to the venue. Key: symbol; partition: that of the instrument."""

    type: Literal["new"] = "new"
    order_id: OrderId
    account_id: AccountId
    symbol: Symbol
    instrument_id: InstrumentId
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    qty: Quantity
    limit_price_e4: PriceE4 = Field(description="for MARKET orders the price that was reserved against: a protection")
    sent_ns: TimestampNs
    self_match: SelfMatch | None = Field(
        default=None, description="what the venue cancels where the order meets an own one; absent: it meets none"
    )
    min_qty: Quantity | None = Field(default=None, description="shares that trade at once, or none does")
    expire_ns: TimestampNs | None = Field(default=None, description="when a GTD order expires, by the exchange's time")


class VenueCancel(Event):
    """A request to cancel what rests. Key and partition as the order's."""

    type: Literal["cancel"] = "cancel"
    order_id: OrderId
    account_id: AccountId
    symbol: Symbol
    instrument_id: InstrumentId
    side: Side
    sent_ns: TimestampNs


VenueMessage = Annotated[VenueOrder | VenueCancel, Field(discriminator="type")]


class ExecType(StrEnum):
    """FIX ExecType (tag 150), what the venue says."""

    NEW = "NEW"
    TRADE = "TRADE"
    CANCELED = "CANCELED"
    REJECTED = "REJECTED"
    CANCEL_REJECTED = "CANCEL_REJECTED"
    EXPIRED = "EXPIRED"
    TRADE_CANCEL = "TRADE_CANCEL"
    TRADE_CORRECT = "TRADE_CORRECT"


class ExecutionReport(Event):
    """The venue's word on an order (FIX ExecutionReport, 35=8). Key: account_id.

    ``leaves_qty`` is what is still open after it; 0 ends the order. A CANCELED, EXPIRED or REJECTED report voids the
    rest. TRADE_CANCEL (a bust, FIX ExecType H) takes back the trade that ``ref_execution_id`` names; TRADE_CORRECT (FIX
    ExecType G) puts ``last_qty`` at ``last_price_e4`` in its place. What may be said when: ``common.executions``.
    """

    execution_id: ExecutionId = Field(description="unique; the same report sent again carries the same id")
    exec_type: ExecType
    order_id: OrderId
    account_id: AccountId
    symbol: Symbol
    side: Side
    last_qty: Quantity = 0
    last_price_e4: PriceE4 = 0
    cum_qty: Quantity = 0
    leaves_qty: Quantity = 0
    venue_ns: TimestampNs
    text: Annotated[str, Personal.TEXT] = ""
    ref_execution_id: ExecutionId | None = Field(
        default=None, description="the execution that a TRADE_CANCEL or TRADE_CORRECT is about (FIX ExecRefID, tag 19)"
    )


# --- orders.events ------------------------------------------------------------------------------------------------


class OrderState(StrEnum):
    """FIX OrdStatus (tag 39), what the lifecycle knows."""

    ACCEPTED = "ACCEPTED"
    DENIED = "DENIED"
    WORKING = "WORKING"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    PENDING_CANCEL = "PENDING_CANCEL"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"


CLOSED: Final = frozenset(
    {OrderState.DENIED, OrderState.FILLED, OrderState.CANCELED, OrderState.REJECTED, OrderState.EXPIRED}
)
"""States that an order does not leave."""


class OrderEvent(Event):
    """The whole of an order after one transition. Key: account_id. ``revision`` counts transitions from 1."""

    order_id: OrderId
    account_id: AccountId
    client_order_id: ClientOrderId
    symbol: Symbol
    instrument_id: InstrumentId | None = None
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    qty: Quantity
    limit_price_e4: Quantity | None = None
    state: OrderState
    cum_qty: Quantity = 0
    leaves_qty: Quantity = 0
    notional_e4: CashE4 = Field(default=0, description="sum of price_e4 x shares over the fills")
    reason: ReasonCode | None = None
    text: Annotated[str, Personal.TEXT] = ""
    revision: int = Field(ge=1)
    sent_ns: TimestampNs
    updated_ns: TimestampNs
    decided_ns: TimestampNs = Field(default=0, description="by the gate's clock; orders are ordered by it. 0: not said")
    intent_offset: int = Field(default=-1, description="where its intent stands in its partition; -1: not said")
    min_qty: Quantity | None = Field(default=None, description="shares that trade at once, or none does")
    expire_ns: TimestampNs | None = Field(default=None, description="when a GTD order expires, by the exchange's time")
