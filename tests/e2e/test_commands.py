"""The commands on a fleet that runs in the background: up, status, replay, read, audit, down."""

import asyncio
import csv
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from common.contracts.topics import MD_BARS, REF_INSTRUMENTS
from ingest.domain.exchange import ExchangeOptions, exchange_chunks
from tidemark.process import is_running
from tidemark.services import FLEET
from tidemark.state import StateDir

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]
DAY = "2024-03-15"
MESSAGES = 50_000


@dataclass(frozen=True, slots=True)
class Result:
    """A finished command."""

    code: int
    out: str
    err: str


async def tidemark(*arguments: str, timeout_s: float = 240.0) -> Result:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tidemark.main",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(timeout_s):
        out, err = await process.communicate()
    assert process.returncode is not None
    return Result(process.returncode, out.decode(), err.decode())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def state(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StateDir]:
    """A fleet in the background, with an idle feed; its end is part of what is tested."""
    directory = tmp_path_factory.mktemp("state")
    started = await tidemark("up", "--detach", "--any-ports", "--state-dir", str(directory))
    assert started.code == 0, started.err
    found = StateDir(directory)
    yield found
    record = found.running()
    assert record is not None
    stopped = await tidemark("down", "--state-dir", str(directory))
    assert stopped.code == 0, stopped.err
    assert not is_running(record.supervisor_pid, record.supervisor_ticks)
    assert found.read() is None


async def test_up_when_a_fleet_runs_already_then_refused(state: StateDir) -> None:
    again = await tidemark("up", "--any-ports", "--state-dir", str(state.root))
    assert again.code == 1
    assert "tidemark down" in again.err


async def test_status_when_all_is_well_then_every_service_and_part_is_listed(state: StateDir) -> None:
    shown = await tidemark("status", "--json", "--state-dir", str(state.root))
    answer = json.loads(shown.out)
    assert {row["name"] for row in answer["services"]} == set(FLEET)
    assert {row["name"] for row in answer["parts"]} == {"kafka", "redis", "postgres"}
    assert all(row["pid"] for row in answer["services"] + answer["parts"])


async def test_replay_when_online_then_the_bars_are_in_the_log(state: StateDir, tmp_path: Path) -> None:
    path = tmp_path / f"{DAY}.itch"
    options = ExchangeOptions(symbols=10, seed=5, rate=5_000, messages=MESSAGES)
    path.write_bytes(b"".join(exchange_chunks(options)))
    replayed = await tidemark("replay", str(path), "--speed", "max", "--state-dir", str(state.root))
    assert replayed.code == 0, replayed.err
    assert "anomalies: none" in replayed.err
    offline_into = ("--offline", "--out", str(tmp_path / "offline"))
    offline = await tidemark("replay", str(path), *offline_into)
    assert offline.code == 0, offline.err
    with (tmp_path / "offline" / "bars.csv").open(newline="") as file:
        expected = sorted((row["symbol"], row["window_start_ns"], row["vwap_e4"]) for row in csv.DictReader(file))
    assert sorted(await bars_in_the_log(state, len(expected))) == expected
    instruments = await tidemark("read", REF_INSTRUMENTS.name, "--from-beginning", "--to-end", *where(state))
    assert len(instruments.out.splitlines()) == 10


async def bars_in_the_log(state: StateDir, count: int) -> list[tuple[str, str, str]]:
    """Reads until there are so many: signals works on after the last tick was written."""
    async with asyncio.timeout(120):
        while True:
            read = await tidemark(
                "read", MD_BARS.name, "--from-beginning", "--to-end", "--format", "csv", *where(state)
            )
            rows = list(csv.DictReader(read.out.splitlines()))
            if len(rows) >= count:
                return [(row["symbol"], row["window_start_ns"], row["vwap_e4"]) for row in rows]


def where(state: StateDir) -> tuple[str, str]:
    return ("--state-dir", str(state.root))


async def test_audit_when_nothing_happened_yet_then_sound(state: StateDir) -> None:
    audited = await tidemark("audit", "--json", *where(state))
    assert audited.code == 0, audited.err
    report = json.loads(audited.out)
    assert report["violations"] == report["ledger_sum_e4"] == 0
