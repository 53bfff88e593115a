"""Workers, their group and their disks: processes that are killed, stopped and continued, join and leave."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Literal

from streams.group.assignment import Assignment
from streams.model.declaration import Stage
from streams.model.log import Partition
from streams.process.backoff import Backoff
from streams.process.settings import Settings
from streams.stage.runner import StageRunner
from streams.stage.standby import Standby
from streams.stage.task import Task
from streams.state.store import position_key
from streams.testing.memory_log import MemoryLog
from streams.testing.memory_store import MemoryStore

from common.testing.simulation import harms
from common.testing.simulation.network import Killed, Process, ProcessLog, Weather
from common.testing.simulation.strangers import Strangers
from common.testing.simulation.work import CHANGELOG, INPUTS, PARTITIONS, fold

Producers = Literal["task", "process"]
Refuse = Callable[[Task, str, str], None]
SESSION_TIMEOUT_S = 6.0
NOTICE_S = 1.0
"""A member learns of a new assignment within its heartbeat: until then two of them may believe to own a partition."""
CONFUSION_S = 0.2
LOST_WRITES_MAX = 4


class Seat:
    """A worker's place in the group: hands it assignments as the group's member does. See ``stage.Assignments``."""

    def __init__(self, hear: Callable[[frozenset[int]], None]) -> None:
        self._hear = hear
        self._queue: asyncio.Queue[Assignment] = asyncio.Queue()
        self._generation = 0

    def tell(self, generation: int, partitions: frozenset[int], workers: frozenset[str]) -> None:
        """Takes the assignment over; one that arrives late, after a newer generation, no longer counts."""
        if generation > self._generation:
            self._generation = generation
            self._queue.put_nowait(Assignment(partitions, frozenset(range(PARTITIONS)) - partitions, workers))

    async def changed(self) -> Assignment:
        return await self._queue.get()

    def unable(self, partitions: frozenset[int]) -> None:
        """The group hears of it at once, and deals anew."""
        self._hear(partitions)


class Worker:
    """One process and its disk. The disk stays when the process dies."""

    def __init__(
        self,
        name: str,
        broker: MemoryLog,
        weather: Weather,
        settings: Settings,
        stage: Stage,
        struck: Collection[int] = (),
    ) -> None:
        self.name = name
        self._stage = stage
        self.refused_without_cause: list[str] = []
        self._struck = struck
        self.disk: dict[str, MemoryStore] = {}
        self.process = Process(name, alive=False)
        self.unable: frozenset[int] = frozenset()
        self.regroup: Callable[[], None] = lambda: None
        self.disturbed: list[str] = []
        self._harmed: set[str] = set()
        """Partitions whose stores had trouble of their own since they were opened."""
        self.seat = Seat(self._hear)
        self._broker = broker
        self._weather = weather
        self._settings = settings.model_copy(update={"worker_id": name})
        self.keeps_standbys = settings.standbys > 0
        self._main: asyncio.Task[None] | None = None
        self.runner: StageRunner | None = None
        self.crashed: BaseException | None = None

    def _open_store(self, path: Path) -> MemoryStore:
        store = self.disk.setdefault(path.parent.name, MemoryStore())
        store.check_open()
        if store.held:
            self.crashed = OSError(f"the store of partition {path.parent.name} is open already")
            raise self.crashed
        store.held = True
        return store

    def start(self) -> None:
        """A new process on the old disk."""
        self.process = Process(self.name)
        self.process.running.set()
        self.unable = frozenset()
        self.seat = Seat(self._hear)
        log = ProcessLog(self._broker, self._weather, self.process)
        loop = asyncio.get_running_loop()

        def clock() -> int:
            return int(loop.time() * 1e9)

        runner = StageRunner(self._stage, self._settings, log, {}, None, self._open_store, clock, self._discard)
        runner._refuse = self._noting(runner._refuse)  # type: ignore[method-assign,assignment]
        runner._reopens = self._watching(runner._reopens)  # type: ignore[method-assign]
        self.runner = runner
        self._main = asyncio.create_task(self._run(runner), name=self.name)

    def _noting(self, refuse: Refuse) -> Refuse:
        """Only a partition that an operator has touched may be refused, be it for a moment."""

        def noted(task: Task, reason: str, before: str) -> None:
            if task.partition not in self._struck:
                self.refused_without_cause.append(reason)
            refuse(task, reason, before)

        return noted

    def _hear(self, partitions: frozenset[int]) -> None:
        self.unable = partitions
        self.regroup()

    def _discard(self, path: Path) -> None:
        """A new store in the old one's place, on the same disk."""
        old = self.disk.get(path.parent.name, MemoryStore())
        self.disk[path.parent.name] = new = MemoryStore()
        new.refuses = old.refuses

    def harm(self, partition: int) -> MemoryStore | None:
        """The partition's store, which may refuse from now on; None where this disk has none."""
        if str(partition) not in self.disk:
            return None
        self._harmed.add(str(partition))
        return self.disk[str(partition)]

    def _watching(self, reopens: Callable[[Task, Exception, Backoff], float]) -> Callable[..., float]:
        """Only a task whose own store has trouble may end by that."""

        def watched(task: Task, error: Exception, backoff: Backoff) -> float:
            if isinstance(error, OSError) and str(task.partition) not in self._harmed:
                self.disturbed.append(f"partition {task.partition}: {error}")
            return reopens(task, error, backoff)

        return watched

    async def _run(self, runner: StageRunner) -> None:
        try:
            await runner.follow(self.seat)
        except (Killed, asyncio.CancelledError):
            raise
        except BaseException as error:
            self.crashed = error

    async def kill(self, lost_writes: int) -> None:
        """SIGKILL; the newest writes of its stores that were not synced yet are gone with a power cut."""
        self.process.alive = False
        self.process.running.set()
        if self._main and self.runner:
            self._main.cancel()
            await asyncio.gather(self._main, return_exceptions=True)
            await self.runner.close()
        for store in self.disk.values():
            store.crash(lost_writes)


def _told(workers: Sequence[Worker]) -> frozenset[str]:
    """Members as they hear of each other, where they keep standbys: elsewhere they wait for owners that are gone."""
    return frozenset(worker.name for worker in workers if worker.keeps_standbys)


class Group:
    """The group's coordinator: who is heard from is given partitions, in turn; every member is told a little later."""

    def __init__(self, rng: random.Random, strangers: Strangers) -> None:
        self._rng = rng
        self._strangers = strangers
        self._generation = 0
        self.assigned: dict[int, Worker] = {}

    def assign(self, workers: list[Worker]) -> None:
        """Deals the partitions out to those who are alive and not stopped for longer than the session."""
        self.assigned = {p: self._served_by(p, workers) for p in range(PARTITIONS)} if workers else {}
        if self._strangers.members and workers:
            named = {worker.name: worker for worker in workers}
            dealt = self._strangers.deal([worker.name for worker in workers])
            self.assigned = {p: named[member] for p, member in dealt.items() if member in named}
        self._generation += 1
        loop, names = asyncio.get_running_loop(), _told(workers)
        for worker in workers:
            partitions = frozenset(p for p, owner in self.assigned.items() if owner is worker)
            loop.call_later(self._rng.random() * NOTICE_S, worker.seat.tell, self._generation, partitions, names)

    @staticmethod
    def _served_by(partition: int, workers: list[Worker]) -> Worker:
        """In turn, and passing over those who say that they cannot."""
        turn = [workers[(partition + n) % len(workers)] for n in range(len(workers))]
        return next((worker for worker in turn if partition not in worker.unable), turn[0])

    def confuse(self, workers: list[Worker]) -> None:
        """Everybody is told that all partitions are its own, as slow members of several generations may believe."""
        self._generation += 1
        loop, names = asyncio.get_running_loop(), _told(workers)
        for worker in workers:
            everything = frozenset(range(PARTITIONS))
            loop.call_later(self._rng.random() * CONFUSION_S, worker.seat.tell, self._generation, everything, names)

    def contend(self, workers: list[Worker], rivals: list[Worker]) -> None:
        """The rivals are told that the first partition is theirs; the others stay out of it, with one worker."""
        self._generation += 1
        others = range(1, PARTITIONS)
        loop, names = asyncio.get_running_loop(), _told(workers)
        for worker in workers:
            partitions = frozenset({*((0,) if worker in rivals else ()), *(others if worker is workers[-1] else ())})
            loop.call_later(self._rng.random() * CONFUSION_S, worker.seat.tell, self._generation, partitions, names)


class Cluster:
    """Everything that runs, and what can be done to it."""

    def __init__(
        self, broker: MemoryLog, rng: random.Random, settings: Settings, producers: Sequence[Producers], stage: Stage
    ) -> None:
        self.rng = rng
        self.weather = Weather(rng)
        self.weather.broker_up.set()
        self.broker = broker
        self.strangers = Strangers(broker, rng)
        self.group = Group(rng, self.strangers)
        self.struck: set[int] = set()
        """Partitions with a topic that an operator has touched."""
        self.begun: dict[int, int] = {}
        """Partitions of these that an operator has let begin anew since, which are to work, and the offset where."""
        self.workers = [
            Worker(
                f"worker-{n}",
                broker,
                self.weather,
                settings.model_copy(update={"producers": kind}),
                stage,
                self.struck,
            )
            for n, kind in enumerate(producers)
        ]
        self._stopped: dict[str, asyncio.TimerHandle] = {}
        for worker in self.workers:
            worker.regroup = self._regroup

    def members(self) -> list[Worker]:
        """Those whom the group counts in."""
        return [w for w in self.workers if w.process.alive and w.name not in self._stopped]

    def start(self, index: int) -> None:
        worker = self.workers[index % len(self.workers)]
        if not worker.process.alive:
            worker.start()
            self.group.assign(self.members())

    async def kill(self, index: int) -> None:
        """The group notices only when the session times out, or when the worker is back."""
        worker = self.workers[index % len(self.workers)]
        if worker.process.alive:
            self.resume(index)
            await worker.kill(self.rng.randrange(LOST_WRITES_MAX + 1))
            self._later(self._regroup)

    def stop(self, index: int) -> None:
        """SIGSTOP: it believes what it believed; past the session timeout its partitions are given to others."""
        worker = self.workers[index % len(self.workers)]
        if worker.process.alive and worker.process.running.is_set():
            worker.process.running.clear()
            loop = asyncio.get_running_loop()
            self._stopped[worker.name] = loop.call_later(SESSION_TIMEOUT_S, self._regroup)

    def resume(self, index: int) -> None:
        """SIGCONT: a zombie, if others have taken over meanwhile."""
        worker = self.workers[index % len(self.workers)]
        if worker.name in self._stopped:
            self._stopped.pop(worker.name).cancel()
            worker.process.running.set()
            self._later(self._regroup, NOTICE_S)

    async def new_disk(self, index: int) -> None:
        """The worker is killed and comes back on another machine."""
        await self.kill(index)
        worker = self.workers[index % len(self.workers)]
        if not worker.process.alive:
            worker.disk.clear()

    def strike_store(self, kind: str, target: int) -> None:
        """One of ``harms.HARMS``, to a store of a worker that has one."""
        worker, partition = self.workers[target % len(self.workers)], self.rng.randrange(PARTITIONS)
        if store := worker.harm(partition):
            harms.strike(store, kind, self.rng)

    def heal_disks(self) -> None:
        """Somebody makes room, but not everywhere: where another worker can serve the partition, one stays sick."""
        for partition in map(str, range(PARTITIONS)):
            stores = [worker.disk[partition] for worker in self.workers if partition in worker.disk]
            harms.heal([store for store in stores if store.refuses], len(self.workers))

    def operate(self, kind: str, target: int) -> None:
        """Makes an operator's mistake with a topic. A partition that it hits may be refused from then on."""
        partition, broker = target % PARTITIONS, self.broker
        changelog, source = Partition(CHANGELOG.name, partition), Partition(INPUTS[target % 2].name, partition)
        match kind:
            case "trim changelog":
                broker.trim(changelog, int(broker.end_offset(changelog) * self.rng.random()))
            case "truncate changelog":
                broker.truncate(changelog, int(broker.end_offset(changelog) * self.rng.uniform(0.3, 1)))
            case "trim input" if position_key(source.topic) in fold(broker, partition):  # else nothing is known of it
                broker.trim(source, int(broker.end_offset(source) * self.rng.uniform(0.5, 1)))
            case "recreate changelog":
                broker.recreate(CHANGELOG.name)
            case "recreate input":
                broker.recreate(source.topic)
        self.struck |= set(range(PARTITIONS)) if kind.startswith("recreate") else {partition}

    def state_of(self, partition: int) -> str:
        """State of the partition by its owner's word."""
        owner = self.group.assigned.get(partition)
        task = owner.runner.tasks.get(partition) if owner and owner.runner else None
        return task.progress.state if task else "away"

    def refused(self, partition: int) -> bool:
        """Whether the partition's owner says that it does not serve it."""
        return self.state_of(partition) == "refused"

    def stranger_joins(self, target: int) -> None:
        """The group is dealt out again, as whenever somebody joins."""
        self.strangers.join(target)
        self._regroup()

    def stranger_leaves(self) -> None:
        self.strangers.leave()
        self._regroup()

    def rebalance(self, index: int) -> None:
        """For no reason that a worker could see, the partitions are dealt out in another order."""
        members = self.members()
        if members:
            turn = index % len(members)
            self.group.assign(members[turn:] + members[:turn])

    def confuse(self) -> None:
        """All members race for every partition, until the group deals them out again."""
        self.group.confuse(self.members())
        self._later(self._regroup)

    def contend(self, index: int) -> None:
        """Two members, or all, race for one partition. As they have no other to lose, even a slow one gets far."""
        members = self.members()
        self.group.contend(members, members if index % 2 else [members[0], members[-1]])
        self._later(self._regroup)

    def _later(self, what: Callable[[], None], within_s: float = SESSION_TIMEOUT_S) -> None:
        asyncio.get_running_loop().call_later(self.rng.random() * within_s, what)

    def _regroup(self) -> None:
        self.group.assign(self.members())

    def store_of(self, partition: int) -> MemoryStore | None:
        """The store of the partition's owner."""
        owner = self.group.assigned.get(partition)
        return owner.disk.get(str(partition)) if owner else None

    def positions_of(self, partition: int) -> dict[str, int]:
        """Input positions in the owner's store, if its task is running."""
        owner, store = self.group.assigned.get(partition), self.store_of(partition)
        task = owner.runner.tasks.get(partition) if owner and owner.runner else None
        if store is None or task is None or task.progress.state != "running":
            return {}
        rows = store.rows()
        kept = {topic.name: rows.get(position_key(topic.name), b"0") for topic in INPUTS}
        # What was spoiled since the task was opened, it does not read again.
        return {name: int(value) if value.isdigit() else task.positions[name] for name, value in kept.items()}

    def standbys(self) -> Iterator[tuple[Standby, MemoryStore]]:
        """Every standby that runs, with its store."""
        for worker in self.workers:
            if worker.runner:
                for standby in worker.runner.standbys.running():
                    yield standby, worker.disk[str(standby.partition)]

    def broker_down(self) -> None:
        self.weather.broker_up.clear()

    def broker_back(self) -> None:
        self.weather.broker_up.set()

    async def shut_down(self) -> None:
        for index, worker in enumerate(self.workers):
            with contextlib.suppress(Killed):
                self.resume(index)
                await worker.kill(0)
