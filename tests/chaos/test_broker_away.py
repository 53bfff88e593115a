"""The broker is killed under a whole fleet: it waits longer and longer, says so, burns nothing, and is back with it."""

import asyncio
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from streams.service.app import STOP_MAX_S
from tidemark.deployment import Deployment, DeploymentOptions
from tidemark.feeds import synthetic_feed
from tidemark.process import cpu_seconds
from tidemark.services import SERVICES
from tidemark.state import StateDir

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
AWAY_S = 35.0
LINES_MAX = 60
CPU_SHARE_MAX = 0.25
"""Share of one core, and generous: a loop that does not wait takes a whole one."""
READY_S = 60.0
SLACK_S = 5.0
"""A process that is starved on a busy machine."""


def said_since(log: Path, position: int) -> list[dict[str, Any]]:
    lines = log.read_bytes()[position:].decode().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


async def test_broker_when_it_is_away_then_workers_wait_quietly_and_come_back_with_it(tmp_path: Path) -> None:
    feed = synthetic_feed(seed=5, rate_per_s=500, symbols=10)
    async with Deployment(StateDir(tmp_path), DeploymentOptions(any_free_ports=True, feed=feed, keep=False)) as running:
        fleet, stack = running.fleet, running.stack
        assert stack is not None
        pids = {name: fleet.pid(name) for name in SERVICES}
        begin = {name: fleet.spec(name).log.stat().st_size for name in SERVICES}
        used_s = {name: cpu_seconds(pid) for name, pid in pids.items()}
        killed_s = time.monotonic()
        await asyncio.to_thread(stack.kill, "kafka")
        await asyncio.sleep(AWAY_S)
        away_s = time.monotonic() - killed_s
        for name in SERVICES:
            assert fleet.deaths(name) == 0, f"{name} does not crash because its broker is away"
            assert cpu_seconds(pids[name]) - used_s[name] < CPU_SHARE_MAX * away_s, f"{name} is busy with waiting"
            said = said_since(fleet.spec(name).log, begin[name])
            assert len(said) < LINES_MAX, f"{name} floods its log"
            waits = [line["retry_in_s"] for line in said if line["event"] == "broker_away"]
            if name == "push":  # knows no Kafka
                assert not waits
                assert await fleet.is_ready(name)
            else:
                assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0][: len(waits)]
                assert len(waits) >= 4
                assert not await fleet.is_ready(name), f"{name} says that it cannot serve"
        await asyncio.to_thread(stack.restart, "kafka")
        await fleet.wait_ready(timeout_s=READY_S)
        assert {name: fleet.pid(name) for name in SERVICES} == pids


def gone(pid: int) -> bool:
    """Whether a process has ended, waited for or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


async def test_services_when_they_are_to_end_while_the_broker_hangs_then_each_is_gone_in_time(tmp_path: Path) -> None:
    """As in a rolling restart beside a stuck disk: whoever restarts it kills it only after STOP_MAX_S."""
    feed = synthetic_feed(seed=5, rate_per_s=200, symbols=5)
    async with Deployment(StateDir(tmp_path), DeploymentOptions(any_free_ports=True, feed=feed, keep=False)) as running:
        fleet, stack = running.fleet, running.stack
        assert stack is not None
        pids = {name: fleet.pid(name) for name in SERVICES}
        broker = stack.pid("kafka")
        os.kill(broker, signal.SIGSTOP)
        try:
            await asyncio.sleep(1.0)  # a commit is under way
            for name in SERVICES:
                fleet.kill(name, signal.SIGTERM)
            async with asyncio.timeout(STOP_MAX_S + SLACK_S):
                while not all(gone(pid) for pid in pids.values()):
                    await asyncio.sleep(0.1)
        finally:
            os.kill(broker, signal.SIGCONT)
