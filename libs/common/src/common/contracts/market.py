"""Market outputs of signals: bars, measures and book depths as frames, marks as one fixed-size record per symbol.

All little-endian. A record of ``md.bars``, ``md.measures``, ``md.sessions``, ``md.phases``, ``md.late`` or ``md.books``
is a plain array of ``BAR``, ``MEASURED``, ``SESSION``, ``PHASE``, ``LATE`` or ``DEPTH`` rows of one partition (key: the
partition number in ASCII).
A record of ``md.marks`` is one ``MARK`` row; its key is the symbol, or
``@{partition}`` for the clock row of a partition (``instrument_id`` = -1): a mark is stale when that clock is.
"""

from enum import StrEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt

DEPTH_LEVELS: Final = 10

TRADED: Final = (
    ("open_e4", "<i8"),
    ("high_e4", "<i8"),
    ("low_e4", "<i8"),
    ("close_e4", "<i8"),
    ("volume", "<i8"),
    ("notional_e4", "<i8"),  # sum of price_e4 x shares
)
"""Columns of what the trades of a window are worth, whatever its kind; zeros where it has none."""

ISSUED: Final = (
    ("instrument_id", "<i4"),
    ("trades", "<i4"),  # 0: the row is taken back
    ("revision", "<i4"),  # 0 when first issued; one more each time that it is restated or taken back
    ("reserved", "<i4"),
)
"""Columns of how often a window whose bounds its trades or events make was issued."""

BAR: Final = np.dtype(
    [
        ("symbol", "S16"),
        ("window_start_ns", "<i8"),
        ("window_ns", "<i8"),
        *TRADED,
        ("instrument_id", "<i4"),
        ("trades", "<i4"),
        ("revision", "<i4"),  # 0 when first issued; one more each time a broken trade restates the bar
        ("reserved", "<i4"),
    ]
)

MEASURED: Final = np.dtype(
    [
        ("symbol", "S16"),
        ("measure", "S32"),  # which of its numbers, as the measure's ``results`` name it
        ("window_start_ns", "<i8"),
        ("window_ns", "<i8"),
        ("value", "<i8"),
        ("instrument_id", "<i4"),
        ("revision", "<i4"),  # of the bar that it was issued with
    ]
)
"""A number of a measure that ``BAR`` has no column for, of an issued bar."""

SESSION: Final = np.dtype(
    [
        ("symbol", "S16"),
        ("gap_ns", "<i8"),  # trades of a session are less than this apart
        ("start_ns", "<i8"),  # time of its first trade: with symbol and gap what names it
        ("end_ns", "<i8"),  # a gap after its last trade
        ("into_ns", "<i8"),  # of one without a trade: start of the session that has its trades now; 0: none has
        *TRADED,
        *ISSUED,
    ]
)
"""A session window: trades of a symbol of which each is less than a gap behind the one before."""

PHASE: Final = np.dtype(
    [
        ("symbol", "S16"),
        ("window", "S32"),  # its name in the table of windows
        ("begun_by", "S8"),  # "open", "close", "halt", "resume", or "session": with that of the feed
        ("ended_by", "S8"),  # likewise; empty where it goes on
        ("start_ns", "<i8"),  # time of what began it: with symbol and window what names it
        ("end_ns", "<i8"),  # time of what ended it; 0: it goes on
        *TRADED,
        *ISSUED,
    ]
)
"""A triggered window: trades of a symbol from one event of the market, or of the symbol, to the next."""

LATE: Final = np.dtype(
    [
        ("symbol", "S16"),
        ("reason", "S16"),  # a LateReason
        ("event_ns", "<i8"),
        ("clock_ns", "<i8"),  # the partition's clock when it came
        ("match", "<u8"),
        ("price_e4", "<i8"),
        ("qty", "<i8"),
        ("instrument_id", "<i4"),
        ("reserved", "<i4"),
    ]
)
"""A trade that came too late for every window."""


class LateReason(StrEnum):
    """Why no window holds a trade."""

    BEYOND_LATENESS = "beyond_lateness"
    """It is earlier than the clock by more than the allowed lateness."""
    LEFT_LOG = "left_log"
    """The log of trades no longer holds the whole of any of its windows."""


LEVEL: Final = np.dtype([("price_e4", "<i8"), ("size", "<i8")])

DEPTH: Final = np.dtype(
    [
        ("symbol", "S16"),
        ("instrument_id", "<i4"),
        ("bid_levels", "<i2"),
        ("ask_levels", "<i2"),
        ("event_ns", "<i8"),
        ("ingest_ns", "<i8"),
        ("bids", LEVEL, (DEPTH_LEVELS,)),  # best first; rows beyond bid_levels are zero
        ("asks", LEVEL, (DEPTH_LEVELS,)),
    ]
)

MARK: Final = np.dtype(
    [
        ("symbol", "S16"),
        ("instrument_id", "<i4"),
        ("trading_state", "u1"),  # ord('T') trading, 'H' halted, 'P' paused, 'Q' quotation only; 0 never said
        ("reserved", "u1", (3,)),
        ("event_ns", "<i8"),  # exchange time of the last change
        ("ingest_ns", "<i8"),  # wall clock of ingest at the heartbeat that issued the mark
        ("bid_e4", "<i8"),  # 0 where the side is empty
        ("bid_size", "<i8"),
        ("ask_e4", "<i8"),
        ("ask_size", "<i8"),
        ("last_e4", "<i8"),  # 0 before the first print
        ("volume", "<i8"),  # shares printed in the session so far
    ]
)

Bars = npt.NDArray[Any]
Measured = npt.NDArray[Any]
Lates = npt.NDArray[Any]
Depths = npt.NDArray[Any]
Marks = npt.NDArray[Any]


class RowsError(ValueError):
    """The bytes are not a whole number of rows."""


def encode_rows(rows: npt.NDArray[Any]) -> bytes:
    """The rows' own bytes."""
    return rows.tobytes()


def decode_rows(dtype: np.dtype[Any], value: bytes) -> npt.NDArray[Any]:
    """A read-only view of the rows in ``value``. Raises RowsError if the length does not fit."""
    if not value or len(value) % dtype.itemsize:
        raise RowsError(f"{len(value)} bytes are no whole number of {dtype.itemsize}-byte rows")
    return np.frombuffer(value, dtype)


def vwap_e4(notional_e4: int, volume: int) -> int:
    """Volume-weighted average price, truncated to 1e-4; 0 where nothing was traded."""
    return notional_e4 // volume if volume else 0


def mark_clock_key(partition: int) -> bytes:
    """Key of the clock row of one partition of ``md.marks``."""
    return b"@%d" % partition
