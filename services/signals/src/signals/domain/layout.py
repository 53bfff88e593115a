"""Flat layouts of the state of bars, beside the books' (``common.books.layout``). All little-endian; they are also the
format of a snapshot.
"""

from typing import Final

import numpy as np
from common.books.layout import Array as Array
from common.books.layout import Row as Row

TRADE: Final = np.dtype(
    [
        ("match", "<u8"),
        ("event_ns", "<i8"),
        ("clock_ns", "<i8"),  # the partition's clock when it was booked; a window that had ended by then is late
        ("broken_ns", "<i8"),  # the clock when it was broken; 0: it stands
        ("price_e4", "<i8"),
        ("qty", "<i8"),
        ("older", "<i8"),  # number of the trade before it in event time, of the same instrument; -1: there is none
        ("newer", "<i8"),
        ("instrument_id", "<i4"),
        ("aggressor", "<i4"),  # 1: a buyer took a resting offer; -1: a seller a resting bid; 0: not known
    ]
)

SLICE: Final = np.dtype(
    [
        ("end_ns", "<i8"),
        ("close_e4", "<i8"),
        ("volume", "<i8"),
        ("notional_e4", "<i8"),
        ("squared_return", "<i8"),  # from the slice before; set by who judges it
        ("instrument_id", "<i4"),
        ("reserved", "<i4"),
    ]
)
"""Trades of an instrument in one second, as they were known when it ended."""

SPAN: Final = np.dtype(
    [
        ("begin_ns", "<i8"),
        ("end_ns", "<i8"),
        ("bid_e4", "<i8"),  # 0 where the side is empty
        ("bid_size", "<i8"),
        ("ask_e4", "<i8"),
        ("ask_size", "<i8"),
        ("before_bid_e4", "<i8"),
        ("before_bid_size", "<i8"),
        ("before_ask_e4", "<i8"),
        ("before_ask_size", "<i8"),
        ("changed", "<i8"),  # whether it begins with the change to these prices
    ]
)
"""A time through which the best prices and sizes of an instrument stood as they were; of a partition's clock."""

MATCH: Final = np.dtype([("ref", "<u8"), ("held", "<i8")])  # held: the trade's number, counted from 1

RESTATED: Final = np.dtype(
    [
        ("start_ns", "<i8"),
        ("place", "<i8"),  # of the window and the instrument, counted from 1; 0: nothing is remembered here
        ("newest", "<i8"),  # number of its newest trade by event time
        ("trades", "<i8"),
        ("revision", "<i8"),
    ]
)
"""A bar that was restated, remembered: not part of a snapshot."""
