"""Reads after writes: all that a client was told is in what it reads next, or the answer says that it is not."""

import asyncio
import itertools
import re
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from common.access.http import Admission, RequireIdentity
from common.access.identities import identities_of
from common.contracts.events import (
    CASH,
    AccountStatus,
    Book,
    CommandResult,
    EntryKind,
    LedgerEntry,
    OrderEvent,
    OrderState,
    Posting,
)
from common.contracts.topics import ORDERS_EVENTS, RISK_DECISIONS, RISK_LEDGER, Topic
from fastapi import FastAPI
from orders.api.problems import handle_problems
from orders.api.reads import reads_router
from orders.database import Database
from orders.domain.lifecycle import begun, on_cancel, on_decision
from orders.queries import Queries
from orders.reads import AsOf, Reads, Source
from orders.recent import Recent
from orders.settings import OrdersPostgresSettings, OrdersSettings
from orders.sink import ProjectionSink
from orders.stops import Place
from pydantic import SecretStr
from streams.kafka.partitioner import partition_of
from streams.model.message import Message

AS_OF = re.compile(r"source=(projection|tail)(, time_ms=\d+, age_ms=\d+)?(, behind)?")
PARTITION = partition_of(b"A", ORDERS_EVENTS.partitions)


class Projected:
    """The sink alone, fed by the test; ``as_of`` is what the follower would say."""

    def __init__(self, sink: ProjectionSink) -> None:
        self.sink = sink
        self.as_of = 0
        self.going_on = True

    def reached(self, place: Place) -> int:
        return self.sink.reached.get(place, 0)

    def as_of_ns(self, place: Place) -> int:
        return self.as_of

    def is_going_on(self, place: Place) -> bool:
        return self.going_on

    async def moved(self) -> None:
        await self.sink.moved()


class World:
    """One replica: its log, its tail, its projection and its API."""

    def __init__(self, dsn: str, orders_max: int = 100) -> None:
        settings = OrdersSettings(postgres=OrdersPostgresSettings(dsn=SecretStr(dsn)), reads_timeout_ms=1_000)
        self.database = Database(settings.postgres, 4, settings.reads_timeout_ms)
        self.recent = Recent(orders_max)
        self.sink = ProjectionSink(self.database, self.recent.on_projected)
        self.projected = Projected(self.sink)
        self.reads = Reads(Queries(self.database), self.recent, self.projected)
        api = FastAPI()
        handle_problems(api)
        api.include_router(reads_router(self.reads, 500))
        api.add_middleware(
            RequireIdentity, service="orders", admission=Admission("orders", identities_of(settings.access))
        )
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://orders")
        self._offsets: dict[str, Iterator[int]] = {}
        self._unprojected: list[Message] = []
        self.recent.on_started({(topic.name, PARTITION): 0 for topic in (RISK_DECISIONS, ORDERS_EVENTS)})

    def commit(self, topic: Topic, *bodies: Any, tail: bool = True) -> None:
        """Into the log, and to the tail; not yet projected."""
        offsets = self._offsets.setdefault(topic.name, itertools.count())
        messages = [
            Message(topic, PARTITION, next(offsets), b"A", topic.schema.encode(body), 1_700_000_000_000)
            for body in bodies
        ]
        self._unprojected += messages
        if tail and topic is not RISK_LEDGER:
            self.recent.on_messages(messages)

    async def project(self) -> None:
        messages, self._unprojected = self._unprojected, []
        self.projected.as_of = time.time_ns()
        await self.sink.apply(messages, {(m.topic.name, m.partition): m.offset + 1 for m in messages})

    async def get(self, path: str) -> tuple[int, Any, str]:
        response = await self.client.get(path)
        as_of = response.headers.get("Tidemark-As-Of", "")
        assert AS_OF.fullmatch(as_of) or response.status_code == 503, as_of
        return response.status_code, response.json(), as_of


@pytest.fixture
async def world(postgres_dsn: str) -> AsyncIterator[World]:
    made = World(postgres_dsn)
    await made.sink.positions()
    yield made
    await made.client.aclose()
    await made.database.close()


@pytest.fixture
async def cut_off() -> AsyncIterator[World]:
    """PostgreSQL does not answer."""
    made = World("postgresql://nobody@127.0.0.1:1/nothing")
    yield made
    await made.client.aclose()


def result(seq: int, status: AccountStatus = AccountStatus.ACTIVE) -> CommandResult:
    return CommandResult(account_id="A", command_id="c", accepted=True, status=status, account_seq=seq, decided_ns=1)


def fund(seq: int) -> LedgerEntry:
    legs = (Posting(book=Book.AVAILABLE, asset=CASH, amount=5), Posting(book=Book.EXTERNAL, asset=CASH, amount=-5))
    return LedgerEntry(account_id="A", seq=seq, kind=EntryKind.FUND, postings=legs, booked_ns=1)


async def test_order_can_be_read_from_its_decision_on(world: World, make: Any) -> None:
    decision = make.decision(make.intent())
    world.commit(RISK_DECISIONS, decision)
    code, body, as_of = await world.get("/v1/orders/A.1")
    assert (code, body["state"], as_of.split(",")[0]) == (200, "ACCEPTED", "source=tail")
    first = begun(decision, 7)
    second = on_cancel(first, 700, 8).order
    world.commit(ORDERS_EVENTS, first, second)
    assert (await world.get("/v1/orders/A.1"))[1]["state"] == "PENDING_CANCEL"
    await world.project()
    code, body, as_of = await world.get("/v1/orders/A.1")
    assert (code, body["revision"], as_of.split(",")[0]) == (200, 2, "source=projection")


async def test_order_when_postgres_is_away_then_from_the_tail(cut_off: World, make: Any) -> None:
    decision = make.decision(make.intent())
    cut_off.commit(RISK_DECISIONS, decision)
    assert (await cut_off.get("/v1/orders/A.1"))[:2][0] == 200
    cut_off.commit(ORDERS_EVENTS, begun(decision, 7))
    code, _, as_of = await cut_off.get("/v1/orders/A.1")
    assert (code, as_of.split(",")[0]) == (200, "source=tail")
    code, body, _ = await cut_off.get("/v1/orders/A.2")
    assert (code, body["type"], body["trouble"]) == (503, "urn:tidemark:problem:reads-degraded", "away")
    assert "127.0.0.1" not in body["detail"], "hosts are not for clients"


async def test_order_when_its_decision_comes_late_on_the_tail_then_the_events_say_more(world: World, make: Any) -> None:
    """The two come by different topics: the events may be projected and forgotten before the decision arrives."""
    decision = make.decision(make.intent())
    closed = begun(decision, 7).model_copy(update={"revision": 4, "state": OrderState.CANCELED, "leaves_qty": 0})
    world.commit(ORDERS_EVENTS, closed)
    await world.project()
    world.commit(RISK_DECISIONS, decision)
    for _ in range(2):
        code, body, as_of = await world.get("/v1/orders/A.1")
        assert (code, body["state"], as_of.split(",")[0]) == (200, "CANCELED", "source=projection")


async def test_order_when_nobody_knows_it_then_404_says_as_of_when(world: World) -> None:
    code, body, as_of = await world.get("/v1/orders/A.1")
    assert (code, body["type"]) == (404, "urn:tidemark:problem:order-unknown")
    assert as_of.startswith("source=projection")


async def test_order_when_the_projection_may_lack_it_then_503_and_not_404(world: World, make: Any) -> None:
    """Committed before this process began to read the tail, and not projected yet."""
    world.commit(ORDERS_EVENTS, begun(make.decision(make.intent()), 7), tail=False)
    world.recent.on_started({(ORDERS_EVENTS.name, PARTITION): 1})
    code, body, _ = await world.get("/v1/orders/A.1")
    assert (code, body["type"], body["trouble"]) == (503, "urn:tidemark:problem:reads-degraded", "behind")
    await world.project()
    assert (await world.get("/v1/orders/A.1"))[0] == 200
    assert (await world.get("/v1/orders/A.2"))[0] == 404


async def test_order_when_decided_long_ago_and_without_an_event_then_503_and_not_404(world: World, make: Any) -> None:
    """The lifecycle has not handled the decision, which is projected and was never on this tail."""
    world.commit(RISK_DECISIONS, make.decision(make.intent()), tail=False)
    await world.project()
    code, body, _ = await world.get("/v1/orders/A.1")
    assert (code, body["trouble"]) == (503, "behind")


async def test_absent_order_when_marks_of_transactions_follow_then_404(world: World) -> None:
    """The tail began behind a commit marker, which no projection passes; it knows by time that it is up to date."""
    world.recent.on_started({(ORDERS_EVENTS.name, PARTITION): 9})
    assert (await world.get("/v1/orders/A.1"))[0] == 503
    world.projected.as_of = time.time_ns()
    assert (await world.get("/v1/orders/A.1"))[0] == 404


async def test_id_is_absent_for_certain_only_once_every_intent_before_the_cancel_is_decided(
    world: World, make: Any
) -> None:
    assert not await world.reads.is_absent("A.1", 1), "no decision was seen"
    decided = make.decision(make.intent("2")).model_copy(update={"intent_offset": 4})
    world.commit(RISK_DECISIONS, decided)
    await world.project()
    assert await world.reads.is_absent("A.1", 5)
    assert not await world.reads.is_absent("A.1", 6), "an intent is not decided yet: it may be this one"
    assert not await world.reads.is_absent("A.2", 5), "it is decided, and its first event is still to come"


async def test_id_is_absent_when_the_last_decision_before_the_cancel_comes_while_it_waits(
    world: World, make: Any
) -> None:
    first, second = (make.decision(make.intent(str(n))).model_copy(update={"intent_offset": n}) for n in (4, 5))
    world.commit(RISK_DECISIONS, first)
    await world.project()
    asked = asyncio.create_task(world.reads.is_absent("A.1", 6))
    await asyncio.sleep(0)
    assert not asked.done()
    world.commit(RISK_DECISIONS, second)
    assert await asked


async def test_id_is_absent_for_certain_only_where_the_projection_has_what_the_tail_lacks(
    world: World, cut_off: World, make: Any
) -> None:
    decided = make.decision(make.intent("2")).model_copy(update={"intent_offset": 4})
    for each in (world, cut_off):
        each.commit(RISK_DECISIONS, decided)
    assert not await cut_off.reads.is_absent("A.1", 5), "PostgreSQL cannot be asked"
    world.recent.on_started({(RISK_DECISIONS.name, PARTITION): 9})
    assert not await world.reads.is_absent("A.1", 5), "decisions went past that neither the tail nor the projection has"


async def test_account_can_be_read_from_its_opening_on(world: World) -> None:
    world.commit(RISK_DECISIONS, result(0))
    code, body, as_of = await world.get("/v1/accounts/A")
    assert (code, body["status"], body["cash_e4"], as_of.split(",")[0]) == (200, "ACTIVE", 0, "source=tail")


async def test_account_waits_for_what_the_gate_answered(world: World) -> None:
    world.commit(RISK_LEDGER, fund(1))
    world.commit(RISK_DECISIONS, result(1))
    asking = asyncio.create_task(world.get("/v1/accounts/A"))
    await asyncio.sleep(0.1)
    assert not asking.done()
    await world.project()
    code, body, as_of = await asking
    assert (code, body["cash_e4"], body["seq"]) == (200, 5, 1)
    assert "behind" not in as_of


@pytest.mark.parametrize("going_on", [True, False])
async def test_account_when_the_projection_does_not_follow_then_the_answer_says_so(
    world: World, going_on: bool
) -> None:
    world.commit(RISK_LEDGER, fund(1))
    world.commit(RISK_DECISIONS, result(1))
    await world.project()
    world.commit(RISK_LEDGER, fund(2))
    world.commit(RISK_DECISIONS, result(2))
    world.projected.going_on = going_on
    began = time.monotonic()
    code, body, as_of = await world.get("/v1/accounts/A")
    assert (code, body["cash_e4"], as_of.endswith(", behind")) == (200, 5, True)
    took_s = time.monotonic() - began
    assert (0.4 < took_s < 3) if going_on else took_s < 0.4, "no use in waiting for what does not move"
    code, body, as_of = await world.get("/v1/accounts/A/ledger")
    assert (code, len(body["items"]), as_of.endswith(", behind")) == (200, 1, True)


async def test_account_shows_the_status_that_it_was_given_last(world: World) -> None:
    world.commit(RISK_DECISIONS, result(0))
    await world.project()
    world.commit(RISK_DECISIONS, result(0, AccountStatus.SUSPENDED))
    assert (await world.get("/v1/accounts/A"))[1]["status"] == "SUSPENDED"
    await world.project()
    assert (await world.get("/v1/accounts/A"))[1]["status"] == "SUSPENDED"
    assert (await world.get("/v1/accounts/B"))[0] == 404


async def test_account_when_postgres_is_away_then_503_unless_the_tail_tells_all(cut_off: World) -> None:
    cut_off.commit(RISK_DECISIONS, result(0))
    assert (await cut_off.get("/v1/accounts/A"))[0] == 200
    cut_off.commit(RISK_DECISIONS, result(1))
    assert (await cut_off.get("/v1/accounts/A"))[0] == 503


async def test_orders_of_an_account_have_what_was_committed(world: World, make: Any) -> None:
    first, second = (begun(make.decision(make.intent(number)), 7) for number in "12")
    world.commit(ORDERS_EVENTS, first)
    await world.project()
    world.commit(ORDERS_EVENTS, second, on_cancel(first, 700, 8).order)
    asking = asyncio.create_task(world.get("/v1/accounts/A/orders"))
    await asyncio.sleep(0.1)
    assert not asking.done()
    await world.project()
    _, body, as_of = await asking
    assert [(order["order_id"], order["state"]) for order in body["items"]] == [
        ("A.2", "ACCEPTED"),
        ("A.1", "PENDING_CANCEL"),
    ]
    assert "behind" not in as_of


async def test_orders_of_an_account_when_the_projection_stands_still_then_newest_states_and_behind(
    world: World, make: Any
) -> None:
    first, second = (begun(make.decision(make.intent(number)), 7) for number in "12")
    world.commit(ORDERS_EVENTS, first)
    await world.project()
    world.projected.going_on = False
    world.commit(ORDERS_EVENTS, second, on_cancel(first, 700, 8).order)
    _, body, as_of = await world.get("/v1/accounts/A/orders")
    assert [(order["order_id"], order["state"]) for order in body["items"]] == [("A.1", "PENDING_CANCEL")]
    assert as_of.endswith(", behind")


@pytest.mark.parametrize(
    ("as_of", "header"),
    [
        (AsOf(Source.TAIL, 5_000_000), "source=tail, time_ms=5, age_ms=7"),
        (AsOf(Source.PROJECTION, 0, behind=True), "source=projection, behind"),
        (AsOf(Source.PROJECTION, 99_000_000), "source=projection, time_ms=99, age_ms=0"),
    ],
)
def test_as_of_is_a_dictionary_of_structured_fields(as_of: AsOf, header: str) -> None:
    assert as_of.header(12_000_000) == header


@pytest.mark.parametrize("cursor", [2**63, 2**64, 10**30, -1])
@pytest.mark.parametrize("path", ["orders?before", "executions?before", "ledger?after"])
async def test_cursor_when_beyond_64_bits_then_400(world: World, path: str, cursor: int) -> None:
    response = await world.client.get(f"/v1/accounts/A/{path}={cursor}")
    assert (response.status_code, response.json()["type"]) == (400, "urn:tidemark:problem:malformed-request")


@pytest.mark.parametrize("path", ["orders?before", "executions?before", "ledger?after"])
async def test_cursor_when_the_largest_of_64_bits_then_a_page(world: World, path: str) -> None:
    assert (await world.get(f"/v1/accounts/A/{path}={2**63 - 1}"))[:2] == (200, {"items": [], "next": None})


async def test_pages_while_orders_are_projected_have_every_order_once(world: World, make: Any) -> None:
    """A page's place is a row's number, which grows: what comes meanwhile stands before the first page."""
    decisions = [make.decision(make.intent(str(number))) for number in range(10, 50)]
    world.commit(ORDERS_EVENTS, *(begun(decision, 7) for decision in decisions[:20]))
    await world.project()
    seen: list[str] = []
    before, left = "", iter(decisions[20:])
    while True:
        _, page, _ = await world.get(f"/v1/accounts/A/orders?limit=3{before}")
        seen += [order["order_id"] for order in page["items"]]
        if page["next"] is None:
            break
        before = f"&before={page['next']}"
        world.commit(ORDERS_EVENTS, begun(next(left), 7))
        await world.project()
    assert seen == [f"A.{number}" for number in range(29, 9, -1)]


async def test_events_of_an_order_from_its_decision_on_and_until_postgres_is_away(
    world: World, cut_off: World, make: Any
) -> None:
    path = "/v1/orders/A.1/events"
    assert (await world.get(path))[0] == 404
    decision = make.decision(make.intent())
    first = on_decision(None, decision, 7).order
    second = on_cancel(first, 5, 8).order
    for one in (world, cut_off):
        one.commit(RISK_DECISIONS, decision)
        status, page, as_of = await one.get(path)
        assert (status, [event["revision"] for event in page["items"]]) == (200, [1])
        assert as_of.startswith("source=tail")
        one.commit(ORDERS_EVENTS, first, second)
    status, page, as_of = await cut_off.get(path)
    assert (status, [event["revision"] for event in page["items"]]) == (200, [2])
    assert as_of.endswith("behind")
    await world.project()
    status, page, as_of = await world.get(f"{path}?limit=1")
    assert (status, [OrderEvent.model_validate(event) for event in page["items"]]) == (200, [first])
    assert as_of.startswith("source=projection")
    status, page, _ = await world.get(f"{path}?after={page['next']}")
    assert [OrderEvent.model_validate(event) for event in page["items"]] == [second]
    status, page, _ = await world.get(f"{path}?after=2")
    assert (status, page["items"]) == (200, [])
