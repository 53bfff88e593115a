"""The worker as a process on real Kafka, killed while it feeds; and a replay beside it."""

import asyncio
import re
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from common.contracts.ticks import TickKind
from common.contracts.topics import MD_TICKS, REF_INSTRUMENTS
from common.fleet_topics import create_topics
from ingest.domain.exchange import ExchangeOptions, exchange_chunks
from ingest.domain.partitions import deal
from ingest.offline import tick_chunks
from ingest.replay import replay
from parts import LocalStack, Stack
from parts.ports import free_port
from parts.processes import Process
from streams.edges.reader import CommittedReader
from streams.process.settings import KafkaSettings, RedisSettings, Settings

pytestmark = pytest.mark.slow
DAY = date(2024, 1, 2)
OPTIONS = ExchangeOptions(symbols=100, seed=11, rate=20_000, duration_s=6)
DEADLINE_S = 120


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Parts of this module's own, since its topics have their real names."""
    with LocalStack({"kafka", "redis"}) as running:
        yield running.addresses


class Worker:
    """``python -m ingest worker`` on a synthetic day, as recorded."""

    def __init__(self, stack: Stack, directory: Path) -> None:
        self.port = free_port()
        self._log = directory / "log"
        self._environment = {
            "TIDEMARK_KAFKA_BOOTSTRAP": stack.kafka_bootstrap,
            "TIDEMARK_REDIS_URL": stack.redis_url,
            "TIDEMARK_DATA_DIR": str(directory),
            "TIDEMARK_HTTP_PORT": str(self.port),
            "TIDEMARK_RESTART_BACKOFF_MIN_S": "0.1",
            "TIDEMARK_FEED": "synthetic",
            "TIDEMARK_FEED_DATE": str(DAY),
            "TIDEMARK_FEED_SYMBOLS": str(OPTIONS.symbols),
            "TIDEMARK_FEED_SEED": str(OPTIONS.seed),
            "TIDEMARK_FEED_RATE": str(OPTIONS.rate),
            "TIDEMARK_FEED_DURATION_S": str(OPTIONS.duration_s),
            "TIDEMARK_FEED_LINGER": "false",
        }
        self._process: Process | None = None

    def start(self) -> None:
        command = [sys.executable, "-P", "-m", "ingest", "worker"]
        self._process = Process(command, log=self._log, env=self._environment)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    async def fed(self, messages: int) -> None:
        """Returns when the position is past so many messages, or the source is finished."""
        async with asyncio.timeout(DEADLINE_S), httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}") as client:
            while True:
                try:
                    metrics = (await client.get("/metrics")).text
                    health = (await client.get("/health/ready")).json()
                except httpx.TransportError:
                    await asyncio.sleep(0.05)
                    continue
                position = re.search(r"^tidemark_ingest_position_messages (\S+)", metrics, re.MULTILINE)
                if position and float(position[1]) > messages:
                    return
                if health["checks"]["source feed"]["detail"]["state"] == "finished":
                    return
                await asyncio.sleep(0.02)


async def committed(settings: Settings) -> list[Any]:
    """Ticks of each partition without heartbeats."""
    parts: list[list[Any]] = [[] for _ in range(MD_TICKS.partitions)]
    async with CommittedReader(settings, [MD_TICKS], from_beginning=True) as reader:
        async for messages in reader.batches(until_idle_s=2):
            for message in messages:
                parts[message.partition].append(message.body.ticks)
    joined = [np.concatenate(part) for part in parts]
    return [ticks[ticks["kind"] != TickKind.HEARTBEAT] for ticks in joined]


async def test_worker_when_killed_twice_then_every_tick_once_and_a_replay_goes_on_with_its_ids(
    stack: Stack, tmp_path: Path
) -> None:
    settings = Settings(kafka=KafkaSettings(bootstrap=stack.kafka_bootstrap), redis=RedisSettings(url=stack.redis_url))
    path = tmp_path / f"{DAY}.itch"
    path.write_bytes(b"".join(exchange_chunks(OPTIONS)))
    expected = np.concatenate(list(tick_chunks(path)))
    expected = expected[expected["kind"] != TickKind.HEARTBEAT]
    await create_topics(stack.kafka_bootstrap)
    worker = Worker(stack, tmp_path)
    for messages in (len(expected) // 5, len(expected) * 3 // 5, 1 << 62):
        worker.start()
        await worker.fed(messages)
        worker.kill()
    for ticks, part in zip(await committed(settings), deal(expected, MD_TICKS.partitions), strict=True):
        assert np.array_equal(ticks, part)

    began = time.monotonic()
    seen: list[tuple[int, int]] = []
    report = await replay(
        settings, path, speed="max", day=date(2024, 1, 3), progress=lambda done, total: seen.append((done, total))
    )
    assert time.monotonic() - began < DEADLINE_S
    assert report.ticks == len(expected)
    assert seen[-1] == (path.stat().st_size, path.stat().st_size)
    for ticks, part in zip(await committed(settings), deal(expected, MD_TICKS.partitions), strict=True):
        assert np.array_equal(ticks[len(part) :]["instrument_id"], part["instrument_id"])
    async with CommittedReader(settings, [REF_INSTRUMENTS], from_beginning=True) as reader:
        announced = [message.body async for messages in reader.batches(until_idle_s=2) for message in messages]
    assert [instrument.instrument_id for instrument in announced] == list(range(OPTIONS.symbols))
