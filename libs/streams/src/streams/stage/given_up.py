"""Gives partitions that this worker cannot serve to another one, and takes them back once it can."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from streams.model.declaration import Stage
from streams.process import metrics
from streams.process.logs import get_logger
from streams.process.settings import Settings
from streams.stage.inability import Inability
from streams.stage.task import Task
from streams.state.store import Store
from streams.state.store_errors import CorruptStore

_log = get_logger(__name__)


class GivenUp:
    """The given up partitions of a stage in a process. ``say`` is told all of them, each time that they change."""

    def __init__(
        self, stage: Stage, settings: Settings, open_store: Callable[[Path], Store], discard: Callable[[Path], None]
    ) -> None:
        self._stage = stage
        self._settings = settings
        self._open_store = open_store
        self._discard = discard
        self._inability = Inability(settings.store.give_up_s, settings.store.retry_s, _now_s)
        self.say: Callable[[frozenset[int]], None] = lambda _partitions: None

    @property
    def partitions(self) -> frozenset[int]:
        return self._inability.partitions

    def page(self) -> dict[str, Any]:
        """For the ready page."""
        return self._inability.page()

    def store_failed(self, task: Task, error: OSError) -> None:
        """Gives the partition up where its store has refused for long enough."""
        if self._inability.failed(task.partition, str(error), served_s(task)):
            self._give_up(task.partition, str(error))

    def refused(self, partition: int, reason: str) -> None:
        """Gives the partition up at once: trying again is of no use."""
        if self._inability.refused(partition, reason):
            self._give_up(partition, reason)

    def _give_up(self, partition: int, reason: str) -> None:
        """Offers the partition to others; if there is no other worker, this one keeps it and goes on trying."""
        self._show(partition, 1)
        _log.error("partition_given_up", stage=self._stage.full_name, partition=partition, reason=reason)
        self.say(self.partitions)

    def _show(self, partition: int, given_up: int) -> None:
        metrics.GIVEN_UP.labels(self._stage.app, self._stage.name, str(partition)).set(given_up)

    async def retry(self, tasks: Mapping[int, Task], running: Collection[int]) -> None:
        """Until cancelled. Takes back what runs, because nobody else took it, and what has a store that opens again."""
        while True:
            await asyncio.sleep(self._settings.restart.backoff_min_s)
            before = self.partitions
            for partition in sorted(before):
                task = tasks.get(partition)
                if task and served_s(task) > self._settings.store.give_up_s:
                    self._inability.recovered(partition)
            for partition in self._inability.due():
                if partition not in running and self._opens(partition):
                    self._inability.recovered(partition)
            for partition in before - self.partitions:
                self._show(partition, 0)
                _log.info("partition_taken_back", stage=self._stage.full_name, partition=partition)
            if before != self.partitions:
                self.say(self.partitions)

    def _opens(self, partition: int) -> bool:
        """Whether the store of a partition that another worker serves can be opened; one that is damaged is gone."""
        path = self._stage.store_path(self._settings, partition)
        try:
            self._open_store(path).close()
        except CorruptStore:
            self._discard(path)
        except OSError:
            return False
        return True


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def served_s(task: Task) -> float:
    """For how long it has been serving; 0.0 where it is not."""
    running = task.running_since_s is not None and task.progress.state == "running"
    return _now_s() - task.running_since_s if running and task.running_since_s is not None else 0.0
