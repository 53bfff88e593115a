"""``tidemark replay --offline``: a file in, two CSV files out."""

import csv
import gzip
from pathlib import Path

import pyarrow.parquet
import pytest
from ingest.domain.exchange import ExchangeOptions, exchange_chunks
from signals.offline import BAR_COLUMNS, BBO_COLUMNS
from signals.offline_alerts import ALERT_COLUMNS
from tidemark import console
from tidemark.main import app
from tidemark.replay_options import parse_windows
from typer.testing import CliRunner

NS = 1_000_000_000


@pytest.fixture(scope="module")
def feed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short generated day, whose date is in its name."""
    path = tmp_path_factory.mktemp("feed") / "2024-03-15.itch.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.writelines(exchange_chunks(ExchangeOptions(symbols=5, rate=1_000, messages=10_000)))
    return path


def replay(*arguments: str) -> tuple[int, str]:
    result = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(app, ("replay", *arguments))
    return result.exit_code, result.stderr


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_offline_when_a_day_is_replayed_then_bars_and_changes_are_written(feed: Path, tmp_path: Path) -> None:
    code, said = replay(str(feed), "--offline", "--out", str(tmp_path / "new" / "out"), "--bars", "1s,5s")
    assert code == 0, said
    bars, changes = rows(tmp_path / "new" / "out" / "bars.csv"), rows(tmp_path / "new" / "out" / "bbo.csv")
    assert tuple(bars[0]) == BAR_COLUMNS
    assert tuple(changes[0]) == BBO_COLUMNS
    assert {int(bar["window_ns"]) for bar in bars} == {NS, 5 * NS}
    final = {(bar["symbol"], bar["window_ns"], bar["window_start_ns"]): int(bar["volume"]) for bar in bars}
    volumes = {window: sum(v for (_, w, _), v in final.items() if w == window) for window in (str(NS), str(5 * NS))}
    assert volumes[str(NS)] == volumes[str(5 * NS)] > 0
    indexes = [int(change["message_index"]) for change in changes]
    assert indexes == sorted(indexes)
    assert len(set(indexes)) == len(indexes)


def test_offline_when_windows_slide_then_each_trade_is_in_as_many_bars_as_there_are_steps(
    feed: Path, tmp_path: Path
) -> None:
    code, said = replay(str(feed), "--offline", "--out", str(tmp_path), "--bars", "1s,30s/10s")
    assert code == 0, said
    volumes = {NS: 0, 30 * NS: 0}
    for bar in rows(tmp_path / "bars.csv"):
        volumes[int(bar["window_ns"])] += int(bar["volume"]) if bar["revision"] == "0" else 0
    assert volumes[30 * NS] == 3 * volumes[NS] > 0
    assert "trades windowed, 0 trades late, 0 trades rejected" in said


def test_offline_when_alerts_are_asked_for_then_a_table_of_words_and_numbers_in_either_format(
    feed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEMARK_ALERT_THRESHOLDS", '{"VOLUME_SURGE": 1.1, "SPREAD_WIDENING": 1.1}')
    monkeypatch.setenv("TIDEMARK_ALERT_SAMPLES_MIN", "2")
    for kind in ("csv", "parquet"):
        code, said = replay(str(feed), "--offline", "--out", str(tmp_path), "--alerts", "--out-format", kind)
        assert code == 0, said
    written = rows(tmp_path / "alerts.csv")
    assert tuple(written[0]) == ALERT_COLUMNS
    assert {"VOLUME_SURGE", "SPREAD_WIDENING"} <= {row["kind"] for row in written}
    assert {row["phase"] for row in written} >= {"begin", "end"}
    table = pyarrow.parquet.read_table(tmp_path / "alerts.parquet").to_pylist()
    assert [{name: str(value) for name, value in row.items()} for row in table] == written
    monkeypatch.setenv("TIDEMARK_ALERT_THRESHOLDS", '{"VOLUME": 1.1}')
    code, said = replay(str(feed), "--offline", "--out", str(tmp_path), "--alerts")
    assert code == 1
    assert "no market alert is called 'VOLUME'" in said


def test_indicators_when_asked_of_bars_then_a_row_per_bar_and_symbol(feed: Path, tmp_path: Path) -> None:
    assert replay(str(feed), "--offline", "--out", str(tmp_path), "--bars", "1s")[0] == 0
    runner = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"})
    command = ("indicators", str(tmp_path / "bars.csv"), "--window", "1s", "--of", "sma:2,rsi")
    result = runner.invoke(app, command)
    assert result.exit_code == 0, result.stderr
    told = list(csv.DictReader(result.stdout.splitlines()))
    closes: dict[str, dict[int, int]] = {}
    for bar in rows(tmp_path / "bars.csv"):
        if int(bar["volume"]):
            closes.setdefault(bar["symbol"], {})[int(bar["window_start_ns"])] = int(bar["close_e4"])
        else:
            closes[bar["symbol"]].pop(int(bar["window_start_ns"]))
    expected = []
    for symbol, series in sorted(closes.items()):
        ordered = sorted(series.items())
        for at, (start, close) in enumerate(ordered):
            mean = str((ordered[at - 1][1] + close) / 20_000) if at else ""
            expected.append((symbol, str(start), mean))
    assert [(row["symbol"], row["window_start_ns"], row["sma_2"]) for row in told] == expected
    assert len(expected) > 10


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(("--of", "sme"), "no indicator"), (("--window", "x"), "no window length"), ((), "no column symbol")],
)
def test_indicators_when_they_cannot_be_told_then_says_why(
    tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    result = CliRunner().invoke(app, ("indicators", str(tmp_path / "other.csv"), *arguments))
    assert result.exit_code == 1
    assert says in result.stderr


def test_offline_when_the_file_is_cut_off_then_what_is_there_is_written_and_the_cut_is_told(
    feed: Path, tmp_path: Path
) -> None:
    whole = gzip.decompress(feed.read_bytes())
    cut = tmp_path / "2024-03-15.itch"
    cut.write_bytes(whole[: len(whole) // 2 + 1])
    code, said = replay(str(cut), "--offline", "--out", str(tmp_path))
    assert code == 3
    assert "truncated" in said
    assert "unfinished_day" in said
    assert rows(tmp_path / "bars.csv")


def test_offline_when_no_directory_is_named_then_asks_for_it(feed: Path) -> None:
    code, said = replay(str(feed), "--offline")
    assert code == 1
    assert "--out" in said


@pytest.mark.parametrize(
    ("text", "windows"), [("1s,1m", (NS, 60 * NS)), ("500ms", (NS // 2,)), (" 2h , 1d", (7_200 * NS, 86_400 * NS))]
)
def test_windows_when_written_with_units_then_in_ns(text: str, windows: tuple[int, ...]) -> None:
    assert parse_windows(text) == windows


@pytest.mark.parametrize("text", ["", "1", "s", "0s", "-1s", "1.5s", "1s,", "1s,1s", "1w"])
def test_windows_when_they_are_none_then_refused(text: str) -> None:
    with pytest.raises(console.CommandError, match="--bars"):
        parse_windows(text)
