"""Builders for feed tests: messages from the specification's table, streams, files, and the reference data."""

import asyncio
import gzip
import itertools
import logging
import os
from collections.abc import Callable, Iterable
from contextlib import aclosing
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
from common.contracts.market_events import MarketEvent
from common.contracts.reference import Instrument
from common.contracts.ticks import Frame, TickKind, decode_frame
from common.contracts.topics import INGEST_FEED_CHANGELOG, MD_EVENTS, MD_TICKS, REF_INSTRUMENTS
from hypothesis import settings
from ingest.app import outputs_of
from ingest.domain.anomalies import Report
from ingest.domain.exchange import ExchangeOptions, exchange_chunks
from ingest.domain.framing import Framer
from ingest.domain.instruments import InstrumentRegistry
from ingest.domain.itch import Decoder
from ingest.domain.itch_spec import MESSAGES
from ingest.domain.partitions import deal
from ingest.domain.position import Position, decode_position
from ingest.events import committed_ticks
from ingest.feed import Feed, announced_instruments
from ingest.offline import tick_chunks
from ingest.settings import IngestSettings
from streams.edges.source import Source, commit_source, restore_position
from streams.model.framing import is_framed
from streams.model.log import Partition
from streams.testing.memory_log import MemoryLog

from tests.ingest.capture_files import messages_of

settings.register_profile("ingest", deadline=None)  # the first example compiles the kernels
settings.load_profile("ingest")

Message = Callable[..., bytes]
Stream = Callable[..., bytes]
DAY = date(2024, 1, 2)
MS = 1_000_000
OPTIONS = ExchangeOptions(symbols=12, seed=5, rate=2_000, messages=4_000, duration_s=2)


@pytest.fixture(autouse=True, scope="session")
def quiet_logs() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Exchange data with ground truth; its venues own it, so it is not part of the repository."""
    where = os.environ.get("TIDEMARK_DATA", "")
    if not where or not Path(where).is_dir():
        pytest.skip("TIDEMARK_DATA does not name a folder with exchange data")
    return Path(where)


@pytest.fixture(scope="session")
def message() -> Message:
    """``message(kind, locate=1, stamp=ns since midnight, **fields)``: the bytes of one message without framing."""

    def build(kind: TickKind, locate: int = 1, stamp: int = 34_200_000_000_000, **values: Any) -> bytes:
        row = np.zeros(1, MESSAGES[kind])
        for name in row.dtype.names or ():
            if row.dtype[name].kind == "S":
                row[name] = b" " * row.dtype[name].itemsize
        header = {
            "message_type": chr(kind).encode(),
            "stock_locate": locate,
            "timestamp_high": stamp >> 32,
            "timestamp_low": stamp & 0xFFFFFFFF,
        }
        for name, value in (header | values).items():
            row[name] = value
        return row.tobytes()

    return build


@pytest.fixture(scope="session")
def framed() -> Stream:
    """``framed(messages, zero=False)``: one stream under either framing."""

    def build(messages: list[bytes], *, zero: bool = False) -> bytes:
        return b"".join((b"\0\0" if zero else len(one).to_bytes(2, "big")) + one for one in messages)

    return build


@pytest.fixture(scope="session")
def decode() -> Callable[..., tuple[Any, Report, Decoder]]:
    """``decode(stream, chunk=None)``: (ticks, report, decoder) of a whole stream, midnight being 0."""

    def run(stream: bytes, chunk: int | None = None, session_ns: int = 0) -> tuple[Any, Report, Decoder]:
        report = Report()
        framer, decoder = Framer(report), Decoder(session_ns, InstrumentRegistry(), report)
        step = chunk or max(1, len(stream))
        parts = [
            decoder.decode(block) for at in range(0, len(stream), step) for block in framer.feed(stream[at : at + step])
        ]
        framer.finish()
        return np.concatenate(parts) if parts else None, report, decoder

    return run


@pytest.fixture(scope="session")
def inflated(data_dir: Path) -> Callable[[str], bytes]:
    """The bytes of a reference file, inflated if need be."""

    def read(name: str) -> bytes:
        raw = (data_dir / name).read_bytes()
        return gzip.decompress(raw) if name.endswith(".gz") else raw

    return read


# --- feed sessions ------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """The process is gone."""


class Killer:
    """Kills at the given steps of the log, counted over the whole history."""

    def __init__(self, kills: Iterable[int] = ()) -> None:
        self._kills = set(kills)
        self._steps = itertools.count()

    def __call__(self, _step: str) -> None:
        if next(self._steps) in self._kills:
            raise Killed


JUMP_LASTS_NS = 300 * MS


class VirtualClock:
    """Time passes only while someone sleeps. The wall clock jumps by ``jump_ns`` at ``jump_at_ns`` and back later."""

    def __init__(self) -> None:
        self.ns = 1_700_000_000_000_000_000
        self.jump_at_ns = self.ns
        self.jump_ns = 0

    def now_ns(self) -> int:
        off = self.jump_at_ns <= self.ns < self.jump_at_ns + JUMP_LASTS_NS
        return self.ns + (self.jump_ns if off else 0)

    def steady_ns(self) -> int:
        return self.ns

    async def sleep_ns(self, duration_ns: int) -> None:
        self.ns += max(duration_ns, 1)
        await asyncio.sleep(0)


class RealClock(VirtualClock):
    """Sockets do not wait for a virtual clock: here time passes by itself."""

    def now_ns(self) -> int:
        return self.ns + int(asyncio.get_running_loop().time() * 1e9)

    def steady_ns(self) -> int:
        return self.now_ns()

    async def sleep_ns(self, duration_ns: int) -> None:
        await asyncio.sleep(duration_ns / 1e9)


class Fleet:
    """A log, and feeds that run on it one after the other."""

    def __init__(self, kills: Iterable[int] = (), clock: VirtualClock | None = None) -> None:
        topics = (MD_TICKS, MD_EVENTS, REF_INSTRUMENTS, INGEST_FEED_CHANGELOG)
        self.log = MemoryLog({topic.name: topic.partitions for topic in topics}, Killer(kills))
        self.clock = clock or VirtualClock()
        self.deaths = 0

    def feed(self, settings: IngestSettings, **options: Any) -> Feed:
        known, committed = partial(announced_instruments, self.log), partial(committed_ticks, self.log)
        return Feed(settings, known=known, committed=committed, clock=self.clock, **options)

    async def run(self, feed: Feed, batches_max: int = 1_000_000) -> int:
        """One life of the process. Returns batches committed."""
        source = Source("ingest", "feed", feed.run, outputs_of(feed.settings), INGEST_FEED_CHANGELOG)
        producer = await self.log.fence("ingest.feed.0")
        position = await restore_position(self.log, Partition(INGEST_FEED_CHANGELOG.name, 0), "feed")
        count = 0
        async with aclosing(feed.run(position)) as batches:
            async for batch in batches:
                await commit_source(producer, source, batch, self.clock.ns // MS)
                count += 1
                if count == batches_max:
                    break
        return count

    async def run_until_over(self, settings: IngestSettings) -> Feed:
        """Starts again after each death."""
        while True:
            feed = self.feed(settings)
            try:
                await self.run(feed)
                return feed
            except Killed:
                self.deaths += 1

    def frames(self, partition: int) -> list[Frame]:
        records = self.log.committed(Partition(MD_TICKS.name, partition))
        return [decode_frame(record.value or b"") for record in records]

    def ticks(self, partition: int) -> Any:
        return np.concatenate([frame.ticks for frame in self.frames(partition)])

    def events(self) -> list[MarketEvent]:
        """Those of each symbol in their order, as they were written."""
        partitions = (Partition(MD_EVENTS.name, number) for number in range(MD_EVENTS.partitions))
        records = [record for partition in partitions for record in self.log.committed(partition)]
        assert all(is_framed(record.value) for record in records)
        found: list[MarketEvent] = [MD_EVENTS.schema.decode(record.value or b"") for record in records]
        assert [record.key for record in records] == [event.symbol.encode() for event in found]
        return found

    def instruments(self) -> list[Instrument]:
        records = self.log.committed(Partition(REF_INSTRUMENTS.name, 0))
        return [REF_INSTRUMENTS.schema.decode(record.value or b"") for record in records]

    def position(self) -> Position:
        record = self.log.committed(Partition(INGEST_FEED_CHANGELOG.name, 0))[-1]
        return decode_position(record.value or b"")

    def assert_committed_once(self, expected: Any) -> None:
        """The log holds the expected ticks, in order, and every instrument was announced once."""
        for partition, part in enumerate(deal(without_beats(expected), MD_TICKS.partitions)):
            assert np.array_equal(without_beats(self.ticks(partition)), part)
        instruments = self.instruments()
        assert [instrument.instrument_id for instrument in instruments] == list(range(OPTIONS.symbols))
        assert len({instrument.symbol for instrument in instruments}) == OPTIONS.symbols


def without_beats(ticks: Any) -> Any:
    """All but heartbeats."""
    return ticks[ticks["kind"] != TickKind.HEARTBEAT]


@pytest.fixture(scope="session")
def make_fleet() -> Callable[..., Fleet]:
    """``make_fleet(kills=(), real_clock=False)``: a log in memory whose steps kill, and feeds that run on it."""

    def make(kills: Iterable[int] = (), *, real_clock: bool = False) -> Fleet:
        return Fleet(kills, RealClock() if real_clock else VirtualClock())

    return make


@pytest.fixture(scope="session")
def day_options() -> ExchangeOptions:
    return OPTIONS


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small synthetic day as a file."""
    path = tmp_path_factory.mktemp("feeds") / f"day-{DAY}.itch"
    path.write_bytes(b"".join(exchange_chunks(OPTIONS)))
    return path


@pytest.fixture(scope="session")
def stream(recorded: Path) -> bytes:
    return recorded.read_bytes()


@pytest.fixture(scope="session")
def messages(stream: bytes) -> list[bytes]:
    """The same, message by message."""
    return messages_of(stream)


@pytest.fixture(scope="session")
def expected(recorded: Path) -> Any:
    """Its offline decode, closing heartbeat included."""
    return np.concatenate(list(tick_chunks(recorded)))
