"""A fleet of today whose gate is two workers of another release, which are exchanged for one another under load.

Each worker keeps its name and its stores, so each release also opens what the other has written.
"""

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
from common.contracts.topics import ACCOUNTS, RISK_DECISIONS
from streams.edges.reader import CommittedReader
from streams.process.settings import Settings
from tidemark.audit.run import Audit, Report
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
from tidemark.releases.building import find_uv
from tidemark.state import StateDir

from tests.e2e.warm_kernels import compile_kernels

ROOT = Path(__file__).parents[2]
TODAY = Path(sys.executable)
WORKERS = ("risk-1", "risk-2")
PARTITIONS = frozenset(range(ACCOUNTS.partitions))
DECISIONS_EACH = 15
"""Decisions of every partition, in every mixture."""
DEADLINE_S = 240.0


def environment() -> dict[str, str]:
    """For programs of another release, which has an environment of its own."""
    return {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}


def installed(directory: Path) -> Path:
    """The Python of an environment that holds risk out of a checkout, with the dependencies of its own lock."""
    command = [find_uv(ROOT), "sync", "--quiet", "--frozen", "--no-dev", "--package", "tidemark-risk"]
    subprocess.run([*command, "--python", str(TODAY)], cwd=directory, env=environment(), check=True)
    return directory / ".venv" / "bin" / "python"


def warmed(python: Path) -> Path:
    """Has that Python compile the kernels of risk; returns it."""
    compile_kernels("risk", environment(), python)
    return python


@dataclass
class Gate:
    """The two workers of the gate in a fleet that has no other, and the decisions of every partition."""

    deployment: Deployment
    settings: Settings
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
        """Stops one worker in order, and starts it as another release on the same stores."""
        await self.deployment.fleet.restart(name, env={"RISK_PYTHON": str(python)})

    async def until_ready(self, name: str) -> None:
        await self.deployment.fleet.wait_ready([name], DEADLINE_S)

    async def page(self, name: str, path: str) -> dict[str, Any]:
        spec: ServiceSpec = self.deployment.fleet.spec(name)
        async with httpx.AsyncClient(base_url=spec.url) as client:
            found: dict[str, Any] = (await client.get(path)).json()
        return found

    async def versions(self) -> list[str | None]:
        """Releases that run, by what they say; 0.2.0 and those before say nothing."""
        return [(await self.page(name, "/health/live")).get("version") for name in WORKERS]

    async def stage(self, name: str) -> dict[str, Any]:
        """The detail of a worker's stage."""
        detail: dict[str, Any] = (await self.page(name, "/health/ready"))["checks"]["stage gate"]["detail"]
        return detail

    async def served(self, name: str) -> set[int]:
        """Partitions that a worker has opened; none while it starts."""
        try:
            detail = await self.stage(name)
        except httpx.TransportError:
            return set()
        return {int(number) for number, page in detail["partitions"].items() if page["state"] == "running"}

    async def until_all_decide(self, *shares: int) -> None:
        """Until the workers serve so many partitions, in any order, and each of these decides. Raises TimeoutError."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                first, second = [await self.served(name) for name in WORKERS]
                if sorted((len(first), len(second))) == sorted(shares) and first | second == PARTITIONS:
                    break
                await asyncio.sleep(0.2)
            before = self.decided.copy()
            while any(self.decided[number] - before[number] < DECISIONS_EACH for number in PARTITIONS):
                await asyncio.sleep(0.2)
        assert [await self.served(name) for name in WORKERS] == [first, second], "nothing moved meanwhile"

    async def count(self) -> None:
        async with CommittedReader(self.settings, [RISK_DECISIONS], from_beginning=True) as reader:
            async for messages in reader.batches():
                self.decided.update(message.partition for message in messages)

    @asynccontextmanager
    async def traded_with(self) -> AsyncIterator[None]:
        """Load meanwhile; asserts that each order was answered once."""
        where, url = self.deployment.addresses, self.deployment.url("orders")
        async with QuoteBoard(where.redis_url) as quotes:
            symbols = await quotes.wait_for_market(6, DEADLINE_S)
            await quotes.watch(symbols)
            held = holdings(account_names(16, "side"), symbols, each=4)
            async with HttpGateway(url) as gateway:
                await open_accounts(gateway, held)
            async with Traffic(where, HttpGateway(url), quotes, held, 7, http_per_s=3, topic_per_s=60) as traffic:
                yield
                assert await traffic.finish(DEADLINE_S) == Counter()

    async def audited(self) -> Report:
        return await Audit(self.settings, self.deployment.addresses).run(DEADLINE_S)


@asynccontextmanager
async def gate(python: Path, directory: Path, *more: str, registry: bool = False) -> AsyncIterator[Gate]:
    """A fleet of today, with ``more`` services than those that trade, whose gate is two workers of a release."""
    options = DeploymentOptions(
        any_free_ports=True,
        feed=synthetic_feed(seed=7, rate_per_s=200, symbols=10),
        services=("ingest", "signals", "orders", *more),
        keep=False,
        registry=registry,
    )
    async with Deployment(StateDir(directory), options) as deployment:
        ours = {"schema_registry_url": deployment.registry_url, "data_dir": directory / "reader"}
        workers = Gate(deployment, reader_settings(deployment.addresses).model_copy(update=ours))
        workers.add(python)
        await deployment.fleet.start(WORKERS)
        await deployment.fleet.wait_ready(WORKERS, DEADLINE_S)
        counting = asyncio.create_task(workers.count())
        try:
            yield workers
        finally:
            counting.cancel()
            await asyncio.gather(counting, return_exceptions=True)
            await deployment.fleet.stop(WORKERS)
