"""Two releases of risk share its partitions under load, and are exchanged for one another one at a time, both ways.

Each worker keeps its name and its stores, so each release also opens what the other has written.
"""

import asyncio
import io
import os
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from common.contracts.topics import ACCOUNTS, RISK_DECISIONS
from streams.edges.reader import CommittedReader
from streams.process.build_info import version_of
from streams.process.settings import Settings
from tidemark.audit.run import Audit
from tidemark.chaos.traffic import Traffic
from tidemark.deployment import Deployment, DeploymentOptions
from tidemark.feeds import synthetic_feed
from tidemark.fleet import ServiceSpec
from tidemark.load.clients import open_accounts
from tidemark.load.http import HttpGateway
from tidemark.load.plan import account_names, holdings
from tidemark.options import reader_settings
from tidemark.ports import free_ports
from tidemark.quotes import QuoteBoard
from tidemark.state import StateDir

ROOT = Path(__file__).parents[2]
OLDER = "5da3674"
"""The tree of release 0.2.0, the oldest that can run beside today's.

That of 0.1.0, commit c40455c, cannot, by its schemas: orders writes execution reports and commands of version 2, of
which it reads version 1, and rows of today's gate hold reasons that it does not know. docs/releases.md says so, too.
"""
WORKERS = ("risk-1", "risk-2")
DECISIONS_EACH = 15
"""Decisions of every partition, in every mixture."""
DEADLINE_S = 240.0
TODAY = Path(sys.executable)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that holds the older release of risk with the dependencies of its own lock."""
    directory = tmp_path_factory.mktemp("older")
    archive = subprocess.run(["git", "archive", OLDER], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        pytest.skip(f"commit {OLDER} is not in this history: fetch all of it")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(directory, filter="data")
    uv = shutil.which("uv") or str(ROOT / ".tidemark" / "uv" / "bin" / "uv")
    command = [uv, "sync", "--quiet", "--frozen", "--no-dev", "--package", "tidemark-risk", "--python", str(TODAY)]
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    subprocess.run(command, cwd=directory, env=environment, check=True)
    python = directory / ".venv" / "bin" / "python"
    # Compiled before the fleet runs, as an image is.
    subprocess.run([str(python), "-P", "-m", "risk", "warm"], cwd=directory, env=environment, check=True)
    return python


@dataclass
class Gate:
    """The two workers of the gate in a fleet that has no other, and the decisions of every partition."""

    deployment: Deployment
    decided: Counter[int] = field(default_factory=Counter)

    def add(self, python: Path) -> None:
        base = self.deployment.fleet.spec("orders")
        for name, port in zip(WORKERS, free_ports(len(WORKERS)), strict=True):
            env = {
                **base.env,
                "TIDEMARK_WORKER_ID": name,
                "TIDEMARK_HTTP_PORT": str(port),
                "TIDEMARK_DATA_DIR": str(self.deployment.state.data / name),
                "RISK_PYTHON": str(python),
            }
            argv = ("/bin/sh", "-c", 'exec "$RISK_PYTHON" -P -m risk worker')
            log = base.log.with_name(f"{name}.log")
            self.deployment.fleet.add(replace(base, name=name, argv=argv, env=env, port=port, log=log))

    async def exchange(self, name: str, python: Path) -> None:
        """Stops one worker in order, and starts it as the other release on the same stores."""
        await self.deployment.fleet.restart(name, env={"RISK_PYTHON": str(python)})
        await self.deployment.fleet.wait_ready([name], DEADLINE_S)

    async def page(self, name: str, path: str) -> dict[str, Any]:
        spec: ServiceSpec = self.deployment.fleet.spec(name)
        async with httpx.AsyncClient(base_url=spec.url) as client:
            found: dict[str, Any] = (await client.get(path)).json()
        return found

    async def runs_today_s(self, name: str) -> bool:
        """The older release does not say its version."""
        return (await self.page(name, "/health/live")).get("version") == version_of("risk")

    async def served(self, name: str) -> set[int]:
        detail = (await self.page(name, "/health/ready"))["checks"]["stage gate"]["detail"]
        return {int(number) for number, page in detail["partitions"].items() if page["state"] == "running"}

    async def until_each_serves_two_and_all_decide(self) -> None:
        """Raises TimeoutError where a partition is not served, or decides nothing."""
        async with asyncio.timeout(DEADLINE_S):
            while sorted([len(await self.served(name)) for name in WORKERS]) != [2, 2]:
                await asyncio.sleep(0.2)
            first, second = [await self.served(name) for name in WORKERS]
            assert first | second == set(range(ACCOUNTS.partitions))
            before = self.decided.copy()
            while any(self.decided[number] - before[number] < DECISIONS_EACH for number in range(ACCOUNTS.partitions)):
                await asyncio.sleep(0.2)
        assert [await self.served(name) for name in WORKERS] == [first, second], "nothing moved meanwhile"

    async def count(self, settings: Settings) -> None:
        async with CommittedReader(settings, [RISK_DECISIONS], from_beginning=True) as reader:
            async for messages in reader.batches():
                self.decided.update(message.partition for message in messages)


@asynccontextmanager
async def gate(older: Path, directory: Path) -> AsyncIterator[Gate]:
    """A fleet of today whose gate is two workers of the older release."""
    options = DeploymentOptions(
        any_free_ports=True,
        feed=synthetic_feed(seed=7, rate_per_s=200, symbols=10),
        services=("ingest", "signals", "orders"),
        keep=False,
    )
    async with Deployment(StateDir(directory), options) as deployment:
        workers = Gate(deployment)
        workers.add(older)
        await deployment.fleet.start(WORKERS)
        await deployment.fleet.wait_ready(WORKERS, DEADLINE_S)
        where = deployment.addresses
        counting = asyncio.create_task(workers.count(reader_settings(where)))
        try:
            yield workers
        finally:
            counting.cancel()
            await asyncio.gather(counting, return_exceptions=True)
            await deployment.fleet.stop(WORKERS)


async def test_releases_side_by_side_when_exchanged_one_at_a_time_both_ways_then_every_order_is_answered_once(
    older: Path, tmp_path: Path
) -> None:
    async with gate(older, tmp_path) as workers:
        where, url = workers.deployment.addresses, workers.deployment.url("orders")
        async with QuoteBoard(where.redis_url) as quotes:
            symbols = await quotes.wait_for_market(6, DEADLINE_S)
            await quotes.watch(symbols)
            held = holdings(account_names(16, "side"), symbols, each=4)
            async with HttpGateway(url) as gateway:
                await open_accounts(gateway, held)
            async with Traffic(where, url, quotes, held, 7, http_per_s=3, topic_per_s=60) as traffic:
                await workers.until_each_serves_two_and_all_decide()
                for name, python, mixture in (
                    ("risk-1", TODAY, [True, False]),
                    ("risk-2", TODAY, [True, True]),
                    ("risk-1", older, [False, True]),
                    ("risk-2", older, [False, False]),
                ):
                    await workers.exchange(name, python)
                    assert [await workers.runs_today_s(worker) for worker in WORKERS] == mixture
                    await workers.until_each_serves_two_and_all_decide()
                assert await traffic.finish(DEADLINE_S) == Counter()
        report = await Audit(reader_settings(where), where).run(DEADLINE_S)
    assert report.violations == 0, report.as_dict()
    assert report.orders_accepted
    assert report.fills
    assert [workers.deployment.fleet.deaths(worker) for worker in WORKERS] == [0, 0]
