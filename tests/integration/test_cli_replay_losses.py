"""``tidemark replay --offline``: what is missing is in the exit code, and only complete tables replace others."""

import csv
import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from common.contracts.ticks import TickKind
from ingest.domain.exchange import ExchangeOptions, exchange_chunks
from ingest.domain.itch_spec import MESSAGES
from signals.domain.bars import RECORDED_TRADES_MAX, TRADES_MAX
from tidemark.main import app
from typer.testing import CliRunner

NAME = "2024-01-02.itch"
MINUTE_NS, DAY_NS = 60_000_000_000, 86_400_000_000_000


@pytest.fixture(scope="module")
def recorded() -> bytes:
    return b"".join(exchange_chunks(ExchangeOptions(symbols=5, rate=200, messages=5_000)))


def replay(*arguments: object, given: bytes = b"") -> tuple[int, str]:
    result = CliRunner(env={"COLUMNS": "400", "TERM": "dumb"}).invoke(
        app, ["replay", "--offline", *map(str, arguments)], input=given
    )
    return result.exit_code, " ".join(result.stderr.split())


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("begin", "end", "put_in", "said"),
    [
        (70_000, 70_001, b"", "skipped_bytes at byte"),
        (70_000, 70_000, b"\xff\xff\xff", "skipped_bytes at byte"),
        (120_000, None, b"", "unfinished_day at byte"),
    ],
)
def test_replay_when_something_is_missing_then_exit_code_3_and_strict_refuses(
    tmp_path: Path, recorded: bytes, begin: int, end: int | None, put_in: bytes, said: str
) -> None:
    out = tmp_path / "out"
    code, errors = replay(write(tmp_path / NAME, recorded), "--out", out)
    assert code == 0, errors
    whole, file = (out / "bars.csv").read_bytes(), (out / "bars.csv").stat().st_ino
    damaged = write(tmp_path / f"broken-{NAME}", recorded[:begin] + put_in + (recorded[end:] if end else b""))
    code, errors = replay(damaged, "--out", out, "--strict")
    assert code == 1
    assert "--strict: the feed is not whole" in errors
    assert ((out / "bars.csv").read_bytes(), (out / "bars.csv").stat().st_ino) == (whole, file)
    code, errors = replay(damaged, "--out", out)
    assert code == 3
    assert said in errors
    assert (out / "bars.csv").stat().st_ino != file
    assert sorted(path.name for path in out.iterdir()) == ["bars.csv", "bbo.csv"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "holds no message"),
        (b"<html>404</html>" * 9, "a web page"),
        (b"\xd4\xc3\xb2\xa1" + bytes(99), "a pcap capture"),
        (b"\0\x13D" + bytes(18), "no directory message"),
    ],
)
def test_replay_when_nothing_can_be_used_then_exit_code_1_and_earlier_tables_stay(
    tmp_path: Path, data: bytes, said: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    write(out / "bars.csv", b"of an earlier run")
    code, errors = replay(write(tmp_path / NAME, data), "--out", out)
    assert code == 1
    assert said in errors
    assert "Traceback" not in errors
    assert [path.read_bytes() for path in out.iterdir()] == [b"of an earlier run"]


def test_replay_when_the_feed_is_standard_input_then_the_same_tables(tmp_path: Path, recorded: bytes) -> None:
    assert replay(write(tmp_path / NAME, recorded), "--out", tmp_path / "file")[0] == 0
    code, errors = replay("-", "--date", "2024-01-02", "--out", tmp_path / "pipe", given=recorded)
    assert code == 0, errors
    for name in ("bars.csv", "bbo.csv"):
        assert (tmp_path / "pipe" / name).read_bytes() == (tmp_path / "file" / name).read_bytes()
    assert "--date" in replay("-", "--out", tmp_path / "pipe", given=recorded)[1]


def test_replay_when_files_are_named_by_a_pattern_then_one_feed_of_their_days(tmp_path: Path, recorded: bytes) -> None:
    for day in ("2024-01-02", "2024-01-03"):
        write(tmp_path / f"{day}.itch", recorded)
    code, errors = replay(tmp_path / "2024-*.itch", "--out", tmp_path / "out", "--bars", "1d", "--final")
    assert code == 0, errors
    keys = [(row["symbol"], row["window_start_ns"], row["window_ns"]) for row in rows(tmp_path / "out" / "bars.csv")]
    assert len(keys) == len(set(keys)) == 10
    assert len({start for _, start, _ in keys}) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.itch"], "no such file"),
        (["*.nothing"], "no file matches"),
        (["."], "is a directory"),
        ([NAME, "--bars", "1d,2d"], "limits"),
        ([NAME, "--bars", "1s,2s,3s,4s,5s,6s,7s,8s,9s"], "at most 8"),
        ([NAME, "--bars", "gap:30s,on:open+close"], "no length"),
        ([NAME, "--anchor", "noon"], "--anchor"),
        ([NAME, "--hours", "some"], "--hours"),
        ([NAME, "--every", "often", "--depth", "1"], "--every"),
    ],
)
def test_replay_when_asked_for_the_impossible_then_one_line_says_why(
    tmp_path: Path, recorded: bytes, arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / NAME, recorded[:2_000])
    code, errors = replay(*arguments, "--out", "out")
    assert code == 1
    assert said in errors
    assert "Traceback" not in errors


def test_replay_when_the_directory_is_a_file_then_one_line_says_so(tmp_path: Path, recorded: bytes) -> None:
    code, errors = replay(write(tmp_path / NAME, recorded), "--out", write(tmp_path / "taken", b""))
    assert code == 1
    assert "taken: File exists" in errors


def test_replay_when_parquet_is_asked_for_then_the_same_rows(tmp_path: Path, recorded: bytes) -> None:
    feed = write(tmp_path / NAME, recorded)
    wanted = ("--trades", "--depth", 3, "--every", "1s")
    assert replay(feed, "--out", tmp_path / "csv", *wanted)[0] == 0
    assert replay(feed, "--out", tmp_path / "parquet", "--out-format", "parquet", *wanted)[0] == 0
    for name in ("bars", "bbo", "trades", "depth"):
        table = pq.read_table(tmp_path / "parquet" / f"{name}.parquet")
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(table.column_names)
        writer.writerows(zip(*(column.to_pylist() for column in table.columns), strict=True))
        assert text.getvalue() == (tmp_path / "csv" / f"{name}.csv").read_text()
        assert table.num_rows > 5


def test_replay_when_final_bars_are_asked_for_then_the_last_revision_of_each(tmp_path: Path, recorded: bytes) -> None:
    feed = write(tmp_path / NAME, recorded)
    assert replay(feed, "--out", tmp_path / "all")[0] == 0
    assert replay(feed, "--out", tmp_path / "final", "--final")[0] == 0
    last = {
        (row["symbol"], row["window_start_ns"], row["window_ns"]): row for row in rows(tmp_path / "all" / "bars.csv")
    }
    final = rows(tmp_path / "final" / "bars.csv")
    assert sorted(map(str, final)) == sorted(str(row) for row in last.values() if int(row["trades"]))


def test_replay_when_symbols_are_chosen_then_their_rows_are_those_of_the_whole(tmp_path: Path, recorded: bytes) -> None:
    feed = write(tmp_path / NAME, recorded)
    assert replay(feed, "--out", tmp_path / "all")[0] == 0
    chosen = sorted({row["symbol"] for row in rows(tmp_path / "all" / "bbo.csv")})[:2]
    assert replay(feed, "--out", tmp_path / "some", "--symbols", ",".join(chosen))[0] == 0
    every = rows(tmp_path / "all" / "bbo.csv")
    assert rows(tmp_path / "some" / "bbo.csv") == [row for row in every if row["symbol"] in chosen]


def test_replay_when_bars_are_daily_then_one_row_of_a_session_by_the_exchanges_midnight(
    tmp_path: Path, recorded: bytes
) -> None:
    feed = write(tmp_path / NAME, recorded)
    for anchor in ("midnight", "04:00"):
        code, errors = replay(feed, "--out", tmp_path / anchor, "--bars", "1m,1d", "--final", "--anchor", anchor)
        assert code == 0, errors
    midnight = 1_704_171_600 * 1_000_000_000
    daily = [row for row in rows(tmp_path / "midnight" / "bars.csv") if int(row["window_ns"]) == DAY_NS]
    assert {int(row["window_start_ns"]) for row in daily} == {midnight}
    assert len(daily) == len({row["symbol"] for row in daily}) == 5
    early = [row for row in rows(tmp_path / "04:00" / "bars.csv") if int(row["window_ns"]) == DAY_NS]
    assert {int(row["window_start_ns"]) for row in early} == {midnight + 4 * 60 * MINUTE_NS}


def test_replay_when_symbols_are_not_named_by_the_feed_then_said_and_refused_where_none_is(
    tmp_path: Path, recorded: bytes
) -> None:
    day = write(tmp_path / NAME, recorded)
    code, errors = replay(day, "--out", tmp_path / "out", "--symbols", "NOPE,NIX")
    assert (code, "--symbols: the feed does not name NIX, NOPE" in errors) == (1, True), errors
    assert not list((tmp_path / "out").glob("*.csv"))
    assert replay(day, "--out", tmp_path / "all")[0] == 0
    symbol = rows(tmp_path / "all" / "bars.csv")[0]["symbol"]
    code, errors = replay(day, "--out", tmp_path / "out", "--symbols", f"NOPE,{symbol}")
    assert (code, "the feed does not name NOPE" in errors) == (0, True), errors
    assert {row["symbol"] for row in rows(tmp_path / "out" / "bars.csv")} == {symbol}


def test_replay_when_a_file_cannot_be_read_on_then_the_error_names_it_and_not_the_tables(tmp_path: Path) -> None:
    code, errors = replay("/proc/self/mem", "--date", "2024-01-02", "--out", tmp_path / "out")
    assert (code, errors) == (1, "error: /proc/self/mem: Input/output error")


def broken_late(count: int, at: int) -> bytes:
    """A day of ``count`` trades from 9:30 on, 200 us apart, of which the one numbered ``at`` is broken at its end."""
    trades = np.zeros(count, MESSAGES[TickKind.TRADE])
    stamps = 34_200 * 10**9 + np.arange(count) * 200_000
    trades["message_type"], trades["stock_locate"], trades["stock"] = b"P", 1, b"AAPL    "
    trades["timestamp_high"], trades["timestamp_low"] = stamps >> 32, stamps & 0xFFFFFFFF
    trades["shares"], trades["price"], trades["match_number"] = 100, 1_000_000, np.arange(count) + 1
    stamp = int(stamps[-1]).to_bytes(6, "big")
    others = [
        b"S" + bytes(10) + b"O",
        b"R\0\1" + bytes(8) + b"AAPL    QN" + (100).to_bytes(4, "big") + b"NCZ PN 1N" + bytes(4) + b"N",
        b"B\0\1\0\0" + stamp + at.to_bytes(8, "big"),
        b"S" + bytes(4) + stamp + b"C",
    ]
    opening, directory, broken, closing = (len(one).to_bytes(2, "big") + one for one in others)
    framed = np.empty((count, 2 + trades.itemsize), np.uint8)
    framed[:, :2] = (0, trades.itemsize)
    framed[:, 2:] = trades.view(np.uint8).reshape(count, -1)
    return opening + directory + framed.tobytes() + broken + closing


def test_replay_when_more_trades_than_are_held_online_lie_before_a_break_then_its_bars_are_restated(
    tmp_path: Path,
) -> None:
    day = write(tmp_path / NAME, broken_late(TRADES_MAX + 1_000, at=5))
    code, errors = replay(day, "--out", tmp_path / "out", "--bars", "1m", "--final", "--partitions", "1")
    assert code == 0, errors
    bar = min(rows(tmp_path / "out" / "bars.csv"), key=lambda row: int(row["window_start_ns"]))
    assert (int(bar["trades"]), int(bar["revision"])) == (60_000_000 // 200 - 1, 1)


def test_replay_when_a_bar_cannot_be_restated_any_more_then_it_is_not_whole(tmp_path: Path) -> None:
    """One of more trades than are held is broken: the bar of its second is made anew, that of its hour cannot be."""
    count = RECORDED_TRADES_MAX + 1_000
    day = broken_late(count, at=count - 100_000)
    options = ("--out", tmp_path / "out", "--bars", "1s,1h", "--partitions", "1")
    code, errors = replay(write(tmp_path / NAME, day), *options)
    assert (code, "the feed is not whole: 1 lost_restatement" in errors) == (3, True), errors
