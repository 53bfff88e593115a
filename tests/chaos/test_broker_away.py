"""The broker is killed under a whole fleet: it waits longer and longer, says so, burns nothing, and is back with it."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from tidemark.deployment import Deployment, DeploymentOptions
from tidemark.feeds import synthetic_feed
from tidemark.process import cpu_seconds
from tidemark.services import SERVICES
from tidemark.state import StateDir

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
AWAY_S = 35.0
LINES_MAX = 60
CPU_SHARE_MAX = 0.25
"""Share of one core, and generous: a loop that does not wait takes a whole one."""
READY_S = 60.0


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
