"""How many messages make a batch: as many as can be handled without keeping the event loop from everything else."""

from typing import Final

LEAST: Final = 100


class BatchSize:
    """At most ``most``; fewer where a batch took longer to handle than ``target_s``, more again where it did not.

    Large batches are cheap, because a row that many messages change is written once. But requests and heartbeats are
    answered between two of them, and handlers differ by a factor of a hundred in what a message costs.
    """

    def __init__(self, most: int, target_s: float) -> None:
        self.current = most
        self._most = most
        self._target_s = target_s

    def note(self, messages: int, seconds: float) -> None:
        """Learns from the seconds that so many messages took."""
        if seconds > self._target_s:
            self.current = max(min(LEAST, self._most), int(messages * self._target_s / seconds))
        elif messages >= self.current:
            self.current = min(self._most, 2 * self.current)
