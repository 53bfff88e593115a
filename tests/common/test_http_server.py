"""A server of ours, by bytes on the wire: what a connection may send, for how long, and what becomes of the others."""

import asyncio
import resource
import socket
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import pytest
from common.contracts.problems import problem_type
from common.testing.raw_http import HOST, Answer, get, read, talk
from common.testing.raw_http import serving as serving_any
from fastapi import FastAPI, Request, Response
from prometheus_client import REGISTRY
from streams.process.http_limits import HttpLimits
from streams.service.http.protocol import HOLD
from streams.service.web import WebServer

LIMITS = HttpLimits(head_timeout_s=0.5, body_timeout_s=0.5, idle_timeout_s=0.6, stall_timeout_s=0.5)
LARGE = 8 * 1024 * 1024
KEY = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"


def application() -> FastAPI:
    web = FastAPI(docs_url=None, redoc_url=None)
    web.state.begun = []
    web.state.ended = []

    @web.get("/ok")
    async def ok() -> dict[str, bool]:
        return {"ok": True}

    @web.post("/echo")
    async def echo(request: Request) -> int:
        web.state.begun.append("echo")
        try:
            return len(await request.body())
        finally:
            web.state.ended.append("echo")

    @web.get("/slow")
    async def slow() -> None:
        await asyncio.sleep(0.3)

    @web.get("/large")
    async def large() -> Response:
        return Response(b"x" * LARGE)

    @web.get("/held")
    async def held(request: Request) -> None:
        request.scope["extensions"][HOLD](0.5)

    return web


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def connections_open(count: int) -> Callable[[], bool]:
    return lambda: REGISTRY.get_sample_value("tidemark_http_connections_count") == count


def serving(limits: HttpLimits = LIMITS) -> AbstractAsyncContextManager[WebServer]:
    return serving_any(application(), limits)


def post(length: bytes, body: bytes = b"") -> bytes:
    return b"POST /echo HTTP/1.1\r\n" + HOST + length + b"\r\n" + body


# --- answers ------------------------------------------------------------------------------------------------------

ACKNOWLEDGED_LATE_S = 0.04
"""Linux acknowledges what it has nothing to say to after so long."""


def answer_times_s(port: int, count: int) -> list[float]:
    """Seconds that each answer takes to a client that acknowledges nothing at once."""
    times_s = []
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        for _ in range(count):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
            began_s = time.monotonic()
            client.sendall(get(b"/ok"))
            answer = b""
            while not answer.endswith(b'{"ok":true}'):
                answer += client.recv(65_536)
            times_s.append(time.monotonic() - began_s)
    return times_s


async def test_answer_when_the_client_acknowledges_late_then_the_body_does_not_wait_for_it() -> None:
    async with serving() as server:
        times_s = await asyncio.to_thread(answer_times_s, server.port, 20)
    assert min(times_s) < ACKNOWLEDGED_LATE_S / 2


# --- sizes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ([get(b"/ok")[:-2] + b"X: ", *[b"a" * 65_536] * 200], 431),
        ([get(b"/ok")[:-2] + b"X" * 100_000], 431),
        ([get(b"/ok", b"X: " + b"a" * 17_000 + b"\r\n")], 431),
        ([get(b"/ok", *(b"x%d: 1\r\n" % number for number in range(101)))], 431),
        ([b"GET /", *[b"a" * 65_536] * 200], 414),
    ],
    ids=["endless value", "endless name", "large", "many", "endless target"],
)
async def test_head_when_it_is_larger_than_it_may_be_then_refused_and_not_read_on(
    parts: list[bytes], status: int
) -> None:
    async with serving() as server:
        answer = await talk(server, *parts)
        assert (answer.statuses, answer.closed) == ([status], True)
        assert answer.problem["status"] == status


@pytest.mark.parametrize("beginning", [b"5\r\nabcde\r\n0\r\nX: ", b"5;x="], ids=["trailer", "chunk extension"])
async def test_body_when_what_is_around_it_does_not_end_then_refused_and_not_read_on(beginning: bytes) -> None:
    async with serving(replace(LIMITS, body_timeout_s=30)) as server:
        answer = await talk(server, post(b"Transfer-Encoding: chunked\r\n", beginning), *[b"a" * 65_536] * 200)
        assert (answer.statuses, answer.closed) == ([431], True)
        assert server.application.state.ended == ["echo"]


async def test_body_when_it_comes_in_chunks_of_a_byte_then_taken() -> None:
    async with serving() as server:
        chunks = b"1\r\na\r\n" * 60_000 + b"0\r\n\r\n"
        answer = await talk(server, post(b"Transfer-Encoding: chunked\r\n", chunks), until=lambda a: b"60000" in a.raw)
        assert answer.statuses == [200]


async def test_head_when_it_is_as_large_as_it_may_be_then_answered() -> None:
    async with serving() as server:
        long = get(b"/ok", *(b"x%d: %s\r\n" % (number, b"a" * 150) for number in range(98)))
        assert (await talk(server, long)).statuses == [200]


async def test_many_requests_at_once_then_all_are_answered_in_order() -> None:
    async with serving() as server:
        answer = await talk(server, get(b"/slow") + get(b"/ok") * 999, until=lambda a: len(a.statuses) == 1_000)
        assert answer.statuses == [200] * 1_000
        assert answer.raw.index(b"null") < answer.raw.index(b"true")


async def test_body_when_the_answer_does_not_wait_for_it_then_the_rest_is_not_read() -> None:
    async with serving() as server:
        request = b"POST /ok HTTP/1.1\r\n" + HOST + b"Content-Length: 500000000\r\n\r\n"
        answer = await talk(server, request, *[b"a" * 65_536] * 7_000)
        assert (answer.statuses, answer.closed) == ([405], True)


# --- framing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_",
    [
        post(b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\nGET /ok HTTP/1.1\r\n\r\n"),
        post(b"Content-Length: 3\r\nContent-Length: 4\r\n", b"abcd"),
        post(b"Content-Length: -1\r\n"),
        post(b"Content-Length: " + b"9" * 500 + b"\r\n"),
        post(b"Transfer-Encoding: xchunked\r\n"),
        post(b"Content-Length : 3\r\n", b"abc"),
        b"GET http://localhost/ok HTTP/1.1\r\n" + HOST + b"\r\n",
        b"CONNECT localhost:1 HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /ok HTTP/1.1\nHost: localhost\n\n",
        b"GET /ok HTTP/0.9\r\n" + HOST + b"\r\n",
        post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
        post(b"Transfer-Encoding: identity\r\n"),
        get(b"/ok", b"X: a\0b\r\n"),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
async def test_request_that_can_be_read_in_two_ways_then_400_and_the_connection_ends(request_: bytes) -> None:
    async with serving() as server:
        answer = await talk(server, request_)
        assert (answer.statuses, answer.closed) == ([400], True)
        assert answer.problem["type"] == problem_type("bad-framing")


async def test_bad_request_behind_a_good_one_then_the_good_one_is_answered_first() -> None:
    async with serving() as server:
        answer = await talk(server, get(b"/slow") + b"garbage\r\n\r\n")
        assert (answer.statuses, answer.closed) == ([200, 400], True)


@pytest.mark.parametrize("upgrade", [b"h2c", b"websocket"])
async def test_upgrade_when_there_is_nothing_to_upgrade_to_then_answered_without(upgrade: bytes) -> None:
    async with serving() as server:
        answer = await talk(server, get(b"/ok", b"Connection: Upgrade\r\nUpgrade: " + upgrade + b"\r\n" + KEY))
        assert answer.statuses == [200]


# --- time ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "statuses"),
    [
        (b"", []),
        (b"\r\n\r\n", []),
        (get(b"/ok")[:-2], [408]),
        (get(b"/ok"), [200]),
        (get(b"/ok") + get(b"/ok")[:-2], [200, 408]),
        (post(b"Content-Length: 5\r\n", b"ab"), [408]),
        (post(b"Transfer-Encoding: chunked\r\n", b"5\r\nab"), [408]),
        (get(b"/slow") + post(b"Content-Length: 5\r\n", b"ab"), [200, 408]),
    ],
    ids=["nothing", "lines", "head", "idle", "second head", "body", "chunk", "second body"],
)
async def test_connection_when_nothing_comes_any_more_then_closed_in_time(request_: bytes, statuses: list[int]) -> None:
    async with serving() as server:
        began_s = asyncio.get_running_loop().time()
        answer = await talk(server, request_)
        assert (answer.statuses, answer.closed) == (statuses, True)
        assert asyncio.get_running_loop().time() - began_s < 5


@pytest.mark.parametrize("beginning", [get(b"/ok")[:-2] + b"X: ", post(b"Content-Length: 60000\r\n")])
async def test_bytes_that_drip_then_the_time_is_for_all_of_them(beginning: bytes) -> None:
    async with serving() as server:
        answer = await asyncio.wait_for(_drip(server, beginning), 5)
        assert answer.statuses == [408]


async def _drip(server: WebServer, beginning: bytes) -> Answer:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    reading = asyncio.create_task(read(reader))
    writer.write(beginning)
    while not reading.done():
        writer.write(b"a")
        await asyncio.sleep(0.05)
    writer.close()
    return await reading


async def test_body_that_never_comes_then_the_application_is_not_left_waiting() -> None:
    async with serving() as server:
        await talk(server, post(b"Content-Length: 5\r\n", b"ab"))
        assert server.application.state.ended == ["echo"]


async def test_body_that_cannot_be_read_then_400_and_the_application_is_not_left_waiting() -> None:
    async with serving() as server:
        answer = await talk(server, post(b"Transfer-Encoding: chunked\r\n", b"5\r\nabcde\r\nxyz\r\n"))
        assert (answer.statuses, answer.closed) == ([400], True)
        assert server.application.state.ended == ["echo"]


async def test_answer_that_is_not_read_then_the_connection_is_cut_off() -> None:
    async with serving() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1_024)
        await until(connections_open(1))
        writer.write(get(b"/large"))
        await until(connections_open(0))
        answer = await read(reader)
        assert answer.closed
        assert len(answer.raw) < LARGE
        writer.close()


async def test_hold_then_the_next_request_waits_and_other_connections_do_not() -> None:
    async with serving() as server:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        held = asyncio.create_task(
            talk(server, get(b"/held") + get(b"/ok") * 3, until=lambda answer: len(answer.statuses) == 4)
        )
        await talk(server, get(b"/ok"), until=lambda answer: answer.statuses == [200])
        assert loop.time() - began_s < 0.4
        assert (await held).statuses == [200] * 4
        assert loop.time() - began_s >= 0.5


# --- connections --------------------------------------------------------------------------------------------------


async def test_connections_when_there_is_no_room_then_the_longest_idle_goes_and_newcomers_are_served() -> None:
    async with serving(replace(LIMITS, connections_max=5, address_share=1, head_timeout_s=30)) as server:
        idle = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(5)]
        await until(connections_open(5))
        answer = await talk(server, get(b"/ok"), until=lambda a: a.statuses == [200])
        assert answer.statuses == [200]
        assert (await read(idle[0][0])).closed
        for _, writer in idle:
            writer.close()


async def test_connections_when_all_of_them_are_at_work_then_the_newcomer_is_told_to_come_back() -> None:
    async with serving(replace(LIMITS, connections_max=5, address_share=0.4, body_timeout_s=30)) as server:
        busy = [asyncio.create_task(talk(server, post(b"Content-Length: 5\r\n", b"ab"))) for _ in range(2)]
        await until(lambda: len(server.application.state.begun) == 2)
        answer = await talk(server)
        assert answer.statuses == [429]
        assert b"retry-after: 1" in answer.raw
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)


async def test_connections_of_one_address_when_it_has_its_share_then_another_address_is_served() -> None:
    async with serving(replace(LIMITS, connections_max=5, address_share=0.6, body_timeout_s=30)) as server:
        busy = [asyncio.create_task(talk(server, post(b"Content-Length: 5\r\n", b"ab"))) for _ in range(9)]
        await until(lambda: len(server.application.state.begun) == 3 and sum(each.done() for each in busy) == 6)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, local_addr=("127.0.0.2", 0))
        writer.write(get(b"/ok"))
        assert (await read(reader, lambda answer: answer.statuses == [200])).statuses == [200]
        writer.close()
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)


def test_connections_when_few_files_may_be_open_then_half_of_them() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (600, hard))
        assert HttpLimits().connections == 300
        assert HttpLimits().address_connections == 240
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
