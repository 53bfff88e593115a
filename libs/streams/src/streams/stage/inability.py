"""Partitions that this worker cannot serve and another one might: a disk that refuses, a state of a newer release.

A partition that was given up is tried again after a while, twice as long each time that it is given up again, so that a
store that opens and then fails does not take it away from whoever serves it over and over.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from streams.process.backoff import Backoff

RETRY_MAX_S: Final = 3_600.0


@dataclass(slots=True)
class _Trouble:
    backoff: Backoff
    since_s: float
    reason: str = ""
    given_up: bool = False
    wait_s: float = 0.0
    """From one try to the next."""
    retry_s: float | None = None
    """When the store is tried again; None: only a restart of the worker helps."""


class Inability:
    """One entry per partition that had trouble. ``clock_s`` is monotonic."""

    def __init__(self, give_up_s: float, retry_s: float, clock_s: Callable[[], float]) -> None:
        self._give_up_s = give_up_s
        self._retry_s = retry_s
        self._clock_s = clock_s
        self._troubles: dict[int, _Trouble] = {}

    @property
    def partitions(self) -> frozenset[int]:
        """Those that are given up."""
        return frozenset(p for p, trouble in self._troubles.items() if trouble.given_up)

    def failed(self, partition: int, reason: str, served_s: float = 0.0) -> bool:
        """The store refused, after it had been good for ``served_s``. True where the partition is given up by that.

        What was served for as long as it takes to give up was healthy before; a store that opens and fails was not.
        """
        now_s = self._clock_s()
        trouble = self._of(partition)
        if served_s > self._give_up_s:
            trouble.since_s = now_s
        trouble.reason = reason
        if trouble.given_up or now_s - trouble.since_s < self._give_up_s:
            return False
        trouble.given_up = True
        trouble.wait_s = trouble.backoff.next()
        trouble.retry_s = now_s + trouble.wait_s
        return True

    def refused(self, partition: int, reason: str) -> bool:
        """The state is one that this release cannot serve, however often it tries. True where that is new."""
        trouble = self._of(partition)
        is_new, trouble.given_up = not trouble.given_up, True
        trouble.reason, trouble.retry_s = reason, None
        return is_new

    def due(self) -> list[int]:
        """Given up partitions whose stores are to be tried now; each is due once, and then later again."""
        now_s = self._clock_s()
        due = [p for p, t in self._troubles.items() if t.given_up and t.retry_s is not None and t.retry_s <= now_s]
        for partition in due:
            trouble = self._troubles[partition]
            trouble.retry_s = now_s + trouble.wait_s
        return due

    def recovered(self, partition: int) -> None:
        """The partition can be served. How long the next retry waits is remembered."""
        trouble = self._troubles[partition]
        trouble.given_up, trouble.since_s = False, self._clock_s()

    def page(self) -> dict[str, Any]:
        """Partition → why it was given up, for the ready page."""
        return {str(p): trouble.reason for p, trouble in sorted(self._troubles.items()) if trouble.given_up}

    def _of(self, partition: int) -> _Trouble:
        if partition not in self._troubles:
            self._troubles[partition] = _Trouble(Backoff(self._retry_s, RETRY_MAX_S), self._clock_s())
        return self._troubles[partition]
