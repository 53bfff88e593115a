"""Parts, topics and the fleet as one context: what ``up`` and ``demo`` run, and end-to-end tests too.

async with Deployment(StateDir(path), DeploymentOptions()) as deployment:
    deployment.fleet.kill("risk")
    deployment.addresses.kafka_bootstrap
"""

import asyncio
import contextlib
import math
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlencode

from common.avro.on_file import read_index
from common.contracts.rights import COMMAND_LINE, Role
from common.contracts.topics import GROUPS, TOPICS
from common.fleet_topics import create_topics
from parts import PARTS, Jvm, LocalStack, PartsError, Stack
from streams.model.topics import DEFAULT_PARTITIONS

from tidemark.control import ControlError, ControlServer
from tidemark.fleet import BACKOFF_MAX_S, Fleet, FleetError, crowding
from tidemark.issuer.issuer import TOKEN_LIFE_S, Issuer
from tidemark.issuer.store import OWNER, AccessStore
from tidemark.issuer.web import issuer_server
from tidemark.ports import choose_ports, operations_of
from tidemark.schema_registry import Registry
from tidemark.secured_fleet import SecuredFleet, command_line_settings
from tidemark.services import HOST, ORDERS_APART, SERVICES, FleetOptions, service_specs
from tidemark.state import Addresses, StateDir, record_of_this_process

READY_TIMEOUT_S: Final = 180.0
"""The first start of a machine compiles the kernels of ingest and signals, which stand back behind whatever else runs:
on a machine that others use it takes as much longer as they are many, and is waited for."""
OPENING_EACH_S: Final = 3.0
"""More time for each partition: stores, claims and first commits are one a task, and all share a machine's cores."""

ISSUER: Final = "issuer"
ISSUER_VARIABLE: Final = "TIDEMARK_ACCESS_ISSUER"
Report = Callable[[str], None]


def opening_s(timeout_s: float) -> float:
    """The time within which a fleet of four partitions a group opens, as long as it takes for those there are."""
    return timeout_s + OPENING_EACH_S * sum(max(group.partitions - DEFAULT_PARTITIONS, 0) for group in GROUPS)


@dataclass(frozen=True, slots=True)
class DeploymentOptions:
    """Options of a deployment. ``external`` names parts that run already; else local ones are started."""

    external: Addresses | None = None
    any_free_ports: bool = False
    feed: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    services: tuple[str, ...] = SERVICES
    fresh: bool = False
    """Begin with empty parts, stores and logs."""
    keep: bool = True
    """Keep the parts' data for the next start."""
    jvm: Jvm = Jvm.START
    provider: str | None = None
    """Provider of local parts: ``native`` or ``docker``; None: as the environment says."""
    traces: bool = False
    """Start Jaeger, too, and have every trace recorded there."""
    registry: bool = False
    """Start a schema registry, too, with the topics' Avro schemas, and have the fleet write Avro."""
    brokers: int = 1
    """1 or 3. Of three, every record is on all and two have it before it counts, unless ``replication`` says less."""
    replication: int | None = None
    """Replicas of a topic that is created; None: one on each broker."""
    partitions: Mapping[str, int] = field(default_factory=dict)
    """Co-partition group → number of partitions, where its topics are created; 4 of what is left out."""
    second_host: str = ""
    """An address of this machine on which Kafka and Redis answer a second host (a network namespace)."""
    access: bool = False
    """Ask everybody who he is: start an issuer, unless the environment names one (``TIDEMARK_ACCESS_ISSUER``)."""
    secure: bool = False
    """Have Kafka, Redis and PostgreSQL speak TLS alone and know each service, with certificates made here."""
    orders_apart: bool = False
    """Run each part of the orders service (HTTP API, stages, projection) as a process of its own."""
    restart_wait_max_s: float = BACKOFF_MAX_S
    """A service that died is started again after so many seconds at most."""

    def more_parts(self) -> frozenset[str]:
        """Beside those that the fleet needs."""
        wanted = {"jaeger": self.traces, "registry": self.registry}
        return frozenset(name for name, is_wanted in wanted.items() if is_wanted)


def _push_schemas(url: str) -> None:
    for _ in Registry(url).push(read_index()):
        pass


class Deployment:
    """Everything that runs on this machine for one state directory."""

    def __init__(self, state: StateDir, options: DeploymentOptions, report: Report = lambda _: None) -> None:
        self.state = state
        self.options = options
        self.addresses = options.external or Addresses()
        self.stack: LocalStack | None = None
        self.jaeger_url = ""
        self.registry_url = ""
        self.issuer: Issuer | None = None
        self._secured: SecuredFleet | None = None
        self.stopped = asyncio.Event()
        """Set when somebody asked for the end (``tidemark down``)."""
        self._report = report
        self._stack = AsyncExitStack()
        self._fleet: Fleet | None = None

    @property
    def fleet(self) -> Fleet:
        assert self._fleet is not None, "used outside its context"
        return self._fleet

    def url(self, service: str) -> str:
        """Base URL of a service."""
        return self.fleet.spec(service).url

    def operations_url(self, service: str) -> str:
        """Base URL of its metrics, health and description."""
        return self.fleet.spec(service).operations_url

    def token(self, subject: str, roles: Iterable[Role], accounts: Iterable[str] = ("*",)) -> str:
        """A token for a program of ours; empty where nobody is asked who he is."""
        return self.issuer.token(subject, roles, accounts, COMMAND_LINE) if self.issuer else ""

    def credential(self, subject: str, roles: Sequence[Role]) -> Callable[[], str]:
        """The same for a program that runs on: another token when half of one's life is over."""
        token, since_s = "", -math.inf

        def current() -> str:
            nonlocal token, since_s
            if time.monotonic() - since_s > TOKEN_LIFE_S / 2:
                token, since_s = self.token(subject, roles), time.monotonic()
            return token

        return current

    def dashboard(self, **choice: str) -> str:
        """Address of the dashboard; whoever opens it first is signed in. ``choice``: what it shows."""
        if self.issuer is not None:
            choice["link"] = self.issuer.links.hand_out(OWNER, time.time())
        return f"{self.url('push')}/#{urlencode(choice)}" if choice else self.url("push")

    async def renew(self) -> None:
        """Certificates and passwords of services and parts anew, while they run. Raises ControlError, CommandError."""
        if self._secured is None or self.stack is None:
            raise ControlError("this fleet has no certificates of its own: it was not started with --secure")
        await self._secured.renew(self.stack.take_files)

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _start(self) -> None:
        state, options = self.state, self.options
        environment = dict(options.environment)
        state.prepare()
        self._stack.enter_context(state.claimed())
        if options.fresh:
            for path in (state.logs, state.data, state.parts):
                shutil.rmtree(path, ignore_errors=True)
            state.prepare()
        if options.external is None:
            if options.traces:
                self._report("starting Jaeger; the first time on a machine it is compiled, which takes minutes")
            if options.secure:
                self._secured = self._stack.enter_context(SecuredFleet(state.secure))
            self._report("starting Kafka, Redis and PostgreSQL")
            stack = await self._stack.enter_async_context(self._local_parts())
            self.addresses = Addresses(stack.kafka_bootstrap, stack.redis_url, stack.postgres_dsn)
            if self._secured is not None:
                self.addresses = await self._secured.settle(self.addresses)
            self.jaeger_url = stack.jaeger_url
            if options.traces:
                traced = {"TIDEMARK_OTLP_ENDPOINT": stack.otlp_endpoint, "TIDEMARK_TRACE_RATIO": "1"}
                environment = {**traced, **environment}
            if options.registry:
                self._report("pushing the schemas")
                await asyncio.to_thread(_push_schemas, stack.schema_registry_url)
                self.registry_url = stack.schema_registry_url
                avro = {"TIDEMARK_SCHEMA_REGISTRY_URL": stack.schema_registry_url, "TIDEMARK_LOG_FORMAT": "avro"}
                environment = {**avro, **environment}
        self.addresses = replace(self.addresses, data_dir=str(state.data))
        replication = options.replication or options.brokers
        await create_topics(self.addresses.kafka_bootstrap, TOPICS, replication, options.partitions)
        ports = self._choose_ports()
        if options.access and not os.environ.get(ISSUER_VARIABLE):
            environment = {**await self._start_issuer(ports), **environment}
        identities = state.secure if options.secure else None
        chosen = FleetOptions(ports, options.feed, environment, options.services, identities, options.orders_apart)
        fleet = Fleet(service_specs(self.addresses, state, chosen), self._report, options.restart_wait_max_s)
        self._report(f"starting {', '.join(fleet.names)}")
        # Entered before the services start, so that `down` and `status` work while they do.
        control = await self._stack.enter_async_context(ControlServer(self._obey))
        self._fleet = fleet
        record = record_of_this_process(
            self.addresses, {name: fleet.spec(name).url for name in fleet.names}, str(control.path)
        )
        issuer_url = self.issuer.url if self.issuer else ""
        identity = str(command_line_settings(state.secure)) if options.secure else ""
        operations = {name: self.operations_url(name) for name in fleet.names if options.secure}
        record = replace(
            record, traces=self.jaeger_url, registry=self.registry_url, issuer=issuer_url, identity=identity,
            operations=operations,
        )  # fmt: skip
        state.write(record)
        await self._stack.enter_async_context(fleet)
        await fleet.wait_ready(
            timeout_s=opening_s(READY_TIMEOUT_S),
            on_ready=lambda name: self._report(f"{name} is ready"),
            crowding=crowding,
        )
        state.write(replace(record, ready=True))

    def _choose_ports(self) -> dict[str, int]:
        """By service, by its pages for operators where those are apart, and of the issuer."""
        apart = ORDERS_APART if self.options.orders_apart else ()
        served = dict.fromkeys((*SERVICES, *self.options.services, *apart))
        operations = [operations_of(name) for name in served if self.options.secure]
        return choose_ports((*served, *operations, ISSUER), any_free=self.options.any_free_ports)

    async def _start_issuer(self, ports: Mapping[str, int]) -> dict[str, str]:
        """Environment of services that believe it. Raises FleetError."""
        store = AccessStore(self.state.access)
        store.prepare()
        issuer = Issuer(store, f"http://{HOST}:{ports[ISSUER]}")
        server = issuer_server(
            issuer, [f"http://{host}:{ports['push']}" for host in (HOST, "localhost")], ports[ISSUER]
        )
        try:
            await server.start()
        except OSError as error:
            raise FleetError(f"the issuer cannot be started: {error}") from error
        self._stack.push_async_callback(server.stop)
        self.issuer = issuer
        return issuer.services_environment()

    @asynccontextmanager
    async def _local_parts(self) -> AsyncIterator[Stack]:
        options = self.options
        stack = LocalStack(
            PARTS | options.more_parts(),
            data_dir=self.state.parts,
            keep=options.keep,
            jvm=options.jvm,
            provider=options.provider,
            brokers=options.brokers,
            second_host=options.second_host,
            secure=self.state.secure if options.secure else None,
        )
        starting = asyncio.get_running_loop().run_in_executor(None, stack.start)
        try:
            addresses = await asyncio.shield(starting)
        except asyncio.CancelledError:
            # Starting cannot be interrupted half-way; what it started is stopped when it is done.
            with contextlib.suppress(PartsError):
                await starting
            await asyncio.to_thread(stack.stop)
            raise
        except PartsError as error:
            raise FleetError(str(error)) from error
        self.stack = stack
        try:
            yield addresses
        finally:
            self._report("stopping Kafka, Redis and PostgreSQL")
            await asyncio.to_thread(stack.stop)
            self.stack = None

    async def _obey(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answers ``tidemark`` commands of other processes."""
        command = request.get("command")
        if command == "status":
            return {"services": [asdict(row) for row in await self.fleet.status()], "parts": self._parts()}
        if command == "token":
            roles = [Role(name) for name in request["roles"]]
            return {"token": self.token(str(request["subject"]), roles, map(str, request["accounts"]))}
        if command == "dashboard":
            return {"url": self.dashboard()}
        if command == "renew":
            await self.renew()
            return {}
        if command == "stop":
            self.stopped.set()
            return {}
        if command == "restart":
            await self.fleet.restart(str(request["service"]), request.get("env"))
            await self.fleet.wait_ready([str(request["service"])], READY_TIMEOUT_S)
            return {}
        if command == "kill":
            self.fleet.kill(str(request["service"]), signal.Signals(int(request.get("signal", signal.SIGKILL))))
            return {}
        raise ControlError(f"unknown command {command!r}")

    def _parts(self) -> list[dict[str, Any]]:
        addresses = {
            "kafka": self.addresses.kafka_bootstrap,
            "redis": self.addresses.redis_url,
            "postgres": self.addresses.postgres_dsn,
        }
        rows = []
        for name, address in addresses.items():
            pid: int | None = None
            if self.stack is not None:
                with contextlib.suppress(PartsError):
                    pid = self.stack.pid(name)
            rows.append({"name": name, "address": address, "pid": pid, "supervisor": os.getpid()})
        return rows
