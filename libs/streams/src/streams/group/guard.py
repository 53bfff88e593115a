"""Guards that aiokafka's group member lacks: its place taken, strangers in the group, and why it cannot join.

aiokafka sends its heartbeats without the member's static name, so a member whose place was taken by another process
with the same name hears only that nobody knows it, joins again, and takes the place back: two workers with one id take
it from each other for ever. It also hands an error of joining to whoever reads records, and waits for that; a member
that only assigns would wait for ever.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer
from aiokafka.client import ConnectionGroup
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from aiokafka.errors import KafkaError
from aiokafka.protocol.admin import DescribeGroupsRequest

from streams.kafka.internals import Member
from streams.process.logs import get_logger

_log = get_logger(__name__)
UUID_CHARS: Final = 36
JOIN_AGAIN_S: Final = 1.0
LOOKS_MAX: Final = 10
LOOK_AGAIN_S: Final = 0.1


class GroupMember(NamedTuple):
    """A member as the group's coordinator knows it. ``user_data`` is what its assignor says when it joins."""

    member_id: str
    client_id: str
    host: str
    user_data: bytes

    def __str__(self) -> str:
        return f"{self.client_id} at {self.host.lstrip('/')}"


class GroupGuard:
    """Stands between a static member's coordinator and its next attempt to join."""

    def __init__(self, consumer: AIOKafkaConsumer, group: str, instance: str) -> None:
        self._consumer = consumer
        self._group = group
        self._instance = instance
        self._lost: str | None = None
        self._member: Member
        self.replaced: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once another process has joined with this member's name."""
        self.trouble = ""
        """Why the last attempt to join failed."""
        self.heard_s = time.monotonic()

    def stand(self) -> None:
        """Once the consumer has been started, and before it subscribes."""
        self._member = Member(self._consumer)
        self._member.intercept(self._beat, self._join, self._reset)

    async def _beat(self, beat: Callable[[], Awaitable[Any]]) -> bool:
        if answered := bool(await beat()):
            self.heard_s = time.monotonic()
        return answered

    def _reset(self, forget: Callable[[], None]) -> None:
        """The coordinator does not know the member any more: its session has ended, or its place was taken."""
        self._lost = self._member.member_id or self._lost
        forget()

    async def _join(self, join: Callable[..., Awaitable[Any]], subscription: Any, previous: Any) -> Any:
        try:
            if self._lost and await self._is_replaced():
                await asyncio.wait([self._member.closing])
                return None
            self._lost = None
            joined = await join(subscription, previous)
        except KafkaError as error:
            if self.trouble != (reason := f"cannot join group {self._group}: {error!r}"):
                _log.error("group_not_joined", group=self._group, reason=reason)
            self.trouble = reason
            self._member.forget()
            await asyncio.wait([self._member.closing], timeout=JOIN_AGAIN_S)
            return None
        if joined is not None:
            self.trouble, self.heard_s = "", time.monotonic()
        return joined

    async def _is_replaced(self) -> bool:
        """Whether another process has joined with this one's name; else the session has ended."""
        for _ in range(LOOKS_MAX):
            # The coordinator makes a static member's id of its name and a UUID.
            namesakes = {
                member.member_id
                for member in await self.members()
                if member.member_id[:-UUID_CHARS] == f"{self._instance}-"
            }
            if namesakes - {self._lost}:
                if not self.replaced.done():
                    self.replaced.set_result(None)
                return True
            if not namesakes:
                return False
            # The coordinator describes what is written to its log, and judges heartbeats by what is about to be.
            await asyncio.sleep(LOOK_AGAIN_S)
        return False

    async def members(self) -> list[GroupMember]:
        """Everybody who is in the group now. Raises KafkaError."""
        answer = await self._member.ask_coordinator(DescribeGroupsRequest([self._group]), ConnectionGroup.COORDINATION)
        (found,) = answer.groups
        return [GroupMember(row[0], row[1], row[2], _user_data(row[3])) for row in found[5]]


def _user_data(metadata: bytes) -> bytes:
    """Nothing where the group is just changing, and its coordinator does not say."""
    if not metadata:
        return b""
    return ConsumerProtocolMemberMetadata.decode(metadata).user_data or b""
