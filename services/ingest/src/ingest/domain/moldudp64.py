"""MoldUDP64 1.00: numbered messages in UDP packets (NASDAQ, "MoldUDP64 Protocol Specification"). No I/O here.

A packet says its session, the sequence number of its first message and how many follow. Packets may be lost, come twice
or overtake each other. A packet from ahead is held back for a short time, in case what is missing is only late; then
the gap is counted and reported, and the line goes on after it. A packet of another session, or from further ahead than
a gap, is a stray: see ``strays``.
"""

import struct
from dataclasses import dataclass
from typing import Final

import numpy as np

from ingest.domain.anomalies import Anomaly, AnomalyKind, Report
from ingest.domain.framing import PREFIX, scan_message_blocks
from ingest.domain.packet import Packet
from ingest.domain.strays import Ownership, Strays

HEADER: Final = struct.Struct(">10sQH")
END_OF_SESSION: Final = 0xFFFF
SEQUENCE_MAX: Final = (1 << 63) - 1
"""Largest sequence that a tick can hold. A packet that says more is never believed."""
JOINED_BYTES_MAX: Final = 4 << 20
"""Payload that is decoded at once."""
_OWNERSHIP: Final = Ownership()


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
    name = session.decode("latin-1").strip(" \0")
    if count in (0, END_OF_SESSION):
        return Packet(name, sequence, 0, b"", count == END_OF_SESSION)
    whole, size = _blocks(datagram[HEADER.size :], count)
    if whole < count:
        report.add(Anomaly(AnomalyKind.MALFORMED_PACKET, -1, sequence, f"{whole} of {count} messages are whole"))
    return Packet(name, sequence, whole, datagram[HEADER.size : HEADER.size + size])


def request_packet(session: str, sequence: int, count: int) -> bytes:
    """Asks a re-request server for messages again; it answers with ordinary packets to the sender's address."""
    return HEADER.pack(_name(session), sequence, min(count, END_OF_SESSION - 1))


class Line:
    """One receiver. Give it every datagram, from either of two redundant lines, and the time.

    ``session`` and ``next_sequence`` say what comes next; a line that begins after message 1 has lost what was before.
    A line belongs to its session until that session ends, or ``Ownership`` allows another one to be followed.
    """

    def __init__(
        self,
        report: Report,
        *,
        session: str = "",
        next_sequence: int = 1,
        held_packets_max: int = 64,
        hold_ns: int = 20_000_000,
        ownership: Ownership = _OWNERSHIP,
    ) -> None:
        self.session = session
        self.next_sequence = next_sequence
        self.has_session = bool(session) or next_sequence > 1
        self.ended = False
        """The sender said so, and everything before that is delivered or given up."""
        self.useful_ns: int | None = None
        """When a packet last brought the line on, or said that it is where it should be. None: never yet."""
        self._report = report
        self._held_packets_max = held_packets_max
        self._hold_ns = hold_ns
        self._ownership = ownership
        self._held: dict[int, Packet] = {}
        self._held_since_ns = 0
        self._strays = Strays(ownership)
        self._in_step = ownership.agreeing_packets if self.has_session else 0
        """Packets that continued the line, up to as many as it takes to be sure of its session."""
        self._heard_ns: int | None = None
        """When the session, or anything at all on a line that was resumed, was last heard."""
        self._past: tuple[str, int, bool] = ("", 1, False)
        """The session before this one, its next message, and whether it had ended."""

    def receive(self, datagram: bytes, now_ns: int) -> list[Run]:
        """Takes a datagram; returns what can be decoded now, in order."""
        packet = parse_packet(datagram, self._report)
        if packet is None:
            return []
        if self._heard_ns is None:
            self._heard_ns = now_ns
        runs: list[Run] = []
        if self._succeeds(packet):
            runs += self._begin_session(packet.session)
        if self.belongs(packet):
            self._heard_ns = now_ns
            self._strays.clear()
            runs += self._take(packet, now_ns)
        else:
            self._set_aside(packet)
        return runs + self.expire(now_ns)

    def expire(self, now_ns: int) -> list[Run]:
        """Follows strays that agree, and gives up what is missing if it was waited for long enough, or if too much is
        held back for it.
        """
        runs: list[Run] = self._follow(now_ns) if self._may_follow(now_ns) else []
        while self._held and (
            now_ns - self._held_since_ns >= self._hold_ns or len(self._held) > self._held_packets_max
        ):
            runs += self._skip_gap()
        return runs

    def finish(self, now_ns: int) -> list[Run]:
        """A recorded line is over: what is held back is given, and strays of its own session, which nothing will
        contradict any more, are followed.
        """
        is_own = bool(self._strays.packets) and self._strays.session == self.session
        return (self._follow(now_ns) if is_own else []) + self._release_all()

    def join(self, session: str, first: int) -> list[Run]:
        """A snapshot has what came before message ``first`` of a session: the line goes on there.

        Returns what was held back, over gaps. What is missing before ``first`` is one, too, unless nothing of the
        session was read yet.
        """
        is_same, runs = session == self.session, list[Run]()
        if not is_same:
            runs += self._begin_session(session)
        elif self.next_sequence > 1:
            while self._held and min(self._held) < first:
                runs += self._skip_gap()
            if self.next_sequence < first:
                self._give_up(first)
        self._strays.clear()
        self._in_step = self._ownership.agreeing_packets
        self.next_sequence = max(self.next_sequence, first)
        return runs + self._release()

    @property
    def missing(self) -> tuple[int, int] | None:
        """(first sequence, count) of what is being waited for, or would be if packets from far ahead are believed."""
        if self._held:
            return self.next_sequence, min(self._held) - self.next_sequence
        ahead = self._strays.first_sequence - self.next_sequence
        is_own = self.has_session and self._strays.session == self.session
        return (self.next_sequence, ahead) if is_own and ahead > 0 else None

    def place(self, datagram: bytes) -> int:
        """The first message of a datagram, to put two sides in order; 0 for what does not seem to be the line's."""
        if len(datagram) < HEADER.size:
            return 0
        session, sequence, _ = HEADER.unpack_from(datagram)
        is_own = not self.has_session or session == _name(self.session)
        return sequence if is_own and sequence <= self.next_sequence + self._ownership.gap_messages_max else 0

    def belongs(self, packet: Packet) -> bool:
        """Whether a packet is of the session that the line follows now, and not from further ahead than a gap."""
        reach = min(SEQUENCE_MAX, self.next_sequence + self._ownership.gap_messages_max)
        return self.has_session and packet.session == self.session and packet.next_sequence <= reach

    def _succeeds(self, packet: Packet) -> bool:
        """Whether a packet may begin a session by itself: on a line that has none, or whose own has ended."""
        is_known = self.has_session and packet.session in (self.session, self._past[0])
        if is_known or packet.end_of_session or self._ownership.pinned:
            return False
        reach = 1 + self._ownership.gap_messages_max
        return (self.ended or not self.has_session) and packet.next_sequence <= reach

    def _set_aside(self, packet: Packet) -> None:
        """Counts a stray; what may be the line's next session, or its own after a long outage, is kept."""
        past, _, past_ended = self._past
        if packet.session == past and past_ended:
            self._duplicate(packet, packet.count)
            return
        detail = f"session {packet.session!r}, message {packet.sequence}; the line: {self.session!r}"
        self._report.add(Anomaly(AnomalyKind.STRAY_PACKET, -1, min(packet.sequence, SEQUENCE_MAX), detail))
        is_foreign = self.has_session and packet.session != self.session
        is_possible = packet.next_sequence <= SEQUENCE_MAX and not (is_foreign and self._ownership.pinned)
        if is_possible and not (is_foreign and packet.end_of_session):
            self._strays.add(packet)

    def _may_follow(self, now_ns: int) -> bool:
        if not self._strays.agree():
            return False
        if self._in_step < self._ownership.agreeing_packets:
            return True
        if self.ended or self._strays.session == self.session:
            return True
        return now_ns - (self._heard_ns or 0) >= self._ownership.silent_ns

    def _follow(self, now_ns: int) -> list[Run]:
        """The line goes on with the strays: in their session, and after the gap before them."""
        packets = self._strays.take()
        self._heard_ns = now_ns
        session, first = packets[0].session, packets[0].sequence
        is_same = self.has_session and session == self.session
        runs = self._release_all() if is_same else self._begin_session(session)
        if first - self.next_sequence > self._ownership.gap_messages_max:
            self._give_up(first)
        for packet in packets:
            runs += self._take(packet, now_ns)
        return runs

    def _begin_session(self, session: str) -> list[Run]:
        runs = self._release_all()
        past, past_next, past_ended = self._past
        if self.has_session:
            self._past = (self.session, self.next_sequence, self.ended)
        self.session, self.has_session = session, True
        self.next_sequence = past_next if session == past and not past_ended else 1
        self.ended = False
        self._in_step = 0
        return runs

    def _take(self, packet: Packet, now_ns: int) -> list[Run]:
        """A packet of the line: delivered if it is next, held if it is ahead."""
        before = self.next_sequence
        runs: list[Run] = []
        if packet.sequence <= before:
            runs += self._deliver(packet)
            if packet.sequence == before or self.next_sequence > before:
                # What continues the line contradicts a packet that is held as the end of a gap.
                self._held_since_ns = now_ns
                self._in_step = min(self._in_step + 1, self._ownership.agreeing_packets)
                self.useful_ns = now_ns
        elif packet.sequence in self._held and packet.count <= self._held[packet.sequence].count:
            self._duplicate(packet, packet.count)
        else:
            if not self._held:
                self._held_since_ns = now_ns
            self._held[packet.sequence] = packet
            self.useful_ns = now_ns
        return runs + self._release()

    def _release_all(self) -> list[Run]:
        """Delivers everything that is held, over all gaps."""
        runs: list[Run] = []
        while self._held:
            runs += self._skip_gap()
        return runs

    def _skip_gap(self) -> list[Run]:
        self._give_up(min(self._held))
        return self._release()

    def _give_up(self, after: int) -> None:
        """Counts what is missing before message ``after``, from where the line goes on."""
        first = self.next_sequence
        detail = f"messages {first} to {after - 1} of session {self.session!r} never came"
        self._report.add(Anomaly(AnomalyKind.SEQUENCE_GAP, -1, first, detail), after - first)
        self.next_sequence = after

    def _release(self) -> list[Run]:
        """Delivers held packets that are next by now."""
        runs: list[Run] = []
        while self._held and (first := min(self._held)) <= self.next_sequence:
            runs += self._deliver(self._held.pop(first))
        return runs

    def _deliver(self, packet: Packet) -> list[Run]:
        """Delivers those messages of a packet that is not ahead which were not delivered before."""
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


def split(run: Run, at: int) -> tuple[Run | None, Run | None]:
    """Those messages of a run that come before message ``at``, and the others."""
    before = at - run.first_sequence
    if before <= 0:
        return None, run
    if before >= run.count:
        return run, None
    _, size = _blocks(run.payload, before)
    return (
        Run(run.session, run.first_sequence, before, run.payload[:size]),
        Run(run.session, at, run.count - before, run.payload[size:]),
    )


def joined(runs: list[Run]) -> list[Run]:
    """Puts runs together that follow each other, so that they are decoded at once, up to ``JOINED_BYTES_MAX``."""
    out: list[Run] = []
    parts: list[list[bytes]] = []
    size = 0
    for run in runs:
        last = out[-1] if out else None
        follows = last and last.session == run.session and last.first_sequence + last.count == run.first_sequence
        if last and follows and size + len(run.payload) <= JOINED_BYTES_MAX:
            out[-1] = Run(last.session, last.first_sequence, last.count + run.count, b"")
            parts[-1].append(run.payload)
            size += len(run.payload)
        else:
            out.append(run)
            parts.append([run.payload])
            size = len(run.payload)
    return [Run(run.session, run.first_sequence, run.count, b"".join(of)) for run, of in zip(out, parts, strict=True)]


def _name(session: str) -> bytes:
    return session.encode("latin-1").ljust(10)[:10]


def _blocks(payload: bytes, count: int) -> tuple[int, int]:
    """(whole blocks, their bytes) among the first ``count``."""
    count = min(count, len(payload) // PREFIX)
    if not count:
        return 0, 0
    starts, lengths = np.empty(count, np.int32), np.empty(count, np.uint16)
    whole, size = scan_message_blocks(np.frombuffer(payload, np.uint8), count, starts, lengths)
    return int(whole), int(size)
