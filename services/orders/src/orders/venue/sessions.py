"""The end of orders by the exchange's time: DAY orders expire with their session, GTD orders when they say.

The clock row of the partition tells that time, also where nothing happens to a symbol. An order that could trade before
it is reached is looked at there (``stage``).
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice, takewhile
from typing import Final

from common.contracts.values import Side
from streams.model.message import Handled, Output
from streams.model.tables import Tables

from orders.domain.sessions import TradingSession
from orders.domain.venue import Working, expire, expires_by, priority_prefix
from orders.venue.books import book_of, keep, report_output, with_best
from orders.venue.rows import SESSION_KEY

EXPIRED_AT_ONCE: Final = 1_000
"""Orders that one clock row ends, about: the next ones end more, and marks meanwhile end what they would have met."""


def on_session(before: TradingSession | None, now: TradingSession, tables: Tables, now_ns: int) -> Handled:
    """The exchange's clock has come into another session: whatever is not for this one ends.

    The clock may have gone back, by a feed of an earlier day. An order may have come for this session already, by a
    newer clock than the one that is read here.
    """
    sessions = tables.changelogged("session")
    if before is None or before.close_ns == now.close_ns:
        sessions.put(SESSION_KEY, now)
        return

    def is_due(working: Working) -> bool:
        return working.ends_with_session and working.close_ns != now.close_ns

    symbols, due = _symbols_due(tables, is_due)
    for symbol in symbols:
        yield from _expire(tables, symbol, is_due, now_ns)
    if due < EXPIRED_AT_ONCE:
        sessions.put(SESSION_KEY, now)


def on_time(event_ns: int, tables: Tables, now_ns: int) -> Handled:
    """It is ``event_ns`` at the exchange: GTD orders whose time has come end, whatever their symbols do."""
    expired = takewhile(lambda row: expires_by(row[0], event_ns), tables.changelogged("expiries").prefix(b""))
    order_ids = [order_id for _, order_id in islice(expired, EXPIRED_AT_ONCE)]
    if not order_ids:
        return

    def is_due(working: Working) -> bool:
        return not working.ends_with_session and working.has_expired(event_ns, now_ns)

    orders = tables.changelogged("orders")
    symbols: dict[str, None] = {}
    for order_id in order_ids:
        working: Working | None = orders.get(order_id.encode())
        assert working is not None, "an order that will expire is known"
        symbols[working.order.symbol] = None
    for symbol in symbols:
        yield from _expire(tables, symbol, is_due, now_ns)


def _symbols_due(tables: Tables, is_due: Callable[[Working], bool]) -> tuple[list[str], int]:
    """Symbols with orders that are due, and how many of these were counted before the count was enough."""
    orders = tables.changelogged("orders")
    symbols: dict[str, None] = {}
    due = 0
    for _, order_id in tables.changelogged("resting").prefix(b""):
        working: Working | None = orders.get(order_id.encode())
        assert working is not None, "an order that rests is known"
        if is_due(working):
            symbols[working.order.symbol] = None
            due += 1
            if due == EXPIRED_AT_ONCE:
                break
    return list(symbols), due


def _expire(tables: Tables, symbol: str, is_due: Callable[[Working], bool], now_ns: int) -> Iterator[Output]:
    resting, orders = tables.changelogged("resting"), tables.changelogged("orders")
    ended = 0
    for side in Side:
        for key, order_id in list(resting.prefix(priority_prefix(symbol, side))):
            working: Working | None = orders.get(order_id.encode())
            assert working is not None, "an order that rests is known"
            if not is_due(working):
                continue
            expired, report = expire(working, now_ns)
            keep(tables, expired)
            resting.delete(key)
            ended += 1
            yield report_output(report)
    book = book_of(tables, symbol.encode())
    left = replace(book, resting=book.resting - ended)
    for side in Side:
        left = with_best(tables, symbol, side, left)
    tables.changelogged("books").put(symbol.encode(), left)
