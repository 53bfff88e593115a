"""Faults of a store's files: bytes that are not what was written."""

import asyncio
import random
from pathlib import Path
from typing import Final

from streams.state.store import destroy, live_tables

from tidemark.chaos.faults import Fault, worker_of
from tidemark.chaos.recovery import Incident
from tidemark.chaos.scene import FIRST, Scene
from tidemark.fleet import FleetError
from tidemark.metrics import scrape, total
from tidemark.stages import StageName, stage_named

STAGES: Final = {FIRST: "risk.gate", "orders": "orders.lifecycle"}
EVERY_BYTES: Final = 64
"""Damage in each stretch of so many bytes reaches every block of a file, and none can be read without notice."""


def damage(store: Path, chance: random.Random) -> str:
    """Flips bits all over a table file, or the manifest, of a store that nobody has open; returns the file's name.

    Files that a store is not made of any more may still lie there, and nobody would notice damage to them.
    """
    names = [*sorted(live_tables(store)), (store / "CURRENT").read_text(encoding="ascii").strip()]
    file = store / chance.choice(names)
    content = bytearray(file.read_bytes())
    for at in range(chance.randrange(EVERY_BYTES), len(content), EVERY_BYTES):
        content[at] ^= 0xFF
    file.write_bytes(content)
    return file.name


class DamagedStore(Fault):
    """SIGKILL, and before it starts again the store of one of its partitions is damaged: discarded, and made anew."""

    kind = "damaged-store"
    expected_s = 14.0

    def __init__(self, service: str) -> None:
        super().__init__(service)
        self._struck: tuple[str, StageName, int] | None = None

    async def strike(self, scene: Scene) -> Incident:
        worker, stage = await worker_of(scene, self.service), stage_named(STAGES[self.service])
        hit = await scene.lanes_of(worker)
        served = sorted(lane.partition for lane in hit if lane.service == self.service)
        if not served:
            raise FleetError(f"{worker} does not say which partitions it serves")
        number = scene.chance.choice(served)
        incident = self.incident(hit)
        scene.fleet.kill(worker)
        incident.kills = 1
        await scene.fleet.stop([worker])  # the supervisor must not start it before the damage is done
        name = await asyncio.to_thread(damage, scene.store(worker, stage, number), scene.chance)
        incident.detail = f"{name} of {stage.full}/{number} of {worker}"
        await scene.fleet.start([worker])
        self._struck = worker, stage, number
        return incident

    async def fell_short(self, scene: Scene) -> str:
        """Whoever serves from the damaged directory must have discarded the store."""
        if self._struck is None:
            return ""
        worker, stage, number = self._struck
        served = {lane.partition for lane in await scene.lanes_of(worker) if lane.service == self.service}
        if number not in served:
            # Another worker has the partition, and nobody has opened this store. The audit opens every one.
            await asyncio.to_thread(destroy, scene.store(worker, stage, number))
            return ""
        app, _, name = stage.full.partition(".")
        samples = (await scrape({worker: scene.fleet.spec(worker).operations_url}))[worker]
        labels = {"app": app, "stage": name, "partition": str(number)}
        if total(samples, "tidemark_stage_stores_discarded_total", **labels):
            return ""
        return f"{stage.full}/{number} is served by {worker} from a store that is damaged"
