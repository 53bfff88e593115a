"""Which partitions this process serves: a member of the stage's consumer group that never reads a record.

The group only assigns. Reading is done by consumers of the tasks' own, so a rebalance stops no partition that stays,
and nothing depends on what a rebalance listener does (aiokafka swallows its exceptions). Offsets committed to the group
are for lag tools; the positions that count are in the changelog.
"""

import asyncio
import contextlib
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.structs import OffsetAndMetadata

from streams.group.assignment import Assignment, StandbyAssignor
from streams.group.guard import GroupGuard
from streams.kafka.client_errors import translated
from streams.kafka.internals import Member
from streams.kafka.security import client_security
from streams.model.errors import Fatal
from streams.model.log import Partition
from streams.process.logs import get_logger
from streams.process.settings import Settings

_log = get_logger(__name__)
REPORTED: Final = "tidemark"
"""Metadata of the offsets that a stage reports: others' have other words there, or none."""


class Membership(ConsumerRebalanceListener):  # type: ignore[misc]
    """``assigned`` holds the newest sets of partition numbers; co-partitioned topics give one set."""

    def __init__(self, settings: Settings, group: str, topics: Sequence[str]) -> None:
        self._topics = list(topics)
        self._changed = asyncio.Event()
        self._settings = settings
        self._group = group
        self.assigned = Assignment(frozenset())
        self.joined = False
        self.strangers: tuple[str, ...] = ()
        """Members of the group that are no workers of the stage."""
        self._assignor = StandbyAssignor(settings.worker_id, settings.standbys)
        instance = f"{group}-{settings.worker_id}"
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.kafka.bootstrap,
            client_id=instance,
            group_id=group,
            group_instance_id=instance,  # static: a quick restart causes no rebalance
            partition_assignment_strategy=(self._assignor,),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=settings.heartbeat_interval_ms,
            rebalance_timeout_ms=settings.session_timeout_ms,
            max_poll_interval_ms=2**31 - 1,
            request_timeout_ms=settings.session_timeout_ms + 5_000,
            retry_backoff_ms=100,
            **client_security(settings.kafka),
        )
        self._guard = GroupGuard(self._consumer, group, instance)

    async def start(self) -> None:
        """Joins the group; returns before the first assignment."""
        with translated("join the group"):
            try:
                await self._consumer.start()
                self._guard.stand()
                self._consumer.subscribe(self._topics, listener=self)
            except BaseException:
                await self._consumer.stop()
                raise

    async def stop(self, *, hand_over: bool) -> None:
        """Ends the heartbeats. A static member does not leave: its partitions wait for it until the session ends.

        ``hand_over``: others can serve them at once. Then it leaves, so that they need not wait.
        """
        if hand_over and len(self.assigned.workers) > 1:
            Member(self._consumer).leave_when_stopped()
        with contextlib.suppress(kafka_errors.KafkaError, TimeoutError, OSError):
            await asyncio.wait_for(self._consumer.stop(), 2.0)

    async def changed(self) -> Assignment:
        """Waits for the next assignment and returns it. Raises Fatal where another process has this worker's id."""
        changing = asyncio.ensure_future(self._changed.wait())
        waiters: list[asyncio.Future[Any]] = [changing, self._guard.replaced]
        try:
            await asyncio.wait(waiters, return_when="FIRST_COMPLETED")
        finally:
            changing.cancel()
        if self._guard.replaced.done():
            raise Fatal(
                f"another process has joined group {self._group} as worker {self._settings.worker_id!r}: "
                "this one ends; give each its own TIDEMARK_WORKER_ID"
            )
        self._changed.clear()
        return self.assigned

    def unable(self, partitions: frozenset[int]) -> None:
        """Joins the group again, to say that somebody else is to serve these partitions."""
        self._assignor.unable = partitions
        Member(self._consumer).rejoin()

    @property
    def told_unable(self) -> frozenset[int]:
        """Partitions of which the group has been told that this worker cannot serve them."""
        return self._assignor.said_unable

    def repeat(self) -> None:
        """Lets ``changed`` return the current assignment once more."""
        if self.joined:
            self._changed.set()

    def trouble(self) -> str:
        """Why the assignment cannot be relied on; empty where it can."""
        if self._guard.trouble:
            return self._guard.trouble
        if self.joined and not self._assignor.led_by_worker:
            return f"group {self._group} is led by a stranger, who deals the partitions out: {self.strangers}"
        silent_s = time.monotonic() - self._guard.heard_s
        if self.joined and silent_s * 1000 > self._settings.session_timeout_ms:
            return f"the coordinator of group {self._group} has not answered for {silent_s:.0f} s"
        return ""

    async def report(self, positions: Mapping[Partition, int]) -> None:
        """Tells the group where the stage is, for lag tools. Raises Retriable during a rebalance."""
        with translated("report offsets"):
            offsets = {TopicPartition(*p): OffsetAndMetadata(offset, REPORTED) for p, offset in positions.items()}
            await self._consumer.commit(offsets)

    async def set_by_others(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Offsets of the group that no worker has reported: somebody has reset them. Raises Retriable."""
        wanted = [TopicPartition(*partition) for partition in partitions]
        with translated("offsets of the group"):
            found = await Member(self._consumer).committed(wanted)
        return {Partition(*place): kept.offset for place, kept in found.items() if kept.metadata != REPORTED}

    async def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        """Nothing: who loses a partition is told by the assignment that follows, and held off by fencing until then."""

    async def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        """Takes note, and keeps this consumer from fetching."""
        self._consumer.pause(*assigned)
        served = frozenset(tp.partition for tp in assigned)
        self.assigned = Assignment(served, self._assignor.followed, self._assignor.workers)
        self.joined = True
        self._changed.set()
        if self._assignor.heard_unable != self._assignor.unable:
            # It was said while this join was under way, and aiokafka forgets who asks for another one then. Or the
            # share is that of the process before this one: a broker gives it to a static member that comes back.
            Member(self._consumer).rejoin()
        await self._note_strangers()

    async def _note_strangers(self) -> None:
        strangers: tuple[str, ...] = self._assignor.strangers
        if not self._assignor.led_by_worker:
            with contextlib.suppress(kafka_errors.KafkaError, OSError, TimeoutError):
                strangers = tuple(str(each) for each in await self._guard.members() if not each.user_data)
        if strangers and strangers != self.strangers:
            kept = "the partitions stay with the workers" if self._assignor.led_by_worker else "it deals them out"
            _log.error(
                "group_has_strangers",
                group=self._group,
                members=strangers,
                reason=f"{kept}; give whoever reads along a group id of its own, or none",
            )
        self.strangers = strangers
