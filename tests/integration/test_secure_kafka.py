"""The log with identities, on a real broker: every service at every topic as the table says, and strangers refused."""

import asyncio
import contextlib
import os
import re
import socket
import ssl
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
from common.contracts.rights import COMMAND_LINE, TOPIC_RIGHTS, WORKERS
from common.contracts.topics import ORDERS_INTENTS, TOPICS
from common.fleet_topics import create_topics
from common.log_acls import acls
from common.redis_users import ADMIN
from parts.native_kafka import NativeKafka
from parts.ports import free_port
from streams.kafka.acls import create_acls
from streams.kafka.admin import reread_files
from streams.kafka.security import client_security
from streams.model.errors import Fatal
from streams.process.settings import Settings
from tidemark.authority import NAMES, SETTINGS, Authority
from tidemark.fleet import Fleet, ServiceSpec

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(400)]
SERVICES = (*WORKERS, "auditor", COMMAND_LINE)
READY_S = 180.0


class Secured:
    """A broker that knows nobody but by his certificate, with the fleet's topics and access control lists."""

    def __init__(self, authority: Authority, bootstrap: str) -> None:
        self.authority = authority
        self.bootstrap = bootstrap

    def settings(self, name: str, authority: Authority | None = None) -> Settings:
        given = (authority or self.authority).environment(name)
        return Settings.of({**given, "TIDEMARK_KAFKA_BOOTSTRAP": self.bootstrap, "TIDEMARK_REDIS_URL": ""})

    async def may_write(self, name: str, topic: str, transactional_id: str | None = None) -> bool:
        """Whether the broker takes a record, in a transaction that is then given up: the topic stays as it was."""
        owned = transactional_id or (f"{name}.matrix" if name in WORKERS else None)
        if name == COMMAND_LINE:
            owned = owned or "matrix"
        options = {"transactional_id": owned} if owned else {}
        producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap,
            request_timeout_ms=8_000,
            **options,
            **client_security(self.settings(name).kafka),
        )
        await producer.start()
        try:
            if owned:
                await producer.begin_transaction()
            sent = await producer.send(topic, b"{}", key=b"matrix", partition=0)
            await sent
            return True
        except KafkaError:  # without the right to describe it a topic is not even there, for which aiokafka has no word
            return False
        finally:
            if owned:
                with contextlib.suppress(KafkaError):
                    await producer.abort_transaction()
            await producer.stop()

    async def may_read(self, name: str, topic: str) -> bool:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap, auto_offset_reset="earliest", **client_security(self.settings(name).kafka)
        )
        await consumer.start()
        try:
            if topic not in await consumer.topics():
                return False
            consumer.assign([TopicPartition(topic, 0)])
            await consumer.getmany(timeout_ms=400)
            return True
        except TopicAuthorizationFailedError:
            return False
        finally:
            await consumer.stop()

    async def may_commit(self, name: str, group: str) -> bool:
        """Whether the broker takes a position of the group, of a topic that the service may read."""
        topic = next(topic for topic, rights in TOPIC_RIGHTS.items() if name in (*rights.readers, COMMAND_LINE))
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap, group_id=group, enable_auto_commit=False,
            **client_security(self.settings(name).kafka),
        )  # fmt: skip
        await consumer.start()
        try:
            where = TopicPartition(topic, 0)
            consumer.assign([where])
            async with asyncio.timeout(20):
                await consumer.commit({where: 0})
            return True
        except GroupAuthorizationFailedError:
            return False
        finally:
            await consumer.stop()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("secure"))
    made.issue(["localhost", "127.0.0.1"])
    return made


@pytest.fixture(scope="module")
def broker(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    kafka = NativeKafka(tmp_path_factory.mktemp("kafka"), certificates=authority.file("kafka", ""))
    kafka.start()
    try:
        yield kafka.address
    finally:
        kafka.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def secured(authority: Authority, broker: str) -> Secured:
    made = Secured(authority, broker)
    with pytest.MonkeyPatch.context() as patch:
        for variable, path in authority.environment(ADMIN).items():
            patch.setenv(variable, path)
        await create_topics(broker, TOPICS)
    await create_acls(made.settings(ADMIN), acls())
    return made


@pytest.mark.slow
async def test_services_at_topics_then_as_the_table_says(secured: Secured) -> None:
    """Every topic of the table by every service, read and written."""
    wrong = []
    for topic, rights in TOPIC_RIGHTS.items():
        tried = await asyncio.gather(*(secured.may_write(name, topic) for name in SERVICES))
        seen = await asyncio.gather(*(secured.may_read(name, topic) for name in SERVICES))
        for name, written, read in zip(SERVICES, tried, seen, strict=True):
            if written != (name in rights.writers):
                wrong.append(f"{name} writes {topic}: {written}")
            if read != (name in rights.readers or name == COMMAND_LINE):
                wrong.append(f"{name} reads {topic}: {read}")
    assert not wrong


async def test_services_at_groups_then_each_is_in_its_own_and_in_no_other_s(secured: Secured) -> None:
    for owner in WORKERS:
        allowed = await asyncio.gather(*(secured.may_commit(name, f"{owner}.matrix") for name in SERVICES))
        assert [name for name, is_in in zip(SERVICES, allowed, strict=True) if is_in] == [owner]


async def test_transactional_id_of_another_service_then_it_cannot_be_shut_out(secured: Secured) -> None:
    for name, other in (("orders", "risk.gate.0"), ("risk", "orders.lifecycle.0"), ("auditor", "risk.gate.0")):
        topic = next(topic for topic, rights in TOPIC_RIGHTS.items() if name in rights.writers)
        with contextlib.suppress(TransactionalIdAuthorizationFailed):
            assert not await secured.may_write(name, topic, transactional_id=other)


async def test_strangers_then_neither_the_clear_nor_another_authority_gets_a_word(
    secured: Secured, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "other")
    other.issue(["127.0.0.1"])
    theirs = secured.settings("risk", other).kafka
    nobody = secured.settings("risk").kafka.model_copy(update={"certificate_file": None, "key_file": None})
    forged = theirs.model_copy(update={"ca_file": secured.authority.file("risk", "ca.pem")})
    for options in ({}, *map(client_security, (nobody, forged, theirs))):
        producer = AIOKafkaProducer(bootstrap_servers=secured.bootstrap, request_timeout_ms=3_000, **options)
        with pytest.raises((KafkaError, OSError)):
            async with asyncio.timeout(20):
                await producer.start()
        await producer.stop()


async def test_certificates_when_issued_anew_then_the_next_connection_takes_them(secured: Secured) -> None:
    before = secured.settings("risk").kafka.certificate_file
    assert before is not None
    old = before.read_bytes()
    secured.authority.issue(["localhost", "127.0.0.1"])
    assert before.read_bytes() != old
    assert await secured.may_read("risk", ORDERS_INTENTS.name)


def shown_by(secured: Secured) -> bytes:
    """Certificate that the broker shows to whoever connects now."""
    host, _, port = secured.bootstrap.partition(":")
    own = secured.authority.file("risk", "")
    tls = ssl.create_default_context(cafile=own / "ca.pem")
    tls.load_cert_chain(own / "certificate.pem", own / "key.pem")
    with (
        socket.create_connection((host, int(port)), 20) as plain,
        tls.wrap_socket(plain, server_hostname=host) as spoken,
    ):
        return spoken.getpeercert(binary_form=True) or b""


async def test_broker_when_its_own_certificate_is_issued_anew_then_it_shows_it_without_a_restart(
    secured: Secured,
) -> None:
    before = await asyncio.to_thread(shown_by, secured)
    secured.authority.issue(["localhost", "127.0.0.1"])
    assert await asyncio.to_thread(shown_by, secured) == before, "nobody has told it yet"
    await reread_files(secured.settings(ADMIN))
    async with asyncio.timeout(30):
        while (after := await asyncio.to_thread(shown_by, secured)) == before:
            await asyncio.sleep(0.1)
    issued = secured.authority.file("kafka", "broker.pem").read_text().partition("-----BEGIN CERTIFICATE-----")
    assert after == ssl.PEM_cert_to_DER_cert("".join(issued[1:]))
    assert await secured.may_read("risk", ORDERS_INTENTS.name)


async def test_broker_when_a_service_tells_it_to_read_its_files_then_refused(secured: Secured) -> None:
    with pytest.raises(Fatal, match="Authorization"):
        await reread_files(secured.settings("risk"))


async def test_files_then_their_owner_alone_reads_them(authority: Authority) -> None:
    directories = [authority.directory, *authority.directory.iterdir()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in directories} == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in authority.directory.glob("*/*")} == {0o600}
    assert {path.parent.name for path in authority.directory.glob(f"*/{SETTINGS}")} == set(NAMES)


async def test_files_of_a_service_then_no_other_s_are_among_its_settings(authority: Authority) -> None:
    """Its directory is all that it needs, so that it can be given to it alone."""
    for name in NAMES:
        text = authority.file(name, SETTINGS).read_text()
        assert set(re.findall(rf"{re.escape(str(authority.directory))}/([a-z]+)", text)) == {name}


@pytest.mark.slow
@pytest.mark.parametrize("service", ["risk", "signals"])
async def test_service_when_it_has_its_own_rights_alone_then_it_serves_its_partitions(
    secured: Secured, service: str, tmp_path: Path
) -> None:
    """Lists hold all that a stage asks of the broker: claims, changelogs, groups, transactions."""
    port = free_port()
    environment = {
        **os.environ,
        **secured.authority.environment(service),
        "TIDEMARK_KAFKA_BOOTSTRAP": secured.bootstrap,
        "TIDEMARK_REDIS_URL": "",
        "TIDEMARK_DATA_DIR": str(tmp_path),
    }
    command = (sys.executable, "-P", "-m", service, "worker")
    spec = ServiceSpec(service, command, {**environment, "TIDEMARK_HTTP_PORT": str(port)}, port, tmp_path / "log")
    async with Fleet([spec]) as fleet:
        await fleet.wait_ready(timeout_s=READY_S)
