"""The projection's follower against a real broker: whatever its sink raises, it goes on, and knows how old it is."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from common.contracts.topics import RAW_SCHEMA, Topic
from parts import Stack
from streams.edges.ends import LogEnds
from streams.edges.followers import Positions, Projection, Tail
from streams.edges.sender import Sender
from streams.model.message import Message
from streams.process.settings import KafkaSettings, RestartSettings, Settings

PARTITIONS = 2


@pytest.fixture
async def topic(stack: Stack) -> Topic:
    made = Topic(f"test.{uuid.uuid4().hex[:12]}", "key", RAW_SCHEMA, "test", partitions=PARTITIONS)
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(made.name, PARTITIONS, 1)])
    finally:
        await admin.close()
    return made


@pytest.fixture
async def sender(settings: Settings) -> AsyncIterator[Sender]:
    made = Sender(settings, "test")
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def settings(stack: Stack) -> Settings:
    return Settings(
        kafka=KafkaSettings(bootstrap=stack.kafka_bootstrap),
        restart=RestartSettings(backoff_min_s=0.05, backoff_max_s=0.2),
    )


class ListSink:
    """Keeps what it is given, and raises what it is told to."""

    def __init__(self) -> None:
        self.values: dict[int, list[int]] = {number: [] for number in range(PARTITIONS)}
        self.stored: dict[tuple[str, int], int] = {}
        self.errors: list[BaseException] = []
        self.raises: Callable[[], None] = lambda: None
        self.anew = False
        self.opened = 0

    async def positions(self) -> Mapping[tuple[str, int], int]:
        self.raises()
        self.opened += 1
        return dict(self.stored)

    async def on_started(self, positions: Positions) -> None:
        assert len(positions) == PARTITIONS

    async def wants_anew(self) -> bool:
        wanted, self.anew = self.anew, False
        return wanted

    async def apply(self, messages: Sequence[Message], positions: Positions) -> None:
        self.raises()
        for message in messages:
            if message.offset >= self.stored.get((message.topic.name, message.partition), 0):
                self.values[message.partition].append(int(message.value or b""))
        self.stored |= positions


async def write(sender: Sender, topic: Topic, numbers: Sequence[int]) -> None:
    for number in numbers:
        await sender.send(topic, b"key", b"%d" % number, partition=number % PARTITIONS)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


class Unheard(Exception):
    """An error of a kind that no code knows."""


def has_trouble(projection: Projection, error: Exception) -> bool:
    return projection.trouble is error


async def test_projection_when_its_sink_raises_anything_then_it_goes_on_where_it_was(
    settings: Settings, topic: Topic, sender: Sender
) -> None:
    sink = ListSink()
    projection = Projection(settings, [topic], sink)
    await projection.start()
    try:
        await write(sender, topic, range(10))
        await until(lambda: sum(map(len, sink.values.values())) == 10)
        for error in (Unheard("what"), ZeroDivisionError(), TimeoutError(), ConnectionResetError(), KeyError("row")):

            def fail(error: Exception = error) -> None:
                raise error

            sink.raises = fail
            await write(sender, topic, [100, 101])
            await until(partial(has_trouble, projection, error))
            stopped_ns = projection.as_of_ns()
            await asyncio.sleep(0.3)
            assert projection.as_of_ns() == stopped_ns, "it grows old"
            sink.raises = lambda: None
            await until(lambda: projection.trouble is None)
        await until(lambda: sum(map(len, sink.values.values())) == 20)
        for number in range(PARTITIONS):
            assert sink.values[number] == [*range(number, 10, PARTITIONS), *[100 + number] * 5]
    finally:
        await projection.stop()


def has_come_to(projection: Projection, time_ns: int) -> bool:
    return projection.as_of_ns() >= time_ns


async def test_projection_knows_up_to_when_everything_is_applied(
    settings: Settings, topic: Topic, sender: Sender
) -> None:
    """The time grows while nothing comes, and never passes what was committed and is not applied."""
    sink = ListSink()
    projection = Projection(settings, [topic], sink)
    assert projection.as_of_ns() == 0
    await projection.start()
    try:
        for number in range(30):
            await write(sender, topic, [number])
            committed_ns = time.time_ns()
            await until(partial(has_come_to, projection, committed_ns))
            assert number in sink.values[number % PARTITIONS]
        idle_ns = projection.as_of_ns()
        await until(lambda: projection.as_of_ns() > idle_ns + 1_000_000_000)
    finally:
        await projection.stop()


async def test_projection_when_a_partition_ends_with_markers_then_its_position_is_the_end_of_the_log(
    settings: Settings, topic: Topic
) -> None:
    """Markers of a transaction that was committed, and of one that was aborted and has brought no record at all."""
    sink, ends = ListSink(), LogEnds(settings, "test")
    projection = Projection(settings, [topic], sink)
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka.bootstrap, transactional_id=f"of {topic.name}")
    await projection.start()
    try:
        async with producer:
            async with producer.transaction():
                await producer.send_and_wait(topic.name, b"0", partition=0)
            await producer.begin_transaction()
            await producer.send_and_wait(topic.name, b"1", partition=1)
            await producer.abort_transaction()
        async with asyncio.timeout(30):
            while sink.stored != await ends.ends([topic]):
                await asyncio.sleep(0.01)
        assert sink.stored == {(topic.name, 0): 2, (topic.name, 1): 2}
        assert sink.values == {0: [0], 1: []}
    finally:
        await projection.stop()
        await ends.stop()


async def test_projection_when_its_sink_went_back_then_it_reads_again_and_does_not_know_how_old_it_is(
    settings: Settings, topic: Topic, sender: Sender
) -> None:
    sink = ListSink()
    projection = Projection(settings, [topic], sink)
    await projection.start()
    try:
        await write(sender, topic, range(10))
        await until(lambda: sum(map(len, sink.values.values())) == 10 and projection.as_of_ns())
        opened, began_ns = sink.opened, time.time_ns()
        sink.stored, sink.values = {}, {number: [] for number in range(PARTITIONS)}
        sink.anew = True
        await until(lambda: sink.opened > opened)
        await until(lambda: projection.as_of_ns() > began_ns)
        assert sum(map(len, sink.values.values())) == 10
    finally:
        await projection.stop()


async def test_tail_tells_where_it_begins_and_up_to_when_it_has_called_back(
    settings: Settings, topic: Topic, sender: Sender
) -> None:
    await write(sender, topic, range(4))
    begun: list[Positions] = []
    found: list[int] = []
    tail = Tail(settings, [topic], lambda messages: found.extend(int(m.value or b"") for m in messages), begun.append)
    await tail.start()
    try:
        await until(lambda: begun)
        assert dict(begun[0]) == {(topic.name, number): 2 for number in range(PARTITIONS)}
        await write(sender, topic, [7])
        committed_ns = time.time_ns()
        await until(lambda: tail.as_of_ns() >= committed_ns)
        assert found == [7]
    finally:
        await tail.stop()


async def test_projection_when_a_transaction_stays_open_then_it_says_whose_and_grows_old(
    settings: Settings, topic: Topic
) -> None:
    projection = Projection(settings.model_copy(update={"blocked_after_s": 1.5}), [topic], ListSink())
    stranger = AIOKafkaProducer(bootstrap_servers=settings.kafka.bootstrap, transactional_id="somebody-elses-job")
    async with stranger:
        await stranger.begin_transaction()
        await stranger.send_and_wait(topic.name, b"0", partition=0)
        await projection.start()
        try:
            await until(projection.blocked)
            (who,) = projection.blocked().values()
            assert "somebody-elses-job" in who
            assert not projection.ready()[0]
            stopped_ns = projection.as_of_ns()
            await asyncio.sleep(0.5)
            assert projection.as_of_ns() == stopped_ns, "it grows old"
            await stranger.abort_transaction()
            await until(lambda: not projection.blocked() and projection.as_of_ns() > stopped_ns)
            assert projection.ready()[0]
        finally:
            await projection.stop()
