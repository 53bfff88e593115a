"""``tidemark audit --who`` on a real log: what the gate records of commands that came over HTTP's contract."""

import asyncio
import json
from collections.abc import Iterator

import pytest
from common.contracts.events import Caller
from common.contracts.topics import AUDIT_COMMANDS, RISK_COMMANDS
from common.fleet_topics import create_topics
from common.testing.orders import NOW_NS, set_account
from parts import LocalStack
from risk.domain.gate import Limits
from risk.stages import Gate
from risk.tables import DAY_NS, TABLES
from streams.edges.sender import Sender
from streams.model.message import Output
from streams.process.settings import KafkaSettings, RedisSettings, Settings
from streams.testing.tables import MemoryTables, message
from tidemark.main import app
from typer.testing import CliRunner

pytestmark = pytest.mark.timeout(300)
SUBJECTS = ("ann", "bob", "ann")


def written() -> list[tuple[bytes, bytes]]:
    """Records of three commands by two people, a second apart: key and value."""
    handle, tables = Gate(Limits(), 7 * DAY_NS).handle, MemoryTables(TABLES, 0)
    found: list[tuple[bytes, bytes]] = []
    for number, subject in enumerate(SUBJECTS):
        caller = Caller(subject=subject, client="test", address="127.0.0.1")
        command = set_account("a", command_id=f"c{number}").model_copy(update={"who": caller})
        record = message(RISK_COMMANDS, b"a", command, partition=0, offset=number)
        for item in handle(record, tables, NOW_NS + number * 1_000_000_000):
            if isinstance(item, Output) and item.topic is AUDIT_COMMANDS:
                assert item.key is not None and isinstance(item.body, bytes)
                found.append((item.key, item.body))
    return found


@pytest.fixture
def bootstrap() -> Iterator[str]:
    with LocalStack({"kafka"}) as stack:
        address = stack.addresses.kafka_bootstrap
        asyncio.run(create_topics(address, [AUDIT_COMMANDS], partitions={"accounts": 1}))
        yield address


async def send(bootstrap: str, records: list[tuple[bytes, bytes]]) -> None:
    sender = Sender(Settings(kafka=KafkaSettings(bootstrap=bootstrap), redis=RedisSettings(url="")), "test")
    await sender.start()
    await sender.send_many(AUDIT_COMMANDS, records)
    await sender.stop()


def who(bootstrap: str, *words: str) -> tuple[int, dict[str, object]]:
    done = CliRunner().invoke(app, ["audit", "--who", "--json", "--bootstrap", bootstrap, *words])
    assert done.stdout, (done.exit_code, done.stderr, done.exception)
    return done.exit_code, json.loads(done.stdout)


def test_who_then_by_subject_and_time_and_a_dropped_record_is_found(bootstrap: str) -> None:
    records = written()
    asyncio.run(send(bootstrap, records))
    code, found = who(bootstrap)
    assert (code, found["records"], found["faults"]) == (0, 3, [])
    commands = found["commands"]
    assert isinstance(commands, list)
    assert [(each["who"]["subject"], each["command_id"]) for each in commands] == list(
        zip(SUBJECTS, ("c0", "c1", "c2"), strict=True)
    )
    _, of_bob = who(bootstrap, "--subject", "bob")
    assert isinstance(of_bob["commands"], list)
    assert [each["command_id"] for each in of_bob["commands"]] == ["c1"]
    _, later = who(bootstrap, "--since", "2100-01-01")
    assert later["commands"] == []
    asyncio.run(send(bootstrap, records[1:2]))  # once more, at another place
    code, found = who(bootstrap)
    assert code == 1
    assert isinstance(found["faults"], list)
    assert [each["fault"] for each in found["faults"]] == ["repeated"]
