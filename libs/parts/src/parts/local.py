"""The local stack: the parts that tests, the demo and ``tidemark up`` run against. Always the real thing."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from parts.containers import (
    ContainerJaeger,
    ContainerKafka,
    ContainerPart,
    ContainerPostgres,
    ContainerRedis,
    ContainerRegistry,
    Guard,
)
from parts.errors import PartsError
from parts.homes import Home
from parts.kafka_config import Jvm
from parts.native import NativePostgres, NativeRedis, Secured
from parts.native_jaeger import NativeJaeger
from parts.native_kafka import NativeKafka
from parts.native_registry import NativeRegistry
from parts.part import Part
from parts.provider import choose_provider

PARTS: Final = frozenset({"kafka", "redis", "postgres"})
"""Parts that are started unless told otherwise."""
OPTIONAL: Final = frozenset({"jaeger", "registry"})
"""Parts that are started on request: Jaeger is compiled on first use where it is not installed."""


@dataclass(frozen=True, slots=True)
class Stack:
    """Addresses of the parts; empty for a part that was not asked for."""

    kafka_bootstrap: str = ""
    redis_url: str = ""
    postgres_dsn: str = ""
    jaeger_url: str = ""
    """Base URL of Jaeger's query API and page."""
    otlp_endpoint: str = ""
    """Base URL for OTLP over HTTP."""
    schema_registry_url: str = ""
    """Base URL of the schema registry's Confluent API."""
    second_kafka_bootstrap: str = ""
    """The same brokers for clients on ``second_host``; empty where there is none."""
    second_redis_url: str = ""


class LocalStack:
    """Starts, kills and stops the parts.

    ``ports`` fixes a part's port (``{"kafka": 9092}``). Data lie in ``data_dir``, or in a temporary directory, and
    are removed by ``stop`` unless ``keep``. ``provider`` is native, docker or auto, by default what the environment
    variable TIDEMARK_PARTS says. All methods are synchronous and may be called from any thread, one at a time.
    ``second_host`` is an address of this machine where Kafka and Redis answer as well, for clients in another network
    namespace; with it, with ``keep``, with ``secure`` and with more than one broker the parts are processes.

    ``secure``: directory with the files of ``kafka``, ``redis`` and ``postgres`` (``native.Secured``), each in one of
    its own, and of ``admin``, who looks whether they are ready. They then speak TLS alone, and know their clients.
    """

    def __init__(
        self,
        parts: Iterable[str] = PARTS,
        *,
        data_dir: Path | None = None,
        keep: bool = False,
        brokers: int = 1,
        ports: Mapping[str, int] | None = None,
        jvm: Jvm = Jvm.START,
        provider: str | None = None,
        second_host: str = "",
        secure: Path | None = None,
    ) -> None:
        self._names = frozenset(parts)
        if unknown := self._names - PARTS - OPTIONAL:
            raise PartsError(f"no such part: {', '.join(sorted(unknown))}")
        self._data_dir, self._keep, self._brokers, self._ports, self._jvm = data_dir, keep, brokers, ports or {}, jvm
        self._second_host = second_host
        self._secure = secure
        self._wanted_provider = provider or os.environ.get("TIDEMARK_PARTS") or "auto"
        self._parts: dict[str, Part] = {}
        self._home_path: Path | None = None
        self._cleanup = contextlib.ExitStack()

    def start(self) -> Stack:
        """Starts the parts side by side; returns when each answers its own protocol. Raises PartsError."""
        if self._parts:
            raise PartsError("the stack is running already")
        only_native = self._keep or self._brokers > 1 or bool(self._second_host) or self._secure is not None
        provider = choose_provider(self._wanted_provider, self._names, only_native=only_native)
        with contextlib.ExitStack() as undo:
            if provider == "docker":
                self._make_containers(undo)
            else:
                self._make_processes(undo)
            for part in self._parts.values():
                undo.callback(part.stop)
            with ThreadPoolExecutor(max(1, len(self._parts))) as pool:
                list(pool.map(lambda part: part.start(), self._parts.values()))
            self._cleanup = undo.pop_all()
        return self.addresses

    def _make_processes(self, undo: contextlib.ExitStack) -> None:
        home = Home.given(self._data_dir) if self._data_dir else Home.temporary()
        undo.callback(home.release, remove=not self._keep)
        self._home_path = home.path
        second = self._second_host
        makers: dict[str, Callable[[Path], Part]] = {
            "kafka": lambda at: NativeKafka(
                at,
                brokers=self._brokers,
                port=self._ports.get("kafka"),
                jvm=self._jvm,
                second_host=second,
                certificates=self._secure / "kafka" if self._secure else None,
            ),
            "redis": lambda at: NativeRedis(at, self._ports.get("redis"), second, self._secured("redis")),
            "postgres": lambda at: NativePostgres(at, self._ports.get("postgres"), self._secured("postgres")),
            "jaeger": lambda at: NativeJaeger(at, self._ports.get("jaeger")),
            "registry": lambda at: NativeRegistry(at, self._ports.get("registry")),
        }
        for name in sorted(self._names):
            directory = home.path / name
            self._parts[name] = makers[name](directory)
            if not self._keep:
                undo.callback(shutil.rmtree, directory, ignore_errors=True)

    def _secured(self, part: str) -> Secured | None:
        return Secured(self._secure / part, self._secure / "admin") if self._secure else None

    def _make_containers(self, undo: contextlib.ExitStack) -> None:
        guard = Guard()
        undo.callback(guard.release)
        makers: dict[str, Callable[[], ContainerPart]] = {
            "kafka": lambda: ContainerKafka(guard.label, self._ports.get("kafka"), jvm=self._jvm),
            "redis": lambda: ContainerRedis(guard.label, self._ports.get("redis")),
            "postgres": lambda: ContainerPostgres(guard.label, self._ports.get("postgres")),
            "jaeger": lambda: ContainerJaeger(guard.label, self._ports.get("jaeger")),
            "registry": lambda: ContainerRegistry(guard.label, self._ports.get("registry")),
        }
        for name in sorted(self._names):
            part = makers[name]()
            self._parts[name] = part
            undo.callback(part.remove)

    @property
    def addresses(self) -> Stack:
        """Addresses of the started parts."""
        at = {name: part.address for name, part in self._parts.items()}
        jaeger, kafka, redis = (self._parts.get(name) for name in ("jaeger", "kafka", "redis"))
        return Stack(
            kafka_bootstrap=at.get("kafka", ""),
            redis_url=at.get("redis", ""),
            postgres_dsn=at.get("postgres", ""),
            jaeger_url=at.get("jaeger", ""),
            otlp_endpoint=jaeger.otlp_endpoint if isinstance(jaeger, NativeJaeger | ContainerJaeger) else "",
            schema_registry_url=at.get("registry", ""),
            second_kafka_bootstrap=kafka.second_address if isinstance(kafka, NativeKafka) else "",
            second_redis_url=redis.second_address if isinstance(redis, NativeRedis) else "",
        )

    def stop(self) -> None:
        """Stops what runs, and removes the data unless they are to be kept."""
        self._cleanup.close()
        self._parts = {}

    def part(self, name: str) -> Part:
        """A part by name, or one broker of a cluster (``kafka-2``). Raises PartsError."""
        found = dict(self._parts)
        if isinstance(kafka := found.get("kafka"), NativeKafka):
            found.update({node.name: node for node in kafka.nodes if node.name != "kafka"})
        try:
            return found[name]
        except KeyError:
            raise PartsError(f"{name} is not a part of this stack, or the stack does not run") from None

    def kill(self, name: str) -> None:
        """SIGKILL; returns when the process is gone."""
        self.part(name).kill()

    def restart(self, name: str, *, wipe: bool = False) -> None:
        """Starts a killed part again (stops it first if it runs): same port, same data unless ``wipe``."""
        part = self.part(name)
        part.stop()
        if wipe:
            part.wipe()
        part.start()

    def take_files(self) -> None:
        """Gives secured parts their files as they are now; that they read them is for a client of theirs to ask."""
        for part in self._parts.values():
            if isinstance(part, NativePostgres):
                part.take_files()

    def pid(self, name: str) -> int:
        """The process id of a part (of a cluster: its first broker). Raises PartsError where it does not run."""
        return self.part(name).pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
