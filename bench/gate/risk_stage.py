"""The risk service as it is deployed, fed from a full topic: checks, ledger, hash chain, views, metrics, traces."""

import asyncio
import contextlib
import itertools
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from common.contracts.market import mark_clock_key
from common.contracts.topics import (
    MD_MARKS,
    ORDERS_INTENTS,
    REF_INSTRUMENTS,
    RISK_COMMANDS,
    RISK_DECISIONS,
    RISK_LEDGER,
    TOPICS,
    Topic,
    market_partition,
)
from common.fleet_topics import create_topics
from common.testing import orders
from parts import Stack
from parts.ports import free_port
from parts.processes import log_tail
from streams.edges.sender import Sender
from streams.kafka.kafka_log import KafkaLog
from streams.kafka.partitioner import partition_of
from streams.model.framing import LogFormat, encoder_of, framed_topics
from streams.model.log import Partition, Record
from streams.process.settings import KafkaSettings, Settings
from tidemark.metrics import scrape, total
from tidemark.process import cpu_seconds

from bench.gate.risk_profile import recording
from bench.gate_domain import SYMBOLS, commands, intents
from bench.peers.programs import Program
from bench.peers.runner import BenchError, Runner, Running, wait_for_leaders

ACCOUNTS: Final = 10_000
HELD_SYMBOLS: Final = 3
CHUNK: Final = 20_000
TRACED_EVERY: Final = 100
"""One intent in so many carries a sampled trace, as with the default trace ratio."""
CLOCK_EVERY_S: Final = 1.0
SAMPLE_EVERY_S: Final = 0.5
"""Each look at its metrics is work for the service, too."""
IDLE_MAX_S: Final = 60.0
SIZES_POLL_MS: Final = 2_000
SILENT_POLLS: Final = 10
Sample = tuple[float, float, int]
"""Wall clock and CPU time in seconds, intents committed."""


async def append(where: Stack, topic: Topic, records: Iterable[tuple[bytes, bytes]], *, traced: bool = False) -> None:
    """Writes keys and values in large transactions."""
    log = KafkaLog(Settings(kafka=KafkaSettings(bootstrap=where.kafka_bootstrap)), "bench")
    await log.start()
    producer = await log.fence("bench-filler")
    source = enumerate(records)
    while chunk := list(itertools.islice(source, CHUNK)):
        await producer.begin()
        rows: dict[int, list[Record]] = {}
        for number, (key, value) in chunk:
            sampled = traced and number % TRACED_EVERY == 0
            headers = (("traceparent", b"00-%032x-%016x-01" % (number + 1, number + 1)),) if sampled else ()
            rows.setdefault(partition_of(key, topic.partitions), []).append(
                Record(key, value, time.time_ns() // 1_000_000, headers)
            )
        for partition, each in rows.items():
            await producer.append(Partition(topic.name, partition), each)
        await producer.commit()
    await producer.close()
    await log.stop()


def keyed(commands: Iterator[bytes]) -> Iterator[tuple[bytes, bytes]]:
    for value in commands:
        yield RISK_COMMANDS.schema.decode(value).account_id.encode(), value


@asynccontextmanager
async def market(where: Stack) -> AsyncIterator[None]:
    """Instruments and marks, and the marks' clocks kept going."""
    sender = Sender(Settings(kafka=KafkaSettings(bootstrap=where.kafka_bootstrap)), "bench-market")
    await sender.start()
    now = time.time_ns()
    for number in range(SYMBOLS):
        symbol = f"SYM{number}"
        await sender.send(REF_INSTRUMENTS, symbol.encode(), orders.instrument(symbol, number))
        row = orders.mark_row(symbol, ingest_ns=now)
        await sender.send(MD_MARKS, symbol.encode(), row, partition=market_partition(number))

    async def tick() -> None:
        while True:
            for number in range(MD_MARKS.partitions):
                await sender.send(MD_MARKS, mark_clock_key(number), orders.clock_row(time.time_ns()), partition=number)
            await asyncio.sleep(CLOCK_EVERY_S)

    ticking = asyncio.create_task(tick())
    try:
        yield
    finally:
        ticking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ticking
        await sender.stop()


class TraceSink(BaseHTTPRequestHandler):
    """Takes spans and forgets them."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Says nothing."""


@contextlib.contextmanager
def trace_sink() -> Iterator[str]:
    """Base URL of something that takes spans over OTLP."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), TraceSink)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


async def samples(running: Running, url: str, count: int, past: int = 0) -> list[Sample]:
    """From the first one with more than ``past`` intents committed to the last; BenchError where it stands still."""
    taken: list[Sample] = []
    moved_s = time.monotonic()
    while not taken or taken[-1][2] < count:
        running.check()
        page = (await scrape({"risk": url}))["risk"]
        done = round(total(page, "tidemark_stage_messages_total", topic=ORDERS_INTENTS.name))
        now_s = time.monotonic()
        if done > (taken[-1][2] if taken else past):
            taken.append((now_s, cpu_seconds(running.child.pid), done))
            moved_s = now_s
        elif now_s - moved_s > IDLE_MAX_S:
            raise BenchError(f"the risk service stands still after {done:,} of {count:,} intents")
        await asyncio.sleep(SAMPLE_EVERY_S)
    return taken


def figures(taken: list[Sample], count: int) -> dict[str, Any]:
    """All: from the first sample; steady: from the first one past the half to the last but one.

    A sample is taken some time after the commit that it shows, so it has a part of the next transaction's CPU time. The
    last one of all has none: with it the steady part would look better than it is.
    """

    def part(start: Sample, end: Sample) -> dict[str, float]:
        wall, cpu, done = (after - before for before, after in zip(start, end, strict=True))
        return {"s": round(wall, 3), "per_s": round(done / max(wall, 0.001)), "per_cpu_s": round(done / max(cpu, 0.01))}

    past = [sample for sample in taken if sample[2] >= count // 2]
    steady = past[:-1] if len(past) > 2 else past if len(past) == 2 else taken
    return {"messages": count, "all": part(taken[0], taken[-1]), "steady": part(steady[0], steady[-1])}


def check_views(running: Running) -> None:
    """A figure without the views would be another service's. Raises BenchError where they were not shown."""
    log = running.log.read_text(encoding="utf-8", errors="replace")
    if "redis_away" in log or "view_failed" in log:
        raise BenchError(f"the risk service did not show its views:\n{log_tail(running.log)}")


async def profiled(running: Running, url: str, count: int, path: Path) -> list[dict[str, Any]]:
    """The steady half's CPU time by step."""
    before = (await samples(running, url, count // 2))[-1][2]
    async with recording(running.child.pid, path) as record:
        taken = await samples(running, url, count, before)
    return record.table(taken[-1][2] - before)


def in_format(
    topic: Topic, log_format: LogFormat, records: Iterable[tuple[bytes, bytes]]
) -> Iterator[tuple[bytes, bytes]]:
    """The records as they are written in that format."""
    encode = encoder_of(topic, framed_topics([topic], log_format))
    return ((key, encode(value)) for key, value in records)


async def bytes_each(where: Stack, topic: Topic) -> float:
    """Bytes of a value of the topic, on average over the second half of a partition: there no command is answered."""
    log = KafkaLog(Settings(kafka=KafkaSettings(bootstrap=where.kafka_bootstrap)), "bench-sizes")
    await log.start()
    reader = await log.read(Partition(topic.name, 0), 0)
    sizes: list[int] = []
    silent = 0
    while silent < SILENT_POLLS:  # the first answer takes a while, and markers are no records
        records = await reader.poll(SIZES_POLL_MS)
        silent = 0 if records else silent + 1
        sizes += (len(record.value or b"") for record in records)
    await reader.close()
    await log.stop()
    half = sizes[len(sizes) // 2 :]
    return round(sum(half) / max(1, len(half)), 1)


async def measure_risk(
    runner: Runner, where: Stack, count: int, *, log_format: LogFormat = "json", profile: Path | None = None
) -> dict[str, Any]:
    """Intents per second and per CPU-second of ``python -m risk worker``; with ``profile`` its steps instead.

    Raises BenchError.
    """
    await create_topics(where.kafka_bootstrap)
    await wait_for_leaders(where.kafka_bootstrap, TOPICS)
    port = free_port()
    async with market(where):
        await append(where, RISK_COMMANDS, keyed(commands(ACCOUNTS, HELD_SYMBOLS)))
        fed = in_format(ORDERS_INTENTS, log_format, intents(count, ACCOUNTS, HELD_SYMBOLS))
        await append(where, ORDERS_INTENTS, fed, traced=True)
        with trace_sink() as traces:
            environment = {
                "TIDEMARK_KAFKA_BOOTSTRAP": where.kafka_bootstrap,
                "TIDEMARK_REDIS_URL": where.redis_url,
                "TIDEMARK_OTLP_ENDPOINT": traces,
                "TIDEMARK_DATA_DIR": str(runner.new_directory(f"risk-{log_format}")),
                "TIDEMARK_HTTP_PORT": str(port),
                "TIDEMARK_WORKER_ID": "risk-1",
                "TIDEMARK_LOG_FORMAT": log_format,
                "PYTHONUNBUFFERED": "1",
            }
            program = Program("the risk service", [sys.executable, "-P", "-m", "risk", "worker"], environment)
            async with runner.running(program) as running:
                url = f"http://127.0.0.1:{port}"
                result: dict[str, Any]
                if profile:
                    result = {"steps": await profiled(running, url, count, profile)}
                else:
                    result = figures(await samples(running, url, count), count)
                    topics = (ORDERS_INTENTS, RISK_DECISIONS, RISK_LEDGER)
                    result["bytes"] = {topic.name: await bytes_each(where, topic) for topic in topics}
                check_views(running)
                return result
