"""The supervisor, with small stand-in programs: what it keeps running, what it reports and what it leaves behind."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from orders.settings import OrdersRole, OrdersSettings
from tidemark.fleet import Backoff, Fleet, FleetError, ServiceSpec, State
from tidemark.ports import choose_ports, free_ports, operations_of
from tidemark.process import is_running, start_ticks
from tidemark.services import OPERATIONS_PORT, ORDERS_APART, SERVICES, FleetOptions, service_specs
from tidemark.state import Addresses, StateDir

SERVER = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = os.environ.get("GREETING", "").encode()
        self.send_response(200 if self.path == "/health/ready" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def server(tmp_path: Path, name: str = "one", env: dict[str, str] | None = None) -> ServiceSpec:
    port = free_ports(1)[0]
    return ServiceSpec(
        name, (sys.executable, "-c", SERVER, str(port)), {**os.environ, **(env or {})}, port, tmp_path / f"{name}.log"
    )


async def greeting(fleet: Fleet) -> str:
    async with httpx.AsyncClient() as client:
        return (await client.get(fleet.spec("one").url + "/health/ready")).text


async def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    async with asyncio.timeout(timeout_s):
        while True:
            if condition():
                return
            await asyncio.sleep(0.02)


@given(st.lists(st.floats(min_value=0, max_value=59.9), min_size=1, max_size=20))
def test_backoff_when_deaths_follow_quickly_then_doubles_up_to_a_minute(uptimes: list[float]) -> None:
    backoff = Backoff()
    assert [backoff.after(uptime) for uptime in uptimes] == [min(60.0, 2.0**i) for i in range(len(uptimes))]


def test_backoff_when_life_was_long_then_begins_anew() -> None:
    backoff = Backoff()
    assert [backoff.after(s) for s in (0, 0, 0, 61, 0)] == [1, 2, 4, 1, 2]


async def test_fleet_when_service_is_killed_then_it_comes_back_under_another_pid(tmp_path: Path) -> None:
    events: list[str] = []
    async with Fleet([server(tmp_path)], events.append) as fleet:
        await fleet.wait_ready(timeout_s=20)
        first = fleet.pid("one")
        fleet.kill("one")
        await until(lambda: bool(events))
        assert "SIGKILL" in events[0]
        await fleet.wait_ready(timeout_s=20)
        assert fleet.pid("one") != first
        [status] = await fleet.status()
        assert (status.state, status.ready, status.restarts, status.last_exit) == (State.RUNNING, True, 1, -9)


async def test_fleet_when_restarted_with_env_then_the_new_process_has_it(tmp_path: Path) -> None:
    async with Fleet([server(tmp_path, env={"GREETING": "old"})]) as fleet, httpx.AsyncClient() as client:
        await fleet.wait_ready(timeout_s=20)
        await fleet.restart("one", env={"GREETING": "new"})
        await fleet.wait_ready(timeout_s=20)
        assert (await client.get(fleet.spec("one").url + "/health/ready")).text == "new"


async def test_fleet_when_a_service_stands_back_then_its_session_does_and_so_does_its_successor(tmp_path: Path) -> None:
    modest = replace(server(tmp_path), nice=7)
    async with Fleet([modest, server(tmp_path, "two")]) as fleet:
        for env in ({}, {"GREETING": "new"}):
            await fleet.restart("one", env=env)
            assert os.getpriority(os.PRIO_PROCESS, fleet.pid("one")) == 7
            groups = {name: Path(f"/proc/{fleet.pid(name)}/autogroup") for name in fleet.names}
            if groups["two"].exists():  # a kernel may be without them
                shares = {name: group.read_text().split()[-1] for name, group in groups.items()}
                assert shares == {"one": "7", "two": "0"}


async def test_fleet_when_the_machine_is_crowded_then_it_is_waited_for_and_no_longer_once_it_is_not(
    tmp_path: Path,
) -> None:
    crowd = iter([1e9] * 15)
    asleep = ServiceSpec("asleep", ("sleep", "60"), {**os.environ}, free_ports(1)[0], tmp_path / "asleep.log")
    async with Fleet([asleep]) as fleet:
        with pytest.raises(FleetError, match="was not ready within"):
            await fleet.wait_ready(timeout_s=0.01, crowding=lambda: next(crowd, 1.0))
    assert next(crowd, None) is None


def test_specs_when_pages_for_operators_have_ports_then_each_its_own_and_else_the_services_wherever_those_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(OPERATIONS_PORT, "9000")  # whoever has it in his shell means none of these in particular
    ports = {name: number for number, name in enumerate(SERVICES, 1)}
    for spec in service_specs(Addresses(), StateDir(tmp_path), FleetOptions(ports)):
        assert OPERATIONS_PORT not in spec.env
        assert replace(spec, port=77).operations_url == "http://127.0.0.1:77"
    apart = ports | {operations_of(name): 100 + port for name, port in ports.items()}
    for spec in service_specs(Addresses(), StateDir(tmp_path), FleetOptions(apart)):
        assert spec.env[OPERATIONS_PORT] == str(100 + ports[spec.name])
        assert spec.operations_url == f"http://127.0.0.1:{100 + ports[spec.name]}"


def test_specs_when_orders_is_apart_then_each_part_runs_once_and_clients_reach_the_api(tmp_path: Path) -> None:
    ports = {name: number for number, name in enumerate((*SERVICES, *ORDERS_APART), 1)}
    whole = [spec.name for spec in service_specs(Addresses(), StateDir(tmp_path), FleetOptions(ports))]
    specs = service_specs(Addresses(), StateDir(tmp_path), FleetOptions(ports, orders_apart=True))
    parts = [spec for spec in specs if spec.argv[-2] == "orders"]
    assert {spec.name for spec in specs if spec not in parts} == {*whole} - {"orders"}
    roles = [OrdersSettings(orders_roles=spec.env["TIDEMARK_ORDERS_ROLES"]).roles for spec in parts]
    assert sorted(role for process in roles for role in process) == sorted(OrdersRole)
    [api] = [spec for spec, process in zip(parts, roles, strict=True) if OrdersRole.API in process]
    [push] = [spec for spec in specs if spec.name == "push"]
    assert push.env["TIDEMARK_ORDERS_URL"] == api.url
    assert len({spec.env["TIDEMARK_WORKER_ID"] for spec in specs}) == len({spec.port for spec in specs}) == len(specs)


async def test_fleet_when_left_then_no_process_stays(tmp_path: Path) -> None:
    async with Fleet([server(tmp_path, "one"), server(tmp_path, "two")]) as fleet:
        pids = [(fleet.pid(name), start_ticks(fleet.pid(name))) for name in fleet.names]
        assert all(is_running(*pid) for pid in pids)
    assert not any(is_running(*pid) for pid in pids)


async def test_fleet_when_service_ends_at_start_then_the_error_shows_its_log(tmp_path: Path) -> None:
    spec = ServiceSpec(
        "bad", (sys.executable, "-c", "raise SystemExit('no broker at 1.2.3.4')"), {}, 1, tmp_path / "bad.log"
    )
    async with Fleet([spec]) as fleet:
        with pytest.raises(FleetError, match=r"(?s)does not stay up.*no broker at 1\.2\.3\.4"):
            await fleet.wait_ready(timeout_s=30)


async def test_fleet_when_stopped_service_is_started_again_then_it_runs(tmp_path: Path) -> None:
    async with Fleet([server(tmp_path)]) as fleet:
        await fleet.wait_ready(timeout_s=20)
        await fleet.stop(["one"])
        [status] = await fleet.status()
        assert (status.state, status.ready, status.pid) == (State.STOPPED, False, None)
        with pytest.raises(FleetError, match="no process to signal"):
            fleet.kill("one")
        await fleet.start(["one"])
        await fleet.wait_ready(timeout_s=20)


HOLDER = """
import asyncio, sys
from pathlib import Path
from tidemark.fleet import Fleet, ServiceSpec

async def main():
    argv = (sys.executable, "-c", "import time; time.sleep(600)")
    async with Fleet([ServiceSpec("s", argv, {}, 1, Path(sys.argv[1]))]) as fleet:
        print(fleet.pid("s"), flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_fleet_when_its_holder_is_killed_then_the_children_die_too(tmp_path: Path) -> None:
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, str(tmp_path / "s.log"), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert holder.stdout is not None
        pid = int(await holder.stdout.readline())
        ticks = start_ticks(pid)
    finally:
        holder.send_signal(signal.SIGKILL)
        await holder.wait()
    await until(lambda: not is_running(pid, ticks))


def test_ports_when_usual_ones_are_not_wanted_then_all_differ() -> None:
    ports = choose_ports(["push", "orders", "risk"], any_free=True)
    assert len(set(ports.values())) == 3
    assert all(_ > 1024 for _ in ports.values())


async def test_fleet_when_one_process_has_an_environment_of_its_own_then_its_successor_does_not(tmp_path: Path) -> None:
    async with Fleet([server(tmp_path)], backoff_max_s=0.05) as fleet:
        await fleet.wait_ready(timeout_s=20)
        await fleet.restart("one", env_once={"GREETING": "once"})
        await fleet.wait_ready(timeout_s=20)
        assert await greeting(fleet) == "once"
        fleet.kill("one")
        await until(lambda: fleet.deaths("one") == 1)
        await fleet.wait_ready(timeout_s=20)
        assert await greeting(fleet) == ""


async def test_fleet_when_a_service_is_added_then_it_can_be_started_and_stopped_alone(tmp_path: Path) -> None:
    async with Fleet([server(tmp_path)]) as fleet:
        fleet.add(server(tmp_path, "two"))
        with pytest.raises(FleetError, match="'two' already"):
            fleet.add(server(tmp_path, "two"))
        assert not await fleet.is_ready("two")
        await fleet.start(["two"])
        await fleet.wait_ready(timeout_s=20)
        first = fleet.pid("one")
        await fleet.stop(["two"])
        assert fleet.pid("one") == first
