"""Programs that are no part of the fleet: they write to its inputs, and join its group."""

import asyncio
import json
import random
from collections.abc import Collection, Sequence
from types import SimpleNamespace
from typing import Any, Final

from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from streams.group.assignment import StandbyAssignor
from streams.model.errors import Fenced
from streams.model.log import Partition, Record
from streams.model.message import Headers
from streams.testing.memory_clients import MemoryProducer
from streams.testing.memory_log import MemoryLog

from common.testing.simulation.work import INPUTS, PARTITIONS

OPEN_S: Final = (0.5, 20.0)
"""How long a stranger's transaction stays open, below the broker's own limit, so that the stranger ends it."""
NO_HEADERS: Final[Headers] = ()


class Strangers:
    """Producers with transactions of their own, which may take long and nobody else may end, and members of the group
    that read along."""

    def __init__(self, broker: MemoryLog, rng: random.Random) -> None:
        self._broker = broker
        self._rng = rng
        self._producers: set[str] = set()
        self.members: set[str] = set()
        self.shut_out: list[str] = []
        """Strangers whose transaction was ended by the stage."""
        self._fence = broker.fence_now
        broker.fence_now = self._noted  # type: ignore[method-assign]

    def _noted(self, transactional_id: str, writes: Collection[Partition] = ()) -> MemoryProducer:
        if transactional_id in self._producers:
            self.shut_out.append(transactional_id)
        return self._fence(transactional_id, writes)

    def write(self, target: int) -> None:
        """Opens a transaction on an input and ends it some time later, one way or the other."""
        name, partition = f"stranger-{len(self._producers)}", Partition(INPUTS[target % 2].name, target % PARTITIONS)
        producer = self._fence(name)
        self._producers.add(name)
        body = {"id": name, "amount": self._rng.randint(1, 100)}
        key = f"account-{partition.number}-{self._rng.randrange(3)}".encode()
        producer.begin_now()
        producer.append_now(partition, [Record(key, json.dumps(body).encode(), 0, NO_HEADERS)], 0)
        end = producer.commit_now if self._rng.random() < 0.5 else producer.abort_now
        asyncio.get_running_loop().call_later(self._rng.uniform(*OPEN_S), self._end, end)

    @staticmethod
    def _end(end: Any) -> None:
        try:
            end()
        except Fenced:
            return  # the broker has timed it out, or the stage has shut it out, which is noted

    def join(self, target: int) -> None:
        """A consumer joins with the stage's group id."""
        self.members.add(f"console-{target % 2}")

    def leave(self) -> None:
        self.members.clear()

    def deal(self, workers: Sequence[str]) -> dict[int, str]:
        """Partition → member, as a worker deals them out that leads the group."""
        topics = [topic.name for topic in INPUTS]
        cluster: Any = SimpleNamespace(partitions_for_topic=lambda _topic: set(range(PARTITIONS)))
        members = {name: StandbyAssignor(name, 0).metadata(topics) for name in workers}
        members |= {name: ConsumerProtocolMemberMetadata(0, topics, b"") for name in self.members}
        shares = StandbyAssignor(workers[0], 0).assign(cluster, members)
        return {place.partition: member for member, share in shares.items() for place in share.partitions()}
