"""The venue stage: a simulator where a session with a real venue would stand.

It reads ``venue.orders`` and writes ``orders.executions``, and nothing else of the fleet knows how an order is filled.
Its market is ``md.marks``, taken twice: as input, so that resting orders are tried again on every mark, and as a global
table, so that an arriving order finds the mark of its symbol although marks that nobody traded on are written nowhere.
The two copies may be apart; the offset of the mark that was used stands in the symbol's book, and an older mark than
that is never used again. So whatever the timing, no share of a mark is sold twice.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from common.contracts.events import ExecutionReport, VenueCancel, VenueOrder
from common.contracts.market import MARK
from common.contracts.topics import MD_MARKS, ORDERS_EXECUTIONS, VENUE_ORDERS, market_partition
from common.contracts.values import Side
from common.runtime.message import Handled, Message, Output
from common.runtime.tables import GlobalRow, Tables

from orders.domain.venue import (
    NO_MARK,
    Mark,
    SymbolBook,
    Working,
    accept,
    cancel,
    limit_of,
    mark_of,
    priority_key,
    priority_prefix,
    refuse_cancel,
    refuse_unknown,
    trade,
    why_not_filled,
)
from orders.rows import ring_key
from orders.venue.rows import CLOSED_REMEMBERED

INPUTS: Final = (VENUE_ORDERS, MD_MARKS)
OUTPUTS: Final = (ORDERS_EXECUTIONS,)


def handle(message: Message, tables: Tables, now_ns: int) -> Handled:
    """Raises ValueError for an order that is not this partition's, or bytes that are no mark."""
    if message.topic is MD_MARKS:
        return _on_mark(message, tables, now_ns)
    request: VenueOrder | VenueCancel = message.body
    if market_partition(request.instrument_id) != tables.partition:
        raise ValueError(f"instrument {request.instrument_id} does not belong on partition {tables.partition}")
    if isinstance(request, VenueCancel):
        return _on_cancel(request, tables, now_ns)
    return _on_order(request, tables, now_ns)


def _on_mark(message: Message, tables: Tables, now_ns: int) -> Handled:
    """Thousands a second arrive, few matter: without a book it costs one look-up; only a trade writes rows."""
    key = message.key
    if key is None or message.value is None or len(message.value) != MARK.itemsize:
        raise ValueError(f"{len(message.value or b'')} bytes under key {key!r} are no mark of {MARK.itemsize} bytes")
    book: SymbolBook | None = tables.changelogged("books").get(key)
    if book is None or message.offset <= book.market.mark.offset:
        return ()
    if not book.resting:
        _forget_if_overtaken(tables, key, book)
        return ()
    moved = replace(book, market=book.market.moved_to(mark_of(message.body, message.offset)))
    if not moved.crossed_sides():
        return ()
    return _matched(tables, key.decode(), moved, now_ns)


def _forget_if_overtaken(tables: Tables, key: bytes, book: SymbolBook) -> None:
    """The taken sizes may be forgotten once no arriving order can be shown their mark again."""
    shown: GlobalRow | None = tables.globals("marks").get(key)
    if shown is not None and shown.offset > book.market.mark.offset:
        tables.changelogged("books").delete(key)


def _matched(tables: Tables, symbol: str, book: SymbolBook, now_ns: int) -> Iterator[Output]:
    """Serves the resting orders of a symbol and keeps its book."""
    for side in book.crossed_sides():
        book, reports = _serve(tables, symbol, side, book, now_ns)
        yield from map(_report_output, reports)
    tables.changelogged("books").put(symbol.encode(), book)


def _serve(
    tables: Tables, symbol: str, side: Side, book: SymbolBook, now_ns: int
) -> tuple[SymbolBook, list[ExecutionReport]]:
    """Resting orders of one side, in priority, until price or size is out of reach."""
    orders, resting = tables.changelogged("orders"), tables.changelogged("resting")
    reports: list[ExecutionReport] = []
    filled: list[bytes] = []
    market = book.market
    for key, order_id in resting.prefix(priority_prefix(symbol, side)):
        waiting: Any = orders.get(order_id.encode())
        working, market, report = trade(waiting, market, now_ns)
        if report is None:
            break
        reports.append(report)
        _keep(tables, working)
        if not working.open:
            filled.append(key)
    for key in filled:
        resting.delete(key)
    served = replace(book, market=market, resting=book.resting - len(filled))
    return (_with_best(tables, symbol, side, served) if filled else served), reports


def _on_order(order: VenueOrder, tables: Tables, now_ns: int) -> Handled:
    orders, books = tables.changelogged("orders"), tables.changelogged("books")
    if orders.get(order.order_id.encode()) is not None:
        return
    symbol_key = order.symbol.encode()
    book = _book(tables, symbol_key)
    working, acknowledged = accept(order, book.next_sequence, now_ns)
    moved = replace(book, market=book.market.moved_to(_shown_mark(tables, symbol_key)))
    if book.resting and moved.market is not book.market:
        # The arriving order is the first to meet this mark; who rests comes before it.
        yield from _matched(tables, order.symbol, moved, now_ns)
        moved = _book(tables, symbol_key)
    yield _report_output(acknowledged)
    working, market, traded = trade(working, moved.market, now_ns)
    if traded is not None:
        yield _report_output(traded)
    book = replace(moved, market=market, next_sequence=book.next_sequence + 1)
    if working.open and working.rests:
        key = priority_key(order.symbol, order.side, order.limit_price_e4, working.sequence)
        tables.changelogged("resting").put(key, order.order_id)
        book = book.joined_by(order.side, order.limit_price_e4)
    elif working.open:
        working, canceled = cancel(working, now_ns, why_not_filled(market))
        yield _report_output(canceled)
    _keep(tables, working)
    if book.resting or not book.market.untouched:
        books.put(symbol_key, book)
    else:
        books.delete(symbol_key)


def _book(tables: Tables, symbol_key: bytes) -> SymbolBook:
    return tables.changelogged("books").get(symbol_key) or SymbolBook()


def _shown_mark(tables: Tables, symbol_key: bytes) -> Mark:
    row: GlobalRow | None = tables.globals("marks").get(symbol_key)
    return mark_of(row.value, row.offset) if row is not None else NO_MARK


def _on_cancel(request: VenueCancel, tables: Tables, now_ns: int) -> Handled:
    working: Working | None = tables.changelogged("orders").get(request.order_id.encode())
    if working is None:
        yield _report_output(refuse_unknown(request, now_ns))
        return
    order = working.order
    if order.account_id != request.account_id:
        raise ValueError(f"order {order.order_id} is not an order of account {request.account_id}")
    if not working.open:
        refused, report = refuse_cancel(working, now_ns)
        tables.changelogged("orders").put(order.order_id.encode(), refused)
        yield _report_output(report)
        return
    ended, report = cancel(working, now_ns)
    _keep(tables, ended)
    key = priority_key(order.symbol, order.side, order.limit_price_e4, working.sequence)
    tables.changelogged("resting").delete(key)
    book = _book(tables, order.symbol.encode())
    left = replace(book, resting=book.resting - 1)
    if order.limit_price_e4 == book.best(order.side):
        left = _with_best(tables, order.symbol, order.side, left)
    tables.changelogged("books").put(order.symbol.encode(), left)
    yield _report_output(report)


def _with_best(tables: Tables, symbol: str, side: Side, book: SymbolBook) -> SymbolBook:
    """The book with the limit of the first in line of a side."""
    first = next(tables.changelogged("resting").prefix(priority_prefix(symbol, side)), None)
    return book.with_best(side, limit_of(first[0], side) if first else 0)


def _keep(tables: Tables, working: Working) -> None:
    """Writes the order; a closed one takes a slot of the ring, and the order that had it is forgotten."""
    orders = tables.changelogged("orders")
    orders.put(working.order.order_id.encode(), working)
    if working.open:
        return
    closed, counts = tables.changelogged("closed"), tables.changelogged("counts")
    count: int = counts.get(b"closed") or 0
    counts.put(b"closed", count + 1)
    slot = ring_key("", count, CLOSED_REMEMBERED)
    forgotten: str | None = closed.get(slot)
    closed.put(slot, working.order.order_id)
    if forgotten is not None:
        orders.delete(forgotten.encode())


def _report_output(report: ExecutionReport) -> Output:
    return Output(ORDERS_EXECUTIONS, report.account_id.encode(), report)
