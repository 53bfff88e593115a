"""Strictness of the API: one JSON text in UTF-8, cursors of 64 bits, and clocks only to measure with."""

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from common.contracts.events import OrderIntent
from common.contracts.topics import Topic
from common.contracts.values import INT64_MAX
from streams.model.errors import Retriable

ORDER = {
    "account_id": "A",
    "client_order_id": "1",
    "symbol": "AAPL",
    "side": "B",
    "order_type": "LIMIT",
    "qty": 100,
    "limit_price_e4": 1_000_000,
}
JSON = {"Content-Type": "application/json"}
TEXT = json.dumps(ORDER)


class Client(httpx.AsyncClient):
    sent: list[Any]


class Sending:
    """Keeps what is sent, and fails: an answer of 503 ``no-verdict`` says that a request got as far as the log."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    async def send(self, topic: Topic, key: bytes, body: Any) -> tuple[int, int]:
        self.sent.append(body)
        raise Retriable("not this time")


@pytest.fixture
async def client(make: Any) -> AsyncIterator[Client]:
    sending = Sending()
    api, _ = make.api(sending)
    async with Client(transport=httpx.ASGITransport(api), base_url="http://orders") as client:
        client.sent = sending.sent
        yield client


def kind(response: httpx.Response) -> str:
    assert response.headers["Content-Type"] == "application/problem+json"
    return str(response.json()["type"]).rpartition(":")[2]


async def test_order_when_it_is_well_formed_then_it_gets_to_the_log(client: Client) -> None:
    response = await client.post("/v1/orders", content=TEXT, headers=JSON)
    assert (response.status_code, kind(response)) == (503, "no-verdict")
    assert isinstance(client.sent[0], OrderIntent)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        TEXT[:-1].encode() + b', "qty": 100}',
        TEXT[:-1].encode() + b', "\\u0071ty": 7}',
        b'{"account_id": {"a": 1, "a": 1}}',
        TEXT.encode("utf-16"),
        TEXT.encode("utf-32"),
        b"\xef\xbb\xbf" + TEXT.encode(),
        TEXT.replace("AAPL", "Ä").encode("latin-1"),
        TEXT.replace("100,", "NaN,").encode(),
        TEXT.replace("100,", "-Infinity,").encode(),
        TEXT.replace("100,", "9" * 5_000 + ",").encode(),
        TEXT.replace("100,", "0100,").encode(),
        TEXT.encode() + b"x",
        TEXT.encode() + TEXT.encode(),
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b"{'account_id': 'A'}",
    ],
)
async def test_body_when_it_is_not_one_json_text_in_utf8_then_400(client: Client, body: bytes) -> None:
    response = await client.post("/v1/orders", content=body, headers=JSON)
    assert (response.status_code, kind(response)) == (400, "malformed-json")
    assert not client.sent


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "text/plain; application/json"},
        {"Content-Type": "application/vnd.x+json"},
        {"Content-Type": "application/json; charset=utf-16"},
        JSON | {"Content-Encoding": "gzip"},
    ],
)
async def test_body_when_it_is_of_another_type_or_compressed_then_415(client: Client, headers: dict[str, str]) -> None:
    response = await client.post("/v1/orders", content=TEXT, headers=headers)
    assert (response.status_code, kind(response)) == (415, "unsupported-media-type")
    assert not client.sent


@pytest.mark.parametrize("charset", ["utf-8", '"UTF-8"'])
async def test_body_when_its_charset_is_named_and_right_then_taken(client: Client, charset: str) -> None:
    headers = {"Content-Type": f"application/json; charset={charset}"}
    assert (await client.post("/v1/orders", content=TEXT, headers=headers)).status_code == 503


@pytest.mark.parametrize("page", ["orders?before=", "executions?before=", "ledger?after=", "orders?limit="])
@pytest.mark.parametrize(
    "value", [str(INT64_MAX + 1), "9" * 40, "9" * 5_000, "-1", "1e2", "0x10", "1_000", "%20 1", "１２"]
)
async def test_cursor_when_it_is_not_a_number_of_64_bits_then_400(client: Client, page: str, value: str) -> None:
    response = await client.get(f"/v1/accounts/A/{page}{value}")
    assert (response.status_code, kind(response)) == (400, "malformed-request")


async def test_cursor_when_it_is_the_largest_then_it_is_looked_for(client: Client) -> None:
    response = await client.get(f"/v1/accounts/A/ledger?after={INT64_MAX}")
    assert response.status_code == 503
    assert kind(response).startswith("reads-")


@pytest.mark.parametrize("value", [str(INT64_MAX + 1), "-1", "1.5", "1_000", "abc", "", "9" * 5_000])
async def test_sent_ns_when_it_is_not_a_number_of_64_bits_then_400(client: Client, value: str) -> None:
    response = await client.post("/v1/orders", content=TEXT, headers=JSON | {"Tidemark-Sent-Ns": value})
    assert (response.status_code, kind(response)) == (400, "malformed-request")


@pytest.mark.parametrize("value", [0, 1, INT64_MAX, "late", "early"])
async def test_sent_ns_when_it_is_far_from_now_then_the_servers_time_is_recorded(client: Client, value: Any) -> None:
    """A wrong clock keeps nobody from trading, and decides nothing."""
    before_ns = time.time_ns()
    sent_ns = {"late": before_ns - 3_600 * 10**9, "early": before_ns + 3_600 * 10**9}.get(value, value)
    response = await client.post("/v1/orders", content=TEXT, headers=JSON | {"Tidemark-Sent-Ns": str(sent_ns)})
    assert before_ns <= client.sent[0].sent_ns <= time.time_ns()
    off_ns = int(response.headers["Tidemark-Clock-Off-Ns"])
    assert abs(off_ns - (sent_ns - before_ns)) < 10**9


async def test_sent_ns_when_it_is_near_then_it_is_recorded(client: Client) -> None:
    sent_ns = time.time_ns() - 2 * 10**9
    response = await client.post("/v1/orders", content=TEXT, headers=JSON | {"Tidemark-Sent-Ns": str(sent_ns)})
    assert client.sent[0].sent_ns == sent_ns
    assert "Tidemark-Clock-Off-Ns" not in response.headers


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost.evil.example", "http://evil.example/localhost"]
)
async def test_page_of_a_foreign_origin_then_it_changes_nothing(client: Client, origin: str) -> None:
    foreign = {"Origin": origin}
    for method, path in (("POST", "/v1/orders"), ("POST", "/v1/accounts/A"), ("DELETE", "/v1/orders/A.1")):
        response = await client.request(method, path, content=TEXT, headers=JSON | foreign)
        assert (response.status_code, kind(response)) == (403, "forbidden")
        assert "Access-Control-Allow-Origin" not in response.headers
    assert not client.sent


async def test_page_of_an_origin_that_is_allowed_then_it_may_order_and_read_the_answer(client: Client) -> None:
    response = await client.post("/v1/orders", content=TEXT, headers=JSON | {"Origin": "http://localhost:8080"})
    assert (response.status_code, len(client.sent)) == (503, 1)
    assert response.headers["Access-Control-Allow-Origin"] == "http://localhost:8080"
    assert "Tidemark-As-Of" in response.headers["Access-Control-Expose-Headers"]
