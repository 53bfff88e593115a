"""The whole service as a process on real Kafka, Redis and PostgreSQL; the test plays gate, market and client."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from common.contracts.views import Envelope, view_channel
from parts import LocalStack
from streams.views.redis_client import redis_client

from tests.orders.worker_fleet import Fleet, running

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def parts() -> Iterator[LocalStack]:
    """Parts of this module's own, since its topics have their real names and PostgreSQL is killed."""
    with LocalStack() as running:
        yield running


@pytest.fixture
async def fleet(parts: LocalStack, tmp_path: Path, make: Any) -> AsyncIterator[Fleet]:
    async with running(Fleet(parts, tmp_path, make, parts.addresses.postgres_dsn)) as fleet:
        yield fleet


def _states(responses: Sequence[httpx.Response]) -> list[int]:
    return [response.status_code for response in responses]


async def test_orders_from_http_to_fill_through_kill_and_without_postgres(fleet: Fleet) -> None:
    await _verdicts(fleet)
    await _fills_and_reads(fleet)
    await _cancels_before_beside_and_of_many(fleet)
    await _the_day_ends(fleet)
    await _killed_worker_loses_nothing(fleet)
    await _orders_are_taken_without_postgres(fleet)


async def _verdicts(fleet: Fleet) -> None:
    command = await fleet.client.post("/v1/accounts/A/fund", json={"command_id": "c", "cash_e4": 5})
    responses = [await fleet.submit(client_order_id) for client_order_id in ("2", "2", "3")]
    other = await fleet.submit("2", qty=7)
    assert _states([command, *responses, other]) == [201, 201, 200, 422, 409]
    assert (await fleet.client.delete("/v1/orders/A.2")).json()["state"] == "CANCELED"
    assert (await fleet.client.delete("/v1/orders/A.2")).status_code == 200


async def _cancels_before_beside_and_of_many(fleet: Fleet) -> None:
    """A clock one hour ahead, an order beside its cancel, an account at once, and an account that is suspended."""
    ahead = {"Tidemark-Sent-Ns": str(time.time_ns() + 3_600 * 10**9)}
    assert (await fleet.client.delete("/v1/orders/A.100", headers=ahead)).status_code == 404
    low = {"limit_price_e4": 100}
    assert (await fleet.submit("100", **low)).status_code == 201
    submitted, canceled = await asyncio.gather(fleet.submit("102", **low), fleet.client.delete("/v1/orders/A.102"))
    assert (submitted.status_code, canceled.status_code, canceled.json()["state"]) == (201, 200, "CANCELED")
    assert (await fleet.submit("104", side="S", limit_price_e4=9_000_000)).status_code == 201
    assert (await fleet.client.get("/v1/orders/A.100")).json()["state"] != "CANCELED"
    sells = await fleet.client.delete("/v1/accounts/A/orders", params={"side": "S"})
    assert (sells.status_code, sells.json()["canceled"]) == (200, ["A.104"])
    rest = await fleet.client.delete("/v1/orders", params={"account_id": "A", "symbol": "AAPL"})
    assert (rest.status_code, rest.json()["canceled"], rest.json()["complete"]) == (200, ["A.100"], True)
    assert (await fleet.submit("106", **low)).status_code == 201
    command = {"command_id": "stop", "status": "SUSPENDED"}
    suspended = await fleet.client.post("/v1/accounts/A", json=command)
    assert (suspended.status_code, suspended.json()["resting"]) == (201, "cancel")
    await fleet.until_state("A.106", "CANCELED")


async def _the_day_ends(fleet: Fleet) -> None:
    """By the exchange's clock, and that of an order which nothing happens to."""
    await fleet.clock("2019-12-30T15:00")
    assert (await fleet.submit("110", limit_price_e4=100)).status_code == 201
    await fleet.until_state("A.110", "WORKING")
    await fleet.clock("2019-12-30T16:00")
    expired = await fleet.until_state("A.110", "EXPIRED")
    assert (expired["leaves_qty"], expired["text"]) == (0, "the session has ended")
    refused = await fleet.client.delete("/v1/orders/A.110")
    assert (refused.status_code, refused.json()["order"]["state"]) == (409, "EXPIRED")


async def _fills_and_reads(fleet: Fleet) -> None:
    assert (await fleet.submit("4")).status_code == 201
    await fleet.mark(ask=(1_000_000, 60))
    partly = await fleet.until_state("A.4", "PARTIALLY_FILLED")
    assert (partly["cum_qty"], partly["leaves_qty"]) == (60, 40)
    await fleet.mark(ask=(999_000, 60))
    filled = await fleet.until_state("A.4", "FILLED")
    assert filled["notional_e4"] == 60 * 1_000_000 + 40 * 999_000
    refused = await fleet.client.delete("/v1/orders/A.4")
    assert (refused.status_code, refused.json()["order"]["state"]) == (409, "FILLED")

    async def projected() -> bool:
        """The order is told from the log's tail, its executions from the projection, a moment later."""
        executions = (await fleet.client.get("/v1/accounts/A/executions")).json()["items"]
        kinds = [report["exec_type"] for report in executions if report["order_id"] == "A.4"]
        return kinds == ["TRADE", "TRADE", "NEW"]

    await fleet.until(projected)
    account = (await fleet.client.get("/v1/accounts/A")).json()
    assert (account["status"], account["cash_e4"]) == ("ACTIVE", 5)
    async with redis_client(fleet.settings.redis.url) as redis:
        row = await redis.hget(view_channel("order", "A"), "A.4")
        fills = await redis.hgetall(view_channel("fill", "A"))
    assert row is not None
    shown = Envelope.model_validate_json(row)
    assert shown.data is not None and shown.data["state"] == "FILLED"
    assert len(fills) == 2


async def _killed_worker_loses_nothing(fleet: Fleet) -> None:
    assert fleet.worker is not None
    submitted = [await fleet.submit(str(number), limit_price_e4=900_000) for number in range(10, 30, 2)]
    assert set(_states(submitted)) == {201}
    await asyncio.to_thread(fleet.worker.stop, by=signal.SIGKILL, grace_s=10)
    await fleet.mark(ask=(900_000, 950))
    await fleet.start_worker()
    assert (await fleet.submit("10", limit_price_e4=900_000)).status_code == 200
    for number in range(10, 28, 2):
        await fleet.until_state(f"A.{number}", "FILLED")
    last = await fleet.until_state("A.28", "PARTIALLY_FILLED")
    assert (last["cum_qty"], last["leaves_qty"]) == (50, 50)


async def _orders_are_taken_without_postgres(fleet: Fleet) -> None:
    await asyncio.to_thread(fleet.parts.kill, "postgres")
    assert (await fleet.submit("40", limit_price_e4=1)).status_code == 201
    read = await fleet.client.get("/v1/orders/A.40")
    assert (read.status_code, read.json()["order_id"]) == (200, "A.40"), "from the tail"
    assert read.headers["Tidemark-As-Of"].startswith("source=tail, time_ms=")
    assert (await fleet.client.get("/v1/orders/A.2")).status_code == 503, "long projected, and not kept"
    assert (await fleet.client.delete("/v1/orders/A.40")).json()["state"] == "CANCELED"
    await asyncio.to_thread(fleet.parts.restart, "postgres")
    await fleet.until_state("A.40", "CANCELED")
