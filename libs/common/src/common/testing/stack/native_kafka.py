"""Apache Kafka in KRaft mode, one JVM per broker, each broker also a controller."""

import base64
import shutil
import uuid
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from pathlib import Path
from typing import Final

from common.testing.stack import probes
from common.testing.stack.errors import PartsError
from common.testing.stack.java import find_java
from common.testing.stack.kafka_jars import KAFKA_VERSION, kafka_jars
from common.testing.stack.native import HOST, NativePart
from common.testing.stack.ports import free_port
from common.testing.stack.processes import run_once

LOG4J: Final = Path(__file__).with_name("log4j2.yaml")


class Jvm(Enum):
    """What the broker's JVM is tuned for."""

    START = ("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
    """Quick to start and small: tests."""
    THROUGHPUT = ("-Xms1g", "-Xmx1g", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20")
    """Compiles hot code fully: demo and bench."""


def new_uuid() -> str:
    """A Kafka uuid: 16 random bytes in URL-safe base64, not beginning with a dash."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return text


def server_properties(node: int, ports: list[tuple[int, int]], data: Path) -> dict[str, str]:
    """Configuration of broker ``node`` (from 1); ``ports`` are (client, controller) of every broker."""
    brokers = len(ports)
    replicas = str(min(3, brokers))
    in_sync = "2" if brokers >= 3 else "1"
    client, controller = ports[node - 1]
    return {
        "process.roles": "broker,controller",
        "node.id": str(node),
        "controller.quorum.voters": ",".join(f"{index}@{HOST}:{each[1]}" for index, each in enumerate(ports, 1)),
        "listeners": f"PLAINTEXT://{HOST}:{client},CONTROLLER://{HOST}:{controller}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{client}",
        "inter.broker.listener.name": "PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "log.dirs": str(data),
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": "0",
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": replicas,
        "offsets.topic.num.partitions": "10",
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "transaction.state.log.num.partitions": "10",
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
        # A killed broker that comes back may register again only when its old session is over.
        "broker.heartbeat.interval.ms": "500",
        "broker.session.timeout.ms": "3000",
        "log.cleaner.dedupe.buffer.size": "20000000",
    }


class NativeKafkaNode(NativePart):
    """One broker of a cluster of ``len(ports)``."""

    def __init__(self, directory: Path, node: int, ports: list[tuple[int, int]], cluster_id: str, jvm: Jvm) -> None:
        self.name = f"kafka-{node}" if len(ports) > 1 else "kafka"
        super().__init__(directory, ports[node - 1][0])
        self._node, self._ports, self._cluster_id, self._jvm = node, ports, cluster_id, jvm
        self._properties = directory / "server.properties"

    def _java(self) -> list[str]:
        jars = f"{kafka_jars()}/*"
        return [
            str(find_java()),
            *self._jvm.value,
            "-XX:-UsePerfData",
            f"-Dlog4j2.configurationFile={LOG4J}",
            "-cp",
            jars,
        ]

    def prepare(self) -> None:
        data = self.directory / "data"
        lines = [f"{name}={value}" for name, value in server_properties(self._node, self._ports, data).items()]
        self._properties.write_text("\n".join(lines) + "\n", encoding="utf-8")
        if (data / "meta.properties").exists():
            return
        shutil.rmtree(data, ignore_errors=True)
        command = [
            *self._java(),
            "kafka.tools.StorageTool",
            "format",
            "-t",
            self._cluster_id,
            "-c",
            str(self._properties),
        ]
        run_once(command, log=self.directory / "format.log")

    def command(self) -> list[str]:
        return [*self._java(), "kafka.Kafka", str(self._properties)]

    def ready(self) -> bool:
        return probes.kafka_brokers(self.port) >= len(self._ports)

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"


class NativeKafka:
    """A cluster of one or three brokers, started and stopped together."""

    def __init__(self, directory: Path, *, brokers: int = 1, port: int | None = None, jvm: Jvm = Jvm.START) -> None:
        if brokers not in (1, 3):
            raise PartsError(f"brokers must be 1 or 3, not {brokers}: a quorum is odd")
        ports = [(port + index if port else free_port(), free_port()) for index in range(brokers)]
        cluster_id = new_uuid()
        self.nodes = [
            NativeKafkaNode(directory / str(node), node, ports, cluster_id, jvm) for node in range(1, brokers + 1)
        ]
        self._directory = directory

    def start(self) -> None:
        kafka_jars()  # before any node: fetched once, with one progress line
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


__all__ = ["KAFKA_VERSION", "Jvm", "NativeKafka", "NativeKafkaNode"]
