"""The content and time of views, on a real Redis: the newest row of what changed, and all of it after a loss."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from common.contracts.views import CONFLATED_VIEWS, view_channel
from redis.asyncio import Redis
from streams.commit.transaction import Committed
from streams.model.message import View
from streams.model.tables import Changelogged, Codec, Tables
from streams.process.backoff import Backoff
from streams.state.overlay import TaskTables
from streams.state.store_errors import CorruptStore, StoreError
from streams.testing.memory_store import MemoryStore
from streams.views.publisher import ViewPublisher
from streams.views.redis_client import redis_client
from streams.views.task import REFILL_ROWS_MAX

TASK = ("gate", "0")
NO_TABLES = TaskTables(0)
ROWS = 5 * REFILL_ROWS_MAX
WAITING_MAX = 1_000


def committed(*views: View) -> Committed:
    return Committed([(view, "") for view in views], {}, 1, 2, {}, 0.0)


def view(scope: str, key: str, value: int) -> View:
    return View("account", scope, key, {"value": value}, 0)


async def value_of(redis: Redis, scope: str, key: str) -> Any:
    envelope = await redis.hget(view_channel("account", scope), key)
    return None if envelope is None else json.loads(envelope)["data"]["value"]


async def until_is(redis: Redis, scope: str, key: str, value: int) -> None:
    async with asyncio.timeout(20):
        while await value_of(redis, scope, key) != value:
            await asyncio.sleep(0.01)


@pytest.fixture
async def publisher(redis_url: str) -> AsyncIterator[ViewPublisher]:
    publisher = ViewPublisher(
        "test",
        redis_client(redis_url),
        WAITING_MAX,
        Backoff(0.05, 0.1),
        CONFLATED_VIEWS,
    )
    publisher.start()
    async with asyncio.timeout(20):
        while not publisher.connected:  # what is published before is left to the refill
            await asyncio.sleep(0.01)
    yield publisher
    await publisher.stop()


async def test_refill_when_commits_come_meanwhile_then_each_row_is_the_newest_and_old_rows_are_gone(
    publisher: ViewPublisher, redis_url: str
) -> None:
    late, early = str(ROWS - 1), "0"

    def rows(_committed: Tables) -> Iterator[View]:
        for number in range(ROWS):
            if number == REFILL_ROWS_MAX + 1:
                changes = [view("all", late, 7), view("all", early, 8), view(f"own-{late}", "row", 9)]
                publisher.publish(TASK, committed(*changes))
            yield view("all", str(number), 1)
            yield view(f"own-{number}", "row", 1)

    async with Redis.from_url(redis_url) as redis:
        await redis.hset(view_channel("account", "all"), "of an earlier owner", "{}")
        publisher.open(TASK, NO_TABLES, rows)
        await until_is(redis, f"own-{ROWS - 2}", "row", 1)
        await until_is(redis, f"own-{late}", "row", 9)
        assert [await value_of(redis, "all", key) for key in (early, "1", late)] == [8, 1, 7]
        assert await redis.hlen(view_channel("account", "all")) == ROWS
        envelopes = [json.loads(raw) for raw in await redis.hvals(view_channel("account", "all"))]
        assert len({envelope["epoch"] for envelope in envelopes}) == 1
        assert len({envelope["seq"] for envelope in envelopes}) == ROWS


async def test_refill_when_its_task_ends_then_the_store_is_let_go_and_nothing_more_is_shown(
    publisher: ViewPublisher, redis_url: str
) -> None:
    let_go = asyncio.Event()

    def rows(_committed: Tables) -> Iterator[View]:
        try:
            for number in range(ROWS):
                if number == REFILL_ROWS_MAX:
                    asyncio.get_running_loop().call_soon(publisher.close, TASK)
                yield view("all", str(number), 1)
        finally:
            let_go.set()

    async with Redis.from_url(redis_url) as redis:
        publisher.open(TASK, NO_TABLES, rows)
        await asyncio.wait_for(let_go.wait(), 10)
        publisher.open(("gate", "1"), NO_TABLES, lambda _: [view("other", "row", 2)])
        await until_is(redis, "other", "row", 2)
        assert 0 < await redis.hlen(view_channel("account", "all")) < ROWS


async def test_store_when_it_cannot_be_read_then_its_task_is_told_and_the_others_are_shown(
    publisher: ViewPublisher, redis_url: str
) -> None:
    damage, told = CorruptStore("a damaged block"), asyncio.Queue[StoreError]()

    def rows(_committed: Tables) -> Iterator[View]:
        yield view("all", "0", 1)
        raise damage

    def unreadable(_committed: Tables, _view: View) -> Any:
        raise damage

    async with Redis.from_url(redis_url) as redis:
        publisher.open(TASK, NO_TABLES, rows, fails=told.put_nowait)
        publisher.open(("gate", "1"), NO_TABLES, lambda _: [view("other", "row", 1)], fails=told.put_nowait)
        assert await asyncio.wait_for(told.get(), 10) is damage
        await until_is(redis, "other", "row", 1)
        publisher.open(TASK, NO_TABLES, lambda _: [view("all", "1", 1)], fails=told.put_nowait)
        await until_is(redis, "all", "1", 1)
        publisher.publish(TASK, committed(View("account", "all", "2", unreadable)))
        assert await asyncio.wait_for(told.get(), 10) is damage
        publisher.publish(("gate", "1"), committed(view("other", "row", 2)))
        await until_is(redis, "other", "row", 2)
        assert publisher.connected
        assert told.empty()


async def test_rows_that_wait_then_the_newest_of_a_conflated_view_is_shown_and_every_one_of_another(
    publisher: ViewPublisher, redis_url: str
) -> None:
    async with Redis.from_url(redis_url) as redis, redis.pubsub() as deltas:
        await deltas.subscribe(view_channel("account", "a"), view_channel("fill", "a"))
        publisher.open(TASK, NO_TABLES, lambda _: [])
        for value in range(50):  # no await between them: all of them wait together
            publisher.publish(TASK, committed(view("a", "row", value), View("fill", "a", str(value), {"value": value})))
        seen: dict[str, list[int]] = {"account": [], "fill": []}
        async with asyncio.timeout(20):
            while len(seen["fill"]) < 50 or not seen["account"]:
                if message := await deltas.get_message(ignore_subscribe_messages=True, timeout=1):
                    envelope = json.loads(message["data"])
                    seen[envelope["name"]].append(envelope["data"]["value"])
    assert seen == {"account": [49], "fill": list(range(50))}


async def test_data_that_is_made_when_shown_then_of_what_is_committed_and_not_of_the_running_batch(
    publisher: ViewPublisher, redis_url: str
) -> None:
    numbers = Changelogged("numbers", Codec(lambda number: b"%d" % number, int))
    tables = TaskTables(0)
    tables.add(numbers, MemoryStore())
    rows = tables.overlays["numbers"]
    rows.put(b"k", 1)
    rows.settle()
    rows.put(b"k", 2)

    def made(committed: Tables, _view: View) -> dict[str, Any]:
        return {"value": committed.changelogged("numbers").get(b"k")}

    async with Redis.from_url(redis_url) as redis:
        row = View("account", "a", "row", made)
        publisher.open(TASK, tables.committed(), lambda _: [row])
        await until_is(redis, "a", "row", 1)
        await redis.delete(view_channel("account", "a"))
        publisher.publish(TASK, committed(row))
        await until_is(redis, "a", "row", 1)
        rows.settle()
        publisher.publish(TASK, committed(row))
        await until_is(redis, "a", "row", 2)


async def test_more_rows_than_may_wait_then_everything_is_shown_from_the_tables(
    publisher: ViewPublisher, redis_url: str
) -> None:
    async with Redis.from_url(redis_url) as redis:
        publisher.open(TASK, NO_TABLES, lambda _: [view("all", str(number), 2) for number in range(WAITING_MAX + 1)])
        await until_is(redis, "all", "0", 2)
        await redis.delete(view_channel("account", "all"))
        publisher.publish(TASK, committed(*(view("all", str(number), 1) for number in range(WAITING_MAX + 1))))
        await until_is(redis, "all", str(WAITING_MAX), 2)


async def test_view_that_cannot_be_made_then_everything_is_shown_anew_and_goes_on(
    publisher: ViewPublisher, redis_url: str
) -> None:
    failures = iter([ValueError("no such row")])

    def made(_committed: Tables, _view: View) -> dict[str, int]:
        if failure := next(failures, None):
            raise failure
        return {"value": 3}

    async with Redis.from_url(redis_url) as redis:
        row = View("account", "a", "row", made)
        publisher.open(TASK, NO_TABLES, lambda _: [view("other", "row", 1), row])
        await until_is(redis, "a", "row", 3)
        assert await value_of(redis, "other", "row") == 1
