"""One task's side of the views: how its rows are numbered, what waits to be shown, and what Redis should hold of it."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from streams.model.message import View
from streams.model.tables import Tables
from streams.state.store_errors import StoreError
from streams.views.protocol import RedisState, WriterData

if TYPE_CHECKING:  # push and the health strip come without the stage's dependencies
    from streams.commit.transaction import Committed

REFILL_ROWS_MAX = 200
ScopeKey = tuple[str, str]
"""Name and scope of a view: one hash in Redis."""


class ViewClock(NamedTuple):
    """How far a task has come: every input that arrived before ``as_of_ns`` is committed, and the newest record of all
    is of ``data_ns`` (0: none yet). Wall-clock ns."""

    as_of_ns: int
    data_ns: int


NOTHING_YET: Final = ViewClock(0, 0)


class ViewWriter(NamedTuple):
    """A task that says how current its views are."""

    partitions: int
    """Number of the stage's partitions."""
    clock: Callable[[], ViewClock]


Waiting = tuple[View, str, "Committed"]
"""A row, the trace it belongs to, and the commit it came with."""


@dataclass
class TaskViews:
    """Views of one task. ``tables`` hold the committed rows; ``refill`` lists every one of them."""

    tables: Tables
    refill: Callable[[Tables], Iterable[View]]
    epoch: int
    writer: ViewWriter | None = None
    fails: Callable[[StoreError], None] = lambda _error: None
    """Told where the task's store cannot be read: the task is to be opened anew."""
    conflated: frozenset[str] = frozenset()
    """Names of views of which the newest row per key is enough; every other view is shown whole and in order."""
    waiting: dict[Any, Waiting] = field(default_factory=dict)
    """The newest row per key of a conflated view; of every other view each row, in order."""
    sequences: dict[ScopeKey, int] = field(default_factory=dict)
    epochs: dict[ScopeKey, int] = field(default_factory=dict)
    """Epochs of scopes that were written anew after the task as a whole was."""
    rows: dict[ScopeKey, int] = field(default_factory=dict)
    """How many rows each hash has in Redis, as its answers say."""
    dirty: str = "opened"
    """Why everything is to be written anew; empty: it is not."""
    lost: set[ScopeKey] = field(default_factory=set)
    """Hashes that Redis has lost rows of."""
    filling: Iterator[View] | None = None
    """Rest of a refill; it reads the task's store."""
    wanted: frozenset[ScopeKey] | None = None
    """The hashes that are being written anew; None: all of them."""
    shown: set[tuple[str, str, str]] = field(default_factory=set)
    """Rows that commits have written since the refill began: it would show older ones."""
    before: set[ScopeKey] = field(default_factory=set)
    """Hashes there were when the refill began: those that have no row any more are to be removed."""
    clock: ViewClock = NOTHING_YET
    """How far the task had come when the last of what is shown was taken."""
    unchecked: list[ScopeKey] = field(default_factory=list)
    """Rest of a pass over all hashes."""
    rival: tuple[int, int, float] = (0, 0, -math.inf)
    """Epoch and time of another one that claims to write these views, and when it was first seen so, in seconds."""

    def add(self, committed: "Committed", number: Iterator[int]) -> None:
        """Lets a commit's rows wait; ``number`` tells apart the rows that all count."""
        waiting = self.waiting
        for view, traceparent in committed.views:
            key = (view.name, view.scope, view.key) if view.name in self.conflated else next(number)
            waiting[key] = (view, traceparent, committed)

    def take(self) -> list[Waiting]:
        """Rows that wait to be shown."""
        taken, self.waiting = list(self.waiting.values()), {}
        return taken

    def progress(self) -> ViewClock:
        """How far the task has come by now."""
        return self.writer.clock() if self.writer else self.clock

    def number(self, scope: ScopeKey) -> tuple[int, int, bool]:
        """Epoch and sequence of the scope's next row, and whether its hash is to be emptied before."""
        seq = self.sequences[scope] = self.sequences.get(scope, 0) + 1
        first = seq == 1 and self.filling is not None
        if first:
            self.rows[scope] = 0
        return self.epochs.get(scope, self.epoch), seq, first

    # --- refill -----------------------------------------------------------------------------------------------------

    def begin_filling(self, epoch: int, wanted: frozenset[ScopeKey] | None) -> None:
        """Everything, or some hashes, are to be written under a new epoch."""
        self.before |= set(self.sequences) if wanted is None else wanted
        if wanted is None:
            self.dirty = ""
            self.epoch = epoch
            for kept in (self.sequences, self.epochs, self.rows, self.lost, self.unchecked):
                kept.clear()
        else:
            for scope in wanted:
                self.sequences.pop(scope, None)
                self.rows.pop(scope, None)
                self.epochs[scope] = epoch
        self.wanted = wanted
        self.shown.clear()
        self.filling = iter(self.refill(self.tables))

    def next_rows(self) -> list[View] | None:
        """The next rows of the refill, of those that are wanted; None at its end, or where the task has ended."""
        listed = list(itertools.islice(self.filling, REFILL_ROWS_MAX)) if self.filling else []
        if not listed:
            return None
        fresh = [view for view in listed if (view.name, view.scope, view.key) not in self.shown]
        wanted = self.wanted
        return fresh if wanted is None else [view for view in fresh if (view.name, view.scope) in wanted]

    def emptied(self) -> list[ScopeKey]:
        """Hashes that had rows before the refill and have none now."""
        gone = [scope for scope in self.before if scope not in self.sequences]
        self.before.clear()
        return gone

    def stop_filling(self) -> None:
        """Lets the store go."""
        self.filling = None
        self.shown.clear()

    # --- checks -----------------------------------------------------------------------------------------------------

    def next_unchecked(self, scopes_max: int) -> Sequence[ScopeKey]:
        """The next hashes to compare with what Redis has; a pass over all of them begins anew after its end."""
        if not self.unchecked:
            self.unchecked = list(self.rows)
        chunk = self.unchecked[-scopes_max:]
        del self.unchecked[-scopes_max:]
        return [scope for scope in chunk if scope in self.rows]

    def is_served_by_another(self, stored: WriterData | None, now_s: float, silent_s: float) -> bool:
        """Whether a task that began later writes these views, and has not been silent for ``silent_s``."""
        if stored is None or stored.epoch <= self.epoch:
            return False
        seen = (stored.epoch, stored.at_ns)
        if seen != self.rival[:2]:
            self.rival = (*seen, now_s)
        return now_s - self.rival[2] < silent_s

    def data(self, writer: str, partition: int, redis: RedisState, now_ns: int) -> WriterData:
        """The state of these views now, for their readers."""
        assert self.writer is not None
        complete = not self.dirty and not self.lost and self.filling is None
        state: Literal["filling", "live"] = "live" if complete else "filling"
        return WriterData(
            writer=writer,
            partition=partition,
            partitions=self.writer.partitions,
            epoch=self.epoch,
            state=state,
            as_of_ns=self.clock.as_of_ns,
            data_ns=self.clock.data_ns,
            redis=redis,
            at_ns=now_ns,
        )
