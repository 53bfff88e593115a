"""The service as three processes of one role each, on real Kafka, Redis and PostgreSQL; the test is gate and market."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from orders.settings import OrdersRole, OrdersSettings
from parts import LocalStack
from prometheus_client.parser import text_string_to_metric_families
from pydantic import ValidationError
from streams.views.protocol import view_channel
from streams.views.redis_client import redis_client

from tests.orders.worker_fleet import Fleet, running

ROLES = ("projection", "worker", "api")
AGE = "tidemark_orders_projection_age_seconds"


@pytest.mark.parametrize(
    ("names", "roles"),
    [("api", {"api"}), (" worker, api", {"worker", "api"}), ("api,api", {"api"}), (None, {*OrdersRole})],
)
def test_roles_when_named_then_the_process_runs_these(names: str | None, roles: set[str]) -> None:
    settings = OrdersSettings() if names is None else OrdersSettings(orders_roles=names)
    assert settings.roles == roles


@pytest.mark.parametrize("names", ["", "api,", "gate", "API"])
def test_roles_when_none_or_an_unknown_one_is_named_then_the_settings_are_refused(names: str) -> None:
    with pytest.raises(ValidationError, match="a part is one of api, worker, projection"):
        OrdersSettings(orders_roles=names)


@pytest.fixture(scope="module")
def parts() -> Iterator[LocalStack]:
    """Parts of this module's own, since its topics have their real names."""
    with LocalStack() as running:
        yield running


@pytest.fixture
async def fleet(parts: LocalStack, tmp_path: Path, make: Any) -> AsyncIterator[Fleet]:
    limits = {"TIDEMARK_VERDICT_TIMEOUT_MS": "2000"}
    async with running(Fleet(parts, tmp_path, make, parts.addresses.postgres_dsn, **limits), *ROLES) as fleet:
        yield fleet


@pytest.mark.slow
async def test_roles_apart_then_an_order_goes_its_way_and_each_may_die_alone(fleet: Fleet) -> None:
    await _from_submit_to_read(fleet)
    await _each_says_how_it_is(fleet)
    await _without_worker(fleet)
    await _without_projection(fleet)
    await _without_api(fleet)


async def _source(fleet: Fleet, path: str) -> str:
    """The header that says where the answer is from; empty where there was none."""
    response = await fleet.client.get(path)
    return response.headers.get("Tidemark-As-Of", "") if response.status_code == 200 else ""


async def _until_projected(fleet: Fleet, order_id: str) -> None:
    async def is_projected() -> bool:
        return (await _source(fleet, f"/v1/orders/{order_id}")).startswith("source=projection, time_ms=")

    await fleet.until(is_projected)


async def _until_certainly_absent(fleet: Fleet, order_id: str) -> None:
    async def is_absent() -> bool:
        return (await fleet.client.get(f"/v1/orders/{order_id}")).status_code == 404

    await fleet.until(is_absent)


async def _from_submit_to_read(fleet: Fleet) -> None:
    assert (await fleet.client.post("/v1/accounts/A/fund", json={"command_id": "c", "cash_e4": 5})).status_code == 201
    assert (await fleet.client.get("/v1/accounts/A")).json()["cash_e4"] == 5, "it waits for the other process's rows"
    assert (await fleet.submit("2")).status_code == 201
    assert (await fleet.client.get("/v1/orders/A.2")).status_code == 200
    await fleet.mark(ask=(1_000_000, 60))
    await fleet.until_state("A.2", "PARTIALLY_FILLED")
    assert (await fleet.client.delete("/v1/orders/A.2")).json()["state"] == "CANCELED"
    await _until_projected(fleet, "A.2")
    listed = await fleet.client.get("/v1/accounts/A/orders")
    assert [order["order_id"] for order in listed.json()["items"]] == ["A.2"]
    assert not listed.headers["Tidemark-As-Of"].endswith("behind")
    await _until_certainly_absent(fleet, "A.404")


async def _each_says_how_it_is(fleet: Fleet) -> None:
    checks = {}
    for roles in ROLES:
        report = (await fleet.page(roles, "/health/ready")).json()
        checks[roles] = set(report["checks"]) - {"broker", "topics"}
        ages = [
            sample.value
            for family in text_string_to_metric_families((await fleet.page(roles, "/metrics")).text)
            for sample in family.samples
            if sample.name == AGE
        ]
        assert [0 <= age < 60 for age in ages] == [roles != "worker"], f"{roles}: {ages}"
        assert (await fleet.page(roles, "/v1/orders/A.2")).status_code == (200 if roles == "api" else 404)
    assert checks == {
        "worker": {"stage lifecycle", "stage venue", "views"},
        "api": {"tail", "projection", "reads"},
        "projection": {"projection"},
    }
    async with redis_client(fleet.settings.redis.url) as redis:
        rows = await redis.hgetall(view_channel("health", "orders"))
    assert {worker.decode() if isinstance(worker, bytes) else worker for worker in rows} == {
        "orders-1",
        "orders-1.api",
        "orders-1.projection",
    }
    assert all(json.loads(row)["data"]["ready"] for row in rows.values())


async def _without_worker(fleet: Fleet) -> None:
    """Orders that the gate accepts are answered and read; what only the lifecycle can answer has no answer yet."""
    await fleet.kill("worker")
    assert (await fleet.submit("4", limit_price_e4=100)).status_code == 201
    read = await fleet.client.get("/v1/orders/A.4")
    assert (read.status_code, read.json()["state"]) == (200, "ACCEPTED")
    assert (await fleet.client.get("/v1/accounts/A/orders")).status_code == 200
    canceled = await fleet.client.delete("/v1/orders/A.4")
    assert (canceled.status_code, canceled.json()["type"]) == (503, "urn:tidemark:problem:no-verdict")
    assert (await fleet.page("api", "/health/ready")).status_code == 200
    await fleet.start("worker")
    await fleet.until_state("A.4", "CANCELED")
    await _until_projected(fleet, "A.4")


async def _without_projection(fleet: Fleet) -> None:
    """Reads degrade alone: what it lacks comes from the tail, and lists say that they are behind."""
    await fleet.kill("projection")
    assert (await fleet.submit("6", limit_price_e4=100)).status_code == 201
    await fleet.until_state("A.6", "WORKING")
    assert (await _source(fleet, "/v1/orders/A.6")).startswith("source=tail")
    assert (await _source(fleet, "/v1/orders/A.4")).startswith("source=projection")
    assert (await _source(fleet, "/v1/accounts/A/orders")).endswith(", behind")

    async def state() -> Any:
        return (await fleet.page("api", "/health/ready")).json()["checks"]["projection"]["detail"]["state"]

    async def is_behind() -> bool:
        return bool(await state() == "behind")

    await fleet.until(is_behind)
    assert (await fleet.page("api", "/health/ready")).status_code == 200, "orders are taken all the same"
    assert (await fleet.client.get("/v1/orders/A.666")).status_code == 404, "the tail has kept all that it lacks"
    await fleet.kill("api")
    await fleet.start("api")
    for order_id in ("A.6", "A.666"):
        assert (await fleet.client.get(f"/v1/orders/{order_id}")).status_code == 503, "who begins now cannot tell"
    await fleet.start("projection")
    await _until_projected(fleet, "A.6")
    await _until_certainly_absent(fleet, "A.666")
    assert not (await _source(fleet, "/v1/accounts/A/orders")).endswith("behind")


async def _without_api(fleet: Fleet) -> None:
    """The others go on; an API that begins knows nothing of before but what PostgreSQL and the log say."""
    await fleet.kill("api")
    await fleet.mark(ask=(100, 60))
    await fleet.start("api")
    await fleet.until_state("A.6", "PARTIALLY_FILLED")
    assert (await fleet.submit("6", limit_price_e4=100)).status_code == 200, "accepted before"
    assert (await fleet.submit("8", limit_price_e4=100)).status_code == 201
