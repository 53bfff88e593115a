"""The wrapping of every server of ours: names, headers of every answer, and faults as problems."""

from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest
import websockets
from common.contracts.problems import PROBLEMS, problem_type
from common.testing.raw_http import HOST, get, talk
from common.testing.raw_http import serving as serving_any
from fastapi import FastAPI, Response, WebSocket
from streams.process.http_limits import HttpLimits
from streams.process.settings import HttpSettings, Settings
from streams.service.http.answers import SECURITY_HEADERS
from streams.service.http.identity import client_of, client_of_address
from streams.service.web import WebServer

LIMITS = HttpLimits(idle_timeout_s=0.5)
KEY = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"


def application() -> FastAPI:
    web = FastAPI(docs_url=None, redoc_url=None)

    @web.get("/ok")
    async def ok() -> dict[str, bool]:
        return {"ok": True}

    @web.get("/fault")
    async def fault() -> None:
        raise ZeroDivisionError

    @web.get("/own-policy")
    async def own_policy() -> Response:
        return Response("", headers={"Content-Security-Policy": "default-src 'none'"})

    @web.websocket("/ws")
    async def socket(connection: WebSocket) -> None:
        await connection.accept()
        await connection.send_text("hello")
        await connection.close()

    return web


def serving(limits: HttpLimits = LIMITS, **options: Any) -> AbstractAsyncContextManager[WebServer]:
    return serving_any(application(), limits, **options)


# --- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", [b"localhost", b"LOCALHOST:1", b"localhost.", b"127.0.0.1:80", b"[::1]", b"[::1]:80"])
async def test_host_when_it_is_a_name_of_ours_then_served(host: bytes) -> None:
    async with serving() as server:
        request = b"GET /ok HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"
        assert (await talk(server, request)).statuses == [200]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (b"Host: evil.example\r\n", 421),
        (b"Host: evil.example:8001\r\n", 421),
        (b"Host: localhost.evil.example\r\n", 421),
        (b"Host: 127.0.0.2\r\n", 421),
        (b"Host: 127.0.0.1@evil.example\r\n", 400),
        (b"Host: localhost, evil.example\r\n", 400),
        (b"Host:\r\n", 400),
        (b"", 400),
        (HOST * 2, 400),
        (HOST + b"X-Forwarded-Host: evil.example\r\n", 200),
    ],
)
async def test_host_when_it_is_foreign_missing_or_doubled_then_refused(host: bytes, status: int) -> None:
    async with serving(ws="websockets-sansio") as server:
        assert (await talk(server, b"GET /ok HTTP/1.1\r\n" + host + b"\r\n")).statuses == [status]
        upgrade = b"GET /ws HTTP/1.1\r\n" + host + b"Connection: Upgrade\r\nUpgrade: websocket\r\n" + KEY + b"\r\n"
        answer = await talk(server, upgrade, until=lambda answer: bool(answer.statuses))
        assert answer.statuses[0] == (101 if status == 200 else status)


async def test_host_when_it_is_the_address_connected_to_then_served() -> None:
    async with serving(HttpLimits(hosts=("orders",), idle_timeout_s=0.5)) as server:
        assert (await talk(server, b"GET /ok HTTP/1.1\r\nHost: 127.0.0.1:7\r\n\r\n")).statuses == [200]
        assert (await talk(server, b"GET /ok HTTP/1.1\r\nHost: localhost\r\n\r\n")).statuses == [421]


async def test_websocket_when_the_server_has_them_then_served() -> None:
    async with (
        serving(ws="websockets-sansio") as server,
        websockets.connect(f"ws://localhost:{server.port}/ws") as socket,
    ):
        assert await socket.recv() == "hello"


def test_client_when_headers_claim_another_address_then_it_is_the_peer() -> None:
    scope = {"client": ("10.0.0.1", 5), "headers": [(b"x-forwarded-for", b"10.9.9.9")]}
    assert client_of(scope) == "10.0.0.1"
    assert client_of_address("2001:db8:1:2:3::4") == client_of_address("2001:db8:1:2:ffff::") == "2001:db8:1:2::/64"


async def test_settings_then_hosts_are_names_between_commas() -> None:
    limits = Settings(http=HttpSettings(hosts="orders, localhost,", idle_timeout_s=3)).http.limits()
    assert (limits.hosts, limits.idle_timeout_s) == (("orders", "localhost"), 3)


# --- answers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get(b"/ok"), 200),
        (get(b"/nothing"), 404),
        (get(b"/fault"), 500),
        (b"GET /ok HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
        (b"garbage\r\n\r\n", 400),
    ],
)
async def test_every_answer_then_it_may_not_be_framed_and_its_type_is_not_guessed(request_: bytes, status: int) -> None:
    async with serving() as server:
        answer = await talk(server, request_)
        assert answer.statuses == [status]
        for name, value in SECURITY_HEADERS:
            assert answer.raw.lower().count(name + b": " + value.lower()) == 1
        assert b"server: " not in answer.raw


async def test_policy_of_the_application_then_frames_are_refused_beside_it() -> None:
    async with serving() as server:
        answer = await talk(server, get(b"/own-policy"))
        assert b"content-security-policy: default-src 'none'; frame-ancestors 'none'\r\n" in answer.raw


async def test_fault_of_the_application_then_a_problem_and_the_connection_goes_on() -> None:
    async with serving() as server:
        answer = await talk(server, get(b"/fault") + get(b"/ok"))
        assert answer.statuses == [500, 200]
        assert problem_type("internal-error").encode() in answer.raw
        assert b"application/problem+json" in answer.raw


def test_table_of_problems_then_statuses_are_errors_and_titles_are_ascii() -> None:
    for name, kind in PROBLEMS.items():
        assert 400 <= kind.status <= 599, name
        assert kind.title.isascii()
        assert kind.meaning


@pytest.mark.parametrize("listens_on", ["::", "::1", "0.0.0.0", "127.0.0.1"])
async def test_server_when_it_listens_on_ipv6_then_it_serves_by_every_address_that_reaches_it(listens_on: str) -> None:
    web = FastAPI()
    web.add_api_route("/health/ready", lambda: {"ready": True})
    server = WebServer(web, listens_on, 0)
    await server.start()
    try:
        async with httpx.AsyncClient(timeout=5) as client:
            reached = {"::": ["[::1]", "127.0.0.1"], "::1": ["[::1]"]}.get(listens_on, ["127.0.0.1"])
            for address in reached:
                answer = await client.get(f"http://{address}:{server.port}/health/ready")
                assert answer.status_code == 200, f"{listens_on} by {address}: {answer.text}"
    finally:
        await server.stop()


TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE_ID}-b7ad6b7169203331-01"


@pytest.mark.parametrize("path", ["/ok", "/fault", "/nowhere"])
async def test_answer_then_it_names_its_trace_the_callers_where_there_is_one(path: str) -> None:
    async with serving() as server, httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client:
        named = (await client.get(path, headers={"traceparent": PARENT})).headers["Tidemark-Trace-Id"]
        assert named == TRACE_ID
        for foreign in ("", "garbage", f"ff-{TRACE_ID}-b7ad6b7169203331-01", f"00-{'0' * 32}-b7ad6b7169203331-01"):
            new = (await client.get(path, headers={"traceparent": foreign})).headers["Tidemark-Trace-Id"]
            assert len(new) == 32 and int(new, 16) and new != TRACE_ID


async def test_problem_then_its_body_names_the_trace_too() -> None:
    async with serving() as server, httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client:
        answer = await client.get("/fault", headers={"traceparent": PARENT})
        assert (answer.status_code, answer.json()["trace_id"]) == (500, TRACE_ID)
        refused = await client.get("/ok", headers={"Host": "elsewhere.example"})
        assert refused.status_code == 421
        assert refused.json()["trace_id"] == refused.headers["Tidemark-Trace-Id"]
