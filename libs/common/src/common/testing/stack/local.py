"""The local stack: the parts that tests, the demo and ``tidemark up`` run against. Always the real thing."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from common.testing.stack.errors import PartsError
from common.testing.stack.native import NativePostgres, NativeRedis
from common.testing.stack.native_kafka import Jvm, NativeKafka
from common.testing.stack.part import Part

PARTS: Final = frozenset({"kafka", "redis", "postgres"})


@dataclass(frozen=True, slots=True)
class Stack:
    """Where the parts answer; empty for a part that was not asked for."""

    kafka_bootstrap: str = ""
    redis_url: str = ""
    postgres_dsn: str = ""
    jaeger_url: str = ""
    """Base URL of Jaeger's query API and page."""
    otlp_endpoint: str = ""
    """Base URL for OTLP over HTTP."""


class LocalStack:
    """Starts, kills and stops the parts.

    ``ports`` fixes a part's port (``{"kafka": 9092}``). Data lie in ``data_dir``, or in a temporary directory, and
    are removed by ``stop`` unless ``keep``. All methods are synchronous and may be called from any thread.
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
    ) -> None:
        self._names = frozenset(parts)
        if unknown := self._names - PARTS:
            raise PartsError(f"no such part: {', '.join(sorted(unknown))}")
        self._data_dir, self._keep, self._brokers, self._ports, self._jvm = data_dir, keep, brokers, ports or {}, jvm
        self._parts: dict[str, Part] = {}
        self._root: Path | None = None

    def start(self) -> Stack:
        """Starts the parts side by side; returns when each answers its own protocol. Raises PartsError."""
        if self._parts:
            raise PartsError("the stack is running already")
        self._root = self._data_dir or Path(tempfile.mkdtemp(prefix="tidemark-stack-"))
        self._root.mkdir(parents=True, exist_ok=True)
        self._parts = {name: self._make(name, self._root / name) for name in sorted(self._names)}
        try:
            with ThreadPoolExecutor(max(1, len(self._parts))) as pool:
                list(pool.map(lambda part: part.start(), self._parts.values()))
        except BaseException:
            self.stop()
            raise
        return self.addresses

    def _make(self, name: str, directory: Path) -> Part:
        port = self._ports.get(name)
        if name == "kafka":
            return NativeKafka(directory, brokers=self._brokers, port=port, jvm=self._jvm)
        return NativeRedis(directory, port) if name == "redis" else NativePostgres(directory, port)

    @property
    def addresses(self) -> Stack:
        """Where the parts answer."""
        at = {name: part.address for name, part in self._parts.items()}
        return Stack(
            kafka_bootstrap=at.get("kafka", ""), redis_url=at.get("redis", ""), postgres_dsn=at.get("postgres", "")
        )

    def stop(self) -> None:
        """Stops what runs, and removes the data unless they are to be kept."""
        with contextlib.ExitStack() as stopping:
            for part in self._parts.values():
                stopping.callback(part.stop)
        if self._root is not None and not self._keep:
            for name in self._parts:
                shutil.rmtree(self._root / name, ignore_errors=True)
            if self._data_dir is None:
                shutil.rmtree(self._root, ignore_errors=True)
        self._parts = {}

    def part(self, name: str) -> Part:
        """A running part by name. Raises PartsError."""
        try:
            return self._parts[name]
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
