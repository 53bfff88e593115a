"""A stage in a process: follows the group's assignment, one task per partition, opened anew after trouble."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import mode

from streams.commit.lane import Lane
from streams.group.assignment import Assignment
from streams.group.membership import Membership
from streams.group.resets import ResetWatch
from streams.kafka.admin import create_beside
from streams.kafka.held_back import BlockWatch
from streams.kafka.kafka_log import KafkaLog
from streams.kafka.topic_check import Expected, TopicCheck
from streams.model.declaration import Stage
from streams.model.errors import Fatal, Fenced, LogError, Newer, Refused, Retriable
from streams.model.log import Log, Partition
from streams.model.tables import GlobalTable
from streams.process import metrics
from streams.process.backoff import Backoff
from streams.process.logs import get_logger
from streams.process.settings import Settings
from streams.stage.given_up import GivenUp
from streams.stage.progress import Progress
from streams.stage.standby import Standby, Standbys
from streams.stage.task import Task
from streams.state.fences import FenceRaised, FenceView, stand_still, unless_fenced
from streams.state.globals import GlobalFollower
from streams.state.store import RocksStore, Store, destroy
from streams.state.store_errors import UndecodableRow
from streams.views.publisher import Publisher

_log = get_logger(__name__)


class Assignments(Protocol):
    """Source of the assignment: the partitions that this process serves."""

    async def changed(self) -> Assignment:
        """Waits for the next assignment and returns it."""
        ...

    def unable(self, partitions: frozenset[int]) -> None:
        """Says which partitions this process cannot serve: all of them, each time that changes."""
        ...


class StageRunner:
    """Keeps a task running for every assigned partition; knows no clock, network or disk but what it is given."""

    def __init__(
        self,
        stage: Stage,
        settings: Settings,
        log: Log,
        shared: Mapping[str, GlobalTable],
        publisher: Publisher | None = None,
        open_store: Callable[[Path], Store] = RocksStore,
        clock_ns: Callable[[], int] = time.time_ns,
        discard: Callable[[Path], None] = destroy,
        fences: FenceView | None = None,
    ) -> None:
        self.stage = stage
        self.tasks: dict[int, Task] = {}
        self._settings = settings
        self._log = log
        self._shared = shared
        self._publisher = publisher
        self._open_store = open_store
        self._clock_ns = clock_ns
        self._running: dict[int, asyncio.Task[None]] = {}
        self._discard = discard
        self._fences = fences
        self.standbys = Standbys(lambda p: Standby(self.stage, p, log, settings, open_store, discard))
        self.given_up = GivenUp(stage, settings, open_store, discard)
        self._failure: asyncio.Future[None] | None = None
        self._workers: frozenset[str] = frozenset()
        self._lane = self._make_lane() if settings.producers == "process" else None

    def _make_lane(self) -> Lane:
        stage = self.stage

        def changelog() -> list[Partition]:
            return [Partition(stage.changelog.name, number) for number in range(stage.changelog.partitions)]

        observe = metrics.COMMIT_SECONDS.labels(stage.app, stage.name).observe
        process_id = stage.process_id(self._settings.worker_id)
        lane = partial(Lane, shared=True, changelog=changelog, rest=stage.rest)
        return lane(process_id, self._log, self._settings, self._writes, observe)

    def _writes(self) -> set[Partition]:
        """Everywhere that transactions of this process may write."""
        return {where for partition in self._running for where in self.stage.writes(partition)}

    async def follow(self, assignments: Assignments) -> None:
        """Until cancelled. Raises what no new opening can mend."""
        self._failure = asyncio.get_running_loop().create_future()
        self.given_up.say = assignments.unable
        retrying = asyncio.create_task(self.given_up.retry(self.tasks, self._running), name="given up")
        try:
            await self._follow(assignments, self._failure)
        finally:
            retrying.cancel()

    async def _follow(self, assignments: Assignments, failure: asyncio.Future[None]) -> None:
        while True:
            changing = asyncio.ensure_future(assignments.changed())
            waiters: list[asyncio.Future[Any]] = [changing, failure]
            try:
                await asyncio.wait(waiters, return_when="FIRST_COMPLETED")
                if failure.done():
                    failure.result()
                await self.serve(*changing.result())
            finally:
                changing.cancel()

    async def serve(
        self, assigned: frozenset[int], followed: frozenset[int] = frozenset(), workers: frozenset[str] = frozenset()
    ) -> None:
        """Releases what is no longer assigned, opens what is new; what stays is not disturbed.

        A partition's store is open once: its task is ended before a standby begins, its standby before a task.
        """
        self._workers = workers
        followed = followed - assigned - self.given_up.partitions if self.keeps_standbys else frozenset()
        stage = self.stage.full_name
        _log.info("assigned", stage=stage, partitions=sorted(assigned), standbys=sorted(followed))
        leaving = {p: running for p, running in self._running.items() if p not in assigned}
        for running in leaving.values():
            running.cancel()
        await asyncio.gather(*leaving.values(), return_exceptions=True)
        for partition in leaving:
            del self._running[partition]
            self.tasks.pop(partition, None)
        await self.standbys.keep_only(followed)
        for partition in sorted(assigned - self._running.keys()):
            name = f"{self.stage.full_name}.{partition}"
            self._running[partition] = asyncio.create_task(self._keep(partition), name=name)
        self.standbys.start(followed)

    def fenced(self) -> int:
        """How many partitions of this process stand still by a fence."""
        fences, stage = self._fences, self.stage.full_name
        return sum(fences.of(stage, partition) is not None for partition in self._running) if fences else 0

    @property
    def keeps_standbys(self) -> bool:
        """Bulk state is no copy of a changelog: a stage with some has none."""
        return self._settings.standbys > 0 and self.stage.snapshotted() is None

    def _lives(self, owner: str) -> bool:
        """Whether the owner may still give a partition back; a producer of a partition's own may be anybody's."""
        is_worker = owner.startswith(self.stage.process_id(""))
        return not (is_worker and self._workers) or owner in map(self.stage.process_id, self._workers)

    async def close(self) -> None:
        """Releases everything."""
        await self.serve(frozenset())
        if self._lane:
            await self._lane.close()

    async def _keep(self, partition: int) -> None:
        """Opens the task, and again after what a new opening mends."""
        backoff = self._settings.restart.backoff()
        suspects: set[tuple[str, int]] = set()
        refused, strict = "", False
        while True:
            task = Task(
                self.stage,
                partition,
                self._log,
                self._settings,
                self._shared,
                self._publisher,
                self._open_store,
                self._clock_ns,
                suspects,
                strict,
                self._discard,
                self._lane,
                self._lives,
                self._fences,
            )
            self.tasks[partition] = task
            try:
                await unless_fenced(self._fences, self.stage.full_name, partition, partial(self._run, task))
            except (Fenced, Retriable, OSError) as error:
                strict = strict or isinstance(error, UndecodableRow)
                await asyncio.sleep(self._reopens(task, error, backoff))
            except FenceRaised as raised:
                task.progress = Progress("fenced", reason=str(raised))
                await stand_still(self._fences, raised, self.stage.app, self.stage.name, partition)
            except Refused as refusal:
                reason = f"{refusal}; {self._remedy(refusal, partition)}"
                if isinstance(refusal, Newer):
                    self.given_up.refused(partition, reason)
                self._refuse(task, reason, refused)
                refused = reason
                await asyncio.sleep(self._settings.restart.backoff_max_s)
            except Exception as error:
                _log.error("stage_failed", stage=self.stage.full_name, partition=partition, error=repr(error))
                if self._failure and not self._failure.done():
                    self._failure.set_exception(error)
                raise

    def _reopens(self, task: Task, error: Exception, backoff: Backoff) -> float:
        """Notes why a task ended. Returns in how many seconds the next one begins."""
        cause = type(error).__name__
        metrics.REOPENS.labels(self.stage.app, self.stage.name, cause).inc()
        served = task.progress.state == "running"
        if isinstance(error, OSError):
            self.given_up.store_failed(task, error)
        task.progress = Progress("waiting", reason=str(error) if isinstance(error, OSError) else "")
        if served:
            backoff.reset()
        delay = 0.0 if served and task.suspects else backoff.next()
        where = {"stage": self.stage.full_name, "partition": task.partition}
        _log.warning("task_reopens", cause=cause, error=str(error), in_s=delay, **where)
        return delay

    def _remedy(self, refusal: Refused, partition: int) -> str:
        command, *more = refusal.remedy.split(" ")
        which = [f"--partition {partition}"] if more or command == "begin" else []
        return f"see `{' '.join(['tidemark stage', command, self.stage.full_name, *more, *which])}`"

    def _refuse(self, task: Task, reason: str, before: str) -> None:
        """The partition stands still until an operator has put it right; that is looked for now and then."""
        task.progress = Progress("refused", reason=reason)
        metrics.REFUSED.labels(self.stage.app, self.stage.name, str(task.partition)).set(1)
        if reason != before:
            _log.error("partition_refused", stage=self.stage.full_name, partition=task.partition, reason=reason)

    @staticmethod
    async def _run(task: Task) -> None:
        """Until this is cancelled. A cancellation that some library lets slip must not end the partition in silence."""
        try:
            await task.run()
        except asyncio.CancelledError as stray:
            current = asyncio.current_task()
            if current is None or current.cancelling():
                raise
            raise Retriable("a cancellation that nobody asked for") from stray


class StageService(mode.Service):  # type: ignore[misc]
    """Runs one stage inside a worker, on Kafka."""

    def __init__(self, stage: Stage, settings: Settings, publisher: Publisher | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stage = stage
        self._settings = settings
        self._kafka = KafkaLog(settings, f"{stage.full_name}-{settings.worker_id}")
        self._membership: Membership | None = None
        self._followers = [GlobalFollower(table, self._kafka, settings=settings) for table in stage.globals()]
        shared = {follower.view.declaration.name: follower.view for follower in self._followers}
        if fences := FenceView(stage.fences) if stage.fences else None:
            self._followers.append(GlobalFollower(fences.declaration, self._kafka, fences, settings))
        self._runner = StageRunner(stage, settings, self._kafka, shared, publisher, fences=fences)
        self._topics = TopicCheck(stage.app, stage.name, topics_of(stage), self._kafka, settings.topics_interval_s)
        self._blocks = BlockWatch(self._kafka, stage.app, stage.full_name, settings.blocked_after_s)
        self._resets = ResetWatch(stage.full_name)

    async def on_start(self) -> None:
        await self._kafka.start()
        stage = self.stage
        await self._have_own_topics()
        await self._topics.look()
        self._runner.stage = replace(stage, missing=await self._missing_dead_letters())
        for follower in self._followers:
            follower.start()
        self._membership = membership = Membership(self._settings, stage.full_name, [t.name for t in stage.inputs])
        metrics.STRANGERS.labels(stage.app, stage.name).set_function(lambda: len(membership.strangers))
        metrics.GROUP_TROUBLE.labels(stage.app, stage.name).set_function(lambda: bool(membership.trouble()))
        await membership.start()
        self.add_future(self._follow(membership))
        self.add_future(self._report_positions(membership))
        self.add_future(self._topics.keep_looking())
        self.add_future(self._blocks.keep_looking())

    async def _have_own_topics(self) -> None:
        """The register and the fences are the runtime's own: they are made where an older topics job did not."""
        for topic in filter(None, (self.stage.register, self.stage.fences)):
            try:
                await self._kafka.partition_count(topic.name)
            except Fatal:
                await create_beside(self._settings.kafka.bootstrap, topic, self.stage.changelog.name)

    async def _missing_dead_letters(self) -> frozenset[str]:
        """A stage runs without them until it meets poison; but no marker can be written to what is not there."""
        missing = set()
        for topic in self.stage.inputs:
            try:
                await self._kafka.partition_count(topic.dead_letters)
            except Fatal:
                missing.add(topic.dead_letters)
        return frozenset(missing)

    async def on_stop(self) -> None:
        await self._runner.close()
        if self._membership:
            await self._membership.stop(hand_over=self._runner.keeps_standbys)
        for follower in self._followers:
            await follower.stop()
        await self._kafka.stop()

    async def _follow(self, membership: Membership) -> None:
        """Serves what is assigned; nothing while the topics are not such that it is safe to."""
        for follower in self._followers:
            await follower.complete.wait()
        while True:
            self._refuse_all(is_refused=bool(self._topics.dangers))
            await self._topics.until_safe()
            self._refuse_all(is_refused=False)
            membership.repeat()
            following = asyncio.ensure_future(self._runner.follow(membership))
            stopping = asyncio.ensure_future(self._topics.until_stopped())
            try:
                await asyncio.wait([following, stopping], return_when="FIRST_COMPLETED")
            finally:
                stopping.cancel()
                if not following.done():
                    following.cancel()
                await asyncio.gather(following, stopping, return_exceptions=True)
            await self._runner.serve(frozenset())  # at once: another process may have the worker's id, and serve
            if not following.cancelled():
                following.result()

    def _refuse_all(self, *, is_refused: bool) -> None:
        for number in range(self.stage.changelog.partitions):
            metrics.REFUSED.labels(self.stage.app, self.stage.name, str(number)).set(int(is_refused))
        if is_refused:
            reasons = [str(each) for each in self._topics.dangers]
            _log.error("stage_refused", stage=self.stage.full_name, reasons=reasons)

    async def _report_positions(self, membership: Membership) -> None:
        while not self.should_stop:
            await self.sleep(self._settings.group_offsets_interval_s)
            positions = {
                Partition(topic, partition): offset
                for partition, task in self._runner.tasks.items()
                if task.progress.state == "running"
                for topic, offset in task.positions.items()
            }
            if positions:
                with contextlib.suppress(LogError):
                    await self._resets.look(membership, positions)
                    await membership.report(positions)

    def tasks(self) -> list[Task]:
        """The tasks of this process, for measurements and reads."""
        return list(self._runner.tasks.values())

    def ready(self) -> tuple[bool, Any]:
        """Ready once the globals are complete and every assigned partition is served.

        Not ready either where the topics are not safe, the group cannot be relied on, or an input is held back.
        """
        waiting = [f.view.declaration.name for f in self._followers if not f.complete.is_set()]
        tasks = self._runner.tasks
        partitions = {str(number): task.progress.page() for number, task in sorted(tasks.items())}
        membership = self._membership
        joined = membership is not None and membership.joined
        trouble = membership.trouble() if membership else ""
        wanted = membership.assigned.served if membership else frozenset()
        served = all(p in tasks and tasks[p].progress.state == "running" for p in wanted)
        blocked = self._blocks.of(
            {topic.name for topic in (*self.stage.inputs, *(table.topic for table in self.stage.globals()))}
        )
        detail = {
            "globals_waiting": waiting,
            "partitions": partitions,
            "standbys": self._runner.standbys.page(),
            "topics": self._topics.page(),
            "group": trouble,
            "strangers": membership.strangers if membership else (),
            "blocked": blocked,
            "given_up": self._runner.given_up.page(),
            "fenced": self._runner.fenced(),
        }
        sound = not self._topics.dangers and not trouble and not blocked
        return not waiting and joined and served and sound, detail


def topics_of(stage: Stage) -> list[Expected]:
    """Requirements on a stage's topics for it to serve."""
    shared = [table.topic for table in stage.globals()]
    return [
        *(Expected(topic) for topic in (*stage.inputs, *stage.outputs, *shared)),
        Expected(stage.changelog, holds_state=True),
        *(Expected(topic.dead_letter_topic, needed=False) for topic in stage.inputs),
        *(Expected(topic, holds_state=True, needed=False) for topic in (stage.register, stage.fences) if topic),
    ]
