"""Faults of what the services stand on: brokers, Redis, PostgreSQL."""

import asyncio
from typing import Final

from common.contracts.topics import RISK_GATE_CHANGELOG
from streams.kafka.admin import leaders
from streams.model.errors import LogError

from tidemark.chaos.faults import Fault
from tidemark.chaos.recovery import PARTITIONED, Incident, Lane, lanes_of_service
from tidemark.chaos.scene import Scene

DOWN_S: Final = (0.5, 3.0)
LOSS_S: Final = 4.0
"""Beyond the brokers' own session of 3 s: the cluster goes on without the lost one before it comes back."""


def log_lanes() -> set[Lane]:
    """Everything that lives by the log."""
    return {lane for service in PARTITIONED for lane in lanes_of_service(service)}


class Brokers(Fault):
    """SIGKILL to every broker at once, and a restart."""

    kind = "brokers"
    expected_s = 25.0

    def __init__(self) -> None:
        super().__init__("kafka")

    async def strike(self, scene: Scene) -> Incident:
        incident = self.incident(log_lanes(), detail=f"all {scene.brokers}")
        kafka = scene.stack.part("kafka")
        await scene.on_parts(kafka.kill)
        incident.kills = scene.brokers
        await asyncio.sleep(scene.chance.uniform(*DOWN_S))
        await scene.on_parts(kafka.start)
        return incident


class OneBroker(Fault):
    """SIGKILL to one broker of three: to the leader of a partition of the gate's changelog, or to one of the others."""

    kind = "one-broker"
    expected_s = 20.0

    def __init__(self, partition: int, *, leader: bool) -> None:
        super().__init__("kafka, leader" if leader else "kafka, follower")
        self._partition = partition
        self._leader = leader

    def why_not(self, scene: Scene) -> str:
        return "" if scene.brokers > 1 else "a cluster needs --brokers 3"

    async def strike(self, scene: Scene) -> Incident:
        node = await self._choose(scene)
        incident = self.incident(log_lanes(), detail=f"broker {node}")
        await scene.on_parts(scene.stack.part(f"kafka-{node}").kill)
        incident.kills = 1
        await asyncio.sleep(LOSS_S)
        await scene.on_parts(scene.stack.part(f"kafka-{node}").start)
        return incident

    async def _choose(self, scene: Scene) -> int:
        try:
            found = await leaders(scene.deployment.addresses.kafka_bootstrap, RISK_GATE_CHANGELOG.name)
        except LogError:
            found = {}
        leader = found.get(self._partition, 1)
        others = [node for node in range(1, scene.brokers + 1) if node != leader]
        return leader if self._leader else scene.chance.choice(others)


class PartKilled(Fault):
    """SIGKILL to Redis or PostgreSQL, and a restart with its data."""

    expected_s = 9.0

    def __init__(self, part: str) -> None:
        super().__init__(part)
        self.kind = part

    async def strike(self, scene: Scene) -> Incident:
        hit = {Lane("redis"), Lane("push")} if self.service == "redis" else {Lane("postgres")}
        incident = self.incident(hit)
        part = scene.stack.part(self.service)
        await scene.on_parts(part.kill)
        incident.kills = 1
        await asyncio.sleep(scene.chance.uniform(*DOWN_S))
        await scene.on_parts(part.start)
        return incident
