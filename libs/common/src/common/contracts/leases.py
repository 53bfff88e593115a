"""Leases on open orders, by which orders are canceled on disconnect: ``orders.leases``. Keys are account ids.

Whoever trades keeps a lease by a request now and then. Where none comes in time, the orders that it stands for are
canceled, exactly once: a lapse names the record that it was judged by, and counts only while that is the newest one.
"""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from common.contracts.events import Event
from common.contracts.personal import Personal
from common.contracts.values import AccountId, TimestampNs

LEASE_ID_PATTERN = r"[A-Za-z0-9_-]{1,32}"
GRACE_MS_MIN = 1_000
GRACE_MS_MAX = 300_000
LeaseId = Annotated[str, StringConstraints(pattern=f"^{LEASE_ID_PATTERN}$"), Personal.TEXT]
OrderPrefix = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{0,63}$"), Personal.TEXT]
GraceMs = Annotated[int, Field(ge=GRACE_MS_MIN, le=GRACE_MS_MAX)]


class LeaseKept(Event):
    """The lease begins, or goes on. It stands for the account's orders whose client order id begins with the prefix."""

    type: Literal["lease_kept"] = "lease_kept"
    account_id: AccountId
    lease_id: LeaseId
    order_prefix: OrderPrefix = ""
    grace_ms: GraceMs = Field(description="without another record for so long it lapses")
    sent_ns: TimestampNs


class LeaseReleased(Event):
    """Its holder leaves and wants it gone: the orders stay."""

    type: Literal["lease_released"] = "lease_released"
    account_id: AccountId
    lease_id: LeaseId
    sent_ns: TimestampNs


class LeaseLapsed(Event):
    """Nobody has kept the lease in time, as the service saw it that serves the partition.

    ``kept_offset`` is the place of the ``LeaseKept`` by which it saw that. Where a newer one stands before this record,
    or the lease is gone, this has no effect. Else it concerns the orders whose intent stands before ``intents_offset``,
    as a ``MassCancel`` does.
    """

    type: Literal["lease_lapsed"] = "lease_lapsed"
    account_id: AccountId
    lease_id: LeaseId
    kept_offset: int = Field(ge=0)
    intents_offset: int = Field(ge=0)
    sent_ns: TimestampNs


LeaseMessage = Annotated[LeaseKept | LeaseReleased | LeaseLapsed, Field(discriminator="type")]
