"""Cancel requests and the lifecycle's word on them: ``orders.cancels`` and ``orders.cancel-reports``.

A request concerns orders by their place in the log. Keys are account ids.
"""

from enum import StrEnum
from typing import Literal

from pydantic import Field

from common.contracts.events import Event
from common.contracts.values import AccountId, ClientOrderId, OrderId, Side, Symbol, TimestampNs


class OrderCancel(Event):
    """A client wants the open rest of an order gone (FIX OrderCancelRequest, 35=F). Key: account_id.

    ``intents_offset`` is the end of the account's partition of ``orders.intents`` when the request came in. The request
    concerns the order if the order's intent stands before that place, whatever any clock says; without it the request
    concerns only an order that the lifecycle knows when it reads the request.
    """

    account_id: AccountId
    order_id: OrderId
    sent_ns: TimestampNs
    intents_offset: int | None = Field(default=None, ge=0)


class MassCancel(Event):
    """A client wants every open order of an account gone (FIX OrderMassCancelRequest, 35=q). Key: account_id.

    It concerns the orders of ``symbol`` and ``side``, of any where one is absent, whose intent stands before
    ``intents_offset``, as in ``OrderCancel``.
    """

    type: Literal["mass_cancel"] = "mass_cancel"
    account_id: AccountId
    symbol: Symbol | None = None
    side: Side | None = None
    sent_ns: TimestampNs
    intents_offset: int = Field(ge=0)


CancelRequest = OrderCancel | MassCancel
"""Told apart by their fields: the records of an ``OrderCancel`` carry no type."""


class CancelOutcome(StrEnum):
    """Outcome of a cancel request that no event of an order answers."""

    ORDER_UNKNOWN = "ORDER_UNKNOWN"
    """FIX CxlRejReason 1. No intent that was in the log when the request came in is of that order: it has no effect."""
    PENDING = "PENDING"
    """It is kept until the gate has decided on every intent that was in the log when it came in."""
    TOO_MANY_PENDING = "TOO_MANY_PENDING"
    """The account has as many requests of that kind as are kept: it has no effect."""
    DONE = "DONE"
    """A mass cancel has been applied to every order that it concerns."""


class CancelReport(Event):
    """The lifecycle's word on one record of ``orders.cancels`` (FIX OrderCancelReject, 35=9, and
    OrderMassCancelReport, 35=r). Key: account_id.

    A cancel of an order that is known has no report: an event of the order answers it. A mass cancel has a
    report that is DONE; before it PENDING ones, where the gate has yet to decide on orders that it may concern. Each
    names other orders. A suspension has a report, too: it names the ``command_id`` and no place. So has each record of
    ``orders.leases``, by a place of its own: DONE, of a lapse with the orders that it concerns; TOO_MANY_PENDING where
    the account has as many leases as it may have.
    """

    account_id: AccountId
    cancel_partition: int
    cancel_offset: int = Field(description="where the request stands in orders.cancels; -1: it was another")
    command_id: ClientOrderId | None = None
    lease_offset: int | None = Field(default=None, ge=0, description="where the record stands in orders.leases")
    outcome: CancelOutcome
    affected: tuple[OrderId, ...] = Field(default=(), description="open orders that it concerns, the first 5,000")
    affected_count: int = 0
    reported_ns: TimestampNs
