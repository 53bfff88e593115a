"""Another window is one line, a measure of another package one name: with both, the fleet issues the same numbers as
the run without Kafka, SIGKILLs in between.
"""

import asyncio
import csv
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import common
import httpx
import pytest
from common.contracts.market import BAR, MEASURED, decode_rows, vwap_e4
from common.contracts.topics import MD_BARS, MD_MEASURES
from common.contracts.windows import NS
from ingest.domain.exchange import ExchangeOptions, exchange_chunks
from streams.process.settings import KafkaSettings, Settings
from tidemark.deployment import Deployment, DeploymentOptions
from tidemark.feeds import file_feed
from tidemark.log_end import read_committed
from tidemark.state import StateDir

from tests.e2e.warm_kernels import compile_kernels

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
DAY = "2024-03-15"
LINE = '    Window("10m"),\n'
AFTER = '    Window("5m"),\n'
KILLS = ("signals", "ingest", "signals")
SPEED = "8"
"""Twelve minutes of the session in ninety seconds: longer than a slow machine needs for the kills and restarts."""
WAIT_S = 120.0
Row = tuple[str, ...]
Key = tuple[str, ...]
"""(symbol, window start, window length, revision, which number)."""


@pytest.fixture
def with_line(tmp_path: Path) -> dict[str, str]:
    """An environment in which the table of windows has one line more, and nothing else is changed."""
    [source] = common.__path__
    shutil.copytree(source, tmp_path / "changed" / "common", ignore=shutil.ignore_patterns("__pycache__"))
    table = tmp_path / "changed" / "common" / "contracts" / "windows.py"
    text = table.read_text("utf-8")
    assert text.count(AFTER) == 1
    table.write_text(text.replace(AFTER, AFTER + LINE), "utf-8")
    return {"PYTHONPATH": str(tmp_path / "changed")}


@pytest.fixture
def feed_file(tmp_path: Path) -> Path:
    """Twelve minutes of a session with broken trades."""
    path = tmp_path / f"{DAY}.itch"
    options = ExchangeOptions(symbols=12, seed=3, rate=200, messages=144_000, breaks_per_million=500)
    with path.open("wb") as file:
        file.writelines(exchange_chunks(options))
    return path


def offline(feed_file: Path, out: Path, environment: dict[str, str]) -> list[Row]:
    """The rows of bars.csv."""
    command = [
        sys.executable,
        "-m",
        "tidemark.main",
        "replay",
        str(feed_file),
        "--offline",
        "--out",
        str(out),
    ]
    command += ["--date", DAY, "--measures", "ticks"]
    ran = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    with (out / "bars.csv").open(newline="") as file:
        return [tuple(row) for row in itertools.islice(csv.reader(file), 1, None)]


def bars_of(value: bytes) -> Iterator[Row]:
    for bar in decode_rows(BAR, value):
        price = (bar["open_e4"], bar["high_e4"], bar["low_e4"], bar["close_e4"])
        volume, notional = int(bar["volume"]), int(bar["notional_e4"])
        fields = (
            bar["symbol"].decode(), bar["window_start_ns"], bar["window_ns"], *price, volume, bar["trades"],
            notional, vwap_e4(notional, volume), bar["revision"],
        )  # fmt: skip
        yield tuple(str(field) for field in fields)


def measured_of(value: bytes) -> Iterator[tuple[Key, str]]:
    for row in decode_rows(MEASURED, value):
        bar = (row["symbol"].decode(), row["window_start_ns"], row["window_ns"], row["revision"])
        yield (*(str(field) for field in bar), row["measure"].decode()), str(row["value"])


async def online(deployment: Deployment) -> tuple[list[Row], dict[Key, str]]:
    """Every row of ``md.bars`` so far, as bars.csv writes it, and what ``md.measures`` says of them."""
    bars: list[Row] = []
    measured: dict[Key, str] = {}
    settings = Settings(kafka=KafkaSettings(bootstrap=deployment.addresses.kafka_bootstrap))
    async for messages in read_committed(settings, [MD_BARS, MD_MEASURES]):
        for message in messages:
            if message.topic.name == MD_BARS.name:
                bars += bars_of(message.value or b"")
            else:
                found = list(measured_of(message.value or b""))
                assert not measured.keys() & dict(found).keys()
                measured.update(found)
    return bars, measured


async def kill_in_the_middle(deployment: Deployment, victim: str) -> None:
    """Kills it once it has said something more; AssertionError where the feed is over and nothing more will come."""
    before = len((await online(deployment))[0])
    async with httpx.AsyncClient(base_url=deployment.url("ingest")) as client:
        while len((await online(deployment))[0]) <= before:
            page = (await client.get("/health/ready")).json()
            assert page["checks"]["feed session"]["detail"]["state"] != "ended", f"over before {victim} was killed"
            await asyncio.sleep(0.5)
    deployment.fleet.kill(victim)
    await deployment.fleet.wait_ready([victim], WAIT_S)


async def test_bars_when_a_window_is_one_line_and_a_measure_one_name_more_then_online_equals_offline_across_kills(
    feed_file: Path, with_line: dict[str, str], tmp_path: Path
) -> None:
    expected = offline(feed_file, tmp_path / "offline", with_line)
    lengths = {row[2] for row in expected}
    assert lengths == {str(length * NS) for length in (1, 60, 300, 600, 3_600, 86_400)}
    chosen = {**with_line, "TIDEMARK_SNAPSHOT_INTERVAL_S": "0.5", "TIDEMARK_MEASURES": '["ticks"]'}
    compile_kernels("signals", {**os.environ, **chosen})
    options = DeploymentOptions(
        any_free_ports=True,
        feed=file_feed(feed_file, SPEED, DAY, feed_id="online") | {"TIDEMARK_FEED_LINGER": "false"},
        environment=chosen,
        services=("ingest", "signals"),
        keep=False,
    )
    async with Deployment(StateDir(tmp_path / "state"), options) as deployment, asyncio.timeout(2 * WAIT_S):
        for victim in KILLS:
            await kill_in_the_middle(deployment, victim)
        while len((await online(deployment))[0]) < len(expected):
            await asyncio.sleep(0.5)
        bars, measured = await online(deployment)
        assert list((tmp_path / "state").glob("**/snapshots/*/layout.json"))
    found = [(*bar, *(measured[(*bar[:3], bar[-1], name)] for name in ("upticks", "downticks"))) for bar in bars]
    assert sorted(found) == sorted(expected)
    assert len(measured) == 2 * len(expected)
    added = [row for row in expected if row[2] == str(600 * NS)]
    assert any(row[-3] != "0" for row in added), "no bar of the added window was restated"
    assert any(row[-1] != "0" and row[-2] != "0" for row in added)
