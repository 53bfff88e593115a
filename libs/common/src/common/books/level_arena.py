"""Price levels of all book sides, in segments of one arena. See ``layout`` for how a side lies in it."""

from typing import Any, Final

from common.books import count
from common.books.layout import STOP_END, STOP_LEVELS, STOP_ORDERS, Array, BookState
from common.kernels import index, part

NONE: Final = -1
"""End of a free list."""
SIZE_CLASSES: Final = 32
"""Segments hold 8 << class rows; a side that outgrows one moves to the next class."""
_FIRST_CAPACITY: Final = 8
_LINEAR_STEPS: Final = 16


@part
def _size_class(capacity: int) -> int:
    size_class = 0
    while (_FIRST_CAPACITY << size_class) < capacity:
        size_class += 1
    return size_class


@part
def missing(book: BookState, side: int) -> Any:
    """Lack of room for one more order on this side: a reason to stop, or STOP_END."""
    counters = book.counters
    if counters[count.ORDERS] >= counters[count.ORDERS_LIMIT]:
        return STOP_ORDERS
    row = book.sides[side]
    if row.levels < row.capacity:
        return STOP_END
    wanted = max(_FIRST_CAPACITY, 2 * row.capacity)
    if book.free[_size_class(wanted)] == NONE and counters[count.LEVELS_USED] + wanted > len(book.levels):
        return STOP_LEVELS
    return STOP_END


@part
def _widen(book: BookState, side: int) -> None:
    """Moves a full side into a segment of twice the size; the old segment joins the free list of its class."""
    levels, free, counters = book.levels, book.free, book.counters
    row = book.sides[side]
    old_start, old_capacity = row.start, row.capacity
    capacity = max(_FIRST_CAPACITY, 2 * old_capacity)
    size_class = _size_class(capacity)
    start = free[size_class]
    if start != NONE:
        free[size_class] = levels[index(start), 0]
    else:
        start = counters[count.LEVELS_USED]
        counters[count.LEVELS_USED] += capacity
    for k in range(row.levels):
        levels[index(start + k), 0] = levels[index(old_start + k), 0]
        levels[index(start + k), 1] = levels[index(old_start + k), 1]
    if old_capacity:
        levels[index(old_start), 0] = free[size_class - 1]
        free[size_class - 1] = old_start
    row.start = start
    row.capacity = capacity


@part
def _seek(levels: Array, start: int, end: int, key: int) -> int:
    """First row in [start, end) whose key is not below ``key``: a few steps from the best end, then halving."""
    row = end
    near = max(start, end - _LINEAR_STEPS)
    while row > near and levels[index(row - 1), 0] >= key:
        row -= 1
    if row > near or row == start:
        return row
    low = start
    while low < row:
        middle = (low + row) >> 1
        if levels[index(middle), 0] < key:
            low = middle + 1
        else:
            row = middle
    return row


@part
def deepen(book: BookState, side: int, price: int, qty: int) -> Any:
    """Adds shares to a level. Returns the level's distance from the best; the side's own best is not yet updated."""
    levels = book.levels
    row = book.sides[side]
    key = -price if side & 1 else price
    end = row.start + row.levels
    at = _seek(levels, row.start, end, key)
    if at < end and levels[index(at), 0] == key:
        levels[index(at), 1] += qty
        return end - 1 - at
    rank = end - at
    if row.levels == row.capacity:
        _widen(book, side)
        end = row.start + row.levels
        at = end - rank
    for k in range(end, at, -1):
        levels[index(k), 0] = levels[index(k - 1), 0]
        levels[index(k), 1] = levels[index(k - 1), 1]
    levels[index(at), 0] = key
    levels[index(at), 1] = qty
    row.levels += 1
    return rank


@part
def thin(book: BookState, side: int, price: int, qty: int) -> Any:
    """Takes shares from a level, which goes when none are left. Returns its distance from the best."""
    levels = book.levels
    row = book.sides[side]
    key = -price if side & 1 else price
    end = row.start + row.levels
    at = _seek(levels, row.start, end, key)
    levels[index(at), 1] -= qty
    if levels[index(at), 1] == 0:
        for k in range(at, end - 1):
            levels[index(k), 0] = levels[index(k + 1), 0]
            levels[index(k), 1] = levels[index(k + 1), 1]
        row.levels -= 1
    return end - 1 - at
