"""Tables of the lifecycle stage, all by account, hence co-partitioned, and what changes an order in them.

table     key                     row
========  ======================  =======================================================================
orders    order_id                OrderEvent: every open order and each account's newest closed ones
reports   order_id, execution_id  Execution: the report was judged; kept as long as the order
progress  order_id                ProgressRow: what the venue's reports say of the order; kept as long as it
early     account_id              EarlyRow: what came before its order's decision, and ids that will have none
accounts  account_id              AccountRow: counters of the two rings, cancels that wait for the gate
closed    account_id, ring slot   order_id of a closed order
fills     account_id, ring slot   ExecutionReport of a trade
waits     offset, account_id      the account has cancels that wait for the decisions before that offset
decided   ``intents``             Decided: how far the gate's decisions have come
halts     account_id, ``_firm``   HaltsRow: symbols in which trading is halted
leases    account_id, lease id    LeaseRow: somebody keeps the orders open that it stands for
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from common.contracts.breaks import BreakResolution
from common.contracts.events import ExecutionReport, OrderEvent, VenueCancel, VenueOrder
from common.contracts.topics import ORDERS_EVENTS, VENUE_ORDERS, market_partition
from common.contracts.twins import written
from common.contracts.views import CLOSED_ORDERS_RETAINED
from common.reported import Progress
from streams.model.message import Handled, Output, View
from streams.model.tables import Changelogged, Migration, Tables

from orders.domain.cancels import PendingCancel
from orders.domain.lifecycle import Step
from orders.rows import EXECUTION_CODEC, TEXT_CODEC, json_codec, ring_key, twin_codec
from orders.wire import ORDER_TWIN, REPORT_TWIN, shown


@dataclass(frozen=True, slots=True)
class AccountRow:
    closed: int = 0
    fills: int = 0
    pending: tuple[PendingCancel, ...] = ()


@dataclass(frozen=True, slots=True)
class ProgressRow:
    worst_price_e4: int | None = None
    """The protection price of a MARKET order. None: the limit is the worst price."""
    progress: Progress | None = None
    """None: no report was judged yet."""
    refused_qty: int = 0
    """Shares of accepted fills that an operator has refused to the venue."""


@dataclass(frozen=True, slots=True)
class EarlyRow:
    waiting: tuple[ExecutionReport | BreakResolution, ...] = ()
    never: tuple[str, ...] = ()
    """Order ids that a venue used before anybody was answered under them: the gate accepts no order under them."""


@dataclass(frozen=True, slots=True)
class Decided:
    """``before``: the gate's decision on every intent before this offset has been handled. ``waits``: rows there."""

    before: int = 0
    waits: int = 0


@dataclass(frozen=True, slots=True)
class HaltsRow:
    """Symbols of an account, or of the firm, in which trading is halted; ``seq`` is that of the controls."""

    seq: int = 0
    symbols: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """A lease as its newest record has it, which stands at ``kept_offset`` of ``orders.leases``."""

    kept_offset: int
    order_prefix: str
    grace_ms: int


LAYOUT_VERSION: Final = 3
"""Version of the rows of all tables. Whoever raises it adds a migration (``streams.opening.layout``)."""
MIGRATIONS: Final[Mapping[int, Migration]] = {1: {}, 2: {}}
"""Since 2 a symbol may hold ``@``, since 3 an order may be FOK, GTC or GTD. Every row of an older version is a row of
this one, and a release that knows only older ones is refused.
"""
TABLES: Final = (
    Changelogged("orders", twin_codec(OrderEvent, ORDER_TWIN)),
    Changelogged("reports", EXECUTION_CODEC),
    Changelogged("progress", json_codec(ProgressRow)),
    Changelogged("early", json_codec(EarlyRow)),
    Changelogged("accounts", json_codec(AccountRow)),
    Changelogged("closed", TEXT_CODEC),
    Changelogged("fills", twin_codec(ExecutionReport, REPORT_TWIN)),
    Changelogged("waits", TEXT_CODEC),
    Changelogged("decided", json_codec(Decided)),
    Changelogged("halts", json_codec(HaltsRow)),
    Changelogged("leases", json_codec(LeaseRow)),
)


def applied(tables: Tables, step: Step, *, origin_ns: int, just_closed: bool) -> Handled:
    """Keeps the order after a step, and says so to whoever follows it. ``origin_ns``: see ``View``."""
    order = step.order
    tables.changelogged("orders").put(order.order_id.encode(), order)
    yield Output(ORDERS_EVENTS, order.account_id.encode(), written(order))
    if step.to_venue is not None:
        yield _venue_output(step.to_venue)
    yield View("order", order.account_id, order.order_id, shown(order), origin_ns)
    if just_closed:
        yield from retain_closed(tables, order)


def _venue_output(message: VenueOrder | VenueCancel) -> Output:
    return Output(
        VENUE_ORDERS, message.symbol.encode(), written(message), partition=market_partition(message.instrument_id)
    )


def retain_closed(tables: Tables, order: OrderEvent) -> Iterator[View]:
    """The closed order takes a slot of its account's ring; the order that had it is forgotten, reports and all."""
    row = account_row(tables, order.account_id)
    slot = ring_key(order.account_id, row.closed, CLOSED_ORDERS_RETAINED)
    closed = tables.changelogged("closed")
    forgotten: str | None = closed.get(slot)
    closed.put(slot, order.order_id)
    keep_account(tables, order.account_id, AccountRow(row.closed + 1, row.fills, row.pending))
    if forgotten is None:
        return
    tables.changelogged("orders").delete(forgotten.encode())
    tables.changelogged("progress").delete(forgotten.encode())
    reports = tables.changelogged("reports")
    for key, _ in list(reports.prefix(forgotten.encode() + b"\0")):
        reports.delete(key)
    yield View("order", order.account_id, forgotten, None)


def account_row(tables: Tables, account_id: str) -> AccountRow:
    """The account's row; an empty one where it has none yet."""
    return tables.changelogged("accounts").get(account_id.encode()) or AccountRow()


def keep_account(tables: Tables, account_id: str, row: AccountRow) -> None:
    """Writes the account's row."""
    tables.changelogged("accounts").put(account_id.encode(), row)
