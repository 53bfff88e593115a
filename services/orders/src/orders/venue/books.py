"""Changes of the venue's tables, for the handlers of orders, marks and the clock."""

from common.contracts.events import ExecutionReport
from common.contracts.topics import ORDERS_EXECUTIONS
from common.contracts.twins import written
from common.contracts.values import Side
from streams.model.message import Output
from streams.model.tables import Tables

from orders.domain.venue import SymbolBook, Working, expiry_key, limit_of, priority_prefix
from orders.rows import ring_key
from orders.venue.rows import CLOSED_REMEMBERED


def book_of(tables: Tables, symbol_key: bytes) -> SymbolBook:
    """The symbol's book; an empty one where nothing rests and nothing was taken."""
    return tables.changelogged("books").get(symbol_key) or SymbolBook()


def with_best(tables: Tables, symbol: str, side: Side, book: SymbolBook) -> SymbolBook:
    """The book with the limit of the first in line of a side."""
    first = next(tables.changelogged("resting").prefix(priority_prefix(symbol, side)), None)
    return book.with_best(side, limit_of(first[0], side) if first else 0)


def keep(tables: Tables, working: Working) -> None:
    """Writes the order; a closed one takes a slot of the ring, and the order that had it is forgotten."""
    orders, order = tables.changelogged("orders"), working.order
    orders.put(order.order_id.encode(), working)
    if order.expire_ns is not None:
        expiries, key = tables.changelogged("expiries"), expiry_key(order.expire_ns, order.order_id)
        if working.open:
            expiries.put(key, order.order_id)
        else:
            expiries.delete(key)
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


def report_output(report: ExecutionReport) -> Output:
    """The record of a report, or of its twin."""
    return Output(ORDERS_EXECUTIONS, report.account_id.encode(), written(report))
