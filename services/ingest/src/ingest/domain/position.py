"""Where a feed session stands: what is written to the changelog with every batch, and read after a crash."""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final

import numpy as np

VERSION: Final = 1


class PositionError(ValueError):
    """The bytes are no position of a version this build reads."""


@dataclass(frozen=True, slots=True)
class Position:
    """``sequence`` and ``offset`` are those of the next message: of the stream, or of the packet line's session."""

    feed: str
    session_ns: int
    sequence: int = 1
    offset: int = 0
    line: str = ""
    """MoldUDP64 session."""
    framing: str = ""
    last_event_ns: int = 0
    closed: bool = False
    """The session's closing heartbeat is out."""
    locates: bytes = b""
    """Stock locate code to instrument id, packed."""
    ended: bool = False
    """The day's end of messages was seen."""

    def encode(self) -> bytes:
        """A line of JSON, then the packed locate codes."""
        head = {name: getattr(self, name) for name in _HEAD}
        return json.dumps({"v": VERSION, **head}, separators=(",", ":")).encode() + b"\n" + self.locates


_HEAD: Final = tuple(place.name for place in fields(Position) if place.name != "locates")


def decode_position(value: bytes) -> Position:
    """Raises PositionError."""
    line, _, packed = value.partition(b"\n")
    try:
        head = json.loads(line)
        if head.pop("v") != VERSION:
            raise PositionError("a position of another version")
        unpack_locates(packed)
        return Position(**head, locates=packed)
    except (ValueError, TypeError, KeyError, AttributeError, zlib.error) as error:
        raise PositionError(f"no feed position: {value[:80]!r}") from error


def pack_locates(locates: Mapping[int, int]) -> bytes:
    """Differences, deflated: both columns mostly grow by one, and 8,000 instruments take some hundred bytes."""
    if not locates:
        return b""
    table = np.array(sorted(locates.items()), "<i4").reshape(-1, 2)
    return zlib.compress(np.diff(table, axis=0, prepend=np.zeros((1, 2), "<i4")).astype("<i4").tobytes())


def unpack_locates(packed: bytes) -> dict[int, int]:
    """The inverse of ``pack_locates``."""
    if not packed:
        return {}
    steps = np.frombuffer(zlib.decompress(packed), "<i4").reshape(-1, 2)
    return {int(locate): int(instrument) for locate, instrument in np.cumsum(steps, axis=0, dtype=np.int64)}
