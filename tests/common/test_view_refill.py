"""Redis is filled anew some rows at a time, on a real Redis: commits go on meanwhile and the newest row stays."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from common.contracts.views import view_channel
from common.runtime.backoff import Backoff
from common.runtime.message import View
from common.runtime.transaction import Committed
from common.runtime.views import REFILL_ROWS_MAX, ViewPublisher
from redis.asyncio import Redis

TASK = ("gate", "0")
ROWS = 5 * REFILL_ROWS_MAX


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
    publisher = ViewPublisher("test", redis_url, 1_000, Backoff(0.05, 0.1))
    publisher.start()
    yield publisher
    await publisher.stop()


async def test_refill_when_commits_come_meanwhile_then_each_row_is_the_newest_and_old_rows_are_gone(
    publisher: ViewPublisher, redis_url: str
) -> None:
    late, early = str(ROWS - 1), "0"

    def rows() -> Iterator[View]:
        for number in range(ROWS):
            if number == REFILL_ROWS_MAX + 1:
                changes = [view("all", late, 7), view("all", early, 8), view(f"own-{late}", "row", 9)]
                publisher.publish(TASK, committed(*changes))
            yield view("all", str(number), 1)
            yield view(f"own-{number}", "row", 1)

    async with Redis.from_url(redis_url) as redis:
        await redis.hset(view_channel("account", "all"), "of an earlier owner", "{}")
        publisher.open(TASK, rows)
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

    def rows() -> Iterator[View]:
        try:
            for number in range(ROWS):
                if number == REFILL_ROWS_MAX:
                    asyncio.get_running_loop().call_soon(publisher.close, TASK)
                yield view("all", str(number), 1)
        finally:
            let_go.set()

    async with Redis.from_url(redis_url) as redis:
        publisher.open(TASK, rows)
        await asyncio.wait_for(let_go.wait(), 10)
        publisher.open(("gate", "1"), lambda: [view("other", "row", 2)])
        await until_is(redis, "other", "row", 2)
        assert 0 < await redis.hlen(view_channel("account", "all")) < ROWS
