"""The fleet in containers of its own images: up, orders, a crash, a replaced service, metrics and traces.

Slow: it builds five images. Needs a container engine and the right to signal its processes; a crash is a SIGKILL to the
container's process, because `docker kill` counts as an order and restart policies ignore it.
"""

import json
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
import redis
from common.contracts.events import CASH
from parts.ports import free_port
from tidemark.releases.declared import version_in_project

ROOT = Path(__file__).parents[2]
FILES = ("compose.yaml", "compose.observability.yaml", "compose.host.yaml")
SERVICES = ("ingest", "signals", "risk", "orders", "push")
SCRAPED = {*SERVICES, "auditor"}
PORTS = ("ORDERS_PORT", "PUSH_PORT", "JAEGER_PORT", "PROMETHEUS_PORT", "KAFKA_PORT", "REDIS_PORT", "POSTGRES_PORT")
CASH_E4 = 10_000_000 * 10_000
ATTEMPTS_S = 90.0
RECOVERY_S = 300.0
"""A broker that was killed recovers its logs, then its coordinators, then every client finds it again."""
T = TypeVar("T")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


class NotYet(Exception):
    """Raised by a probe to say what it saw instead."""


def eventually(probe: Callable[[], T | None], what: str, seconds: float = ATTEMPTS_S) -> T:
    """The first answer of ``probe`` that is not None or False; an HTTP failure counts as no answer yet."""
    deadline = time.monotonic() + seconds
    last: object = "none"
    while time.monotonic() < deadline:
        try:
            if answer := probe():
                return answer
        except (NotYet, httpx.TransportError, redis.ConnectionError) as error:
            last = error
        time.sleep(0.25)
    raise AssertionError(f"{what} did not happen in {seconds:.0f} s; last seen: {last}")


class Fleet:
    """One compose project of its own, with host ports of its own."""

    def __init__(self) -> None:
        self.project = f"tidemark-test-{uuid.uuid4().hex[:8]}"
        self.ports = {name: free_port() for name in PORTS}
        self.environment = {
            **os.environ,
            **{name: str(port) for name, port in self.ports.items()},
            "TIDEMARK_TAG": "test",
            "TIDEMARK_TRACE_RATIO": "1",
        }
        self.orders = httpx.Client(base_url=f"http://127.0.0.1:{self.ports['ORDERS_PORT']}", timeout=15)

    def compose(self, *arguments: str) -> str:
        """Runs docker compose on the project. Raises with what it said."""
        files = [part for name in FILES for part in ("-f", str(ROOT / "compose" / name))]
        return run(["docker", "compose", "-p", self.project, *files, *arguments], self.environment)

    def inspect(self, service: str) -> dict[str, Any]:
        container = self.compose("ps", "--all", "--quiet", service).strip()
        described: list[dict[str, Any]] = json.loads(run(["docker", "inspect", container]))
        return described[0]

    def url(self, port: str, path: str) -> str:
        return f"http://127.0.0.1:{self.ports[port]}{path}"

    def post(self, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
        return self.orders.post(path, json=body, headers=headers)


def run(command: list[str], environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def require_engine() -> None:
    if shutil.which("docker") is None:
        pytest.skip("docker is not installed: the compose files are not tried")
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker has no compose plugin: the compose files are not tried")
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        pytest.skip("no container engine answers: the compose files are not tried")


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    require_engine()
    fleet = Fleet()
    try:
        fleet.compose("up", "--detach", "--build", "--wait", "--wait-timeout", "600")
        yield fleet
    except AssertionError:
        print(fleet.compose("logs", "--tail", "30"))
        raise
    finally:
        fleet.orders.close()
        fleet.compose("down", "--volumes", "--timeout", "5")


@pytest.fixture(scope="module")
def symbol(fleet: Fleet) -> str:
    """A symbol with offers, as the views show it."""
    views = redis.Redis(port=fleet.ports["REDIS_PORT"], decode_responses=True)

    def offered() -> str | None:
        quotes: dict[str, str] = views.hgetall("tm:quote:0")  # type: ignore[assignment]
        return next((name for name, row in quotes.items() if json.loads(row)["data"]["ask_size"] >= 100), None)

    return eventually(offered, "a quote in Redis")


def succeeds(fleet: Fleet, path: str, body: dict[str, Any]) -> bool:
    return fleet.post(path, body).is_success


def open_account(fleet: Fleet) -> str:
    account = f"acc-{uuid.uuid4().hex[:8]}"
    for path, body in ((account, {"status": "ACTIVE"}), (f"{account}/fund", {"cash_e4": CASH_E4})):
        command = {"command_id": uuid.uuid4().hex, **body}
        eventually(partial(succeeds, fleet, f"/v1/accounts/{path}", command), f"POST accounts/{path}")
    return account


def buy(fleet: Fleet, account: str, symbol: str, patience_s: float = ATTEMPTS_S, **headers: str) -> dict[str, Any]:
    """Buys until an order is accepted; a halt or a mark that is stale after a restart denies the first ones."""

    def accepted() -> dict[str, Any]:
        order = {"account_id": account, "client_order_id": uuid.uuid4().hex, "symbol": symbol, "side": "B"}
        answer = fleet.post("/v1/orders", {**order, "order_type": "MARKET", "qty": 1}, **headers)
        if answer.status_code != 201:
            raise NotYet(answer.text)
        accepted_order: dict[str, Any] = answer.json()
        return accepted_order

    return eventually(accepted, "an accepted order", patience_s)


def ledger(fleet: Fleet, account: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        page = fleet.orders.get(f"/v1/accounts/{account}/ledger", params={"after": after}).json()
        entries += page["items"]
        after = page["next"]
    return entries


def assert_money_adds_up(fleet: Fleet, account: str) -> None:
    """No gap in the sequence, every entry balanced, and the fold of the ledger is what the account says."""
    entries = ledger(fleet, account)
    assert [entry["seq"] for entry in entries] == list(range(1, len(entries) + 1))
    balances: dict[tuple[str, str], int] = defaultdict(int)
    for entry in entries:
        sums: dict[str, int] = defaultdict(int)
        for posting in entry["postings"]:
            sums[posting["asset"]] += posting["amount"]
            balances[posting["book"], posting["asset"]] += posting["amount"]
        assert not any(sums.values()), entry
    told = fleet.orders.get(f"/v1/accounts/{account}").json()
    if told["seq"] == len(entries):
        assert told["cash_e4"] == balances["AVAILABLE", CASH] + balances["RESERVED", CASH]
        assert told["reserved_cash_e4"] == balances["RESERVED", CASH]
    assert balances["AVAILABLE", CASH] >= 0


def test_only_the_orders_api_and_push_are_published_and_on_loopback() -> None:
    require_engine()
    described = json.loads(
        run(["docker", "compose", "-f", str(ROOT / "compose/compose.yaml"), "config", "--format", "json"])
    )
    published = {name: service["ports"] for name, service in described["services"].items() if service.get("ports")}
    assert published.keys() == {"orders", "push"}
    assert {port["host_ip"] for ports in published.values() for port in ports} == {"127.0.0.1"}


def test_up_then_every_service_runs_its_own_image_healthy_and_unprivileged(fleet: Fleet) -> None:
    for service in SERVICES:
        container = fleet.inspect(service)
        assert container["State"]["Health"]["Status"] == "healthy"
        assert container["Config"]["Image"] == f"tidemark/{service}:test"
        assert container["Config"]["User"] == "tidemark"
        assert container["Config"]["Labels"]["org.opencontainers.image.title"] == f"tidemark-{service}"
        assert container["Config"]["Labels"]["org.opencontainers.image.version"] == version_in_project(service)
    topics = fleet.inspect("topics")
    assert (topics["State"]["ExitCode"], topics["Config"]["Image"]) == (0, "tidemark/contracts:test")


def test_order_over_http_then_filled_booked_and_adding_up(fleet: Fleet, symbol: str) -> None:
    account = open_account(fleet)
    order_id = buy(fleet, account, symbol)["order_id"]

    def filled() -> bool:
        return bool(fleet.orders.get(f"/v1/orders/{order_id}").json().get("cum_qty"))

    eventually(filled, "a fill")
    eventually(lambda: fleet.orders.get(f"/v1/accounts/{account}").json()["positions"], "a position")
    assert_money_adds_up(fleet, account)


@pytest.mark.parametrize("service", ["risk", "orders", "signals", "kafka"])
def test_process_killed_then_it_comes_back_and_no_answer_changes(fleet: Fleet, symbol: str, service: str) -> None:
    account = open_account(fleet)
    order = {"account_id": account, "client_order_id": "once", "symbol": symbol, "side": "B"}
    body = {**order, "order_type": "LIMIT", "qty": 1, "limit_price_e4": 100, "time_in_force": "DAY"}
    first = eventually(
        lambda: answer if (answer := fleet.post("/v1/orders", body)).status_code in (201, 422) else None, "a verdict"
    )
    restarts = fleet.inspect(service)["RestartCount"]
    try:
        os.kill(fleet.inspect(service)["State"]["Pid"], signal.SIGKILL)
    except (PermissionError, ProcessLookupError) as error:
        pytest.skip(f"the engine's processes cannot be signalled from here: {error}")

    def healthy_again() -> bool:
        now = fleet.inspect(service)
        return bool(now["RestartCount"] > restarts and now["State"]["Health"]["Status"] == "healthy")

    eventually(healthy_again, f"{service} healthy after its death", RECOVERY_S)
    again = eventually(
        lambda: answer if (answer := fleet.post("/v1/orders", body)).status_code in (200, 422) else None,
        "the answer again",
        RECOVERY_S,
    )
    told = [answer.json().get("decision", answer.json()) for answer in (first, again)]
    assert told[1]["repeat"]
    for name in ("order_id", "accepted", "reason", "compared"):
        assert told[0].get(name) == told[1].get(name), name
    buy(fleet, account, symbol, RECOVERY_S)
    assert_money_adds_up(fleet, account)


def test_service_rebuilt_and_replaced_then_the_rest_runs_on(fleet: Fleet, symbol: str) -> None:
    account = open_account(fleet)
    before = {service: fleet.inspect(service) for service in SERVICES}
    revision = uuid.uuid4().hex
    fleet.environment["RISK_TAG"] = "next"
    fleet.compose("build", "--build-arg", f"REVISION={revision}", "risk")
    fleet.compose("up", "--detach", "--no-deps", "--no-build", "--wait", "--wait-timeout", "180", "risk")
    after = {service: fleet.inspect(service) for service in SERVICES}
    assert after["risk"]["Config"]["Labels"]["org.opencontainers.image.revision"] == revision
    assert after["risk"]["Config"]["Image"] == "tidemark/risk:next"
    for service in SERVICES:
        same = service != "risk"
        assert (after[service]["Id"] == before[service]["Id"]) is same, service
        assert (after[service]["State"]["StartedAt"] == before[service]["State"]["StartedAt"]) is same, service
    buy(fleet, account, symbol)
    assert_money_adds_up(fleet, account)


def test_metrics_of_every_service_are_scraped_and_every_panel_s_expression_is_valid(fleet: Fleet) -> None:
    def up() -> bool:
        answer = httpx.get(fleet.url("PROMETHEUS_PORT", "/api/v1/query"), params={"query": 'up{job="tidemark"} == 1'})
        return {row["metric"]["service"] for row in answer.json()["data"]["result"]} == SCRAPED

    eventually(up, "every service scraped")

    def versions() -> bool:
        answer = httpx.get(fleet.url("PROMETHEUS_PORT", "/api/v1/query"), params={"query": "tidemark_build_info"})
        said = {row["metric"]["service"]: row["metric"]["version"] for row in answer.json()["data"]["result"]}
        return said == {service: version_in_project(service) for service in SCRAPED}

    eventually(versions, "every service's version")
    dashboard = json.loads((ROOT / "compose/grafana/dashboards/fleet.json").read_text("utf-8"))
    targets = [target for panel in dashboard["panels"] for target in panel.get("targets", ())]
    assert targets
    for target in targets:
        expression = target["expr"].replace("$__rate_interval", "1m")
        answer = httpx.get(fleet.url("PROMETHEUS_PORT", "/api/v1/query"), params={"query": expression})
        assert answer.json()["status"] == "success", expression


def test_trace_of_an_order_then_it_goes_from_orders_to_risk_and_back(fleet: Fleet, symbol: str) -> None:
    account = open_account(fleet)
    trace = uuid.uuid4().hex
    buy(fleet, account, symbol, traceparent=f"00-{trace}-{uuid.uuid4().hex[:16]}-01")

    def edges() -> set[tuple[str, str]] | None:
        found = httpx.get(fleet.url("JAEGER_PORT", f"/api/traces/{trace}")).json()["data"] or []
        spans = {span["spanID"]: span for one in found for span in one["spans"]}
        names = {key: process["serviceName"] for one in found for key, process in one["processes"].items()}
        pairs = {
            (names[spans[reference["spanID"]]["processID"]], names[span["processID"]])
            for span in spans.values()
            for reference in span["references"]
            if reference["spanID"] in spans
        }
        return pairs if {("orders", "risk"), ("risk", "orders")} <= pairs else None

    eventually(edges, "the edges orders→risk→orders in Jaeger")


ASK_READY = (
    "import http.client; asked = http.client.HTTPConnection('127.0.0.1', 9000); asked.request('GET', '/health/ready');"
    "print(asked.getresponse().read().decode())"
)


def test_risk_scaled_to_two_then_both_serve_their_share_and_back_to_one(fleet: Fleet, symbol: str) -> None:
    account = open_account(fleet)

    def served(replicas: int) -> list[set[str]] | None:
        """Partitions that each replica serves, once they are all of them."""
        containers = fleet.compose("ps", "--quiet", "risk").split()
        shares = []
        for container in containers:
            asked = subprocess.run(
                ["docker", "exec", container, "python", "-c", ASK_READY], capture_output=True, text=True, check=False
            )
            if asked.returncode:
                raise NotYet(asked.stderr[-500:])
            stage = json.loads(asked.stdout)["checks"]["stage gate"]
            shares.append(set(stage["detail"]["partitions"]) if stage["ready"] else set())
        if len(shares) != replicas or sum(map(len, shares)) != 4 or not all(shares):
            raise NotYet(str(shares))
        return shares

    for replicas in (2, 1):
        scale = ["--no-deps", "--no-build", "--scale", f"risk={replicas}"]
        fleet.compose("up", "--detach", *scale, "--wait", "--wait-timeout", "180", "risk")
        shares = eventually(partial(served, replicas), f"{replicas} replicas that serve all partitions", RECOVERY_S)
        assert set.union(*shares) == {"0", "1", "2", "3"}
        buy(fleet, account, symbol, RECOVERY_S)
        assert_money_adds_up(fleet, account)
