"""Sessions of accounts by a worker on a real broker, killed again and again: the last record of each session is, byte
for byte, that of one undisturbed pass over the same events, and those are the sessions by definition.
"""

import asyncio
import random
import signal
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from common.contracts.events import OrderEvent, OrderState
from common.contracts.topics import ORDERS_EVENTS, ORDERS_SESSIONS
from common.contracts.trader_sessions import LateOrderEvent, TraderSession
from common.contracts.windows import ALLOWED_LATENESS_NS, Window
from common.fleet_topics import create_topics
from parts import LocalStack
from signals.trader_stage import TraderStage
from signals.trader_tables import TABLES
from streams.edges.reader import CommittedReader
from streams.edges.sender import Sender
from streams.kafka.partitioner import partition_of
from streams.model.message import Output
from streams.process.settings import KafkaSettings, RedisSettings, Settings
from streams.testing.tables import MemoryTables, message

from tests.integration.signals_worker import DEADLINE_S, Worker
from tests.signals.trader_referee import Act, Sessions, events_of, late_of, newest, sessions_of

pytestmark = pytest.mark.slow
GAPS = (Window("gap:30s"), Window("gap:5m"))
GAPS_NS = tuple(window.gap_ns for window in GAPS)
EVENTS, PARTS, ACCOUNTS, SEED = 1_500, 6, 12, 11
Last = dict[tuple[int, str, int, int], bytes]
"""Partition, account, gap and start → the last record of the session."""


def history() -> list[OrderEvent]:
    """Events of a dozen accounts, some of them behind by minutes; silences of both lengths."""
    choose = random.Random(SEED)
    states = [state for state in OrderState if state is not OrderState.FILLED]
    acts = [
        Act(
            choose.randrange(ACCOUNTS),
            choose.randrange(60),
            choose.choice(states),
            choose.randint(-2, 5),
            choose.choices((0, 1, 20, 200), (60, 30, 9, 1))[0],
            choose.choices((0, 40, 100), (80, 15, 5))[0],
        )
        for _ in range(EVENTS)
    ]
    return events_of(acts)


def place(event: OrderEvent) -> int:
    return partition_of(event.account_id.encode(), ORDERS_EVENTS.partitions)


def dealt(events: Iterable[OrderEvent]) -> dict[int, list[OrderEvent]]:
    found: dict[int, list[OrderEvent]] = defaultdict(list)
    for each in events:
        found[place(each)].append(each)
    return dict(found)


def undisturbed(events: Iterable[OrderEvent]) -> tuple[Last, list[Any]]:
    """Last records of one pass, and the bodies of all of it."""
    stage, last, bodies = TraderStage(GAPS_NS, ALLOWED_LATENESS_NS), Last(), list[Any]()
    for number, part in dealt(events).items():
        tables = MemoryTables(TABLES, number)
        for each in part:
            for output in stage.handle(message(ORDERS_EVENTS, each.account_id.encode(), each), tables, 0):
                assert isinstance(output, Output)
                bodies.append(ORDERS_SESSIONS.schema.decode(output.body))
                _note(last, number, bodies[-1], output.body)
    return last, bodies


def _note(last: Last, partition: int, body: Any, value: bytes) -> None:
    if isinstance(body, TraderSession):
        last[partition, body.account_id, body.gap_ns, body.start_ns] = value


@pytest.fixture
def parts() -> Iterator[LocalStack]:
    """Parts of this module's own, since its topics have their real names."""
    with LocalStack() as running:
        yield running


@pytest.fixture
async def worker(parts: LocalStack, tmp_path: Path) -> AsyncIterator[Worker]:
    worker = Worker(parts, tmp_path, {"TIDEMARK_TRADER_SESSIONS": '["gap:30s", "gap:5m"]'})
    try:
        yield worker
    finally:
        await worker.stop(signal.SIGTERM)


async def committed(settings: Settings) -> tuple[Last, list[Any]]:
    """Last records that are committed so far, and the bodies of all."""
    last, bodies = Last(), list[Any]()
    async with CommittedReader(settings, [ORDERS_SESSIONS], from_beginning=True) as reader:
        async for messages in reader.batches(until_idle_s=1.0):
            for each in messages:
                assert each.value is not None
                bodies.append(each.body)
                _note(last, each.partition, each.body, each.value)
    return last, bodies


async def test_worker_when_killed_in_the_middle_then_the_last_record_of_each_session_is_the_same(
    parts: LocalStack, worker: Worker
) -> None:
    events = history()
    expected, said = undisturbed(events)
    await create_topics(parts.addresses.kafka_bootstrap)
    settings = Settings(
        kafka=KafkaSettings(bootstrap=parts.addresses.kafka_bootstrap),
        redis=RedisSettings(url=parts.addresses.redis_url),
    )
    sender = Sender(settings, "test")
    await sender.start()
    size = len(events) // PARTS
    try:
        await worker.start()
        for begin in range(0, len(events), size):
            for each in events[begin : begin + size]:
                await sender.send(ORDERS_EVENTS, each.account_id.encode(), each)
            await worker.stop(signal.SIGKILL)
            await worker.start()
        last, bodies = await _until(settings, worker, expected)
    finally:
        await sender.stop()
    assert last == expected
    assert {each.order_id for each in bodies if isinstance(each, LateOrderEvent)}
    late = sorted(repr(each) for each in bodies if isinstance(each, LateOrderEvent))
    assert late == sorted(repr(each) for each in said if isinstance(each, LateOrderEvent)), "each once"
    sessions: Sessions = {}
    for part in dealt(events).values():
        sessions |= sessions_of(part, GAPS_NS, ALLOWED_LATENESS_NS)
        assert len(late_of(part, ALLOWED_LATENESS_NS)) < len(part) // 2
    assert newest(bodies) == sessions
    assert any(each.into_ns for each in bodies if isinstance(each, TraderSession)), "some were bridged"


async def _until(settings: Settings, worker: Worker, expected: Last) -> tuple[Last, list[Any]]:
    """The same once it holds the last record of each session, or at the deadline."""
    last, bodies = Last(), list[Any]()
    try:
        async with asyncio.timeout(DEADLINE_S):
            while last != expected:
                last, bodies = await committed(settings)
    except TimeoutError:
        raise AssertionError(worker.log()) from None
    return last, bodies
