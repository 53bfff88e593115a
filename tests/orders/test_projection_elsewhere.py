"""An API beside a projection of another process: positions in a real PostgreSQL, and ends as the log would say them."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
from common.contracts.topics import ORDERS_EVENTS, RISK_LEDGER, Topic
from orders.database import Database
from orders.domain.lifecycle import on_decision
from orders.projected import FRESH_S
from orders.projection_elsewhere import ProjectionElsewhere
from orders.rebuild import rebuild
from orders.stops import Place
from orders.trouble import Trouble
from streams.edges.followers import Positions
from streams.model.errors import Retriable

from tests.orders.projected_log import Log, open_database

EVENTS: Place = (ORDERS_EVENTS.name, 0)
LEDGER: Place = (RISK_LEDGER.name, 0)


class Ends:
    """Says what the test wants it to; nothing where the broker is away."""

    def __init__(self) -> None:
        self.said: Mapping[Place, int] | None = {EVENTS: 0, LEDGER: 0}

    async def ends(self, topics: Sequence[Topic]) -> Mapping[Place, int]:
        if self.said is None:
            raise Retriable("no broker answers")
        return self.said


class World:
    """A projection, and what an API elsewhere knows of it."""

    def __init__(self, log: Log, database: Database, make: Any) -> None:
        self.log, self.database, self.make = log, database, make
        self.ends = Ends()
        self.told: list[Positions] = []
        self.elsewhere = ProjectionElsewhere(database, self.ends, self.told.append)
        self._orders = 0

    async def project(self) -> int:
        """One event more, and the offset after it."""
        self._orders += 1
        decision = self.make.decision(self.make.intent(str(self._orders)))
        [event] = self.log.records(ORDERS_EVENTS, on_decision(None, decision, 7).order)
        await self.log.project([event])
        return event.offset + 1


@pytest.fixture
async def world(log: Log, database: Database, make: Any) -> World:
    return World(log, database, make)


@pytest.fixture
async def running(world: World) -> AsyncIterator[World]:
    await world.elsewhere.start()
    yield world
    await world.elsewhere.stop()


async def test_age_when_rows_reach_an_end_then_it_is_of_the_time_when_that_was_asked_for(world: World) -> None:
    elsewhere = world.elsewhere
    assert (elsewhere.as_of_ns(EVENTS), elsewhere.age_s(), elsewhere.is_going_on(EVENTS)) == (0, -1, False)
    next_offset = await world.project()
    world.ends.said = {EVENTS: next_offset + 1, LEDGER: 0}
    before_ns = time.time_ns()
    await elsewhere.look_for_ends()
    after_ns = time.time_ns()
    await elsewhere.look()
    assert elsewhere.reached(EVENTS) == next_offset
    assert elsewhere.as_of_ns(EVENTS) == 0, "a record, or a marker, is missing"
    assert before_ns <= elsewhere.as_of_ns(LEDGER) <= after_ns
    assert (elsewhere.age_s(), elsewhere.check()[1]["state"]) == (-1, "behind")
    world.ends.said = {EVENTS: next_offset + 500, LEDGER: 0}
    await elsewhere.look_for_ends()
    assert await world.project() > next_offset + 1
    await elsewhere.look()
    assert before_ns <= elsewhere.as_of_ns(EVENTS) <= after_ns, "the end that was asked for first is reached first"
    assert 0 <= elsewhere.age_s() < FRESH_S
    assert elsewhere.is_going_on(EVENTS)
    ready, said = elsewhere.check()
    assert (ready, said["state"]) == (True, "ok")


async def test_rows_when_made_anew_then_nothing_is_known_of_their_age(world: World) -> None:
    world.ends.said = {EVENTS: await world.project()}
    await world.elsewhere.look()
    await world.elsewhere.look_for_ends()
    assert world.elsewhere.as_of_ns(EVENTS)
    await world.database.transaction(lambda connection: rebuild(connection, "test", "", recreate=False))
    await world.elsewhere.look()
    assert (world.elsewhere.reached(EVENTS), world.elsewhere.as_of_ns(EVENTS)) == (0, 0)
    assert not world.elsewhere.is_going_on(EVENTS)


async def test_reader_when_it_waits_then_it_goes_on_with_the_next_transaction(running: World) -> None:
    waiting = [asyncio.create_task(running.elsewhere.moved()) for _ in range(2)]
    waiting[0].cancel()
    await asyncio.sleep(0)
    next_offset = await running.project()
    async with asyncio.timeout(30):
        await waiting[1]
    assert running.elsewhere.reached(EVENTS) == next_offset
    assert running.told[-1] == {EVENTS: next_offset}


async def test_broker_when_it_is_away_then_the_ends_are_asked_for_again(running: World) -> None:
    running.ends.said = None
    running.ends.said, at = {EVENTS: await running.project()}, time.time_ns()
    async with asyncio.timeout(30):
        while running.elsewhere.as_of_ns(EVENTS) < at:
            await asyncio.sleep(0.05)


async def test_postgres_when_away_then_it_is_said_and_nobody_waits(make: Any) -> None:
    away = open_database("postgresql://nobody@127.0.0.1:1/nothing")
    ends = Ends()
    elsewhere = ProjectionElsewhere(away, ends, lambda _reached: None)
    await elsewhere.look_for_ends()
    await elsewhere.look()
    ready, said = elsewhere.check()
    assert (ready, said["state"], said["reason"]) == (True, "degraded", "away")
    assert elsewhere.trouble() is Trouble.AWAY
    assert not elsewhere.is_going_on(EVENTS)
    await away.close()
