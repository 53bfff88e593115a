"""The demo as a user starts it: a program that ends by itself, says what it found, and leaves nothing behind."""

import asyncio
import json
import signal
import sys
from asyncio.subprocess import Process
from pathlib import Path
from typing import Any

import httpx
import pytest
from tidemark.control import ask
from tidemark.process import is_running, start_ticks
from tidemark.state import StateDir

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SMALL = ("--rate", "1000", "--symbols", "20", "--accounts", "20", "--orders", "20", "--any-ports", "--no-browser")
READY_S = 240.0
POLL_S = 0.2


async def start(*arguments: str) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tidemark.main", *arguments, stdout=asyncio.subprocess.PIPE
    )


async def output(process: Process) -> list[str]:
    out, _ = await process.communicate()
    return out.decode().splitlines()


async def running_pids(state: StateDir, pids: dict[int, int]) -> bool:
    """Whether everything runs; fills ``pids`` with what does, by pid and start time."""
    record = state.running()
    if record is None or not record.ready:
        return False
    answer: dict[str, Any] = await ask(record.control, {"command": "status"})
    rows = answer["services"] + answer["parts"]
    pids.update({row["pid"]: start_ticks(row["pid"]) for row in rows if row["pid"]})
    return len(pids) == len(rows)


@pytest.mark.parametrize("closed", [(), ("--open",), ("--secure",)], ids=["signed in", "open", "secure"])
async def test_demo_when_headless_then_ends_by_itself_with_a_sound_summary(
    tmp_path: Path, closed: tuple[str, ...]
) -> None:
    process = await start("demo", "--headless", "--seconds", "10", *SMALL, *closed, "--state-dir", str(tmp_path))
    lines = await output(process)
    summary = json.loads(lines[-1])
    assert process.returncode == 0
    assert summary["ledger_sum_e4"] == summary["violations"] == 0
    assert summary["ticks"] > 5_000
    assert summary["ticks_per_s"] > 100
    assert summary["bars"] > 0
    assert summary["orders_accepted"] > 0
    assert summary["orders_denied"] > 0
    assert summary["fills"] > 0
    for clock in ("processed", "committed"):
        assert summary[clock]["n"] > 0
        assert 0 < summary[clock]["p50_ms"] <= summary[clock]["p99_ms"]
    assert summary["painted"] == {"p50_ms": None, "p99_ms": None, "n": 0}, "no browser was there"
    assert StateDir(tmp_path).read() is None


async def _assert_strangers_are_refused(state: StateDir) -> None:
    """Without an option, in the demo that runs there."""
    record = state.running()
    assert record is not None
    async with httpx.AsyncClient(timeout=READY_S) as http:
        for service, path in (("orders", "/v1/accounts/demo-0001"), ("push", "/v1/accounts")):
            assert (await http.get(record.services[service] + path)).status_code == 401, service


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_demo_when_interrupted_then_everything_it_started_is_gone(tmp_path: Path, number: signal.Signals) -> None:
    process = await start("demo", *SMALL, "--state-dir", str(tmp_path))
    pids: dict[int, int] = {}
    async with asyncio.timeout(READY_S):
        while not await running_pids(StateDir(tmp_path), pids):
            assert process.returncode is None
            await asyncio.sleep(POLL_S)
    await _assert_strangers_are_refused(StateDir(tmp_path))
    process.send_signal(number)
    await output(process)
    assert process.returncode == 130
    assert not [pid for pid, ticks in pids.items() if is_running(pid, ticks)]
    assert StateDir(tmp_path).read() is None


async def test_demo_when_killed_then_the_kernel_ends_what_it_started(tmp_path: Path) -> None:
    process = await start("demo", *SMALL, "--state-dir", str(tmp_path))
    pids: dict[int, int] = {}
    async with asyncio.timeout(READY_S):
        while not await running_pids(StateDir(tmp_path), pids):
            assert process.returncode is None
            await asyncio.sleep(POLL_S)
    process.kill()
    await output(process)
    async with asyncio.timeout(30):
        while [pid for pid, ticks in pids.items() if is_running(pid, ticks)]:
            await asyncio.sleep(POLL_S)
    assert StateDir(tmp_path).running() is None
