"""The venue stage: a simulator where a session with a real venue would stand.

It reads ``venue.orders`` and writes ``orders.executions``, and nothing else of the fleet knows how an order is filled.
Its market is ``md.marks``, taken twice: as input, so that resting orders are tried again on every mark, and as a global
table, so that an arriving order finds the mark of its symbol although marks that nobody traded on are written nowhere.
The two copies may be apart; the offset of the mark that was used stands in the symbol's book, and an older mark than
that is never used again. So whatever the timing, no share of a mark is sold twice.

What time it is at the exchange is in the marks, too: in each mark, and in the partition's clock row, which comes when
nothing else does. DAY orders end by that time, at the close of the session for which they came, and GTD orders at the
time that they say.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final, NamedTuple

from common.contracts.events import ExecutionReport, VenueCancel, VenueOrder
from common.contracts.market import MARK, mark_clock_key
from common.contracts.topics import MD_MARKS, ORDERS_EXECUTIONS, VENUE_ORDERS, market_partition
from common.contracts.values import SelfMatch, Side
from streams.model.message import Handled, Message, Output
from streams.model.tables import GlobalRow, Tables

from orders.domain.sessions import Calendar, TradingSession
from orders.domain.venue import (
    CANCELED_AS_OLDEST,
    NO_MARK,
    Arrival,
    Mark,
    SymbolBook,
    Working,
    accept,
    arrive,
    arrive_late,
    cancel,
    expire,
    limit_of,
    mark_of,
    meets,
    other_side,
    priority_key,
    priority_prefix,
    refuse_cancel,
    refuse_unknown,
    stopped_by_own,
    trade,
)
from orders.venue import sessions
from orders.venue.books import book_of, keep, report_output, with_best
from orders.venue.rows import SESSION_KEY
from orders.wire import read

INPUTS: Final = (VENUE_ORDERS, MD_MARKS)
OUTPUTS: Final = (ORDERS_EXECUTIONS,)


class ExchangeTime(NamedTuple):
    """Time at the exchange, and the close at which a DAY order that comes now ends."""

    event_ns: int
    close_ns: int

    def is_past(self, order: VenueOrder) -> bool:
        """Whether the order expired on its way here."""
        return order.expire_ns is not None and self.event_ns >= order.expire_ns


class Venue:
    """The stage's handler, with the calendar of the venue's sessions."""

    def __init__(self, calendar: Calendar) -> None:
        self._calendar = calendar

    def handle(self, message: Message, tables: Tables, now_ns: int) -> Handled:
        """Raises ValueError for an order that is not this partition's, or bytes that are no mark."""
        if message.topic is MD_MARKS:
            return self._on_mark(message, tables, now_ns)
        request = _request(message)
        if market_partition(request.instrument_id) != tables.partition:
            raise ValueError(f"instrument {request.instrument_id} does not belong on partition {tables.partition}")
        if isinstance(request, VenueCancel):
            return _on_cancel(request, f"{message.partition}-{message.offset}", tables, now_ns)
        mark = shown_mark(tables, request.symbol.encode())
        return _on_order(request, mark, self.time(tables, mark), tables, now_ns)

    def _on_mark(self, message: Message, tables: Tables, now_ns: int) -> Handled:
        """Thousands a second arrive, few matter: without a book it costs one look-up; only a trade writes rows."""
        key = message.key
        if key is None or message.value is None or len(message.value) != MARK.itemsize:
            size = len(message.value or b"")
            raise ValueError(f"{size} bytes under key {key!r} are no mark of {MARK.itemsize} bytes")
        book: SymbolBook | None = tables.changelogged("books").get(key)
        if book is None:
            return self._on_clock(message, tables, now_ns) if key == mark_clock_key(tables.partition) else ()
        if message.offset <= book.market.mark.offset:
            return ()
        if not book.resting:
            _forget_if_overtaken(tables, key, book)
            return ()
        moved = replace(book, market=book.market.moved_to(mark_of(message.body, message.offset)))
        if not moved.crossed_sides():
            return ()
        return _matched(tables, key.decode(), moved, now_ns)

    def _on_clock(self, message: Message, tables: Tables, now_ns: int) -> Handled:
        event_ns = mark_of(message.body, message.offset).event_ns
        if not event_ns:
            return
        yield from sessions.on_time(event_ns, tables, now_ns)
        session: TradingSession | None = tables.changelogged("session").get(SESSION_KEY)
        if session is None or not session.contains(event_ns):
            yield from sessions.on_session(session, self._calendar.session_at(event_ns), tables, now_ns)

    def time(self, tables: Tables, mark: Mark) -> ExchangeTime:
        """The time at which an order that comes now is met; zeros where the exchange's time was never heard."""
        clock: GlobalRow | None = tables.globals("marks").get(mark_clock_key(tables.partition))
        # The first marks of a day come before its first clock row.
        event_ns = max(mark.event_ns, mark_of(clock.value, clock.offset).event_ns if clock else 0)
        session: TradingSession | None = tables.changelogged("session").get(SESSION_KEY)
        if session is not None and session.contains(event_ns):
            return ExchangeTime(event_ns, session.close_ns)
        return ExchangeTime(event_ns, self._calendar.session_at(event_ns).close_ns if event_ns else 0)


def _request(message: Message) -> VenueOrder | VenueCancel:
    """An order's twin, where it can be read as that."""
    twin: VenueOrder | None = read(message)
    request: VenueOrder | VenueCancel = message.body if twin is None else twin
    return request


def _forget_if_overtaken(tables: Tables, key: bytes, book: SymbolBook) -> None:
    """The taken sizes may be forgotten once no arriving order can be shown their mark again."""
    shown: GlobalRow | None = tables.globals("marks").get(key)
    if shown is not None and shown.offset > book.market.mark.offset:
        tables.changelogged("books").delete(key)


def _matched(tables: Tables, symbol: str, book: SymbolBook, now_ns: int) -> Iterator[Output]:
    """Serves the resting orders of a symbol and keeps its book."""
    for side in book.crossed_sides():
        book, reports = _serve(tables, symbol, side, book, now_ns)
        yield from map(report_output, reports)
    tables.changelogged("books").put(symbol.encode(), book)


def _serve(
    tables: Tables, symbol: str, side: Side, book: SymbolBook, now_ns: int
) -> tuple[SymbolBook, list[ExecutionReport]]:
    """Resting orders of one side, in priority, until price or size is out of reach.

    The first mark after a close may come before the clock row: what ended with the session does not trade on it.
    """
    orders, resting = tables.changelogged("orders"), tables.changelogged("resting")
    reports: list[ExecutionReport] = []
    gone: list[bytes] = []
    market = book.market
    for key, order_id in resting.prefix(priority_prefix(symbol, side)):
        waiting: Any = orders.get(order_id.encode())
        if not market.crossed_by(side, limit_of(key, side)):
            break
        report: ExecutionReport | None
        if waiting.has_expired(market.mark.event_ns, now_ns):
            working, report = expire(waiting, now_ns)
        else:
            working, market, report = trade(waiting, market, now_ns)
        assert report is not None, "it crosses the market and is open"
        reports.append(report)
        keep(tables, working)
        if not working.open:
            gone.append(key)
    for key in gone:
        resting.delete(key)
    served = replace(book, market=market, resting=book.resting - len(gone))
    return (with_best(tables, symbol, side, served) if gone else served), reports


def _on_order(order: VenueOrder, mark: Mark, time: ExchangeTime, tables: Tables, now_ns: int) -> Handled:
    if tables.changelogged("orders").get(order.order_id.encode()) is not None:
        return
    symbol_key = order.symbol.encode()
    book = book_of(tables, symbol_key)
    moved = replace(book, market=book.market.moved_to(mark))
    if book.resting and moved.market is not book.market:
        # The arriving order is the first to meet this mark; who rests comes before it.
        accept(order, book.next_sequence, now_ns, time.close_ns)  # one that is refused moves nothing
        yield from _matched(tables, order.symbol, moved, now_ns)
        moved = book_of(tables, symbol_key)
    own = [] if order.self_match is None or time.is_past(order) else own_met(order, moved, tables)
    if time.is_past(order):
        arrival = arrive_late(order, moved, now_ns)
    elif own and order.self_match is SelfMatch.CANCEL_NEWEST:
        arrival = stopped_by_own(order, moved, own[0].order.limit_price_e4, now_ns, time.close_ns)
    else:
        if own:
            accept(order, moved.next_sequence, now_ns, time.close_ns)  # one that is refused cancels nothing
        for resting in own:
            yield from _end(resting, tables, now_ns, CANCELED_AS_OLDEST)
        arrival = arrive(order, book_of(tables, symbol_key) if own else moved, now_ns, time.close_ns)
    yield from map(report_output, arrival.reports)
    keep_arrival(tables, arrival)


def own_met(order: VenueOrder, book: SymbolBook, tables: Tables) -> list[Working]:
    """Resting orders of the arriving order's account that it meets, the first in line first."""
    side, found = other_side(order.side), list[Working]()
    if not book.best(side):
        return found
    orders, own = tables.changelogged("orders"), f"{order.account_id}."
    for key, order_id in tables.changelogged("resting").prefix(priority_prefix(order.symbol, side)):
        if not meets(order, limit_of(key, side)):
            break
        if order_id.startswith(own):
            working: Working | None = orders.get(order_id.encode())
            assert working is not None, "who rests is known"
            found.append(working)
    return found


def keep_arrival(tables: Tables, arrival: Arrival) -> None:
    """Writes the order and the book of its symbol."""
    working, book = arrival.working, arrival.book
    order, books = working.order, tables.changelogged("books")
    if arrival.rests:
        key = priority_key(order.symbol, order.side, order.limit_price_e4, working.sequence)
        tables.changelogged("resting").put(key, order.order_id)
    keep(tables, working)
    if book.resting or not book.market.untouched:
        books.put(order.symbol.encode(), book)
    else:
        books.delete(order.symbol.encode())


def shown_mark(tables: Tables, symbol_key: bytes) -> Mark:
    """The mark that an arriving order finds."""
    row: GlobalRow | None = tables.globals("marks").get(symbol_key)
    return mark_of(row.value, row.offset) if row is not None else NO_MARK


def _on_cancel(request: VenueCancel, place: str, tables: Tables, now_ns: int) -> Handled:
    working: Working | None = tables.changelogged("orders").get(request.order_id.encode())
    if working is None:
        yield report_output(refuse_unknown(request, place, now_ns))
        return
    order = working.order
    if order.account_id != request.account_id:
        raise ValueError(f"order {order.order_id} is not an order of account {request.account_id}")
    if not working.open:
        refused, report = refuse_cancel(working, now_ns)
        tables.changelogged("orders").put(order.order_id.encode(), refused)
        yield report_output(report)
        return
    yield from _end(working, tables, now_ns)


def _end(working: Working, tables: Tables, now_ns: int, text: str = "") -> Handled:
    """Cancels an order that rests, and takes it out of its symbol's book."""
    order = working.order
    ended, report = cancel(working, now_ns, text)
    keep(tables, ended)
    key = priority_key(order.symbol, order.side, order.limit_price_e4, working.sequence)
    tables.changelogged("resting").delete(key)
    book = book_of(tables, order.symbol.encode())
    left = replace(book, resting=book.resting - 1)
    if order.limit_price_e4 == book.best(order.side):
        left = with_best(tables, order.symbol, order.side, left)
    tables.changelogged("books").put(order.symbol.encode(), left)
    yield report_output(report)
