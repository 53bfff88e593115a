"""``tidemark up``, ``down`` and ``status``."""

import asyncio
import json
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import typer
from common.contracts.topics import TOPICS
from ingest.addresses import AddressError, interface, resolved
from ingest.domain.feed_date import EXCHANGE_TIME
from parts.errors import PartsError
from parts.processes import log_tail
from parts.provider import fetch_native
from rich.markup import escape
from rich.table import Column, Table
from streams.edges.reader import CommittedReader

from tidemark import console, metrics
from tidemark.access import dashboard
from tidemark.control import ask
from tidemark.deployment import Deployment, DeploymentOptions
from tidemark.feed_readers import reader_choice
from tidemark.feeds import IDLE_FEED, UdpLine, refusal, synthetic_feed, udp_feed
from tidemark.options import DEFAULT_STATE, StateDirOption, reader_settings, running_fleet
from tidemark.partition_options import BrokersOption, PartitionsOption, checked_brokers, chosen_partitions
from tidemark.process import Child, is_running
from tidemark.services import FLEET
from tidemark.state import FleetRecord, StateDir
from tidemark.up_options import (
    AccessOption,
    AnyPortsOption,
    DayOption,
    DetachOption,
    FreshOption,
    OptionOption,
    OrdersApartOption,
    RateOption,
    ReaderOption,
    RegistryOption,
    ReplicationOption,
    SecureOption,
    SeedOption,
    SourceOption,
    SymbolsOption,
    TracesOption,
    UdpBOption,
    UdpGroupOption,
    UdpHostOption,
    UdpPortOption,
    UdpRequestOption,
    UdpSessionOption,
)

DOWN_TIMEOUT_S: Final = 90.0
DETACHED_TIMEOUT_S: Final = 600.0
POLL_S: Final = 0.1
FEED_HELP: Final = "A synthetic market, a MoldUDP64 line (--udp-…), or none: `tidemark replay` brings one."
LOCALHOST: Final = "127.0.0.1"


class FeedChoice(StrEnum):
    """The feed that ingest reads from the beginning."""

    NONE = "none"
    SYNTHETIC = "synthetic"
    UDP = "udp"


def up(
    detach: DetachOption = False,
    feed: Annotated[FeedChoice, typer.Option(help=FEED_HELP)] = FeedChoice.NONE,
    reader: ReaderOption = "",
    source: SourceOption = None,
    option: OptionOption = None,
    seed: SeedOption = 1,
    rate: RateOption = 5_000,
    symbols: SymbolsOption = 500,
    udp_port: UdpPortOption = 0,
    udp_host: UdpHostOption = "",
    udp_group: UdpGroupOption = "",
    udp_b: UdpBOption = "",
    udp_session: UdpSessionOption = "",
    udp_request: UdpRequestOption = "",
    day: DayOption = None,
    fresh: FreshOption = False,
    any_ports: AnyPortsOption = False,
    access: AccessOption = False,
    secure: SecureOption = False,
    traces: TracesOption = False,
    registry: RegistryOption = False,
    orders_apart: OrdersApartOption = False,
    partitions: PartitionsOption = None,
    brokers: BrokersOption = 1,
    replication: ReplicationOption = None,
    state_dir: StateDirOption = DEFAULT_STATE,
) -> None:
    """Start Kafka, Redis, PostgreSQL, the five services and the auditor on this machine; Ctrl-C stops all of it.

    With --access everybody is asked who he is; the dashboard's address signs in whoever opens it first. With --secure
    the services are, too: by Kafka, Redis and PostgreSQL.
    What is not installed is downloaded on the first start. A service that dies is started again after 1, 2, 4 … 60 s.
    Data stay for the next start.
    """
    state = StateDir(state_dir)
    asked = chosen_partitions(partitions)
    checked_brokers(brokers, replication)
    today = (day or datetime.now(EXCHANGE_TIME)).date().isoformat()
    line = UdpLine(udp_port, today, udp_host, udp_group, udp_session, udp_request, udp_b)
    with console.reported():
        environment = {
            FeedChoice.NONE: lambda: IDLE_FEED,
            FeedChoice.SYNTHETIC: lambda: synthetic_feed(seed, rate, symbols),
            FeedChoice.UDP: lambda: _line_feed(line),
        }[feed]()
        if reader:
            environment = reader_choice(reader, source or (), option or ()).environment()
    options = DeploymentOptions(
        feed=environment, fresh=fresh, any_free_ports=any_ports, services=FLEET, traces=traces, registry=registry,
        brokers=brokers, replication=replication, partitions=asked, access=access or secure, secure=secure,
        orders_apart=orders_apart,
    )  # fmt: skip
    if detach:
        console.run(_detached(state, options.more_parts()))
        return
    console.run(_up(state, options))


def _line_feed(line: UdpLine) -> dict[str, str]:
    """Raises CommandError where nothing can come of it."""
    environment = udp_feed(line)
    if why := refusal(environment) or _unusable(line):
        raise console.CommandError(f"the line cannot be opened: {why}")
    return environment


def _unusable(line: UdpLine) -> str | None:
    """Why nothing can arrive at a port that is free for certain, or at the interface."""
    if not line.port:
        return "--udp-port says where it arrives"
    try:
        if line.group:
            interface(line.host or LOCALHOST)
        elif line.host:
            resolved(line.host, line.port)
    except AddressError as error:
        return str(error)
    return None


async def _up(state: StateDir, options: DeploymentOptions) -> None:
    def say(text: str) -> None:
        console.err.print(escape(text))

    async with Deployment(state, options, say) as deployment:
        console.out.print(f"dashboard  {deployment.dashboard()}", soft_wrap=True)
        console.out.print(f"orders API {deployment.operations_url('orders')}/docs")
        if deployment.jaeger_url:
            console.out.print(f"traces     {deployment.jaeger_url}")
        if deployment.registry_url:
            console.out.print(f"registry   {deployment.registry_url}")
        console.err.print("ready; Ctrl-C stops everything")
        await deployment.stopped.wait()


async def _detached(state: StateDir, more_parts: frozenset[str]) -> None:
    """Starts the same command in the background and waits until it says that everything is ready."""
    state.prepare()
    if more_parts:
        try:
            await asyncio.to_thread(fetch_native, more_parts)  # compiled the first time, which may take long
        except PartsError as error:
            raise console.CommandError(str(error)) from error
    if state.running() is not None:
        raise console.CommandError(f"a fleet runs in {state.root} already; `tidemark status` shows it")
    arguments = [argument for argument in sys.argv[1:] if argument not in ("--detach", "-d")]
    log = state.logs / "supervisor.log"
    child = await Child.start_detached((sys.executable, "-P", "-m", "tidemark.main", *arguments), log=log)
    deadline = time.monotonic() + DETACHED_TIMEOUT_S
    with console.err.status("starting"):
        while time.monotonic() < deadline:
            record = state.running()
            if record is not None and record.ready:
                console.out.print(f"dashboard  {await dashboard(record)}", soft_wrap=True)
                console.out.print(f"orders API {record.operations_url('orders')}/docs")
                if record.traces:
                    console.out.print(f"traces     {record.traces}")
                if record.registry:
                    console.out.print(f"registry   {record.registry}")
                return
            if child.exit_code is not None:
                raise console.CommandError(f"the fleet did not start; the end of {log}:\n{log_tail(log)}")
            await asyncio.sleep(POLL_S)
    raise console.CommandError(f"the fleet was not ready within {DETACHED_TIMEOUT_S:.0f} s; see {log}")


def down(state_dir: StateDirOption = DEFAULT_STATE) -> None:
    """Stop exactly what `tidemark up` or `tidemark demo` started in this state directory. Data and logs stay."""
    state = StateDir(state_dir)
    record = state.running()
    if record is None:
        console.err.print(f"no fleet runs in {state.root}")
        return
    console.run(_down(record))


async def _down(record: FleetRecord) -> None:
    await ask(record.control, {"command": "stop"})
    deadline = time.monotonic() + DOWN_TIMEOUT_S
    with console.err.status("stopping"):
        while is_running(record.supervisor_pid, record.supervisor_ticks):
            if time.monotonic() > deadline:
                raise console.CommandError(f"the supervisor (pid {record.supervisor_pid}) does not end; kill it")
            await asyncio.sleep(POLL_S)
    console.err.print("stopped")


def status(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of tables.")] = False,
    state_dir: StateDirOption = DEFAULT_STATE,
) -> None:
    """Show the services and parts that run: pids, addresses, readiness, restarts, and how far each is behind the log.

    Exits with 1 where a service is not ready, or nothing runs.
    """
    with console.reported():
        record = running_fleet(StateDir(state_dir))
    answer = console.run(_status(record))
    if as_json:
        sys.stdout.write(json.dumps(answer) + "\n")
    else:
        _show(answer)
    if not all(row["ready"] for row in answer["services"]):
        raise typer.Exit(1)


async def _status(record: FleetRecord) -> dict[str, Any]:
    answer = await ask(record.control, {"command": "status"})
    lags = await stage_lags(record)
    for row in answer["services"]:
        row["lag_records"] = lags.get(row["name"])
    return answer


async def stage_lags(record: FleetRecord) -> dict[str, int]:
    """Service → records of its stages' inputs that are not committed yet. Stages without a position are left out.

    Transaction markers take offsets too, so the newest of each partition may count as one.
    """
    pages = await metrics.scrape({name: record.operations_url(name) for name in record.services})
    positions = {
        service: {
            (sample.labels["topic"], int(sample.labels["partition"])): int(sample.value)
            for sample in samples
            if sample.name == "tidemark_stage_position_records"
        }
        for service, samples in pages.items()
    }
    wanted = {topic for found in positions.values() for topic, _ in found}
    topics = [topic for topic in TOPICS if topic.name in wanted]
    if not topics:
        return {}
    async with CommittedReader(reader_settings(record.addresses), topics, client_id="status") as reader:
        ends = await reader.ends()
    return {
        service: sum(max(0, ends.get(place, position) - position) for place, position in found.items())
        for service, found in positions.items()
        if found
    }


def _show(answer: Mapping[str, Any]) -> None:
    table = Table("service", "state", "ready", "pid", Column("address", overflow="fold"), "restarts", "up", "behind")
    for row in answer["services"]:
        ready = "[green]yes[/]" if row["ready"] else "[bold red]no[/]"
        lag = "" if row["lag_records"] is None else f"{row['lag_records']:,}"
        numbers = (str(row["restarts"]), f"{row['uptime_s']:.0f} s", lag)
        table.add_row(row["name"], row["state"], ready, str(row["pid"] or ""), row["url"], *numbers)
    for part in answer["parts"]:
        running = "running" if part["pid"] else "external"
        table.add_row(part["name"], running, "", str(part["pid"] or ""), escape(_place(part["address"])), "", "", "")
    console.out.print(table)


def _place(address: str) -> str:
    """The address without the files of its encryption, which ``--json`` has; a socket's directory stays."""
    return address.partition("?")[0] if urlsplit(address).hostname else address
