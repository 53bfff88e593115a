"""The one way to produce outside a stage: an idempotent producer for requests that come from outside Kafka."""

import contextlib
from collections.abc import Iterable, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka import errors as kafka_errors

from common.contracts.topics import Topic
from common.runtime.client_errors import translated
from common.runtime.errors import Retriable
from common.runtime.message import Headers
from common.runtime.partitioner import partition_of
from common.runtime.record_batches import BATCH_BYTES_MAX
from common.runtime.settings import Settings
from common.runtime.telemetry import current_traceparent


class Sender:
    """Sends with ``acks=all`` and the current trace context. A retry is safe: messages carry ids of their sender."""

    def __init__(self, settings: Settings, client_id: str) -> None:
        self._settings = settings
        self._client_id = client_id
        self._client: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Connects. Raises Retriable where no broker answers."""
        client = AIOKafkaProducer(
            bootstrap_servers=self._settings.kafka_bootstrap,
            client_id=f"{self._client_id}-sender",
            enable_idempotence=True,
            acks="all",
            linger_ms=0,
            max_batch_size=BATCH_BYTES_MAX,
            request_timeout_ms=self._settings.request_timeout_ms,
            retry_backoff_ms=20,
        )
        with translated("connect the sender"):
            try:
                await client.start()
            except BaseException:
                await client.client.close()
                raise
        self._client = client

    async def stop(self) -> None:
        """Sends what is queued, then closes."""
        if self._client is not None:
            with contextlib.suppress(kafka_errors.KafkaError, TimeoutError, OSError):
                await self._client.stop()

    async def send(
        self, topic: Topic, key: bytes, body: Any, *, partition: int | None = None, headers: Headers = ()
    ) -> tuple[int, int]:
        """Returns (partition, offset) once the broker has it. Raises Retriable (it may or may not be in the log)."""
        future = await self._enqueue(topic, key, body, partition, headers)
        with translated(f"send to {topic.name}"):
            sent = await future
        return sent.partition, sent.offset

    async def send_many(self, topic: Topic, messages: Iterable[tuple[bytes, Any]]) -> Sequence[tuple[int, int]]:
        """Sends (key, body) pairs; returns their (partition, offset) once the broker has all of them."""
        futures = [await self._enqueue(topic, key, body, None, ()) for key, body in messages]
        with translated(f"send to {topic.name}"):
            sent = [await future for future in futures]
        return [(one.partition, one.offset) for one in sent]

    async def _enqueue(self, topic: Topic, key: bytes, body: Any, partition: int | None, headers: Headers) -> Any:
        if self._client is None:
            raise Retriable("the sender is not connected")
        number = partition_of(key, topic.partitions) if partition is None else partition
        traceparent = current_traceparent()
        if traceparent:
            headers = [*headers, ("traceparent", traceparent.encode())]
        value = topic.schema.encode(body)
        with translated(f"send to {topic.name}"):
            return await self._client.send(topic.name, value, key, partition=number, headers=list(headers))
