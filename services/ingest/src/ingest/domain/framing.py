"""Cuts a stream of bytes into ITCH messages.

Two framings are in use: NASDAQ's BinaryFILE and MoldUDP64 message blocks put a 2-byte big-endian length before each
message; some archives put two zero bytes there instead, and the length follows from the message type. Under length
framing every message can be stepped over. Where damage has made the lengths wrong, or a type is unknown under the
zero-length framing, the next whole messages are found again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ingest.domain.anomalies import Anomaly, AnomalyKind, Report
from ingest.domain.itch_spec import LENGTHS
from ingest.domain.recognise import recognised
from ingest.kernels import kernel

PREFIX: Final = 2
SHORTEST_FRAME: Final = PREFIX + int(LENGTHS[LENGTHS > 0].min())
SAMPLE_MESSAGES: Final = 16
"""How many messages decide which framing a stream has."""

STEPPED_OVER_MAX: Final = 128
"""Longest message of a type or length that the specification does not have that is stepped over by its length. The
specification's own take 50 bytes at most; what claims to be much longer is damage, not a newer message."""
_FOUND_AGAIN: Final = 2
"""Whole messages in a row, each of its type's own length, by which a damaged stream is found again. One by chance takes
some million bytes, two by chance do not happen."""
_FOUND_AGAIN_BY_TYPE: Final = 3
"""As many under the zero-length framing, whose prefixes are like the zeros in many a number."""
_OK, _DAMAGED = 0, 1


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
def find_again(data: Any, position: int, stop: int, by_type: Any, wanted: int) -> tuple[int, bool]:
    """The first place from ``position`` on, before ``stop``, where ``wanted`` whole messages follow each other, each
    of its type's own length.

    Returns (place, whether it is one). If not, nothing before the place can be one, whatever comes after ``data``.
    """
    size = len(data)
    while position < stop and position + 3 <= size:
        at = position
        found = 0
        while found < wanted and at + 3 <= size:
            length = int(data[at]) << 8 | int(data[at + 1])
            if length == 0 or by_type[data[at + 2]] != length:
                break
            at += 2 + length
            found += 1
        if found == wanted and at <= size:
            return position, True
        if found == wanted or at + 3 > size:
            return position, False
        position += 1
    return position, False


@kernel
def find_again_by_type(data: Any, position: int, stop: int, by_type: Any, wanted: int) -> tuple[int, bool]:
    """Likewise under zero-length framing: each has a known type, and zeros before it."""
    size = len(data)
    while position < stop and position + 3 <= size:
        at = position
        found = 0
        while found < wanted and at + 3 <= size:
            length = int(by_type[data[at + 2]])
            if length == 0 or data[at] != 0 or data[at + 1] != 0:
                break
            at += 2 + length
            found += 1
        if found == wanted and at <= size:
            return position, True
        if found == wanted or at + 3 > size:
            return position, False
        position += 1
    return position, False


@kernel
def _could_be_a_message(data: Any, position: int, length: int, by_type: Any) -> bool:
    """Whether a frame of an unknown type or length may be stepped over: it is short, frames follow it, and no whole
    messages begin inside it.
    """
    size = len(data)
    after = position + 2 + length
    if length > STEPPED_OVER_MAX or find_again(data, position + 1, after, by_type, _FOUND_AGAIN)[1]:
        return False
    at = after
    while at + 3 <= size:
        following = int(data[at]) << 8 | int(data[at + 1])
        if following == 0 or following > STEPPED_OVER_MAX:
            return following == 0
        if by_type[data[at + 2]] == following:
            return True
        at += 2 + following
    return True


@kernel
def scan_lengths(data: Any, position: int, starts: Any, lengths: Any, by_type: Any) -> tuple[int, int, int, int, int]:
    """Finds messages under length framing from ``position``.

    Returns (messages, position reached, zero lengths stepped over, position of the first of them, status): the status
    is ``_DAMAGED`` where what stands at the position reached is no frame.
    """
    size = len(data)
    count = 0
    markers = 0
    first_marker = -1
    status = _OK
    while position + 2 <= size and count < len(starts):
        length = int(data[position]) << 8 | int(data[position + 1])
        if length == 0:
            markers += 1
            if first_marker < 0:
                first_marker = position
            position += 2
            continue
        if position + 2 >= size:
            break
        if by_type[data[position + 2]] != length and not _could_be_a_message(data, position, length, by_type):
            status = _DAMAGED
            break
        if position + 2 + length > size:
            break
        starts[count] = position + 2
        lengths[count] = length
        count += 1
        position += 2 + length
    return count, position, markers, first_marker, status


@kernel
def scan_types(data: Any, position: int, starts: Any, lengths: Any, by_type: Any) -> tuple[int, int, int]:
    """Finds messages under zero-length framing. Returns (messages, position reached, status), as ``scan_lengths``."""
    size = len(data)
    count = 0
    while position + 3 <= size and count < len(starts):
        length = int(by_type[data[position + 2]])
        if length == 0 or data[position] != 0 or data[position + 1] != 0:
            return count, position, _DAMAGED
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
    count, _, _, _, _ = scan_lengths(data, 0, starts, lengths, LENGTHS)
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


def _found_again(
    framing: Framing, data: npt.NDArray[np.uint8], position: int, stop: int, wanted: int
) -> tuple[int, bool]:
    """``find_again`` of a framing."""
    find = find_again if framing is Framing.LENGTH else find_again_by_type
    place, is_found = find(data, position, stop, LENGTHS, wanted)
    return int(place), bool(is_found)


def _last_message(framing: Framing, data: npt.NDArray[np.uint8]) -> int:
    """Begin of a single whole message that ends with ``data``; the end of ``data`` if there is none."""
    for place in range(len(data) - PREFIX):
        ends = place + PREFIX + int(LENGTHS[data[place + PREFIX]]) == len(data)
        if ends and _found_again(framing, data, place, place + 1, 1)[1]:
            return place
    return len(data)


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
        self._damage: int | None = None
        """Byte offset at which damage begins that is not over yet."""

    def feed(self, chunk: bytes) -> Iterator[Block]:
        """Whole messages so far. Raises FramingError where the stream cannot be read on, after what stood before."""
        held = self._carry + chunk if self._carry else chunk
        if self.framing is None:
            if len(held) < SHORTEST_FRAME:
                self._carry = held
                return
            self.framing = self._recognised(held)
        yield from self._messages(held, self.framing)

    def finish(self) -> list[Block]:
        """The stream is over: reports what is left of a message cut short, and what damage has swallowed.

        Returns the message that stands, after damage, at the very end of the stream.
        """
        blocks: list[Block] = []
        if self._damage is not None and self.framing is not None:
            tail, self._carry = self._carry, b""
            place = _last_message(self.framing, np.frombuffer(tail, np.uint8))
            self.offset += place
            self._over()
            blocks = list(self._messages(tail[place:], self.framing))
        if self._carry:
            detail = f"{len(self._carry)} bytes left of message {self.sequence}"
            self._report.add(Anomaly(AnomalyKind.TRUNCATED, self.offset, self.sequence, detail))
            self._carry = b""
        return blocks

    def _recognised(self, head: bytes) -> Framing:
        """The framing of a stream that begins with ``head``. Raises FramingError where it is none, and says what the
        bytes seem to be.
        """
        if framing := detect_framing(head):
            return framing
        what = recognised(head)
        if what is None and find_again(np.frombuffer(head, np.uint8), 0, len(head), LENGTHS, 2 * _FOUND_AGAIN)[1]:
            self._damage = self.offset  # the beginning is damaged, not the rest
            return Framing.LENGTH
        hint = f" (this is {what})" if what else ""
        raise FramingError(f"neither framing of ITCH 5.0 is recognised{hint}", self.offset)

    def _messages(self, held: bytes, framing: Framing) -> Iterator[Block]:
        """Gives out the whole messages of ``held``, and keeps what follows them."""
        wanted = _FOUND_AGAIN if framing is Framing.LENGTH else _FOUND_AGAIN_BY_TYPE
        data = np.frombuffer(held, np.uint8)
        position = 0
        while True:
            if self._damage is not None:
                place, is_found = _found_again(framing, data, position, len(data), wanted)
                self.offset += place - position
                position = place
                if not is_found:
                    break
                self._over()
            block, reached, markers, status = self._scan(data, position)
            if status == _DAMAGED:
                if len(block) and _found_again(framing, data, int(block.starts[-1]) - 1, reached, wanted)[1]:
                    # A message that has lost bytes still looks whole, and swallows the beginning of the next one:
                    # messages are found again before its end, so it belongs to the damage.
                    reached = int(block.starts[-1]) - PREFIX
                block, reached, markers, _ = self._scan(data[:reached], position)
                self._damage = self.offset + reached - position
            if markers[0]:
                self._report.add(Anomaly(AnomalyKind.END_MARKER, self.offset + markers[1] - position), markers[0])
            self.offset += reached - position
            if len(block):
                self.sequence += len(block)
                yield block
            elif self._damage is None:
                position = reached
                break
            position = reached
        self._carry = held[position:]

    def _over(self) -> None:
        """The damage ends here. What it took counts as one message."""
        begin = self.offset if self._damage is None else self._damage
        size, self._damage = self.offset - begin, None
        if size:
            detail = f"{size} bytes are no messages; the next one begins at byte {self.offset}"
            self._report.add(Anomaly(AnomalyKind.SKIPPED_BYTES, begin, self.sequence, detail), size)
            self.sequence += 1

    def _scan(self, data: npt.NDArray[np.uint8], position: int) -> tuple[Block, int, tuple[int, int], int]:
        """(messages, position reached, (zero lengths, position of the first), status)."""
        capacity = (len(data) - position) // SHORTEST_FRAME + 1
        starts = np.empty(capacity, np.int32)
        lengths = np.empty(capacity, np.uint16)
        markers, status = (0, 0), _OK
        if self.framing is Framing.ZERO:
            count, reached, status = scan_types(data, position, starts, lengths, LENGTHS)
        else:
            count, reached, *found, status = scan_lengths(data, position, starts, lengths, LENGTHS)
            markers = (found[0], found[1])
        base = self.offset - position
        return Block(data, starts[:count], lengths[:count], self.sequence, base), reached, markers, status
