"""The kernel of the order books: one pass over the ticks, on the arrays of ``layout.py``.

The kernel never fails for want of room: it comes back before the tick that needs more, the arrays grow, and it goes on
from there. A crossed book (auctions) is a valid state.

Rules: Nasdaq TotalView-ITCH 5.0, sections 1.3 (add), 1.4 (modify) and 1.5 (trades).
"""

from typing import Any, Final

import numpy as np

from common.books import count
from common.books.actions import act
from common.books.kernels import kernel
from common.books.layout import (
    CHANGED_DEPTH,
    CHANGED_QUOTE,
    CHANGED_TRADE,
    STOP_END,
    STOP_HEARTBEAT,
    STOP_SESSION,
    STOP_SESSION_END,
    Array,
    BookState,
    Row,
    Written,
)
from common.books.level_arena import deepen, missing, thin
from common.books.prefetch import prefetch
from common.books.quotes import note
from common.books.ref_table import home, slot_of, vacate
from common.contracts.market import DEPTH_LEVELS
from common.contracts.ticks import TickFlag, TickKind
from common.kernels import part

_HEARTBEAT: Final = int(TickKind.HEARTBEAT)
_ADD: Final = int(TickKind.ADD)
_ADD_MPID: Final = int(TickKind.ADD_WITH_MPID)
_EXECUTED: Final = int(TickKind.EXECUTED)
_EXECUTED_AT: Final = int(TickKind.EXECUTED_WITH_PRICE)
_CANCEL: Final = int(TickKind.CANCEL)
_DELETE: Final = int(TickKind.DELETE)
_REPLACE: Final = int(TickKind.REPLACE)
_TRADE: Final = int(TickKind.TRADE)
_CROSS: Final = int(TickKind.CROSS_TRADE)
_BROKEN: Final = int(TickKind.BROKEN_TRADE)
_DIRECTORY: Final = int(TickKind.STOCK_DIRECTORY)
_ACTION: Final = int(TickKind.TRADING_ACTION)
_SYSTEM: Final = int(TickKind.SYSTEM_EVENT)
_CLEAR: Final = int(TickKind.BOOK_CLEAR)
_PRINTABLE: Final = int(TickFlag.PRINTABLE)
_ENDS: Final = int(TickFlag.SESSION_END)
_BUY: Final = ord("B")
_SELL: Final = ord("S")
_SESSION_START: Final = ord("O")

_DEPTH: Final = DEPTH_LEVELS
INT64_MAX: Final = (1 << 63) - 1
"""Sums of shares stop here: a row holds no more."""
_FAR: Final = 24
"""How many ticks ahead an order's slot and its instrument are asked for; memory is slower than the whole rest."""
_NEAR: Final = 12
"""How many ticks ahead the levels are asked for: by then the instrument has come."""


@part
def _touch(book: BookState, instrument: int, event_ns: int, bits: int) -> None:
    """Notes what changed; an instrument enters each queue once, at the time of its first untold change."""
    waiting, counters = book.waiting, book.counters
    listing = book.listings[instrument]
    listing.event_ns = event_ns
    if listing.unsaid == 0:
        waiting[0, counters[count.UNSAID]] = instrument
        counters[count.UNSAID] += 1
    if listing.unseen == 0:
        waiting[1, counters[count.UNSEEN]] = instrument
        counters[count.UNSEEN] += 1
    listing.unsaid |= bits
    listing.unseen |= bits


@part
def _settle(tick: Row, side: int, rank: int, book: BookState, changes: Array) -> None:
    """After a message has changed a level at ``rank``: the new best, and who must be told."""
    if rank >= _DEPTH:
        return
    sides, levels = book.sides, book.levels
    row = sides[side]
    best, size = 0, 0
    if row.levels:
        last = row.start + row.levels - 1
        best = -levels[last, 0] if side & 1 else levels[last, 0]
        size = levels[last, 1]
    bits = CHANGED_DEPTH
    if best != row.best_e4 or size != row.best_size:
        row.best_e4 = best
        row.best_size = size
        bits |= CHANGED_QUOTE
        if len(changes):
            change = changes[book.counters[count.CHANGES]]
            book.counters[count.CHANGES] += 1
            bid, ask = sides[side & ~1], sides[side | 1]
            change.message_index = np.int64(tick.sequence)
            change.instrument_id = side >> 1
            change.bid_e4 = bid.best_e4
            change.bid_size = bid.best_size
            change.ask_e4 = ask.best_e4
            change.ask_size = ask.best_size
            change.event_ns = tick.event_ns
            change.clock_ns = book.counters[count.CLOCK_NS]
    _touch(book, side >> 1, tick.event_ns, bits)


@part
def _enter(tick: Row, side: int, ref: int, book: BookState) -> Any:
    """Puts an order on its level. Returns the level's rank, or a rank that nobody sees where the order is refused."""
    counters = book.counters
    if tick.qty <= 0:
        counters[count.BAD_QUANTITY] += 1
        return _DEPTH
    slot = slot_of(book.orders, ref)
    order = book.orders[slot]
    if order.held != 0:
        counters[count.DUPLICATE_REF] += 1
        return _DEPTH
    order.ref = ref
    order.price_e4 = tick.price_e4
    order.held = tick.qty
    order.side = side
    counters[count.ORDERS] += 1
    return deepen(book, side, tick.price_e4, tick.qty)


@part
def _leave(slot: int, qty: int, book: BookState) -> Any:
    """Takes ``qty`` of an order's open shares off its level; the slot is freed with the last one."""
    order = book.orders[slot]
    rank = thin(book, order.side, order.price_e4, qty)
    if qty == order.held:
        book.counters[count.ORDERS] -= 1
        vacate(book.orders, slot)
    else:
        order.held -= qty
    return rank


@part
def _refuse(is_trade: Any, counters: Array) -> None:
    """Accounts for a tick that tells a trade which no window can hold."""
    counters[count.TRADES] += is_trade
    counters[count.REFUSED_TRADES] += is_trade


@part
def _report(tick: Row, instrument: int, price: int, aggressor: int, book: BookState, prints: Array) -> None:
    """A trade that counts for volume: the last price, and a row for the bars. ``aggressor``: as TRADE says it."""
    counters = book.counters
    counters[count.TRADES] += 1
    if tick.qty <= 0:
        counters[count.BAD_QUANTITY] += 1
        counters[count.REFUSED_TRADES] += 1
        return
    row = prints[counters[count.PRINTS]]
    counters[count.PRINTS] += 1
    row.event_ns = tick.event_ns
    row.clock_ns = counters[count.CLOCK_NS]
    row.match = tick.aux_ref
    row.price_e4 = price
    row.qty = tick.qty
    row.message_index = np.int64(tick.sequence)
    row.instrument_id = instrument
    row.aggressor = aggressor
    listing = book.listings[instrument]
    listing.last_e4 = price
    listing.volume = tick.qty + min(listing.volume, INT64_MAX - tick.qty)
    if listing.open_e4 == 0:
        listing.open_e4 = price
    _touch(book, instrument, tick.event_ns, CHANGED_QUOTE | CHANGED_TRADE)


@part
def _modify(tick: Row, book: BookState, prints: Array, changes: Array) -> Any:
    """E, C, X, D and U. Returns a reason to stop if there is no room yet; then nothing has been done."""
    kind, counters = tick.kind, book.counters
    prints_at_own_price = kind == _EXECUTED_AT and tick.flags & _PRINTABLE != 0
    slot = slot_of(book.orders, tick.order_ref)
    order = book.orders[slot]
    if order.held == 0:
        counters[count.UNKNOWN_REF] += 1
        counters[count.UNPRICED_TRADE] += kind == _EXECUTED
        _refuse(kind == _EXECUTED, counters)
        if prints_at_own_price:
            _report(tick, tick.instrument_id, tick.price_e4, 0, book, prints)
        return STOP_END
    side = order.side
    if kind == _REPLACE:
        lacking = missing(book, side)
        if lacking != STOP_END:
            return lacking
    if side >> 1 != tick.instrument_id:
        counters[count.WRONG_INSTRUMENT] += 1
    if kind == _EXECUTED or prints_at_own_price:
        price = order.price_e4 if kind == _EXECUTED else tick.price_e4
        _report(tick, side >> 1, price, 2 * (side & 1) - 1, book, prints)
    if kind in (_DELETE, _REPLACE):
        rank = _leave(slot, order.held, book)
        if kind == _REPLACE:
            rank = min(rank, _enter(tick, side, tick.aux_ref, book))
    elif tick.qty <= 0:
        counters[count.BAD_QUANTITY] += kind == _CANCEL
        return STOP_END
    else:
        counters[count.OVER_EXECUTION] += tick.qty > order.held
        rank = _leave(slot, min(tick.qty, order.held), book)
    _settle(tick, side, rank, book, changes)
    return STOP_END


@part
def _clear(tick: Row, book: BookState, changes: Array) -> None:
    """Every order of the instrument leaves. Freeing a slot may move another order into it, so it is looked at again.

    Both sides change at once: whichever had a best price reports it, so that a tick makes one row of ``changes``.
    """
    orders, bid, ask = book.orders, 2 * tick.instrument_id, 2 * tick.instrument_id + 1
    for slot in range(len(orders)):
        while orders[slot].held != 0 and orders[slot].side >> 1 == tick.instrument_id:
            _leave(slot, orders[slot].held, book)
    if book.sides[bid].best_size:
        book.sides[ask].best_e4 = 0
        book.sides[ask].best_size = 0
        _settle(tick, bid, 0, book, changes)
    else:
        _settle(tick, ask, 0, book, changes)


@part
def _other(tick: Row, book: BookState, prints: Array, changes: Array) -> None:
    """Everything that does not touch a single order."""
    kind, listings, counters = tick.kind, book.listings, book.counters
    instrument = tick.instrument_id
    if instrument < 0:
        counters[count.NO_INSTRUMENT] += kind in (_TRADE, _CROSS, _DIRECTORY, _ACTION, _CLEAR)
        _refuse(kind == _TRADE or (kind == _CROSS and tick.qty > 0), counters)
    elif kind == _TRADE or (kind == _CROSS and tick.qty > 0):
        _report(tick, instrument, tick.price_e4, 0, book, prints)
    elif kind == _DIRECTORY:
        counters[count.RENAMED] += listings[instrument].symbol_ref != tick.order_ref
        listings[instrument].symbol_ref = tick.order_ref
    elif kind == _ACTION and listings[instrument].trading_state != tick.detail:
        listings[instrument].trading_state = tick.detail
        _touch(book, instrument, tick.event_ns, CHANGED_QUOTE)
    elif kind == _CLEAR:
        _clear(tick, book, changes)
    if kind == _BROKEN:
        row = prints[counters[count.PRINTS]]
        counters[count.PRINTS] += 1
        row.event_ns = tick.event_ns
        row.clock_ns = counters[count.CLOCK_NS]
        row.match = tick.aux_ref
        row.qty = 0
        row.message_index = np.int64(tick.sequence)
        row.instrument_id = instrument
        row.aggressor = 0
        if instrument >= 0:
            _touch(book, instrument, tick.event_ns, CHANGED_QUOTE | CHANGED_TRADE)


@part
def _look_ahead(far: Row, near: Row, book: BookState) -> None:
    """Begins to load what later ticks will touch. It changes nothing but the time they take."""
    orders, sides, levels = book.orders, book.sides, book.levels
    prefetch(orders, home(orders, far.order_ref))
    if far.kind == _REPLACE:
        prefetch(orders, home(orders, far.aux_ref))
    if far.instrument_id >= 0:
        prefetch(sides, 2 * far.instrument_id)
        prefetch(book.listings, far.instrument_id)
    if near.instrument_id >= 0:
        for side in range(2 * near.instrument_id, 2 * near.instrument_id + 2):
            end = sides[side].start + sides[side].levels
            prefetch(levels, 2 * end)
            prefetch(levels, 2 * (end - 4))


@part
def _tell_clocks(tick: Row, clocks: Array) -> None:
    """The clock of the tick's partition comes to its time; that of every one, where it is of no instrument."""
    if tick.instrument_id < 0:
        for each in range(len(clocks)):
            clocks[each] = max(clocks[each], tick.event_ns)
    else:
        own = np.uint32(tick.instrument_id) % np.uint32(len(clocks))
        clocks[own] = max(clocks[own], tick.event_ns)


@part
def _end_session(counters: Array, clocks: Array) -> None:
    """Every clock passes what was before the end, if by a nanosecond: what comes after is told by its clock."""
    counters[count.CLOCK_NS] += 1
    for each in range(len(clocks)):
        clocks[each] += 1


@part
def _stamp(row: Row, event_ns: int, clocks: Array) -> None:
    """A print, and a change of a best price, has the clock of its order's stock, whatever stock the message names."""
    own = np.uint32(max(0, row.instrument_id)) % np.uint32(len(clocks))
    clocks[own] = max(clocks[own], event_ns)
    row.clock_ns = clocks[own]


@kernel
def apply_ticks(ticks: Array, start: int, book: BookState, written: Written, clocks: Array) -> int:
    """Applies ticks from ``start`` on; returns the index of the first that is not applied, and says in
    ``counters[count.STOP]`` why. ``clocks``: of each partition, where the books are of several; prints have its.
    """
    prints, changes, quotes, actions = written.prints, written.changes, written.quotes, written.actions
    counters = book.counters
    partitions = np.uint32(len(clocks))
    for i in range(start, len(ticks)):
        if i + _FAR < len(ticks):
            _look_ahead(ticks[i + _FAR], ticks[i + _NEAR], book)
        tick = ticks[i]
        kind = tick.kind
        if kind == _SYSTEM and tick.detail == _SESSION_START:
            counters[count.TICKS] += 1
            counters[count.STOP] = STOP_SESSION
            return i + 1
        is_end = kind == _HEARTBEAT and tick.flags & _ENDS != 0
        if is_end:
            _end_session(counters, clocks)
        counters[count.CLOCK_NS] = max(counters[count.CLOCK_NS], tick.event_ns)
        printed, changed = counters[count.PRINTS], counters[count.CHANGES]
        if partitions:
            _tell_clocks(tick, clocks)
        if len(quotes):
            note(tick, book, quotes)
        acted = act(tick, book, actions) if len(actions) else 0
        stop = STOP_END
        if kind == _HEARTBEAT:
            stop = STOP_SESSION_END if is_end else STOP_HEARTBEAT
        elif kind in (_ADD, _ADD_MPID):
            if tick.instrument_id < 0:
                counters[count.NO_INSTRUMENT] += 1
            elif tick.side != _BUY and tick.side != _SELL:
                counters[count.BAD_SIDE] += 1
            else:
                side = 2 * tick.instrument_id + (tick.side == _SELL)
                stop = missing(book, side)
                if stop == STOP_END:
                    _settle(tick, side, _enter(tick, side, tick.order_ref, book), book, changes)
        elif kind in (_EXECUTED, _EXECUTED_AT, _CANCEL, _DELETE, _REPLACE):
            if tick.instrument_id < 0:
                counters[count.NO_INSTRUMENT] += 1
                _refuse(kind == _EXECUTED or (kind == _EXECUTED_AT and tick.flags & _PRINTABLE != 0), counters)
            else:
                stop = _modify(tick, book, prints, changes)
        else:
            _other(tick, book, prints, changes)
        if partitions and counters[count.PRINTS] > printed:
            _stamp(prints[printed], tick.event_ns, clocks)
        if partitions and counters[count.CHANGES] > changed:
            _stamp(changes[changed], tick.event_ns, clocks)
        is_applied = stop <= STOP_SESSION_END
        counters[count.TICKS] += is_applied
        counters[count.ACTIONS] += acted * is_applied
        if stop != STOP_END:
            counters[count.STOP] = stop
            return i + is_applied
    counters[count.STOP] = STOP_END
    return len(ticks)
