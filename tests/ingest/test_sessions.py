"""Feed sessions on a log in memory: whatever dies and when, every message is committed once, in order."""

import asyncio
import itertools
from collections.abc import Iterable, Sequence
from contextlib import aclosing, suppress
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from common.contracts.reference import Instrument
from common.contracts.ticks import Frame, TickKind, closing_time_ns, decode_frame
from common.contracts.topics import INGEST_FEED_CHANGELOG, MD_TICKS, REF_INSTRUMENTS, market_partition
from common.runtime.log import Partition
from common.runtime.source import Source, commit_source, restore_position
from common.testing.memory_log import MemoryLog
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from ingest.domain.anomalies import AnomalyKind
from ingest.domain.exchange import ExchangeOptions, exchange_chunks
from ingest.domain.framing import FramingError
from ingest.domain.moldudp64 import end_packet, packets
from ingest.domain.pace import Pace, parse_speed
from ingest.domain.partitions import deal
from ingest.domain.position import Position, PositionError, decode_position, pack_locates
from ingest.feed import Feed, announced_instruments
from ingest.offline import tick_chunks
from ingest.settings import IngestSettings
from ingest.udp import send_packets
from pydantic import ValidationError

DAY = date(2024, 1, 2)
MS = 1_000_000
OPTIONS = ExchangeOptions(symbols=12, seed=5, rate=2_000, messages=4_000, duration_s=2)
PARTITIONS = range(MD_TICKS.partitions)


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


class VirtualClock:
    """Time passes only while someone sleeps."""

    def __init__(self) -> None:
        self.ns = 1_700_000_000_000_000_000

    def now_ns(self) -> int:
        return self.ns

    async def sleep_ns(self, duration_ns: int) -> None:
        self.ns += max(duration_ns, 1)
        await asyncio.sleep(0)


class Fleet:
    """A log, and feeds that run on it one after the other."""

    def __init__(self, kills: Iterable[int] = ()) -> None:
        topics = (MD_TICKS, REF_INSTRUMENTS, INGEST_FEED_CHANGELOG)
        self.log = MemoryLog({topic.name: topic.partitions for topic in topics}, Killer(kills))
        self.clock = VirtualClock()
        self.deaths = 0

    def feed(self, settings: IngestSettings, **options: Any) -> Feed:
        return Feed(settings, known=lambda: announced_instruments(self.log), clock=self.clock, **options)

    async def run(self, feed: Feed, batches_max: int = 1_000_000) -> int:
        """One life of the process. Returns batches committed."""
        outputs = (MD_TICKS, REF_INSTRUMENTS)
        source = Source("ingest", "feed", feed.run, outputs, INGEST_FEED_CHANGELOG)
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

    def instruments(self) -> list[Instrument]:
        records = self.log.committed(Partition(REF_INSTRUMENTS.name, 0))
        return [REF_INSTRUMENTS.schema.decode(record.value or b"") for record in records]

    def position(self) -> Position:
        record = self.log.committed(Partition(INGEST_FEED_CHANGELOG.name, 0))[-1]
        return decode_position(record.value or b"")


def without_beats(ticks: Any) -> Any:
    return ticks[ticks["kind"] != TickKind.HEARTBEAT]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("feeds") / f"day-{DAY}.itch"
    path.write_bytes(b"".join(exchange_chunks(OPTIONS)))
    return path


@pytest.fixture(scope="module")
def stream(recorded: Path) -> bytes:
    return recorded.read_bytes()


@pytest.fixture(scope="module")
def expected(recorded: Path) -> Any:
    """The offline decode, closing heartbeat included."""
    return np.concatenate(list(tick_chunks(recorded)))


def file_settings(path: Path, **options: Any) -> IngestSettings:
    usual: dict[str, Any] = {"feed": "file", "feed_file": path, "feed_speed": "max", "chunk_bytes": 16_384}
    return IngestSettings(**(usual | {"feed_linger": False} | options))


def assert_committed_once(fleet: Fleet, expected: Any) -> None:
    """Log equals offline decode, in order, and every instrument is known by its id."""
    for partition, part in zip(PARTITIONS, deal(without_beats(expected), MD_TICKS.partitions), strict=True):
        assert np.array_equal(without_beats(fleet.ticks(partition)), part)
    instruments = fleet.instruments()
    assert [instrument.instrument_id for instrument in instruments] == list(range(OPTIONS.symbols))
    assert len({instrument.symbol for instrument in instruments}) == OPTIONS.symbols


async def test_file_when_replayed_then_the_log_equals_the_offline_decode(recorded: Path, expected: Any) -> None:
    fleet = Fleet()
    await fleet.run_until_over(file_settings(recorded, frame_ticks_max=100))
    assert_committed_once(fleet, expected)
    for partition in PARTITIONS:
        ticks = fleet.ticks(partition)
        assert ticks[-1]["kind"] == TickKind.HEARTBEAT
        assert (
            ticks[-1]["event_ns"] == closing_time_ns(int(expected["event_ns"][:-1].max())) == expected[-1]["event_ns"]
        )
        frames = fleet.frames(partition)
        assert max(len(frame.ticks) for frame in frames) == 100
        assert {frame.feed for frame in frames} == {recorded.name[:16]}
        ids = set(without_beats(ticks)["instrument_id"].tolist()) - {-1}
        assert ids
        assert {market_partition(instrument) for instrument in ids} == {partition}


@pytest.mark.parametrize("kill", [3, 10, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 50, 70])
async def test_file_when_killed_once_then_committed_once(recorded: Path, expected: Any, kill: int) -> None:
    fleet = Fleet([kill])
    await fleet.run_until_over(file_settings(recorded))
    assert fleet.deaths == 1
    assert_committed_once(fleet, expected)


@hypothesis_settings(max_examples=25)
@given(kills=st.lists(st.integers(0, 400), max_size=6), chunk=st.sampled_from([4_096, 16_384, 1 << 20]))
async def test_file_when_killed_at_any_step_then_committed_once(
    recorded: Path, expected: Any, kills: Sequence[int], chunk: int
) -> None:
    fleet = Fleet(kills)
    await fleet.run_until_over(file_settings(recorded, chunk_bytes=chunk))
    assert_committed_once(fleet, expected)
    assert fleet.position().closed


@hypothesis_settings(max_examples=10)
@given(kills=st.lists(st.integers(0, 900), max_size=6), speed=st.sampled_from(["1", "7.5"]))
async def test_synthetic_when_paced_and_killed_then_committed_once_with_a_true_clock(
    expected: Any, kills: Sequence[int], speed: str
) -> None:
    fleet = Fleet(kills)
    began_ns = fleet.clock.ns
    settings = IngestSettings(
        feed="synthetic",
        feed_symbols=OPTIONS.symbols,
        feed_seed=OPTIONS.seed,
        feed_rate=OPTIONS.rate,
        feed_messages=OPTIONS.messages,
        feed_duration_s=OPTIONS.duration_s,
        feed_speed=speed,
        feed_date=DAY,
        feed_linger=False,
    )
    await fleet.run_until_over(settings)
    assert_committed_once(fleet, expected)
    recorded_s = (int(expected["event_ns"][:-1].max()) - int(expected["event_ns"][0])) / 1e9
    assert (fleet.clock.ns - began_ns) / 1e9 == pytest.approx(recorded_s / float(speed), abs=0.05 * (fleet.deaths + 1))
    for partition in PARTITIONS:
        ticks = fleet.ticks(partition)
        beats = ticks["kind"] == TickKind.HEARTBEAT
        told = np.maximum.accumulate(np.where(beats, ticks["event_ns"], 0))
        assert (ticks["event_ns"][~beats] >= told[~beats]).all(), "a tick came after a heartbeat had said it cannot"
        stamps = [frame.ingest_ns for frame in fleet.frames(partition) if (frame.ticks["kind"] == 0).any()]
        assert max(np.diff(stamps)) <= 110 * MS


async def test_file_when_quiet_then_heartbeats_tell_the_time(tmp_path: Path, message: Any, framed: Any) -> None:
    start = 34_200_000_000_000
    stamps = [start, start + 950 * MS, start + 2_000 * MS]
    path = tmp_path / "feed.itch"
    path.write_bytes(framed([message(TickKind.SYSTEM_EVENT, stamp=stamp) for stamp in stamps]))
    fleet = Fleet()
    await fleet.run_until_over(file_settings(path, feed_speed="1", feed_date=DAY))
    ticks = fleet.ticks(2)
    beats = ticks[ticks["kind"] == TickKind.HEARTBEAT]["event_ns"] - ticks[0]["event_ns"]
    assert len(ticks) - len(beats) == 3
    assert (np.diff(beats[:-1]) <= 101 * MS).all()
    assert len(beats) > 20
    assert beats[-2] <= 2_000 * MS


async def test_feed_when_over_and_started_again_then_nothing_is_said_twice(recorded: Path, expected: Any) -> None:
    fleet = Fleet()
    settings = file_settings(recorded)
    await fleet.run_until_over(settings)
    assert await fleet.run(fleet.feed(settings)) == 0
    assert_committed_once(fleet, expected)


async def test_feed_when_over_and_lingering_then_its_clock_stays_alive(recorded: Path, expected: Any) -> None:
    fleet = Fleet()
    await fleet.run_until_over(file_settings(recorded))
    lengths = [len(fleet.ticks(partition)) for partition in PARTITIONS]
    await fleet.run(fleet.feed(file_settings(recorded, feed_linger=True)), batches_max=5)
    for partition, length in zip(PARTITIONS, lengths, strict=True):
        lingering = fleet.ticks(partition)[length:]
        assert set(lingering["kind"].tolist()) == {TickKind.HEARTBEAT}
        assert set(lingering["event_ns"].tolist()) == {int(expected[-1]["event_ns"])}
    assert_committed_once(fleet, expected)


async def test_feed_when_another_follows_then_it_begins_at_its_start_and_ids_stay(recorded: Path) -> None:
    fleet = Fleet()
    await fleet.run_until_over(file_settings(recorded))
    await fleet.run_until_over(file_settings(recorded, feed_id="the next day", feed_date=date(2024, 1, 3)))
    assert len(fleet.instruments()) == OPTIONS.symbols
    for partition in PARTITIONS:
        ticks = without_beats(fleet.ticks(partition))
        first, second = np.split(ticks, 2)
        for name in ("sequence", "instrument_id", "order_ref"):
            assert np.array_equal(first[name], second[name])
        assert set((second["event_ns"] - first["event_ns"]).tolist()) == {86_400_000 * MS}


@pytest.mark.parametrize("chunk", [4_096, 1 << 20])
async def test_feed_when_it_cannot_be_read_on_then_what_stood_before_is_committed_and_it_says_so(
    tmp_path: Path, message: Any, framed: Any, chunk: int
) -> None:
    path = tmp_path / "feed.itch"
    good = framed([message(TickKind.SYSTEM_EVENT, event_code=b"O")] * 500, zero=True)
    path.write_bytes(good + b"\0\0z" + bytes(50))
    fleet = Fleet()
    feed = await fleet.run_until_over(file_settings(path, feed_date=DAY, chunk_bytes=chunk))
    assert isinstance(feed.failure, FramingError)
    assert feed.failure.offset == len(good) == fleet.position().offset
    ready, detail = feed.ready()
    assert not ready
    assert "unknown message type" in detail["failure"]
    assert len(without_beats(fleet.ticks(0))) == 500
    assert not fleet.position().closed


async def test_feed_when_messages_are_poison_then_counted_and_neighbours_committed(
    tmp_path: Path, message: Any, framed: Any
) -> None:
    path = tmp_path / "feed.itch"
    event = message(TickKind.SYSTEM_EVENT, event_code=b"O")
    path.write_bytes(framed([event, b"z" + bytes(20), event, message(TickKind.ADD, 77), event]) + b"\0\x0cS")
    fleet = Fleet()
    feed = await fleet.run_until_over(file_settings(path, feed_date=DAY))
    assert feed.report.counts == {
        AnomalyKind.UNKNOWN_TYPE: 1,
        AnomalyKind.UNKNOWN_LOCATE: 1,
        AnomalyKind.TRUNCATED: 1,
    }
    assert without_beats(fleet.ticks(1))["sequence"].tolist() == [1, 3, 5]


def test_progress_when_replayed_then_it_grows_to_the_whole_file(recorded: Path) -> None:
    seen: list[tuple[int, int]] = []
    fleet = Fleet()
    feed = fleet.feed(file_settings(recorded), progress=lambda done, total: seen.append((done, total)))
    asyncio.run(fleet.run(feed))
    size = recorded.stat().st_size
    assert seen[-1] == (size, size)
    assert seen == sorted(seen)


# --- packet lines -------------------------------------------------------------------------------------------------


class Sending:
    """Sends datagrams to a feed once it listens."""

    def __init__(self, feed: Feed, datagrams: list[bytes]) -> None:
        self._feed = feed
        self._datagrams = datagrams

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._send())

    async def __aexit__(self, *_: object) -> None:
        await self._task

    async def _send(self) -> None:
        async with asyncio.timeout(10):
            while self._feed.queue is None:
                await asyncio.sleep(0.001)
        await send_packets(self._datagrams, "127.0.0.1", self._feed.queue.port, packets_per_s=20_000)


class RealClock(VirtualClock):
    """Sockets do not wait for a virtual clock: here time passes by itself."""

    def now_ns(self) -> int:
        return self.ns + int(asyncio.get_running_loop().time() * 1e9)

    async def sleep_ns(self, duration_ns: int) -> None:
        await asyncio.sleep(duration_ns / 1e9)


def line_settings(**options: Any) -> IngestSettings:
    usual: dict[str, Any] = {"feed": "udp", "feed_date": DAY, "feed_linger": False}
    return IngestSettings(**(usual | options))


async def test_line_when_the_day_is_sent_then_the_log_equals_the_offline_decode(stream: bytes, expected: Any) -> None:
    fleet = Fleet()
    fleet.clock = RealClock()
    feed = fleet.feed(line_settings())
    datagrams = [*packets("S1", stream, 1), end_packet("S1", len(expected))]
    async with asyncio.timeout(30), Sending(feed, datagrams):
        await fleet.run(feed)
    assert_committed_once(fleet, expected)
    assert not feed.report.counts
    assert fleet.position().closed
    assert all(fleet.ticks(partition)[-1]["event_ns"] == expected[-1]["event_ns"] for partition in PARTITIONS)


async def test_line_when_packets_are_lost_then_the_rest_is_committed_and_the_gap_counted(
    stream: bytes, expected: Any
) -> None:
    fleet = Fleet()
    fleet.clock = RealClock()
    datagrams = list(packets("S1", stream, 1))
    lost = datagrams.pop(len(datagrams) // 2)
    first, count = int.from_bytes(lost[10:18], "big"), int.from_bytes(lost[18:20], "big")
    feed = fleet.feed(line_settings())
    async with asyncio.timeout(30), Sending(feed, [*datagrams, datagrams[3], end_packet("S1", len(expected))]):
        await fleet.run(feed)
    assert feed.report.counts[AnomalyKind.SEQUENCE_GAP] == count
    assert feed.report.counts[AnomalyKind.DUPLICATE] == int.from_bytes(datagrams[3][18:20], "big")
    kept = without_beats(expected)
    kept = kept[(kept["sequence"] < first) | (kept["sequence"] >= first + count)]
    assert_committed_once(fleet, kept)
    ready, detail = feed.ready()
    assert ready
    assert detail["sequence_gap"] == count


async def test_line_when_the_process_dies_then_the_next_one_knows_the_locates_and_reports_what_it_missed(
    stream: bytes, expected: Any
) -> None:
    fleet = Fleet()
    fleet.clock = RealClock()
    datagrams = list(packets("S1", stream, 1))
    half = len(datagrams) // 2
    first = fleet.feed(line_settings())
    async with asyncio.timeout(30), Sending(first, datagrams[:half]):
        life = asyncio.create_task(fleet.run(first))
        next_sequence = int.from_bytes(datagrams[half][10:18], "big")
        while first.ready()[1]["next_message"] < next_sequence:
            await asyncio.sleep(0.001)
        life.cancel()
        with suppress(asyncio.CancelledError):
            await life
    committed = fleet.position().sequence
    second = fleet.feed(line_settings())
    missed, rest = datagrams[half], datagrams[half + 1 :]
    async with asyncio.timeout(30), Sending(second, [*rest, end_packet("S1", len(expected))]):
        await fleet.run(second)
    resumed = int.from_bytes(missed[10:18], "big") + int.from_bytes(missed[18:20], "big")
    assert second.report.counts == {AnomalyKind.SEQUENCE_GAP: resumed - committed}
    kept = without_beats(expected)
    assert_committed_once(fleet, kept[(kept["sequence"] < committed) | (kept["sequence"] >= resumed)])


# --- positions, pace, settings ------------------------------------------------------------------------------------


@given(st.dictionaries(st.integers(0, 65_535), st.integers(0, 2**31 - 1), max_size=200))
def test_position_when_encoded_then_read_back(locates: dict[int, int]) -> None:
    position = Position("feed", 7, 8, 9, "S1", "length", 10, True, pack_locates(locates))
    assert decode_position(position.encode()) == position


def test_position_when_8000_instruments_then_still_small() -> None:
    assert len(Position("feed", 7, locates=pack_locates({i + 1: i for i in range(8_000)})).encode()) < 1_000


@pytest.mark.parametrize("value", [b"", b"{}\n", b'{"v":2}\n', b'{"v":1,"feed":"x"}\n', b'{"v":1}\nnoise'])
def test_position_when_no_position_then_refused(value: bytes) -> None:
    with pytest.raises(PositionError):
        decode_position(value)


def test_pace_when_twice_as_fast_then_half_the_wait() -> None:
    pace = Pace(parse_speed("2"))
    pace.start(1_000, 50)
    assert (pace.now(50), pace.now(150), pace.wait_ns(1_200, 50), pace.wait_ns(900, 50)) == (1_000, 1_200, 100, 0)


@pytest.mark.parametrize("text", ["0", "-1", "fast", "inf", "nan", ""])
def test_speed_when_not_positive_or_max_then_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"speed|float"):
        parse_speed(text)


@pytest.mark.parametrize(
    "options",
    [
        {"feed": "file"},
        {"feed": "file", "feed_file": "no-date.itch"},
        {"feed": "udp"},
        {"feed_speed": "warp"},
        {"feed_symbols": 9_000},
    ],
)
def test_settings_when_incomplete_then_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        IngestSettings(**options)


def test_settings_when_the_environment_says_so_then_from_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMARK_FEED", "synthetic")
    monkeypatch.setenv("TIDEMARK_FEED_SYMBOLS", "8000")
    monkeypatch.setenv("TIDEMARK_FEED_SPEED", "max")
    monkeypatch.setenv("TIDEMARK_FEED_DATE", "2024-01-02")
    settings = IngestSettings()
    assert settings.exchange().symbols == 8_000
    assert settings.feed_day() == DAY
