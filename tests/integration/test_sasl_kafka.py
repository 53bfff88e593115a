"""A broker that knows services by name and password: the worker runs there, and a wrong word is said as one."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from common.contracts.topics import TOPICS
from common.fleet_topics import create_topics
from parts.native_kafka import Login, NativeKafka, java_command
from parts.ports import free_port
from streams.kafka.security import client_security
from streams.process.settings import KafkaSettings, SaslSettings, Settings
from tidemark.fleet import Fleet, ServiceSpec

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]
WORD = "not in a log"
READY_S = 120.0


class Broker:
    """A broker, by the addresses where it is reached in the clear, and where by name and password."""

    def __init__(self, open_to_all: str, login: str, words: Path) -> None:
        self.open_to_all = open_to_all
        self.login = login
        self._words = words

    def settings(self, mechanism: str, word: str = WORD) -> Settings:
        self._words.write_text(word + "\n")
        sasl = {"mechanism": mechanism, "username": "risk", "password_file": self._words}
        return Settings(kafka=KafkaSettings(bootstrap=self.login, sasl=SaslSettings.model_validate(sasl)))


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    directory = tmp_path_factory.mktemp("sasl")
    login = Login(free_port(), {"risk": WORD})
    kafka = NativeKafka(directory, login=login)
    kafka.start()
    try:
        at = ("--bootstrap-server", kafka.address, "--alter", "--entity-type", "users", "--entity-name", "risk")
        given = f"SCRAM-SHA-512=[password={WORD}]"
        command = [*java_command(), "kafka.admin.ConfigCommand", *at, "--add-config", given]
        subprocess.run(command, check=True, capture_output=True)
        yield Broker(kafka.address, f"127.0.0.1:{login.port}", directory / "word")
    finally:
        kafka.stop()


async def is_taken(settings: Settings) -> bool:
    """Whether the broker lets a client with these settings in."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka.bootstrap, **client_security(settings.kafka))
    try:
        await producer.start()
    except KafkaError:
        return False
    finally:
        await producer.stop()
    return True


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
async def test_name_and_password_then_let_in_and_by_no_other_word(broker: Broker, mechanism: str) -> None:
    assert await is_taken(broker.settings(mechanism))
    assert not await is_taken(broker.settings(mechanism, "another word"))


async def test_worker_then_serves_there_and_one_without_a_name_is_told_what_may_be_wrong(
    broker: Broker, tmp_path: Path
) -> None:
    await create_topics(broker.open_to_all, TOPICS)
    named = broker.settings("SCRAM-SHA-512").kafka.sasl
    words = {
        "TIDEMARK_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
        "TIDEMARK_KAFKA_SASL_USERNAME": named.username,
        "TIDEMARK_KAFKA_SASL_PASSWORD_FILE": str(named.password_file),
    }

    def risk(name: str, more: dict[str, str]) -> ServiceSpec:
        port = free_port()
        environment = {
            **os.environ,
            "TIDEMARK_KAFKA_BOOTSTRAP": broker.login,
            "TIDEMARK_REDIS_URL": "",
            "TIDEMARK_DATA_DIR": str(tmp_path / name),
            "TIDEMARK_WORKER_ID": name,
            "TIDEMARK_HTTP_PORT": str(port),
        }
        command = (sys.executable, "-P", "-m", "risk", "worker")
        return ServiceSpec(name, command, environment | more, port, tmp_path / f"{name}.log")

    async with Fleet([risk("named", words)]) as fleet:
        await fleet.wait_ready(timeout_s=READY_S)
    assert WORD not in (tmp_path / "named.log").read_text()

    async with Fleet([risk("nameless", {})]):
        async with asyncio.timeout(READY_S):
            while "TIDEMARK_KAFKA_SASL_MECHANISM" not in (tmp_path / "nameless.log").read_text():
                await asyncio.sleep(0.2)
