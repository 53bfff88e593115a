"""Memory of what an account did lately, for the limits that ask for it. Without such limits nothing is remembered.

The row of an account is bounded: of each period there are some ``SPANS`` spans of time at most, symbols are forgotten
with their period, and bodies are bounded by a check. A span is counted until its last order is as old as the period, so
too much may be counted for a sixteenth of the period, and never too little.
"""

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Final, NamedTuple

import msgspec
from common.checks.case import ActivityFields, LimitFields
from common.contracts.values import INT64_MAX

from risk.domain.account import AccountRow, PositionRow
from risk.domain.intent import Order
from risk.domain.open_orders import LEVEL, without_total

SPANS: Final = 16


class Span(NamedTuple):
    """Accepted orders between two instants."""

    begin_ns: int
    last_ns: int
    orders: int
    qty: int
    notional_e4: int


class Sent(NamedTuple):
    """Intents in one symbol between two instants."""

    begin_ns: int
    last_ns: int
    intents: int


class ActivityRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Recent intents and accepted orders of one account."""

    spans: tuple[Span, ...] = ()
    sent: dict[str, tuple[Sent, ...]] = {}
    """By symbol, in their order."""
    bodies: dict[int, int] = {}
    """Body of an accepted order (``body_of_order``) → when it was the last time, in the order of the bodies."""
    earlier: dict[int, tuple[int, ...]] = {}
    """Body → the times before that, the newest first, where more than one is asked for."""


NO_ROW: Final = ActivityRow()


class Done(msgspec.Struct, frozen=True, gc=False):
    """Intents and accepted orders of one account at one instant."""

    intents: Mapping[str, int]
    """By symbol."""
    orders: int = 0
    qty: int = 0
    notional_e4: int = 0
    bodies: Iterable[int] = ()
    """Bodies of the accepted orders; empty where none are remembered."""


COUNTED: Final = (
    "throttle_intents_max",
    "open_orders_max",
    "window_orders_max",
    "window_qty_max",
    "window_notional_max_e4",
    "duplicate_ns",
    "daily_loss_max_e4",
    "drawdown_max_e4",
)
"""Limits that need to know what an account did lately, has open, or has lost."""
OF_EQUITY: Final = ("daily_loss_max_e4", "drawdown_max_e4")
"""Those that need to know what it has lost."""


def is_counted(limits: LimitFields) -> bool:
    """Whether one of them is set."""
    return any(getattr(limits, name) for name in COUNTED)


def is_measured(limits: LimitFields) -> bool:
    """Whether one of those on losses is."""
    return any(getattr(limits, name) for name in OF_EQUITY)


def remembers_bodies(limits: LimitFields) -> bool:
    """Whether an order may be denied for one of the same body."""
    return limits.duplicate_ns > 0


def body_of_order(order: Order) -> int:
    """Stands for all of an order but its id and its time."""
    body = f"{order.symbol} {order.side} {order.order_type} {order.time_in_force} {order.qty} {order.limit_price_e4}"
    if order.min_qty is not None or order.expire_ns is not None:  # others are what rows of older releases remember
        body += f" {order.min_qty} {order.expire_ns}"
    return int.from_bytes(blake2b(body.encode(), digest_size=8).digest(), "big") >> 1


def capped(sum_: int, more: int) -> int:
    """Their sum, or INT64_MAX where it is more."""
    return sum_ + min(more, INT64_MAX - sum_)


def orders_in(levels: bytes) -> int:
    """Number of orders that the levels of one side count."""
    return sum(orders for _, orders in LEVEL.iter_unpack(without_total(levels)))


def open_orders(account: AccountRow | None, position: PositionRow | None, symbol: str) -> int:
    """Open orders of the account in the symbol, of both sides."""
    buys = b"" if account is None else account.buy_prices.get(symbol, b"")
    return orders_in(buys) + (0 if position is None else orders_in(position.sell_prices))


# --- reading ------------------------------------------------------------------------------------------------------


def recent_orders(row: ActivityRow, limits: LimitFields, now_ns: int) -> tuple[int, int, int, int]:
    """Accepted orders within the window, their shares, their notional, and how many bodies are remembered."""
    orders = qty = notional_e4 = 0
    for span in row.spans:
        if span.last_ns > now_ns - limits.window_ns:
            orders += span.orders
            qty, notional_e4 = capped(qty, span.qty), capped(notional_e4, span.notional_e4)
    remembered = sum(len(times_of(row, body, limits, now_ns)) for body in row.bodies)
    return orders, qty, notional_e4, remembered


def recent_intents(row: ActivityRow, symbol: str, limits: LimitFields, now_ns: int) -> int:
    """Intents in the symbol within the period of the throttle."""
    spans = row.sent.get(symbol, ())
    return sum(span.intents for span in spans if span.last_ns > now_ns - limits.throttle_ns)


def times_of(row: ActivityRow, body: int, limits: LimitFields, now_ns: int) -> tuple[int, ...]:
    """When orders of this body were accepted within the period, the newest first; so many as one may be at most."""
    if body not in row.bodies:
        return ()
    return tuple(
        [at_ns for at_ns in (row.bodies[body], *row.earlier.get(body, ())) if now_ns - at_ns < limits.duplicate_ns]
    )[: limits.duplicates_max]


def twins_ns(row: ActivityRow, body: int, limits: LimitFields, now_ns: int) -> tuple[int, ...]:
    """The same, and 0 in the place of each that there was not: ``duplicates_max`` times."""
    times = times_of(row, body, limits, now_ns)
    return (*times, *(0,) * (limits.duplicates_max - len(times)))


def activity_of(row: ActivityRow, order: Order, open_count: int, limits: LimitFields, now_ns: int) -> ActivityFields:
    """Fields that the checks look at. ``open_count``: the account's open orders in the symbol."""
    return ActivityFields(
        *recent_orders(row, limits, now_ns),
        recent_intents(row, order.symbol, limits, now_ns),
        open_count,
        twins_ns(row, body_of_order(order), limits, now_ns)[-1] if remembers_bodies(limits) else 0,
    )


# --- writing ------------------------------------------------------------------------------------------------------


def with_done(row: ActivityRow, done: Done, limits: LimitFields, now_ns: int) -> ActivityRow:
    """The row after it. What is older than its period is forgotten.

    Things done at one instant make the same row whether they are told one by one or together.
    """
    spans = tuple([span for span in row.spans if span.last_ns > now_ns - limits.window_ns])
    if done.orders:
        spans = _with_orders(spans, done, limits.window_ns // SPANS, now_ns)
    sent = {
        symbol: kept
        for symbol, before in row.sent.items()
        if (kept := tuple([span for span in before if span.last_ns > now_ns - limits.throttle_ns]))
    }
    for symbol, intents in done.intents.items():
        sent[symbol] = _with_intents(sent.get(symbol, ()), intents, limits.throttle_ns // SPANS, now_ns)
    bodies, earlier = _with_bodies(row, done.bodies, limits, now_ns)
    return ActivityRow(spans, dict(sorted(sent.items())), bodies, earlier)


def _with_bodies(
    row: ActivityRow, more: Iterable[int], limits: LimitFields, now_ns: int
) -> tuple[dict[int, int], dict[int, tuple[int, ...]]]:
    times = {body: young for body in row.bodies if (young := times_of(row, body, limits, now_ns))}
    for body in more:
        times[body] = (now_ns, *times.get(body, ()))[: limits.duplicates_max]
    ordered = sorted(times.items())
    return {body: each[0] for body, each in ordered}, {body: each[1:] for body, each in ordered if each[1:]}


def _with_orders(spans: tuple[Span, ...], done: Done, width_ns: int, now_ns: int) -> tuple[Span, ...]:
    if not spans or now_ns - spans[-1].begin_ns > width_ns:
        return (*spans, Span(now_ns, now_ns, done.orders, capped(0, done.qty), capped(0, done.notional_e4)))
    last = spans[-1]
    joined = Span(
        last.begin_ns,
        max(last.last_ns, now_ns),
        last.orders + done.orders,
        capped(last.qty, done.qty),
        capped(last.notional_e4, done.notional_e4),
    )
    return (*spans[:-1], joined)


def _with_intents(spans: tuple[Sent, ...], intents: int, width_ns: int, now_ns: int) -> tuple[Sent, ...]:
    if not spans or now_ns - spans[-1].begin_ns > width_ns:
        return (*spans, Sent(now_ns, now_ns, intents))
    last = spans[-1]
    return (*spans[:-1], Sent(last.begin_ns, max(last.last_ns, now_ns), last.intents + intents))
