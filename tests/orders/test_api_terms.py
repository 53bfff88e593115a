"""Terms of orders over HTTP: how long they live, and how much of them trades at once. What they mean the gate says."""

from typing import Any

import pytest
from common.contracts.events import ReasonCode

from tests.orders.test_api_verdicts import ORDER, gate, silence
from tests.orders.test_api_verdicts import connect as connect  # the fixture


@pytest.mark.parametrize(
    "terms",
    [
        {"time_in_force": "FOK", "min_qty": 100},
        {"time_in_force": "IOC", "min_qty": 1},
        {"time_in_force": "GTC"},
        {"time_in_force": "GTD", "expire_ns": 2**63 - 1},
    ],
)
async def test_submit_when_it_says_its_terms_then_the_gate_is_told_them(
    connect: Any, make: Any, terms: dict[str, Any]
) -> None:
    client = connect(gate(make))
    response = await client.post("/v1/orders", json=ORDER | terms)
    assert response.status_code == 201, response.text
    ((_, intent),) = client.wire.sent
    assert intent.model_dump(mode="json", include=set(terms)) == terms
    assert response.json()["intent"].items() >= terms.items()


@pytest.mark.parametrize("terms", [{"time_in_force": "GTX"}, {"expire_ns": -1}, {"min_qty": "1"}, {"expire_ns": 1.5}])
async def test_submit_when_its_terms_are_malformed_then_400(connect: Any, terms: dict[str, Any]) -> None:
    client = connect(silence)
    response = await client.post("/v1/orders", json=ORDER | terms)
    assert response.status_code == 400 and client.wire.sent == []


async def test_submit_when_it_expires_in_the_past_then_422_with_the_exchanges_time(connect: Any, make: Any) -> None:
    numbers = {"expire_ns": 7, "exchange_ns": 8}
    denial = {"accepted": False, "reason": ReasonCode("EXPIRY_PAST"), "compared": numbers}
    response = await connect(gate(make, **denial)).post(
        "/v1/orders", json=ORDER | {"time_in_force": "GTD", "expire_ns": 7}
    )
    problem = response.json()
    assert (response.status_code, problem["reason"], problem["compared"]) == (422, "EXPIRY_PAST", numbers)
    assert problem["transient"] is False
