"""A recorded feed through Kafka, with SIGKILLs in the middle, gives bar for bar what the same kernels give offline."""

import asyncio
import csv
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from common.contracts.market import BAR, decode_rows, vwap_e4
from common.contracts.topics import MD_BARS
from ingest.domain.exchange import ExchangeOptions, exchange_chunks
from streams.process.settings import KafkaSettings, Settings
from tidemark.deployment import Deployment, DeploymentOptions
from tidemark.feeds import file_feed
from tidemark.log_end import read_committed
from tidemark.main import app
from tidemark.state import StateDir
from typer.testing import CliRunner

from tests.e2e.warm_kernels import compile_kernels

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="module")]
DAY = "2024-03-15"
MESSAGES = 400_000
KILLS = ("signals", "ingest")
WAIT_S = 120.0

Row = tuple[str, ...]


@pytest.fixture(scope="module")
def feed_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated session with broken trades, halts and crosses."""
    path = tmp_path_factory.mktemp("feed") / f"{DAY}.itch"
    options = ExchangeOptions(symbols=50, seed=3, rate=4_000, messages=MESSAGES, breaks_per_million=500)
    with path.open("wb") as file:
        file.writelines(exchange_chunks(options))
    return path


@pytest.fixture(scope="module")
def offline(feed_file: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """The rows of bars.csv."""
    out = tmp_path_factory.mktemp("offline")
    arguments = ["replay", str(feed_file), "--offline", "--out", str(out), "--date", DAY]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    with (out / "bars.csv").open(newline="") as file:
        return [tuple(row) for row in itertools.islice(csv.reader(file), 1, None)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fed(feed_file: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    """Ingest and signals alone, on the file at full speed."""
    compile_kernels("signals")
    feed = file_feed(feed_file, "2", DAY, feed_id="online")
    options = DeploymentOptions(
        any_free_ports=True, feed=feed | {"TIDEMARK_FEED_LINGER": "false"}, services=("ingest", "signals"), keep=False
    )
    async with Deployment(StateDir(tmp_path_factory.mktemp("online")), options) as running:
        yield running


async def bars_online(settings: Settings) -> list[Row]:
    """Every row of ``md.bars`` so far, as bars.csv writes it."""
    rows: list[Row] = []
    async for messages in read_committed(settings, [MD_BARS]):
        for message in messages:
            for bar in decode_rows(BAR, message.value or b""):
                price = (bar["open_e4"], bar["high_e4"], bar["low_e4"], bar["close_e4"])
                volume, notional = int(bar["volume"]), int(bar["notional_e4"])
                fields = (
                    bar["symbol"].decode(), bar["window_start_ns"], bar["window_ns"], *price, volume, bar["trades"],
                    notional, vwap_e4(notional, volume), bar["revision"],
                )  # fmt: skip
                rows.append(tuple(str(field) for field in fields))
    return rows


async def test_bars_when_services_are_killed_in_the_middle_then_they_equal_the_offline_ones(
    fed: Deployment, offline: list[Row]
) -> None:
    settings = Settings(kafka=KafkaSettings(bootstrap=fed.addresses.kafka_bootstrap))
    for victim in KILLS:
        before = len(await bars_online(settings))
        async with asyncio.timeout(WAIT_S):
            while len(await bars_online(settings)) <= before:
                await asyncio.sleep(0.2)
        fed.fleet.kill(victim)
        await fed.fleet.wait_ready([victim], WAIT_S)
    online: list[Row] = []
    async with asyncio.timeout(WAIT_S):
        while len(online) < len(offline):
            await asyncio.sleep(0.5)
            online = await bars_online(settings)
    assert sorted(online) == sorted(offline)
    assert any(row[-1] != "0" for row in offline), "no broken trade restated a bar: the feed is too tame to prove it"
