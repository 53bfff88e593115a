"""The one way to produce outside a stage: an idempotent producer for requests that come from outside Kafka."""

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka import errors as kafka_errors

from streams.kafka.client_errors import translated
from streams.kafka.partitioner import partition_of
from streams.kafka.record_batches import BATCH_BYTES_MAX
from streams.kafka.security import client_security
from streams.model.errors import Fatal, LogError, Retriable
from streams.model.framing import encoder_of, framed_topics
from streams.model.message import Headers
from streams.model.topics import Topic
from streams.process.settings import Settings
from streams.process.telemetry import current_traceparent

TOO_LARGE: Final = (kafka_errors.MessageSizeTooLargeError, kafka_errors.RecordListTooLargeError)
SMALLER: Final = 8
LEAST_BATCH_BYTES: Final = 500
"""Batches of less have one message."""
CLOSE_TIMEOUT_S: Final = 10.0
"""Time for sending queued records at the close; a client that lost its brokers would never close."""


class Sender:
    """Sends with ``acks=all`` and the current trace context. A retry is safe: messages carry ids of their sender.

    A client of which a record was refused or lost is given up for a new one: its sequence numbers have a hole, and the
    broker would refuse whatever comes after it.
    """

    def __init__(self, settings: Settings, client_id: str) -> None:
        self._settings = settings
        self._client_id = client_id
        self._client: AIOKafkaProducer | None = None
        self._started = False
        self._batch_bytes_max = BATCH_BYTES_MAX
        self._connecting = asyncio.Lock()
        self._given_up: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Connects. Raises Retriable where no broker answers."""
        self._started = True
        await self._connected()

    async def stop(self) -> None:
        """Sends what is queued, then closes."""
        self._started = False
        client, self._client = self._client, None
        if client is not None:
            await _close(client)
        await asyncio.gather(*self._given_up)

    async def send(
        self, topic: Topic, key: bytes, body: Any, *, partition: int | None = None, headers: Headers = ()
    ) -> tuple[int, int]:
        """Returns (partition, offset) once the broker has it. Raises Retriable (it may or may not be in the log).

        A batch that the topic does not take is sent once more, in smaller ones, until what is refused is alone.
        """
        while True:
            client = await self._connected()
            batch_bytes_max = self._batch_bytes_max
            try:
                with self._watched(client, topic):
                    try:
                        value = encoder_of(topic, framed_topics([topic], self._settings.log_format))(body)
                        queued = await _enqueue(client, topic, key, value, partition, headers)
                    except kafka_errors.ProducerClosed:
                        continue  # the client was given up for another's message before it took this one
                    sent = await queued
                return sent.partition, sent.offset
            except Fatal as error:
                if not isinstance(error.__cause__, TOO_LARGE):
                    raise
                if batch_bytes_max <= LEAST_BATCH_BYTES:
                    self._batch_bytes_max = BATCH_BYTES_MAX  # the message's fault, not the batches'
                    raise
                # Whoever was in the same batch has been refused, too, and has made it smaller already.
                self._batch_bytes_max = min(self._batch_bytes_max, batch_bytes_max // SMALLER)

    async def send_many(self, topic: Topic, messages: Iterable[tuple[bytes, Any]]) -> Sequence[tuple[int, int]]:
        """Sends (key, body) pairs; returns their (partition, offset) once the broker has all of them."""
        client = await self._connected()
        encode = encoder_of(topic, framed_topics([topic], self._settings.log_format))
        with self._watched(client, topic):
            futures = [await _enqueue(client, topic, key, encode(body), None, ()) for key, body in messages]
            sent = [await future for future in futures]
        return [(one.partition, one.offset) for one in sent]

    async def _connected(self) -> AIOKafkaProducer:
        async with self._connecting:
            if not self._started:
                raise Retriable("the sender is not connected")
            if self._client is None:
                self._client = await self._connect()
            return self._client

    async def _connect(self) -> AIOKafkaProducer:
        client = AIOKafkaProducer(
            bootstrap_servers=self._settings.kafka.bootstrap,
            client_id=f"{self._client_id}-sender",
            enable_idempotence=True,
            acks="all",
            linger_ms=0,
            max_batch_size=self._batch_bytes_max,
            request_timeout_ms=self._settings.request_timeout_ms,
            retry_backoff_ms=20,
            **client_security(self._settings.kafka),
        )
        with translated("connect the sender"):
            try:
                await client.start()
            except BaseException:
                await client.client.close()
                raise
        return client

    @contextlib.contextmanager
    def _watched(self, client: AIOKafkaProducer, topic: Topic) -> Iterator[None]:
        try:
            with translated(f"send to {topic.name}"):
                yield
        except LogError:
            if self._client is client:
                self._client = None
                closing = asyncio.create_task(_close(client), name="give up a sender's client")
                self._given_up.add(closing)
                closing.add_done_callback(self._given_up.discard)
            raise


async def _enqueue(
    client: AIOKafkaProducer, topic: Topic, key: bytes, value: bytes, partition: int | None, headers: Headers
) -> Any:
    number = partition_of(key, topic.partitions) if partition is None else partition
    traceparent = current_traceparent()
    if traceparent:
        headers = [*headers, ("traceparent", traceparent.encode())]
    return await client.send(topic.name, value, key, partition=number, headers=list(headers))


async def _close(client: AIOKafkaProducer) -> None:
    with contextlib.suppress(kafka_errors.KafkaError, TimeoutError, OSError):
        await asyncio.wait_for(client.stop(), CLOSE_TIMEOUT_S)
