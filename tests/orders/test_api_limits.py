"""More than the API takes on is refused at once, and says when to come back."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from common.contracts.events import Decision, OrderIntent, ReasonCode
from common.contracts.topics import Topic
from common.contracts.values import OrderType, Side
from orders.api.limits import LimitRequests, share_limits
from orders.api.web import create_api
from orders.desk import Desk
from orders.known_accounts import KnownAccounts
from orders.settings import OrdersHttpSettings, OrdersSettings
from orders.verdicts import Verdicts
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from streams.service.http.shares import FairShares, ShareLimits, Ticket


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


CORS = {"allow_origin_regex": r"http://localhost(:\d+)?"}
LIMITS = ShareLimits(
    total_max=4,
    client_running_max=3,
    account_running_max=2,
    running_share=1,
    busy_share=1.0,
    writes_share=1_000,
    waiting_share=1,
    burst_s=0.0,
    wait_s=0.3,
)


@pytest.mark.parametrize("answer_ms", [20, 300, 1_000])
async def test_busy_account_when_the_fleet_is_slow_then_an_honest_rate_waits_for_no_turn(answer_ms: int) -> None:
    """It begins 40 orders a second beside 99 accounts that begin 160 together. Nobody asks for more than is there, so
    nobody waits, however late the answers come; what waits here would come later still, and be refused in the end.
    """
    shares = FairShares(share_limits(OrdersSettings()))
    answered_later: deque[tuple[int, Ticket]] = deque()
    for at_ms in range(0, 5_000, 5):
        while answered_later and answered_later[0][0] <= at_ms:
            shares.leave(answered_later.popleft()[1], 0.0025, at_ms / 1000)
        account = "busy" if at_ms % 25 == 0 else f"other {at_ms % 99}"
        ticket = shares.enter("client", account, at_ms / 1000, writes=True)
        assert ticket.turn.done(), f"{account} waits at {at_ms} ms"
        answered_later.append((at_ms + answer_ms, ticket))


def limited(app: Any, limits: ShareLimits = LIMITS) -> LimitRequests:
    return LimitRequests(app, limits, accounts="ABC", body_bytes_max=1_024, cors=CORS)


def order(account: str) -> dict[str, str]:
    return {"account_id": account}


async def test_request_when_there_is_no_room_then_503_and_operators_get_through() -> None:
    slow = Slow()
    async with client(limited(slow, replace(LIMITS, total_max=2, waiting_share=9, wait_s=9))) as http:
        waiting = [asyncio.create_task(http.post("/v1/orders", json=order(each))) for each in "AB"]
        while slow.begun < 2:
            await asyncio.sleep(0)
        refused = await http.post("/v1/orders", json=order("C"))
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        assert refused.json()["type"] == "urn:tidemark:problem:overloaded"
        for path in ("/health/live", "/metrics"):
            assert (await http.get(path)).status_code == 200
        assert slow.begun == 4, "what was refused was not begun"
        slow.go.set()
        assert [(await each).status_code for each in waiting] == [200, 200]
        assert (await http.post("/v1/orders", json=order("C"))).status_code == 200


async def test_account_when_it_asks_for_more_than_its_share_then_429_in_time_and_others_are_served() -> None:
    slow = Slow()
    async with client(limited(slow)) as http:
        greedy = [asyncio.create_task(http.post("/v1/orders", json=order("A"))) for _ in range(3)]
        while slow.begun < 2:
            await asyncio.sleep(0)
        other = asyncio.create_task(http.post("/v1/orders", json=order("B")))
        while slow.begun < 3:
            await asyncio.sleep(0.01)
        origin = {"Origin": "http://localhost:5"}
        refused = await http.post("/v1/orders", json=order("A"), headers=origin)
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
        assert refused.json()["type"] == "urn:tidemark:problem:share-exceeded"
        assert refused.headers["Access-Control-Allow-Origin"] == origin["Origin"], "or a page could not read why"
        done, _ = await asyncio.wait(greedy, timeout=2, return_when=asyncio.FIRST_COMPLETED)
        assert [task.result().status_code for task in done] == [429], "it waited for its turn in vain"
        slow.go.set()
        assert (await other).status_code == 200
        assert sorted([(await task).status_code for task in greedy]) == [200, 200, 429]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/orders", b'{"account_id": "A"}'),
        ("DELETE", "/v1/orders/A.1", b""),
        ("GET", "/v1/orders/A.1", b""),
        ("GET", "/v1/accounts/A/orders", b""),
        ("POST", "/v1/accounts/A", b"{}"),
    ],
)
async def test_request_then_it_counts_for_its_account(method: str, path: str, body: bytes) -> None:
    go, begun = asyncio.Event(), 0

    async def waiting(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal begun
        begun += 1
        await go.wait()
        await PlainTextResponse("done")(scope, receive, send)

    async with client(limited(waiting, replace(LIMITS, wait_s=9))) as http:
        asked = [asyncio.create_task(http.request(method, path, content=body)) for _ in range(3)]
        asked.append(asyncio.create_task(http.post("/v1/orders", json=order("B"))))
        while begun < 3:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert begun == 3, "two of A's, which was alone, and B's; the third of A's waits"
        go.set()
        assert [(await each).status_code for each in asked] == [200] * 4


async def test_client_when_it_invents_accounts_then_all_of_them_have_one_share() -> None:
    slow = Slow()
    limits = replace(LIMITS, total_max=99, client_running_max=99, account_running_max=99, running_share=4, wait_s=9)
    async with client(limited(slow, limits)) as http:
        asked = [asyncio.create_task(http.post("/v1/orders", json=order("A")))]
        while slow.begun < 1:
            await asyncio.sleep(0)
        asked += [asyncio.create_task(http.post("/v1/orders", json=order(f"invented{n}"))) for n in range(20)]
        asked += [asyncio.create_task(http.post("/v1/orders", json=order("B"))) for _ in range(4)]
        while slow.begun < 10:
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        assert slow.begun == 10, "one of A's, all four of B's, and of the invented ones' twice the mean of these"
        slow.go.set()
        assert {(await each).status_code for each in asked} == {200}


def decision(**fields: Any) -> Decision:
    intent = OrderIntent(
        account_id="A", client_order_id="1", symbol="AAPL", side=Side.BUY, order_type=OrderType.MARKET, qty=1, sent_ns=1
    )
    place = {"intent_partition": 0, "intent_offset": 0, "account_seq": 1, "decided_ns": 1}
    return Decision(account_id="A", client_order_id="1", order_id="A.1", intent=intent, **place, **fields)


@pytest.mark.parametrize(
    ("answer", "is_known"),
    [
        ({"accepted": True}, True),
        ({"accepted": False, "reason": ReasonCode.CASH_INSUFFICIENT}, True),
        ({"accepted": False, "reason": ReasonCode.ACCOUNT_UNKNOWN}, False),
        ({"accepted": False, "reason": ReasonCode.DUPLICATE_ID}, False),
    ],
)
def test_account_when_the_gate_has_answered_then_it_is_known_unless_it_said_that_there_is_none(
    answer: dict[str, Any], is_known: bool
) -> None:
    accounts = KnownAccounts(2)
    accounts.answered("A", decision(**answer))
    assert ("A" in accounts) is is_known
    for account in ("B", "C"):
        accounts.answered(account, decision(accepted=True))
    assert [each for each in "ABC" if each in accounts] == ["B", "C"]


class Unused:
    """A sender that nothing may reach."""

    async def send(self, topic: Topic, key: bytes, body: Any) -> tuple[int, int]:
        raise AssertionError(f"{topic.name} got {body}")

    async def end(self, topic: Topic, key: bytes) -> int:
        raise AssertionError(f"the end of {topic.name} was asked for")


async def test_body_when_it_is_larger_than_allowed_then_413_told_or_not(make: Any) -> None:
    settings = OrdersSettings(http=OrdersHttpSettings(body_bytes_max=5_000))
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
