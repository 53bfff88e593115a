"""The API while PostgreSQL is away: what is put on the log is answered with what was committed about it.

The log is a list in the process; what answers on it is told by each test.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from common.contracts.events import TRANSIENT_REASONS, CommandResult, Decision, OrderEvent, OrderState, ReasonCode
from common.contracts.topics import (
    ORDERS_CANCELS,
    ORDERS_EVENTS,
    ORDERS_INTENTS,
    RISK_COMMANDS,
    RISK_DECISIONS,
    Topic,
)
from orders.api.web import create_api
from orders.desk import Desk
from orders.domain.lifecycle import on_decision
from orders.recent import Recent
from orders.settings import OrdersPostgresSettings, OrdersSettings
from orders.verdicts import Verdicts
from pydantic import SecretStr
from streams.model.errors import Retriable
from streams.model.message import Message

ORDER = {
    "account_id": "A",
    "client_order_id": "1",
    "symbol": "AAPL",
    "side": "B",
    "order_type": "LIMIT",
    "qty": 100,
    "limit_price_e4": 1_000_000,
}
Answer = Callable[["Wire", Topic, Any, tuple[int, int]], None]


class Wire:
    """The log between a replica and the stages. ``answer`` sees every message sent, before the sender is told."""

    def __init__(self, verdicts: Verdicts, recent: Recent, answer: Answer) -> None:
        self.verdicts = verdicts
        self.recent = recent
        self.answer = answer
        self.sent: list[tuple[Topic, Any]] = []
        self._offsets = itertools.count()

    async def send(self, topic: Topic, key: bytes, body: Any) -> tuple[int, int]:
        place = (3, next(self._offsets))
        self.sent.append((topic, topic.schema.decode(topic.schema.encode(body))))
        self.answer(self, topic, body, place)
        await asyncio.sleep(0)
        return place

    async def end(self, topic: Topic, key: bytes) -> int:
        return sum(sent is topic for sent, _ in self.sent)

    def commit(self, topic: Topic, body: Any) -> None:
        value = body if isinstance(body, bytes) else topic.schema.encode(body)
        key = b"A" if isinstance(body, bytes) else body.account_id.encode()
        messages = [Message(topic, 3, next(self._offsets), key, value, 0)]
        self.recent.on_messages(messages)
        self.verdicts.on_messages(messages)


class Client(httpx.AsyncClient):
    wire: Wire


@pytest.fixture
async def connect(make: Any) -> AsyncIterator[Callable[..., Client]]:
    clients: list[Client] = []

    def connected(answer: Answer, *, tailing: bool = True, **changes: Any) -> Client:
        away = SecretStr("postgresql://nobody@127.0.0.1:1/nothing")
        fields: dict[str, Any] = {"verdict_timeout_ms": 5_000, "postgres": OrdersPostgresSettings(dsn=away)} | changes
        settings = OrdersSettings(**fields)
        verdicts = Verdicts(settings.inflight_max)
        recent = Recent(settings.orders_recent_max)
        wire = Wire(verdicts, recent, answer)
        desk = Desk(wire, verdicts, settings, lambda: tailing, wire)
        api = create_api(desk, make.reads(settings, recent), settings)
        client = Client(transport=httpx.ASGITransport(api), base_url="http://orders")
        client.wire = wire
        clients.append(client)
        return client

    yield connected
    for client in clients:
        await client.aclose()


def gate(make: Any, **changes: Any) -> Answer:
    """Answers each intent at once: before the sender hears from the broker, which is the race that matters."""

    def answer(wire: Wire, topic: Topic, body: Any, place: tuple[int, int]) -> None:
        assert topic is ORDERS_INTENTS
        fields = {"intent_partition": place[0], "intent_offset": place[1]} | changes
        wire.commit(RISK_DECISIONS, make.decision(body, **fields))

    return answer


async def test_submit_when_accepted_then_201_with_the_committed_decision(connect: Any, make: Any) -> None:
    client = connect(gate(make))
    sent_ns = time.time_ns() - 1_000_000
    response = await client.post("/v1/orders", json=ORDER, headers={"Tidemark-Sent-Ns": str(sent_ns)})
    assert response.status_code == 201, response.text
    decision = Decision.model_validate_json(response.content)
    assert decision.order_id == "A.1" and decision.intent.sent_ns == sent_ns
    assert response.headers["Location"] == "/v1/orders/A.1"
    assert client.wire.sent == [(ORDERS_INTENTS, decision.intent)]


@pytest.mark.parametrize("sent_ns", [0, 1, 2**63 - 1])
async def test_submit_when_the_senders_clock_cannot_be_then_our_own_is_taken(
    connect: Any, make: Any, sent_ns: int
) -> None:
    before_ns = time.time_ns()
    response = await connect(gate(make)).post("/v1/orders", json=ORDER, headers={"Tidemark-Sent-Ns": str(sent_ns)})
    assert response.status_code == 201
    assert before_ns <= response.json()["intent"]["sent_ns"] <= time.time_ns()


async def test_submit_when_repeated_then_200_with_the_first_answer(connect: Any, make: Any) -> None:
    response = await connect(gate(make, repeat=True)).post("/v1/orders", json=ORDER)
    assert (response.status_code, response.json()["repeat"]) == (200, True)


@pytest.mark.parametrize("repeat", [False, True])
@pytest.mark.parametrize("reason", ReasonCode)
async def test_denial_tells_whether_asking_again_can_help(
    connect: Any, make: Any, reason: ReasonCode, repeat: bool
) -> None:
    """A repeat under the same id gets the same answer, which says that the id is used up."""
    if reason is ReasonCode.DUPLICATE_ID:
        return  # a conflict over the id, 409
    response = await connect(gate(make, accepted=False, reason=reason, repeat=repeat)).post("/v1/orders", json=ORDER)
    body = response.json()
    assert (response.status_code, body["reason"]) == (422, reason.value)
    assert body["transient"] is (reason in TRANSIENT_REASONS)
    assert ("Retry-After" in response.headers) is body["transient"]
    assert ("new client_order_id" in body["detail"]) is body["transient"]
    assert "used up" in body["detail"]


def test_transient_reasons_are_about_the_market_not_a_collar_a_self_cross_or_headroom() -> None:
    assert {reason.value for reason in TRANSIENT_REASONS} == {"INSTRUMENT_HALTED", "MARK_MISSING", "MARK_STALE"}


async def test_submit_when_denied_then_422_with_reason_and_numbers(connect: Any, make: Any) -> None:
    denial = {"accepted": False, "reason": ReasonCode.CASH_INSUFFICIENT, "compared": {"shortfall_cash_e4": 5}}
    response = await connect(gate(make, **denial)).post("/v1/orders", json=ORDER)
    assert response.status_code == 422
    assert response.headers["Content-Type"] == "application/problem+json"
    problem = response.json()
    assert (problem["reason"], problem["compared"]) == ("CASH_INSUFFICIENT", {"shortfall_cash_e4": 5})
    assert problem["decision"]["order_id"] == "A.1"


async def test_submit_when_id_is_taken_by_another_body_then_409_names_the_field(connect: Any, make: Any) -> None:
    conflict = {"accepted": False, "reason": ReasonCode.DUPLICATE_ID, "conflict": "qty"}
    response = await connect(gate(make, **conflict)).post("/v1/orders", json=ORDER)
    assert response.status_code == 409
    assert response.json()["conflict"] == "qty"


async def test_submit_takes_the_decision_on_its_own_record_only(connect: Any, make: Any) -> None:
    """Another replica's request under the same id is answered in between."""

    def answer(wire: Wire, _topic: Topic, body: Any, place: tuple[int, int]) -> None:
        wire.commit(RISK_DECISIONS, make.decision(body, intent_partition=place[0], intent_offset=99))
        wire.commit(RISK_DECISIONS, make.decision(body, intent_partition=1, intent_offset=place[1]))
        wire.commit(RISK_DECISIONS, b"not json")
        own = {"intent_partition": place[0], "intent_offset": place[1], "accepted": False}
        wire.commit(RISK_DECISIONS, make.decision(body, **own, reason=ReasonCode.DUPLICATE_ID, conflict="side"))

    response = await connect(answer).post("/v1/orders", json=ORDER)
    assert (response.status_code, response.json()["conflict"]) == (409, "side")


def silence(*_: Any) -> None:
    """Nobody answers."""


async def test_submit_when_no_verdict_in_time_then_503_says_ask_again(connect: Any) -> None:
    client = connect(silence, verdict_timeout_ms=1)
    response = await client.post("/v1/orders", json=ORDER)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    assert response.json()["type"] == "urn:tidemark:problem:no-verdict"
    assert "ask again with the same id" in response.json()["detail"]
    assert len(client.wire.sent) == 1 and client.wire.verdicts.inflight == 0


async def test_submit_when_broker_is_away_then_503_says_ask_again(connect: Any) -> None:
    def refuse(*_: Any) -> None:
        raise Retriable("no broker")

    response = await connect(refuse).post("/v1/orders", json=ORDER)
    assert (response.status_code, response.json()["type"]) == (503, "urn:tidemark:problem:no-verdict")


async def test_submit_when_tail_is_not_read_then_nothing_is_sent(connect: Any) -> None:
    client = connect(silence, tailing=False)
    response = await client.post("/v1/orders", json=ORDER)
    assert (response.status_code, response.json()["type"]) == (503, "urn:tidemark:problem:not-ready")
    assert client.wire.sent == []


async def test_submit_when_too_many_wait_then_503_and_nothing_is_sent(connect: Any, make: Any) -> None:
    held: list[tuple[Any, tuple[int, int]]] = []
    waiting = asyncio.Event()

    def hold(_wire: Wire, _topic: Topic, body: Any, place: tuple[int, int]) -> None:
        held.append((body, place))
        waiting.set()

    client = connect(hold, inflight_max=1)
    first = asyncio.create_task(client.post("/v1/orders", json=ORDER))
    await waiting.wait()
    second = await client.post("/v1/orders", json=ORDER | {"client_order_id": "2"})
    assert (second.status_code, second.json()["type"]) == (503, "urn:tidemark:problem:not-ready")
    (body, place) = held[0]
    client.wire.commit(RISK_DECISIONS, make.decision(body, intent_partition=place[0], intent_offset=place[1]))
    assert (await first).status_code == 201
    assert len(client.wire.sent) == 1


@pytest.mark.parametrize(
    "changes",
    [{"qty": 1.5}, {"qty": "many"}, {"side": "X"}, {"account_id": "no spaces"}, {"surprise": 1}, {"qty": None}],
)
async def test_submit_when_malformed_then_400_and_nothing_is_sent(connect: Any, changes: dict[str, Any]) -> None:
    client = connect(silence)
    response = await client.post("/v1/orders", json=ORDER | changes)
    assert (response.status_code, response.headers["Content-Type"]) == (400, "application/problem+json")
    assert next(iter(changes)) in str(response.json()["errors"])
    assert client.wire.sent == []


async def test_submit_when_quantity_is_wrong_then_that_is_for_the_gate_to_say(connect: Any, make: Any) -> None:
    denial = {"accepted": False, "reason": ReasonCode.QTY_NOT_POSITIVE, "compared": {"qty": -5}}
    response = await connect(gate(make, **denial)).post("/v1/orders", json=ORDER | {"qty": -5})
    assert (response.status_code, response.json()["reason"]) == (422, "QTY_NOT_POSITIVE")


# --- cancel -------------------------------------------------------------------------------------------------------


def lifecycle(make: Any, *events: dict[str, Any]) -> Answer:
    """Answers a cancel request with these events of its order."""

    def answer(wire: Wire, topic: Topic, body: Any, _place: tuple[int, int]) -> None:
        assert topic is ORDERS_CANCELS
        order = on_decision(None, make.decision(make.intent()), 7).order
        for revision, changes in enumerate(events, 2):
            order = order.model_copy(update={"revision": revision} | changes)
            wire.commit(ORDERS_EVENTS, order)

    return answer


PENDING = {"state": OrderState.PENDING_CANCEL, "text": "cancel requested"}


async def test_cancel_when_venue_cancels_then_200_with_the_order(connect: Any, make: Any) -> None:
    client = connect(lifecycle(make, PENDING, {"state": OrderState.CANCELED, "leaves_qty": 0}))
    response = await client.delete("/v1/orders/A.1")
    assert response.status_code == 200, response.text
    assert OrderEvent.model_validate_json(response.content).state is OrderState.CANCELED


@pytest.mark.parametrize(
    "refusal",
    [
        {"state": OrderState.FILLED, "text": ""},
        {"state": OrderState.DENIED, "text": "cancel rejected: the order is DENIED"},
        {"state": OrderState.PARTIALLY_FILLED, "text": "cancel rejected: too late"},
    ],
)
async def test_cancel_when_refused_then_409_shows_the_order(connect: Any, make: Any, refusal: dict[str, Any]) -> None:
    response = await connect(lifecycle(make, PENDING, refusal)).delete("/v1/orders/A.1")
    assert response.status_code == 409
    assert response.json()["order"]["state"] == refusal["state"]


async def test_cancel_when_venue_takes_long_then_202_pending(connect: Any, make: Any) -> None:
    response = await connect(lifecycle(make, PENDING), verdict_timeout_ms=20).delete("/v1/orders/A.1")
    assert (response.status_code, response.json()["state"]) == (202, "PENDING_CANCEL")


async def test_cancel_when_nothing_is_said_then_503(connect: Any) -> None:
    response = await connect(silence, verdict_timeout_ms=20).delete("/v1/orders/A.1")
    assert (response.status_code, response.json()["type"]) == (503, "urn:tidemark:problem:no-verdict")


# --- commands -----------------------------------------------------------------------------------------------------

COMMANDS = [
    ("/v1/accounts/A", {"command_id": "c", "status": "SUSPENDED"}),
    ("/v1/accounts/A/fund", {"command_id": "c", "cash_e4": 5}),
    ("/v1/accounts/A/fund", {"command_id": "c", "symbol": "AAPL", "qty": 5}),
    ("/v1/accounts/A/breaks/2-117", {"command_id": "c", "action": "BOOK", "note": "seen on the venue's screen"}),
    ("/v1/accounts/A/withdraw", {"command_id": "c", "cash_e4": 5}),
]


def books(**changes: Any) -> Answer:
    def answer(wire: Wire, topic: Topic, body: Any, place: tuple[int, int]) -> None:
        assert topic is RISK_COMMANDS
        fields: dict[str, Any] = {"accepted": True, "account_seq": 1, "decided_ns": 1} | changes
        ids = {"account_id": body.account_id, "command_id": body.command_id}
        other = {"command_partition": place[0], "command_offset": place[1] + 7}
        wire.commit(RISK_DECISIONS, CommandResult(**ids, **other, accepted=False, account_seq=0, decided_ns=1))
        own = {"command_partition": place[0], "command_offset": place[1]}
        wire.commit(RISK_DECISIONS, CommandResult(**ids, **own, **fields))

    return answer


@pytest.mark.parametrize(("path", "body"), COMMANDS)
async def test_command_when_done_then_201_and_again_200(connect: Any, path: str, body: dict[str, Any]) -> None:
    for repeat, status in ((False, 201), (True, 200)):
        client = connect(books(repeat=repeat))
        response = await client.post(path, json=body)
        assert response.status_code == status, response.text
        ((_, command),) = client.wire.sent
        assert command.model_dump(exclude_none=True).items() >= ({"account_id": "A"} | body).items()


async def test_command_when_denied_then_422_and_when_id_is_taken_then_409(connect: Any) -> None:
    path, body = COMMANDS[-1]
    short = books(accepted=False, reason=ReasonCode.CASH_INSUFFICIENT, compared={"shortfall_cash_e4": 4})
    response = await connect(short).post(path, json=body)
    assert (response.status_code, response.json()["compared"]) == (422, {"shortfall_cash_e4": 4})
    taken = books(accepted=False, reason=ReasonCode.DUPLICATE_ID, conflict="cash_e4")
    response = await connect(taken).post(path, json=body)
    assert (response.status_code, response.json()["conflict"]) == (409, "cash_e4")


# --- the rest -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/orders/A.1", "/v1/accounts/A", "/v1/accounts/A/orders", "/v1/accounts/A/ledger"])
async def test_reads_when_postgres_is_away_then_503(connect: Any, path: str) -> None:
    response = await connect(silence).get(path)
    assert (response.status_code, response.json()["type"]) == (503, "urn:tidemark:problem:reads-degraded")
    assert response.headers["Retry-After"] == "1"


async def test_unknown_path_is_a_problem_too(connect: Any) -> None:
    response = await connect(silence).get("/v1/nothing")
    assert (response.status_code, response.headers["Content-Type"]) == (404, "application/problem+json")


async def test_openapi_names_the_problems_and_the_contracts(connect: Any) -> None:
    document = (await connect(silence).get("/openapi.json")).json()
    submit = document["paths"]["/v1/orders"]["post"]["responses"]
    assert set(submit) >= {"200", "201", "400", "409", "422", "503"}
    assert "application/problem+json" in submit["422"]["content"]
    schemas = document["components"]["schemas"]
    assert {"Decision", "OrderEvent", "ProblemDetails", "AccountData"} <= set(schemas)
    assert "HTTPValidationError" not in str(document)


async def test_openapi_declares_every_answer_of_a_read_and_as_of_when_it_is(connect: Any) -> None:
    document = (await connect(silence).get("/openapi.json")).json()
    reads = {
        path: methods["get"]["responses"]
        for path, methods in document["paths"].items()
        if path.startswith("/v1/")
        if "get" in methods
    }
    assert len(reads) == 7
    for path, responses in reads.items():
        is_one = path in ("/v1/orders/{order_id}", "/v1/orders/{order_id}/events", "/v1/accounts/{account_id}")
        assert set(responses) >= {"200", "400", "503"}
        assert ("404" in responses) == is_one
        for code in ("200", *(["404"] if is_one else [])):
            assert "Tidemark-As-Of" in responses[code]["headers"]


@pytest.mark.parametrize(("origin", "allowed"), [("http://localhost:5173", True), ("https://evil.example", False)])
async def test_cors_is_for_the_operators_own_pages(connect: Any, origin: str, allowed: bool) -> None:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    response = await connect(silence).options("/v1/orders", headers=headers)
    assert ("access-control-allow-origin" in response.headers) is allowed
