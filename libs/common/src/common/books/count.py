"""Places in the ``counters`` of a partition's books, and which of them tell of damage in the input."""

from typing import Final

CLOCK_NS: Final = 0  # greatest event time so far
TICKS: Final = 1
ORDERS: Final = 2  # open now
ORDERS_LIMIT: Final = 3  # the hash table grows beyond this
LEVELS_USED: Final = 4  # rows of the arena that were ever given out
PRINTS: Final = 5  # rows of the print buffer in use
CHANGES: Final = 6  # rows of the BBO buffer in use
UNSAID: Final = 7  # instruments waiting in the first row of ``waiting``
UNSEEN: Final = 8  # and in the second
RENAMED: Final = 9  # symbols given so far
STOP: Final = 10  # why the kernel came back
UNKNOWN_REF: Final = 11
DUPLICATE_REF: Final = 12
OVER_EXECUTION: Final = 13
BAD_QUANTITY: Final = 14
BAD_SIDE: Final = 15
NO_INSTRUMENT: Final = 16
WRONG_INSTRUMENT: Final = 17
UNPRICED_TRADE: Final = 18
TICKS_AT_BEAT: Final = 19  # TICKS at the heartbeat before
TRADES: Final = 20  # ticks that tell a trade, the refused ones too
REFUSED_TRADES: Final = 21  # of them, those without a price, shares or an instrument: no window sees them
QUOTES: Final = 22  # rows of the buffer of quotes in use
NOTED: Final = 23  # instruments in the third row of ``waiting``
SECOND_ENDS_NS: Final = 24  # end of the running second
IS_CLOSED: Final = 25  # the market's hours have ended
ACTIONS: Final = 26  # rows of the buffer of actions in use
SIZE: Final = 32

ANOMALIES: Final = {
    "unknown_ref": UNKNOWN_REF,  # E C X D U of an order that is not in the book
    "duplicate_ref": DUPLICATE_REF,  # A F U with the reference of an open order; the open one stays
    "over_execution": OVER_EXECUTION,  # E C X of more shares than are open; the order is gone
    "bad_quantity": BAD_QUANTITY,  # an order, cancel or trade of no shares
    "bad_side": BAD_SIDE,  # A F neither buy nor sell
    "no_instrument": NO_INSTRUMENT,  # a message about an instrument that names none
    "wrong_instrument": WRONG_INSTRUMENT,  # E C X D U names another instrument than its order; the order's counts
    "unpriced_trade": UNPRICED_TRADE,  # E of an unknown order: its price is not known, no bar holds it
}
