"""``tidemark replay --offline``: a file in, two CSV files out, the same whatever the file is packed in."""

import csv
import gzip
from pathlib import Path

import pytest
from ingest.domain.exchange import ExchangeOptions, exchange_chunks
from tidemark.main import app
from typer.testing import CliRunner

NAME = "2024-03-15.itch"
MESSAGES = 20_000
BAR_COLUMNS = (
    "symbol,window_start_ns,window_ns,open_e4,high_e4,low_e4,close_e4,volume,trades,notional_e4,vwap_e4,revision"
)
BBO_COLUMNS = "message_index,symbol,bid_e4,bid_size,ask_e4,ask_size,event_ns"


@pytest.fixture(scope="module")
def feed() -> bytes:
    return b"".join(exchange_chunks(ExchangeOptions(symbols=10, seed=9, rate=2_000, messages=MESSAGES)))


def replay(path: Path, out: Path, *options: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["replay", str(path), "--offline", "--out", str(out), *options])
    return result.exit_code, result.stderr


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_offline_when_plain_or_gzip_then_the_same_files_with_the_promised_columns(tmp_path: Path, feed: bytes) -> None:
    plain = write(tmp_path / NAME, feed)
    packed = write(tmp_path / f"{NAME}.gz", gzip.compress(feed))
    for path, out in ((plain, tmp_path / "plain"), (packed, tmp_path / "packed")):
        code, errors = replay(path, out)
        assert code == 0, errors
        assert "anomalies: none" in errors
    for name, columns in (("bars.csv", BAR_COLUMNS), ("bbo.csv", BBO_COLUMNS)):
        text = (tmp_path / "plain" / name).read_text()
        assert text == (tmp_path / "packed" / name).read_text()
        assert text.splitlines()[0] == columns
        assert len(text.splitlines()) > 20


def test_offline_when_windows_are_named_then_only_those(tmp_path: Path, feed: bytes) -> None:
    code, errors = replay(write(tmp_path / NAME, feed), tmp_path / "out", "--bars", "5s")
    assert code == 0, errors
    with (tmp_path / "out" / "bars.csv").open(newline="") as file:
        assert {row["window_ns"] for row in csv.DictReader(file)} == {"5000000000"}


@pytest.mark.parametrize(
    ("data", "options", "said"),
    [
        (b"no feed at all, whatever the name says" * 9, (), "neither framing"),
        (b"", ("--bars", "soon"), "soon"),
    ],
)
def test_offline_when_it_cannot_be_then_one_line_says_why(
    tmp_path: Path, data: bytes, options: tuple[str, ...], said: str
) -> None:
    code, errors = replay(write(tmp_path / NAME, data), tmp_path / "out", *options)
    assert code == 1
    assert said in errors
    assert "Traceback" not in errors
