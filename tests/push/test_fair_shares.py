"""No client can hurt another: real WebSockets from several addresses of this machine, one of which attacks."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import httpx
import pytest
import websockets
from common.contracts.views import view_channel
from common.testing.views import ViewWriter
from prometheus_client import REGISTRY
from push.domain.paints import CLOCK_ERROR_NS, SENT_MAX, Paints
from push.domain.rows import StampsNs
from push.domain.shares import ADDRESSES_MAX, Shares, TokenBucket, network_of
from push.settings import AddressSettings, CommandSettings, SubscriptionSettings
from redis.asyncio import Redis

ATTACKER = ("127.0.0.7", 0)
SOMEBODY = ("127.0.0.8", 0)


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def closed_with(socket: websockets.ClientConnection) -> tuple[int, str]:
    """Close code and reason, however much came before."""
    with contextlib.suppress(websockets.ConnectionClosed):
        while True:
            await socket.recv()
    frame = socket.protocol.close_rcvd
    assert frame is not None
    return frame.code, frame.reason


async def refusal(push: Any, **options: Any) -> tuple[int, str | None]:
    """Status and Retry-After of a handshake that fails."""
    with pytest.raises(websockets.InvalidStatus) as refused:
        await push.client(**options)
    return refused.value.response.status_code, refused.value.response.headers.get("Retry-After")


@asynccontextmanager
async def many(push: Any, count: int, topic: str | None) -> AsyncIterator[tuple[list[Any], int]]:
    """``count`` connections from the attacker's address, each with a topic or idle; and how many were refused."""
    sockets, refused = [], 0
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(count):
            try:
                connecting = websockets.connect(
                    push.url.replace("http", "ws") + "/ws", local_addr=ATTACKER, close_timeout=1
                )
                socket = await stack.enter_async_context(connecting)
            except websockets.InvalidStatus:
                refused += 1
                continue
            if topic:
                await socket.send(json.dumps({"op": "subscribe", "topics": [topic]}))
            sockets.append(socket)
        yield sockets, refused


@pytest.mark.parametrize("topic", ["account:A1", None], ids=["subscribed", "idle"])
async def test_address_that_takes_every_place_then_it_has_its_share_and_others_come_in(
    start_push: Callable[..., Any], redis: Redis, topic: str | None
) -> None:
    push = await start_push(address=AddressSettings(clients_max=20, handshakes_per_s_max=100), clients_max=40)
    await push.until_redis(True)
    before = counted("tidemark_push_clients_refused_total", cause="address")
    async with many(push, 100, topic) as (sockets, refused):
        if topic:
            assert len(sockets) == 20
            assert refused == 80
            assert counted("tidemark_push_clients_refused_total", cause="address") == before + 80
            assert await refusal(push, local_addr=ATTACKER) == (429, "5")
        else:
            assert await closed_with(sockets[0]) == (1013, "made room for another")
            assert (await push.client(local_addr=ATTACKER)).hello, "idle places are given to whoever comes"
        assert push.process.service.hub.clients <= 21
        for _ in range(15):
            somebody = await push.client(local_addr=SOMEBODY)
            await somebody.subscribe("account:A1")
            await somebody.has("account:A1")


@pytest.mark.parametrize("trusted", [True, False])
async def test_client_that_says_it_comes_from_elsewhere_then_only_a_proxy_is_believed(
    start_push: Callable[..., Any], redis: Redis, trusted: bool
) -> None:
    push = await start_push(address=AddressSettings(clients_max=1), trusted_proxies=(ATTACKER[0],) if trusted else ())
    await push.until_redis(True)

    async def another(number: int) -> None:
        client = await push.client(local_addr=ATTACKER, additional_headers={"X-Forwarded-For": f"10.0.0.{number}"})
        await client.subscribe("account:A1")
        await client.until(lambda: "account:A1" in client.rows)

    await another(1)
    if trusted:
        await another(2)
    else:
        with pytest.raises(websockets.InvalidStatus, match="429"):
            await another(2)


async def test_push_that_is_full_then_it_says_503_and_when_to_ask_again(
    start_push: Callable[..., Any], redis: Redis
) -> None:
    push = await start_push(clients_max=1)
    await push.until_redis(True)
    client = await push.client()
    await client.subscribe("account:A1")
    await client.until(lambda: "account:A1" in client.rows)
    assert await refusal(push, local_addr=SOMEBODY) == (503, "5")


async def test_handshakes_without_end_then_the_address_is_told_to_wait(
    start_push: Callable[..., Any], redis: Redis
) -> None:
    push = await start_push(address=AddressSettings(handshakes_per_s_max=1, burst_s=3))
    for _ in range(3):
        await (await push.client(local_addr=ATTACKER)).socket.close()
    assert await refusal(push, local_addr=ATTACKER) == (429, "5"), "leaving and coming back gives no new share"
    assert (await push.client(local_addr=SOMEBODY)).hello
    await asyncio.sleep(1.1)
    assert (await push.client(local_addr=ATTACKER)).hello


async def test_client_that_subscribes_to_nothing_then_it_is_closed_also_where_it_talks(
    start_push: Callable[..., Any], redis: Redis
) -> None:
    push = await start_push(subscribe_timeout_s=0.5)
    await push.until_redis(True)
    silent, talking, once, listening = [await push.client() for _ in range(4)]
    await listening.subscribe("account:A1")
    await once.subscribe("account:A1")
    await once.send(op="unsubscribe", topics=["account:A1"])

    async def talk() -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            while True:
                await talking.send(op="ping", t=1)
                await asyncio.sleep(0.1)

    async with asyncio.timeout(5):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(talk())
            ends = [tasks.create_task(closed_with(client.socket)) for client in (silent, talking, once)]
    assert [end.result() for end in ends] == [(1008, "nothing subscribed")] * 3
    await listening.send(op="ping", t=7)
    await listening.until(lambda: listening.pongs)


async def test_client_that_answers_no_ping_then_it_is_dropped(start_push: Callable[..., Any], redis: Redis) -> None:
    push = await start_push(ping_interval_s=0.2, pong_timeout_s=0.3)
    reader, writer = await asyncio.open_connection("127.0.0.1", push.process.port)
    writer.write(
        b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    async with asyncio.timeout(10):  # it reads everything and says nothing
        while await reader.read(65_536):
            pass
    writer.close()
    async with asyncio.timeout(5):
        while push.process.service.hub.clients:
            await asyncio.sleep(0.01)


async def test_client_that_subscribes_again_and_again_then_it_is_dropped_and_says_why(
    start_push: Callable[..., Any], redis: Redis
) -> None:
    push = await start_push(subscriptions=SubscriptionSettings(burst_max=50, per_s_max=1))
    await push.until_redis(True)
    client = await push.client()
    with contextlib.suppress(websockets.ConnectionClosed):
        for number in range(60):
            await client.subscribe(f"order:N{number}")
    assert await closed_with(client.socket) == (1008, "too many subscriptions")


async def test_resubscribing_address_then_redis_and_other_clients_hardly_notice(
    start_push: Callable[..., Any], redis: Redis, writer: ViewWriter
) -> None:
    push = await start_push(
        address=AddressSettings(subscriptions_per_s_max=100, burst_s=1),
        subscriptions=SubscriptionSettings(per_s_max=1_000),
        commands=CommandSettings(per_s_max=10_000),
    )
    await push.until_redis(True)
    reads = counted("tidemark_push_reads_total")
    stop = time.monotonic() + 3

    async def attack(number: int) -> None:
        client = await push.client(local_addr=ATTACKER)
        count = 0
        with contextlib.suppress(websockets.ConnectionClosed):
            while time.monotonic() < stop:
                count += 1
                await client.subscribe(f"order:N{number}x{count}")
                await client.send(op="unsubscribe", topics=[f"order:N{number}x{count}"])
                await asyncio.sleep(0)

    somebody = await push.client(local_addr=SOMEBODY)
    await somebody.subscribe("quote")
    await somebody.until(lambda: "quote" in somebody.rows)
    delays_s: list[float] = []
    async with asyncio.TaskGroup() as tasks:
        for number in range(5):
            tasks.create_task(attack(number))
        while time.monotonic() < stop:
            sent_s = time.monotonic()
            price_e4 = int(sent_s * 1e6)
            await writer.write("quote", "0", {"AAPL": {"last_e4": price_e4}})
            await somebody.shows("quote", "AAPL", {"last_e4": price_e4})
            delays_s.append(time.monotonic() - sent_s)
    assert counted("tidemark_push_reads_total") - reads < 100 + 3 * 100 + 100, "the address has its share of reads"
    assert sorted(delays_s)[len(delays_s) // 2] < 0.5


async def test_snapshots_beyond_the_share_then_they_come_later_and_others_at_once(
    start_push: Callable[..., Any], redis: Redis, writer: ViewWriter
) -> None:
    push = await start_push(address=AddressSettings(snapshot_rows_per_s_max=400, burst_s=1))
    await push.until_redis(True)
    await writer.write("quote", "0", {f"S{n}": {"last_e4": n} for n in range(1_000)})
    greedy, somebody = await push.client(local_addr=ATTACKER), await push.client(local_addr=SOMEBODY)
    began_s = time.monotonic()
    for count in (1, 2, 3):
        await greedy.send(
            op="resync" if count > 1 else "subscribe", **{"topic": "quote"} if count > 1 else {"topics": ["quote"]}
        )
        if count == 2:
            await somebody.subscribe("quote")
            await somebody.until(lambda: "quote" in somebody.rows)
            assert time.monotonic() - began_s < 1
        await greedy.has_begun("quote", count)
    assert time.monotonic() - began_s > 2, "a thousand rows are two and a half seconds' worth"
    assert counted("tidemark_push_snapshots_postponed_total") > 0


async def test_whole_view_that_is_left_and_asked_for_again_then_redis_is_searched_once_a_while(
    start_push: Callable[..., Any], redis: Redis, writer: ViewWriter
) -> None:
    push = await start_push(relist_interval_s=0.5)
    await push.until_redis(True)
    await writer.write("quote", "0", {"AAPL": {"last_e4": 1}})
    client = await push.client()
    await client.subscribe("account:A1")
    before = int((await redis.info("commandstats"))["cmdstat_scan"]["calls"]) if await redis.scan() else 0
    for _ in range(20):
        await client.subscribe("quote")
        await client.send(op="unsubscribe", topics=["quote"])
        await asyncio.sleep(0.05)
    await client.subscribe("quote")
    await client.until(lambda: client.rows.get("quote") == {"AAPL": {"last_e4": 1}})
    scans = int((await redis.info("commandstats"))["cmdstat_scan"]["calls"]) - before
    assert scans <= 2 + (20 * 0.05 + 1) / 0.5 + 1


async def test_list_of_accounts_when_many_ask_then_redis_is_searched_once(
    start_push: Callable[..., Any], redis: Redis, writer: ViewWriter
) -> None:
    push = await start_push(accounts_age_max_s=60)
    await writer.write("account", "A1", {"account": {"n": 1}})
    await redis.scan()
    before = int((await redis.info("commandstats"))["cmdstat_scan"]["calls"])
    async with httpx.AsyncClient(base_url=push.url) as http:
        answers = await asyncio.gather(*[http.get("/v1/accounts") for _ in range(30)])
    assert {tuple(answer.json()["accounts"]) for answer in answers} == {("A1",)}
    assert int((await redis.info("commandstats"))["cmdstat_scan"]["calls"]) == before + 1


# --- clocks of clients ------------------------------------------------------------------------------------------------


async def test_invented_paints_then_they_are_counted_and_change_no_figure(push: Any, writer: ViewWriter) -> None:
    client = await push.client()
    await client.subscribe("order:A1")
    await client.until(lambda: "order:A1" in client.rows)
    await writer.write("order", "A1", {"A1.1": {"revision": 1}})
    await client.until(lambda: client.deltas)
    stamps = client.deltas[0]["stamps"]
    sent = [stamps["origin_ns"], stamps["committed_ns"]]
    before = counted("tidemark_push_paint_samples_ignored_total", cause="not sent")
    now_ns = time.time_ns()
    invented = [[1, 1, now_ns, "order", ""]] * 400 + [[*sent, now_ns, "fill", ""]] + [[1, 1, 10**300, "order", ""]]
    await client.send(op="painted", samples=invented)
    await client.send(op="painted", samples=[[*sent, now_ns, "order", ""]] * 3)
    await client.send(op="ping", t=1)
    await client.until(lambda: client.pongs)
    async with httpx.AsyncClient(base_url=push.url) as http:
        painted = (await http.get("/v1/latency")).json()["orders"]["painted"]
    assert painted["n"] == 1, "what was sent once is painted once"
    assert painted["max_ms"] < 60_000
    assert counted("tidemark_push_paint_samples_ignored_total", cause="not sent") == before + 404


@pytest.mark.parametrize("wrong_ns", [1, -3_600_000_000_000, 90_000_000_000])
async def test_order_whose_sender_has_a_wrong_clock_then_the_latency_stays_what_it_is(
    push: Any, writer: ViewWriter, wrong_ns: int
) -> None:
    client = await push.client()
    await client.subscribe("order:A1")
    await client.until(lambda: "order:A1" in client.rows)
    await writer.write("order", "A1", {"A1.1": {"revision": 1}})
    now_ns = time.time_ns()
    origin_ns = 1 if wrong_ns == 1 else now_ns - wrong_ns
    stamps = writer.stamps().model_copy(update={"origin_ns": origin_ns})
    before = counted("tidemark_push_latency_ignored_total", path="orders", clock="committed")
    await writer.write("order", "A1", {"A1.2": {"revision": 1}}, stamps=stamps)
    await client.until(lambda: len(client.deltas) == 2)
    delta = client.deltas[1]["stamps"]
    await client.send(op="painted", samples=[[delta["origin_ns"], delta["committed_ns"], time.time_ns(), "order", ""]])
    await client.send(op="ping", t=1)
    await client.until(lambda: client.pongs)
    async with httpx.AsyncClient(base_url=push.url) as http:
        orders = (await http.get("/v1/latency")).json()["orders"]
    assert orders["committed"]["n"] == 1
    assert orders["committed"]["max_ms"] < 1_000
    assert orders["painted"]["n"] == 0
    assert counted("tidemark_push_latency_ignored_total", path="orders", clock="committed") == before + 1


def as_browsers_write(number: int) -> int:
    """The shortest digits that a double of this number is read from again."""
    return int(Decimal(repr(float(number))))


def test_paint_of_what_was_sent_then_its_time_lies_between_the_sending_and_now() -> None:
    paints, stamps = Paints(), StampsNs(1_795_966_495_912_836_778, 2, 1_795_966_495_913_517_928)
    early, late, absurd = 1_000, 50_000, 50_000 + CLOCK_ERROR_NS + 1
    for painted_ns, expected in [(early, 10_000), (20_000, 20_000), (late, 40_000), (absurd, None)]:
        paints.sent("order", stamps, "", 10_000)
        sample = (as_browsers_write(stamps.origin), as_browsers_write(stamps.committed), painted_ns, "order", "")
        believed, ignored = paints.believe([sample], 40_000)
        assert [paint.painted_ns for paint in believed] == ([] if expected is None else [expected])
        assert ignored["impossible time"] == (expected is None)
        assert all(paint.stamps is stamps for paint in believed), "what was measured from is ours, not the browser's"


def test_paints_that_are_never_reported_then_the_oldest_are_forgotten() -> None:
    paints = Paints()
    for number in range(1, 3 * SENT_MAX):
        paints.sent("order", StampsNs(number, 1, 1), "", 0)
    assert paints.believe([(1, 1, 0, "order", "")], 0)[1]["not sent"] == 1
    assert len(paints.believe([(n, 1, 0, "order", "") for n in range(1, 3 * SENT_MAX)], 0)[0]) == SENT_MAX


# --- arithmetic -------------------------------------------------------------------------------------------------------


def test_addresses_then_one_subscriber_is_one_network() -> None:
    assert network_of("2001:db8:1:2:aaaa::1") == network_of("2001:db8:1:2:bbbb::9") != network_of("2001:db8:1:3::1")
    assert network_of("::ffff:10.0.0.1") == network_of("10.0.0.1") != network_of("10.0.0.2")
    assert network_of("unix") == "unix"


def test_bucket_that_owes_then_it_pays_before_the_next() -> None:
    bucket = TokenBucket(10, 20, 0.0)
    assert bucket.spend(0.0, 120)
    assert not bucket.spend(9.9, 1)
    assert bucket.until_some_s(9.9) == pytest.approx(0.2)
    assert bucket.spend(10.2, 1)


def test_more_addresses_than_are_remembered_then_used_ones_stay() -> None:
    shares = Shares(1, 1, 1, 2)
    used = shares.of("10.0.0.1", 0.0)
    used.clients = 1
    assert used.handshakes.take(0.0)
    for number in range(ADDRESSES_MAX + 10):
        shares.of(f"other {number}", 1.0)
    assert shares.of("10.0.0.1", 1.0) is used
    assert len(shares._by_network) <= ADDRESSES_MAX


def test_channel_of_writers_then_no_client_can_subscribe_to_it() -> None:
    from push.domain.topic import Topic, TopicError

    with pytest.raises(TopicError):
        Topic.parse("writer:signals.market")
    assert view_channel("writer", "signals.market") == "tm:writer:signals.market"
