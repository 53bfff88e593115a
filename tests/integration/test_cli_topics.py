"""``tidemark topics`` and the topics job against a broker: what differs is shown, set only with --yes, and kept."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from common.contracts.topics import RISK_GATE_CHANGELOG, RISK_LEDGER, TOPICS
from parts import LocalStack
from streams.kafka.kafka_log import KafkaLog
from streams.process.settings import KafkaSettings, Settings
from tidemark.commands.topics import topics
from tidemark.operations import Operation, done_before
from typer.testing import CliRunner

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def bootstrap() -> Iterator[str]:
    with LocalStack({"kafka"}) as running:
        yield running.addresses.kafka_bootstrap


def call(bootstrap: str, *words: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    result = RUNNER.invoke(topics, [words[0], "--bootstrap", bootstrap, *words[1:]])
    return result.exit_code, result.stdout, result.stderr


def alter(bootstrap: str, settings: dict[str, dict[str, str]]) -> None:
    async def main() -> None:
        log = KafkaLog(Settings(kafka=KafkaSettings(bootstrap=bootstrap)), "test-topics")
        await log.start()
        assert await log.set_topics(settings) == {}
        for topic, values in settings.items():  # a broker shows them a little later
            while not values.items() <= (await log.found_topics([topic])).topics[topic].settings.items():
                await asyncio.sleep(0.05)
        await log.stop()

    asyncio.run(main())


def kept(bootstrap: str) -> list[Operation]:
    async def main() -> list[Operation]:
        log = KafkaLog(Settings(kafka=KafkaSettings(bootstrap=bootstrap)), "test-topics")
        await log.start()
        found = await done_before(log)
        await log.stop()
        return list(found.values())

    return asyncio.run(main())


def differences(bootstrap: str) -> dict[tuple[str, str], Any]:
    _, out, _ = call(bootstrap, "diff", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    return {(row["topic"], row["setting"]): row for row in rows}


def until_nothing_differs(bootstrap: str) -> None:
    until_s = time.monotonic() + 10
    while found := differences(bootstrap):
        assert time.monotonic() < until_s, found


def test_topics_from_nothing_then_created_drifted_shown_and_set(bootstrap: str) -> None:
    assert all(row["found"] == "missing" for row in differences(bootstrap).values())
    code, out, _ = call(bootstrap, "create")
    assert code == 0
    assert out.count("created") >= len(TOPICS)
    assert call(bootstrap, "diff")[0] == 0
    assert "every topic exists" in call(bootstrap, "create")[2]

    alter(bootstrap, {RISK_LEDGER.name: {"retention.ms": "3600000"}, RISK_GATE_CHANGELOG.name: {"segment.ms": "60000"}})
    code, out, err = call(bootstrap, "diff")
    assert code == 2
    assert "1 differ, 1 of them endanger money" in err
    job = subprocess.run(
        [sys.executable, "-m", "common.fleet_topics", "--bootstrap", bootstrap],
        capture_output=True,
        text=True,
        check=False,
    )
    assert job.returncode == 1
    assert f"DANGER: topic {RISK_LEDGER.name}: retention.ms is 3600000, should be -1" in job.stdout

    code, out, err = call(bootstrap, "fix")
    assert (code, kept(bootstrap)) == (0, [])
    assert "nothing was done" in err
    assert list(differences(bootstrap)) == [(RISK_LEDGER.name, "retention.ms")]

    code, out, err = call(bootstrap, "fix", "--yes", "--reason", "set by mistake")
    assert code == 0
    until_nothing_differs(bootstrap)
    (operation,) = kept(bootstrap)
    assert (operation.what, operation.reason) == ("topics fix", "set by mistake")
    assert operation.details == {"changes": [f"{RISK_LEDGER.name}: retention.ms from 3600000 to -1"]}
    assert "nothing to set" in call(bootstrap, "fix", "--yes")[2]
