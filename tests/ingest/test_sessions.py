"""Feed sessions on a log in memory: whatever dies and when, every message is committed once, in order."""

import asyncio
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from common.contracts.ticks import TickFlag, TickKind
from common.contracts.topics import MD_TICKS, market_partition
from common.contracts.windows import closing_time_ns
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from ingest.domain.anomalies import AnomalyKind
from ingest.settings import FeedSettings, IngestSettings

DAY = date(2024, 1, 2)
MS = 1_000_000
PARTITIONS = range(MD_TICKS.partitions)


def without_beats(ticks: Any) -> Any:
    return ticks[ticks["kind"] != TickKind.HEARTBEAT]


def file_settings(path: Path, *, chunk: int = 16_384, ticks: int = 4_096, **feed: Any) -> IngestSettings:
    chosen = FeedSettings(**({"kind": "file", "file": path, "speed": "max", "linger": False} | feed))
    return IngestSettings(feed=chosen, chunk_bytes=chunk, frame_ticks_max=ticks)


def synthetic_settings(day_options: Any, speed: str) -> IngestSettings:
    return IngestSettings(
        feed=FeedSettings(
            kind="synthetic",
            symbols=day_options.symbols,
            seed=day_options.seed,
            rate=day_options.rate,
            messages=day_options.messages,
            duration_s=day_options.duration_s,
            speed=speed,
            date=DAY,
            linger=False,
        )
    )


async def test_file_when_replayed_then_the_log_equals_the_offline_decode(
    make_fleet: Any, recorded: Path, expected: Any
) -> None:
    fleet = make_fleet()
    await fleet.run_until_over(file_settings(recorded, ticks=100))
    fleet.assert_committed_once(expected)
    for partition in PARTITIONS:
        ticks = fleet.ticks(partition)
        assert ticks[-1]["kind"] == TickKind.HEARTBEAT
        assert ticks[-1].tobytes() == expected[-1].tobytes()
        assert ticks[-1]["event_ns"] == closing_time_ns(int(expected["event_ns"][:-1].max()))
        assert np.flatnonzero(ticks["flags"] == TickFlag.SESSION_END).tolist() == [len(ticks) - 1]
        frames = fleet.frames(partition)
        assert max(len(frame.ticks) for frame in frames) == 100
        assert {frame.feed for frame in frames} == {recorded.name[:16]}
        ids = set(without_beats(ticks)["instrument_id"].tolist()) - {-1}
        assert ids
        assert {market_partition(instrument) for instrument in ids} == {partition}


@pytest.mark.parametrize("kill", [3, 10, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 50, 70])
async def test_file_when_killed_once_then_committed_once(
    make_fleet: Any, recorded: Path, expected: Any, kill: int
) -> None:
    fleet = make_fleet([kill])
    await fleet.run_until_over(file_settings(recorded))
    assert fleet.deaths == 1
    fleet.assert_committed_once(expected)


@hypothesis_settings(max_examples=25)
@given(kills=st.lists(st.integers(0, 400), max_size=6), chunk=st.sampled_from([4_096, 16_384, 1 << 20]))
async def test_file_when_killed_at_any_step_then_committed_once(
    make_fleet: Any, recorded: Path, expected: Any, kills: Sequence[int], chunk: int
) -> None:
    fleet = make_fleet(kills)
    await fleet.run_until_over(file_settings(recorded, chunk=chunk))
    fleet.assert_committed_once(expected)
    assert fleet.position().closed


@hypothesis_settings(max_examples=10)
@given(kills=st.lists(st.integers(0, 900), max_size=6), speed=st.sampled_from(["1", "7.5"]))
async def test_synthetic_when_paced_and_killed_then_committed_once_with_a_true_clock(
    make_fleet: Any, day_options: Any, expected: Any, kills: Sequence[int], speed: str
) -> None:
    fleet = make_fleet(kills)
    began_ns = fleet.clock.ns
    await fleet.run_until_over(synthetic_settings(day_options, speed))
    fleet.assert_committed_once(expected)
    recorded_s = (int(expected["event_ns"][:-1].max()) - int(expected["event_ns"][0])) / 1e9
    took_s = (fleet.clock.ns - began_ns) / 1e9
    assert took_s <= recorded_s / float(speed) + 0.05 * (fleet.deaths + 1)
    if not fleet.deaths:  # a process that starts in a quiet moment does not wait for its end
        assert took_s == pytest.approx(recorded_s / float(speed), abs=0.05)
    for partition in PARTITIONS:
        ticks = fleet.ticks(partition)
        beats = ticks["kind"] == TickKind.HEARTBEAT
        told = np.maximum.accumulate(np.where(beats, ticks["event_ns"], 0))
        assert (ticks["event_ns"][~beats] >= told[~beats]).all(), "a tick came after a heartbeat had said it cannot"
        stamps = [frame.ingest_ns for frame in fleet.frames(partition) if (frame.ticks["kind"] == 0).any()]
        assert max(np.diff(stamps)) <= 120 * MS


@hypothesis_settings(max_examples=20)
@given(at_ms=st.integers(0, 1_500), jump_s=st.integers(-7_200, 7_200))
async def test_synthetic_when_the_wall_clock_jumps_and_jumps_back_then_the_feed_keeps_its_pace(
    make_fleet: Any, day_options: Any, expected: Any, at_ms: int, jump_s: int
) -> None:
    fleet = make_fleet()
    began_ns = fleet.clock.ns
    fleet.clock.jump_at_ns, fleet.clock.jump_ns = began_ns + at_ms * MS, jump_s * 1_000 * MS
    await fleet.run_until_over(synthetic_settings(day_options, "1"))
    fleet.assert_committed_once(expected)
    recorded_s = (int(expected["event_ns"][:-1].max()) - int(expected["event_ns"][0])) / 1e9
    assert (fleet.clock.ns - began_ns) / 1e9 == pytest.approx(recorded_s, abs=0.05)


async def test_file_when_quiet_then_heartbeats_tell_the_time(
    make_fleet: Any, tmp_path: Path, message: Any, framed: Any
) -> None:
    start = 34_200_000_000_000
    stamps = [start, start + 950 * MS, start + 2_000 * MS]
    path = tmp_path / "feed.itch"
    path.write_bytes(framed([message(TickKind.SYSTEM_EVENT, stamp=stamp) for stamp in stamps]))
    fleet = make_fleet()
    await fleet.run_until_over(file_settings(path, speed="1", date=DAY))
    ticks = fleet.ticks(2)
    beats = ticks[ticks["kind"] == TickKind.HEARTBEAT]["event_ns"] - ticks[0]["event_ns"]
    assert len(ticks) - len(beats) == 3
    assert (np.diff(beats[:-1]) <= 101 * MS).all()
    assert len(beats) > 20
    assert beats[-2] <= 2_000 * MS


async def test_feed_when_over_and_started_again_then_nothing_is_said_twice(
    make_fleet: Any, recorded: Path, expected: Any
) -> None:
    fleet = make_fleet()
    settings = file_settings(recorded)
    await fleet.run_until_over(settings)
    assert await fleet.run(fleet.feed(settings)) == 0
    fleet.assert_committed_once(expected)


async def test_feed_when_over_and_lingering_then_its_clock_stays_alive(
    make_fleet: Any, recorded: Path, expected: Any
) -> None:
    fleet = make_fleet()
    await fleet.run_until_over(file_settings(recorded))
    lengths = [len(fleet.ticks(partition)) for partition in PARTITIONS]
    await fleet.run(fleet.feed(file_settings(recorded, linger=True)), batches_max=5)
    for partition, length in zip(PARTITIONS, lengths, strict=True):
        lingering = fleet.ticks(partition)[length:]
        assert set(lingering["kind"].tolist()) == {TickKind.HEARTBEAT}
        assert set(lingering["event_ns"].tolist()) == {int(expected[-1]["event_ns"])}
    fleet.assert_committed_once(expected)


async def test_feed_when_another_follows_then_it_begins_at_its_start_and_ids_stay(
    make_fleet: Any, day_options: Any, recorded: Path
) -> None:
    fleet = make_fleet()
    await fleet.run_until_over(file_settings(recorded))
    await fleet.run_until_over(file_settings(recorded, id="the next day", date=date(2024, 1, 3)))
    assert len(fleet.instruments()) == day_options.symbols
    for partition in PARTITIONS:
        ticks = without_beats(fleet.ticks(partition))
        first, second = np.split(ticks, 2)
        for name in ("sequence", "instrument_id", "order_ref"):
            assert np.array_equal(first[name], second[name])
        assert set((second["event_ns"] - first["event_ns"]).tolist()) == {86_400_000 * MS}


@pytest.mark.parametrize("chunk", [4_096, 1 << 20])
async def test_feed_when_bytes_are_no_messages_then_what_stands_around_them_is_committed_and_it_says_so(
    make_fleet: Any, tmp_path: Path, message: Any, framed: Any, chunk: int
) -> None:
    path = tmp_path / "feed.itch"
    good = framed([message(TickKind.SYSTEM_EVENT, event_code=b"O")] * 500, zero=True)
    path.write_bytes(good + b"\0\0z" + bytes(50) + good)
    fleet = make_fleet()
    feed = await fleet.run_until_over(file_settings(path, date=DAY, chunk=chunk))
    assert feed.failure is None
    assert fleet.position().offset == 2 * len(good) + 53
    _, detail = feed.ready()
    assert detail["losses"]["skipped_bytes"] == 53
    assert detail["first_loss"].startswith(f"skipped_bytes at byte {len(good)}")
    assert len(without_beats(fleet.ticks(0))) == 1_000
    assert fleet.position().closed


async def test_feed_when_messages_are_poison_then_counted_and_neighbours_committed(
    make_fleet: Any, tmp_path: Path, message: Any, framed: Any
) -> None:
    path = tmp_path / "feed.itch"
    event = message(TickKind.SYSTEM_EVENT, event_code=b"O")
    path.write_bytes(framed([event, b"z" + bytes(20), event, message(TickKind.ADD, 77), event]) + b"\0\x0cS")
    fleet = make_fleet()
    feed = await fleet.run_until_over(file_settings(path, date=DAY))
    assert feed.report.counts == {
        AnomalyKind.UNKNOWN_TYPE: 1,
        AnomalyKind.UNKNOWN_LOCATE: 1,
        AnomalyKind.TRUNCATED: 1,
        AnomalyKind.NO_DIRECTORY: 1,
        AnomalyKind.UNFINISHED_DAY: 1,
    }
    ready, detail = feed.ready()
    assert ready
    assert detail["state"] == "ended with losses"
    assert detail["first_loss"].startswith("unknown_type at byte 14, message 2")
    strict = await make_fleet().run_until_over(file_settings(path, date=DAY, strict=True))
    assert not strict.ready()[0]
    assert without_beats(fleet.ticks(1))["sequence"].tolist() == [1, 3, 5]


def test_progress_when_replayed_then_it_grows_to_the_whole_file(make_fleet: Any, recorded: Path) -> None:
    seen: list[tuple[int, int]] = []
    fleet = make_fleet()
    feed = fleet.feed(file_settings(recorded), progress=lambda done, total: seen.append((done, total)))
    asyncio.run(fleet.run(feed))
    size = recorded.stat().st_size
    assert seen[-1] == (size, size)
    assert seen == sorted(seen)


async def test_feed_when_the_file_is_empty_then_refused(make_fleet: Any, tmp_path: Path) -> None:
    path = tmp_path / "feed.itch"
    path.write_bytes(b"")
    feed = await make_fleet().run_until_over(file_settings(path, date=DAY))
    ready, detail = feed.ready()
    assert not ready
    assert "holds no message" in detail["failure"]


async def test_feed_when_a_second_day_follows_then_the_first_is_committed_and_the_second_refused(
    make_fleet: Any, tmp_path: Path, message: Any, framed: Any
) -> None:
    day = [
        message(TickKind.SYSTEM_EVENT, event_code=b"O"),
        message(TickKind.STOCK_DIRECTORY, stock=b"AAPL    ", round_lot_size=100),
        message(TickKind.SYSTEM_EVENT, event_code=b"C"),
    ]
    path = tmp_path / "feed.itch"
    path.write_bytes(framed(day * 2))
    fleet = make_fleet()
    feed = await fleet.run_until_over(file_settings(path, date=DAY))
    assert feed.failure.offset == len(framed(day))
    assert "day 2 begins with message 4" in str(feed.failure)
    assert not feed.ready()[0]
