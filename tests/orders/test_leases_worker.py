"""Cancel on disconnect with real parts: the service as a process, killed beside a lease; no push runs at all."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from parts import LocalStack

from tests.orders.worker_fleet import Fleet, running

pytestmark = pytest.mark.slow
LOW = {"limit_price_e4": 100}
"""A limit at which nothing trades."""
LONG_MS = 300_000


@pytest.fixture(scope="module")
def parts() -> Iterator[LocalStack]:
    with LocalStack() as running_parts:
        yield running_parts


@pytest.fixture
async def fleet(parts: LocalStack, tmp_path: Path, make: Any) -> AsyncIterator[Fleet]:
    async with running(Fleet(parts, tmp_path, make, parts.addresses.postgres_dsn)) as fleet:
        yield fleet


async def _keep(fleet: Fleet, lease_id: str, grace_ms: int, order_prefix: str) -> None:
    body = {"grace_ms": grace_ms, "order_prefix": order_prefix}
    kept = await fleet.client.post(f"/v1/accounts/A/leases/{lease_id}", json=body)
    assert (kept.status_code, kept.json()["held"]) == (200, True), kept.text


async def _submit(fleet: Fleet, *client_order_ids: str) -> None:
    for client_order_id in client_order_ids:
        assert (await fleet.submit(client_order_id, **LOW)).status_code == 201
        await fleet.until_state(f"A.{client_order_id}", "WORKING")


async def test_orders_of_whoever_is_gone_are_canceled_also_where_the_service_was_killed_beside_it(fleet: Fleet) -> None:
    await _submit(fleet, "50", "60", "70", "80")
    await _keep(fleet, "gone", 1_000, "5")
    await _keep(fleet, "here", LONG_MS, "6")
    await _keep(fleet, "released", 1_000, "8")
    assert (await fleet.client.delete("/v1/accounts/A/leases/released")).json()["held"] is False
    canceled = await fleet.until_state("A.50", "CANCELED")
    events = (await fleet.client.get("/v1/orders/A.50/events")).json()["items"]
    texts = [event["text"] for event in events if event["state"] == "PENDING_CANCEL"]
    assert texts == ["cancel requested: lease gone has lapsed"]
    assert canceled["leaves_qty"] == 0

    await _submit(fleet, "52")
    await _keep(fleet, "gone", 2_000, "5")
    assert fleet.worker is not None
    await asyncio.to_thread(fleet.worker.stop, by=signal.SIGKILL, grace_s=10)
    await fleet.start_worker()
    await fleet.until_state("A.52", "CANCELED")

    await _submit(fleet, "54")
    states = [(await fleet.client.get(f"/v1/orders/A.{order}")).json()["state"] for order in ("54", "60", "70", "80")]
    assert states == ["WORKING"] * 4, (
        "entered after the lapse; of a lease that holds; of none; of one that was released"
    )
