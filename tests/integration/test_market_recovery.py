"""The signals worker on a real broker, killed in the middle: what is committed equals, record for record, what one
uninterrupted pass over the same frames makes; and its bars are those of the offline run.
"""

import asyncio
import csv
import itertools
import json
import signal
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from common.contracts.alerts import ALERT, AlertLimits
from common.contracts.market import BAR, MARK, PHASE, SESSION, decode_rows, mark_clock_key
from common.contracts.ticks import Ticks, encode_frame, heartbeat
from common.contracts.topics import MD_ALERTS, MD_BARS, MD_BOOKS, MD_MARKS, MD_PHASES, MD_SESSIONS, MD_TICKS
from common.contracts.views import view_channel
from common.contracts.windows import Window, gaps_ns, triggers_of
from common.fleet_topics import create_topics
from ingest.domain.exchange import ExchangeOptions, exchange_chunks
from ingest.domain.partitions import deal
from ingest.offline import tick_chunks
from parts import LocalStack
from redis.asyncio import Redis
from signals.installed import installed_patterns
from signals.offline import Wanted, write_tables
from signals.offline_alerts import ALERT_COLUMNS
from signals.offline_phases import PHASE_COLUMNS
from signals.offline_sessions import SESSION_COLUMNS
from signals.stages import handle, market_table
from signals.tables import CsvTables
from signals.venue_days import Sessions
from streams.edges.reader import CommittedReader
from streams.edges.sender import Sender
from streams.model.message import Message, Output
from streams.process.settings import KafkaSettings, RedisSettings, Settings
from streams.testing.tables import MemoryTables

from tests.integration.signals_worker import DEADLINE_S, Worker

pytestmark = pytest.mark.slow
DAY = date(2024, 3, 15)
MIDNIGHT_NS = int(datetime(2024, 3, 15, tzinfo=ZoneInfo("America/New_York")).timestamp()) * 10**9
WINDOWS = (Window("gap:30s"), Window("on:open+close+halt+resume"))
EXCHANGE = ExchangeOptions(symbols=24, seed=5, rate=2_000, messages=60_000, breaks_per_million=2_000)
LIMITS = AlertLimits({"PRICE_SPIKE": 1.5, "VOLUME_SURGE": 1.5, "SPREAD_WIDENING": 1.2}, samples_min=3, hold_ns=10**9)
"""Half a minute raises alerts of these."""
PATTERNS = ["FLEETING", "LAYERING"]
"""One of another package, which the generated day matches, and one that is shipped."""
ENVIRONMENT = {
    "TIDEMARK_SNAPSHOT_INTERVAL_S": "0.3",
    "TIDEMARK_ALERT_THRESHOLDS": json.dumps(LIMITS.thresholds),
    "TIDEMARK_PATTERNS": json.dumps(PATTERNS),
    "TIDEMARK_WINDOWS": json.dumps([window.name for window in WINDOWS]),
    "TIDEMARK_ALERT_SAMPLES_MIN": str(LIMITS.samples_min),
    "TIDEMARK_ALERT_HOLD_S": str(LIMITS.hold_ns // 10**9),
}
FRAME_TICKS = 700
OUTPUTS = [MD_BARS, MD_SESSIONS, MD_PHASES, MD_ALERTS, MD_BOOKS, MD_MARKS]
Records = dict[tuple[str, int], list[tuple[bytes, bytes]]]
"""(topic, partition) → (key, value) in order."""


@pytest.fixture(scope="module")
def parts() -> Iterator[LocalStack]:
    """Parts of this module's own, since its topics have their real names."""
    with LocalStack() as running:
        yield running


@pytest.fixture(scope="module")
def ticks(tmp_path_factory: pytest.TempPathFactory) -> Ticks:
    """A generated day, the heartbeat that ends it included."""
    feed = tmp_path_factory.mktemp("feed") / "generated.itch"
    feed.write_bytes(b"".join(exchange_chunks(EXCHANGE)))
    return np.concatenate(list(tick_chunks(feed, DAY)))


@pytest.fixture(scope="module")
def frames(ticks: Ticks) -> list[tuple[int, bytes]]:
    """(partition, frame) as ingest would write them, a heartbeat to each partition after each step."""
    written = []
    for step, at in enumerate(range(0, len(ticks), FRAME_TICKS)):
        part = ticks[at : at + FRAME_TICKS]
        now = heartbeat(int(ticks["event_ns"][: at + FRAME_TICKS].max()))
        for partition, dealt in enumerate(deal(part, MD_TICKS.partitions)):
            frame = np.concatenate((dealt, now))
            written.append(
                (partition, encode_frame(frame, feed="test", ingest_ns=1_000 + step, session_ns=MIDNIGHT_NS))
            )
    return written


@pytest.fixture(scope="module")
def expected(frames: list[tuple[int, bytes]]) -> Records:
    """Records that one pass of the handler makes of the frames."""
    table = market_table(alert_limits=LIMITS, patterns=installed_patterns(PATTERNS), windows=WINDOWS)
    tables = [MemoryTables([table], partition) for partition in range(MD_TICKS.partitions)]
    records: Records = defaultdict(list)
    for partition, value in frames:
        for item in handle(Message(MD_TICKS, partition, 0, None, value, 0), tables[partition], 0):
            if isinstance(item, Output):
                records[item.topic.name, partition].append((item.key, item.topic.schema.encode(item.body)))
    return dict(records)


@pytest.fixture
async def worker(parts: LocalStack, tmp_path: Path) -> AsyncIterator[Worker]:
    worker = Worker(parts, tmp_path, ENVIRONMENT)
    try:
        yield worker
    finally:
        await worker.stop(signal.SIGTERM)


async def send(sender: Sender, frames: list[tuple[int, bytes]]) -> None:
    for partition, value in frames:
        await sender.send(MD_TICKS, b"%d" % partition, value, partition=partition)


async def committed_until(settings: Settings, event_ns: int) -> Records:
    """All committed outputs, once the clock rows of every partition have come to ``event_ns``."""
    records: Records = defaultdict(list)
    clocks = dict.fromkeys(range(MD_TICKS.partitions), 0)
    async with (
        asyncio.timeout(DEADLINE_S),
        CommittedReader(settings, OUTPUTS, from_beginning=True) as reader,
    ):
        async for messages in reader.batches(until_idle_s=1.0):
            for message in messages:
                assert message.key is not None and message.value is not None
                records[message.topic.name, message.partition].append((message.key, message.value))
                if message.key == mark_clock_key(message.partition):
                    clocks[message.partition] = int(decode_rows(MARK, message.value)[0]["event_ns"])
    return dict(records) if min(clocks.values()) >= event_ns else {}


async def reached(settings: Settings, worker: Worker, event_ns: int) -> Records:
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not (records := await committed_until(settings, event_ns)):
                await asyncio.sleep(0.1)
            return records
    except TimeoutError:
        raise AssertionError(worker.log()) from None


async def test_worker_when_killed_in_the_middle_then_every_record_is_there_once_and_the_same(
    parts: LocalStack, worker: Worker, frames: list[tuple[int, bytes]], expected: Records, ticks: Ticks, tmp_path: Path
) -> None:
    await create_topics(parts.addresses.kafka_bootstrap)
    settings = Settings(
        kafka=KafkaSettings(bootstrap=parts.addresses.kafka_bootstrap),
        redis=RedisSettings(url=parts.addresses.redis_url),
    )
    sender = Sender(settings, "test")
    await sender.start()
    third = len(frames) // 3 // MD_TICKS.partitions * MD_TICKS.partitions
    try:
        await worker.start()
        for part in (frames[:third], frames[third : 2 * third]):
            await send(sender, part)
            await worker.stop(signal.SIGKILL)
            await worker.start()
        await send(sender, frames[2 * third :])
        records = await reached(settings, worker, int(ticks["event_ns"].max()))
    finally:
        await sender.stop()
    assert records.keys() == expected.keys()
    for place, wanted in expected.items():
        assert records[place] == wanted, place
    compare_with_offline(records, ticks, tmp_path)
    await compare_with_views(parts, expected)
    assert list((tmp_path / "data").glob("signals/market/*/snapshots/*/books.orders.npy"))


def text(cell: Any) -> str:
    """A cell as a table without Kafka writes it."""
    return cell.decode() if isinstance(cell, bytes) else str(cell)


def compare_with_offline(records: Records, ticks: Ticks, tmp_path: Path) -> None:
    """Per partition, ``md.bars`` holds the offline rows of its instruments in the same order, and ``md.alerts`` those
    of each symbol.
    """
    with CsvTables(tmp_path / "offline") as tables:
        midnight = np.array([MIDNIGHT_NS])
        wanted = Wanted(
            gaps_ns=gaps_ns(WINDOWS),
            triggers=triggers_of(WINDOWS),
            sessions=Sessions(midnight, midnight),
            alert_limits=LIMITS,
            patterns=installed_patterns(PATTERNS),
        )
        write_tables([ticks], tables, wanted)
        tables.keep()
    columns = (
        *("window_start_ns", "window_ns", "open_e4", "high_e4", "low_e4", "close_e4"),
        *("volume", "trades", "notional_e4", "revision"),
    )
    offline: dict[str, list[tuple[int, ...]]] = defaultdict(list)
    with (tmp_path / "offline" / "bars.csv").open() as file:
        order = [row["symbol"] for row in csv.DictReader(file)]
    with (tmp_path / "offline" / "bars.csv").open() as file:
        for row in csv.DictReader(file):
            offline[row["symbol"]].append(tuple(int(row[name]) for name in columns))
    assert any(bar[-1] > 0 for bars in offline.values() for bar in bars)
    online: dict[str, list[tuple[int, ...]]] = defaultdict(list)
    for partition in range(MD_TICKS.partitions):
        symbols = []
        for _, value in records[MD_BARS.name, partition]:
            for bar in decode_rows(BAR, value):
                symbols.append(bar["symbol"].decode())
                online[symbols[-1]].append(tuple(int(bar[name]) for name in columns))
        mine = set(symbols)
        assert symbols == [symbol for symbol in order if symbol in mine]
    assert online == offline
    assert {bar[0] for bars in online.values() for bar in bars if bar[1] == 86_400 * 10**9} == {MIDNIGHT_NS}
    compare_extras(records, tmp_path / "offline")
    told: dict[str, list[list[str]]] = defaultdict(list)
    for partition in range(MD_TICKS.partitions):
        for key, value in records[MD_ALERTS.name, partition]:
            (alert,) = decode_rows(ALERT, value)
            told[key.decode()].append([text(one) for one in alert[list(ALERT_COLUMNS)].tolist()])
    written: dict[str, list[list[str]]] = defaultdict(list)
    with (tmp_path / "offline" / "alerts.csv").open() as file:
        for row in csv.DictReader(file):
            written[row["symbol"]].append(list(row.values()))
    assert told == written
    assert PATTERNS[0] in {row[1] for rows in told.values() for row in rows}
    assert {row[3] for rows in told.values() for row in rows} >= {"begin", "end"}


def compare_extras(records: Records, directory: Path) -> None:
    """``md.sessions`` and ``md.phases`` hold the rows that the run without Kafka has written."""
    for topic, dtype, columns, table in (
        (MD_SESSIONS, SESSION, SESSION_COLUMNS, "sessions"),
        (MD_PHASES, PHASE, PHASE_COLUMNS, "phases"),
    ):
        values = [value for (name, _), told in records.items() if name == topic.name for _, value in told]
        listed = [
            tuple(map(text, row)) for value in values for row in decode_rows(dtype, value)[list(columns)].tolist()
        ]
        with (directory / f"{table}.csv").open() as file:
            rows = [tuple(row) for row in itertools.islice(csv.reader(file), 1, None)]
        assert sorted(listed) == sorted(rows)
        assert rows


async def compare_with_views(parts: LocalStack, expected: Records) -> None:
    """The quotes that people see are the last marks."""
    async with Redis.from_url(parts.addresses.redis_url) as redis:
        for partition in range(MD_TICKS.partitions):
            marked = {key.decode() for key, _ in expected[MD_MARKS.name, partition]} - {f"@{partition}"}
            shown: list[bytes] = await redis.hkeys(view_channel("quote", str(partition)))  # type: ignore[assignment]
            assert {key.decode() for key in shown} == marked
