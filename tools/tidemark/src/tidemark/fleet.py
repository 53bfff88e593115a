"""The supervisor: keeps a set of services running, and lets a test or an operator kill and restart each of them.

    async with Fleet(specs) as fleet:
        await fleet.wait_ready()
        fleet.kill("risk")                 # comes back after the backoff
        await fleet.wait_ready(["risk"])
        await fleet.restart("ingest", env={"TIDEMARK_FEED": "file"})

A service that dies is started again after 1, 2, 4, … 60 seconds; the wait begins anew once a service has lived for a
minute. Children die with the process that holds the fleet, whatever ends it.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import httpx
from parts.processes import log_tail

from tidemark.errors import FleetError as FleetError
from tidemark.process import Child

BACKOFF_FIRST_S: Final = 1.0
BACKOFF_MAX_S: Final = 60.0
BACKOFF_RESET_AFTER_S: Final = 60.0
STOP_GRACE_S: Final = 15.0
READY_POLL_S: Final = 0.1
HEALTH_TIMEOUT_S: Final = 5.0
DEATHS_BEFORE_READY_MAX: Final = 3
"""A service that dies this often while one waits for it will not come up by waiting longer."""


def crowding() -> float:
    """Processes that want each core of this machine, on average over the last minute; 1 at least."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


class State(StrEnum):
    STOPPED = "stopped"
    RUNNING = "running"
    BACKOFF = "backoff"


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """How one service is started, and where it answers ``/health/ready``."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    port: int
    log: Path
    host: str = "127.0.0.1"
    nice: int = 0
    """Niceness of the process (nice(1)): higher stands back further where processors are short."""
    operations_port: int | None = None
    """Port of its pages for operators; None: ``port``."""

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def operations_url(self) -> str:
        return f"http://{self.host}:{self.operations_port or self.port}"


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One line of ``tidemark status``. ``pid`` is None where it does not run."""

    name: str
    state: State
    pid: int | None
    url: str
    ready: bool
    restarts: int
    last_exit: int | None
    uptime_s: float
    log: str


@dataclass(slots=True)
class Backoff:
    """Seconds to wait before the next start: doubling from the first to the most, and anew after a long enough life."""

    first_s: float = BACKOFF_FIRST_S
    max_s: float = BACKOFF_MAX_S
    reset_after_s: float = BACKOFF_RESET_AFTER_S
    _next_s: float = field(default=0.0, init=False)

    def after(self, uptime_s: float) -> float:
        """The wait after a process that lived ``uptime_s`` seconds has died."""
        if uptime_s >= self.reset_after_s or not self._next_s:
            self._next_s = self.first_s
        delay = self._next_s
        self._next_s = min(self.max_s, 2 * delay)
        return delay


class Supervised:
    """One service under supervision."""

    def __init__(self, spec: ServiceSpec, report: Callable[[str], None], backoff_max_s: float = BACKOFF_MAX_S) -> None:
        self.spec = spec
        self.restarts = 0
        self.deaths = 0
        self.last_exit: int | None = None
        self._report = report
        self._backoff = Backoff(min(BACKOFF_FIRST_S, backoff_max_s), backoff_max_s)
        self._child: Child | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child is not None and self._child.exit_code is None else None

    @property
    def state(self) -> State:
        if self.pid is not None:
            return State.RUNNING
        return State.STOPPED if self._keeper is None or self._keeper.done() else State.BACKOFF

    @property
    def uptime_s(self) -> float:
        return self._child.uptime_s if self._child is not None and self.pid is not None else 0.0

    async def start(self, env_once: Mapping[str, str] | None = None) -> None:
        """Starts it and keeps it running. Nothing happens where it is kept running already.

        ``env_once`` is laid over the environment of this one process, and not of those that come after its death.
        """
        if self._keeper is not None and not self._keeper.done():
            return
        self._stopping = False
        await self._spawn(env_once)
        self._keeper = asyncio.create_task(self._keep(), name=f"keep-{self.spec.name}")

    async def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """Stops it for good: in order, and by force after ``grace_s`` seconds."""
        self._stopping = True
        if self._child is not None and self._child.exit_code is None:
            self.last_exit = await self._child.stop(grace_s)
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
            self._keeper = None

    def kill(self, number: signal.Signals) -> None:
        """Sends a signal to the process; raises FleetError where none runs."""
        if self._child is None or self.pid is None:
            raise FleetError(f"{self.spec.name} is {self.state}: there is no process to signal")
        self._child.send(number)

    async def _spawn(self, env_once: Mapping[str, str] | None = None) -> None:
        env = {**self.spec.env, **(env_once or {})}
        try:
            self._child = await Child.start(self.spec.argv, env=env, log=self.spec.log, nice=self.spec.nice)
        except OSError as error:
            raise FleetError(f"{self.spec.name} cannot be started: {error}") from error

    async def _keep(self) -> None:
        while self._child is not None:
            self.last_exit = await self._child.wait()
            if self._stopping:
                return
            self.deaths += 1
            delay_s = self._backoff.after(self._child.uptime_s)
            self._report(f"{self.spec.name} ended with {exit_text(self.last_exit)}; starting it again in {delay_s:g} s")
            await asyncio.sleep(delay_s)
            self.restarts += 1
            await self._spawn()


def exit_text(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


class Fleet:
    """The services by name. An async context manager: starts all on entry, stops all on exit."""

    def __init__(
        self,
        specs: Iterable[ServiceSpec],
        report: Callable[[str], None] = lambda _: None,
        backoff_max_s: float = BACKOFF_MAX_S,
    ) -> None:
        self._services: dict[str, Supervised] = {}
        self._report = report
        self._backoff_max_s = backoff_max_s
        for spec in specs:
            self.add(spec)
        self._http = httpx.AsyncClient(timeout=HEALTH_TIMEOUT_S)

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
        await self._http.aclose()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._services)

    def add(self, spec: ServiceSpec) -> None:
        """Takes one more service under supervision; ``start`` starts it."""
        if spec.name in self._services:
            raise FleetError(f"there is a service {spec.name!r} already")
        self._services[spec.name] = Supervised(spec, self._report, self._backoff_max_s)

    def spec(self, name: str) -> ServiceSpec:
        return self._service(name).spec

    def deaths(self, name: str) -> int:
        """Number of times that the service has ended without being asked to."""
        return self._service(name).deaths

    def pid(self, name: str) -> int:
        """The pid of a running service. Raises FleetError where it does not run."""
        pid = self._service(name).pid
        if pid is None:
            raise FleetError(f"{name} does not run")
        return pid

    async def start(self, names: Sequence[str] | None = None) -> None:
        """Starts the named services, or all."""
        for name in names or self.names:
            await self._service(name).start()

    async def stop(self, names: Sequence[str] | None = None, grace_s: float = STOP_GRACE_S) -> None:
        """Stops the named services, or all, at the same time."""
        await asyncio.gather(*(self._service(name).stop(grace_s) for name in names or self.names))

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Sends a signal to one service. What dies of it comes back after the backoff."""
        self._service(name).kill(number)

    async def restart(
        self, name: str, env: Mapping[str, str] | None = None, env_once: Mapping[str, str] | None = None
    ) -> None:
        """Stops one service in order and starts it at once, with ``env`` laid over its environment from now on.

        ``env_once`` counts for the next process only.
        """
        service = self._service(name)
        await service.stop()
        if env:
            service.spec = replace(service.spec, env={**service.spec.env, **env})
        service.restarts += 1
        await service.start(env_once)

    async def is_ready(self, name: str) -> bool:
        """Whether the service runs and says so on ``/health/ready``."""
        service = self._service(name)
        if service.pid is None:
            return False
        try:
            answer = await self._http.get(f"{service.spec.operations_url}/health/ready")
        except httpx.HTTPError:
            return False
        return answer.status_code == httpx.codes.OK

    async def wait_ready(
        self,
        names: Sequence[str] | None = None,
        timeout_s: float = 120.0,
        on_ready: Callable[[str], None] = lambda _: None,
        crowding: Callable[[], float] = lambda: 1.0,
    ) -> None:
        """Waits until the named services, or all, are ready.

        ``crowding``: by how much everything takes longer now than on a machine of one's own; a second counts for so
        much less. Raises FleetError with the end of the log when one dies again and again, or the time is over.
        """
        waiting = dict.fromkeys(names or self.names, 0)
        for name in waiting:
            waiting[name] = self._service(name).deaths
        looked_s, spent_s = asyncio.get_running_loop().time(), 0.0
        while waiting:
            for name in list(waiting):
                if await self.is_ready(name):
                    del waiting[name]
                    on_ready(name)
                elif self._service(name).deaths - waiting[name] >= DEATHS_BEFORE_READY_MAX:
                    raise FleetError(self._failure(name, "does not stay up"))
            before_s, looked_s = looked_s, asyncio.get_running_loop().time()
            spent_s += (looked_s - before_s) / crowding()
            if waiting and spent_s > timeout_s:
                raise FleetError(self._failure(next(iter(waiting)), f"was not ready within {timeout_s:g} s"))
            if waiting:
                await asyncio.sleep(READY_POLL_S)

    async def status(self) -> list[ServiceStatus]:
        """One row per service, asked now."""
        ready = await asyncio.gather(*(self.is_ready(name) for name in self.names))
        return [
            ServiceStatus(
                name=name,
                state=service.state,
                pid=service.pid,
                url=service.spec.url,
                ready=is_ready,
                restarts=service.restarts,
                last_exit=service.last_exit,
                uptime_s=round(service.uptime_s, 1),
                log=str(service.spec.log),
            )
            for (name, service), is_ready in zip(self._services.items(), ready, strict=True)
        ]

    def _failure(self, name: str, what: str) -> str:
        service = self._service(name)
        last = "" if service.last_exit is None else f" (last end: {exit_text(service.last_exit)})"
        return f"{name} {what}{last}\nlog {service.spec.log}:\n{log_tail(service.spec.log)}"

    def _service(self, name: str) -> Supervised:
        try:
            return self._services[name]
        except KeyError:
            raise FleetError(f"there is no service {name!r}; there are {', '.join(self._services)}") from None
