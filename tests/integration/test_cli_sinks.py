"""Rows of a topic in a sink of another package: once each, however often the command is started again."""

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from common.contracts import market, topics
from common.sinks import Row, SinkUnavailable, installed_sink
from streams.model.message import Message
from tidemark.console import CommandError
from tidemark.sinks import SinkWriter, chosen_sink
from tidemark.tabular import decoder_of


def bars(offset: int, partition: int = 0) -> Message:
    rows = np.zeros(2, market.BAR)
    rows["symbol"] = [b"AAPL", b"MSFT"]
    rows["volume"] = [offset, 10 * offset]
    return Message(topics.MD_BARS, partition, offset, b"0", topics.MD_BARS.schema.encode(rows), 1, [])


def written(file: Path, *batches: list[Message]) -> list[int]:
    kind, options = chosen_sink("sqlite", [f"file={file}"])
    writer = SinkWriter(decoder_of(topics.MD_BARS), kind.open(topics.MD_BARS.name, options))
    try:
        return [writer.write(batch) for batch in batches]
    finally:
        writer.close()


def held(file: Path) -> list[Any]:
    with sqlite3.connect(file) as connection:
        return connection.execute(
            f'select partition, offset, symbol, volume from "{topics.MD_BARS.name}" order by 1, 2, 3'
        ).fetchall()


def test_sink_when_started_again_then_every_row_is_there_once(tmp_path: Path) -> None:
    file = tmp_path / "bars.sqlite"
    assert written(file, [bars(1), bars(2)], [bars(0, partition=3)]) == [4, 2]
    assert written(file, [bars(1), bars(2), bars(3)], [bars(0, partition=3)]) == [2, 0]
    assert held(file) == [
        *((0, offset, symbol, offset * times) for offset in (1, 2, 3) for symbol, times in (("AAPL", 1), ("MSFT", 10))),
        (3, 0, "AAPL", 0),
        (3, 0, "MSFT", 0),
    ]


def test_sink_when_a_write_fails_then_neither_rows_nor_positions_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "bars.sqlite"
    written(file, [bars(1)])
    with sqlite3.connect(file) as connection:
        connection.execute("create trigger full before insert on positions begin select raise(abort, 'full'); end")
    with pytest.raises(sqlite3.IntegrityError):
        written(file, [bars(2)])
    assert len(held(file)) == 2


def test_sink_when_records_are_of_several_kinds_then_each_row_has_its_own_columns_and_null(tmp_path: Path) -> None:
    file = tmp_path / "commands.sqlite"
    funds: Row = {"offset": 1, "cash_e4": 5}
    status: Row = {"offset": 2, "status": "SUSPENDED"}
    for next_offset, rows in ((1, [funds]), (3, [status, funds])):
        sink = installed_sink("sqlite", {}).open(topics.RISK_COMMANDS.name, {"file": str(file)})
        sink.write(rows, {0: next_offset})
        sink.close()
    with sqlite3.connect(file) as connection:
        kept = connection.execute(f'select "offset", cash_e4, status from "{topics.RISK_COMMANDS.name}"').fetchall()
    assert kept == [(1, 5, None), (2, None, "SUSPENDED"), (1, 5, None)]


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("nothing", [], "sink 'nothing' is installed 0 times, not once; installed are sqlite"),
        ("sqlite", ["colour=red"], "sink 'sqlite' has no option 'colour'; it has file"),
        ("sqlite", ["red"], "--option 'red' is not name=value"),
    ],
)
def test_sink_when_it_cannot_be_had_then_one_line(name: str, options: list[str], said: str) -> None:
    with pytest.raises(CommandError) as refused:
        chosen_sink(name, options)
    assert str(refused.value) == said


def test_sink_when_its_file_cannot_be_opened_then_one_line(tmp_path: Path) -> None:
    with pytest.raises(SinkUnavailable):
        installed_sink("sqlite", {}).open(topics.MD_BARS.name, {"file": str(tmp_path / "no" / "such.sqlite")})
