"""Views that Redis loses without a word come back, and what it refuses is said: on a real Redis, ill but not dead."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from common.contracts.views import CONFLATED_VIEWS, WRITER_VIEW, RedisState, WriterData, view_channel
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from redis.asyncio import Redis
from streams.commit.transaction import Committed
from streams.model.message import View
from streams.model.tables import Tables
from streams.process.backoff import Backoff
from streams.state.overlay import TaskTables
from streams.views.checks import CHECKED_SCOPES_MAX
from streams.views.publisher import ViewPublisher
from streams.views.redis_client import redis_client
from streams.views.task import REFILL_ROWS_MAX, ViewClock, ViewWriter

TASK = ("gate", "2")
NO_TABLES = TaskTables(0)
WRITER = view_channel(WRITER_VIEW, "test.gate")
ORDERS = view_channel("order", "A")
OTHER = view_channel("account", "A")


class Books:
    """The truth as tables hold it: rows by hash and key, changed by commits that are published."""

    def __init__(self, publisher: ViewPublisher) -> None:
        self.publisher = publisher
        self.rows: dict[tuple[str, str], dict[str, int]] = {}
        self.clock = ViewClock(0, 0)
        self.refills = 0

    def now(self) -> ViewClock:
        return self.clock if self.clock.as_of_ns else ViewClock(time.time_ns(), 7)

    def refill(self, _committed: Tables) -> Iterator[View]:
        self.refills += 1
        for (name, scope), rows in list(self.rows.items()):
            for key, value in list(rows.items()):
                yield View(name, scope, key, {"value": value})

    def commit(self, name: str, scope: str, key: str, value: int | None) -> None:
        rows = self.rows.setdefault((name, scope), {})
        if value is None:
            rows.pop(key, None)
        else:
            rows[key] = value
        view = View(name, scope, key, None if value is None else {"value": value})
        self.publisher.publish(TASK, Committed([(view, "")], {}, 1, 2, {}, 0.0))

    def open(self) -> None:
        self.publisher.open(TASK, NO_TABLES, self.refill, ViewWriter(4, self.now))


@asynccontextmanager
async def books_at(redis_url: str) -> AsyncIterator[Books]:
    publisher = ViewPublisher(
        "test",
        redis_client(redis_url),
        10_000,
        Backoff(0.05, 0.1),
        CONFLATED_VIEWS,
    )
    publisher.start()
    books = Books(publisher)
    for number in range(3):
        books.rows["order", "A"] = books.rows.get(("order", "A"), {}) | {str(number): number}
        books.rows["account", "A"] = {"account": 1}
    books.open()
    try:
        yield books
    finally:
        await publisher.stop()


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as redis:
        await redis.flushall()
        yield redis
        await redis.slaveof()
        await redis.config_set("maxmemory", "0")
        await redis.config_set("maxmemory-policy", "noeviction")


@pytest.fixture
async def books(redis: Redis, redis_url: str) -> AsyncIterator[Books]:
    async with books_at(redis_url) as books:
        yield books


async def stored(redis: Redis, channel: str) -> dict[str, int]:
    return {
        key.decode() if isinstance(key, bytes) else key: json.loads(raw)["data"]["value"]
        for key, raw in (await redis.hgetall(channel)).items()
    }


async def said(redis: Redis) -> WriterData:
    raw = await redis.hget(WRITER, "2")
    assert raw is not None
    return WriterData.model_validate_json(raw)


async def until(condition: Callable[[], Any], timeout_s: float = 20) -> None:
    async with asyncio.timeout(timeout_s):
        while not await condition():
            await asyncio.sleep(0.02)


async def until_all_is_there(redis: Redis, books: Books, timeout_s: float = 20) -> None:
    async def is_there() -> bool:
        if not await redis.hexists(WRITER, "2") or (await said(redis)).state != "live":
            return False
        wanted = {view_channel(*scope): rows for scope, rows in books.rows.items()}
        return all([await stored(redis, channel) == rows for channel, rows in wanted.items()])

    await until(is_there, timeout_s)


async def test_writer_then_it_says_how_far_its_views_have_come_and_goes_on_saying_it(
    books: Books, redis: Redis
) -> None:
    await until_all_is_there(redis, books)
    first = await said(redis)
    assert (first.writer, first.partition, first.partitions, first.data_ns) == ("test.gate", 2, 4, 7)
    assert first.redis is RedisState.OK

    async def is_later() -> bool:
        return (await said(redis)).as_of_ns > first.as_of_ns + 1_000_000_000

    await until(is_later, 5)
    assert (await said(redis)).epoch == first.epoch, "nothing was lost"
    assert abs(time.time_ns() - (await said(redis)).as_of_ns) < 2_000_000_000


async def test_task_that_waits_for_another_ones_refill_then_it_says_meanwhile_that_rows_are_missing(
    books: Books, redis: Redis
) -> None:
    await until_all_is_there(redis, books)

    def slowly(_committed: Tables) -> Iterator[View]:
        for number in range(20 * REFILL_ROWS_MAX):
            if number % REFILL_ROWS_MAX == 0:
                time.sleep(0.1)
            yield View("account", f"slow {number}", "account", {"value": 1})

    async with redis.pubsub() as beats:
        await beats.subscribe(WRITER)
        books.publisher.open(("other", "0"), NO_TABLES, slowly, ViewWriter(1, books.now))
        await asyncio.sleep(0.3)
        books.open()
        said_so = 0
        async with asyncio.timeout(10):
            while said_so < 2:
                message = await beats.get_message(ignore_subscribe_messages=True, timeout=1)
                said_so += bool(message and WriterData.model_validate_json(message["data"]).state == "filling")
    assert (await said(redis)).epoch > 0, "what Redis holds is the epoch of what it holds"
    await until_all_is_there(redis, books)


async def test_task_that_does_not_come_on_then_its_views_grow_old_though_redis_is_sound(
    books: Books, redis: Redis
) -> None:
    await until_all_is_there(redis, books)
    books.clock = stuck = ViewClock(time.time_ns() - 60_000_000_000, 3)

    async def is_old() -> bool:
        return (await said(redis)).as_of_ns == stuck.as_of_ns

    await until(is_old, 5)
    labels = {"app": "test", "stage": "gate", "partition": "2"}
    assert (REGISTRY.get_sample_value("tidemark_views_age_seconds", labels) or 0) >= 60
    ready, detail = books.publisher.ready()
    assert ready, "who waits for a view waits for nothing that trades"
    assert detail["age_s"] >= 60


@pytest.mark.parametrize("loss", ["flushall", "restored", "evicted hash", "row", "writer"])
async def test_redis_that_loses_rows_without_a_word_then_they_are_written_again_within_seconds(
    books: Books, redis: Redis, loss: str
) -> None:
    await until_all_is_there(redis, books)
    before = await said(redis)
    async with redis.pubsub() as deltas:
        await deltas.subscribe(ORDERS)
        match loss:
            case "flushall":
                await redis.flushall()
            case "restored":  # yesterday's copy of it
                await redis.flushall()
                await redis.hset(WRITER, "2", before.model_copy(update={"epoch": 17}).model_dump_json())
            case "evicted hash":
                await redis.delete(ORDERS)
            case "row":
                await redis.hdel(ORDERS, "1")
            case "writer":
                await redis.delete(WRITER)
        await until_all_is_there(redis, books, 5)
        async with asyncio.timeout(5):
            while not (message := await deltas.get_message(ignore_subscribe_messages=True, timeout=1)):
                pass
    assert json.loads(message["data"])["epoch"] > before.epoch, "who has seen the old rows reads anew"
    one_hash = loss in ("evicted hash", "row")
    assert ((await said(redis)).epoch == before.epoch) == one_hash, "a whole partition is filled where it has to be"


async def test_one_hash_that_was_lost_then_no_other_is_written(books: Books, redis: Redis) -> None:
    await until_all_is_there(redis, books)
    untouched = await redis.hgetall(OTHER)
    await redis.delete(ORDERS)
    await until_all_is_there(redis, books, 5)
    assert await redis.hgetall(OTHER) == untouched


async def test_more_hashes_than_one_check_counts_then_each_is_found_in_its_turn(books: Books, redis: Redis) -> None:
    await until_all_is_there(redis, books)
    for number in range(2 * CHECKED_SCOPES_MAX + 1):
        books.commit("account", f"B{number}", "account", number)
    await until_all_is_there(redis, books)
    await redis.delete(view_channel("account", "B0"), view_channel("account", f"B{2 * CHECKED_SCOPES_MAX}"))
    await until_all_is_there(redis, books, 10)


@pytest.mark.parametrize("illness", [RedisState.FULL, RedisState.READ_ONLY])
async def test_redis_that_takes_nothing_then_it_is_said_on_the_channel_and_all_is_there_when_it_is_over(
    books: Books, redis: Redis, illness: RedisState
) -> None:
    await until_all_is_there(redis, books)
    async with redis.pubsub() as beats:
        await beats.subscribe(WRITER)
        if illness is RedisState.FULL:
            await redis.config_set("maxmemory", str((await redis.info("memory"))["used_memory"] // 2))
        else:
            await redis.slaveof("127.0.0.1", 1)
        books.commit("order", "A", "1", None)
        books.commit("order", "A", "new", 5)
        books.commit("fill", "gone", "x", 5)
        async with asyncio.timeout(10):
            while True:
                message = await beats.get_message(ignore_subscribe_messages=True, timeout=1)
                if message and (beat := WriterData.model_validate_json(message["data"])).redis is illness:
                    break
        assert beat.state == "filling"
        assert books.publisher.redis_state is illness
        await asyncio.sleep(1)
        books.commit("account", "A", "account", 9)
    await (redis.config_set("maxmemory", "0") if illness is RedisState.FULL else redis.slaveof())
    await until_all_is_there(redis, books, 8)

    async def is_sound() -> bool:
        return (await said(redis)).redis is RedisState.OK

    await until(is_sound, 5)


async def test_hash_whose_rows_went_while_redis_took_nothing_then_it_is_empty_and_its_readers_hear_of_it(
    books: Books, redis: Redis
) -> None:
    books.commit("fill", "F", "x", 5)
    await until_all_is_there(redis, books)
    async with redis.pubsub() as deltas:
        await deltas.subscribe(view_channel("fill", "F"))
        await redis.slaveof("127.0.0.1", 1)
        await asyncio.sleep(0.7)
        books.commit("fill", "F", "x", None)
        await asyncio.sleep(0.3)
        await redis.slaveof()
        await until_all_is_there(redis, books, 8)
        async with asyncio.timeout(5):
            while not (message := await deltas.get_message(ignore_subscribe_messages=True, timeout=1)):
                pass
    assert json.loads(message["data"])["data"] is None


async def test_redis_that_evicts_then_it_is_said_and_what_was_evicted_is_there_when_it_has_room(
    books: Books, redis: Redis
) -> None:
    for number in range(2_000):
        books.commit("account", f"E{number}", "account", number)
    await until_all_is_there(redis, books)
    await redis.config_set("maxmemory-policy", "allkeys-random")
    await redis.config_set("maxmemory", str(int((await redis.info("memory"))["used_memory"]) * 95 // 100))
    books.commit("account", "one more", "account", 1)

    async def evicts() -> bool:
        return books.publisher.redis_state is RedisState.EVICTING

    await until(evicts, 10)
    assert books.publisher.ready()[1]["policy"] == "allkeys-random"
    await redis.config_set("maxmemory", "0")
    await until_all_is_there(redis, books, 15)


async def test_two_that_claim_one_partition_then_the_later_one_writes_and_the_earlier_one_is_quiet(
    books: Books, redis: Redis, redis_url: str
) -> None:
    await until_all_is_there(redis, books)
    async with books_at(redis_url) as later:
        later.rows["order", "A"] = {"later": 1}
        later.open()
        await until_all_is_there(redis, later)
        fills = books.refills
        await asyncio.sleep(3)
        assert books.refills == fills, "the earlier one does not fight"
        assert (await stored(redis, ORDERS)) == {"later": 1}
    await until_all_is_there(redis, books, 15)
    assert books.refills > fills, "when the later one has gone silent, the earlier one writes again"


LOSSES = st.sampled_from(["flushall", "hash", "row", "writer", "read-only", "nothing"])
STEP = st.tuples(
    st.lists(
        st.tuples(
            st.sampled_from([("order", "A"), ("order", "B"), ("account", "A")]),
            st.sampled_from("xyz"),
            st.one_of(st.none(), st.integers(0, 99)),
        ),
        max_size=6,
    ),
    LOSSES,
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEP, min_size=1, max_size=3))
async def test_whatever_commits_and_losses_come_in_turn_then_redis_holds_what_the_tables_hold(
    redis_url: str, steps: list[tuple[list[tuple[tuple[str, str], str, int | None]], str]]
) -> None:
    async with Redis.from_url(redis_url) as redis, books_at(redis_url) as books:
        await until_all_is_there(redis, books)
        numbers = itertools.count(100)
        for commits, loss in steps:
            for (name, scope), key, value in commits:
                books.commit(name, scope, key, None if value is None else next(numbers))
            match loss:
                case "flushall":
                    await redis.flushall()
                case "hash":
                    await redis.delete(ORDERS)
                case "row":
                    await redis.hdel(ORDERS, "1", "x")
                case "writer":
                    await redis.delete(WRITER)
                case "read-only":
                    await redis.slaveof("127.0.0.1", 1)
                    await asyncio.sleep(0.1)
                    await redis.slaveof()
        await until_all_is_there(redis, books, 10)
