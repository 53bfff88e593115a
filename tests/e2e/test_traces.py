"""The trace graph, asserted: from HTTP and from the feed to the frame that a browser gets, Kafka hops included."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from parts import LocalStack, Stack
from tidemark.deployment import Deployment, DeploymentOptions
from tidemark.feeds import synthetic_feed
from tidemark.load.clients import open_accounts
from tidemark.load.http import HttpGateway
from tidemark.quotes import QuoteBoard
from tidemark.state import StateDir
from websockets.asyncio.client import ClientConnection, connect

pytestmark = [pytest.mark.slow, pytest.mark.jaeger, pytest.mark.asyncio(loop_scope="module")]
ACCOUNT = "TRACED"
WAIT_S = 60.0
ORDER_EDGES = {("orders", "risk"), ("risk", "orders"), ("orders", "push")}
MARKET_EDGES = {("ingest", "signals"), ("signals", "push")}


@pytest.fixture(scope="module")
def jaeger() -> Iterator[Stack]:
    """A Jaeger of this test's own."""
    with LocalStack({"jaeger"}) as running:
        yield running.addresses


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def traced(jaeger: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    """A fleet that samples every trace."""
    options = DeploymentOptions(
        any_free_ports=True,
        feed=synthetic_feed(seed=7, rate_per_s=200, symbols=5),
        environment={"TIDEMARK_OTLP_ENDPOINT": jaeger.otlp_endpoint, "TIDEMARK_TRACE_RATIO": "1"},
        keep=False,
    )
    async with Deployment(StateDir(tmp_path_factory.mktemp("traced")), options) as running:
        yield running


async def edges(jaeger: Stack, service: str) -> set[tuple[str, str]]:
    """(service of the parent span, service of the child span) over the recent traces of a service."""
    async with httpx.AsyncClient(base_url=jaeger.jaeger_url, timeout=30) as client:
        answer = await client.get("/api/traces", params={"service": service, "limit": 300, "lookback": "1h"})
    found: set[tuple[str, str]] = set()
    for trace in answer.json().get("data") or []:
        found |= _edges_of(trace)
    return found


def _edges_of(trace: dict[str, Any]) -> set[tuple[str, str]]:
    names = {key: process["serviceName"] for key, process in trace["processes"].items()}
    owner = {span["spanID"]: names[span["processID"]] for span in trace["spans"]}
    pairs = (
        (owner.get(reference["spanID"], ""), owner[span["spanID"]])
        for span in trace["spans"]
        for reference in span["references"]
    )
    return {(parent, child) for parent, child in pairs if parent != child}


async def until_edges(jaeger: Stack, service: str, wanted: set[tuple[str, str]]) -> None:
    """Exporters send in batches, so the graph is complete a moment later."""
    found: set[tuple[str, str]] = set()
    try:
        async with asyncio.timeout(WAIT_S):
            while not wanted <= found:
                await asyncio.sleep(0.5)
                found |= await edges(jaeger, service)
    except TimeoutError:
        raise AssertionError(f"edges from {service}: {found}, without {wanted - found}") from None


async def until_found(jaeger: Stack, trace_id: str, order_id: str, symbol: str) -> None:
    """By the id that the answer named, and by what the trace is about."""
    about = {"order_id": order_id, "account_id": ACCOUNT, "symbol": symbol}
    async with httpx.AsyncClient(base_url=jaeger.jaeger_url, timeout=30) as client, asyncio.timeout(WAIT_S):
        while True:
            named = (await client.get(f"/api/traces/{trace_id}")).json().get("data") or []
            wanted = {"service": "risk", "lookback": "1h", "tags": json.dumps({"order_id": order_id})}
            found = (await client.get("/api/traces", params=wanted)).json().get("data") or []
            if named and trace_id in {trace["traceID"] for trace in found}:
                break
            await asyncio.sleep(0.5)
    tags = [{tag["key"]: tag["value"] for tag in span["tags"]} for span in named[0]["spans"]]
    assert any(about.items() <= each.items() for each in tags), tags


async def subscribed(push_url: str, topics: list[str]) -> ClientConnection:
    """A browser's stand-in: frames are only made for somebody who asked."""
    socket = await connect(f"{push_url.replace('http', 'ws', 1)}/ws", max_size=None)
    await socket.send(json.dumps({"op": "subscribe", "topics": topics}))
    return socket


async def drained(socket: ClientConnection) -> None:
    async for _ in socket:
        pass


async def test_order_and_ticks_when_traced_then_the_graph_reaches_the_frame(traced: Deployment, jaeger: Stack) -> None:
    socket = await subscribed(traced.url("push"), ["quote", f"order:{ACCOUNT}", f"account:{ACCOUNT}"])
    draining = asyncio.create_task(drained(socket))
    try:
        async with QuoteBoard(traced.addresses.redis_url) as quotes:
            symbol = (await quotes.wait_for_market(1, WAIT_S))[0]
        async with HttpGateway(traced.url("orders")) as gateway:
            await open_accounts(gateway, {ACCOUNT: []})
        body = {
            "account_id": ACCOUNT, "client_order_id": uuid.uuid4().hex, "symbol": symbol, "side": "B",
            "order_type": "LIMIT", "qty": 1, "limit_price_e4": 10_000,
        }  # fmt: skip
        async with httpx.AsyncClient(base_url=traced.url("orders"), timeout=30) as client:
            answer = await client.post("/v1/orders", json=body)
        assert answer.status_code == 201, answer.text
        await until_edges(jaeger, "orders", ORDER_EDGES)
        await until_found(jaeger, answer.headers["Tidemark-Trace-Id"], answer.json()["order_id"], symbol)
        await until_edges(jaeger, "ingest", MARKET_EDGES)
    finally:
        draining.cancel()
        await asyncio.gather(draining, return_exceptions=True)
        await socket.close()
