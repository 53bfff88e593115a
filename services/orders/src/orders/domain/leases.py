"""Leases that nobody keeps: noticed by how long the newest record of each has been in sight."""

from collections.abc import Hashable, Mapping
from typing import Final, Generic, NamedTuple, TypeVar

LEASES_MAX: Final = 16
"""Leases of an account at a time."""
BLIND_S: Final = 5.0
"""A watch that could not look for so long begins anew: whoever could not look could not hear a holder either."""
AGAIN_S: Final = 5.0
"""A lapse that was noticed and is still in sight is noticed again: its record may be lost, or it had no room."""
Key = TypeVar("Key", bound=Hashable)


class Held(NamedTuple):
    """A lease: the place of its newest record, and how long that holds."""

    kept_offset: int
    grace_ms: int


class _Seen(NamedTuple):
    kept_offset: int
    due_s: float


class LeaseWatch(Generic[Key]):
    """Compares no clocks: time counts from when a record was first seen here, so that a holder always has all of it."""

    def __init__(self) -> None:
        self._seen: dict[Key, _Seen] = {}
        self._looked_s = float("-inf")

    def look(self, leases: Mapping[Key, Held], now_s: float) -> list[tuple[Key, int]]:
        """Leases that are overdue, each with the place of the record by which it is. ``now_s``: a monotonic clock."""
        if now_s - self._looked_s > BLIND_S:
            self._seen.clear()
        self._looked_s = now_s
        overdue = []
        seen = {}
        for key, (kept_offset, grace_ms) in leases.items():
            before = self._seen.get(key)
            if before is None or before.kept_offset != kept_offset:
                before = _Seen(kept_offset, now_s + grace_ms / 1000)
            elif now_s >= before.due_s:
                overdue.append((key, kept_offset))
                before = _Seen(kept_offset, now_s + AGAIN_S)
            seen[key] = before
        self._seen = seen
        return overdue
