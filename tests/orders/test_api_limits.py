"""More than the API takes on is refused at once, and says when to come back."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
from common.contracts.topics import Topic
from orders.api.limits import LimitRequests
from orders.api.web import create_api
from orders.desk import Desk
from orders.settings import OrdersSettings
from orders.verdicts import Verdicts
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send


class Slow:
    """An application whose answers wait for ``go``."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.begun = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun += 1
        if scope["path"] == "/v1/orders":
            await self.go.wait()
        await PlainTextResponse("done")(scope, receive, send)


def client(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://orders")


async def test_request_when_too_many_are_being_answered_then_503_and_operators_get_through() -> None:
    slow = Slow()
    async with client(LimitRequests(slow, requests_max=2, body_bytes_max=1_024)) as http:
        waiting = [asyncio.create_task(http.post("/v1/orders", json={})) for _ in range(2)]
        while slow.begun < 2:
            await asyncio.sleep(0)
        refused = await http.post("/v1/orders", json={})
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        assert refused.json()["type"] == "urn:tidemark:problem:overloaded"
        for path in ("/health/live", "/metrics"):
            assert (await http.get(path)).status_code == 200
        assert slow.begun == 4, "what was refused was not begun"
        slow.go.set()
        assert [(await each).status_code for each in waiting] == [200, 200]
        assert (await http.post("/v1/orders", json={})).status_code == 200


class Unused:
    """A sender that nothing may reach."""

    async def send(self, topic: Topic, key: bytes, body: Any) -> tuple[int, int]:
        raise AssertionError(f"{topic.name} got {body}")

    async def end(self, topic: Topic, key: bytes) -> int:
        raise AssertionError(f"the end of {topic.name} was asked for")


async def test_body_when_it_is_larger_than_allowed_then_413_told_or_not(make: Any) -> None:
    settings = OrdersSettings(http_body_bytes_max=5_000)
    desk = Desk(Unused(), Verdicts(1), settings, lambda: True, Unused())
    http = client(create_api(desk, make.reads(settings), settings))
    sent: list[int] = []

    async def endless() -> AsyncIterator[bytes]:
        while True:
            sent.append(1_000)
            yield b" " * 1_000

    told = await http.post("/v1/orders", content=b" " * 6_000)
    assert told.status_code == 413
    untold = await http.post("/v1/orders", content=endless())
    assert untold.status_code == 413
    assert untold.json()["detail"] == "a body has at most 5000 bytes"
    assert sum(sent) <= 7_000, "it was not read on"
    await http.aclose()
