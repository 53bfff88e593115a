"""The venue's batch handler: orders that arrive where nobody rests before them, and marks that concern nobody, in runs.

``stage.Venue.handle`` is the rule; ``tests/orders/test_runs.py`` holds the two to each other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from operator import attrgetter

from common.contracts.events import VenueOrder
from common.contracts.market import MARK, mark_clock_key
from common.contracts.topics import MD_MARKS, ORDERS_EXECUTIONS, VENUE_ORDERS, market_partition
from streams.model.blocks import Answers
from streams.model.message import Message
from streams.model.tables import Tables

from orders.answers import Said, ToAccounts, in_runs
from orders.domain.venue import Mark, arrive
from orders.venue.books import book_of
from orders.venue.stage import ExchangeTime, Venue, keep_arrival, shown_mark


class VenueRuns:
    """``framed``: reports are written framed."""

    def __init__(self, venue: Venue, *, framed: bool) -> None:
        self._venue = venue
        self._framed = framed

    def handle_batch(self, batch: Sequence[Message], tables: Tables, now_ns: int) -> Iterator[Answers | int]:
        """See ``streams.model.declaration.BatchHandler``."""
        for topic, group in groupby(batch, attrgetter("topic")):
            messages = list(group)
            if topic is MD_MARKS:
                yield from _marks(messages, tables)
                continue

            def prepare(orders: Sequence[VenueOrder]) -> None:
                tables.changelogged("orders").get_many([each.order_id.encode() for each in orders])

            def begin() -> "_Arrivals":
                return _Arrivals(self._venue, tables, now_ns, framed=self._framed)

            assert topic is VENUE_ORDERS, f"{topic.name} is no input of this stage"
            yield from in_runs(messages, prepare, begin)


def _marks(messages: Sequence[Message], tables: Tables) -> Iterator[Answers | int]:
    """A mark of a symbol of which there is no book says nothing."""
    books, clock_key = tables.changelogged("books"), mark_clock_key(tables.partition)
    silent = 0
    for message in messages:
        key = message.key
        is_mark = key is not None and message.value is not None and len(message.value) == MARK.itemsize
        if is_mark and key is not None and key != clock_key and books.get(key) is None:
            silent += 1
            continue
        if silent:
            yield Answers(silent, ())
            silent = 0
        yield 1
    if silent:
        yield Answers(silent, ())


class _Arrivals:
    """A run of orders. See ``answers.Run``. No mark and no clock comes between them."""

    def __init__(self, venue: Venue, tables: Tables, now_ns: int, *, framed: bool) -> None:
        self._venue, self._tables, self._now_ns = venue, tables, now_ns
        self._orders = tables.changelogged("orders")
        self._markets: dict[str, tuple[Mark, ExchangeTime]] = {}
        """Symbol → the mark that is shown, and the time at which an order that comes now is met."""
        self._said = Said(framed=framed)
        self._reports = ToAccounts(ORDERS_EXECUTIONS, self._said, framed=framed)

    def take(self, number: int, order: VenueOrder) -> bool:
        if market_partition(order.instrument_id) != self._tables.partition:
            return False
        if order.self_match is not None or self._orders.get(order.order_id.encode()) is not None:
            return False
        symbol_key = order.symbol.encode()
        mark, time = self._markets.get(order.symbol) or self._market(order.symbol, symbol_key)
        if time.is_past(order):
            return False
        book = book_of(self._tables, symbol_key)
        market = book.market.moved_to(mark)
        if market is not book.market:
            if book.resting:
                return False  # who rests is served before it
            book = replace(book, market=market)
        try:
            arrival = arrive(order, book, self._now_ns, time.close_ns)
        except ValueError:
            return False
        for report in arrival.reports:
            self._reports.add(number, order.account_id, report)
        keep_arrival(self._tables, arrival)
        return True

    def _market(self, symbol: str, symbol_key: bytes) -> tuple[Mark, ExchangeTime]:
        mark = shown_mark(self._tables, symbol_key)
        found = self._markets[symbol] = mark, self._venue.time(self._tables, mark)
        return found

    def answers(self, messages: int) -> Answers:
        return self._said.answers(messages)
