"""Push against a real Redis, through real WebSockets."""

import asyncio
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from common.contracts.views import AccountData, Envelope, Stamps, view_channel
from common.testing.views import ViewWriter
from parts import LocalStack
from prometheus_client import REGISTRY
from push.codec import EnvelopeError, decode_envelope
from push.settings import CommandSettings, PushRedisSettings, SubscriptionSettings
from redis.asyncio import Redis
from streams.model.message import View
from streams.views.publisher import encode_envelope


def account(cash_e4: int) -> AccountData:
    return AccountData(account_id="A1", status="ACTIVE", cash_e4=cash_e4, reserved_cash_e4=0, positions=(), seq=1)


async def test_subscribe_then_the_snapshot_comes_and_its_changes_follow(push: Any, writer: ViewWriter) -> None:
    await writer.write("book", "AAPL", {"depth": {"bids": [[1, 2]]}})
    client = await push.client()
    await client.subscribe("book:AAPL")
    await client.until(lambda: "book:AAPL" in client.rows)
    assert client.rows["book:AAPL"] == {"depth": {"bids": [[1, 2]]}}
    await writer.write("book", "AAPL", {"depth": {"bids": [[3, 4]]}})
    await client.until(lambda: client.deltas)
    assert client.rows["book:AAPL"] == {"depth": {"bids": [[3, 4]]}}
    assert client.deltas[0]["stamps"]["origin_ns"] > 0


async def test_whole_view_then_every_scope_is_one_topic_and_new_scopes_join(push: Any, writer: ViewWriter) -> None:
    await writer.write("quote", "0", {"AAPL": {"last_e4": 1}})
    await writer.write("quote", "3", {"MSFT": {"last_e4": 2}})
    client = await push.client()
    await client.subscribe("quote")
    await client.until(lambda: "quote" in client.rows)
    assert set(client.rows["quote"]) == {"AAPL", "MSFT"}
    await writer.write("quote", "1", {"IBM": {"last_e4": 3}})
    await client.until(lambda: "IBM" in client.rows["quote"])
    await writer.write("quote", "1", {"IBM": None, "ORCL": {"last_e4": 4}})
    await client.until(lambda: "ORCL" in client.rows["quote"])
    assert set(client.rows["quote"]) == {"AAPL", "MSFT", "ORCL"}
    assert client.snapshots == ["quote"]


async def test_change_that_the_channel_lost_then_the_hash_is_read_again(push: Any, writer: ViewWriter) -> None:
    client = await push.client()
    await client.subscribe("account:A1", "order:A1")
    await client.until(lambda: len(client.rows) == 2)
    await writer.write("account", "A1", {"account": account(1)})
    await writer.write("order", "A1", {"A1.1": {"revision": 1}})
    await client.until(lambda: client.rows["account:A1"] and client.rows["order:A1"])
    await writer.write("account", "A1", {"other": account(2)}, silent=True)
    await writer.write("order", "A1", {"A1.2": {"revision": 1}}, silent=True)
    await writer.write("account", "A1", {"account": account(3)})
    await writer.write("order", "A1", {"A1.1": {"revision": 2}})
    await client.until(lambda: len(client.rows["account:A1"]) == 2 and len(client.rows["order:A1"]) == 2)
    assert client.rows["account:A1"]["account"]["cash_e4"] == 3
    assert client.rows["order:A1"] == {"A1.1": {"revision": 2}, "A1.2": {"revision": 1}}
    assert client.snapshots.count("account:A1") == 1, "conflated views are told what changed"
    assert client.snapshots.count("order:A1") == 2, "a hole in a history is told as a new beginning"
    assert push.process.service.hub.gaps >= 2


async def test_new_publisher_then_its_rows_replace_the_old_ones(push: Any, redis: Redis, writer: ViewWriter) -> None:
    await writer.write("account", "A1", {"account": account(1), "old": account(1)})
    client = await push.client()
    await client.subscribe("account:A1")
    await client.until(lambda: client.rows.get("account:A1"))
    await redis.delete(view_channel("account", "A1"))
    await ViewWriter(redis, epoch=7).write("account", "A1", {"account": account(2)})
    await client.until(lambda: "old" not in client.rows["account:A1"])
    assert client.rows["account:A1"]["account"]["cash_e4"] == 2


async def test_removal_as_the_last_change_then_one_read_is_enough(push: Any, writer: ViewWriter) -> None:
    await writer.write("fill", "A1", {"1": {"n": 1}, "2": {"n": 2}})
    await writer.write("fill", "A1", {"1": None})
    client = await push.client()
    await client.subscribe("fill:A1")
    await client.until(lambda: client.rows.get("fill:A1"))
    for number in range(3, 8):  # each followed by a removal, as with bounded views
        await writer.write("fill", "A1", {str(number): {"n": number}, str(number - 1): None})
        await client.shows_only("fill:A1", {str(number): {"n": number}})
    assert push.process.service.hub.gaps <= 1


async def test_orders_then_every_revision_arrives_in_order_and_no_more_than_twenty_frames_a_second(
    push: Any, writer: ViewWriter
) -> None:
    client = await push.client()
    await client.subscribe("order:A1")
    await client.until(lambda: "order:A1" in client.rows)

    async def write() -> None:
        for revision in range(1, 301):
            await writer.write("order", "A1", {"A1.1": {"revision": revision}})
            await asyncio.sleep(0.003)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(write())
        await client.until(lambda: len(client.deltas) == 300)
    assert [delta["rows"]["A1.1"]["revision"] for delta in client.deltas] == list(range(1, 301))
    gaps_s = [after - before for before, after in itertools.pairwise(client.frames_at_s)]
    assert len(gaps_s) / sum(gaps_s) <= 20.5


async def test_conflated_view_then_a_frame_holds_each_key_once(push: Any, writer: ViewWriter) -> None:
    client = await push.client()
    await client.subscribe("account:A1")
    await client.until(lambda: "account:A1" in client.rows)
    for cash_e4 in range(1, 501):
        await writer.write("account", "A1", {"account": account(cash_e4)})
    await client.until(lambda: client.rows["account:A1"].get("account", {}).get("cash_e4") == 500)
    assert len(client.deltas) < 300


async def test_unsubscribe_then_the_channel_is_closed_with_its_last_listener(
    push: Any, redis: Redis, writer: ViewWriter
) -> None:
    one, two = await push.client(), await push.client()
    for client in (one, two):
        await client.subscribe("book:AAPL")
        await client.has("book:AAPL")
    channel = view_channel("book", "AAPL")
    assert dict(await redis.pubsub_numsub(channel)) == {channel.encode(): 1}, "one connection serves both"
    await one.send(op="unsubscribe", topics=["book:AAPL"])
    await two.socket.close()
    async with asyncio.timeout(10):
        while dict(await redis.pubsub_numsub(channel)) != {channel.encode(): 0}:
            await asyncio.sleep(0.01)
    assert push.process.service.hub.channels == 0


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("{", "Invalid JSON"),
        ('{"op": "dance"}', "dance"),
        ('{"op": "subscribe"}', "topics"),
        ('{"op": "subscribe", "topics": ["quote:1"]}', "no scopes"),
        ('{"op": "subscribe", "topics": ["news"]}', "no view"),
        ('{"op": "subscribe", "topics": ["book:*"]}', "no scope"),
        ('{"op": "resync", "topic": "order:"}', "no scope"),
        ('{"op": "ping", "t": "now"}', "t"),
        ('{"op": "painted", "samples": [[1, 2, 3]]}', "samples"),
    ],
)
async def test_malformed_message_then_an_error_is_told_and_the_connection_lives(
    push: Any, message: str, reason: str
) -> None:
    client = await push.client()
    await client.socket.send(message)
    await client.until(lambda: client.errors)
    assert reason in client.errors[0]["reason"]
    await client.send(op="ping", t=1.5)
    await client.until(lambda: client.pongs)
    assert client.pongs[0]["t"] == 1.5


async def test_too_many_topics_then_the_rest_is_refused(start_push: Callable[..., Any], redis: Redis) -> None:
    push = await start_push(subscriptions=SubscriptionSettings(max=2))
    await push.until_redis(True)
    client = await push.client()
    await client.subscribe("book:A", "book:B", "book:C")
    await client.until(lambda: client.errors and len(client.rows) == 2)
    assert client.errors[0]["topic"] == "book:C"


async def test_flood_of_messages_then_the_client_is_dropped(start_push: Callable[..., Any], redis: Redis) -> None:
    push = await start_push(commands=CommandSettings(burst_max=5, per_s_max=1))
    client = await push.client()
    with pytest.raises(Exception, match="1008"):
        for _ in range(50):
            await client.send(op="ping", t=1)
        await client.until(lambda: False)


async def test_page_of_another_site_then_it_may_not_connect(push: Any) -> None:
    with pytest.raises(Exception, match="403"):
        await push.client(origin="http://elsewhere.example")
    assert (await push.client(origin=push.url)).hello


async def test_malformed_envelope_then_it_is_skipped_and_the_scope_recovers(
    push: Any, redis: Redis, writer: ViewWriter
) -> None:
    client = await push.client()
    await client.subscribe("account:A1")
    await client.until(lambda: "account:A1" in client.rows)
    await redis.hset(view_channel("account", "A1"), "bad", "{}")
    await redis.publish(view_channel("account", "A1"), b"\xff not json")
    await writer.write("account", "A1", {"account": account(1)})
    await writer.write("account", "A1", {"account": account(2)})
    await client.until(lambda: client.rows["account:A1"].get("account", {}).get("cash_e4") == 2)
    assert "bad" not in client.rows["account:A1"]


async def test_redis_restarts_then_clients_are_told_and_see_what_came_meanwhile(
    start_push: Callable[..., Any], tmp_path: Path
) -> None:
    with LocalStack({"redis"}, data_dir=tmp_path / "stack") as stack:
        url = stack.addresses.redis_url
        push = await start_push(redis=PushRedisSettings(url=url))
        await push.until_redis(True)
        client = await push.client()
        async with Redis.from_url(url) as redis:
            await ViewWriter(redis).write("account", "A1", {"account": account(1)})
        await client.subscribe("account:A1", "quote")
        await client.until(lambda: client.rows.get("account:A1"))
        await asyncio.to_thread(stack.kill, "redis")
        await client.until(lambda: client.status["redis"]["up"] is False)
        assert client.rows["account:A1"]["account"]["cash_e4"] == 1, "what is known stays visible"
        await asyncio.to_thread(stack.restart, "redis", wipe=True)
        async with Redis.from_url(url) as redis:
            refilled = ViewWriter(redis)
            await refilled.write("account", "A1", {"account": account(2)})
            await refilled.write("quote", "0", {"AAPL": {"last_e4": 9}})
            await client.until(lambda: client.status["redis"]["up"] is True)
            await client.until(lambda: client.rows["account:A1"].get("account", {}).get("cash_e4") == 2)
            await client.until(lambda: client.rows.get("quote") == {"AAPL": {"last_e4": 9}})


def redis_lost() -> float:
    return REGISTRY.get_sample_value("tidemark_push_redis_lost_total") or 0.0


async def test_connection_is_cut_again_and_again_then_the_newest_state_arrives(
    start_push: Callable[..., Any], redis: Redis, writer: ViewWriter
) -> None:
    push = await start_push(redis=PushRedisSettings(timeout_s=0.2, backoff_min_s=0.01, backoff_max_s=0.02))
    await push.until_redis(True)
    client = await push.client()
    await client.subscribe("quote", "order:A1")
    await client.until(lambda: len(client.rows) == 2)
    lost = redis_lost()
    price_e4 = 0
    async with asyncio.timeout(60):
        while redis_lost() < lost + 30:
            price_e4 += 1
            await writer.write("quote", "0", {"AAPL": {"last_e4": price_e4}})
            await writer.write("order", "A1", {"A1.1": {"revision": price_e4}})
            await redis.client_kill_filter(_type="pubsub")
    await push.until_redis(True)
    await writer.write("quote", "0", {"AAPL": {"last_e4": 0}})
    await writer.write("order", "A1", {"A1.1": {"revision": 0}})
    await client.until(lambda: client.rows["quote"].get("AAPL", {}).get("last_e4") == 0)
    await client.until(lambda: client.rows["order:A1"].get("A1.1", {}).get("revision") == 0)


async def test_redis_away_at_the_start_then_push_serves_and_is_not_ready(
    start_push: Callable[..., Any], tmp_path: Path
) -> None:
    with LocalStack({"redis"}, data_dir=tmp_path / "stack") as stack:
        url = stack.addresses.redis_url
        await asyncio.to_thread(stack.kill, "redis")
        push = await start_push(redis=PushRedisSettings(url=url))
        client = await push.client()
        await client.subscribe("account:A1")
        async with httpx.AsyncClient(base_url=push.url) as http:
            assert (await http.get("/health/live")).status_code == 200
            assert (await http.get("/health/ready")).status_code == 503
            accounts = await http.get("/v1/accounts")
            assert accounts.status_code == 503
            assert "127.0.0.1" not in accounts.text, "where Redis is, is nobody's business"
            await asyncio.to_thread(stack.restart, "redis")
            await client.until(lambda: "account:A1" in client.rows)
            assert (await http.get("/health/ready")).status_code == 200


async def test_stamps_and_painted_times_then_three_clocks_are_served(push: Any, writer: ViewWriter) -> None:
    client = await push.client()
    await client.subscribe("account:A1", "book:AAPL")
    await client.until(lambda: len(client.rows) == 2)
    origin_ns = time.time_ns() - 20_000_000_000
    stamps = Stamps(origin_ns=origin_ns, processed_ns=origin_ns + 3_000_000, committed_ns=origin_ns + 5_000_000)
    await writer.write("account", "A1", {"account": account(1)}, stamps=stamps)
    await client.until(lambda: client.deltas)
    painted_ns = time.time_ns()
    sample = [int(float(origin_ns)), int(float(origin_ns + 5_000_000)), painted_ns, "account", ""]  # doubles, as there
    await client.send(op="painted", samples=[sample])
    await client.send(op="ping", t=1)
    await client.until(lambda: client.pongs)
    async with httpx.AsyncClient(base_url=push.url) as http:
        figures = (await http.get("/v1/latency")).json()["orders"]
        assert figures["processed"]["p50_ms"] == pytest.approx(3, rel=0.01)
        assert figures["committed"]["p99_ms"] == pytest.approx(5, rel=0.01)
        assert figures["painted"]["max_ms"] == pytest.approx((painted_ns - origin_ns) / 1e6, rel=0.01)
        assert figures["painted"]["n"] == 1
        unpainted = (await http.get("/v1/latency")).json()["market"]["painted"]
        assert unpainted == {"p50_ms": None, "p99_ms": None, "max_ms": None, "n": 0}, "no sample is no figure"
        assert (await http.get("/v1/latency?window=views")).json()["account"]["painted"]["n"] == 1
        assert (await http.get("/v1/accounts")).json() == {"accounts": ["A1"]}
        assert "tidemark_push_frames_total" in (await http.get("/metrics")).text


async def test_health_of_all_services_then_push_itself_is_among_them(push: Any) -> None:
    client = await push.client()
    await client.subscribe("health")
    await client.until(lambda: client.rows.get("health"))
    row = client.rows["health"]["push-test"]
    assert row["service"] == "push"
    assert abs(row["at_ns"] - time.time_ns()) < 10_000_000_000


def test_envelope_of_the_runtime_then_it_is_read_as_the_contract_says() -> None:
    data = account(5)
    payload = encode_envelope(View("account", "A1", "account", data, 3), 17, 4, (1, 2, 3), "00-aa-bb-01")
    delta = decode_envelope(payload)
    contract = Envelope.model_validate_json(payload)
    assert tuple(delta.scope) == (contract.name, contract.scope)
    assert tuple(delta.position) == (contract.epoch, contract.seq)
    assert delta.prev == contract.prev
    assert AccountData.model_validate_json(delta.row.data or b"") == data
    assert tuple(delta.row.stamps) == tuple(contract.stamps.model_dump().values())
    assert delta.row.traceparent == contract.traceparent


@pytest.mark.parametrize("payload", [b"", b"[]", b"{}", b'{"v":2}', b"\xff", b'{"v":1,"data":3}'])
def test_bytes_that_are_no_envelope_then_they_are_refused(payload: bytes) -> None:
    with pytest.raises(EnvelopeError):
        decode_envelope(payload)
