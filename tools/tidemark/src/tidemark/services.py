"""Command and environment of each service of the fleet on this machine."""

import os
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from streams.process.settings_tree import FILE_VARIABLE

from tidemark.authority import SETTINGS
from tidemark.fleet import ServiceSpec
from tidemark.ports import operations_of
from tidemark.state import Addresses, StateDir

SERVICES: Final = ("ingest", "signals", "risk", "orders", "push")
FLEET: Final = (*SERVICES, "auditor")
"""Services that `up` and `demo` run: the fleet, and who watches its stores."""
NICE: Final = {"ingest": 8, "signals": 5, "auditor": 10}
"""Niceness by service: where cores are few, orders go before ticks: a feed at full speed takes only what is left.

Signals stands back less than ingest: it has to work off what ingest brings, for without fresh marks the gate denies.
"""
ORDERS_APART: Final[Mapping[str, str]] = {"orders": "api", "orders-worker": "worker", "orders-projection": "projection"}
"""Processes of the orders service where each of its parts has one of its own, and that part. The one that clients reach
keeps the service's name."""
HOST: Final = "127.0.0.1"
OPERATIONS_PORT: Final = "TIDEMARK_OPERATIONS_PORT"


@dataclass(frozen=True, slots=True)
class FleetOptions:
    """Options of the fleet."""

    ports: Mapping[str, int]
    """By service; and by ``operations_of(service)`` where its pages for operators have one of their own."""
    feed: Mapping[str, str] = field(default_factory=dict)
    """Environment of ingest: which feed, how fast."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Laid over every service's environment."""
    services: tuple[str, ...] = SERVICES
    identities: Path | None = None
    """Directory of an authority (``tidemark.authority``): each service takes the settings of its own there."""
    orders_apart: bool = False
    """Run each part of the orders service as a process of its own."""

    def processes(self) -> Iterator[tuple[str, str]]:
        """Name of each process, and the service that it runs."""
        for service in self.services:
            for name in ORDERS_APART if self.orders_apart and service == "orders" else (service,):
                yield name, service


def with_stages(service: str, processes: Collection[str]) -> str:
    """Name of the process that runs the service's stages, among those of a fleet."""
    worker = next(name for name, role in ORDERS_APART.items() if role == "worker")
    return worker if service == "orders" and worker in processes else service


def service_specs(where: Addresses, state: StateDir, options: FleetOptions) -> list[ServiceSpec]:
    """The specs of all services. What the caller's environment says of ``TIDEMARK_*`` holds where nothing is chosen."""
    is_open = options.identities is None
    shared = {
        # One port for all of them would be nobody's.
        **{name: value for name, value in os.environ.items() if name != OPERATIONS_PORT},
        "TIDEMARK_KAFKA_BOOTSTRAP": where.kafka_bootstrap,
        **({"TIDEMARK_REDIS_URL": where.redis_url} if is_open else {}),
        "TIDEMARK_DATA_DIR": str(state.data),
        "TIDEMARK_HTTP_HOST": HOST,
        # Workers do one thing each on few cores; a thread pool per library only makes them wait for each other.
        "OMP_NUM_THREADS": "1",
        "NUMBA_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
        **options.environment,
    }
    projection = {"TIDEMARK_POSTGRES_DSN": where.postgres_dsn} if is_open else {}
    own: dict[str, dict[str, str]] = {
        "ingest": dict(options.feed),
        "orders": {**projection, "TIDEMARK_CORS_ORIGIN_REGEX": _dashboards(options)},
        "auditor": projection,
        "push": {"TIDEMARK_ORDERS_URL": f"http://{HOST}:{options.ports['orders']}", **_dashboard()},
    }
    return [
        ServiceSpec(
            name=name,
            # -P: a file called orders.py in the directory one happens to be in is not the service.
            argv=(sys.executable, "-P", "-m", service, "worker"),
            nice=NICE.get(service, 0),
            env={
                **shared,
                "TIDEMARK_HTTP_PORT": str(options.ports[name]),
                "TIDEMARK_WORKER_ID": f"{name}-1",
                **_operations(options, name),
                **_identity(options, service),
                **own.get(service, {}),
                **_roles(options, name),
            },
            port=options.ports[name],
            operations_port=options.ports.get(operations_of(name)),
            log=state.logs / f"{name}.log",
        )
        for name, service in options.processes()
    ]


def _operations(options: FleetOptions, name: str) -> dict[str, str]:
    port = options.ports.get(operations_of(name))
    return {} if port is None else {OPERATIONS_PORT: str(port)}


def _roles(options: FleetOptions, name: str) -> dict[str, str]:
    return {"TIDEMARK_ORDERS_ROLES": ORDERS_APART[name]} if options.orders_apart and name in ORDERS_APART else {}


def _identity(options: FleetOptions, name: str) -> dict[str, str]:
    return {} if options.identities is None else {FILE_VARIABLE: str(options.identities / name / SETTINGS)}


def _dashboards(options: FleetOptions) -> str:
    """The dashboard's origins: pages of no other may call the API."""
    return rf"http://(localhost|127\.0\.0\.1):{options.ports['push']}" if "push" in options.ports else "(?!)"


def _dashboard() -> dict[str, str]:
    """The dashboard as ``make web`` builds it in a checkout; an installed push has its own beside its code."""
    built = Path("services/push/dashboard/dist")
    return {"TIDEMARK_STATIC_DIR": str(built.resolve())} if (built / "index.html").is_file() else {}
