"""``tidemark replay --offline`` by the venue's calendar, at the greatest numbers, and out of order between stocks."""

import csv
import struct
from datetime import date, datetime, time
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ingest.domain.partitions import deal
from ingest.offline import tick_chunks
from signals.domain.market import MarketState
from signals.offline import ANY_LATENESS_NS
from tidemark.main import app
from typer.testing import CliRunner

NEW_YORK = ZoneInfo("America/New_York")
NS = 1_000_000_000
HOUR_NS = 3_600 * NS
NINE_THIRTY = 34_200 * NS
REVISED = ("volume", "trades", "revision")
UINT32_MAX, INT64_MAX = (1 << 32) - 1, (1 << 63) - 1


def head(kind: bytes, stamp: int, locate: int = 1) -> bytes:
    return kind + struct.pack(">HH", locate, 0) + stamp.to_bytes(6, "big")


def listed(locate: int = 1, symbol: bytes = b"AAPL    ") -> bytes:
    return head(b"R", 1, locate) + symbol + b"QN" + struct.pack(">I", 100) + b"NCZ PN 1N" + struct.pack(">I", 0) + b"N"


def trade(stamp: int, match: int, *, price: int = 1_000_000, qty: int = 100, locate: int = 1) -> bytes:
    return head(b"P", stamp, locate) + struct.pack(">Q1sI8sIQ", 0, b"B", qty, b"AAPL    ", price, match)


def day(*messages: bytes) -> bytes:
    whole = [head(b"S", 0, 0) + b"O", *messages, head(b"S", 72_000 * NS, 0) + b"C"]
    return b"".join(len(message).to_bytes(2, "big") + message for message in whole)


def replay(feed: Path, on: date, out: Path, *more: str) -> tuple[int, str]:
    arguments = ["replay", "--offline", str(feed), "--date", on.isoformat(), "--out", str(out), *more]
    result = CliRunner(env={"COLUMNS": "400", "TERM": "dumb"}).invoke(app, arguments)
    return result.exit_code, " ".join(result.stderr.split())


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def at(on: date, clock: time) -> int:
    return int(datetime.combine(on, clock, NEW_YORK).timestamp()) * NS


@pytest.mark.parametrize(
    ("on", "closes"),
    [
        (date(2024, 7, 2), time(16)),  # summer
        (date(2024, 1, 3), time(16)),  # winter
        (date(2024, 11, 4), time(16)),  # the first day after the clock change
        (date(2024, 7, 3), time(13)),  # an early close
        (date(2024, 11, 29), time(13)),
    ],
)
def test_hours_when_regular_then_from_the_open_up_to_the_close_and_windows_begin_with_the_open(
    tmp_path: Path, on: date, closes: time
) -> None:
    pytest.importorskip("exchange_calendars")
    close = closes.hour * HOUR_NS
    stamps = [NINE_THIRTY - 1, NINE_THIRTY, NINE_THIRTY + HOUR_NS, close - 1, close, 16 * HOUR_NS - 1, 16 * HOUR_NS]
    feed = tmp_path / "day.itch"
    feed.write_bytes(day(listed(), *(trade(stamp, number) for number, stamp in enumerate(sorted(stamps), 1))))
    wanted = ("--trades", "--bars", "1h,1d", "--hours", "regular", "--anchor", "open", "--final")
    code, errors = replay(feed, on, tmp_path / "out", *wanted)
    assert code == 0, errors
    midnight, opening = at(on, time(0)), at(on, time(9, 30))
    kept = [midnight + stamp for stamp in stamps if NINE_THIRTY <= stamp < close]
    assert [int(row["event_ns"]) for row in rows(tmp_path / "out" / "trades.csv")] == kept
    bars = rows(tmp_path / "out" / "bars.csv")
    hours = {int(row["window_start_ns"]) for row in bars if int(row["window_ns"]) == HOUR_NS}
    assert hours == {opening + (one - opening) // HOUR_NS * HOUR_NS for one in kept}
    [daily] = [row for row in bars if int(row["window_ns"]) == 24 * HOUR_NS]
    assert (int(daily["window_start_ns"]), int(daily["trades"])) == (opening, len(kept))


@pytest.mark.parametrize("closed", [date(2024, 7, 4), date(2024, 6, 8)])
def test_hours_when_the_venue_is_closed_that_day_then_one_line_says_so(tmp_path: Path, closed: date) -> None:
    pytest.importorskip("exchange_calendars")
    feed = tmp_path / "day.itch"
    feed.write_bytes(day(listed(), trade(NINE_THIRTY, 1)))
    code, errors = replay(feed, closed, tmp_path / "out", "--hours", "regular")
    assert code == 1
    assert f"{closed} is no day of trading" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("trades", "volume", "notional", "code"),
    [
        ([(UINT32_MAX, (1 << 31) - 1)], (1 << 31) - 1, UINT32_MAX * ((1 << 31) - 1), 0),
        ([(UINT32_MAX, UINT32_MAX)], UINT32_MAX, INT64_MAX, 3),
        ([(UINT32_MAX, (1 << 31) - 1)] * 2, (1 << 32) - 2, INT64_MAX, 3),
        ([(1, UINT32_MAX)] * 40, 40 * UINT32_MAX, 40 * UINT32_MAX, 0),
    ],
)
def test_sums_when_at_the_maxima_then_exact_or_at_the_limit_and_said(
    tmp_path: Path, trades: list[tuple[int, int]], volume: int, notional: int, code: int
) -> None:
    feed = tmp_path / "day.itch"
    prints = (trade(NINE_THIRTY, number, price=price, qty=qty) for number, (price, qty) in enumerate(trades, 1))
    feed.write_bytes(day(listed(), *prints))
    found, errors = replay(feed, date(2024, 6, 3), tmp_path / "out", "--bars", "1s", "--final")
    [bar] = rows(tmp_path / "out" / "bars.csv")
    assert (int(bar["volume"]), int(bar["notional_e4"]), int(bar["trades"])) == (volume, notional, len(trades))
    assert int(bar["high_e4"]) == max(price for price, _ in trades)
    assert found == code, errors
    assert ("sum at limit" in errors) == (code == 3)


@settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.integers(1, 9), st.lists(st.integers(0, 130 * NS), min_size=1, max_size=8)), min_size=2, max_size=8
    ),
    st.integers(1, 5),
    st.lists(st.integers(1, 20), max_size=5),
)
def test_stocks_when_out_of_order_then_every_row_is_that_of_the_partitions_online(
    tmp_path: Path, stretches: list[tuple[int, list[int]]], partitions: int, broken: list[int]
) -> None:
    """Venues put together one after the other, each in order: every revision, not only the last one."""
    prints = [(locate, NINE_THIRTY + stamp) for locate, stamps in stretches for stamp in sorted(stamps)]
    names = [f"S{locate}".encode().ljust(8) for locate in range(1, 10)]
    feed = tmp_path / "day.itch"
    messages = [listed(locate, name) for locate, name in enumerate(names, 1)]
    for number, (locate, stamp) in enumerate(prints, 1):
        messages.append(trade(stamp, number, locate=locate, price=number))
        messages += [head(b"B", stamp, locate) + struct.pack(">Q", number)] if number in broken else []
    feed.write_bytes(day(*messages))
    on = date(2024, 6, 3)
    code, errors = replay(feed, on, tmp_path / "out", "--bars", "1s,1m", "--partitions", str(partitions))
    assert code == 0, errors
    columns = (*("symbol", "window_start_ns", "window_ns", "open_e4", "high_e4", "low_e4", "close_e4"), *REVISED)
    offline = sorted(tuple(row[name] for name in columns) for row in rows(tmp_path / "out" / "bars.csv"))
    ticks = np.concatenate(list(tick_chunks(feed, on)))
    states = [MarketState(windows_ns=(NS, 60 * NS), lateness_ns=ANY_LATENESS_NS) for _ in range(partitions)]
    parts = zip(states, deal(ticks, partitions), strict=True)
    online = [row for state, part in parts for row in state.apply(part, 0).bars]
    told = [(row["symbol"].decode(), *(str(row[name]) for name in columns[1:])) for row in online]
    assert offline == sorted(told)


def test_broken_trade_when_its_message_names_another_stock_then_taken_back_all_the_same(tmp_path: Path) -> None:
    feed = tmp_path / "day.itch"
    both = [listed(1), listed(2, b"MSFT    "), trade(NINE_THIRTY, 7), trade(NINE_THIRTY + 1, 8)]
    feed.write_bytes(day(*both, head(b"B", NINE_THIRTY + 2 * NS, 2) + struct.pack(">Q", 7)))
    code, errors = replay(feed, date(2024, 6, 3), tmp_path / "out", "--bars", "1s", "--final")
    assert code == 0, errors
    assert [row["trades"] for row in rows(tmp_path / "out" / "bars.csv")] == ["1"]


def test_days_when_they_follow_each_other_then_each_trade_is_told_once(tmp_path: Path) -> None:
    feed = tmp_path / "days.itch"
    feed.write_bytes(day(listed(), trade(NINE_THIRTY, 7)) + day(listed(), trade(NINE_THIRTY, 7)))
    code, errors = replay(feed, date(2024, 6, 3), tmp_path / "out", "--date", "2024-06-04", "--trades", "--bars", "1d")
    assert code == 0, errors
    midnights = [at(date(2024, 6, number), time()) for number in (3, 4)]
    told = [int(row["event_ns"]) for row in rows(tmp_path / "out" / "trades.csv")]
    assert told == [midnight + NINE_THIRTY for midnight in midnights]
    assert [int(row["window_start_ns"]) for row in rows(tmp_path / "out" / "bars.csv")] == midnights
