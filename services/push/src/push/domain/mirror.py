"""One scope as push holds it: the hash's rows, kept current by the channel, and read again where the two part.

The rules rest on what the writer does (hash first, then channel, numbered without a gap within its epoch) and on what
Redis does (one order for all commands): a hash read after a change was received contains that change. So after a read
the scope stands at least where it stood before it, also where the newest changes were removals, which leave no row.
"""

from collections.abc import Mapping, Sequence
from enum import Enum, auto
from typing import Final

from push.domain.rows import Delta, Position, Row, Scope, StampsNs

UNNUMBERED_VIEWS: Final = frozenset({"health"})
"""Several workers write one scope, each with its own numbers: every row stands for itself and comes again soon."""


class Outcome(Enum):
    APPLIED = auto()
    OLD = auto()
    """Seen before, or older than what was read."""
    HELD = auto()
    """A read is due or under way; the change waits for it."""
    GAP = auto()
    """Something is missing before this change: read the hash."""


class Mirror:
    """States: behind (a read is due) → reading → live → behind … ; rows stay visible throughout."""

    def __init__(self, scope: Scope, pending_max: int) -> None:
        self.scope = scope
        self.rows: dict[str, Row] = {}
        self.complete = False
        """Whether the hash was read at least once."""
        self._pending_max = pending_max
        self._pending: list[Delta] = []
        self._overflowed = False
        self._position: Position | None = None
        self._received: Position | None = None
        self._floor: Position | None = None
        self._live = False
        self._reading = False

    @property
    def live(self) -> bool:
        return self._live

    @property
    def reading(self) -> bool:
        return self._reading

    def behind(self) -> None:
        """The channel was lost, and with it all knowledge of what was received on it."""
        self._live = self._reading = False
        self._received = None
        self._pending.clear()

    def doubt(self) -> None:
        """The hash may have changed without a word on the channel: it is to be read, or read once more."""
        self._live = False
        if self._reading:
            self._overflowed = True

    def receive(self, delta: Delta) -> Outcome:
        """Takes one change from the channel. GAP means: the scope is behind now, read the hash."""
        if self._live and self.scope.name not in UNNUMBERED_VIEWS:
            outcome = self._compare(delta)
        else:
            outcome = Outcome.APPLIED if self._live else Outcome.HELD
        if outcome is not Outcome.OLD:
            self._received = delta.position
        if outcome is Outcome.APPLIED:
            self._apply(delta)
        elif outcome is Outcome.GAP:
            self._live = False
        elif outcome is Outcome.HELD and self._reading:
            self._hold(delta)
        return outcome

    def read_begins(self) -> None:
        """The read is about to be sent: whatever was received until now will be in it."""
        self._reading = True
        self._live = self._overflowed = False
        self._floor = self._received
        self._pending.clear()

    def read_ends(self, rows: Mapping[str, tuple[Position, Row]]) -> tuple[bool, Sequence[Row]]:
        """Takes the hash's content. Returns whether the scope is live now (else read again), and what has changed."""
        old = self.rows
        self.rows = {key: row for key, (_, row) in rows.items()}
        self._position = self._base(rows)
        self._reading = False
        self._live = not self._overflowed
        self.complete = True
        pending, self._pending = self._pending, []
        for delta in pending:
            if self._live:
                self.receive(delta)
        return self._live, _changes(old, self.rows)

    def _compare(self, delta: Delta) -> Outcome:
        if self._position is None:
            return Outcome.APPLIED if delta.prev == 0 else Outcome.GAP
        if delta.position.epoch != self._position.epoch:
            return Outcome.GAP
        if delta.position.seq <= self._position.seq:
            return Outcome.OLD
        return Outcome.APPLIED if delta.prev == self._position.seq else Outcome.GAP

    def _apply(self, delta: Delta) -> None:
        self._position = delta.position
        if delta.row.data is None:
            self.rows.pop(delta.row.key, None)
        else:
            self.rows[delta.row.key] = delta.row

    def _hold(self, delta: Delta) -> None:
        if len(self._pending) >= self._pending_max:
            self._overflowed = True
            self._pending.clear()
        if not self._overflowed:
            self._pending.append(delta)

    def _base(self, rows: Mapping[str, tuple[Position, Row]]) -> Position | None:
        """Position of the read: at least that of what was received before it, whichever publisher that was."""
        floor = self._floor
        epoch = floor.epoch if floor else max((p.epoch for p, _ in rows.values()), default=None)
        if epoch is None:
            return None
        seq = max((p.seq for p, _ in rows.values() if p.epoch == epoch), default=0)
        return Position(epoch, max(seq, floor.seq if floor else 0))


def _changes(old: Mapping[str, Row], new: Mapping[str, Row]) -> list[Row]:
    """Rows that turn ``old`` into ``new``, without stamps: when a row that was read passed here says nothing."""
    gone = [Row(key, None, StampsNs()) for key in old if key not in new]
    return gone + [
        Row(key, row.data, StampsNs()) for key, row in new.items() if key not in old or old[key].data != row.data
    ]
