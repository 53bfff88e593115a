"""``tidemark.client`` and ``tidemark sql`` on a real broker, over what the signals code makes of a generated session.

Every second record is written as Avro, the others as rows: readers see the same.
"""

import asyncio
import csv
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from common.contracts.alerts import AlertLimits
from common.contracts.market import vwap_e4
from common.contracts.ticks import encode_frame, heartbeat
from common.contracts.topics import MD_ALERTS, MD_BARS, MD_MARKS, MD_TICKS, RAW_SCHEMA, Topic
from common.contracts.windows import WindowNameError
from common.fleet_topics import create_topics
from ingest.domain.exchange import ExchangeOptions, exchange_chunks
from ingest.domain.partitions import deal
from ingest.offline import tick_chunks
from parts import LocalStack
from signals.stages import handle, market_table
from streams.edges.sender import Sender
from streams.model.errors import LogError
from streams.model.message import Message, Output
from streams.process.settings import KafkaSettings, RedisSettings, Settings
from streams.testing.tables import MemoryTables
from tidemark import client
from tidemark.client import Fleet
from tidemark.errors import CommandError
from tidemark.main import app
from typer.testing import CliRunner

ROOT = Path(__file__).parents[2]
MINUTE_NS, SECOND_NS = 60_000_000_000, 1_000_000_000
SESSION = ExchangeOptions(symbols=8, seed=5, rate=60, messages=12_000, breaks_per_million=5_000)
"""Three minutes and more, some of whose trades are broken."""
LIMITS = AlertLimits({"PRICE_SPIKE": 1.5, "VOLUME_SURGE": 1.5, "SPREAD_WIDENING": 1.2}, samples_min=3, hold_ns=10**9)
FRAME_TICKS = 500
NOWHERE = "127.0.0.1:1"
Rows = dict[str, list[Any]]
"""Topic → its rows as numpy has them, in order."""


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[Output]:
    feed = tmp_path_factory.mktemp("feed") / "generated.itch"
    feed.write_bytes(b"".join(exchange_chunks(SESSION)))
    ticks = np.concatenate(list(tick_chunks(feed, date(2024, 3, 15))))
    tables = [MemoryTables([market_table(alert_limits=LIMITS)], partition) for partition in range(MD_TICKS.partitions)]
    made = []
    for at in range(0, len(ticks), FRAME_TICKS):
        now = heartbeat(int(ticks["event_ns"][: at + FRAME_TICKS].max()))
        for partition, dealt in enumerate(deal(ticks[at : at + FRAME_TICKS], MD_TICKS.partitions)):
            frame = encode_frame(np.concatenate((dealt, now)), feed="test", ingest_ns=1_000 + at, session_ns=0)
            handled = handle(Message(MD_TICKS, partition, 0, None, frame, 0), tables[partition], 0)
            made += [
                item for item in handled if isinstance(item, Output) and item.topic in (MD_BARS, MD_ALERTS, MD_MARKS)
            ]
    return made


@pytest.fixture(scope="module")
def rows(outputs: list[Output]) -> Rows:
    found: Rows = {topic.name: [] for topic in (MD_BARS, MD_ALERTS, MD_MARKS)}
    for output in outputs:
        found[output.topic.name].extend(output.body)
    return found


@pytest.fixture(scope="module")
def bootstrap(outputs: list[Output]) -> Iterator[str]:
    """A broker of this module's own, since the topics have their real names."""
    with LocalStack({"kafka"}) as running:
        asyncio.run(write(running.addresses.kafka_bootstrap, outputs))
        yield running.addresses.kafka_bootstrap


async def write(bootstrap: str, outputs: list[Output]) -> None:
    await create_topics(bootstrap, [MD_BARS, MD_ALERTS, MD_MARKS])
    sender = Sender(Settings(kafka=KafkaSettings(bootstrap=bootstrap), redis=RedisSettings(url="")), "test")
    await sender.start()
    for number, output in enumerate(outputs):
        text, framing = output.topic.schema.encode(output.body), output.topic.schema.framing
        assert framing is not None
        records = framing.records(output.key, text) if number % 2 else [(output.key, text)]
        raw = Topic(output.topic.name, "", RAW_SCHEMA, "")
        await asyncio.gather(*(sender.send(raw, key, value, partition=output.partition or 0) for key, value in records))
    await sender.stop()


def newest(rows: Rows, window_ns: int) -> dict[tuple[str, int], Any]:
    """(symbol, begin) → the last row of a bar that has a trade."""
    found = {
        (row["symbol"].decode(), int(row["window_start_ns"])): row
        for row in rows[MD_BARS.name]
        if row["window_ns"] == window_ns
    }
    return {key: row for key, row in found.items() if row["trades"]}


def ask(query: str, *arguments: str, given: str = "") -> tuple[int, str, str]:
    """Exit code, standard output and standard error of the command; ``given`` is its standard input."""
    result = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(app, ("sql", query, *arguments), input=given)
    return result.exit_code, result.stdout, result.stderr


def test_bars_when_restated_then_the_newest_of_each_window_and_all_where_asked(bootstrap: str, rows: Rows) -> None:
    fleet = Fleet(bootstrap=bootstrap)
    expected = newest(rows, SECOND_NS)
    shown = fleet.bars(window="1s").to_arrow().to_pylist()
    assert {(row["symbol"], row["window_start_ns"]) for row in shown} == set(expected)
    for row in shown:
        bar = expected[row["symbol"], row["window_start_ns"]]
        wanted = {name: int(bar[name]) for name in bar.dtype.names if name not in ("symbol", "reserved")}
        assert {name: row[name] for name in wanted} == wanted
        assert row["vwap_e4"] == vwap_e4(wanted["notional_e4"], wanted["volume"])
    assert max(row["revision"] for row in shown) > 0, "no bar of the session was restated"
    every = fleet.bars(revisions=True)
    assert len(every) == len(rows[MD_BARS.name]) > len(fleet.bars())


def test_bars_of_a_symbol_and_window_then_only_those_in_order_of_time(bootstrap: str, rows: Rows) -> None:
    symbol = min(symbol for symbol, _ in newest(rows, MINUTE_NS))
    frame = Fleet(bootstrap=bootstrap).bars(symbol, "1m").to_pandas()
    starts = sorted(start for name, start in newest(rows, MINUTE_NS) if name == symbol)
    assert frame["window_start_ns"].tolist() == starts
    assert set(frame["symbol"]) == {symbol}
    assert str(frame["vwap_e4"].dtype) == "int64"
    assert len(Fleet(bootstrap=bootstrap).bars("NOBODY", "1m")) == 0
    with pytest.raises(WindowNameError):
        Fleet(bootstrap=bootstrap).bars(symbol, "soon")


def test_alerts_then_one_row_an_episode_as_it_ended(bootstrap: str, rows: Rows) -> None:
    expected = {(row["symbol"].decode(), row["kind"].decode(), int(row["begin_ns"])): int(row["revision"])
                for row in rows[MD_ALERTS.name]}  # fmt: skip
    frame = Fleet(bootstrap=bootstrap).alerts().to_polars()
    assert {(row["symbol"], row["kind"], row["begin_ns"]): row["revision"] for row in frame.to_dicts()} == expected
    assert len(frame) == len(expected) > 0
    assert len(Fleet(bootstrap=bootstrap).alerts(revisions=True)) == len(rows[MD_ALERTS.name])


def test_marks_then_the_last_of_each_symbol_and_no_clock(bootstrap: str, rows: Rows) -> None:
    expected = {row["symbol"].decode(): int(row["bid_e4"]) for row in rows[MD_MARKS.name] if row["instrument_id"] >= 0}
    shown = Fleet(bootstrap=bootstrap).marks().to_arrow().to_pylist()
    assert {row["symbol"]: row["bid_e4"] for row in shown} == expected
    assert len(shown) == len(expected) == SESSION.symbols


async def test_fleet_when_a_loop_runs_already_then_it_answers_as_in_a_notebook(bootstrap: str) -> None:
    assert len(Fleet(bootstrap=bootstrap).bars(window="1m")) > 0


def test_fleet_when_no_log_answers_then_log_error() -> None:
    with pytest.raises(LogError):
        Fleet(bootstrap=NOWHERE).bars()


def test_frame_when_its_package_is_absent_then_the_extra_is_named() -> None:
    with pytest.raises(CommandError, match="dataframes"):
        client._installed("no_such_package_of_frames")


def test_vwap_of_the_example_in_sql_then_that_of_the_service(bootstrap: str, rows: Rows) -> None:
    query = (ROOT / "examples" / "minute_vwap.sql").read_text("utf-8")
    code, answer, said = ask("-", "--json", "--bootstrap", bootstrap, given=query)
    assert code == 0, said
    found = [json.loads(line) for line in answer.splitlines()]
    expected = {
        key: (int(row["volume"]), vwap_e4(int(row["notional_e4"]), int(row["volume"])))
        for key, row in newest(rows, MINUTE_NS).items()
    }
    assert {(row["symbol"], row["window_start_ns"]): (row["volume"], row["vwap_e4"]) for row in found} == expected
    assert all(row["vwap_e4"] == row["vwap_of_service_e4"] for row in found)
    assert len(found) > SESSION.symbols


def test_example_in_pandas_then_no_minute_differs(bootstrap: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:__main__", ROOT / "examples" / "minute_vwap.py"],
        env={"TIDEMARK_KAFKA_BOOTSTRAP": bootstrap, "PATH": ""}, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "of which 0 differ" in done.stdout


def test_sql_when_revisions_are_asked_for_then_all_rows(bootstrap: str, rows: Rows) -> None:
    query = "select count(*) as n from fleet.bars"
    code, answer, said = ask(query, "--csv", "--revisions", "--bootstrap", bootstrap)
    assert code == 0, said
    assert list(csv.DictReader(io.StringIO(answer))) == [{"n": str(len(rows[MD_BARS.name]))}]


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("selec", "syntax error"),
        ("select * from barz", "barz"),
        ("select nothing from trades", "nothing"),
        ("select nothing from fleet.bars", "nothing"),
        ("select 1; select 2", "single"),
    ],
)
def test_sql_when_the_query_is_wrong_then_one_line_and_2(query: str, told: str, tmp_path: Path) -> None:
    folder = parquet(tmp_path / "tables", "trades", "select 1 as qty")
    code, answer, said = ask(query, "--parquet", str(folder), "--bootstrap", NOWHERE)
    assert (code, answer) == (2, "")
    assert len(said.splitlines()) == 1
    assert told in said


def test_sql_of_a_folder_then_its_table_goes_before_that_of_the_log(tmp_path: Path) -> None:
    folder = parquet(tmp_path / "my day", "bars", "select 'AAPL' as symbol, null as vwap_e4, 7 as volume")
    for name in ("bars", '"my day".bars', "BARS"):
        code, answer, said = ask(f"select * from {name}", "--parquet", str(folder), "--bootstrap", NOWHERE)
        assert code == 0, said
        assert answer.split() == ["symbol", "vwap_e4", "volume", "------", "-------", "------", "AAPL", "7"]
    code, _, said = ask("select 1", "--parquet", str(tmp_path))
    assert (code, "no Parquet files" in said) == (1, True)


def test_sql_when_the_log_is_named_and_no_broker_answers_then_1(tmp_path: Path) -> None:
    folder = parquet(tmp_path / "tables", "bars", "select 1 as volume")
    code, _, said = ask("select * from fleet.bars b", "--parquet", str(folder), "--bootstrap", NOWHERE)
    assert code == 1, said


def parquet(folder: Path, name: str, query: str) -> Path:
    folder.mkdir()
    duckdb.connect().execute(f"copy ({query}) to '{folder / name}.parquet' (format parquet)")
    return folder


def test_command_line_when_it_starts_then_neither_duckdb_nor_frames_are_imported() -> None:
    code = "import sys, tidemark.main, tidemark.client; print({'duckdb', 'pandas', 'polars'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"
