"""Redundant sides A and B of a packet line, each watched by itself. No I/O here.

A line whose other side delivers everything is whole, and nobody would see that one side has been dead for an hour until
the other one fails, too. So each side has an account of its own of what it did not deliver.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ingest.domain.packet import Packet

GAPS_MAX: Final = 256
"""Ranges of a side's missing messages that may still come; of older ones it stays counted that they are lost."""


def silent_sides(quiet_s: Mapping[str, float], silent_s: float) -> tuple[str, ...]:
    """Sides that have said nothing for longer than ``silent_s`` while another goes on; ``quiet_s`` by side, in seconds.

    A line of which all sides are silent is quiet as a whole, which is another alarm.
    """
    silent = tuple(name for name, seconds in quiet_s.items() if seconds > silent_s)
    return silent if len(silent) < len(quiet_s) else ()


@dataclass(slots=True)
class Side:
    """Deliveries of one side in the line's session. ``next_sequence``: of the message from which it is watched."""

    name: str
    session: str = ""
    next_sequence: int = 1
    messages: int = 0
    """Delivered, those that the other side was first with too."""
    lost: int = 0
    """Never delivered so far: a packet that was overtaken takes its messages off again."""
    heard_ns: int | None = None
    """When it last said anything of the session."""
    _missing: list[tuple[int, int]] = field(default_factory=list)
    """(first message, message after the last), in their order."""

    def receive(self, packet: Packet, now_ns: int) -> None:
        """Takes a packet of the line's session, a heartbeat too."""
        self.heard_ns = now_ns
        if packet.session != self.session:
            begins = self.next_sequence if not self.session else 1
            self.session, self.next_sequence = packet.session, begins
            self._missing.clear()
        self.messages += packet.count
        first, after = packet.sequence, packet.sequence + packet.count
        if first > self.next_sequence:
            self._miss(self.next_sequence, first)
        elif first < self.next_sequence:
            self._recover(first, min(after, self.next_sequence))
        self.next_sequence = max(self.next_sequence, after)

    def _miss(self, first: int, after: int) -> None:
        self.lost += after - first
        self._missing.append((first, after))
        del self._missing[:-GAPS_MAX]

    def _recover(self, first: int, after: int) -> None:
        """Messages that come after later ones."""
        left: list[tuple[int, int]] = []
        for begin, end in self._missing:
            from_, to = max(begin, first), min(end, after)
            if from_ >= to:
                left.append((begin, end))
                continue
            self.lost -= to - from_
            left += [part for part in ((begin, from_), (to, end)) if part[0] < part[1]]
        self._missing = left[-GAPS_MAX:]

    def said(self, quiet_s: float) -> dict[str, Any]:
        """For a page of health."""
        return {"messages": self.messages, "lost": self.lost, "quiet_s": round(quiet_s, 1)}
