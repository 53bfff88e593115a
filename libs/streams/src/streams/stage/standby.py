"""Warm standbys: a store of a partition that somebody else serves, kept close to the end of its changelog.

A standby reads what is committed and writes it to the store that a task of the partition would open, by the code that
a task restores with; it writes nothing to Kafka and claims nothing. When the partition is assigned to this process the
standby ends first and gives the directory's lock back. What the task then opens is a local store like any other, which
happens to be fresh: fencing, claims and the order of opening do not know of it. See docs/adr/0014.
"""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from streams.model.declaration import Stage
from streams.model.errors import Refused, Retriable
from streams.model.log import POLL_MS, Log, Partition
from streams.opening.ownership import OFFSET_MAX
from streams.opening.restore import ChangelogCopy, make_usable
from streams.process import metrics
from streams.process.backoff import Backoff
from streams.process.logs import get_logger
from streams.process.settings import Settings
from streams.state.store import Store, destroy
from streams.state.store_errors import CorruptStore

_log = get_logger(__name__)
LOOK_EVERY_S: Final = 1.0


@dataclass
class Standby:
    """Follows one partition until it is cancelled. Its trouble is its own: it waits and begins anew."""

    stage: Stage
    partition: int
    log: Log
    settings: Settings
    open_store: Callable[[Path], Store]
    discard: Callable[[Path], None] = destroy
    state: str = "opening"
    position: int = 0
    end: int = 0
    """The last stable offset when it was last looked at."""

    def __post_init__(self) -> None:
        self._path = self.stage.store_path(self.settings, self.partition)
        self._where = {"stage": self.stage.full_name, "partition": self.partition}
        self._labels = (self.stage.app, self.stage.name, str(self.partition))

    def page(self) -> dict[str, Any]:
        """For the ready page; a standby never makes a process unready."""
        return {"state": self.state, "position": self.position, "lag": max(0, self.end - self.position)}

    async def run(self) -> None:
        """Until cancelled. Whatever it meets, a full disk or a damaged store, it meets again later and harms nobody."""
        backoff = self.settings.restart.backoff()
        while True:
            try:
                await self._follow(backoff)
            except asyncio.CancelledError:
                current = asyncio.current_task()
                if current is None or current.cancelling():
                    raise
                error: Exception = Retriable("a cancellation that nobody asked for")
            except Exception as trouble:
                error = trouble
            if isinstance(error, CorruptStore):
                self.discard(self._path)
            self.state = "refused" if isinstance(error, Refused) else "waiting"
            delay = backoff.next()
            _log.warning("standby_reopens", cause=type(error).__name__, error=str(error), in_s=delay, **self._where)
            await asyncio.sleep(delay)

    async def _follow(self, backoff: Backoff) -> None:
        self.state = "opening"
        changelog = Partition(self.stage.changelog.name, self.partition)
        store = self.open_store(self._path)
        try:
            end = await self.log.high_watermark(changelog)
            await make_usable(self.log, store, changelog, end, self.stage.registered(self.partition))
            copy = ChangelogCopy(self.log, changelog, store, check=self.stage.row_check())
            try:
                await self._copy(copy, backoff)
            finally:
                await copy.close()
                metrics.STANDBY_LAG.remove(*self._labels)
        finally:
            store.close()

    async def _copy(self, copy: ChangelogCopy, backoff: Backoff) -> None:
        loop = asyncio.get_running_loop()
        look_s = loop.time()
        while True:
            if loop.time() >= look_s:
                self.end = await self.log.last_stable_offset(copy.changelog)
                look_s = loop.time() + LOOK_EVERY_S
            self.position = copy.position
            metrics.STANDBY_LAG.labels(*self._labels).set(max(0, self.end - self.position))
            if self.state != "following" and self.position >= self.end:
                self.state = "following"
                backoff.reset()
                _log.info("standby_warm", rows=copy.rows, position=self.position, **self._where)
            await copy.advance(OFFSET_MAX, POLL_MS)


class Standbys:
    """The standbys of one stage in a process."""

    def __init__(self, make: Callable[[int], Standby]) -> None:
        self._make = make
        self._standbys: dict[int, tuple[Standby, asyncio.Task[None]]] = {}

    async def keep_only(self, partitions: Collection[int]) -> None:
        """Ends all others; when this returns their stores are closed."""
        ending = {p: running for p, (_, running) in self._standbys.items() if p not in partitions}
        for running in ending.values():
            running.cancel()
        await asyncio.gather(*ending.values(), return_exceptions=True)
        for partition in ending:
            standby, _ = self._standbys.pop(partition)
            _log.info("standby_ended", stage=standby.stage.full_name, partition=partition, position=standby.position)

    def start(self, partitions: Collection[int]) -> None:
        """Begins those that are not there yet."""
        for partition in sorted(set(partitions) - self._standbys.keys()):
            standby = self._make(partition)
            name = f"standby {standby.stage.full_name}.{partition}"
            self._standbys[partition] = (standby, asyncio.create_task(standby.run(), name=name))

    def running(self) -> list[Standby]:
        """All of them."""
        return [standby for standby, _ in self._standbys.values()]

    def page(self) -> dict[str, Any]:
        """Partition → how its standby is."""
        return {str(partition): standby.page() for partition, (standby, _) in sorted(self._standbys.items())}
