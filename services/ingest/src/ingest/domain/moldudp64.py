"""MoldUDP64 1.00: numbered messages in UDP packets (NASDAQ, "MoldUDP64 Protocol Specification"). No I/O here.

A packet says its session, the sequence number of its first message and how many follow. Packets may be lost, come twice
or overtake each other. A packet from ahead is held back for a short time, in case what is missing is only late; then
the gap is counted and reported, and the line goes on after it.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from ingest.domain.anomalies import Anomaly, AnomalyKind, Report
from ingest.domain.framing import scan_message_blocks

HEADER: Final = struct.Struct(">10sQH")
END_OF_SESSION: Final = 0xFFFF
PAYLOAD_MAX: Final = 1_400
"""Bytes of a packet that cross an Ethernet without being cut up."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One datagram, with only whole message blocks in its payload.

    ``count`` 0: a heartbeat. ``sequence`` is that of the first message, or of the next one if there is none.
    """

    session: str
    sequence: int
    count: int
    payload: bytes
    end_of_session: bool = False

    @property
    def next_sequence(self) -> int:
        return self.sequence + self.count


@dataclass(frozen=True, slots=True)
class Run:
    """Messages without a gap between them, ready to be decoded."""

    session: str
    first_sequence: int
    count: int
    payload: bytes


def parse_packet(datagram: bytes, report: Report) -> Packet | None:
    """Reads one datagram. What is cut off is reported, and will show as a gap; None if not even the header is there."""
    if len(datagram) < HEADER.size:
        report.add(Anomaly(AnomalyKind.MALFORMED_PACKET, -1, 0, f"{len(datagram)} bytes"))
        return None
    session, sequence, count = HEADER.unpack_from(datagram)
    name = session.decode("ascii", "replace").strip()
    if count in (0, END_OF_SESSION):
        return Packet(name, sequence, 0, b"", count == END_OF_SESSION)
    whole, size = _blocks(datagram[HEADER.size :], count)
    if whole < count:
        report.add(Anomaly(AnomalyKind.MALFORMED_PACKET, -1, sequence, f"{whole} of {count} messages are whole"))
    return Packet(name, sequence, whole, datagram[HEADER.size : HEADER.size + size])


def packets(session: str, frames: bytes, first_sequence: int, payload_max: int = PAYLOAD_MAX) -> Iterator[bytes]:
    """Packs whole length-framed messages into datagrams of at most ``payload_max`` bytes after the header."""
    begin = end = 0
    sequence, count = first_sequence, 0
    while end < len(frames):
        size = 2 + int.from_bytes(frames[end : end + 2], "big")
        if count and (end + size - begin > payload_max or count == END_OF_SESSION - 1):
            yield HEADER.pack(_name(session), sequence, count) + frames[begin:end]
            sequence, count, begin = sequence + count, 0, end
        end += size
        count += 1
    if count:
        yield HEADER.pack(_name(session), sequence, count) + frames[begin:end]


def heartbeat_packet(session: str, next_sequence: int) -> bytes:
    """Says which message comes next, so that a loss at the end of a burst shows."""
    return HEADER.pack(_name(session), next_sequence, 0)


def end_packet(session: str, next_sequence: int) -> bytes:
    """Says that there is no next message."""
    return HEADER.pack(_name(session), next_sequence, END_OF_SESSION)


def request_packet(session: str, sequence: int, count: int) -> bytes:
    """Asks a re-request server for messages again; it answers with ordinary packets to the sender's address."""
    return HEADER.pack(_name(session), sequence, min(count, END_OF_SESSION - 1))


class Line:
    """One receiver. Give it every datagram, from either of two redundant lines, and the time.

    ``session`` and ``next_sequence`` say what comes next; a line that begins after message 1 has lost what was before.
    """

    def __init__(
        self,
        report: Report,
        *,
        session: str = "",
        next_sequence: int = 1,
        held_packets_max: int = 64,
        hold_ns: int = 20_000_000,
    ) -> None:
        self.session = session
        self.next_sequence = next_sequence
        self.ended = False
        """The sender said so, and everything before that is delivered or given up."""
        self._report = report
        self._held_packets_max = held_packets_max
        self._hold_ns = hold_ns
        self._held: dict[int, Packet] = {}
        self._held_since_ns = 0
        self._past_session = ""

    def receive(self, datagram: bytes, now_ns: int) -> list[Run]:
        """Takes a datagram; returns what can be decoded now, in order."""
        packet = parse_packet(datagram, self._report)
        if packet is None:
            return []
        runs: list[Run] = []
        if packet.session != self.session:
            if packet.session == self._past_session:
                self._duplicate(packet, packet.count)
                return []
            runs = self._begin_session(packet.session)
        if packet.sequence <= self.next_sequence:
            runs += self._deliver(packet)
        elif packet.sequence in self._held and packet.count <= self._held[packet.sequence].count:
            self._duplicate(packet, packet.count)
        else:
            if not self._held:
                self._held_since_ns = now_ns
            self._held[packet.sequence] = packet
        runs += self._release()
        return runs + self.expire(now_ns)

    def expire(self, now_ns: int) -> list[Run]:
        """Gives up what is missing if it was waited for long enough, or if too much is held back for it."""
        runs: list[Run] = []
        while self._held and (
            now_ns - self._held_since_ns >= self._hold_ns or len(self._held) > self._held_packets_max
        ):
            runs += self._skip_gap()
        return runs

    @property
    def missing(self) -> tuple[int, int] | None:
        """(first sequence, count) of what is being waited for."""
        return (self.next_sequence, min(self._held) - self.next_sequence) if self._held else None

    def _begin_session(self, session: str) -> list[Run]:
        runs: list[Run] = []
        while self._held:
            runs += self._skip_gap()
        self._past_session, self.session = self.session, session
        self.next_sequence = 1
        self.ended = False
        return runs

    def _skip_gap(self) -> list[Run]:
        first, after = self.next_sequence, min(self._held)
        detail = f"messages {first} to {after - 1} of session {self.session!r} never came"
        self._report.add(Anomaly(AnomalyKind.SEQUENCE_GAP, -1, first, detail), after - first)
        self.next_sequence = after
        return self._release()

    def _release(self) -> list[Run]:
        """Delivers held packets that are next by now."""
        runs: list[Run] = []
        while self._held and (first := min(self._held)) <= self.next_sequence:
            runs += self._deliver(self._held.pop(first))
        return runs

    def _deliver(self, packet: Packet) -> list[Run]:
        """Of a packet that is not ahead: what was not delivered before."""
        known = min(self.next_sequence - packet.sequence, packet.count)
        if known:
            self._duplicate(packet, known)
        if packet.end_of_session:
            self.ended = self.ended or packet.sequence == self.next_sequence
        if known == packet.count:
            return []
        _, skipped = _blocks(packet.payload, known)
        run = Run(packet.session, self.next_sequence, packet.count - known, packet.payload[skipped:])
        self.next_sequence = packet.next_sequence
        return [run]

    def _duplicate(self, packet: Packet, count: int) -> None:
        if count:
            self._report.add(Anomaly(AnomalyKind.DUPLICATE, -1, packet.sequence, f"{count} messages"), count)


def joined(runs: list[Run]) -> list[Run]:
    """Puts runs together that follow each other, so that they are decoded at once."""
    out: list[Run] = []
    parts: list[bytes] = []
    for run in runs:
        last = out[-1] if out else None
        if last and last.session == run.session and last.first_sequence + last.count == run.first_sequence:
            out[-1] = Run(last.session, last.first_sequence, last.count + run.count, b"")
            parts[-1] += run.payload
        else:
            out.append(run)
            parts.append(run.payload)
    return [Run(run.session, run.first_sequence, run.count, payload) for run, payload in zip(out, parts, strict=True)]


def _name(session: str) -> bytes:
    return session.encode("ascii").ljust(10)[:10]


def _blocks(payload: bytes, count: int) -> tuple[int, int]:
    """(whole blocks, their bytes) among the first ``count``."""
    if not count:
        return 0, 0
    starts, lengths = np.empty(count, np.int32), np.empty(count, np.uint16)
    whole, size = scan_message_blocks(np.frombuffer(payload, np.uint8), count, starts, lengths)
    return int(whole), int(size)
