"""A stage in a process: follows the group's assignment, one task per partition, opened anew after trouble."""

import asyncio
import contextlib
from typing import Any

import mode

from common.contracts.topics import Topic
from common.runtime import metrics
from common.runtime.backoff import Backoff
from common.runtime.errors import Fatal, Fenced, LogError, Retriable
from common.runtime.globals import GlobalFollower
from common.runtime.kafka import KafkaLog
from common.runtime.log import Partition
from common.runtime.logs import get_logger
from common.runtime.membership import Membership
from common.runtime.settings import Settings
from common.runtime.task import Stage, Task
from common.runtime.views import ViewPublisher

_log = get_logger(__name__)


async def check_partitions(log: KafkaLog, topics: tuple[Topic, ...]) -> None:
    """Partition counts of a running stage are frozen. Raises Fatal on any other than the topic table's."""
    for topic in topics:
        found = await log.partition_count(topic.name)
        if found != topic.partitions:
            raise Fatal(f"topic {topic.name} has {found} partitions, the topic table says {topic.partitions}")


class StageService(mode.Service):  # type: ignore[misc]
    """Runs one stage inside a worker."""

    def __init__(self, stage: Stage, settings: Settings, publisher: ViewPublisher | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stage = stage
        self._settings = settings
        self._publisher = publisher
        self._kafka = KafkaLog(settings, f"{stage.full_name}-{settings.worker_id}")
        self._membership: Membership | None = None
        self._followers: list[GlobalFollower] = []
        self._tasks: dict[int, Task] = {}
        self._running: dict[int, asyncio.Task[None]] = {}

    async def on_start(self) -> None:
        await self._kafka.start()
        stage = self.stage
        shared = tuple(table.topic for table in stage.globals())
        await check_partitions(self._kafka, (*stage.inputs, *stage.outputs, stage.changelog, *shared))
        for table in stage.globals():
            follower = GlobalFollower(table, self._kafka)
            follower.start()
            self._followers.append(follower)
        self._membership = Membership(self._settings, stage.full_name, [topic.name for topic in stage.inputs])
        await self._membership.start()
        self.add_future(self._follow_assignment(self._membership))
        self.add_future(self._report_positions(self._membership))

    async def on_stop(self) -> None:
        await self._release(frozenset())
        if self._membership:
            await self._membership.stop()
        for follower in self._followers:
            await follower.stop()
        await self._kafka.stop()

    async def _follow_assignment(self, membership: Membership) -> None:
        for follower in self._followers:
            await follower.complete.wait()
        while not self.should_stop:
            assigned = await membership.changed()
            _log.info("assigned", stage=self.stage.full_name, partitions=sorted(assigned))
            await self._release(assigned)
            for partition in sorted(assigned - self._running.keys()):
                self._running[partition] = asyncio.create_task(
                    self._keep(partition), name=f"{self.stage.full_name}.{partition}"
                )

    async def _release(self, keep: frozenset[int]) -> None:
        leaving = {p: running for p, running in self._running.items() if p not in keep}
        for partition, running in leaving.items():
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            self._running.pop(partition, None)
            self._tasks.pop(partition, None)

    async def _keep(self, partition: int) -> None:
        """Opens the task, and again after what a new opening mends."""
        backoff = Backoff(self._settings.restart_backoff_min_s, self._settings.restart_backoff_max_s)
        suspects: set[tuple[str, int]] = set()
        while True:
            task = Task(
                self.stage,
                partition,
                self._kafka,
                self._settings,
                {follower.view.declaration.name: follower.view for follower in self._followers},
                self._publisher,
                suspects=suspects,
            )
            self._tasks[partition] = task
            served = False
            try:
                await task.run()
            except (Fenced, Retriable, OSError) as error:
                served = task.progress.state == "running"
                cause = type(error).__name__
                metrics.REOPENS.labels(self.stage.app, self.stage.name, cause).inc()
                if served:
                    backoff.reset()
                delay = 0.0 if suspects and served else backoff.next()
                _log.warning(
                    "task_reopens", stage=self.stage.full_name, partition=partition, cause=cause, error=str(error),
                    in_s=delay,
                )  # fmt: skip
                await asyncio.sleep(delay)
            except asyncio.CancelledError:
                raise
            except BaseException as error:
                _log.error("stage_failed", stage=self.stage.full_name, partition=partition, error=repr(error))
                await self.crash(error)
                raise

    async def _report_positions(self, membership: Membership) -> None:
        while not self.should_stop:
            await self.sleep(self._settings.group_offsets_interval_s)
            positions = {
                Partition(topic, partition): offset
                for partition, task in self._tasks.items()
                if task.progress.state == "running"
                for topic, offset in task.positions.items()
            }
            if positions:
                with contextlib.suppress(LogError):
                    await membership.report(positions)

    def tasks(self) -> list[Task]:
        """The tasks of this process, for measurements."""
        return list(self._tasks.values())

    def ready(self) -> tuple[bool, Any]:
        """Ready once the globals are complete and every assigned partition is served."""
        waiting = [f.view.declaration.name for f in self._followers if not f.complete.is_set()]
        partitions = {
            str(number): {"state": task.progress.state, "done": task.progress.done, "of": task.progress.of}
            for number, task in sorted(self._tasks.items())
        }
        joined = self._membership is not None and self._membership.joined
        wanted = self._membership.assigned if self._membership else frozenset()
        served = all(p in self._tasks and self._tasks[p].progress.state == "running" for p in wanted)
        return not waiting and joined and served, {"globals_waiting": waiting, "partitions": partitions}
