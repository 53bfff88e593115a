"""Parts of the kernel of the books: what a message does to an order, as it is known before it is done."""

from typing import Any, Final

from common.books import count
from common.books.layout import CANCELLED, ENTERED, EXECUTED, MARKET_CLOSED, TRADED, Array, BookState, Row
from common.books.ref_table import slot_of
from common.contracts.ticks import TickKind
from common.kernels import part

_ADDS: Final = (int(TickKind.ADD), int(TickKind.ADD_WITH_MPID))
_EXECUTIONS: Final = (int(TickKind.EXECUTED), int(TickKind.EXECUTED_WITH_PRICE))
_EXECUTED_AT: Final = int(TickKind.EXECUTED_WITH_PRICE)
_REPLACE: Final = int(TickKind.REPLACE)
_WHOLE: Final = (int(TickKind.DELETE), _REPLACE)
_CANCELS: Final = (int(TickKind.CANCEL), *_WHOLE)
_TRADE: Final = int(TickKind.TRADE)
_SYSTEM: Final = int(TickKind.SYSTEM_EVENT)
_BUY: Final = ord("B")
_SELL: Final = ord("S")
_HOURS_END: Final = ord("M")


@part
def _write(book: BookState, actions: Array, place: int, kind: int, side: int, price_e4: int, qty: int) -> Any:
    """``side``: row of ``sides``; the instrument's first, where the side is not known. Returns the row."""
    action = actions[book.counters[count.ACTIONS] + place]
    near, opposite = book.sides[side], book.sides[side ^ 1]
    action.clock_ns = book.counters[count.CLOCK_NS]
    action.instrument_id = side >> 1
    action.kind = kind
    action.side = 1 - 2 * (side & 1)
    action.price_e4 = price_e4
    action.qty = qty
    action.near_e4 = near.best_e4
    action.near_size = near.best_size
    action.opposite_e4 = opposite.best_e4
    action.opposite_size = opposite.best_size
    action.last_e4 = book.listings[side >> 1].last_e4
    return action


@part
def _enter(tick: Row, book: BookState, actions: Array, place: int, side: int, ref: int) -> None:
    entered = _write(book, actions, place, ENTERED, side, tick.price_e4, tick.qty)
    entered.order_ref = ref
    entered.left = tick.qty


@part
def _modify(tick: Row, book: BookState, actions: Array) -> int:
    kind = tick.kind
    order = book.orders[slot_of(book.orders, tick.order_ref)]
    is_whole = kind in _WHOLE
    if order.held == 0 or (not is_whole and tick.qty <= 0):
        return 0
    qty = order.held if is_whole else min(tick.qty, order.held)
    is_execution = kind in _EXECUTIONS
    price = tick.price_e4 if kind == _EXECUTED_AT else order.price_e4
    left = _write(book, actions, 0, EXECUTED if is_execution else CANCELLED, order.side, price, qty)
    left.order_ref = tick.order_ref
    left.left = order.held - qty
    if kind != _REPLACE or tick.qty <= 0:
        return 1
    if tick.aux_ref != tick.order_ref and book.orders[slot_of(book.orders, tick.aux_ref)].held != 0:
        return 1
    _enter(tick, book, actions, 1, order.side, tick.aux_ref)
    return 2


@part
def act(tick: Row, book: BookState, actions: Array) -> int:
    """Writes what the message is about to do, behind the rows that count. Returns how many rows: whoever applies the
    message counts them then. A message that the book will refuse does nothing.
    """
    kind, instrument = tick.kind, tick.instrument_id
    if instrument < 0:
        if kind == _SYSTEM and tick.detail == _HOURS_END:
            closed = actions[book.counters[count.ACTIONS]]
            closed.clock_ns = book.counters[count.CLOCK_NS]
            closed.kind = MARKET_CLOSED
            closed.instrument_id = -1
            closed.side = closed.price_e4 = closed.qty = closed.left = closed.order_ref = closed.last_e4 = 0
            closed.near_e4 = closed.near_size = closed.opposite_e4 = closed.opposite_size = 0
            return 1
        return 0
    if kind in _ADDS:
        is_sound = (tick.side == _BUY or tick.side == _SELL) and tick.qty > 0
        if not is_sound or book.orders[slot_of(book.orders, tick.order_ref)].held != 0:
            return 0
        _enter(tick, book, actions, 0, 2 * instrument + (tick.side == _SELL), tick.order_ref)
        return 1
    if kind in _EXECUTIONS or kind in _CANCELS:
        written: int = _modify(tick, book, actions)
        return written
    if kind == _TRADE and tick.qty > 0:
        traded = _write(book, actions, 0, TRADED, 2 * instrument, tick.price_e4, tick.qty)
        traded.order_ref = traded.left = traded.side = 0
        return 1
    return 0
