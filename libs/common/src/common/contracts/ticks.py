"""Tick frames: one Kafka record of ``md.ticks`` carries many fixed-size ticks of one partition.

Layout, version 1, little-endian: a 64-byte header (``FRAME_HEADER``), then ``count`` records of 56 bytes (``TICK``).
The record's key is the partition number in ASCII; ``traceparent`` travels in a Kafka header of that name.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt

FRAME_MAGIC: Final = b"TMFR"
FRAME_VERSION: Final = 1
NO_INSTRUMENT: Final = -1
"""``instrument_id`` of ticks that concern the whole feed; they are written to every partition."""

TICK: Final = np.dtype(
    [
        ("event_ns", "<i8"),  # the exchange's time, ns since the epoch
        ("sequence", "<u8"),  # 1-based index of the message in its feed session; 0 for heartbeats
        ("order_ref", "<u8"),  # order reference number (the original one for U); the symbol, 8 ASCII bytes, for R
        ("aux_ref", "<u8"),  # match number for E, C, P, Q, B; the new reference for U; imbalance shares for I
        ("price_e4", "<i8"),  # 0 where the message carries no price
        ("qty", "<i8"),  # shares; cancelled shares for X; round lot size for R; paired shares for I
        ("instrument_id", "<i4"),
        ("kind", "u1"),  # TickKind
        ("side", "u1"),  # ord('B'), ord('S') or 0
        ("flags", "u1"),  # TickFlag bits
        ("detail", "u1"),  # trading state for H, cross type for Q and I, event code for S, and so on; else 0
    ]
)

FRAME_HEADER: Final = np.dtype(
    [
        ("magic", "S4"),
        ("version", "<u2"),
        ("record_size", "<u2"),
        ("count", "<u4"),
        ("reserved", "<u4"),
        ("feed", "S16"),
        ("first_sequence", "<u8"),  # 0 if the frame holds heartbeats only
        ("last_sequence", "<u8"),
        ("ingest_ns", "<i8"),  # wall clock of ingest when the frame was made
        ("session_ns", "<i8"),  # the exchange's midnight of the session, ns since the epoch
    ]
)


def offset_of(row: np.dtype[Any], field: str) -> int:
    """Bytes before a field of a structured row."""
    assert row.fields is not None, f"{row} has no fields"
    return int(row.fields[field][1])


Ticks = npt.NDArray[Any]
"""One-dimensional array of ``TICK``."""


class TickKind(IntEnum):
    """ITCH 5.0 message types by their ASCII code; 0 is Tidemark's own heartbeat (time passes, nothing happened)."""

    HEARTBEAT = 0
    SYSTEM_EVENT = ord("S")
    STOCK_DIRECTORY = ord("R")
    TRADING_ACTION = ord("H")
    REG_SHO = ord("Y")
    PARTICIPANT_POSITION = ord("L")
    MWCB_DECLINE = ord("V")
    MWCB_STATUS = ord("W")
    IPO_QUOTING = ord("K")
    LULD_COLLAR = ord("J")
    OPERATIONAL_HALT = ord("h")
    ADD = ord("A")
    ADD_WITH_MPID = ord("F")
    EXECUTED = ord("E")
    EXECUTED_WITH_PRICE = ord("C")
    CANCEL = ord("X")
    DELETE = ord("D")
    REPLACE = ord("U")
    TRADE = ord("P")
    CROSS_TRADE = ord("Q")
    BROKEN_TRADE = ord("B")
    IMBALANCE = ord("I")
    RETAIL_INTEREST = ord("N")
    DIRECT_LISTING = ord("O")
    BOOK_CLEAR = ord("Z")
    """Tidemark's own, as the heartbeat is: the source empties the instrument's book, and says anew what is in it."""


class TickFlag(IntEnum):
    """Bits of ``flags``."""

    PRINTABLE = 1  # the execution counts for volume and bars (E, P always; C by its own field; Q where shares > 0)
    ROUND_LOTS_ONLY = 2  # R only
    SESSION_END = 4  # heartbeats only: the feed's session is over, and with it every window that has begun


class FrameError(ValueError):
    """The bytes are not a frame of a version this build reads."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded frame; ``ticks`` is a read-only view of the record's own bytes."""

    feed: str
    ingest_ns: int
    session_ns: int
    ticks: Ticks


def encode_frame(ticks: Ticks, *, feed: str, ingest_ns: int, session_ns: int) -> bytes:
    """Returns header and records as one byte string. ``ticks`` has dtype ``TICK`` and at least one row."""
    if ticks.dtype != TICK or not len(ticks):
        raise FrameError(f"a frame needs one or more records of dtype TICK, got {len(ticks)} of {ticks.dtype}")
    sequences = ticks["sequence"]
    last = int(sequences.max())
    header = np.zeros(1, FRAME_HEADER)
    header[0] = (
        FRAME_MAGIC,
        FRAME_VERSION,
        TICK.itemsize,
        len(ticks),
        0,
        feed.encode("ascii"),
        int(sequences[sequences > 0].min()) if last else 0,
        last,
        ingest_ns,
        session_ns,
    )
    return header.tobytes() + ticks.tobytes()


def decode_frame(value: bytes) -> Frame:
    """Reads one frame without copying the ticks. Raises FrameError with what was wrong."""
    if len(value) < FRAME_HEADER.itemsize:
        raise FrameError(f"{len(value)} bytes are shorter than a frame header of {FRAME_HEADER.itemsize}")
    magic, version, record_size, count, _, feed, _, _, ingest_ns, session_ns = np.frombuffer(
        value, FRAME_HEADER, count=1
    )[0].item()
    if magic != FRAME_MAGIC:
        raise FrameError(f"not a frame: begins with {magic!r}")
    if version != FRAME_VERSION or record_size != TICK.itemsize:
        raise FrameError(f"frame version {version} with {record_size}-byte records is not known to this build")
    if len(value) != FRAME_HEADER.itemsize + count * TICK.itemsize:
        raise FrameError(f"frame of {count} records has {len(value)} bytes")
    return Frame(feed.decode("ascii"), ingest_ns, session_ns, np.frombuffer(value, TICK, offset=FRAME_HEADER.itemsize))


def heartbeat(event_ns: int, *, ends_session: bool = False) -> Ticks:
    """One tick that says: it is ``event_ns`` now, and nothing earlier is still to come. ``ends_session``: nor anything
    later, of this session.
    """
    ticks = np.zeros(1, TICK)
    ticks[0]["flags"] = TickFlag.SESSION_END if ends_session else 0
    ticks[0]["event_ns"] = event_ns
    ticks[0]["instrument_id"] = NO_INSTRUMENT
    ticks[0]["kind"] = TickKind.HEARTBEAT
    return ticks


def symbol_to_ref(symbol: str) -> int:
    """Packs a symbol of at most 8 ASCII characters into the ``order_ref`` of an R tick."""
    return int.from_bytes(symbol.encode("ascii").ljust(8), "little")


def ref_to_symbol(ref: int) -> str:
    """The inverse of ``symbol_to_ref``."""
    return int(ref).to_bytes(8, "little").decode("ascii").rstrip()
