"""Fences: an auditor's word, in a compacted topic, that a partition of a stage must stand still until it is lifted.

A worker reads all of the topic before it serves anything, and follows it. A fence that is raised ends the task of its
partition between two commits; nothing is read or written there until the fence is lifted, however often the worker is
started anew. No fence means nothing: an auditor that is away, or was never there, stops nobody.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple

from streams.model.errors import Refused
from streams.model.tables import Global, GlobalRow
from streams.model.topics import Topic
from streams.process import metrics
from streams.process.logs import get_logger
from streams.state.globals import GlobalView

_log = get_logger(__name__)


class FenceRaised(Refused):
    """The partition stands still by a fence. The message names the command that lifts it."""


class Unreadable(NamedTuple):
    """Stands for a record that this release cannot read: nobody knows that it does not raise a fence."""

    reason: str
    raised: bool = True
    known: tuple[str, ...] = ()


NO_PLACES: Final[frozenset[int]] = frozenset()


class FenceView(GlobalView):
    """The newest record of each key, ``{stage}`` or ``{stage}/{partition}``."""

    def __init__(self, topic: Topic) -> None:
        super().__init__(Global("fences", topic))
        self._changed = asyncio.Event()

    def _take(self, key: bytes, value: bytes, partition: int, offset: int) -> None:
        try:
            super()._take(key, value, partition, offset)
        except ValueError as error:
            unreadable = Unreadable(f"its record at offset {offset} cannot be read: {str(error).splitlines()[0]}")
            self._rows[key] = GlobalRow(unreadable, partition, offset)

    def put(self, key: bytes | None, value: bytes | None, partition: int, offset: int) -> None:
        """Takes one record, and wakes whoever waits for a change."""
        super().put(key, value, partition, offset)
        self._changed.set()
        self._changed = asyncio.Event()

    def of(self, stage: str, partition: int) -> FenceRaised | None:
        """Why the partition must stand still; None where it may be served."""
        for name, option in ((stage, ""), (f"{stage}/{partition}", f" --partition {partition}")):
            row = self.get(name.encode())
            if row is not None and row.value.raised:
                lift = f"`tidemark fence lift {stage}{option}`"
                return FenceRaised(f"fence {name} is raised: {row.value.reason}; {lift} lifts it")
        return None

    def known(self, stage: str, partition: int) -> frozenset[int]:
        """Offsets of the partition of an output that an operator has lifted a fence from: they are not the stage's."""
        rows = (self.get(name.encode()) for name in (stage, f"{stage}/{partition}"))
        places = [place.split("/") for row in rows if row is not None for place in row.value.known]
        return frozenset(int(offset) for number, offset in places if int(number) == partition)

    async def until_raised(self, stage: str, partition: int) -> None:
        while self.of(stage, partition) is None:
            await self._changed.wait()

    async def until_lifted(self, stage: str, partition: int) -> None:
        while self.of(stage, partition) is not None:
            await self._changed.wait()


async def unless_fenced(
    fences: FenceView | None, stage: str, partition: int, work: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    """Does the work until a fence is raised. Raises FenceRaised then, with the work ended, and what the work raises."""
    if fences is None:
        return await work()
    if (raised := fences.of(stage, partition)) is not None:
        raise raised
    working = asyncio.create_task(work(), name=f"{stage}.{partition} unfenced")
    raising = asyncio.create_task(fences.until_raised(stage, partition), name=f"{stage}.{partition} fence")
    try:
        await asyncio.wait((working, raising), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
    finally:
        working.cancel()
        raising.cancel()
        await asyncio.gather(working, raising, return_exceptions=True)
    raise fences.of(stage, partition) or FenceRaised(f"fence {stage}/{partition} was raised, and is lifted again")


async def stand_still(fences: FenceView | None, raised: FenceRaised, app: str, stage: str, partition: int) -> None:
    """Says so, and returns once the fence is lifted."""
    name = f"{app}.{stage}"
    _log.error("partition_fenced", stage=name, partition=partition, reason=str(raised))
    with metrics.FENCED.labels(app, stage, str(partition)).track_inprogress():
        if fences:
            await fences.until_lifted(name, partition)
    _log.info("fence_lifted", stage=name, partition=partition)
