"""Requests to the brokers that lead partitions, and to any broker about a topic."""

from typing import Any

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from streams.kafka.client_errors import NOT_DONE, refusal
from streams.kafka.internals import hang_up
from streams.kafka.metadata import refresh_metadata
from streams.kafka.protocol import Request
from streams.kafka.read_requests import DescribeTopic, TopicIdentity
from streams.model.log import Partition


class Leaders:
    """Sends requests to the leader of a partition."""

    def __init__(self, client: AIOKafkaClient, within_ms: int) -> None:
        self._client = client
        self._within_ms = within_ms

    async def ask(self, partition: Partition, request: Request, purpose: str) -> Any:
        """One attempt, over the purpose's own connection. None where the leader is unknown, has moved or is away.

        Raises LogError where the broker refuses for good.
        """
        client = self._client
        node = client.cluster.leader_for_partition(TopicPartition(*partition))
        try:
            if node is None or node < 0:
                client.add_topic(partition.topic)  # the future that it gives has no end of its own
                await refresh_metadata(client, self._within_ms)
                return None
            answer = await client.send(node, request, group=purpose)
        except (KafkaError, OSError, TimeoutError):
            await refresh_metadata(client, self._within_ms)
            return None
        if answer.error in NOT_DONE:
            await refresh_metadata(client, self._within_ms)
            return None
        if answer.error:
            raise refusal(f"{type(request).__name__} of {partition}", answer.error)
        return answer

    async def identify(self, topic: str) -> TopicIdentity | None:
        """Which topic the name stands for now; None where no broker answers. ``error`` says if there is none."""
        client = self._client
        try:
            answer: TopicIdentity = await client.send(client.get_random_node(), DescribeTopic(topic))
        except (KafkaError, OSError, TimeoutError, AssertionError):  # aiokafka asserts that there is a node
            return None
        return answer

    def hang_up(self, purpose: str) -> None:
        """Closes the purpose's connections."""
        hang_up(self._client, purpose)
