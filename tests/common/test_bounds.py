"""Bounds hold: the inbox in bytes, lines of libraries in the log, attempts to reach a lost broker."""

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Sequence

import pytest
from common.contracts.topics import RAW_SCHEMA, Topic
from parts.ports import free_port
from streams.model.log import StoredRecord
from streams.process.logs import RepeatFilter
from streams.stage.inbox import Inbox
from streams.testing.memory_log import MemoryRecord

TOPIC = Topic("test.large", "key", RAW_SCHEMA, "test", partitions=1)
FETCH_BYTES = 1_000
SEARCH = """
import asyncio, sys
from aiokafka.client import AIOKafkaClient
from streams.kafka.broker_watch import is_broker_away, watch_brokers
from streams.process.logs import configure_logs

async def main() -> None:
    clients = [AIOKafkaClient(bootstrap_servers=sys.argv[1]) for _ in range(12)]
    connecting = [asyncio.create_task(client.bootstrap()) for client in clients]
    await asyncio.sleep(1.3)
    assert is_broker_away()
    assert not any(task.done() for task in connecting)
    for task in connecting:
        task.cancel()

configure_logs("test", "INFO")
watch_brokers(sys.argv[1], 0.1, 0.4)
asyncio.run(main())
"""


class Endless:
    """A reader that has one more record of ``FETCH_BYTES`` for every poll."""

    def __init__(self) -> None:
        self.position = 0
        self.epoch = 0
        self.awaited: str | None = None

    async def poll(self, timeout_ms: int) -> Sequence[StoredRecord]:
        await asyncio.sleep(0)
        self.position += 1
        return [MemoryRecord(self.position - 1, b"key", b"x" * FETCH_BYTES, 0, ())]

    async def close(self) -> None:
        """Nothing to give back."""


@pytest.mark.parametrize(("bounds", "most"), [((100, 10 * FETCH_BYTES), 10), ((7, 10 * FETCH_BYTES), 7)])
async def test_inbox_when_nobody_takes_then_it_stops_reading_at_its_bound(bounds: tuple[int, int], most: int) -> None:
    reader = Endless()
    inbox = Inbox({TOPIC: reader}, 0, bounds)
    inbox.start()
    try:
        for taken in (3, 5, most):
            async with asyncio.timeout(5):
                while inbox.waiting(TOPIC.name) < most:
                    await asyncio.sleep(0)
            for _ in range(50):  # a pump that does not stop would have gone on by now
                await asyncio.sleep(0)
            assert inbox.waiting(TOPIC.name) == most
            assert len(await inbox.take(taken)) == taken
    finally:
        await inbox.stop()


def test_library_when_it_repeats_itself_then_a_line_comes_now_and_then() -> None:
    only_some = RepeatFilter()

    def passes(name: str, message: str) -> bool:
        return only_some.filter(logging.LogRecord(name, logging.ERROR, "", 0, message, (), None))

    assert [passes("aiokafka.client", "cannot connect") for _ in range(3)] == [True, False, False]
    assert passes("aiokafka.client", "another line")
    assert all(passes("streams.stage.runner", "task_reopens") for _ in range(3)), "ours are never left out"


def test_many_clients_when_no_broker_answers_then_one_search_whose_wait_doubles() -> None:
    address = f"127.0.0.1:{free_port()}"
    done = subprocess.run([sys.executable, "-c", SEARCH, address], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    waits = [line["retry_in_s"] for line in said if line["event"] == "broker_away"]
    assert waits == [0.1, 0.2, 0.4, 0.4, 0.4][: len(waits)]
    assert len(waits) >= 3
    assert {line["brokers"] for line in said if line["event"] == "broker_away"} == {address}
    assert len(said) <= 2 * len(waits) + 3, "aiokafka says it once, not for each client and attempt"
