"""Cuts a stream of bytes into ITCH messages.

Two framings are in use: NASDAQ's BinaryFILE and MoldUDP64 message blocks put a 2-byte big-endian length before each
message; some archives put two zero bytes there instead, and the length follows from the message type. Under length
framing every message can be stepped over; under the zero-length one an unknown type leaves no way on.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ingest.domain.anomalies import Anomaly, AnomalyKind, Report
from ingest.domain.itch_spec import LENGTHS
from ingest.kernels import kernel

PREFIX: Final = 2
SHORTEST_FRAME: Final = PREFIX + int(LENGTHS[LENGTHS > 0].min())
SAMPLE_MESSAGES: Final = 16
"""How many messages decide which framing a stream has."""

_OK, _UNKNOWN_TYPE = 0, 1


class Framing(StrEnum):
    LENGTH = "length"
    ZERO = "zero"


class FramingError(ValueError):
    """The stream cannot be read on from ``offset`` (bytes from its start)."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(f"{message} at byte {offset}")
        self.offset = offset

    @classmethod
    def at(cls, message: str, offset: int) -> "FramingError":
        """With a message that names its place itself."""
        error = cls(message, offset)
        error.args = (message,)
        return error


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive messages in one buffer.

    Message i is ``data[starts[i] : starts[i] + lengths[i]]`` and has sequence ``first_sequence + i``; ``base`` is the
    byte offset of ``data[0]`` in the feed, or -1 on a packet line.
    """

    data: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int32]
    lengths: npt.NDArray[np.uint16]
    first_sequence: int
    base: int

    def __len__(self) -> int:
        return len(self.starts)

    def offset(self, index: int) -> int:
        """Byte offset in the feed of the frame of message ``index`` (its length prefix); -1 on a packet line."""
        return self.base + int(self.starts[index]) - PREFIX if self.base >= 0 else -1

    def end(self, count: int) -> int:
        """Byte offset in the feed after the first ``count`` (one or more) messages; -1 on a packet line."""
        return self.base + int(self.starts[count - 1]) + int(self.lengths[count - 1]) if self.base >= 0 else -1


@kernel
def scan_lengths(data: Any, position: int, starts: Any, lengths: Any) -> tuple[int, int, int, int]:
    """Finds messages under length framing from ``position``.

    Returns (messages, position reached, zero lengths stepped over, position of the first of them).
    """
    size = len(data)
    count = 0
    markers = 0
    first_marker = -1
    while position + 2 <= size and count < len(starts):
        length = int(data[position]) << 8 | int(data[position + 1])
        if position + 2 + length > size:
            break
        if length == 0:
            markers += 1
            if first_marker < 0:
                first_marker = position
        else:
            starts[count] = position + 2
            lengths[count] = length
            count += 1
        position += 2 + length
    return count, position, markers, first_marker


@kernel
def scan_types(data: Any, position: int, starts: Any, lengths: Any, by_type: Any) -> tuple[int, int, int]:
    """Finds messages under zero-length framing. Returns (messages, position reached, 1 if an unknown type stops it)."""
    size = len(data)
    count = 0
    while position + 3 <= size and count < len(starts):
        length = int(by_type[data[position + 2]])
        if length == 0 or data[position] != 0 or data[position + 1] != 0:
            return count, position, _UNKNOWN_TYPE
        if position + 2 + length > size:
            break
        starts[count] = position + 2
        lengths[count] = length
        count += 1
        position += 2 + length
    return count, position, _OK


def detect_framing(head: bytes) -> Framing | None:
    """The framing under which the first messages of ``head`` are ITCH; None if that is so under neither."""
    starts = np.empty(SAMPLE_MESSAGES, np.int32)
    lengths = np.empty(SAMPLE_MESSAGES, np.uint16)
    data = np.frombuffer(head, np.uint8)
    zero, _, _ = scan_types(data, 0, starts, lengths, LENGTHS)
    count, _, _, _ = scan_lengths(data, 0, starts, lengths)
    valid = int(np.count_nonzero(LENGTHS[data[starts[:count]]] == lengths[:count])) if count else 0
    if zero > valid:
        return Framing.ZERO
    return Framing.LENGTH if valid else None


@kernel
def scan_message_blocks(data: Any, count: int, starts: Any, lengths: Any) -> tuple[int, int]:
    """Finds up to ``count`` MoldUDP64 message blocks, empty ones too, since each has a sequence number.

    Returns (blocks that are whole, bytes they take).
    """
    position = 0
    for index in range(count):
        if position + 2 > len(data):
            return index, position
        length = int(data[position]) << 8 | int(data[position + 1])
        if position + 2 + length > len(data):
            return index, position
        starts[index] = position + 2
        lengths[index] = length
        position += 2 + length
    return count, position


def packet_block(payload: bytes, count: int, first_sequence: int) -> Block:
    """The ``count`` message blocks of a packet, or of packets without a gap between them; fewer if some are cut off."""
    data = np.frombuffer(payload, np.uint8)
    starts = np.empty(count, np.int32)
    lengths = np.empty(count, np.uint16)
    whole, _ = scan_message_blocks(data, count, starts, lengths)
    return Block(data, starts[:whole], lengths[:whole], first_sequence, -1)


class Framer:
    """Takes a stream in chunks of any size and gives blocks of whole messages; memory is bounded by the chunk.

    ``offset`` and ``sequence`` place the first byte given: 0 and 1 for the start of a feed.
    """

    def __init__(self, report: Report, framing: Framing | None = None, *, offset: int = 0, sequence: int = 1) -> None:
        self.framing = framing
        self.offset = offset
        """Byte offset up to which messages were given out."""
        self.sequence = sequence
        """Sequence of the next message."""
        self._report = report
        self._carry = b""

    def feed(self, chunk: bytes) -> Iterator[Block]:
        """Whole messages so far. Raises FramingError where the stream cannot be read on, after what stood before."""
        held = self._carry + chunk if self._carry else chunk
        if self.framing is None:
            if len(held) < SHORTEST_FRAME:
                self._carry = held
                return
            self.framing = detect_framing(held)
            if self.framing is None:
                raise FramingError("neither framing of ITCH 5.0 is recognised", self.offset)
        data = np.frombuffer(held, np.uint8)
        position = 0
        while True:
            block, reached = self._scan(data, position)
            self.offset += reached - position
            self._carry = held[reached:] if reached < len(held) else b""
            if len(block):
                self.sequence += len(block)
                yield block
            if reached == position:
                break
            position = reached
        if self.framing is Framing.ZERO and len(self._carry) >= PREFIX + 1:
            self._refuse_unknown()

    def finish(self) -> None:
        """The stream is over: reports what is left of a message cut short."""
        if self._carry:
            detail = f"{len(self._carry)} bytes left of message {self.sequence}"
            self._report.add(Anomaly(AnomalyKind.TRUNCATED, self.offset, self.sequence, detail))
            self._carry = b""

    def _scan(self, data: npt.NDArray[np.uint8], position: int) -> tuple[Block, int]:
        capacity = (len(data) - position) // SHORTEST_FRAME + 1
        starts = np.empty(capacity, np.int32)
        lengths = np.empty(capacity, np.uint16)
        if self.framing is Framing.ZERO:
            count, reached, _ = scan_types(data, position, starts, lengths, LENGTHS)
        else:
            count, reached, markers, first = scan_lengths(data, position, starts, lengths)
            if markers:
                self._report.add(Anomaly(AnomalyKind.END_MARKER, self.offset + first - position), markers)
        base = self.offset - position
        return Block(data, starts[:count], lengths[:count], self.sequence, base), reached

    def _refuse_unknown(self) -> None:
        prefix, kind = self._carry[:PREFIX], self._carry[PREFIX]
        if prefix == b"\0\0" and LENGTHS[kind]:
            return
        what = f"unknown message type {chr(kind)!r}" if prefix == b"\0\0" else f"length {prefix.hex()} instead of zeros"
        self._report.add(Anomaly(AnomalyKind.UNKNOWN_TYPE, self.offset, self.sequence, what))
        raise FramingError(f"{what} under zero-length framing, which cannot be stepped over,", self.offset)
