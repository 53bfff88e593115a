"""SoupBinTCP 3.00 and 4.00: messages in a TCP stream (NASDAQ, "SoupBinTCP"). No I/O here.

A packet is a 2-byte big-endian length, a type and a payload. A recorded session is the stream as it stands.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np

from ingest.domain.anomalies import Anomaly, AnomalyKind, Report
from ingest.domain.framing import PREFIX, Block
from ingest.domain.itch_spec import LENGTHS
from ingest.kernels import kernel

SEQUENCED: Final = ord("S")
UNSEQUENCED: Final = ord("U")
LOGIN_ACCEPTED: Final = ord("A")
END_OF_SESSION: Final = ord("Z")
REJECTED: Final = ord("J")
PACKET_BYTES_MIN: Final = 3
NAMES: Final = {
    ord("+"): "debug",
    LOGIN_ACCEPTED: "login accepted",
    REJECTED: "login rejected",
    SEQUENCED: "sequenced data",
    UNSEQUENCED: "unsequenced data",
    ord("H"): "server heartbeat",
    END_OF_SESSION: "end of session",
    ord("L"): "login request",
    ord("R"): "client heartbeat",
    ord("O"): "logout request",
}
"""Packet types of both sides."""
_FIXED_BYTES: Final = {
    LOGIN_ACCEPTED: 31,
    REJECTED: 2,
    ord("H"): 1,
    END_OF_SESSION: 1,
    ord("L"): 47,
    ord("R"): 1,
    ord("O"): 1,
}
"""Lengths of the types that have one, the type included."""
_REASONS: Final = {"A": "not authorized: wrong username or password", "S": "the session is not available"}
"""SoupBinTCP 3.00, 2.2.3: reject reason codes."""
AGREEING: Final = 3
"""Whole packets in a row by which the way on is found behind damage."""
PACKET_BYTES_MAX: Final = PREFIX + 0xFFFF
KIND_BYTES: Final = np.array([_FIXED_BYTES.get(kind, -1 if kind in NAMES else 0) for kind in range(256)], np.int64)
"""By type: its length; -1 where it may have any; 0 for what is no type."""


class SoupError(ValueError):
    """The stream cannot be read on from ``offset``."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


@dataclass(frozen=True, slots=True)
class Login:
    """Content of an accepted login: the session, and the number of the next sequenced message."""

    session: str
    next_sequence: int


class Control(StrEnum):
    """The packets that end the messages."""

    END = "end of session"
    REJECTED = "login rejected"


@kernel
def scan_packets(data: Any, position: int, starts: Any, lengths: Any, counts: Any, kinds: Any) -> tuple[int, int]:
    """Finds sequenced messages up to the next packet that says more than that it is there.

    ``counts``: packets by type, of those passed; ``kinds``: lengths by type. Returns (messages, position reached): the
    packet there is cut off, a login or its answer, an end of session, or none.
    """
    size = len(data)
    count = 0
    while position + 3 <= size and count < len(starts):
        length = int(data[position]) << 8 | int(data[position + 1])
        kind = data[position + 2]
        is_packet = length > 0 and (kinds[kind] == length or kinds[kind] < 0)
        if not is_packet or kind in (LOGIN_ACCEPTED, REJECTED, END_OF_SESSION) or position + 2 + length > size:
            break
        if kind == SEQUENCED and length > 1:
            starts[count] = position + 3
            lengths[count] = length - 1
            count += 1
        counts[kind] += 1
        position += 2 + length
    return count, position


@kernel
def find_packets(data: Any, position: int, kinds: Any, by_type: Any) -> int:
    """The first place behind ``position`` from which packets agree: whole, and of ITCH where they are messages.

    The end of the data where there is none; packets up to there are no witness.
    """
    position += 1
    while position < len(data):
        at, found = position, 0
        while found < AGREEING and at + 3 <= len(data):
            length = int(data[at]) << 8 | int(data[at + 1])
            kind = data[at + 2]
            if length == 0 or at + 2 + length > len(data):
                break
            if kind == SEQUENCED:
                is_packet = length > 1 and by_type[data[at + 3]] == length - 1
            else:
                is_packet = kinds[kind] == length
            if not is_packet:
                break
            found += 1
            at += 2 + length
        if found == AGREEING or (found > 0 and at == len(data)):
            return position
        position += 1
    return position


class SoupStream:
    """Cuts a session into blocks of messages. ``counts``: packets by type.

    A session that is logged in to again goes on where its new login says: what comes a second time is dropped, what
    does not come at all is a gap. Damage is passed over up to the next packets. Both are reported.
    """

    def __init__(self, report: Report, next_sequence: int = 1) -> None:
        self.sequence = next_sequence
        """Number of the next message that was not delivered yet."""
        self.offset = 0
        self.session = ""
        self.ended = False
        self.counts = np.zeros(256, np.int64)
        self._report = report
        self._repeated = 0
        """Messages that come again before the next one."""
        self._carry = b""

    def feed(self, chunk: bytes, *, is_last: bool = False) -> Iterator[Block]:
        """Whole messages so far. Raises SoupError for what is no session of SoupBinTCP, and for a rejected login."""
        held = self._carry + chunk
        data = np.frombuffer(held, np.uint8)
        position = 0
        while True:
            capacity = (len(data) - position) // PACKET_BYTES_MIN + 1
            starts, lengths = np.empty(capacity, np.int32), np.empty(capacity, np.uint16)
            count, reached = scan_packets(data, position, starts, lengths, self.counts, KIND_BYTES)
            fresh = self._fresh(count)
            if fresh < count:
                block = slice(fresh, count)
                yield Block(data, starts[block], lengths[block], self.sequence, self.offset - position - 1)
                self.sequence += count - fresh
            self.offset += reached - position
            position = reached + self._control(held, reached, is_last=is_last)
            self.offset += position - reached
            if position == reached:
                break
        self._carry = held[position:]

    def take_left(self) -> int:
        """Bytes of a packet that was cut off by the end of a source. Another source begins with a packet."""
        left = len(self._carry)
        self._carry = b""
        self.offset = 0
        return left

    def _fresh(self, count: int) -> int:
        """How many of so many messages were delivered before."""
        again = min(count, self._repeated)
        if again:
            detail = f"{again} messages"
            first = self.sequence - self._repeated
            self._report.add(Anomaly(AnomalyKind.DUPLICATE, self.offset, first, detail), again)
            self._repeated -= again
        return again

    def _control(self, held: bytes, at: int, *, is_last: bool) -> int:
        """Reads the packet that stopped the scan. Returns its bytes, 0 where it is not whole."""
        if at + PACKET_BYTES_MIN > len(held):
            return 0
        length, kind = int.from_bytes(held[at : at + PREFIX], "big"), held[at + PREFIX]
        if not length or KIND_BYTES[kind] not in (-1, length):
            return self._damaged(held, at, is_last=is_last)
        if at + PREFIX + length > len(held):
            return 0
        payload = held[at + PACKET_BYTES_MIN : at + PREFIX + length]
        self.counts[kind] += 1
        if kind == REJECTED:
            code = payload.decode("latin-1")
            raise SoupError(f"{Control.REJECTED.value}, reason {code!r} ({_REASONS.get(code, 'unknown')})", self.offset)
        if kind == LOGIN_ACCEPTED:
            self._go_on(payload)
        self.ended = self.ended or kind == END_OF_SESSION
        return PREFIX + length

    def _go_on(self, payload: bytes) -> None:
        """The session goes on with the message that a login names. Raises SoupError for another session's."""
        login = parse_login(payload)
        if login is None:
            raise SoupError(f"a login answer that cannot be read: {payload!r}", self.offset)
        if self.session not in ("", login.session):
            raise SoupError(f"session {login.session!r} follows {self.session!r}: read each by itself", self.offset)
        self.session = login.session
        missing = login.next_sequence - self.sequence
        self._repeated = max(0, -missing)
        if missing > 0:
            detail = f"messages {self.sequence} to {login.next_sequence - 1} of session {self.session!r} never came"
            self._report.add(Anomaly(AnomalyKind.SEQUENCE_GAP, self.offset, self.sequence, detail), missing)
            self.sequence = login.next_sequence

    def _damaged(self, held: bytes, at: int, *, is_last: bool) -> int:
        """Passes over what is no packet. Returns its bytes, 0 where more has to come before that is known."""
        if not self.counts.any():
            length, kind = int.from_bytes(held[at : at + PREFIX], "big"), held[at + PREFIX]
            raise SoupError(f"length {length} and packet type {chr(kind)!r} are no SoupBinTCP packet", self.offset)
        reserve = 0 if is_last else AGREEING * PACKET_BYTES_MAX
        if len(held) - at <= reserve:
            return 0
        found = int(find_packets(np.frombuffer(held, np.uint8), at, KIND_BYTES, LENGTHS)) - at
        found = min(found, len(held) - at - reserve) if found + at == len(held) else found
        detail = f"{found} bytes are no packets; the next one begins at byte {self.offset + found}"
        self._report.add(Anomaly(AnomalyKind.SKIPPED_BYTES, self.offset, self.sequence, detail), found)
        self.sequence += 1
        return found


def parse_login(payload: bytes) -> Login | None:
    """Session (10 characters) and sequence number (20 characters) of an accepted login."""
    try:
        sequence = int(payload[10:30])
    except ValueError:
        return None
    return Login(payload[:10].decode("latin-1").strip(), sequence) if len(payload) >= 30 and sequence > 0 else None


def packet(kind: int, payload: bytes = b"") -> bytes:
    """One packet."""
    return (len(payload) + 1).to_bytes(2, "big") + bytes((kind,)) + payload


def login_request(username: str, password: str, session: str = "", sequence: int = 1) -> bytes:
    """Asks for a session from a message on; an empty session: the current one. Sequence 0: only what is new."""
    fields = f"{username[:6]:<6}{password[:10]:<10}{session[:10]:>10}{sequence:>20}"
    return packet(ord("L"), fields.encode("ascii", "replace"))


HEARTBEAT: Final = packet(ord("R"))
"""Sent by the client once a second while it has nothing else to say."""
LOGOUT: Final = packet(ord("O"))
