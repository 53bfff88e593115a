"""A task of a stage beside its twin without a batch handler: whatever comes, both write and show the same."""

from collections.abc import Sequence
from typing import Any

from streams.commit.handling import PoisonError
from streams.commit.transaction import Effects, TaskParts, apply, discard
from streams.model.declaration import Stage
from streams.model.framing import framed_topics
from streams.model.log import Partition
from streams.model.message import Message
from streams.state.globals import GlobalView
from streams.state.overlay import TaskTables
from streams.testing.memory_store import MemoryStore
from streams.views.publisher import as_it_stands, encode_envelope


class BothWays:
    """One partition of a stage, twice."""

    def __init__(self, stage: Stage, shared: dict[str, GlobalView], log_format: Any) -> None:
        self.now_ns = 1_000
        self._tasks = [
            TaskParts(
                stage.full_name,
                stage.handler,
                MemoryStore(),
                TaskTables(0, shared=shared),
                Partition(stage.changelog.name, 0),
                frozenset(topic.name for topic in stage.outputs),
                clock_ns=lambda: self.now_ns,
                batch_handler=batch_handler,
                framed=framed_topics(stage.outputs, log_format),
            )
            for batch_handler in (None, stage.batch_handler)
        ]
        for task in self._tasks:
            for table in stage.changelogged():
                task.tables.add(table, task.store)

    @property
    def at_once(self) -> TaskParts:
        """The one with the batch handler."""
        return self._tasks[1]

    def discard(self) -> None:
        """Nothing of what was handled and not committed has happened."""
        for task in self._tasks:
            discard(task)

    def handle(self, batch: Sequence[Message], *, crash: bool = False) -> list[tuple[Partition, list[Any]]]:
        """Commits the batch; a message that is refused is left out. ``crash``: once before it is committed.

        Returns the records that were written, by partition.
        """
        self.now_ns += 1
        if crash:
            for task in self._tasks:
                _applied(task, batch)
            self.discard()
        one_by_one, at_once = (_applied(task, batch) for task in self._tasks)
        if isinstance(one_by_one, PoisonError) or isinstance(at_once, PoisonError):
            assert isinstance(one_by_one, PoisonError)
            assert isinstance(at_once, PoisonError)
            assert (at_once.index, repr(at_once.cause)) == (one_by_one.index, repr(one_by_one.cause))
            self.discard()
            around = batch[: at_once.index], batch[at_once.index + 1 :]
            return [written for part in around if part for written in self.handle(part)]
        seen = [self._seen(*each) for each in zip(self._tasks, (one_by_one, at_once), strict=True)]
        assert seen[1] == seen[0]
        for task in self._tasks:
            task.store.write([row for table in task.tables.overlays.values() for row in table.changes()], 0)
            for table in task.tables.overlays.values():
                table.settle()
        return seen[0][0]

    def _seen(self, task: TaskParts, effects: Effects) -> tuple[list[Any], list[bytes], dict[bytes, bytes | None]]:
        written: dict[Partition, list[Any]] = {}
        for place, records in effects.outputs:
            written.setdefault(place, []).extend(map(tuple, records))
        views = [
            encode_envelope(as_it_stands(view, task.tables), 1, 1, (view.origin_ns, 0, 0), traceparent)
            for view, traceparent in effects.views
        ]
        rows = dict(row for table in task.tables.overlays.values() for row in table.changes())
        return sorted(written.items()), views, rows


def _applied(task: TaskParts, batch: Sequence[Message]) -> Effects | PoisonError:
    try:
        return apply(task, batch)
    except PoisonError as poison:
        return poison
