"""Everything that leans on parts of aiokafka that are not its public interface, and why each is needed.

Only this module names them. ``PRIVATE`` lists them for the test that notices a release of aiokafka without one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka.client import AIOKafkaClient
from aiokafka.cluster import ClusterMetadata
from aiokafka.conn import CloseReason
from aiokafka.consumer.group_coordinator import GroupCoordinator

PINNED: Final = "0.14"
"""The release line that these were read in; ``pyproject.toml`` allows no other."""
PRIVATE: Final[tuple[tuple[type, tuple[str, ...]], ...]] = (
    (
        AIOKafkaClient,
        ("_metadata_update", "_get_conn", "_conns", "_sync_task", "_md_synchronizer", "_md_update_fut"),
    ),
    (AIOKafkaConsumer, ("_coordinator", "_client")),
    (ClusterMetadata, ("_partitions",)),
    (
        GroupCoordinator,
        (
            "_do_heartbeat",
            "_closing",
            "_group_instance_id",
            "ensure_active_group",
            "ensure_coordinator_known",
            "fetch_committed_offsets",
            "request_rejoin",
            "reset_generation",
        ),
    ),
)
"""Class → members that are used; those without an underscore are methods of a class that no documentation names."""

Bootstrap = Callable[[AIOKafkaClient], Awaitable[None]]
Update = Callable[[AIOKafkaClient, Any, Any], Awaitable[bool]]
Connect = Callable[..., Awaitable[Any]]


class ClientMethods:
    """How every client of the process reaches a broker: there is no public hook to wait before it does."""

    bootstrap: Final[Bootstrap] = AIOKafkaClient.bootstrap
    update: Final[Update] = AIOKafkaClient._metadata_update
    connect: Final[Connect] = AIOKafkaClient._get_conn

    @staticmethod
    def replace(bootstrap: Bootstrap, update: Update, connect: Connect) -> None:
        """For all clients that are made from now on, and those that there are."""
        AIOKafkaClient.bootstrap = bootstrap
        AIOKafkaClient._metadata_update = update
        AIOKafkaClient._get_conn = connect


async def connection_to(client: AIOKafkaClient, node: int) -> Any:
    """The connection that requests to a node would take now: whether it is still the same is not said otherwise."""
    return await client._get_conn(node)


def hang_up(client: AIOKafkaClient, purpose: str) -> None:
    """Closes the connections of one purpose; the public way closes all of them."""
    for place, connection in list(client._conns.items()):
        if place[1] == purpose:
            del client._conns[place]
            connection.close(reason=CloseReason.SHUTDOWN)


def metadata_failure(client: AIOKafkaClient) -> BaseException | None:
    """The error that ended the client's task for metadata; None while it goes on, or is not begun, or was ended."""
    task = client._sync_task
    return task.exception() if task is not None and task.done() and not task.cancelled() else None


def restart_metadata(client: AIOKafkaClient) -> None:
    """Starts the client's task for metadata anew; who waited for its round is told that there was none. Nothing where
    the client is not begun, or was closed.
    """
    if client._sync_task is None:
        return
    client._sync_task.cancel()
    waited, client._md_update_fut = client._md_update_fut, None
    if waited is not None and not waited.done():
        waited.set_result(False)
    client._sync_task = asyncio.create_task(client._md_synchronizer())


def replicas_of(cluster: ClusterMetadata, topic: str, numbers: Iterable[int]) -> Iterator[int]:
    """How many replicas each of these partitions has."""
    for number in numbers:
        yield len(cluster._partitions[topic][number].replicas)


class Member:
    """A consumer's membership in its group: the consumer keeps its coordinator to itself."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._coordinator: GroupCoordinator = consumer._coordinator
        self._client: AIOKafkaClient = consumer._client

    @property
    def member_id(self) -> str:
        """Id in the generation that the coordinator knows; empty before the first and after the last."""
        return str(self._coordinator.member_id)

    @property
    def closing(self) -> Any:
        """A future that is done once the consumer closes."""
        return self._coordinator._closing

    async def ask_coordinator(self, request: Any, group: Any) -> Any:
        """Sends a request to the broker that coordinates the group. Raises KafkaError."""
        await self._coordinator.ensure_coordinator_known()
        return await self._client.send(self._coordinator.coordinator_id, request, group=group)

    def intercept(
        self,
        beat: Callable[[Callable[[], Awaitable[Any]]], Awaitable[bool]],
        join: Callable[[Callable[..., Awaitable[Any]], Any, Any], Awaitable[Any]],
        forget: Callable[[Callable[[], None]], None],
    ) -> None:
        """Stands before the heartbeat, the joining and the forgetting; each is given what it stands before."""
        coordinator = self._coordinator
        usual_beat, usual_join = coordinator._do_heartbeat, coordinator.ensure_active_group
        usual_forget = coordinator.reset_generation

        async def do_heartbeat() -> bool:
            return await beat(usual_beat)

        async def ensure_active_group(subscription: Any, previous: Any) -> Any:
            return await join(usual_join, subscription, previous)

        coordinator._do_heartbeat = do_heartbeat
        coordinator.ensure_active_group = ensure_active_group
        coordinator.reset_generation = lambda: forget(usual_forget)

    def forget(self) -> None:
        """The generation is over; ``intercept``'s ``forget`` is asked."""
        self._coordinator.reset_generation()

    def leave_when_stopped(self) -> None:
        """Every static member is kept from leaving. The broker takes it out by its member id."""
        self._coordinator._group_instance_id = None

    def rejoin(self) -> None:
        """Joins the group again, though nothing that a consumer can see has changed."""
        self._coordinator.request_rejoin()

    async def committed(self, wanted: Iterable[Any]) -> Mapping[Any, Any]:
        """Offsets of the group with their metadata, which the consumer leaves out. Raises KafkaError."""
        found: Mapping[Any, Any] = await self._coordinator.fetch_committed_offsets(wanted)
        return found
