"""A next release of risk beside today's fleet, under load: exchanged in both directions as far as its rows allow it.

Two releases are made of this checkout. ``NEXT`` says in each decision which release decided, and appends a field with a
default to a row: either release reads what the other writes. ``GROWN`` writes that row in another shape, under a raised
version and with a migration: there is no way back from it, and today's release says so. The services that read the
decisions stay as they are, and have the new schema from the registry.
"""

import asyncio
import contextlib
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from common.avro.on_file import DIRECTORY, read_index
from common.contracts.topics import RISK_DECISIONS
from streams.process.build_info import version_of
from tidemark.releases.files import raise_version
from tidemark.schema_registry import Registry

from tests.docs.guide import copy_checkout
from tests.e2e.exchanged_workers import DEADLINE_S, PARTITIONS, ROOT, TODAY, WORKERS, Gate, gate, installed, warmed

NEXT, GROWN = "98.0.0", "99.0.0"
CONSUMERS = ("ingest", "signals", "orders", "auditor")
EVENTS, TOPICS = (f"libs/common/src/common/contracts/{name}.py" for name in ("events", "topics"))
WIRE, FRAMED, TABLES, ROWS = (
    f"services/risk/src/risk/{name}.py" for name in ("wire", "framed_answers", "tables", "domain/account")
)
SAYS_WHO_DECIDED = (
    (EVENTS, r"(class Decision\(Event\):.*?\n    intent_offset: int\n)", r'\1    decided_by: str = ""\n'),
    (TOPICS, r'"risk-decision", events\.RiskDecision, \d+(, avro=\d+)?', r'"risk-decision", events.RiskDecision, 98'),
    (WIRE, r"(class DecisionTwin\(.*?\n    intent_offset: int\n)", r'\1    decided_by: str = ""\n'),
    (WIRE, r"_encode\(decision\)", f'_encode(msgspec.structs.replace(decision, decided_by="{NEXT}"))'),
    (FRAMED, r'"type": "decision", "accepted"', f'"decided_by": "{NEXT}", "type": "decision", "accepted"'),
)
COUNTS_CHANGES = (
    (ROWS, r"(class Holdings\(.*?\n    symbols: .*?\n)", r"\1    changes: int = 0\n"),
    (TABLES, r"Holdings\(\(\*held\.symbols, symbol\)\)", "Holdings((*held.symbols, symbol), held.changes + 1)"),
    (TABLES, r"Holdings\(rest\)", "Holdings(rest, held.changes + 1)"),
)
MIGRATION = """
def _in_front(_key: bytes, raw: bytes) -> bytes:
    symbols, *changes = msgspec.msgpack.decode(raw)
    return msgspec.msgpack.encode([*(changes or [0]), symbols])
"""
COUNTS_IN_FRONT = (
    (WIRE, re.escape(NEXT), GROWN),
    (FRAMED, re.escape(NEXT), GROWN),
    (ROWS, r"(class Holdings\(.*?\n)(    symbols: .*?\n)    changes: int = 0\n", r"\1    changes: int\n\2"),
    (TABLES, r"Holdings\(([^\n]*), held\.changes \+ 1\)", r"Holdings(held.changes + 1, \1)"),
    (TABLES, r"or Holdings\(\)", "or Holdings(0)"),
    (TABLES, r"LAYOUT_VERSION: Final = 2\n", "LAYOUT_VERSION: Final = 3\n"),
    (TABLES, r"= \{1: \{\}\}", '= {1: {}, 2: {"holdings": _in_front}}'),
    (TABLES, r"\nLAYOUT_VERSION: ", MIGRATION.replace("\\", r"\\") + "\n\nLAYOUT_VERSION: "),
)
FRAME = slice(1, 5)
"""Bytes of a value that are its schema's id."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def change(directory: Path, changes: tuple[tuple[str, str, str], ...]) -> None:
    for file, pattern, text in changes:
        before = (directory / file).read_text("utf-8")
        after, count = re.subn(pattern, text, before, flags=re.DOTALL)
        assert count, f"{file} has no {pattern!r}"
        (directory / file).write_text(after, "utf-8")


def schemas_of(directory: Path) -> Path:
    return directory / DIRECTORY.relative_to(ROOT)


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folder of each release's sources, by its version; the schema of its decisions is on file and has an id."""
    folders = {version: tmp_path_factory.mktemp("release") / version for version in (NEXT, GROWN)}
    copy_checkout(folders[NEXT])
    change(folders[NEXT], SAYS_WHO_DECIDED + COUNTS_CHANGES)
    raise_version(folders[NEXT], "risk", NEXT)
    exporting = [str(installed(folders[NEXT])), "-P", "-m", "common.avro.export"]
    subprocess.run(exporting, cwd=folders[NEXT], check=True)
    shutil.copytree(folders[NEXT], folders[GROWN], ignore=shutil.ignore_patterns(".venv", "__pycache__"))
    change(folders[GROWN], COUNTS_IN_FRONT)
    raise_version(folders[GROWN], "risk", GROWN)
    installed(folders[GROWN])
    return folders


@pytest.fixture(scope="module")
def pythons(releases: dict[str, Path]) -> dict[str, Path]:
    """Python of each release's environment, today's too."""
    made = {version: warmed(folder / ".venv" / "bin" / "python") for version, folder in releases.items()}
    return {version_of("risk"): TODAY, **made}


async def schemas_in(bootstrap: str) -> Counter[int]:
    """Number of decisions by the id of their schema."""
    found: Counter[int] = Counter()
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_committed")
    async with consumer:
        consumer.assign([TopicPartition(RISK_DECISIONS.name, number) for number in PARTITIONS])
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(consumer.assignment())
        while any([await consumer.position(place) < end for place, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                found.update(int.from_bytes(record.value[FRAME], "big") for record in records)
    return found


async def refusals(workers: Gate, name: str) -> set[str]:
    """Reasons of a worker, which is starting, why it cannot serve partitions; as soon as it says any."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            with contextlib.suppress(httpx.TransportError):
                if found := (await workers.stage(name))["given_up"]:
                    return {re.sub(r"\S+/\d+", "PARTITION", reason) for reason in found.values()}
            await asyncio.sleep(0.2)


async def test_next_release_when_exchanged_both_ways_then_all_goes_on_and_what_cannot_go_back_says_so_in_a_line(
    releases: dict[str, Path], pythons: dict[str, Path], tmp_path: Path
) -> None:
    today = version_of("risk")
    async with gate(TODAY, tmp_path, "auditor", registry=True) as workers:
        fleet, registry = workers.deployment.fleet, Registry(workers.deployment.registry_url)
        alive = {name: fleet.pid(name) for name in CONSUMERS}
        pushed = list(registry.push(read_index(schemas_of(releases[NEXT])), schemas_of(releases[NEXT])))
        assert [file.file for file in pushed] == ["risk-decision.v98.avsc"]

        async def exchange(name: str, version: str) -> None:
            await workers.exchange(name, pythons[version])
            await workers.until_ready(name)
            await workers.until_all_decide(2, 2)
            assert dict(zip(WORKERS, await workers.versions(), strict=True))[name] == version

        async with workers.traded_with():
            await workers.until_all_decide(2, 2)
            for version in (NEXT, today, GROWN):
                await exchange("risk-1", version)
                await exchange("risk-2", version)
            await workers.exchange("risk-1", TODAY)
            (reason,) = await refusals(workers, "risk-1")
            await workers.until_all_decide(0, 4)
            await exchange("risk-1", GROWN)
        report = await workers.audited()
        schemas = await schemas_in(workers.deployment.addresses.kafka_bootstrap)
        assert {name: fleet.pid(name) for name in CONSUMERS} == alive, "whoever reads decisions was not restarted"
    assert reason.startswith(
        "PARTITION holds rows of layout 2, and this release of risk.gate knows layout 1: start the release that wrote "
        "them; "
    )
    assert "\n" not in reason
    assert report.violations == 0, report.as_dict()
    assert report.orders_accepted and report.fills
    ids = [file.id for file in read_index() if file.subject == f"{RISK_DECISIONS.name}-value"]
    assert schemas.keys() == {ids[-1], pushed[0].id}
    assert [fleet.deaths(worker) for worker in WORKERS] == [0, 0]
