"""Which status the log gives an account, at any place of the recent log."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from common.contracts.events import CommandResult
from common.contracts.topics import RISK_DECISIONS

from auditor.domain.place import Positions

CHANGES_MAX: Final = 8
"""Changes of one account that are remembered."""
NEVER_SET: Final = "UNKNOWN"


class StatusRow(NamedTuple):
    """Status of an account as every copy must show it."""

    status: str


class StatusTruth:
    """A ``Truth`` of account statuses. A copy does not say at which change it stands, but how far the log was read for
    it: the version is that position, and the status at a position never changes.
    """

    is_historic: Final = True
    is_complete: Final = False

    def __init__(self) -> None:
        self._positions: Positions = {}
        self._starts: Positions = {}
        self._changes: dict[str, tuple[tuple[int, str], ...]] = {}
        self._partitions: dict[str, int] = {}
        self._forgotten: set[str] = set()

    def begin(self, starts: Positions) -> None:
        """Notes the first offsets of the log."""
        self._starts = starts

    def follow(self, positions: Positions) -> None:
        """Notes the fold's positions."""
        self._positions = positions

    def apply(self, partition: int, offset: int, body: CommandResult) -> None:
        self._partitions[body.account_id] = partition
        if body.status is None:
            return
        changes = self._changes.get(body.account_id, ())
        if changes and changes[-1][1] == body.status.value:
            return
        changes = (*changes, (offset, body.status.value))
        if len(changes) > CHANGES_MAX:
            self._forgotten.add(body.account_id)
        self._changes[body.account_id] = changes[-CHANGES_MAX:]

    def partition_of(self, key: str) -> int | None:
        return self._partitions.get(key)

    def now(self, key: str) -> str | None:
        """The newest status; None where none was set."""
        changes = self._changes.get(key)
        return changes[-1][1] if changes else None

    def known(self) -> Iterable[str]:
        return self._partitions.keys()

    def want(self, key: str, version: int) -> None:
        pass  # the changes are kept

    def newest(self, key: str) -> int:
        partition = self._partitions.get(key)
        return 0 if partition is None else self._positions.get((RISK_DECISIONS.name, partition), 0)

    def at(self, key: str, version: int) -> StatusRow | None:
        """The status of an account once the log was read up to this offset; None where that was forgotten."""
        before = [status for offset, status in self._changes.get(key, ()) if offset < version]
        if before:
            return StatusRow(before[-1])
        is_cut_off = self._starts.get((RISK_DECISIONS.name, self._partitions.get(key, 0)), 0) > 0
        return None if is_cut_off or key in self._forgotten else StatusRow(NEVER_SET)

    def forget(self, key: str, version: int) -> None:
        pass
