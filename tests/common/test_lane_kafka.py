"""One producer per process on a real broker: two processes want the same partitions, and one of them is stopped."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from common.fleet_topics import create_topics
from common.testing import counting_worker
from parts import Stack
from streams.kafka.kafka_log import KafkaLog
from streams.model.log import Partition, Record
from streams.opening.claims import CLAIM_PREFIX, OWNER_KEY
from streams.process.settings import KafkaSettings, Settings

FEED_INTERVAL_S = 0.02


class Feed:
    """Writes a message to every partition again and again, and remembers how many."""

    def __init__(self, log: KafkaLog, topic: str) -> None:
        self.sent = 0
        self._log = log
        self._topic = topic

    async def run(self) -> None:
        producer = await self._log.fence(f"{self._topic}.feed")
        try:
            while True:
                await producer.begin()
                for number in range(counting_worker.PARTITIONS):
                    value = b"%d" % self.sent
                    await producer.append(Partition(self._topic, number), [Record(b"account-%d" % number, value, 0)])
                await producer.commit()
                self.sent += 1
                await asyncio.sleep(FEED_INTERVAL_S)
        finally:
            await producer.close()


@pytest.fixture
async def log(stack: Stack) -> AsyncIterator[KafkaLog]:
    log = KafkaLog(Settings(kafka=KafkaSettings(bootstrap=stack.kafka_bootstrap)), "test-lane")
    await log.start()
    yield log
    await log.stop()


@contextmanager
def worker(stack: Stack, prefix: str, path: Path, name: str, producers: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process with a store of its own; its log is ``<name>.log``."""
    command = [
        sys.executable, "-m", counting_worker.__name__, "--bootstrap", stack.kafka_bootstrap, "--prefix", prefix,
        "--worker", name, "--producers", producers, "--data", str(path / name),
    ]  # fmt: skip
    with (
        (path / f"{name}.log").open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=output) as process,
    ):
        try:
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(15)
            process.kill()


async def committed(log: KafkaLog, topic: str, number: int) -> list[tuple[bytes | None, bytes | None]]:
    """Key and value of every record that can be read now."""
    partition = Partition(topic, number)
    end = await log.last_stable_offset(partition)
    reader = await log.read(partition, 0)
    found = []
    try:
        while reader.position < end:
            found += [(record.key, record.value) for record in await reader.poll(100)]
    finally:
        await reader.close()
    return found


async def until(condition: Callable[[], bool] | None, log: KafkaLog, topic: str, count: int) -> None:
    """Until every partition of the topic has that many records."""
    async with asyncio.timeout(60):
        for number in range(counting_worker.PARTITIONS):
            while len(await committed(log, topic, number)) < count:
                assert condition is None or condition(), "a worker has ended"
                await asyncio.sleep(0.2)


@pytest.mark.slow
@pytest.mark.parametrize("first", ["process", "task"])
async def test_process_when_stopped_past_its_session_then_it_writes_nothing_afterwards(
    stack: Stack, log: KafkaLog, prefix: str, tmp_path: Path, first: str
) -> None:
    named = counting_worker.topics(prefix)
    await create_topics(stack.kafka_bootstrap, list(named.values()))
    output = named["output"].name
    feed = Feed(log, named["input"].name)
    feeding = asyncio.create_task(feed.run())
    try:
        with (
            worker(stack, prefix, tmp_path, "a", first) as zombie,
            worker(stack, prefix, tmp_path, "b", "process") as other,
        ):

            def alive() -> bool:
                return zombie.poll() is None and other.poll() is None

            await until(alive, log, output, 50)
            zombie.send_signal(signal.SIGSTOP)
            await until(alive, log, output, feed.sent + 50)  # more than was there: the other one has taken over
            zombie.send_signal(signal.SIGCONT)
            await until(alive, log, output, feed.sent + 100)
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
            await until(alive, log, output, feed.sent)
    finally:
        feeding.cancel()
    for number in range(counting_worker.PARTITIONS):
        found = await committed(log, output, number)
        expected = [(b"account-%d" % number, b"%d %d" % (n, n + 1)) for n in range(feed.sent)]
        assert found == expected, "every message once, in order, numbered by the one account's state"
        rows = [key or b"" for key, _ in await committed(log, named["changelog"].name, number)]
        assert OWNER_KEY in rows
        assert any(key.startswith(CLAIM_PREFIX) for key in rows)
