"""The number of partitions on a real broker: chosen once, kept there, read at each start, refused where it differs."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from common.contracts.topics import (
    ACCOUNTS,
    MARKET,
    ORDERS_CANCELS,
    ORDERS_INTENTS,
    REF_INSTRUMENTS,
    RISK_GATE_CHANGELOG,
    STAGES,
    TOPICS,
)
from common.fleet_topics import settle_groups
from parts import LocalStack
from parts.ports import free_port
from streams.kafka.kafka_log import KafkaLog
from streams.process.settings import KafkaSettings, Settings
from tidemark.commands.topics import ENDANGERED, topics
from typer.testing import CliRunner

RUNNER = CliRunner()
WITHIN_S = 60.0
WORKER = """
from common.contracts.topics import ORDERS_INTENTS, RISK_DECISIONS, RISK_GATE_CHANGELOG
from common.fleet_app import TidemarkApp
from streams.process.settings import Settings

app = TidemarkApp("risk", Settings())
app.stage(name="gate", inputs=[ORDERS_INTENTS], outputs=[RISK_DECISIONS], changelog=RISK_GATE_CHANGELOG)(lambda *_: ())
app.main()
"""
"""In the gate's place: what it decides does not matter here, and it has no kernels to compile."""


@pytest.fixture(scope="module")
def bootstrap() -> Iterator[str]:
    with LocalStack({"kafka"}) as running:
        yield running.addresses.kafka_bootstrap


def call(bootstrap: str, *words: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    result = RUNNER.invoke(topics, [words[0], "--bootstrap", bootstrap, *words[1:]])
    return result.exit_code, result.stdout, " ".join(result.stderr.split())


def job(bootstrap: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "common.fleet_topics", "--bootstrap", bootstrap, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S, check=False)


def counts(bootstrap: str) -> dict[str, int]:
    async def main() -> dict[str, int]:
        log = KafkaLog(Settings(kafka=KafkaSettings(bootstrap=bootstrap)), "test")
        await log.start()
        try:
            return dict(await log.partition_counts([topic.name for topic in TOPICS]))
        finally:
            await log.stop()

    return asyncio.run(main())


def enlarge(bootstrap: str, *names: str, to: int) -> None:
    async def main() -> None:
        client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await client.start()
        await client.create_partitions({name: NewPartitions(total_count=to) for name in names})
        await client.close()

    asyncio.run(main())


def differing(bootstrap: str) -> list[dict[str, Any]]:
    _, out, _ = call(bootstrap, "diff", "--json")
    return [json.loads(line) for line in out.splitlines()]


def waits_for(port: int, until: Any) -> dict[str, Any]:
    """The worker's ready page once it is so."""
    deadline = time.monotonic() + WITHIN_S
    page: dict[str, Any] = {}
    while time.monotonic() < deadline:
        try:
            page = httpx.get(f"http://127.0.0.1:{port}/health/ready", timeout=5).json()
        except httpx.HTTPError:
            page = {}
        if page and until(page["checks"]):
            return page
        time.sleep(0.2)
    raise AssertionError(page)


@pytest.fixture
def worker(bootstrap: str, tmp_path: Path) -> Iterator[int]:
    """A worker in the place of the gate's; its port."""
    port = free_port()
    env = {
        **os.environ,
        "TIDEMARK_KAFKA_BOOTSTRAP": bootstrap,
        "TIDEMARK_REDIS_URL": "",
        "TIDEMARK_DATA_DIR": str(tmp_path),
        "TIDEMARK_HTTP_PORT": str(port),
        "TIDEMARK_TOPICS_INTERVAL_S": "1",
    }
    with subprocess.Popen([sys.executable, "-P", "-c", WORKER, "worker"], env=env) as process:
        yield port
        process.terminate()
        assert process.wait(30) == 0


def test_deployment_from_its_first_worker_to_partitions_that_somebody_adds(bootstrap: str, worker: int) -> None:
    page = waits_for(worker, lambda checks: ORDERS_INTENTS.name in checks["topics"]["detail"]["waits_for"])
    assert "`tidemark topics create`" in page["checks"]["topics"]["detail"]["waits_for"]
    assert not page["ready"]

    assert call(bootstrap, "create", "--partitions", "12", "--partitions", "market=5")[0] == 0
    made = counts(bootstrap)
    assert made == {topic.name: {MARKET: 5, ACCOUNTS: 12, None: 1}[topic.group] for topic in TOPICS}
    served = waits_for(worker, lambda checks: len(checks["stage gate"]["detail"].get("partitions", ())) == 12)
    assert served["checks"]["topics"] == {"ready": True, "detail": {"waits_for": ""}}

    assert asyncio.run(settle_groups(bootstrap)) == []
    assert (MARKET.partitions, ACCOUNTS.partitions) == (5, 12)
    assert call(bootstrap, "diff")[0] == 0
    assert job(bootstrap).stdout == "every topic exists\n"

    code, _, said = call(bootstrap, "create", "--partitions", "accounts=48")
    assert code == 1
    assert "group accounts have 12 partitions on this cluster, not 48" in said
    refused = job(bootstrap, "--partitions", "market=4,accounts=12")
    assert refused.returncode == 1
    assert "group market have 5 partitions on this cluster, not 4" in refused.stderr
    assert counts(bootstrap) == made

    enlarge(bootstrap, ORDERS_INTENTS.name, to=13)
    stopped = waits_for(worker, lambda checks: checks["stage gate"]["detail"]["topics"])
    (line,) = stopped["checks"]["stage gate"]["detail"]["topics"]
    assert line.startswith(f"topic {ORDERS_INTENTS.name}: partitions is 13, should be 12: ")
    assert "its co-partition group accounts has 12" in line
    assert not stopped["checks"]["stage gate"]["ready"]
    assert call(bootstrap, "diff")[0] == ENDANGERED
    assert [(each["topic"], each["found"], each["wanted"]) for each in differing(bootstrap)] == [
        (ORDERS_INTENTS.name, "13", "12")
    ]

    others = [topic.name for topic in TOPICS if topic.group is ACCOUNTS and topic is not ORDERS_INTENTS]
    enlarge(bootstrap, *others, to=13)
    found = {each["topic"] for each in differing(bootstrap) if each["setting"] == "partitions"}
    assert {ORDERS_INTENTS.name, ORDERS_CANCELS.name, RISK_GATE_CHANGELOG.name} <= found, "they agree, and are wrong"
    assert not found & {STAGES.name, REF_INSTRUMENTS.name}
