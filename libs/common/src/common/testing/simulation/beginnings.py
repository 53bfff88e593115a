"""An operator who lets a partition begin anew, as ``tidemark stage begin`` does it."""

import asyncio
from typing import Final

import msgspec
from streams.model.errors import Refused
from streams.model.log import Partition
from streams.opening import beginning
from streams.opening.claims import is_ownership
from streams.opening.layout import layout_of
from streams.state.store import LAYOUT_KEY
from streams.testing.memory_log import MemoryLog

from common.testing.simulation import work
from common.testing.simulation.cluster import Cluster

STAGE: Final = work.make_stage(guarded=False)
LAYOUT: Final = msgspec.json.encode(layout_of(STAGE))
LOOKS_S: Final = 4.0
"""How long making the rows takes at most. Workers may start meanwhile, and such as stood still go on."""


async def lose_rows(cluster: Cluster, partition: int) -> bool:
    """A changelog loses rows, and the workers their disks. A worker that stands still, out of the group, is unheard of.

    False where the changelog has nothing to lose.
    """
    changelog = Partition(work.CHANGELOG.name, partition)
    for worker in cluster.members():
        await cluster.new_disk(cluster.workers.index(worker))
    if not (end := cluster.broker.end_offset(changelog)):
        return False
    cluster.broker.trim(changelog, cluster.rng.randint(1, end))
    cluster.struck.add(partition)
    cluster.begun.pop(partition, None)
    return True


async def begin_anew(cluster: Cluster, partition: int) -> None:
    """Gives up where a worker has written to the changelog meanwhile; then the partition stays as it is."""
    broker, changelog = cluster.broker, Partition(work.CHANGELOG.name, partition)
    await beginning.shut_out(broker, STAGE.full_name, changelog)
    end = broker.end_offset(changelog)
    rows, positions = work.rebuilt(broker, partition)
    await asyncio.sleep(cluster.rng.random() * LOOKS_S)
    try:
        writes = await beginning.beginning(
            broker,
            changelog,
            (Partition(work.REGISTER.name, 0), STAGE.task_id(partition).encode()),
            end,
            rows={LAYOUT_KEY: LAYOUT} | rows,
            gone=_gone(broker, changelog, set(rows)),
            inputs=positions,
            positions=positions,
            now_ms=0,
        )
    except Refused:
        return
    producer = broker.fence_now("operator", list(writes))
    producer.begin_now()
    for where, records in writes.items():
        producer.append_now(where, records, producer.next_sequence(where))
    producer.commit_now()
    cluster.begun[partition] = broker.lineage.begin(changelog)


def _gone(broker: MemoryLog, changelog: Partition, kept: set[bytes]) -> set[bytes]:
    begin = broker.lineage.begin(changelog)
    left = {record.key or b"" for record in broker.committed(changelog) if record.offset >= begin} - kept
    return {key for key in left if not is_ownership(key) and not key.startswith(b"@")}
