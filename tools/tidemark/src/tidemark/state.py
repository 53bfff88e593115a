"""The state directory: what runs where, for the commands that come after ``up`` or ``demo``.

.tidemark/
  fleet.json   who supervises (pid and start time), the addresses of the parts and services, the control socket
  logs/        one file per service
  data/        stores and snapshots of the services
  parts/       data of the local Kafka, Redis and PostgreSQL
  secure/      certificates and passwords of everybody, with the authority: readable to the directory's owner only
  access/      keys that sign tokens, people, keys of programs: readable to the directory's owner only
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from tidemark.errors import StateError as StateError
from tidemark.process import is_running, start_ticks

DEFAULT_STATE_DIR: Final = Path(".tidemark")
DEMO_STATE: Final = "demo"
"""Below a state directory: the demo's own, which it empties each time."""
STATE_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Addresses:
    """Addresses of parts and services. Defaults are those of the compose files and of the services' settings."""

    kafka_bootstrap: str = "127.0.0.1:9092"
    redis_url: str = "redis://127.0.0.1:6379/0"
    postgres_dsn: str = "postgresql://tidemark@127.0.0.1:5432/tidemark"
    data_dir: str = ""
    """Directory in which the services of this machine keep their stores; empty: they run elsewhere."""


@dataclass(frozen=True, slots=True)
class FleetRecord:
    """``fleet.json``."""

    supervisor_pid: int
    supervisor_ticks: int
    addresses: Addresses
    services: dict[str, str]
    """Name → base URL."""
    control: str
    """Path of the control socket."""
    ready: bool = False
    traces: str = ""
    """URL at which Jaeger shows traces; empty: it was not asked for."""
    registry: str = ""
    """URL of the schema registry's API; empty: it was not asked for."""
    issuer: str = ""
    """URL of the fleet's own issuer; empty: nobody is asked who he is, or an issuer elsewhere is believed."""
    identity: str = ""
    """Settings file by which the command line is known to Kafka, Redis and PostgreSQL; empty: they ask nobody."""
    operations: dict[str, str] = field(default_factory=dict)
    """Name → base URL of metrics, health and descriptions, of services where they have one of their own."""

    def operations_url(self, service: str) -> str:
        """Base URL of its pages for operators. Raises KeyError where it is no service of the fleet."""
        return self.operations.get(service) or self.services[service]

    @property
    def alive(self) -> bool:
        """Whether the process that wrote the record still runs."""
        return is_running(self.supervisor_pid, self.supervisor_ticks)


class StateDir:
    """Paths and the record of one state directory."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    @property
    def record_path(self) -> Path:
        return self.root / "fleet.json"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def parts(self) -> Path:
        return self.root / "parts"

    @property
    def access(self) -> Path:
        return self.root / "access"

    @property
    def secure(self) -> Path:
        return self.root / "secure"

    def prepare(self) -> None:
        """Makes the directory, readable to its owner only, and ignored by git wherever it lies."""
        self.root.mkdir(parents=True, exist_ok=True)
        for path in (self.logs, self.data):
            path.mkdir(exist_ok=True)
        ignore = self.root / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", encoding="utf-8")

    def read(self) -> FleetRecord | None:
        """The record, whether or not its fleet still runs; None where there is none. Raises StateError if damaged."""
        try:
            found: dict[str, Any] = json.loads(self.record_path.read_text(encoding="utf-8"))
            if found.pop("version") != STATE_VERSION:
                raise ValueError("written by another version")
            return FleetRecord(addresses=Addresses(**found.pop("addresses")), **found)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise StateError(f"{self.record_path} is damaged ({error}); remove it") from error

    def running(self) -> FleetRecord | None:
        """The record of a fleet that still runs here, or else of a demo below."""
        record = self.read()
        if record is not None and record.alive:
            return record
        demo = self.root / DEMO_STATE
        return StateDir(demo).running() if (demo / self.record_path.name).exists() else None

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        """Keeps every other fleet out of the directory. Raises StateError where one is in it."""
        with (self.root / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StateError(
                    f"a fleet runs in {self.root} already: stop it with `tidemark down`, or choose another --state-dir"
                ) from None
            try:
                yield
            finally:
                self.record_path.unlink(missing_ok=True)

    def write(self, record: FleetRecord) -> None:
        """Replaces the record in one step."""
        partial = self.record_path.with_suffix(".part")
        text = json.dumps({"version": STATE_VERSION, **asdict(record)}, indent=2)
        partial.write_text(text + "\n", encoding="utf-8")
        partial.replace(self.record_path)


def record_of_this_process(addresses: Addresses, services: dict[str, str], control: str) -> FleetRecord:
    """A record that names this process as the supervisor."""
    pid = os.getpid()
    return FleetRecord(pid, start_ticks(pid), addresses, services, control)
