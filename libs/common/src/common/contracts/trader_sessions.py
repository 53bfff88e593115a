"""``orders.sessions``: what an account did between two silences, from ``orders.events``. Key: account_id.

A session holds the events of an account's orders of which each is less than a gap behind the one before, by the clock
of the lifecycle (``updated_ns``), and ends a gap after the last one. It is known by account, gap and start. A record is
the whole of a session as it stands; of several, that with the greatest ``revision`` holds. Every event is in one
session of each gap, or in none and named by one ``LateOrderEvent``.
"""

from typing import Annotated, Literal

from pydantic import Field

from common.contracts.events import Event
from common.contracts.values import AccountId, CashE4, OrderId, Quantity, TimestampNs

Count = Annotated[int, Field(strict=True, ge=0)]


class TraderSession(Event):
    """A session as it stands. One without events is taken back: an event bridged it and an earlier one."""

    type: Literal["session"] = "session"
    account_id: AccountId
    gap_ns: int = Field(ge=1, description="events of a session are less than this apart")
    start_ns: TimestampNs = Field(description="time of its first event: with account and gap what names it")
    end_ns: TimestampNs = Field(description="a gap after its last event")
    into_ns: TimestampNs | None = Field(
        default=None, description="of one without events: start of the session that has its events now"
    )
    revision: int = Field(ge=1, description="of two records of a session the greater one holds; not each is written")
    events: Count = Field(description="transitions of orders; 0: it is taken back")
    orders: Count = Field(description="that the gate accepted")
    denied: Count = Field(description="that it denied")
    fills: Count = Field(description="events by which more of an order was executed")
    busts: Count = Field(description="events by which less of it was")
    canceled: Count = Field(description="orders that were canceled")
    rejected: Count = Field(description="orders that the venue rejected")
    expired: Count
    ordered_qty: Quantity = Field(description="of accepted orders")
    filled_qty: Quantity = Field(description="executed, less what was taken back")
    canceled_qty: Quantity = Field(description="what was not executed of orders that were canceled")
    bought_e4: CashE4 = Field(description="sum of price_e4 x shares of what was bought, less what was taken back")
    sold_e4: CashE4


class LateOrderEvent(Event):
    """An event that is in no session: it is earlier than the partition's newest by more than the allowed lateness."""

    type: Literal["late"] = "late"
    account_id: AccountId
    order_id: OrderId
    order_revision: int = Field(ge=1)
    event_ns: TimestampNs
    newest_ns: TimestampNs = Field(description="the newest event of the partition when it came")


TraderMessage = Annotated[TraderSession | LateOrderEvent, Field(discriminator="type")]
