"""Days, clocks and stamps: what time it is in a feed that does not say its date."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from common.contracts.ticks import TickKind
from hypothesis import given
from hypothesis import strategies as st
from ingest.domain.anomalies import AnomalyKind, Report
from ingest.domain.days import DayError, Days
from ingest.domain.feed_date import wall_clock
from ingest.domain.framing import packet_block
from ingest.domain.instruments import InstrumentRegistry
from ingest.domain.itch import Decoder
from ingest.offline import tick_chunks

S = 1_000_000_000
HOUR = 3_600 * S
OPEN = 9 * HOUR + 1_800 * S
MONDAY, TUESDAY = date(2024, 6, 3), date(2024, 6, 4)
Message = Callable[..., bytes]


@pytest.fixture(scope="module")
def whole(message: Message, framed: Any) -> Callable[..., bytes]:
    """``whole(*messages, stock=b"AAPL")``: a day around the messages, with locate 1 as the stock's."""

    def build(*body: bytes, stock: bytes = b"AAPL", first: int = 3 * HOUR) -> bytes:
        head = [
            message(TickKind.SYSTEM_EVENT, 0, first, event_code=b"O"),
            message(TickKind.STOCK_DIRECTORY, 1, first, stock=stock.ljust(8), round_lot_size=100),
        ]
        return bytes(framed([*head, *body, message(TickKind.SYSTEM_EVENT, 0, 20 * HOUR, event_code=b"C")]))

    return build


def trade(message: Message, stamp: int, match: int = 1) -> bytes:
    return message(TickKind.TRADE, 1, stamp, shares=100, price=1_000_000, match_number=match, stock=b"AAPL    ")


def read(tmp_path: Path, stream: bytes, days: Any = MONDAY) -> tuple[Any, Report]:
    path = tmp_path / "feed.itch"
    path.write_bytes(stream)
    report = Report()
    return np.concatenate(list(tick_chunks(path, days, report=report))), report


def trades(ticks: Any) -> Any:
    return ticks[ticks["kind"] == TickKind.TRADE]


def test_two_days_when_both_dates_are_given_then_each_has_its_own_and_locates_begin_anew(
    tmp_path: Path, message: Message, whole: Any
) -> None:
    one, two = whole(trade(message, OPEN)), whole(trade(message, OPEN), stock=b"MSFT")
    ticks, report = read(tmp_path, one + two, [MONDAY, TUESDAY])
    found = trades(ticks)
    assert (found["event_ns"] - OPEN).tolist() == [wall_clock(day).midnight_ns for day in (MONDAY, TUESDAY)]
    assert found["instrument_id"].tolist() == [0, 1]
    assert not report.counts


def test_two_days_when_one_date_is_given_then_refused_with_the_place(
    tmp_path: Path, message: Message, whole: Any
) -> None:
    one = whole(trade(message, OPEN))
    with pytest.raises(DayError, match=f"day 2 begins with message 5.* at byte {len(one)}"):
        read(tmp_path, one + one)


def test_days_when_two_have_one_date_then_refused() -> None:
    with pytest.raises(ValueError, match="same date"):
        Days([MONDAY, MONDAY])


def test_files_when_their_names_say_different_days_then_each_has_its_own(
    tmp_path: Path, message: Message, whole: Any
) -> None:
    paths = [tmp_path / f"{day}.itch" for day in (MONDAY, TUESDAY)]
    for path in paths:
        path.write_bytes(whole(trade(message, OPEN)))
    report = Report()
    found = trades(np.concatenate(list(tick_chunks(paths, report=report))))
    assert np.diff(found["event_ns"]).tolist() == [24 * HOUR]
    assert found["sequence"].tolist() == [3, 7]
    assert not report.counts


def test_session_when_it_begins_anew_in_mid_stream_then_the_day_goes_on(
    tmp_path: Path, message: Message, whole: Any, framed: Any
) -> None:
    again = message(TickKind.SYSTEM_EVENT, 0, OPEN + S, event_code=b"O")
    ticks, report = read(tmp_path, whole(trade(message, OPEN), again, trade(message, OPEN + 2 * S, 2)))
    assert len(trades(ticks)) == 2
    assert not report.counts


def test_stamp_when_far_ahead_of_its_neighbours_then_counted_and_the_clock_is_not_moved(
    tmp_path: Path, message: Message, whole: Any
) -> None:
    poison = message(TickKind.TRADING_ACTION, 1, 86_399 * S, stock=b"AAPL    ", trading_state=b"T")
    body = [trade(message, OPEN), poison, *(trade(message, OPEN + i * S, i) for i in range(1, 5))]
    ticks, report = read(tmp_path, whole(*body))
    midnight = wall_clock(MONDAY).midnight_ns
    assert report.counts == {AnomalyKind.STAMP_AHEAD: 1}
    assert int(ticks[ticks["kind"] == TickKind.TRADING_ACTION]["event_ns"][0]) == midnight + OPEN
    assert int(trades(ticks)["event_ns"].max()) == midnight + OPEN + 4 * S


@given(gap_s=st.integers(1, 5 * 3_600))
def test_stamp_when_a_quiet_time_ends_then_believed(decode: Any, message: Message, whole: Any, gap_s: int) -> None:
    stamps = [OPEN, OPEN + gap_s * S, OPEN + gap_s * S + 1, OPEN + gap_s * S + 2]
    ticks, report, _ = decode(whole(*(trade(message, stamp, i) for i, stamp in enumerate(stamps))))
    assert trades(ticks)["event_ns"].tolist() == stamps
    assert not report.counts


def test_overnight_when_stamps_begin_anew_at_midnight_or_go_on_past_it_then_the_same_times(
    decode: Any, message: Message, whole: Any
) -> None:
    true = [23 * HOUR + 3_500 * S, 24 * HOUR - 1, 24 * HOUR + S, 24 * HOUR - 2, 25 * HOUR]
    for day_ns in (24 * HOUR, 1 << 62):
        body = [trade(message, stamp % day_ns, i) for i, stamp in enumerate(true)]
        ticks, report, _ = decode(whole(*body, first=20 * HOUR))
        assert trades(ticks)["event_ns"].tolist() == true
        assert not report.counts[AnomalyKind.BAD_TIMESTAMP]


@pytest.mark.parametrize(
    ("day", "hour", "utc"),
    [
        (date(2026, 3, 8), 1, datetime(2026, 3, 8, 6, tzinfo=UTC)),
        (date(2026, 3, 8), 3, datetime(2026, 3, 8, 7, tzinfo=UTC)),
        (date(2026, 3, 8), 21, datetime(2026, 3, 9, 1, tzinfo=UTC)),
        (date(2026, 11, 1), 0, datetime(2026, 11, 1, 4, tzinfo=UTC)),
        (date(2026, 11, 1), 2, datetime(2026, 11, 1, 7, tzinfo=UTC)),
        (date(2026, 11, 1), 21, datetime(2026, 11, 2, 2, tzinfo=UTC)),
        (date(2026, 3, 7), 27, datetime(2026, 3, 8, 7, tzinfo=UTC)),
    ],
)
def test_clock_when_it_changes_then_stamps_are_wall_time(
    tmp_path: Path, message: Message, whole: Any, day: date, hour: int, utc: datetime
) -> None:
    body = [trade(message, stamp * HOUR) for stamp in range(min(hour, 23), hour + 1)]
    ticks, _ = read(tmp_path, whole(*body, first=0), day)
    assert int(trades(ticks)["event_ns"][-1]) == int(utc.timestamp()) * S


@pytest.mark.parametrize("wrong", [2, 3, 5, 7])
def test_stamps_when_several_in_a_row_are_far_ahead_then_none_moves_the_clock(
    tmp_path: Path, message: Message, whole: Any, wrong: int
) -> None:
    poison = [
        message(TickKind.TRADING_ACTION, 1, 86_399 * S + at, stock=b"AAPL    ", trading_state=b"T")
        for at in range(wrong)
    ]
    body = [trade(message, OPEN), *poison, *(trade(message, OPEN + i * S, i) for i in range(1, 20))]
    ticks, report = read(tmp_path, whole(*body))
    assert report.counts == {AnomalyKind.STAMP_AHEAD: wrong}
    assert int(trades(ticks)["event_ns"].max()) == wall_clock(MONDAY).midnight_ns + OPEN + 19 * S


def test_line_when_stamps_are_far_ahead_then_only_a_third_that_agrees_is_believed(message: Message) -> None:
    report = Report()
    decoder = Decoder(0, InstrumentRegistry(), report, is_line=True)
    late = OPEN + 6 * HOUR
    stamps = [OPEN, OPEN + 5 * HOUR, OPEN + 5 * HOUR, OPEN + 1, late, late + 1, late + 2]
    times = []
    for sequence, stamp in enumerate(stamps, 1):
        raw = message(TickKind.SYSTEM_EVENT, 0, stamp, event_code=b"Q")
        block = packet_block(len(raw).to_bytes(2, "big") + raw, 1, sequence)
        times += decoder.decode(block)["event_ns"].tolist()
    assert times == [OPEN, OPEN, OPEN, OPEN + 1, OPEN + 1, OPEN + 1, late + 2]
    assert report.counts == {AnomalyKind.STAMP_AHEAD: 4}
