"""The scene that faults act upon: the deployment with its workers, its second host, small disk and clocks."""

import asyncio
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import httpx
from parts import LocalStack

from tidemark.chaos.clocks import Clocks
from tidemark.chaos.disks import SmallDisk
from tidemark.chaos.hosts import SecondHost
from tidemark.chaos.recovery import Lane, lanes_of_service
from tidemark.deployment import Deployment
from tidemark.fleet import Fleet, ServiceSpec
from tidemark.ports import free_ports
from tidemark.stages import StageName

FIRST: Final = "risk"
SECOND: Final = "risk-2"
"""The gate's other worker: on the second host, its stores on the small disk."""
PASSER_BY: Final = "risk-3"
"""A worker that joins and leaves."""
TWIN: Final = "risk-twin"
"""A process with the first worker's id and a disk of its own, started by mistake."""
GUESTS: Final = (PASSER_BY, TWIN)
"""Workers that do not belong to the fleet: they run while a fault lasts."""
WORKER_IDS: Final = ("ingest-1", "signals-1", "risk-1", "risk-2", "orders-1")
"""As ``TIDEMARK_WORKER_ID`` has them, of the workers whose clocks can be shifted."""
FURTHER_FROM: Final = 4
"""``risk-4`` and so on: workers of a gate that has more than two."""
SESSION_TIMEOUT_S: Final = 6.0
"""Kafka's smallest, unless the brokers are told otherwise."""
HEALTH_TIMEOUT_S: Final = 2.0


@dataclass
class Scene:
    """One per storm."""

    deployment: Deployment
    host: SecondHost
    disk: SmallDisk
    clocks: Clocks
    chance: random.Random
    report: Callable[[str], None] = lambda _: None
    workers: int = 2
    """Workers of the gate: the first, the one on the second host, and further ones."""
    _parts: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "parts"))

    @property
    def fleet(self) -> Fleet:
        return self.deployment.fleet

    @property
    def stack(self) -> LocalStack:
        assert self.deployment.stack is not None, "a storm has parts of its own"
        return self.deployment.stack

    @property
    def brokers(self) -> int:
        return self.deployment.options.brokers

    @property
    def gate_workers(self) -> tuple[str, ...]:
        """The workers that belong to the gate."""
        further = (f"{FIRST}-{number}" for number in range(FURTHER_FROM, FURTHER_FROM + self.workers - 2))
        return (FIRST, SECOND, *further)

    def workers_of(self, service: str) -> tuple[str, ...]:
        return self.gate_workers if service == FIRST else (service,)

    def add_gate_workers(self) -> list[str]:
        """Makes the gate's other workers known, and those that come and go; returns their names."""
        for spec in self._more_gate_workers():
            self.fleet.add(spec)
        return [*self.gate_workers[1:], *GUESTS]

    async def start_gate_workers(self, timeout_s: float) -> None:
        """Starts the gate's other workers and waits until they serve."""
        await self.fleet.start(self.gate_workers[1:])
        await self.fleet.wait_ready(self.gate_workers[1:], timeout_s)

    def _more_gate_workers(self) -> Sequence[ServiceSpec]:
        base = self.fleet.spec(FIRST)
        specs = []
        names = (*self.gate_workers[1:], *GUESTS)
        found = free_ports(2 * len(names))
        for name, port, operations in zip(names, found[::2], found[1::2], strict=True):
            data_dir = self.deployment.state.data / name
            worker_id = base.env["TIDEMARK_WORKER_ID"] if name == TWIN else name
            own = {"TIDEMARK_WORKER_ID": worker_id, "TIDEMARK_HTTP_PORT": str(port), "TIDEMARK_DATA_DIR": str(data_dir)}
            log = base.log.with_name(f"{name}.log")
            apart = operations if base.operations_port else None
            if apart:
                own["TIDEMARK_OPERATIONS_PORT"] = str(apart)
            env = {**base.env, **own}
            specs.append(replace(base, name=name, env=env, port=port, operations_port=apart, log=log))
        if not self.host.why_not:
            specs[0] = self._on_second_host(specs[0])
        return specs

    def _on_second_host(self, spec: ServiceSpec) -> ServiceSpec:
        at = self.stack.addresses
        env = {
            "TIDEMARK_KAFKA_BOOTSTRAP": at.second_kafka_bootstrap,
            "TIDEMARK_REDIS_URL": at.second_redis_url,
            "TIDEMARK_HTTP_HOST": self.host.there,
        }
        return replace(spec, argv=(*self.host.inside(), *spec.argv), env={**spec.env, **env}, host=self.host.there)

    async def lanes_of(self, worker: str) -> set[Lane]:
        """Lanes that stand still while this worker does: of the gate's workers, the partitions it serves now."""
        if worker.startswith(FIRST):
            return {Lane(FIRST, number) for number in await self._served(worker)}
        if worker == "push":
            return {Lane("push")}
        lanes = lanes_of_service(worker)
        return lanes | {Lane("postgres")} if worker == "orders" else lanes  # the projection lives in orders

    async def ready_page(self, worker: str) -> dict[str, Any]:
        """The worker's own ready page, ready or not; empty where it does not answer."""
        url = f"{self.fleet.spec(worker).operations_url}/health/ready"
        try:
            async with httpx.AsyncClient(timeout=HEALTH_TIMEOUT_S) as client:
                report: dict[str, Any] = (await client.get(url)).json()
        except (httpx.HTTPError, ValueError):
            return {}
        return report

    def store(self, worker: str, stage: StageName, partition: int) -> Path:
        """The directory of the worker's store of a partition."""
        return stage.store_path(Path(self.fleet.spec(worker).env["TIDEMARK_DATA_DIR"]), partition)

    async def _served(self, worker: str) -> set[int]:
        report = await self.ready_page(worker)
        return {int(number) for number in report["checks"]["stage gate"]["detail"]["partitions"]} if report else set()

    async def busy_gate_worker(self, preferred: str) -> str:
        """A worker of the gate that serves something: the preferred one if it does."""
        others = [worker for worker in self.gate_workers if worker != preferred]
        for worker in (preferred, *others[:-1]):
            if await self._served(worker):
                return worker
        return others[-1]

    async def on_parts(self, work: Callable[[], None]) -> None:
        """Kills or starts parts without holding up the storm. Shielded: what was begun is finished."""
        await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._parts, work))

    def close(self) -> None:
        """Waits for what is being done to the parts."""
        self._parts.shutdown()
