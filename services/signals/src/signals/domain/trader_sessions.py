"""Sessions of an account: events of its orders of which each is less than a gap behind the one before.

Each number of a session is a sum over its events, and no event is ever taken back. So an event is added to the session
that it is near to, and two sessions that it bridges are added up: no event is looked at again, whenever it comes.
"""

from collections.abc import Sequence
from operator import add
from typing import NamedTuple

import msgspec
from common.contracts.events import CLOSED, OrderEvent, OrderState
from common.contracts.values import Side, within_int64
from msgspec.structs import astuple


class Tally(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Sums over events; each is named as in ``TraderSession``."""

    events: int = 0
    orders: int = 0
    denied: int = 0
    fills: int = 0
    busts: int = 0
    canceled: int = 0
    rejected: int = 0
    expired: int = 0
    ordered_qty: int = 0
    filled_qty: int = 0
    canceled_qty: int = 0
    bought_e4: int = 0
    sold_e4: int = 0

    def plus(self, other: "Tally") -> "Tally":
        return Tally(*map(within_int64, map(add, astuple(self), astuple(other))))


class KnownOrder(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Numbers of the last event of an order, from which the next one is told."""

    revision: int
    cum_qty: int
    notional_e4: int
    is_closed: bool


class Session(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Times of the first and the last event, ns, and what all of them sum up to."""

    start_ns: int
    last_ns: int
    tally: Tally


class Joined(NamedTuple):
    """Sessions of one gap after an event has joined them."""

    sessions: tuple[Session, ...]
    """All of them, in no order."""
    session: Session
    """The one that holds the event."""
    taken_back: tuple[Session, ...]
    """Those whose events it has now, and whose start was another one."""


def known(event: OrderEvent) -> KnownOrder:
    return KnownOrder(event.revision, event.cum_qty, event.notional_e4, event.state in CLOSED)


def tally_of(event: OrderEvent, before: KnownOrder | None) -> Tally:
    """One event, as a sum over itself. ``before``: what the event before it said of the order.

    Of an order that is first met in the middle of its life nothing but the event is counted.
    """
    if before is None:
        if event.revision > 1:
            return Tally(events=1)
        if event.state is OrderState.DENIED:
            return Tally(events=1, denied=1)
        return Tally(events=1, orders=1, ordered_qty=event.qty)
    more_qty, more_e4 = event.cum_qty - before.cum_qty, event.notional_e4 - before.notional_e4
    ended_as = None if before.is_closed else event.state
    is_canceled = ended_as is OrderState.CANCELED
    return Tally(
        events=1,
        fills=int(more_qty > 0),
        busts=int(more_qty < 0),
        canceled=int(is_canceled),
        rejected=int(ended_as is OrderState.REJECTED),
        expired=int(ended_as is OrderState.EXPIRED),
        filled_qty=more_qty,
        canceled_qty=event.qty - event.cum_qty if is_canceled else 0,
        bought_e4=more_e4 if event.side is Side.BUY else 0,
        sold_e4=more_e4 if event.side is Side.SELL else 0,
    )


def joined(sessions: Sequence[Session], at_ns: int, tally: Tally, gap_ns: int) -> Joined:
    """An event at ``at_ns`` joins the sessions that it is less than a gap away from: none, one, or two."""
    near = [each for each in sessions if each.start_ns - gap_ns < at_ns < each.last_ns + gap_ns]
    apart = [each for each in sessions if each not in near]
    start_ns, last_ns = at_ns, at_ns
    for each in near:
        start_ns, last_ns = min(start_ns, each.start_ns), max(last_ns, each.last_ns)
        tally = tally.plus(each.tally)
    session = Session(start_ns, last_ns, tally)
    taken_back = tuple(each for each in near if each.start_ns != start_ns)
    return Joined((*apart, session), session, taken_back)


def reachable(sessions: Sequence[Session], before_ns: int, gap_ns: int) -> tuple[Session, ...]:
    """Sessions that an event may still join, where none is earlier than ``before_ns``."""
    return tuple(each for each in sessions if each.last_ns + gap_ns > before_ns)
