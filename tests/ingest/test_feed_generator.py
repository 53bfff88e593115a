"""Generated days: rates as planned, damage as its truth says, and the same bytes for the same options."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from common.contracts.ticks import TickKind
from ingest.domain.anomalies import Report
from ingest.domain.damage import Damage
from ingest.domain.exchange import ExchangeOptions
from ingest.domain.feed_date import session_midnight_ns
from ingest.domain.rate_plan import RatePlanError, Warp, parse_plan
from ingest.feeds.generator import Generated, planned, write_day, write_venues
from ingest.feeds.offline import reader_ticks
from ingest.offline import tick_chunks

DAY = date(2024, 1, 2)
OPTIONS = ExchangeOptions(symbols=12, seed=5, rate=2_000, duration_s=2)


def test_plan_when_followed_then_events_per_second_as_planned() -> None:
    wanted = Generated(OPTIONS, DAY, "2@1k..4k,2@2x,1@10x")
    stamps = list[int]()
    for block in planned(wanted):
        raw = block.data.tobytes()
        stamps += [int.from_bytes(raw[start + 5 : start + 11], "big") for start in block.starts.tolist()]
    assert np.all(np.diff(stamps) >= 0)
    since = np.array([stamp for stamp in stamps if stamp >= OPTIONS.open_ns]) - OPTIONS.open_ns
    counts = np.bincount(since // 10**9, minlength=5)[:5]
    assert counts == pytest.approx([1_750, 3_250, 4_000, 4_000, 20_000], rel=0.2)


def test_plan_when_warped_then_the_events_of_each_segment() -> None:
    segments = parse_plan("60@1000000..7M,30@2x,5@10x", 20_000)
    assert [segment.events for segment in segments] == [240e6, 1.2e6, 1e6]
    warp = Warp(segments, 20_000, 0)
    ends = np.array([240e6, 241.2e6, 242.2e6]) / 20_000 * 10**9
    assert warp.stamps(ends.astype(np.int64)) / 10**9 == pytest.approx([60, 90, 95], abs=1e-3)


@pytest.mark.parametrize("text", ["", "10", "0@5", "10@", "10@1..", "x@5", "10@1.2.3", "10@0.5"])
def test_plan_when_it_is_none_then_refused(text: str) -> None:
    with pytest.raises(RatePlanError):
        parse_plan(text, 1_000)


def test_day_when_written_as_a_file_or_a_capture_then_the_same_ticks(tmp_path: Path) -> None:
    write_day(tmp_path / f"day-{DAY}.itch", Generated(OPTIONS, DAY))
    write_day(tmp_path / "day.pcap", Generated(OPTIONS, DAY))
    expected = np.concatenate(list(tick_chunks(tmp_path / f"day-{DAY}.itch")))
    report = Report()
    ticks = np.concatenate(list(reader_ticks("pcap", (str(tmp_path / "day.pcap"),), report=report)))
    assert np.array_equal(ticks, expected)
    assert not report.counts


def test_venues_when_written_then_the_same_stocks_and_first_prices_and_each_its_own_trades(tmp_path: Path) -> None:
    path = tmp_path / f"{DAY}.pcap"
    wanted = Generated(OPTIONS, DAY, "1@4k,1@2x", Damage(gaps=30, seed=3))
    written = write_venues(path, wanted, ("XNAS", "XBOS", "XPHL"))
    assert [file.name for file in written] == [f"{DAY}.{name}.pcap" for name in ("XNAS", "XBOS", "XPHL")]
    days = []
    for file, truth in written.items():
        report = Report()
        days.append(np.concatenate(list(reader_ticks("pcap", (str(file),), report=report))))
        assert report.losses() == {"sequence_gap": sum(count for _, count in truth.lost)}
    listed = [day[day["kind"] == TickKind.STOCK_DIRECTORY]["order_ref"].tolist() for day in days]
    assert listed[0] == listed[1] == listed[2]
    first = [_first_prices(day) for day in days]
    for name in first[0].keys() & first[1].keys() & first[2].keys():
        prices = [venue[name] for venue in first]
        assert max(prices) - min(prices) < 0.1 * min(prices)
    trades = [set(day[day["kind"] == TickKind.TRADE]["event_ns"].tolist()) for day in days]
    assert not trades[0] & trades[1]
    counts = np.sum([np.bincount(_seconds(day), minlength=2)[:2] for day in days], axis=0)
    assert counts == pytest.approx([4_000, 4_000], rel=0.3)


def _first_prices(day: Any) -> dict[int, int]:
    """Price of each instrument's first order."""
    orders = day[day["kind"] == TickKind.ADD][::-1]
    return dict(zip(orders["instrument_id"].tolist(), orders["price_e4"].tolist(), strict=True))


def _seconds(day: Any) -> Any:
    """Since the opening."""
    since = (day["event_ns"] - session_midnight_ns(DAY) - OPTIONS.open_ns) // 10**9
    return since[since >= 0]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_damage_when_read_then_the_counts_of_its_truth(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "day.pcap"
    damage = Damage(gaps=30, duplicates=40, reorders=50, bad_stamps=20, seed=seed)
    write_day(path, Generated(OPTIONS, DAY, damage=damage))
    truth: dict[str, Any] = json.loads((tmp_path / "day.pcap.truth.json").read_text())
    report = Report()
    list(reader_ticks("pcap", (str(path),), report=report))
    assert {kind.value: count for kind, count in report.counts.items()} == truth["expected_anomalies"]
    assert report.messages == truth["expected_messages"]
    assert min(len(truth["lost"]), truth["reordered_packets"], len(truth["bad_stamps"])) > 0
    again = tmp_path / "again.pcap"
    write_day(again, Generated(OPTIONS, DAY, damage=damage))
    assert again.read_bytes() == path.read_bytes()
