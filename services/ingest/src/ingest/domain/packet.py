"""Datagram of a numbered message line, parsed."""

from dataclasses import dataclass


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
