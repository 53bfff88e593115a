"""Flat layouts of the state that the kernels work on. All little-endian; they are also the format of a snapshot.

An instrument has two book sides: row ``2 * instrument_id`` of ``sides`` is its bid, the next row its ask. The price
levels of a side are consecutive rows ``(key, size)`` of one arena, in rising key with the best level last; the key is
the price for bids and minus the price for asks: one code path serves both sides, and the busy end is cheap to shift.
"""

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Row = Any
"""A row of an array of records, as a kernel sees it: its fields are attributes."""
CACHE_LINE: Final = 64


def zeros(shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """Zeros that begin at a cache line, so that a row of a fraction of a line never lies in two of them."""
    wanted = np.dtype(dtype)
    size = int(np.prod(shape)) * wanted.itemsize
    raw = np.zeros(size + CACHE_LINE, np.uint8)
    begin = -raw.ctypes.data % CACHE_LINE
    return raw[begin : begin + size].view(wanted).reshape(shape)


INSTRUMENTS_MAX: Final = 1 << 20
"""Instrument ids are dense; one beyond this is a corrupt frame, not a market."""

ORDER: Final = np.dtype(
    [
        ("ref", "<u8"),
        ("price_e4", "<i8"),
        ("held", "<i8"),  # open shares; 0: the slot is free
        ("side", "<i4"),  # row of ``sides``
        ("reserved", "<i4"),
    ]
)

SIDE: Final = np.dtype(
    [
        ("start", "<i8"),  # first row in the arena of levels
        ("levels", "<i4"),
        ("capacity", "<i4"),
        ("best_e4", "<i8"),  # 0 where the side is empty
        ("best_size", "<i8"),
    ]
)

LISTING: Final = np.dtype(
    [
        ("symbol_ref", "<u8"),  # 8 ASCII bytes as the R message gave them; 0 before it
        ("event_ns", "<i8"),  # exchange time of the last change
        ("last_e4", "<i8"),
        ("open_e4", "<i8"),  # first print of the session
        ("volume", "<i8"),
        ("trading_state", "u1"),  # of the last H message; 0 before it
        ("unsaid", "u1"),  # Changed bits that no mark or depth row has told yet
        ("unseen", "u1"),  # Changed bits that no view has shown yet
        ("noted", "u1"),  # whether a message of the running second has named it
        ("reserved", "u1", (4,)),
        ("padding", "u1", (16,)),  # to a cache line
    ]
)

PRINT: Final = np.dtype(
    [
        ("event_ns", "<i8"),
        ("clock_ns", "<i8"),  # the partition's clock after this message
        ("match", "<u8"),
        ("price_e4", "<i8"),
        ("qty", "<i8"),  # 0: the trade of this match number is broken
        ("message_index", "<i8"),
        ("instrument_id", "<i4"),
        ("aggressor", "<i4"),  # as TRADE says it
    ]
)

QUOTE: Final = np.dtype(
    [
        ("end_ns", "<i8"),  # end of a second in which a message has named the instrument
        ("bid_e4", "<i8"),  # best prices then
        ("ask_e4", "<i8"),
        ("instrument_id", "<i4"),  # -1: the row only says whether the market is open
        ("trading_state", "u1"),
        ("is_closed", "u1"),  # the market's hours have ended
        ("reserved", "u1", (2,)),
    ]
)
"""The quote that the second of an instrument ends with."""

BBO: Final = np.dtype(
    [
        ("message_index", "<i8"),
        ("instrument_id", "<i8"),
        ("bid_e4", "<i8"),
        ("bid_size", "<i8"),
        ("ask_e4", "<i8"),
        ("ask_size", "<i8"),
        ("event_ns", "<i8"),  # exchange time of the message
        ("clock_ns", "<i8"),  # the partition's clock after it
    ]
)

ENTERED: Final = 1
"""Kinds of an action: an order rests in the book (A, F, and the new order of U)."""
CANCELLED: Final = 2
"""Shares of a resting order leave the book, not executed (X, D, and the old order of U)."""
EXECUTED: Final = 3
"""Shares of a resting order are executed (E, C); ``side`` is the resting order's."""
TRADED: Final = 4
"""Shares of an order that is not shown are executed (P)."""
MARKET_CLOSED: Final = 5
"""The market's hours have ended (S with M); of no instrument."""

ACTION: Final = np.dtype(
    [
        ("clock_ns", "<i8"),  # the partition's clock after the message
        ("order_ref", "<u8"),  # 0 where no order is named
        ("price_e4", "<i8"),  # of the order, or of the trade
        ("qty", "<i8"),  # shares that enter, leave or are executed
        ("left", "<i8"),  # shares of the order that rest then
        ("near_e4", "<i8"),  # before the message: the best price of the order's own side (of no side: the best bid)
        ("near_size", "<i8"),
        ("opposite_e4", "<i8"),  # and of the other side (of no side: the best offer); 0 where there is none
        ("opposite_size", "<i8"),
        ("last_e4", "<i8"),  # price of the trade before
        ("instrument_id", "<i4"),  # -1: of the whole market
        ("kind", "i1"),
        ("side", "i1"),  # 1: the order buys; -1: it sells; 0: not known
        ("reserved", "u1", (2,)),
    ]
)
"""An action: a message's on an order, or a trade's; a replacement is two: one order leaves, one enters."""


class BookState(NamedTuple):
    """The books of a partition."""

    orders: Array
    """Hash table of ORDER rows."""
    sides: Array
    """SIDE rows, two an instrument."""
    levels: Array
    """The arena of price levels: (key, size)."""
    free: Array
    """First free segment of each size class."""
    listings: Array
    """LISTING rows by instrument id."""
    waiting: Array
    """Instruments whose changes are to be told: on the log, and in views; and those named in the running second."""
    counters: Array


class Written(NamedTuple):
    """Buffers that a call writes into; one of length 0 is not written."""

    prints: Array
    """PRINT rows: trades that count, and broken ones; always written."""
    changes: Array
    """BBO rows: changes of best prices and sizes."""
    quotes: Array
    """QUOTE rows: what seconds end with."""
    actions: Array
    """ACTION rows: what is done to orders."""


CHANGED_QUOTE: Final = 1
"""Bits of ``unsaid`` and ``unseen``: best price or size, last price, volume or trading state."""
CHANGED_DEPTH: Final = 2
"""One of the ten best levels."""
CHANGED_TRADE: Final = 4
"""A print, or a broken trade."""

STOP_END: Final = 0
"""Why the book kernel came back: all ticks are done."""
STOP_HEARTBEAT: Final = 1
"""A heartbeat was handled; what changed since the one before is to be told."""
STOP_SESSION: Final = 2
"""S with event code O: a new session begins, and everything of the old one is void."""
STOP_SESSION_END: Final = 3
"""A heartbeat was handled that ends the session, and with it every window that has begun."""
STOP_ORDERS: Final = 4
"""The hash table of orders is full; the tick at the returned index is not yet applied."""
STOP_LEVELS: Final = 5
"""The arena of levels is full; likewise."""
