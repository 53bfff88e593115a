"""Apache Kafka in KRaft mode, one JVM per broker, each broker also a controller."""

import contextlib
import re
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from parts import probes
from parts.cache import cache_dir, cached
from parts.errors import PartsError
from parts.java import find_java, java_version
from parts.kafka_config import Jvm, broker_properties, new_uuid
from parts.kafka_jars import kafka_jars
from parts.native import HOST, STOP_GRACE_S, NativePart
from parts.ports import LOWEST, free_port
from parts.processes import run_once

ARCHIVE_GRACE_S: Final = 60.0
META: Final = "meta.properties"
"""By this file of its data a node is known again."""
BROKERS_MAX: Final = 3
LOG4J: Final = Path(__file__).with_name("log4j2.yaml")


@dataclass(frozen=True, slots=True)
class Login:
    """A listener at which a client says a name and a password, in the clear (SASL_PLAINTEXT)."""

    port: int
    users: Mapping[str, str]
    """Name → password, by the mechanism PLAIN. Those of SCRAM are kept by the broker: ``kafka-configs`` makes them."""

    def properties(self, others: Mapping[str, str]) -> dict[str, str]:
        """Properties of the listener beside those of the others."""
        where = f",LOGIN://{HOST}:{self.port}"
        users = " ".join(f'user_{name}="{word}"' for name, word in self.users.items())
        known = "org.apache.kafka.common.security"
        return {
            "listeners": others["listeners"] + where,
            "advertised.listeners": others["advertised.listeners"] + where,
            "listener.security.protocol.map": others["listener.security.protocol.map"] + ",LOGIN:SASL_PLAINTEXT",
            "listener.name.login.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
            "listener.name.login.plain.sasl.jaas.config": f"{known}.plain.PlainLoginModule required {users};",
            "listener.name.login.scram-sha-512.sasl.jaas.config": f"{known}.scram.ScramLoginModule required;",
        }


@dataclass(frozen=True, slots=True)
class SecondHost:
    """An address of this machine that another host can reach, and a port there for every broker."""

    address: str
    ports: tuple[int, ...]


def tls_properties(certificates: Path) -> dict[str, str]:
    """Clients speak TLS and say by a certificate who they are; what no list allows them is denied.

    ``certificates`` has ``broker.pem``, a PKCS#8 key (Kafka takes no other) and the certificate, and ``ca.pem``. The
    controller's listener is this machine's own.
    """
    return {
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:SSL",
        "ssl.client.auth": "required",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(certificates / "broker.pem"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(certificates / "ca.pem"),
        "ssl.principal.mapping.rules": "RULE:^CN=([a-z-]+).*$/$1/,DEFAULT",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "false",
        "super.users": "User:broker;User:admin;User:ANONYMOUS",
    }


def server_properties(
    node: int,
    ports: list[tuple[int, int]],
    data: Path,
    second: SecondHost | None = None,
    certificates: Path | None = None,
) -> dict[str, str]:
    """Configuration of broker ``node`` (from 1); ``ports`` are (client, controller) of every broker."""
    client, controller = ports[node - 1]
    properties = broker_properties(len(ports))
    clients = f"PLAINTEXT://{HOST}:{client}"
    if second is not None:
        # Whoever connects through this listener is told the other brokers' addresses on it, too.
        clients += f",SECOND://{second.address}:{second.ports[node - 1]}"
        properties["listener.security.protocol.map"] += ",SECOND:PLAINTEXT"
    return {
        **properties,
        **(tls_properties(certificates) if certificates else {}),
        "node.id": str(node),
        "controller.quorum.voters": ",".join(f"{index}@{HOST}:{each[1]}" for index, each in enumerate(ports, 1)),
        "listeners": f"{clients},CONTROLLER://{HOST}:{controller}",
        "advertised.listeners": clients,
        "log.dirs": str(data),
    }


@cache
def java_command() -> tuple[str, ...]:
    """The JVM with Kafka's classes; what a caller adds comes behind. Raises PartsError."""
    options = ("-XX:-UsePerfData", f"-Dlog4j2.configurationFile={LOG4J}", "-cp", f"{kafka_jars()}/*")
    return (str(find_java()), *options)


@cache
def class_archive() -> Path:
    """Archive of loaded classes, whether it is there yet or not: with it the broker starts in half the time.

    The first broker that is stopped in order writes it. An archive that does not fit is ignored by the JVM.
    """
    version = re.sub(r"[^0-9.]+", "-", java_version(Path(java_command()[0]))[1])
    return cache_dir() / f"{kafka_jars().name}-java-{version}.jsa"


def format_template() -> Path:
    """A directory as Kafka's storage tool formats one; the same for every cluster but for ``meta.properties``."""
    return cached(f"{kafka_jars().name}-format", _format)


def _format(directory: Path) -> None:
    properties = directory.parent / "server.properties"
    properties.write_text(_as_text(server_properties(1, [(LOWEST, LOWEST + 1)], directory / "data")), encoding="utf-8")
    tool = [*java_command(), "kafka.tools.StorageTool", "format", "-t", new_uuid(), "-c", str(properties)]
    run_once([tool[0], *Jvm.START.value, *tool[1:]], log=directory / "format.log")


def _as_text(properties: Mapping[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in properties.items())


class NativeKafkaNode(NativePart):
    """One broker of a cluster of ``len(ports)``."""

    def __init__(
        self,
        directory: Path,
        node: int,
        ports: list[tuple[int, int]],
        cluster_id: str,
        jvm: Jvm,
        second: SecondHost | None = None,
        certificates: Path | None = None,
        login: Login | None = None,
    ) -> None:
        self.name = f"kafka-{node}" if len(ports) > 1 else "kafka"
        super().__init__(directory, ports[node - 1][0])
        self._node, self._ports, self._cluster_id, self._jvm = node, ports, cluster_id, jvm
        self._second = second
        self._certificates = certificates
        self._login = login
        self._properties = directory / "server.properties"
        self._new_archive = directory / "classes.jsa"

    def prepare(self) -> None:
        data = self.directory / "data"
        properties = server_properties(self._node, self._ports, data, self._second, self._certificates)
        if self._login is not None:
            properties |= self._login.properties(properties)
        self._properties.write_text(_as_text(properties), encoding="utf-8")
        if (data / META).exists():
            return
        shutil.rmtree(data, ignore_errors=True)
        shutil.copytree(format_template() / "data", data, ignore=shutil.ignore_patterns(META))
        meta = {"version": "1", "cluster.id": self._cluster_id, "node.id": str(self._node), "directory.id": new_uuid()}
        (data / META).write_text(_as_text(meta), encoding="utf-8")

    def command(self) -> list[str]:
        java, *options = java_command()
        archive = class_archive()
        use = (
            f"-XX:SharedArchiveFile={archive}" if archive.exists() else f"-XX:ArchiveClassesAtExit={self._new_archive}"
        )
        return [java, *self._jvm.value, use, *options, "kafka.Kafka", str(self._properties)]

    def stop(self) -> None:
        writes_archive = not class_archive().exists()
        if self.stop_in_order(ARCHIVE_GRACE_S if writes_archive else STOP_GRACE_S) and writes_archive:
            with contextlib.suppress(OSError):  # not written, or the cache lies on another file system: no harm
                self._new_archive.rename(class_archive())

    def ready(self) -> bool:
        if self._certificates is not None:
            return probes.accepts(self.port)
        return probes.kafka_brokers(self.port) >= len(self._ports)

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"


class NativeKafka:
    """A cluster of one or three brokers, started and stopped together."""

    def __init__(
        self,
        directory: Path,
        *,
        brokers: int = 1,
        port: int | None = None,
        jvm: Jvm = Jvm.START,
        second_host: str = "",
        certificates: Path | None = None,
        login: Login | None = None,
    ) -> None:
        """``certificates``: a directory as ``tls_properties`` wants it; else clients speak in the clear.

        ``login``: one more way in, of the one broker.
        """
        if brokers not in (1, BROKERS_MAX):
            raise PartsError(f"brokers must be 1 or 3, not {brokers}: a quorum is odd")
        ports = [(port + index if port else free_port(), free_port()) for index in range(brokers)]
        cluster_id = new_uuid()
        self.second = SecondHost(second_host, tuple(free_port() for _ in ports)) if second_host else None
        self.nodes = [
            NativeKafkaNode(directory / str(node), node, ports, cluster_id, jvm, self.second, certificates, login)
            for node in range(1, brokers + 1)
        ]
        self._directory = directory

    def start(self) -> None:
        """Raises PartsError where a node does not start, or the directory has the data of more or fewer brokers."""
        kept = sum((self._directory / str(node) / "data" / META).exists() for node in range(1, BROKERS_MAX + 1))
        if kept not in (0, len(self.nodes)):
            raise PartsError(f"{self._directory} has the data of {kept} brokers, not of {len(self.nodes)}")
        format_template()  # before any node: what has to be fetched is fetched once
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            list(pool.map(lambda node: node.start(), self.nodes))

    def stop(self) -> None:
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            list(pool.map(lambda node: node.stop(), self.nodes))

    def kill(self) -> None:
        for node in self.nodes:
            node.kill()

    def wipe(self) -> None:
        for node in self.nodes:
            node.wipe()

    @property
    def pid(self) -> int:
        return self.nodes[0].pid

    @property
    def address(self) -> str:
        return ",".join(node.address for node in self.nodes)

    @property
    def second_address(self) -> str:
        """As ``address``, for clients on the other host; empty where there is none."""
        return ",".join(f"{self.second.address}:{port}" for port in self.second.ports) if self.second else ""
