"""Faults of the machine below a worker: its disk, its clock, its network."""

import asyncio
from typing import Final

from tidemark.chaos.faults import Fault, healed, worker_of
from tidemark.chaos.recovery import NS_PER_S, Incident
from tidemark.chaos.scene import FIRST, SECOND, SESSION_TIMEOUT_S, Scene

FULL_S: Final = 4.0
OFF_S: Final = 3.0
SLOW_S: Final = 5.0
BLINK_S: Final = 3.0
PAST_SESSION_S: Final = 2.0


class FullDisk(Fault):
    """Not a byte left under the stores of the gate's second worker."""

    kind = "disk"
    expected_s = 16.0

    def __init__(self) -> None:
        super().__init__("risk")

    def why_not(self, scene: Scene) -> str:
        return scene.disk.why_not

    async def strike(self, scene: Scene) -> Incident:
        incident = self.incident(await scene.lanes_of(SECOND), from_heal=True, detail=SECOND)
        await asyncio.to_thread(scene.disk.fill)
        try:
            await asyncio.sleep(FULL_S)
        finally:
            scene.disk.free()
        return healed(incident)


class ClockJump(Fault):
    """A worker's wall clock jumps, and a little later jumps back."""

    kind = "clock"
    expected_s = 7.0

    def __init__(self, service: str, seconds: float) -> None:
        super().__init__(service)
        self._seconds = seconds

    @property
    def detail(self) -> str:
        return f"{self._seconds:+.0f} s"

    def why_not(self, scene: Scene) -> str:
        return scene.clocks.why_not

    async def strike(self, scene: Scene) -> Incident:
        worker = await worker_of(scene, self.service)
        hit = await scene.lanes_of(worker)
        worker_id = worker if worker == SECOND else f"{worker}-1"
        incident = self.incident(hit, from_heal=True, detail=f"{self.detail} in {worker}")
        scene.clocks.shift(worker_id, int(self._seconds * NS_PER_S))
        try:
            await asyncio.sleep(OFF_S)
        finally:
            scene.clocks.shift(worker_id, 0)
        return healed(incident)


class Network(Fault):
    """The cable to the second host: slow, cut for a moment, or cut until its worker's session is over."""

    kind = "network"
    expected_s = 14.0

    def __init__(self, what: str) -> None:
        super().__init__(FIRST)
        self._what = what

    @property
    def title(self) -> str:
        return f"network {self._what}"

    def why_not(self, scene: Scene) -> str:
        return scene.host.why_not

    async def strike(self, scene: Scene) -> Incident:
        hit = await scene.lanes_of(SECOND)
        order, lasts_s = {
            "slow": (f"delay {scene.chance.uniform(0.05, 0.2):.3f}", SLOW_S),
            "cut": ("cut", BLINK_S),
            "cut past the session": ("cut", SESSION_TIMEOUT_S + PAST_SESSION_S),
        }[self._what]
        # Cut off for so long, it loses its partitions to the other worker: they wait for that, not for the cable.
        incident = self.incident(hit, from_heal=lasts_s < SESSION_TIMEOUT_S, detail=order)
        await scene.host.order(order)
        try:
            await asyncio.sleep(lasts_s)
        finally:
            await scene.host.order("clear")
        return healed(incident)


NETWORK_FAULTS: Final = ("slow", "cut", "cut past the session")
