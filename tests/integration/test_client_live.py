"""``live=True`` of the client on a real broker: what the log has, then what is committed; and the notebook."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from common.contracts.market import BAR
from common.contracts.topics import MD_BARS
from common.fleet_topics import create_topics
from parts import LocalStack
from streams.edges.sender import Sender
from streams.model.errors import LogError
from streams.process.settings import KafkaSettings, RedisSettings, Settings
from tidemark.client import Fleet

ROOT = Path(__file__).parents[2]
MINUTE_NS = 60_000_000_000
NOWHERE = "127.0.0.1:1"


def bar(symbol: str, minute: int, volume: int, revision: int = 0) -> Any:
    rows = np.zeros(1, BAR)
    rows["symbol"], rows["window_ns"], rows["window_start_ns"] = symbol.encode(), MINUTE_NS, minute * MINUTE_NS
    for name in ("open_e4", "high_e4", "low_e4", "close_e4"):
        rows[name] = 1_000_000 + 100 * minute
    rows["volume"], rows["trades"], rows["revision"] = volume, 1, revision
    rows["notional_e4"] = rows["close_e4"] * volume
    return rows


async def send(bootstrap: str, bars: list[Any]) -> None:
    sender = Sender(Settings(kafka=KafkaSettings(bootstrap=bootstrap), redis=RedisSettings(url="")), "test")
    await sender.start()
    for rows in bars:
        await sender.send(MD_BARS, b"0", rows, partition=0)
    await sender.stop()


@pytest.fixture(scope="module")
def bootstrap() -> Iterator[str]:
    """A broker with four minutes of two symbols, one of them restated."""
    with LocalStack({"kafka"}) as running:
        address = running.addresses.kafka_bootstrap
        asyncio.run(create_topics(address, [MD_BARS]))
        past = [bar(symbol, minute, 10 + minute) for minute in range(4) for symbol in ("AAPL", "MSFT")]
        asyncio.run(send(address, [*past, bar("AAPL", 1, 99, revision=1)]))
        yield address


def seen(table: Any) -> list[tuple[int, int, int]]:
    return [(r["window_start_ns"] // MINUTE_NS, r["volume"], r["revision"]) for r in table.to_arrow().to_pylist()]


def test_notebook_then_every_cell_runs(bootstrap: str, tmp_path: Path) -> None:
    cells = json.loads((ROOT / "examples" / "market.ipynb").read_text("utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    done = subprocess.run(
        [sys.executable, "-c", code + "\nprint(len(one), len(known))"],
        env={"TIDEMARK_KAFKA_BOOTSTRAP": bootstrap, "PATH": ""}, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "4 4"


async def test_live_bars_then_first_what_there_is_and_then_each_commit_of_what_is_asked_for(bootstrap: str) -> None:
    fleet = Fleet(bootstrap=bootstrap)
    past = fleet.bars("AAPL", "1m")
    with fleet.bars("AAPL", "1m", live=True) as tables:
        first = next(tables)
        assert first.to_arrow().equals(past.to_arrow())
        assert seen(first) == [(0, 10, 0), (1, 99, 1), (2, 12, 0), (3, 13, 0)]
        await send(bootstrap, [bar("MSFT", 9, 5), bar("AAPL", 9, 7)])
        assert seen(await asyncio.to_thread(next, tables)) == [(9, 7, 0)]
        await send(bootstrap, [bar("AAPL", 9, 8, revision=1)])
        assert seen(await asyncio.to_thread(next, tables)) == [(9, 8, 1)]
    assert list(tables) == []
    tables.close()


def test_live_when_no_log_answers_then_log_error_and_it_has_ended() -> None:
    tables = Fleet(bootstrap=NOWHERE).bars(live=True)
    with pytest.raises(LogError):
        next(tables)
    assert list(tables) == []
