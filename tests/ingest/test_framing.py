"""Both framings, in chunks of any size, and streams that are broken."""

import gzip
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from common.contracts.ticks import TickFlag, TickKind
from common.contracts.windows import closing_time_ns
from hypothesis import given
from hypothesis import strategies as st
from ingest.domain.anomalies import AnomalyKind, Report
from ingest.domain.exchange import ExchangeOptions, exchange_chunks
from ingest.domain.feed_date import FeedDateError, date_from_name, session_midnight_ns
from ingest.domain.framing import Framer, Framing, FramingError, detect_framing
from ingest.files import RecordedFile
from ingest.offline import blocks, tick_chunks

from tests.ingest.refused import undecoded

Message = Callable[..., bytes]
Stream = Callable[..., bytes]


@pytest.fixture(scope="module")
def day(message: Message) -> list[bytes]:
    """Messages of several types."""
    return [
        message(TickKind.SYSTEM_EVENT, event_code=b"O"),
        message(TickKind.STOCK_DIRECTORY, stock=b"AAPL    ", round_lot_size=100),
        *(message(kind) for kind in (TickKind.ADD, TickKind.REPLACE, TickKind.DELETE, TickKind.IMBALANCE)),
        message(TickKind.SYSTEM_EVENT, event_code=b"C"),
    ]


def _cut(stream: bytes, sizes: list[int]) -> list[bytes]:
    chunks = []
    for size in sizes:
        chunks.append(stream[:size])
        stream = stream[size:]
    return [*chunks, stream]


def _read(chunks: list[bytes], report: Report, **options: Any) -> tuple[list[tuple[int, int, bytes]], Framer]:
    """(sequence, offset, message) of every message."""
    framer = Framer(report, **options)
    found = []
    for chunk in chunks:
        for block in framer.feed(chunk):
            for i in range(len(block)):
                start, length = int(block.starts[i]), int(block.lengths[i])
                raw = block.data[start : start + length].tobytes()
                found.append((block.first_sequence + i, block.offset(i), raw))
            assert block.end(len(block)) == framer.offset
    framer.finish()
    return found, framer


@given(zero=st.booleans(), sizes=st.lists(st.integers(0, 60), max_size=30))
def test_stream_when_cut_anywhere_then_the_same_messages(
    zero: bool, sizes: list[int], day: list[bytes], framed: Stream
) -> None:
    stream = framed(day, zero=zero)
    report = Report()
    found, framer = _read(_cut(stream, sizes), report)
    assert [raw for _, _, raw in found] == day
    assert [sequence for sequence, _, _ in found] == list(range(1, len(day) + 1))
    assert [stream[offset + 2 :][: len(raw)] for _, offset, raw in found] == day
    assert framer.framing is (Framing.ZERO if zero else Framing.LENGTH)
    assert framer.offset == len(stream)
    assert not report.counts


@pytest.mark.parametrize("zero", [False, True])
def test_stream_when_resumed_at_any_message_then_the_rest(zero: bool, day: list[bytes], framed: Stream) -> None:
    stream = framed(day, zero=zero)
    whole, framer = _read([stream], Report())
    for done, (sequence, offset, _) in enumerate(whole):
        rest, _ = _read([stream[offset:]], Report(), framing=framer.framing, offset=offset, sequence=sequence)
        assert rest == whole[done:]


@pytest.mark.parametrize("zero", [False, True])
def test_stream_when_it_ends_inside_a_message_then_reported_with_its_place(
    zero: bool, day: list[bytes], framed: Stream
) -> None:
    stream = framed(day, zero=zero)
    begin = len(framed(day[:-1], zero=zero))
    for size in range(begin + 1, len(stream)):
        report = Report()
        found, _ = _read([stream[:size]], report)
        assert [raw for _, _, raw in found] == day[:-1]
        assert report.counts == {AnomalyKind.TRUNCATED: 1}
        assert (report.examples[0].offset, report.examples[0].sequence) == (begin, len(day))


def test_length_framing_when_a_type_is_unknown_then_stepped_over(day: list[bytes], framed: Stream, decode: Any) -> None:
    poison = b"z" + bytes(30)
    ticks, report, _ = decode(framed([*day[:3], poison, *day[3:]]))
    assert ticks["sequence"].tolist() == [1, 2, 3, 5, 6, 7, 8]
    assert report.counts == {AnomalyKind.UNKNOWN_TYPE: 1}
    assert report.examples[0].offset == len(framed(day[:3]))


def test_length_framing_when_the_first_message_is_poison_then_still_recognised(
    day: list[bytes], framed: Stream, decode: Any
) -> None:
    ticks, report, _ = decode(framed([b"z" + bytes(30), *day]))
    assert len(ticks) == len(day)
    assert report.counts == {AnomalyKind.UNKNOWN_TYPE: 1}


def test_length_framing_when_a_length_is_zero_then_no_message_and_reported(
    day: list[bytes], framed: Stream, decode: Any
) -> None:
    stream = framed(day[:3]) + b"\0\0" + framed(day[3:]) + b"\0\0"
    ticks, report, _ = decode(stream)
    assert ticks["sequence"].tolist() == list(range(1, len(day) + 1))
    assert report.counts == {AnomalyKind.END_MARKER: 2}
    assert report.examples[0].offset == len(framed(day[:3]))


@pytest.mark.parametrize("chunk", [1, 7, 10_000])
@pytest.mark.parametrize("damage", [b"\0\0z" + bytes(30), b"\0\x13D" + bytes(18), b"\xff"])
def test_zero_framing_when_messages_cannot_be_stepped_over_then_found_again_and_what_is_between_counted(
    chunk: int, damage: bytes, day: list[bytes], framed: Stream
) -> None:
    before, after = framed(day, zero=True), framed(day[3:], zero=True)
    stream = before + damage + after
    report = Report()
    framer = Framer(report)
    blocks = [block for at in range(0, len(stream), chunk) for block in framer.feed(stream[at : at + chunk])]
    blocks += framer.finish()
    numbers = [block.first_sequence + place for block in blocks for place in range(len(block))]
    assert numbers == [*range(1, len(day) + 1), *range(len(day) + 2, 2 * len(day) - 1)]
    assert report.counts == {AnomalyKind.SKIPPED_BYTES: len(damage)}
    assert report.examples[0].offset == len(before)
    assert framer.offset == len(stream)


def test_zero_framing_when_a_message_has_lost_a_byte_then_it_belongs_to_the_damage(
    day: list[bytes], framed: Stream
) -> None:
    before, broken = framed(day, zero=True), framed(day[:1], zero=True)[:-1]
    report = Report()
    framer = Framer(report)
    blocks = [*framer.feed(before + broken + framed(day, zero=True)), *framer.finish()]
    assert sum(len(block) for block in blocks) == 2 * len(day)
    assert report.counts == {AnomalyKind.SKIPPED_BYTES: len(broken)}
    assert report.examples[0].offset == len(before)


def test_stream_when_it_is_no_itch_then_refused() -> None:
    with pytest.raises(FramingError, match="neither framing"):
        list(Framer(Report()).feed(b"<html>" * 100))


def test_detect_framing_when_nothing_fits_then_none() -> None:
    assert detect_framing(b"") is None
    assert detect_framing(b"\0" * 100) is None


@given(st.binary(max_size=400))
def test_stream_when_bytes_are_random_then_no_crash_and_nothing_unaccounted(decode: Any, noise: bytes) -> None:
    try:
        ticks, report, _ = decode(noise, chunk=50)
    except FramingError:
        return
    assert report.messages == undecoded(report) + (0 if ticks is None else len(ticks))


# --- files --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded() -> bytes:
    return b"".join(exchange_chunks(ExchangeOptions(symbols=5, messages=3_000)))


@given(packed=st.booleans(), start=st.integers(0, 60_000), chunk=st.integers(999, 40_000), members=st.integers(1, 3))
def test_file_when_read_from_anywhere_then_the_rest(
    tmp_path_factory: pytest.TempPathFactory, recorded: bytes, packed: bool, start: int, chunk: int, members: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "feed"
    step = len(recorded) // members + 1
    parts = [recorded[at : at + step] for at in range(0, len(recorded), step)]
    path.write_bytes(b"".join(map(gzip.compress, parts)) if packed else recorded)
    source = RecordedFile(path, Report(), start=start, chunk_bytes=chunk)
    chunks = list(source)
    assert b"".join(chunks) == recorded[start:]
    assert max(map(len, chunks), default=0) <= chunk
    assert source.bytes_read <= source.bytes_total == path.stat().st_size


def test_gzip_when_it_ends_early_then_what_came_out_is_used(tmp_path: Path, recorded: bytes) -> None:
    path = tmp_path / "20240102.itch.gz"
    whole = gzip.compress(recorded)
    path.write_bytes(whole[: len(whole) * 2 // 3])
    report = Report()
    messages = sum(len(block) for block in blocks(path, report))
    assert 500 < messages < 3_500
    assert report.counts[AnomalyKind.BROKEN_ARCHIVE] == 1
    assert report.counts[AnomalyKind.TRUNCATED] <= 1


def test_gzip_when_it_is_damaged_then_reported(tmp_path: Path, recorded: bytes) -> None:
    path = tmp_path / "20240102.itch.gz"
    whole = bytearray(gzip.compress(recorded))
    whole[len(whole) // 2 : len(whole) // 2 + 40] = bytes(40)
    path.write_bytes(whole)
    report = Report()
    assert sum(len(block) for block in blocks(path, report)) > 100
    assert report.counts[AnomalyKind.BROKEN_ARCHIVE] == 1


def test_offline_when_file_is_read_then_ticks_end_with_the_closing_heartbeat(tmp_path: Path, recorded: bytes) -> None:
    path = tmp_path / "synthetic_2024-01-02.itch"
    path.write_bytes(recorded)
    seen: list[tuple[int, int]] = []
    report = Report()
    parts = list(tick_chunks(path, report=report, progress=lambda *at: seen.append(at), chunk_bytes=5_000))
    ticks = np.concatenate(parts)
    assert ticks["sequence"][:-1].tolist() == list(range(1, len(ticks)))
    last = int(ticks["event_ns"][:-1].max())
    assert len(parts[-1]) == 1
    assert ticks[-1]["kind"] == TickKind.HEARTBEAT
    assert ticks[-1]["event_ns"] == closing_time_ns(last)
    assert ticks[-1]["flags"] == TickFlag.SESSION_END
    assert seen[-1] == (len(recorded), len(recorded))
    assert seen == sorted(seen)
    opened = datetime(2024, 1, 2, 14, 29, 58, tzinfo=UTC)  # 09:29:58 in New York, in winter
    assert int(ticks["event_ns"][0]) == int(opened.timestamp()) * 1_000_000_000


@pytest.mark.parametrize(
    ("name", "day"),
    [
        ("AAPL_2012-06-21_1.itch.gz", date(2012, 6, 21)),
        ("AAPL_2012-06-21_34200000_57600000_message_1.csv", date(2012, 6, 21)),
        ("ex20101224.TEST_ITCH_50.gz", date(2010, 12, 24)),
        ("01302019.NASDAQ_ITCH50.gz", date(2019, 1, 30)),
        ("20190130.BX_ITCH_50.gz", date(2019, 1, 30)),
        ("S081321-v50.txt.gz", date(2021, 8, 13)),
        ("feed_2024_03_11.itch", date(2024, 3, 11)),
    ],
)
def test_date_when_the_name_says_it_then_that(name: str, day: date) -> None:
    assert date_from_name(name) == day


@pytest.mark.parametrize("name", ["feed.itch", "99999999.itch", "123456789012.itch", "2024-13-40.itch"])
def test_date_when_the_name_does_not_say_it_then_refused(name: str) -> None:
    with pytest.raises(FeedDateError, match="YYYY-MM-DD"):
        date_from_name(name)


@pytest.mark.parametrize(("day", "utc_hour"), [(date(2012, 6, 21), 4), (date(2024, 1, 2), 5), (date(2024, 3, 11), 4)])
def test_midnight_when_in_new_york_then_daylight_saving_counts(day: date, utc_hour: int) -> None:
    expected = datetime(day.year, day.month, day.day, utc_hour, tzinfo=UTC)
    assert session_midnight_ns(day) == int(expected.timestamp()) * 1_000_000_000
