"""SoupBinTCP 3.00 and 4.00: messages in a TCP stream (NASDAQ, "SoupBinTCP"). No I/O here.

A packet is a 2-byte big-endian length, a type and a payload. A recorded session is the stream as it stands.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np

from ingest.domain.framing import PREFIX, Block
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
def scan_packets(data: Any, position: int, starts: Any, lengths: Any, counts: Any) -> tuple[int, int]:
    """Finds sequenced messages up to the next packet that says more than that it is there.

    ``counts``: packets by type, of those passed. Returns (messages, position reached): the packet there is cut off, a
    login, an end of session, or of no known type.
    """
    size = len(data)
    count = 0
    while position + 3 <= size and count < len(starts):
        length = int(data[position]) << 8 | int(data[position + 1])
        kind = data[position + 2]
        known = kind in (SEQUENCED, UNSEQUENCED, 43, 72, 76, 82, 79)
        if length == 0 or not known or position + 2 + length > size:
            break
        if kind == SEQUENCED and length > 1:
            starts[count] = position + 3
            lengths[count] = length - 1
            count += 1
        counts[kind] += 1
        position += 2 + length
    return count, position


class SoupStream:
    """Cuts a recorded session into blocks of messages. ``counts``: packets by type."""

    def __init__(self, next_sequence: int = 1) -> None:
        self.sequence = next_sequence
        self.offset = 0
        self.session = ""
        self.ended = False
        self.counts = np.zeros(256, np.int64)
        self._carry = b""

    def feed(self, chunk: bytes) -> Iterator[Block]:
        """Whole messages so far. Raises SoupError for what is no packet, and for a rejected login."""
        held = self._carry + chunk
        data = np.frombuffer(held, np.uint8)
        position = 0
        while True:
            capacity = (len(data) - position) // PACKET_BYTES_MIN + 1
            starts, lengths = np.empty(capacity, np.int32), np.empty(capacity, np.uint16)
            count, reached = scan_packets(data, position, starts, lengths, self.counts)
            if count:
                yield Block(data, starts[:count], lengths[:count], self.sequence, self.offset - position - 1)
                self.sequence += count
            self.offset += reached - position
            position = reached + self._control(held, reached)
            self.offset += position - reached
            if position == reached:
                break
        self._carry = held[position:]

    def left(self) -> int:
        """Bytes of a packet that was cut off, at the end of the stream."""
        return len(self._carry)

    def _control(self, held: bytes, at: int) -> int:
        """Reads the packet that stopped the scan. Returns its bytes, 0 where it is not whole."""
        if at + PACKET_BYTES_MIN > len(held):
            return 0
        length, kind = int.from_bytes(held[at : at + PREFIX], "big"), held[at + PREFIX]
        if length == 0 or kind not in NAMES:
            raise SoupError(f"length {length} and packet type {chr(kind)!r} are no SoupBinTCP packet", self.offset)
        if at + PREFIX + length > len(held):
            return 0
        payload = held[at + PACKET_BYTES_MIN : at + PREFIX + length]
        self.counts[kind] += 1
        if kind == REJECTED:
            raise SoupError(f"{Control.REJECTED.value}, reason {payload.decode('latin-1')!r}", self.offset)
        if kind == LOGIN_ACCEPTED:
            login = parse_login(payload)
            if login is None:
                raise SoupError(f"a login answer that cannot be read: {payload!r}", self.offset)
            self.session, self.sequence = login.session, login.next_sequence
        self.ended = self.ended or kind == END_OF_SESSION
        return PREFIX + length


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
