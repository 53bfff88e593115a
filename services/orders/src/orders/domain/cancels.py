"""Cancel requests that wait for the gate: whom they concern is decided by places in the log, never by clocks."""

from dataclasses import dataclass
from typing import Final

from common.contracts.cancels import MassCancel, OrderCancel
from common.contracts.events import OrderEvent
from common.contracts.values import Side

PENDING_MAX: Final = 32
"""Requests of each kind, of one order and of many, that are kept per account. One more is refused and told so."""


@dataclass(frozen=True, slots=True)
class PendingCancel:
    """A request that may concern orders which the gate has not decided on yet.

    ``intents_offset`` is the end of ``orders.intents`` when the request came in, ``cancel_offset`` the request's own
    place in ``orders.cancels``. A mass cancel has no ``order_id``. The lapse of a lease is a mass cancel that has a
    ``text`` for its orders; ``cancel_offset`` is then its place in ``orders.leases``.
    """

    intents_offset: int
    cancel_offset: int
    sent_ns: int
    order_id: str | None = None
    symbol: str | None = None
    side: Side | None = None
    order_prefix: str | None = None
    text: str | None = None

    @property
    def is_mass(self) -> bool:
        return self.order_id is None

    @property
    def is_lapse(self) -> bool:
        return self.text is not None

    def concerns(self, order: OrderEvent) -> bool:
        """Whether the order's intent was in the log when the request came in, and the order is what it names."""
        if order.intent_offset >= self.intents_offset:
            return False
        if self.order_id is not None:
            return order.order_id == self.order_id
        is_named = self.order_prefix is None or order.client_order_id.startswith(self.order_prefix)
        return is_named and self.symbol in (None, order.symbol) and self.side in (None, order.side)

    def is_void(self, decided: int) -> bool:
        """Whether every intent that it may concern has been decided on: those before ``decided``."""
        return self.intents_offset <= decided


def pending_cancel(request: OrderCancel | MassCancel, cancel_offset: int) -> PendingCancel:
    """The request as it is kept. One that does not say when it came in concerns no order that is yet to be decided."""
    if isinstance(request, MassCancel):
        return PendingCancel(
            request.intents_offset, cancel_offset, request.sent_ns, symbol=request.symbol, side=request.side
        )
    return PendingCancel(request.intents_offset or 0, cancel_offset, request.sent_ns, order_id=request.order_id)


def is_full(kept: tuple[PendingCancel, ...], request: PendingCancel) -> bool:
    """Whether the account has as many requests of that kind as are kept."""
    return sum(other.is_mass is request.is_mass for other in kept) >= PENDING_MAX
