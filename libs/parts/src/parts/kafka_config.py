"""Configuration of a Kafka broker, natively and in a container."""

import base64
import uuid
from enum import Enum


class Jvm(Enum):
    """Purpose that the broker's JVM is tuned for."""

    START = ("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
    """Quick to start and small: tests, and a fleet on a few cores, where compiling hot code fully would take one
    of them for the first minutes."""
    THROUGHPUT = ("-Xms1g", "-Xmx1g", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20")
    """Compiles hot code fully: benches of throughput."""


def new_uuid() -> str:
    """A Kafka uuid: 16 random bytes in URL-safe base64, not beginning with a dash."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return text


def broker_properties(brokers: int) -> dict[str, str]:
    """Properties of a combined broker and controller that do not depend on where it runs."""
    replicas = str(min(3, brokers))
    in_sync = "2" if brokers >= 3 else "1"
    return {
        "process.roles": "broker,controller",
        "inter.broker.listener.name": "PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": "0",
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": replicas,
        "offsets.topic.num.partitions": "10",
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "transaction.state.log.num.partitions": "10",
        "add.partitions.to.txn.retry.backoff.ms": "1",
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
        # A killed broker that comes back may register again only when its old session is over.
        "broker.heartbeat.interval.ms": "500",
        "broker.session.timeout.ms": "3000",
        "log.cleaner.dedupe.buffer.size": "20000000",
    }
