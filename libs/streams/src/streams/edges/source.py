"""A source stage: input from outside Kafka, its position committed with its output."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import mode
from opentelemetry.trace import SpanKind

from streams.kafka.kafka_log import KafkaLog
from streams.kafka.partitioner import partition_of
from streams.kafka.topic_check import Expected, TopicCheck
from streams.model.errors import Fenced, Retriable
from streams.model.framing import TEXT, Framed, encoder_of, framed_topics
from streams.model.log import RESTORE_POLL_MS, Log, Partition, Producer, Record
from streams.model.message import Output
from streams.model.topics import Topic
from streams.process import metrics
from streams.process.backoff import Backoff
from streams.process.failpoints import passing
from streams.process.logs import get_logger
from streams.process.settings import Settings
from streams.process.telemetry import continued_span, current_traceparent
from streams.state.store import position_key

_log = get_logger(__name__)
AHEAD_BATCHES_MAX = 2


@dataclass(frozen=True, slots=True)
class SourceBatch:
    """Output of one step of the source, and its position after it (opaque to the runtime)."""

    outputs: Sequence[Output]
    position: bytes


Feed = Callable[[bytes | None], AsyncIterator[SourceBatch]]


@dataclass(frozen=True, slots=True)
class Source:
    """A source as ``@app.source`` declared it."""

    app: str
    name: str
    feed: Feed
    outputs: tuple[Topic, ...]
    changelog: Topic

    @property
    def full_name(self) -> str:
        return f"{self.app}.{self.name}"

    def writes(self) -> list[Partition]:
        """Everywhere a transaction may write."""
        outputs = [Partition(topic.name, number) for topic in self.outputs for number in range(topic.partitions)]
        return [Partition(self.changelog.name, 0), *outputs]


async def restore_position(log: Log, changelog: Partition, name: str) -> bytes | None:
    """The position of the last committed batch; None before the first."""
    end = await log.high_watermark(changelog)
    passing("open.2.watermark-read")
    reader = await log.read(changelog, await log.low_watermark(changelog))
    position: bytes | None = None
    try:
        while reader.position < end:
            for record in await reader.poll(RESTORE_POLL_MS):
                if record.key == position_key(name):
                    position = record.value
    finally:
        await reader.close()
    passing("open.3.restored")
    return position


async def commit_source(
    producer: Producer, source: Source, batch: SourceBatch, now_ms: int, framed: Framed = TEXT
) -> None:
    """Outputs and position become visible together. ``framed``: outputs that are not written as text."""
    await producer.begin()
    passing("commit.1.begun")
    headers = (("traceparent", current_traceparent().encode()),) if current_traceparent() else ()
    records: dict[Partition, list[Record]] = {}
    for output in batch.outputs:
        topic = output.topic
        number = partition_of(output.key, topic.partitions) if output.partition is None else output.partition
        value = None if output.body is None else encoder_of(topic, framed)(output.body)
        records.setdefault(Partition(topic.name, number), []).append(Record(output.key, value, now_ms, headers))
    for partition, rows in records.items():
        await producer.append(partition, rows)
    passing("commit.3.outputs-appended")
    position = Record(position_key(source.name), batch.position, now_ms)
    await producer.append(Partition(source.changelog.name, 0), [position])
    passing("commit.3.changelog-appended")
    await producer.commit()
    passing("commit.4.committed")


class SourceService(mode.Service):  # type: ignore[misc]
    """Runs one source: fenced, so that a second copy of it takes over instead of feeding everything twice."""

    def __init__(self, source: Source, settings: Settings, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._source = source
        self._settings = settings
        self._kafka = KafkaLog(settings, f"{source.full_name}-{settings.worker_id}")
        self._state = "opening"
        expected = [*map(Expected, source.outputs), Expected(source.changelog, holds_state=True)]
        self._topics = TopicCheck(source.app, source.name, expected, self._kafka, settings.topics_interval_s)

    async def on_start(self) -> None:
        await self._kafka.start()
        await self._topics.look()
        self.add_future(self._keep())
        self.add_future(self._topics.keep_looking())

    async def on_stop(self) -> None:
        await self._kafka.stop()

    async def _keep(self) -> None:
        backoff = self._settings.restart.backoff()
        while not self.should_stop:
            try:
                await self._topics.until_safe()
                await self._run(backoff)
                self._state = "finished"
                _log.info("source_finished", source=self._source.full_name)
                return
            except* (Fenced, Retriable) as failures:  # of its tasks, which a group reports, or of the opening
                error = failures.exceptions[0]
                self._state = "opening"
                cause = type(error).__name__
                metrics.REOPENS.labels(self._source.app, self._source.name, cause).inc()
                delay = backoff.next()
                _log.warning("source_reopens", source=self._source.full_name, cause=cause, error=str(error), in_s=delay)
                await asyncio.sleep(delay)

    async def _run(self, backoff: Backoff) -> None:
        source = self._source
        producer = await self._kafka.fence(f"{source.full_name}.0", source.writes())
        passing("open.1.fenced")
        try:
            position = await restore_position(self._kafka, Partition(source.changelog.name, 0), source.name)
            self._state = "running"
            queue: asyncio.Queue[SourceBatch | None] = asyncio.Queue(AHEAD_BATCHES_MAX)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._fill(queue, position))
                group.create_task(self._drain(queue, producer, backoff))
        finally:
            await producer.close()

    async def _fill(self, queue: "asyncio.Queue[SourceBatch | None]", position: bytes | None) -> None:
        feed = self._source.feed(position)
        async with aclosing(feed):  # type: ignore[type-var]
            async for batch in feed:
                await queue.put(batch)
        await queue.put(None)

    async def _drain(self, queue: "asyncio.Queue[SourceBatch | None]", producer: Producer, backoff: Backoff) -> None:
        labels = (self._source.app, self._source.name)
        framed = framed_topics(self._source.outputs, self._settings.log_format)
        while (batch := await queue.get()) is not None:
            began = time.monotonic()
            # A root span: the trace of what the batch leads to begins here.
            with continued_span(f"{self._source.full_name} batch", "", SpanKind.PRODUCER):
                await commit_source(producer, self._source, batch, time.time_ns() // 1_000_000, framed)
            backoff.reset()
            metrics.COMMIT_SECONDS.labels(*labels).observe(time.monotonic() - began)
            metrics.BATCHES.labels(*labels, "0").inc()
            metrics.OUTPUTS.labels(*labels, "0").inc(len(batch.outputs))

    def ready(self) -> tuple[bool, Any]:
        """Ready once it feeds, and when everything was fed; not while its topics endanger what it feeds."""
        detail = {"state": self._state, "topics": self._topics.page()}
        return self._state != "opening" and not self._topics.dangers, detail
