"""Faults of processes: killed, killed at a numbered step, stopped past their session, joined and left, there twice."""

import asyncio
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Final

from streams.process.failpoints import VARIABLE

from tidemark.chaos.recovery import Incident, Lane, lanes_of_service
from tidemark.chaos.scene import FIRST, PASSER_BY, SESSION_TIMEOUT_S, TWIN, Scene

DEATH_POLL_S: Final = 0.01
FAILPOINT_TIMEOUT_S: Final = 40.0
PAST_SESSION_S: Final = 2.0
JOINS: Final = 2
STAYS_S: Final = 1.0
ONE_ENDS_WITHIN_S: Final = 40.0


class Fault(ABC):
    """One fault, to be struck once. ``service`` is whom the recovery table names."""

    kind: str
    """Name for ``--only``, and for the recovery table unless ``title`` says more."""
    expected_s: ClassVar[float]
    """How long it takes with its recovery, roughly: no fault is begun that will not end in time."""
    must_refuse: ClassVar[bool] = False
    """It cannot be recovered from without an operator: what is struck must refuse, until the hand that it names has
    healed it. All others are recovered from without a hand."""

    def __init__(self, service: str) -> None:
        self.service = service

    @property
    def title(self) -> str:
        """Name in the recovery table."""
        return self.kind

    @property
    def detail(self) -> str:
        """Tells this fault from others of its kind and service."""
        return ""

    def why_not(self, scene: Scene) -> str:
        """Why it cannot be had on this machine; empty where it can."""
        return ""

    @abstractmethod
    async def strike(self, scene: Scene) -> Incident:
        """Injects it, lets it last, heals it. Recovery is watched by the caller."""

    async def fell_short(self, scene: Scene) -> str:
        """After the recovery: what should have come of it, and did not; empty where all did."""
        return ""

    def incident(self, hit: set[Lane], *, from_heal: bool = False, detail: str = "") -> Incident:
        """An incident that begins, and counts from, now."""
        now_ns = time.time_ns()
        return Incident(
            self.title,
            self.service,
            detail or self.detail,
            from_heal,
            refused=False if self.must_refuse else None,
            hit=hit,
            struck_ns=now_ns,
            counted_ns=now_ns,
        )


def healed(incident: Incident) -> Incident:
    """The fault is over now: recovery counts from here, where it counts from the heal."""
    if incident.from_heal:
        incident.counted_ns = time.time_ns()
    return incident


async def worker_of(scene: Scene, service: str) -> str:
    """The worker to hit: of the gate's, one by chance that serves something."""
    if service != FIRST:
        return service
    return await scene.busy_gate_worker(scene.chance.choice(scene.gate_workers))


class Kill(Fault):
    """SIGKILL at whatever it is doing."""

    kind = "kill"
    expected_s = 9.0

    async def strike(self, scene: Scene) -> Incident:
        worker = await worker_of(scene, self.service)
        hit = await scene.lanes_of(worker)
        incident = self.incident(hit, detail=worker)
        scene.fleet.kill(worker)
        incident.kills = 1
        return incident


class Failpoint(Fault):
    """SIGKILL by the process itself at a numbered step of the commit or of opening (``streams.process.failpoints``)."""

    expected_s = 14.0

    def __init__(self, service: str, step: str, passing: int) -> None:
        super().__init__(service)
        self.kind = f"{step.partition('.')[0]}-step"
        self._step = step
        self._armed = f"{step}:{passing}"

    @property
    def detail(self) -> str:
        return self._step

    async def strike(self, scene: Scene) -> Incident:
        fleet = scene.fleet
        worker = await worker_of(scene, self.service)
        hit = await scene.lanes_of(worker)
        deaths = fleet.deaths(worker)
        await fleet.restart(worker, env_once={VARIABLE: self._armed})
        died = await _until(lambda: fleet.deaths(worker) > deaths, FAILPOINT_TIMEOUT_S)
        incident = self.incident(hit, detail=f"{self._armed} in {worker}")
        incident.kills = int(died)
        if not died:
            incident.trouble = f"{worker} never passed {self._armed}"
            await fleet.restart(worker)
        return incident


async def _until(condition: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(DEATH_POLL_S)
    return True


class Zombie(Fault):
    """SIGSTOP until its session is over and another worker, where there is one, has its partitions; then SIGCONT.

    It wakes up in the middle of whatever it was doing, with a transaction open perhaps, and must write nothing.
    """

    kind = "zombie"
    expected_s = 14.0

    async def strike(self, scene: Scene) -> Incident:
        worker = await worker_of(scene, self.service)
        hit = await scene.lanes_of(worker)
        alone = self.service != FIRST
        incident = self.incident(hit, from_heal=alone, detail=worker)
        scene.fleet.kill(worker, signal.SIGSTOP)
        try:
            await asyncio.sleep(SESSION_TIMEOUT_S + PAST_SESSION_S)
        finally:
            scene.fleet.kill(worker, signal.SIGCONT)
        return healed(incident)


class Rebalances(Fault):
    """A further worker of the gate joins and leaves, again and again."""

    kind = "rebalance"
    expected_s = 40.0

    async def strike(self, scene: Scene) -> Incident:
        fleet = scene.fleet
        hit = lanes_of_service(FIRST)
        incident = self.incident(hit, from_heal=True, detail=f"{JOINS} times")
        for number in range(JOINS):
            await fleet.start([PASSER_BY])
            await fleet.wait_ready([PASSER_BY])
            await asyncio.sleep(STAYS_S)
            # Killed or stopped in order, by turns: a member that leaves without a word is the harder case.
            if number % 2:
                fleet.kill(PASSER_BY)
                incident.kills += 1
            await fleet.stop([PASSER_BY])
        return healed(incident)


class SameId(Fault):
    """A second process is started with a worker's id, on a disk of its own. The one that was there first ends and says
    why; started again by its supervisor it is the newer one. It is over when the operator stops the second."""

    kind = "same-id"
    expected_s = 22.0

    async def strike(self, scene: Scene) -> Incident:
        fleet, both = scene.fleet, (FIRST, TWIN)
        hit = await scene.lanes_of(FIRST)
        incident = self.incident(hit, from_heal=True, detail=FIRST)
        deaths = {name: fleet.deaths(name) for name in both}
        said_before = fleet.spec(FIRST).log.stat().st_size
        await fleet.start([TWIN])
        try:
            ended = await _until(lambda: any(fleet.deaths(name) > deaths[name] for name in both), ONE_ENDS_WITHIN_S)
        finally:
            await fleet.stop([TWIN])
        said = fleet.spec(FIRST).log.read_bytes()[said_before:]
        if not ended:
            incident.trouble = "two workers with one id, and none of them ended"
        elif fleet.deaths(FIRST) > deaths[FIRST] and b"another process has joined" not in said:
            incident.trouble = f"{FIRST} ended and did not say why"
        return healed(incident)
