"""Packets that do not belong to a line, kept for a while: enough of them that agree are the line's next session.

One datagram says little. A test sender, another line on the same port or a corrupt header each look like a new session
or like a gap of any size. So such a packet is counted and kept; only several in a row that continue each other are
evidence that the line itself has moved on, and then nothing of what they carried is lost.
"""

from dataclasses import dataclass, field
from typing import Final

from ingest.domain.packet import Packet

SECOND_NS: Final = 1_000_000_000
_PACKET_BYTES: Final = 256
"""Bytes of a packet without a payload, about."""


@dataclass(frozen=True, slots=True)
class Ownership:
    """When a line believes packets that are not its session's, or are further ahead than a gap."""

    pinned: bool = False
    """The operator named the session; no other one is followed."""
    agreeing_packets: int = 3
    """Packets in a row that continue each other, before they are followed."""
    silent_ns: int = 3 * SECOND_NS
    """A session that has shown itself must be silent for so long before another one is followed. A MoldUDP64 sender
    with nothing to say sends a heartbeat every second: three missing are a dead session."""
    gap_messages_max: int = 10_000
    """A packet that is further ahead than this is no evidence of a gap by itself."""
    kept_bytes_max: int = 8 << 20
    """Packets kept until they are followed; later ones are dropped and show as a gap."""


@dataclass(slots=True)
class Strays:
    """Consecutive packets of one session whose sequence numbers continue each other."""

    ownership: Ownership
    packets: list[Packet] = field(default_factory=list)
    count: int = 0
    """Packets seen in a row, those that were not kept included."""
    _next_sequence: int = 0
    _bytes: int = 0

    @property
    def session(self) -> str:
        return self.packets[0].session if self.packets else ""

    @property
    def first_sequence(self) -> int:
        """Sequence number of the first message in the packets; 0 where there are none."""
        return min((packet.sequence for packet in self.packets), default=0)

    def add(self, packet: Packet) -> None:
        """A packet that agrees with those before it joins them; any other one begins anew."""
        if self.packets and not self._agrees(packet):
            self.clear()
        size = len(packet.payload) + _PACKET_BYTES
        if not self.packets or self._bytes + size <= self.ownership.kept_bytes_max:
            self.packets.append(packet)
            self._bytes += size
        self.count += 1
        self._next_sequence = max(self._next_sequence, packet.next_sequence)

    def agree(self) -> bool:
        """Whether there are enough of them."""
        return self.count >= self.ownership.agreeing_packets

    def take(self) -> list[Packet]:
        """All of them by sequence; none stays."""
        taken = sorted(self.packets, key=lambda packet: packet.sequence)
        self.clear()
        return taken

    def clear(self) -> None:
        self.packets.clear()
        self.count = self._next_sequence = self._bytes = 0

    def _agrees(self, packet: Packet) -> bool:
        reach = self.ownership.gap_messages_max
        first = self.packets[0]
        return (
            packet.session == first.session and first.sequence - reach <= packet.sequence <= self._next_sequence + reach
        )
