"""Which partitions this process serves: a member of the stage's consumer group that never reads a record.

The group only assigns. Reading is done by consumers of the tasks' own, so a rebalance stops no partition that stays,
and nothing depends on what a rebalance listener does (aiokafka swallows its exceptions). Offsets committed to the group
are for lag tools; the positions that count are in the changelog.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka import errors as kafka_errors

from common.runtime.assignment import Assignment, StandbyAssignor
from common.runtime.client_errors import translated
from common.runtime.log import Partition
from common.runtime.settings import Settings


class Membership(ConsumerRebalanceListener):  # type: ignore[misc]
    """``assigned`` holds the newest sets of partition numbers; co-partitioned topics give one set."""

    def __init__(self, settings: Settings, group: str, topics: Sequence[str]) -> None:
        self._topics = list(topics)
        self._changed = asyncio.Event()
        self._settings = settings
        self.assigned = Assignment(frozenset())
        self.joined = False
        self._assignor = StandbyAssignor(settings.worker_id, settings.standbys)
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.kafka_bootstrap,
            client_id=f"{group}-{settings.worker_id}",
            group_id=group,
            group_instance_id=f"{group}-{settings.worker_id}",  # static: a quick restart causes no rebalance
            partition_assignment_strategy=(self._assignor,),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=settings.heartbeat_interval_ms,
            rebalance_timeout_ms=settings.session_timeout_ms,
            max_poll_interval_ms=2**31 - 1,
            request_timeout_ms=settings.session_timeout_ms + 5_000,
            retry_backoff_ms=100,
        )

    async def start(self) -> None:
        """Joins the group; returns before the first assignment."""
        with translated("join the group"):
            try:
                await self._consumer.start()
                self._consumer.subscribe(self._topics, listener=self)
            except BaseException:
                await self._consumer.stop()
                raise

    async def stop(self, *, hand_over: bool) -> None:
        """Ends the heartbeats. A static member does not leave: its partitions wait for it until the session ends.

        ``hand_over``: others can serve them at once. Then it leaves, so that they need not wait.
        """
        if hand_over and len(self.assigned.workers) > 1:
            # aiokafka keeps every static member from leaving. The broker takes it out by its member id.
            self._consumer._coordinator._group_instance_id = None
        with contextlib.suppress(kafka_errors.KafkaError, TimeoutError, OSError):
            await asyncio.wait_for(self._consumer.stop(), 2.0)

    async def changed(self) -> Assignment:
        """Waits for the next assignment and returns it."""
        await self._changed.wait()
        self._changed.clear()
        return self.assigned

    async def report(self, positions: Mapping[Partition, int]) -> None:
        """Tells the group where the stage is, for lag tools. Raises Retriable during a rebalance."""
        with translated("report offsets"):
            await self._consumer.commit({TopicPartition(*p): offset for p, offset in positions.items()})

    async def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        """Nothing: who loses a partition is told by the assignment that follows, and held off by fencing until then."""

    async def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        """Takes note, and keeps this consumer from fetching."""
        self._consumer.pause(*assigned)
        served = frozenset(tp.partition for tp in assigned)
        self.assigned = Assignment(served, self._assignor.followed, self._assignor.workers)
        self.joined = True
        self._changed.set()
