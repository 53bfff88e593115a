"""Raw ITCH 5.0: messages one after the other, without any length between them. No I/O here.

A message's type says its length, so that an unknown type leaves no certain way on. What follows it is searched for the
next place from which ``AGREEING`` messages in a row have known types and stamps that do not jump.
"""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from ingest.domain.anomalies import Anomaly, AnomalyKind, Report
from ingest.domain.framing import PREFIX, Block
from ingest.domain.itch_spec import LENGTHS
from ingest.kernels import kernel

AGREEING: Final = 4
_LONGEST: Final = int(LENGTHS.max())
_STAMP_JUMP_MAX: Final = 60_000_000_000
_DAY_NS: Final = 86_400_000_000_000
_AT, _LENGTH = 0, 1


@kernel
def _stamp(data: Any, at: int) -> int:
    stamp = 0
    for byte in range(at + 5, at + 11):
        stamp = stamp << 8 | int(data[byte])
    return stamp


@kernel
def agrees(data: Any, position: int, by_type: Any) -> bool:
    """Whether ``AGREEING`` plausible messages begin at ``position``; a stream that ends in between is no witness."""
    before = -1
    for _ in range(AGREEING):
        if position >= len(data):
            return before >= 0
        length = int(by_type[data[position]])
        if length == 0 or position + length > len(data):
            return False
        stamp = _stamp(data, position)
        if stamp >= _DAY_NS or (before >= 0 and not before <= stamp <= before + _STAMP_JUMP_MAX):
            return False
        before = stamp
        position += length
    return True


@kernel
def scan_unframed(data: Any, position: int, starts: Any, lengths: Any, by_type: Any) -> tuple[int, int]:
    """Returns (messages, position reached); short of the end an unknown type stands there, or a message is cut off."""
    size = len(data)
    count = 0
    while position < size and count < len(starts):
        length = int(by_type[data[position]])
        if length == 0 or position + length > size:
            break
        starts[count] = position
        lengths[count] = length
        count += 1
        position += length
    return count, position


@kernel
def find_next(data: Any, position: int, by_type: Any) -> int:
    """The first place behind ``position`` where messages agree, or the end of the data."""
    position += 1
    while position < len(data) and not agrees(data, position, by_type):
        position += 1
    return position


class Unframed:
    """Takes a stream in chunks and gives blocks of whole messages."""

    def __init__(self, report: Report) -> None:
        self.offset = 0
        self.sequence = 1
        self._report = report
        self._carry = b""

    def feed(self, chunk: bytes, *, is_last: bool = False) -> Iterator[Block]:
        """Whole messages so far; each call consumes them, what is lost between them, or waits for more."""
        held = self._carry + chunk
        data = np.frombuffer(held, np.uint8)
        position = 0
        reserve = 0 if is_last else AGREEING * _LONGEST
        while position < len(data):
            starts, lengths = np.empty(len(data) // 11 + 1, np.int32), np.empty(len(data) // 11 + 1, np.uint16)
            count, reached = scan_unframed(data, position, starts, lengths, LENGTHS)
            if count:
                base = self.offset - position + PREFIX
                yield Block(data, starts[:count], lengths[:count], self.sequence, base)
                self.sequence += count
            self.offset += reached - position
            position = reached
            if position >= len(data) or len(data) - position < reserve or self._is_cut(data, position):
                break
            found = int(find_next(data, position, LENGTHS))
            found = found if is_last else min(found, len(data) - reserve + 1)
            detail = f"type {chr(data[position])!r}: {found - position} bytes passed over"
            self._report.add(Anomaly(AnomalyKind.UNKNOWN_TYPE, self.offset, self.sequence, detail))
            self.offset += found - position
            position = found
        self._carry = held[position:]
        if is_last and self._carry:
            detail = f"{len(self._carry)} bytes left of message {self.sequence}"
            self._report.add(Anomaly(AnomalyKind.TRUNCATED, self.offset, self.sequence, detail))
            self._carry = b""

    def _is_cut(self, data: Any, position: int) -> bool:
        return bool(LENGTHS[data[position]])
