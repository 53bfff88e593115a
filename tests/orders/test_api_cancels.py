"""Cancels from the request to the answer: the API and the lifecycle together, with a log and a venue in the process."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from common.contracts.events import (
    OrderState,
)
from common.contracts.topics import (
    Topic,
)
from common.contracts.values import order_id_of
from hypothesis import given, settings
from hypothesis import strategies as st
from orders.domain.cancels import PENDING_MAX
from orders.domain.lifecycle import CLOSED
from streams.model.errors import Retriable

from tests.orders.world import World, order


@pytest.fixture
async def world(make: Any) -> World:
    return World(make)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


# --- one order -----------------------------------------------------------------------------------------------------


async def test_cancel_when_sent_beside_its_order_then_it_waits_for_it_to_be_in_the_log(world: World) -> None:
    world.pauses = itertools.repeat(50)
    async with world.client() as client:
        submitting = asyncio.create_task(client.post("/v1/orders", json=order(1)))
        await asyncio.sleep(0)
        canceled, submitted = await asyncio.gather(client.delete("/v1/orders/A.1"), submitting)
    assert (submitted.status_code, canceled.status_code, canceled.json()["state"]) == (201, 200, "CANCELED")
    assert world.ends == [("A.1", 1)]


async def test_cancel_when_its_order_comes_a_moment_later_then_it_has_waited_for_it(make: Any) -> None:
    world = World(make, cancel_beside_ms=60_000)
    async with world.client() as client:
        canceling = asyncio.create_task(client.delete("/v1/orders/A.1"))
        for _ in range(1_000):  # turns of the loop, not time: by then it waits, however busy the machine is
            await asyncio.sleep(0)
        submitted = await client.post("/v1/orders", json=order(1))
        async with asyncio.timeout(20):
            canceled = await canceling
    assert (submitted.status_code, canceled.status_code, canceled.json()["state"]) == (201, 200, "CANCELED")


@pytest.mark.parametrize("skew_s", [0, 3_600])
async def test_cancel_when_id_is_unused_then_404_at_once_and_no_later_effect(world: World, skew_s: int) -> None:
    async with world.client() as client:
        ahead = {"Tidemark-Sent-Ns": str(2**62 + skew_s * 10**9)}
        refused = await client.delete("/v1/orders/A.1", headers=ahead)
        assert (refused.status_code, refused.json()["type"]) == (404, "urn:tidemark:problem:order-unknown")
        assert (await client.post("/v1/orders", json=order(1))).status_code == 201
    world.settle()
    assert world.state("A.1") is OrderState.WORKING


async def test_cancel_when_the_gate_is_behind_then_202_at_once_and_it_is_kept(world: World) -> None:
    world.gate_on = False
    async with world.client() as client:
        submitting = asyncio.create_task(client.post("/v1/orders", json=order(1)))
        await _until(lambda: bool(world.intents))
        async with asyncio.timeout(world.settings.verdict_timeout_ms / 1000):
            pending = await client.delete("/v1/orders/A.1")
            unused = await client.delete("/v1/orders/A.2")
        assert (pending.status_code, unused.status_code) == (202, 202)
        assert pending.json().items() >= {"order_id": "A.1", "account_id": "A", "state": "PENDING_CANCEL"}.items()
        world.gate_on = True
        assert (await submitting).status_code == 201
        assert (await client.post("/v1/orders", json=order(2))).status_code == 201
    world.settle()
    assert (world.state("A.1"), world.state("A.2")) == (OrderState.CANCELED, OrderState.WORKING)


async def test_cancel_when_as_many_as_are_kept_wait_then_429_and_nobody_else_is_harmed(world: World) -> None:
    world.gate_on = False
    async with world.client() as client:
        submitting = asyncio.create_task(client.post("/v1/orders", json=order(1)))
        await _until(lambda: bool(world.intents))
        cancels = [client.delete(f"/v1/orders/A.{number}") for number in range(PENDING_MAX + 5)]
        answers = await asyncio.gather(*cancels, client.delete("/v1/orders/B.1"))
        assert Counter(answer.status_code for answer in answers) == {202: PENDING_MAX + 1, 429: 5}
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert refused.headers["Retry-After"] and "pending-cancels" in refused.json()["type"]
        world.gate_on = True
        await submitting


async def test_thousand_cancels_of_unknown_orders_are_404_or_wait_their_turn_and_orders_go_on(world: World) -> None:
    async with world.client() as client:
        cancels = [asyncio.create_task(client.delete(f"/v1/orders/A.never{number}")) for number in range(1_100)]
        await asyncio.sleep(0)
        submitted = [(await client.post("/v1/orders", json=order(n, "B"))).status_code for n in range(5)]
        assert submitted == [201] * 5
        answers = Counter([(await cancel).status_code for cancel in cancels])
        assert set(answers) <= {404, 429}, answers
        assert answers[404] > len(cancels) / 2, "what comes too fast waits for 5 s, and most have their turn by then"
        assert world.verdicts.inflight == 0


async def test_cancel_when_the_end_of_the_log_is_not_known_then_503_and_nothing_is_sent(world: World) -> None:
    async def away(topic: Topic, key: bytes) -> int:
        raise Retriable("no broker")

    world.end = away  # type: ignore[method-assign]
    async with world.client() as client:
        refused = await client.delete("/v1/orders/A.1")
    assert (refused.status_code, refused.json()["type"]) == (503, "urn:tidemark:problem:not-ready")
    assert world.ends == []


# --- many orders, and suspensions ------------------------------------------------------------------------------------


async def _submitted(client: httpx.AsyncClient, *orders: dict[str, Any]) -> None:
    answers = await asyncio.gather(*(client.post("/v1/orders", json=one) for one in orders))
    assert {answer.status_code for answer in answers} == {201}


PATHS = ["/v1/accounts/A/orders", "/v1/orders?account_id=A"]


@pytest.mark.parametrize("path", PATHS)
async def test_mass_cancel_when_the_venue_cancels_then_200_names_them_and_again_none(world: World, path: str) -> None:
    async with world.client() as client:
        await _submitted(client, order(1), order(2, side="S"), order(3, symbol="MSFT"), order(1, "B"))
        one_side = (await client.request("DELETE", path, params=_params(path) | {"side": "S"})).json()
        assert (one_side["canceled"], one_side["affected_count"], one_side["complete"]) == (["A.2"], 1, True)
        every = await client.delete(path)
        assert (every.status_code, sorted(every.json()["canceled"])) == (200, ["A.1", "A.3"])
        again = await client.delete(path)
        assert (again.status_code, again.json()["canceled"], again.json()["pending"]) == (200, [], [])
    assert world.state("B.1") is OrderState.WORKING


def _params(path: str) -> dict[str, str]:
    return {"account_id": "A"} if "?" in path else {}


async def test_mass_cancel_when_the_venue_is_silent_then_202_says_what_is_pending(make: Any) -> None:
    world = World(make, verdict_timeout_ms=200)
    async with world.client() as client:
        await _submitted(client, order(1), order(2))
        await _until(lambda: not world.at_venue)
        world.venue_on = False
        answer = await client.delete("/v1/accounts/A/orders")
    assert (answer.status_code, answer.json()["pending"], answer.json()["complete"]) == (202, ["A.1", "A.2"], True)


async def test_mass_cancel_when_orders_are_undecided_then_202_and_they_are_canceled_when_they_are(make: Any) -> None:
    world = World(make, verdict_timeout_ms=300)
    world.gate_on = False
    async with world.client() as client:
        submitting = asyncio.create_task(client.post("/v1/orders", json=order(1)))
        await _until(lambda: bool(world.intents))
        answer = await client.delete("/v1/accounts/A/orders")
        assert (answer.status_code, answer.json()["complete"]) == (202, False)
        world.gate_on = True
        await submitting
    world.settle()
    assert world.state("A.1") is OrderState.CANCELED


@pytest.mark.parametrize("query", ["symbol=no%20symbol", "side=X", "account_id="])
async def test_mass_cancel_when_malformed_then_400_and_nothing_is_sent(world: World, query: str) -> None:
    async with world.client() as client:
        answer = await client.delete(f"/v1/orders?{query}")
    assert (answer.status_code, world.ends) == (400, [])


@pytest.mark.parametrize(("resting", "state"), [("cancel", OrderState.CANCELED), ("keep", OrderState.WORKING)])
async def test_suspension_when_answered_then_its_orders_are_closed_unless_it_keeps_them(
    world: World, resting: str, state: OrderState
) -> None:
    async with world.client() as client:
        await _submitted(client, order(1), order(2))
        command = {"command_id": "c", "status": "SUSPENDED", "resting": resting}
        answer = await client.post("/v1/accounts/A", json=command)
        assert (answer.status_code, answer.json()["resting"]) == (201, resting)
        assert {world.state("A.1"), world.state("A.2")} == {state}, "before the answer"


async def test_suspension_when_the_venue_is_silent_then_it_is_answered_all_the_same(make: Any) -> None:
    world = World(make, verdict_timeout_ms=200)
    async with world.client() as client:
        await _submitted(client, order(1))
        world.venue_on = False
        answer = await client.post("/v1/accounts/A", json={"command_id": "c", "status": "SUSPENDED"})
    assert (answer.status_code, answer.json()["status"]) == (201, "SUSPENDED")
    assert world.state("A.1") is OrderState.PENDING_CANCEL


async def test_account_command_without_a_status_says_none(world: World) -> None:
    async with world.client() as client:
        assert (await client.post("/v1/accounts/A", json={"command_id": "c"})).status_code == 201


# --- any interleaving ------------------------------------------------------------------------------------------------

REQUEST = st.tuples(
    st.sampled_from(["submit", "submit", "denied", "cancel", "cancel", "mass"]),
    st.sampled_from(["1", "2", "3"]),
    st.integers(0, 2**63 - 1),
    st.integers(0, 30),
)


@settings(max_examples=150, deadline=None)
@given(requests=st.lists(REQUEST, max_size=14), pauses=st.lists(st.integers(0, 40), min_size=1, max_size=8))
def test_requests_beside_each_other_find_exactly_the_orders_before_them(
    make_once: Any, requests: list[Any], pauses: list[int]
) -> None:
    """Whatever passes between a request, its place in the log and what is done about it, and whatever clocks say."""
    asyncio.run(_beside(World(make_once), requests, pauses))


async def _beside(world: World, requests: list[Any], pauses: list[int]) -> None:
    world.pauses = itertools.cycle(pauses)
    answers: list[tuple[str, str, httpx.Response]] = []
    appended_before: list[tuple[str, set[str]]] = []

    async def ask(kind: str, number: str, sent_ns: int, client: httpx.AsyncClient) -> None:
        headers = {"Tidemark-Sent-Ns": str(sent_ns)}
        if kind in ("cancel", "mass"):
            before = {order_id_of(intent.account_id, intent.client_order_id) for intent in world.intents}
            appended_before.append((f"A.{number}" if kind == "cancel" else "A", before))
        send: Awaitable[httpx.Response]
        if kind == "cancel":
            send = client.delete(f"/v1/orders/A.{number}", headers=headers)
        elif kind == "mass":
            send = client.delete("/v1/accounts/A/orders", headers=headers)
        else:
            qty = 13 if kind == "denied" else 100
            send = client.post("/v1/orders", json=order(number, qty=qty), headers=headers)
        answers.append((kind, number, await send))

    async with world.client() as client, asyncio.TaskGroup() as group:
        for kind, number, sent_ns, pause in requests:
            group.create_task(ask(kind, number, sent_ns, client))
            for _ in range(pause):
                await asyncio.sleep(0)
    world.settle()
    for kind, _, answer in answers:
        allowed = {"cancel": (200, 404, 409), "mass": (200,)}.get(kind, (201, 200, 409, 422))
        assert answer.status_code in allowed, answer.text
    for order_id, entered in world.entered.items():
        named = [end for name, end in world.ends if name in (None, order_id)]
        concerned = any(end is None or entered < end for end in named)
        denied = world.intents[entered].qty == 13
        assert world.state(order_id) is (
            OrderState.DENIED if denied else OrderState.CANCELED if concerned else OrderState.WORKING
        )
        if any(order_id in before and name in ("A", order_id) for name, before in appended_before):
            assert world.state(order_id) in CLOSED, "it was in the log before the request was even made"
