"""The parts in containers, through testcontainers. Containers of a killed run are removed by a guard process."""

import subprocess
import sys
import uuid
from abc import ABC, abstractmethod
from functools import cache
from pathlib import Path
from typing import Any, Final

from parts import probes
from parts.cache import tell
from parts.errors import PartsError
from parts.kafka_config import Jvm, broker_properties, new_uuid
from parts.native import HOST, POSTGRES_CONNECTIONS_MAX, POSTGRES_DATABASE, POSTGRES_USER
from parts.native_registry import CONFLUENT_PATH
from parts.ports import free_port, require_free

IMAGES: Final = {
    "kafka": "apache/kafka:4.3.0",
    "redis": "redis:7-bookworm",
    "postgres": "postgres:15-bookworm",
    "jaeger": "jaegertracing/jaeger:2.13.0",
    "registry": "apicurio/apicurio-registry:3.3.3",
}
CONFIGURATION: Final = "/opt/kafka/config /etc/kafka/docker"
LABEL: Final = "tidemark.stack"
READY_TIMEOUT_S: Final = 90.0
STOP_GRACE_S: Final = 15
ENGINE_TIMEOUT_S: Final = 60
GUARD: Final = Path(__file__).with_name("guard.py")


@cache
def _engine() -> Any:
    import docker

    return docker.from_env(timeout=ENGINE_TIMEOUT_S)


def why_not_docker(names: frozenset[str]) -> str | None:
    """Why the parts cannot run in containers without pulling anything; None where they can."""
    try:
        import docker
        import testcontainers  # noqa: F401
    except ImportError as error:
        return f"the Python package {error.name} is not installed"
    try:
        engine = _engine()
        engine.ping()
        missing = []
        for name in sorted(names):
            try:
                engine.images.get(IMAGES[name])
            except docker.errors.ImageNotFound:
                missing.append(IMAGES[name])
    except docker.errors.DockerException as error:
        return f"no docker daemon answers: {error}"
    return f"the images {', '.join(missing)} are not on this machine" if missing else None


def pull_missing(names: frozenset[str]) -> None:
    """Pulls the images that are not here. Raises PartsError."""
    import docker

    try:
        engine = _engine()
        engine.ping()
        for image in (IMAGES[name] for name in sorted(names)):
            try:
                engine.images.get(image)
            except docker.errors.ImageNotFound:
                tell(f"pulling {image}")
                engine.images.pull(*image.split(":"))
    except docker.errors.DockerException as error:
        raise PartsError(
            f"docker cannot be used: {error}\nWhat to do: start the daemon or make its registry reachable, or run the "
            "parts as processes (TIDEMARK_PARTS=native)."
        ) from error


class Guard:
    """Removes every container with our label when this process is gone: the other end of its standard input."""

    def __init__(self) -> None:
        self.label = uuid.uuid4().hex
        self._popen = subprocess.Popen(
            [sys.executable, "-I", str(GUARD), f"{LABEL}={self.label}"], stdin=subprocess.PIPE, start_new_session=True
        )

    def release(self) -> None:
        """Lets the guard end, which removes what is left."""
        self._popen.communicate()


class ContainerPart(ABC):
    """A part that is one container on a fixed host port; its data live in the container until it is removed."""

    name: str
    container_port: int

    def __init__(self, label: str, port: int | None = None) -> None:
        self.port = port or free_port(HOST)
        self._label = label
        self._container: Any = None

    def published(self) -> dict[int, int]:
        """Port in the container → port of this machine."""
        return {self.container_port: self.port}

    @abstractmethod
    def configure(self, container: Any) -> None:
        """Environment and command."""

    @abstractmethod
    def ready(self) -> bool:
        """Asks once by protocol. Raises OSError where nothing answers."""

    @property
    @abstractmethod
    def address(self) -> str: ...

    def start(self) -> None:
        if self._running():
            raise PartsError(f"{self.name} is running already")
        require_free(self.port, self.name)
        if self._container is None:
            self._container = self._create()
        else:
            self._container.get_wrapped_container().start()
        try:
            probes.wait_ready(self.name, self.ready, timeout_s=READY_TIMEOUT_S, ended=self._ended)
        except BaseException:
            self.kill()
            raise

    def _create(self) -> Any:
        from testcontainers.core.config import testcontainers_config
        from testcontainers.core.container import DockerContainer

        testcontainers_config.ryuk_disabled = True  # its image is one more to have; the guard does its work
        container: Any = DockerContainer(IMAGES[self.name])
        for inside, outside in self.published().items():
            container.ports[f"{inside}/tcp"] = (HOST, outside)  # with_bind_ports binds every interface
        container.with_kwargs(labels={LABEL: self._label})
        self.configure(container)
        return container.start()

    def _running(self) -> bool:
        if self._container is None:
            return False
        wrapped = self._container.get_wrapped_container()
        wrapped.reload()
        return bool(wrapped.attrs["State"]["Running"])

    def _ended(self) -> str | None:
        if self._running():
            return None
        log: bytes = self._container.get_wrapped_container().logs(tail=15)
        return "its container's log ends with\n" + log.decode("utf-8", "replace")

    def stop(self) -> None:
        if self._running():
            self._container.get_wrapped_container().stop(timeout=STOP_GRACE_S)

    def kill(self) -> None:
        if self._running():
            wrapped = self._container.get_wrapped_container()
            wrapped.kill("SIGKILL")
            wrapped.wait(timeout=ENGINE_TIMEOUT_S)

    def wipe(self) -> None:
        if self._running():
            raise PartsError(f"{self.name} runs; its data stay")
        self.remove()

    def remove(self) -> None:
        """Removes the container and its volumes."""
        if self._container is not None:
            self._container.get_wrapped_container().remove(force=True, v=True)
            self._container = None

    @property
    def pid(self) -> int:
        if not self._running():
            raise PartsError(f"{self.name} does not run")
        return int(self._container.get_wrapped_container().attrs["State"]["Pid"])


class ContainerKafka(ContainerPart):
    """One broker. The host's port is chosen beforehand, so that it can be advertised."""

    name = "kafka"
    container_port = 9092

    def __init__(self, label: str, port: int | None = None, *, jvm: Jvm = Jvm.START) -> None:
        super().__init__(label, port)
        self._jvm = jvm
        self._cluster_id = new_uuid()

    def configure(self, container: Any) -> None:
        properties = {
            **broker_properties(1),
            "node.id": "1",
            "controller.quorum.voters": "1@localhost:9093",
            "listeners": "PLAINTEXT://:19092,CONTROLLER://:9093,HOST://:9092",
            "advertised.listeners": f"PLAINTEXT://localhost:19092,HOST://{HOST}:{self.port}",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,HOST:PLAINTEXT",
        }
        for name, value in properties.items():
            container.with_env(f"KAFKA_{name.upper().replace('.', '_')}", value)
        heap = [option for option in self._jvm.value if option.startswith("-Xm")]
        container.with_env("KAFKA_HEAP_OPTS", " ".join(heap))
        container.with_env("KAFKA_JVM_PERFORMANCE_OPTS", " ".join(o for o in self._jvm.value if o not in heap))
        container.with_env("CLUSTER_ID", self._cluster_id)
        # The image rewrites its configuration at every start, which one built from read-only sources could not.
        container.with_command(["bash", "-c", f"chmod -R u+w {CONFIGURATION}; exec /etc/kafka/docker/run"])

    def ready(self) -> bool:
        return probes.kafka_brokers(self.port) >= 1

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"


class ContainerRedis(ContainerPart):
    """Redis, appending to a file like the native one."""

    name = "redis"
    container_port = 6379

    def configure(self, container: Any) -> None:
        container.with_command(["redis-server", "--save", "", "--appendonly", "yes", "--appendfsync", "no"])

    def ready(self) -> bool:
        return probes.redis_answers(self.port)

    @property
    def address(self) -> str:
        return f"redis://{HOST}:{self.port}/0"


class ContainerPostgres(ContainerPart):
    """PostgreSQL, without a password on the loopback address like the native one."""

    name = "postgres"
    container_port = 5432

    def configure(self, container: Any) -> None:
        container.with_env("POSTGRES_USER", POSTGRES_USER).with_env("POSTGRES_DB", POSTGRES_DATABASE)
        container.with_env("POSTGRES_HOST_AUTH_METHOD", "trust")
        container.with_command(["-c", f"max_connections={POSTGRES_CONNECTIONS_MAX}", "-c", "fsync=off"])

    def ready(self) -> bool:
        # While the image initialises, its server listens inside the container only.
        return probes.postgres_query(self.port, "SELECT 1", user=POSTGRES_USER, database=POSTGRES_DATABASE)

    @property
    def address(self) -> str:
        return f"postgresql://{POSTGRES_USER}@{HOST}:{self.port}/{POSTGRES_DATABASE}"


class ContainerJaeger(ContainerPart):
    """Traces in memory: a restart forgets them."""

    name = "jaeger"
    container_port = 16686

    def __init__(self, label: str, port: int | None = None) -> None:
        super().__init__(label, port)
        self.otlp_port = free_port(HOST)

    def published(self) -> dict[int, int]:
        return {self.container_port: self.port, 4318: self.otlp_port}

    def configure(self, container: Any) -> None:
        container.with_env("JAEGER_LISTEN_HOST", "0.0.0.0")

    def ready(self) -> bool:
        return probes.listens(self.otlp_port) and probes.http_answers(f"{self.address}/api/services")

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def otlp_endpoint(self) -> str:
        """Base URL for OTLP over HTTP."""
        return f"http://{HOST}:{self.otlp_port}"


class ContainerRegistry(ContainerPart):
    """Schemas in memory: a restart forgets them."""

    name = "registry"
    container_port = 8080

    def configure(self, container: Any) -> None:
        container.with_env("APICURIO_STORAGE_KIND", "sql").with_env("APICURIO_STORAGE_SQL_KIND", "h2")

    def ready(self) -> bool:
        return probes.http_answers(f"{self.address}/subjects")

    @property
    def address(self) -> str:
        """Base URL of Confluent's API."""
        return f"http://{HOST}:{self.port}{CONFLUENT_PATH}"
