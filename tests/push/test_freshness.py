"""Views tell their age, on a real Redis that is ill but answers."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from common.contracts.views import WRITER_VIEW, RedisState, WriterData, view_channel
from common.testing.views import ViewWriter
from parts import LocalStack
from prometheus_client import REGISTRY
from push.domain.freshness import CURRENT_NS, SILENT_NS, WRITERS, Freshness, WriterState, worst
from push.settings import PushRedisSettings
from redis.asyncio import Redis

S_NS = 1_000_000_000
NOW_NS = 1_800_000_000 * S_NS
GATE, MARKET = "risk.gate", "signals.market"


def said(writer: str = GATE, **more: Any) -> WriterData:
    usual: dict[str, Any] = {"partition": 0, "partitions": 1, "epoch": 5, "state": "live", "redis": RedisState.OK}
    return WriterData(writer=writer, **(usual | {"as_of_ns": NOW_NS, "data_ns": NOW_NS, "at_ns": NOW_NS} | more))


# --- what follows from what was said ----------------------------------------------------------------------------------


def test_nothing_heard_then_nobody_knows_how_old_it_is() -> None:
    status = Freshness().status(NOW_NS)
    assert set(status) == set(WRITERS)
    assert {each.state for each in status.values()} == {WriterState.UNKNOWN}
    assert status[GATE].age_s(NOW_NS) is None
    assert not status[GATE].is_current(NOW_NS)


def test_several_partitions_then_the_oldest_speaks_and_one_that_is_missing_is_missed() -> None:
    fresh = Freshness()
    fresh.heard(said(partitions=2))
    assert fresh.status(NOW_NS)[GATE].state is WriterState.PARTIAL
    fresh.heard(said(partition=1, partitions=2, as_of_ns=NOW_NS - 3 * S_NS))
    assert fresh.status(NOW_NS)[GATE].age_s(NOW_NS) == 3
    assert fresh.status(NOW_NS)[GATE].is_current(NOW_NS)
    assert not fresh.status(NOW_NS)[GATE].is_current(NOW_NS + CURRENT_NS)


@pytest.mark.parametrize(("writer", "age_s"), [(MARKET, 9), (GATE, 1)])
def test_clock_in_the_data_then_it_counts_where_it_never_stands_still(writer: str, age_s: int) -> None:
    fresh = Freshness()
    fresh.heard(said(writer, as_of_ns=NOW_NS - S_NS, data_ns=NOW_NS - 9 * S_NS))
    assert fresh.status(NOW_NS)[writer].age_s(NOW_NS) == age_s


def test_market_whose_clock_was_never_seen_then_its_age_is_unknown() -> None:
    fresh = Freshness()
    fresh.heard(said(MARKET, data_ns=0))
    assert fresh.status(NOW_NS)[MARKET].age_s(NOW_NS) is None


def test_writer_that_falls_silent_then_it_is_said_and_its_age_grows() -> None:
    fresh = Freshness()
    fresh.heard(said())
    later_ns = NOW_NS + SILENT_NS + S_NS
    assert fresh.status(later_ns)[GATE].state is WriterState.SILENT
    assert fresh.status(later_ns)[GATE].age_s(later_ns) == 6


def test_refill_then_its_views_are_read_again_once_it_has_ended() -> None:
    fresh = Freshness()
    assert fresh.heard(said()) == []
    assert fresh.heard(said(epoch=6, state="filling")) == []
    assert fresh.status(NOW_NS)[GATE].state is WriterState.FILLING
    assert fresh.heard(said(epoch=6)) == ["account", "break"]
    assert fresh.heard(said(epoch=6)) == []
    assert fresh.heard(said(epoch=7)) == ["account", "break"], "its filling was not heard of"


def test_hash_that_no_longer_has_what_was_said_then_redis_has_lost_it_until_the_writer_speaks_of_it() -> None:
    fresh = Freshness()
    fresh.heard(said())
    assert not fresh.stored(GATE, [said()])
    assert fresh.stored(GATE, [])
    assert not fresh.stored(GATE, []), "it is found once"
    assert fresh.status(NOW_NS)[GATE].state is WriterState.LOST
    assert not fresh.stored(GATE, [said(epoch=4)]), "and is still lost where yesterday's copy is there"
    assert fresh.status(NOW_NS)[GATE].state is WriterState.LOST
    fresh.heard(said(epoch=6, state="filling"))
    assert fresh.status(NOW_NS)[GATE].state is WriterState.FILLING


def test_push_that_starts_beside_a_silent_writer_then_it_knows_it_from_the_hash() -> None:
    fresh = Freshness()
    fresh.stored(GATE, [said(at_ns=NOW_NS - 60 * S_NS, as_of_ns=NOW_NS - 60 * S_NS)])
    assert fresh.status(NOW_NS)[GATE].state is WriterState.SILENT
    assert fresh.status(NOW_NS)[GATE].age_s(NOW_NS) == 60


def test_owner_that_was_succeeded_then_its_last_words_do_not_count() -> None:
    fresh = Freshness()
    fresh.heard(said(epoch=6))
    fresh.heard(said(epoch=5, at_ns=NOW_NS - 1, as_of_ns=1))
    assert fresh.status(NOW_NS)[GATE].epoch == 6


def test_several_words_on_redis_then_the_worst_counts_and_not_knowing_is_no_trouble() -> None:
    assert worst([RedisState.OK, RedisState.FULL, RedisState.UNKNOWN]) is RedisState.FULL
    assert worst([RedisState.OK, RedisState.UNKNOWN]) is RedisState.OK
    assert worst([]) is RedisState.UNKNOWN


# --- on a real Redis --------------------------------------------------------------------------------------------------


@pytest.fixture
async def ill_redis(tmp_path: Path) -> AsyncIterator[Redis]:
    """A Redis of the test's own, to be made ill."""
    with LocalStack({"redis"}, data_dir=tmp_path / "stack") as stack:
        async with Redis.from_url(stack.addresses.redis_url) as client:
            yield client


def url_of(redis: Redis) -> str:
    where = redis.connection_pool.connection_kwargs
    return f"redis://{where['host']}:{where['port']}/0"


async def test_writers_that_speak_then_ages_are_pushed_served_and_measured(
    start_push: Callable[..., Any], redis: Redis, writer: ViewWriter
) -> None:
    push = await start_push(status_interval_s=0.1)
    await push.until_redis(True)
    client = await push.client()
    await client.until(lambda: client.status)
    assert {each["state"] for each in client.status["views"].values()} == {"unknown"}
    await writer.beat_all()
    await client.until(lambda: {each["state"] for each in client.status["views"].values()} == {"live"})
    as_of_ns = time.time_ns() - 30 * S_NS
    await writer.beat(MARKET, data_ns=as_of_ns)
    await client.until(lambda: client.status["views"][MARKET]["as_of_ns"] == as_of_ns)
    assert client.status["redis"]["state"] == "ok", "Redis is well: it is the data that are old"
    async with httpx.AsyncClient(base_url=push.url) as http:
        views = (await http.get("/v1/views")).json()
        assert 30 <= views["writers"][MARKET]["age_s"] < 60
        assert (views["writers"][MARKET]["current"], views["writers"][GATE]["current"]) == (False, True)
        ready = await http.get("/health/ready")
    assert ready.status_code == 200
    assert ready.json()["checks"]["views"]["detail"][f"{MARKET}.age_s"] >= 30
    await client.until(
        lambda: (REGISTRY.get_sample_value("tidemark_push_views_age_seconds", {"writer": MARKET}) or 0) >= 30
    )
    assert REGISTRY.get_sample_value("tidemark_push_views_current", {"writer": MARKET}) == 0


async def test_redis_emptied_while_running_then_a_new_screen_hears_it_before_it_sees_nothing(
    start_push: Callable[..., Any], redis: Redis, writer: ViewWriter
) -> None:
    push = await start_push(writers_interval_s=60, status_interval_s=60)
    await push.until_redis(True)
    await writer.write("order", "A1", {"A1.1": {"revision": 1}})
    await writer.beat_all()
    watching = await push.client()
    await watching.subscribe("order:A1")
    await watching.until(lambda: watching.rows.get("order:A1"))
    await redis.flushall()
    screen = await push.client()
    await screen.subscribe("order:B1")
    await screen.until(lambda: "order:B1" in screen.rows)
    await screen.until(lambda: screen.status["views"]["orders.lifecycle"]["state"] == "lost", timeout_s=5)
    assert watching.rows["order:A1"] == {"A1.1": {"revision": 1}}, "what is known stays visible"
    anew = ViewWriter(redis)
    await anew.beat_all(state="filling")
    await anew.write("order", "A1", {"A1.1": {"revision": 2}})
    await anew.beat_all()
    await watching.until(lambda: watching.rows["order:A1"] == {"A1.1": {"revision": 2}})
    await screen.subscribe("order:A1")
    await screen.until(lambda: screen.rows.get("order:A1") == {"A1.1": {"revision": 2}})


async def test_rows_written_anew_without_a_word_on_their_channels_then_the_new_epoch_is_enough(
    push: Any, redis: Redis, writer: ViewWriter
) -> None:
    await writer.write("account", "A1", {"account": {"n": 1}})
    await writer.write("order", "A1", {"A1.1": {"revision": 1}})
    await writer.write("quote", "0", {"AAPL": {"last_e4": 1}})
    await writer.beat_all()
    client = await push.client()
    await client.subscribe("account:A1", "order:A1", "quote")
    await client.until(lambda: all(client.rows.get(topic) for topic in ("account:A1", "order:A1", "quote")))
    await redis.delete(view_channel("account", "A1"), view_channel("order", "A1"), view_channel("quote", "0"))
    anew = ViewWriter(redis)
    await anew.write("order", "A1", {"A1.2": {"revision": 1}}, silent=True)
    await anew.write("quote", "0", {"MSFT": {"last_e4": 1}}, silent=True)
    await anew.beat_all()
    await client.until(lambda: client.rows["account:A1"] == {})
    await client.until(lambda: client.rows["order:A1"] == {"A1.2": {"revision": 1}})
    await client.until(lambda: client.rows["quote"] == {"MSFT": {"last_e4": 1}})


@pytest.mark.parametrize("illness", [RedisState.FULL, RedisState.READ_ONLY, RedisState.EVICTING])
async def test_redis_that_answers_but_keeps_nothing_then_clients_and_readiness_say_so_until_it_is_well(
    start_push: Callable[..., Any], ill_redis: Redis, illness: RedisState
) -> None:
    push = await start_push(redis=PushRedisSettings(url=url_of(ill_redis)), writers_interval_s=0.2)
    await push.until_redis(True)
    client = await push.client()
    await client.until(lambda: client.status)
    await client.subscribe("account:A1")
    for number in range(300):
        await ill_redis.set(f"ballast:{number}", "x" * 4_096)
    used = int((await ill_redis.info("memory"))["used_memory"])
    match illness:
        case RedisState.FULL:
            await ill_redis.config_set("maxmemory", str(used // 2))
        case RedisState.READ_ONLY:
            await ill_redis.slaveof("127.0.0.1", 1)
        case RedisState.EVICTING:
            await ill_redis.config_set("maxmemory-policy", "allkeys-random")
            await ill_redis.config_set("maxmemory", str(used * 9 // 10))
            await ill_redis.set("one more", "x")
    await client.until(lambda: client.status["redis"]["state"] == illness.value)
    assert client.status["redis"]["up"]
    async with httpx.AsyncClient(base_url=push.url) as http:
        ready = await http.get("/health/ready")
        assert ready.status_code == 503
        assert ready.json()["checks"]["redis"]["detail"]["state"] == illness.value
        assert REGISTRY.get_sample_value("tidemark_push_redis_state", {"state": illness.value}) == 1
        await ill_redis.config_set("maxmemory", "0")
        await ill_redis.config_set("maxmemory-policy", "noeviction")
        await ill_redis.slaveof()
        await client.until(lambda: client.status["redis"]["state"] == "ok")
        assert (await http.get("/health/ready")).status_code == 200


async def test_redis_that_may_not_be_asked_then_its_writers_say_how_it_is(
    start_push: Callable[..., Any], ill_redis: Redis
) -> None:
    await ill_redis.acl_setuser(
        "asker", enabled=True, nopass=True, keys=["*"], channels=["*"], commands=["+@all", "-info"]
    )
    url = url_of(ill_redis).replace("redis://", "redis://asker:@")
    push = await start_push(redis=PushRedisSettings(url=url), writers_interval_s=0.1)
    await push.until_redis(True)
    client = await push.client()
    await client.until(lambda: client.status and client.status["redis"]["state"] == "unknown")
    await ViewWriter(ill_redis).beat(GATE, redis=RedisState.FULL)
    await client.until(lambda: client.status["redis"]["state"] == "full")
    await asyncio.sleep(0)


async def test_what_a_writer_says_when_it_is_no_such_thing_then_it_is_skipped(push: Any, redis: Redis) -> None:
    channel = view_channel(WRITER_VIEW, GATE)
    for payload in ("{", '{"v":1}', said("somebody.else").model_dump_json(), said(partition=9).model_dump_json()):
        await redis.publish(channel, payload)
    await ViewWriter(redis).beat(GATE)
    client = await push.client()
    await client.until(lambda: client.status["views"][GATE]["state"] == "live" if client.status else False)
    assert client.status["views"][GATE]["partitions"] == 1
