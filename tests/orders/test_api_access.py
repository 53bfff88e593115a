"""The table of rights at the HTTP API: every request by every role, and strangers by every way in."""

import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

import common
import httpx
import orders
import pytest
import streams
from common.contracts.rights import COMMANDS, ENDPOINTS, Endpoint, Reach, Role
from common.testing.access import IssuerForTests
from common.testing.raw_http import serving, talk
from orders.api.limits import LimitRequests
from orders.settings import OrdersSettings
from streams.model.errors import Retriable
from streams.service.http.shares import FairShares
from streams.service.operations import Health, operations_router

ROWS = [each for each in ENDPOINTS if each.service == "orders"]
MINE, THEIRS = "MINE", "THEIRS"
PAGE = "http://127.0.0.1:8400"
OURS: Final = tuple(str(Path(each.__file__).parent) for each in (common, orders, streams) if each.__file__)
BODIES: dict[str, Callable[[str], dict[str, Any]]] = {
    "/v1/orders": lambda account: {
        "account_id": account,
        "client_order_id": "1",
        "symbol": "AAPL",
        "side": "B",
        "order_type": "MARKET",
        "qty": 1,
    },
    "/v1/controls/{account_id}/proposals": lambda _: {
        "command_id": "propose",
        "values": {"order_qty_max": 1},
        "by": "somebody",
        "note": "why",
    },
    "/v1/controls/{account_id}/proposals/{proposal_id}": lambda _: {
        "command_id": "resolve",
        "verdict": "APPROVE",
        "by": "somebody",
        "note": "why",
    },
    "/v1/controls/{account_id}/state": lambda _: {
        "command_id": "s",
        "state": "HALTED",
        "by": "somebody",
        "note": "why",
    },
    "/v1/accounts/{account_id}": lambda _: {"command_id": "open"},
    "/v1/accounts/{account_id}/fund": lambda _: {"command_id": "fund", "cash_e4": 1},
    "/v1/accounts/{account_id}/withdraw": lambda _: {"command_id": "withdraw", "cash_e4": 1},
    "/v1/accounts/{account_id}/leases/{lease_id}": lambda _: {"grace_ms": 1_000},
    "/v1/accounts/{account_id}/breaks/{break_id}": lambda _: {"command_id": "b", "action": "BOOK", "note": "why"},
}
BODIES["/v1/orders/what-if"] = BODIES["/v1/orders"]


class Away:
    """A log that is away: 503 says that a request got past everything that could have refused it."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    async def send(self, *asked: Any) -> tuple[int, int]:
        self.asked.append(asked)
        raise Retriable("away")

    async def end(self, *asked: Any) -> int:
        self.asked.append(asked)
        raise Retriable("away")


class World:
    """The API of an issuer's world, and requests to it."""

    def __init__(self, make: Any, issuer: IssuerForTests, **settings: Any) -> None:
        self.issuer = issuer
        self.log = Away()
        self.api, _ = make.api(self.log, OrdersSettings(access=issuer.access, **settings))
        self.api.include_router(operations_router(Health("orders")))
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(self.api), base_url="http://orders")

    def bearer(self, *roles: Role, **claims: Any) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.issuer.token(*roles, accounts=[MINE], **claims)}"}

    async def ask(self, row: Endpoint, account: str, headers: dict[str, str] | None = None) -> httpx.Response:
        ids = {"order_id": f"{account}.o1", "break_id": "1-1", "proposal_id": "p", "lease_id": "l"}
        path = row.path.format(account_id=account, **ids)
        query = {"account_id": account} if (row.method, row.path) == ("DELETE", "/v1/orders") else None
        body = BODIES[row.path](account) if row.method == "POST" else None
        return await self.http.request(row.method, path, params=query, json=body, headers=headers)


@pytest.fixture
def world(make: Any, issuer: IssuerForTests) -> World:
    return World(make, issuer)


def kind(response: httpx.Response) -> str:
    assert response.headers["Content-Type"] == "application/problem+json"
    return str(response.json()["type"]).rpartition(":")[2]


def named(row: Endpoint) -> str:
    return f"{row.method} {row.path}"


def cells() -> Iterator[Any]:
    for row in ROWS:
        for role in Role:
            yield pytest.param(row, role, id=f"{named(row)} {role}")


# --- the matrix ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("row", "role"), list(cells()))
async def test_request_by_a_role_then_as_the_table_says(world: World, row: Endpoint, role: Role) -> None:
    mine = await world.ask(row, MINE, world.bearer(role))
    theirs = await world.ask(row, THEIRS, world.bearer(role))
    if row.is_public:
        assert mine.status_code == 200
        return
    reach = row.grants.get(role)
    if reach is None:
        assert (mine.status_code, kind(mine)) == (theirs.status_code, kind(theirs)) == (403, "not-permitted")
        assert not world.log.asked
        return
    assert mine.status_code == 503, "it got past everything that could have refused it"
    if reach is Reach.ALL:
        assert theirs.status_code == 503
    else:
        assert (theirs.status_code, kind(theirs)) in {(404, "account-unknown"), (404, "order-unknown")}


@pytest.mark.parametrize("row", ROWS, ids=named)
async def test_request_when_nobody_asks_then_401_but_for_what_is_public(world: World, row: Endpoint) -> None:
    answer = await world.ask(row, MINE)
    if row.is_public:
        assert answer.status_code == 200
        return
    assert (answer.status_code, kind(answer)) == (401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="tidemark"'
    assert not world.log.asked


@pytest.mark.parametrize("row", [row for row in ROWS if not row.is_public], ids=named)
async def test_request_when_an_identity_has_no_role_then_403(world: World, row: Endpoint) -> None:
    assert (await world.ask(row, MINE, world.bearer())).status_code == 403


@pytest.mark.parametrize("role", list(Role))
async def test_command_by_a_role_then_as_the_table_says(world: World, role: Role) -> None:
    """Opening an account and lifting a suspension are one request, and two commands."""
    sets = {
        "set_account": {"command_id": "1"},
        "set_account.status": {"command_id": "1", "status": "ACTIVE"},
    }
    for name, body in sets.items():
        answer = await world.http.post(f"/v1/accounts/{MINE}", json=body, headers=world.bearer(role))
        assert answer.status_code == (503 if role in COMMANDS[name] else 403), name


@pytest.mark.parametrize("row", [row for row in ROWS if "/v1/controls/" in row.path], ids=named)
async def test_control_when_it_names_somebody_else_than_who_asks_then_403(world: World, row: Endpoint) -> None:
    """Whoever approves is another person than whoever proposed: so nobody may speak as another."""
    path = row.path.format(account_id=MINE, proposal_id="p")
    headers = world.bearer(Role.RISK_OFFICER)
    answer = await world.http.post(path, json=BODIES[row.path](MINE) | {"by": "ann"}, headers=headers)
    assert (answer.status_code, kind(answer)) == (403, "not-permitted")
    assert "ann" in answer.json()["detail"]
    assert not world.log.asked


# --- accounts of others -------------------------------------------------------------------------------------------


async def test_order_for_another_account_then_there_is_none_and_nothing_gets_to_the_log(world: World) -> None:
    answer = await world.http.post("/v1/orders", json=BODIES["/v1/orders"](THEIRS), headers=world.bearer(Role.TRADER))
    assert (answer.status_code, kind(answer)) == (404, "account-unknown")
    assert not world.log.asked


@pytest.mark.parametrize("query", [f"account_id={MINE}&account_id={THEIRS}", f"account_id={THEIRS}&account_id={MINE}"])
async def test_account_when_it_is_named_twice_then_both_have_to_be_ones_own(world: World, query: str) -> None:
    answer = await world.http.delete(f"/v1/orders?{query}", headers=world.bearer(Role.TRADER))
    assert answer.status_code == 404


@pytest.mark.parametrize(
    "path",
    ["/v1/accounts/%54HEIRS", "/v1/accounts/THEIRS?account_id=MINE", "/v1/orders/THEIRS.MINE.1", "/v1/orders/THEIRS"],
)
async def test_account_when_it_is_spelt_in_another_way_then_it_is_still_not_ones_own(world: World, path: str) -> None:
    answer = await world.http.get(path, headers=world.bearer(Role.TRADER))
    assert answer.status_code == 404


async def test_body_when_its_account_is_no_text_then_no_way_around(world: World) -> None:
    for account in (["MINE"], {"MINE": 1}, 5, None, "MINE\x00", "mine", " MINE"):
        body = BODIES["/v1/orders"]("") | {"account_id": account}
        answer = await world.http.post("/v1/orders", json=body, headers=world.bearer(Role.TRADER))
        assert answer.status_code in (400, 404), account
    assert not world.log.asked


async def test_answers_about_accounts_of_others_then_alike_whether_or_not_there_is_one(world: World) -> None:
    """Not a look is taken: what the service knows of an account cannot show."""

    def without_trace(answer: httpx.Response, account: str) -> tuple[Any, ...]:
        body = answer.json() | {"trace_id": ""}
        headers = sorted(set(answer.headers) - {"content-length"})
        return answer.status_code, json.dumps(body).replace(account, "?"), headers

    headers = world.bearer(Role.TRADER)
    for row in ROWS:
        if Reach.OWN in row.grants.values():
            there, nowhere = await world.ask(row, "THERE", headers), await world.ask(row, "NOWHERE", headers)
            assert without_trace(there, "THERE") == without_trace(nowhere, "NOWHERE"), named(row)
    assert not world.log.asked


@contextmanager
def calls_of_ours() -> Iterator[list[str]]:
    """Every call of a function of this repository while it is open, in order."""
    found: list[str] = []

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(OURS):
            found.append(frame.f_code.co_qualname)

    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(None)


@pytest.mark.parametrize("row", [row for row in ROWS if Reach.OWN in row.grants.values()], ids=named)
async def test_account_of_another_then_as_much_is_done_whether_or_not_there_is_one(
    world: World, row: Endpoint, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of the answer then says no more than its words. The service knows of one of the two."""
    monkeypatch.setattr("orders.api.limits.SETTLE_S", math.inf)  # shares are settled by the clock, whoever asks
    [known] = [each.kwargs["accounts"] for each in world.api.user_middleware if each.cls is LimitRequests]
    known.answered("THERE", make.decision(make.intent(account_id="THERE")))
    headers = world.bearer(Role.TRADER)
    done = {}
    for account in ("FIRST", "THERE", "NOWHERE"):  # the first one's token is not known yet
        with calls_of_ours() as done[account]:
            answer = await world.ask(row, account, headers)
        assert answer.status_code == 404
    assert done["THERE"] == done["NOWHERE"]
    assert "is_foreign" in done["THERE"]


# --- ways in ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "authorization",
    ["Basic YTpi", "Bearer", "Bearer ", "bearer x.y.z", "Bearer " + "a" * 12_000, "Token abc", "\xff", "Bearer a b"],
)
async def test_credential_when_it_is_none_of_ours_then_401_that_says_no_more(world: World, authorization: str) -> None:
    answer = await world.http.get(f"/v1/accounts/{MINE}", headers={b"Authorization": authorization.encode("latin-1")})
    assert (answer.status_code, kind(answer)) == (401, "unauthenticated")
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
    for word in ("signature", "expired", "kid", "joserfc", "Traceback"):
        assert word not in answer.text


async def test_credential_when_it_comes_twice_then_401(world: World) -> None:
    value = world.bearer(Role.AUDITOR)["Authorization"]
    answer = await world.http.get(f"/v1/accounts/{MINE}", headers=[("Authorization", value), ("Authorization", value)])
    assert answer.status_code == 401


async def test_credential_when_it_has_a_megabyte_then_the_server_reads_none_of_it(world: World) -> None:
    async with serving(world.api) as server:
        head = b"GET /v1/accounts/MINE HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + b"a" * 1_000_000
        answer = await talk(server, head + b"\r\n\r\n")
    assert answer.statuses == [431]


async def test_stranger_with_a_large_body_then_sent_away_before_it_is_read(world: World) -> None:
    read = 0

    async def pieces() -> Any:
        nonlocal read
        for _ in range(1_000):
            read += 1
            yield b" " * 1_000

    answer = await world.http.post("/v1/orders", content=pieces(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 401
    assert read <= 1


async def test_path_without_a_row_then_strangers_get_401_and_others_404(world: World) -> None:
    for path in ("/v1/nothing", "/", "/v1/orders/A.1/secret", "/v1/accounts"):
        assert (await world.http.get(path)).status_code == 401
        answer = await world.http.get(path, headers=world.bearer(*Role))
        assert (answer.status_code, kind(answer)) == (404, "not-found"), path


async def test_method_without_a_row_then_405_names_those_that_have_one(world: World) -> None:
    answer = await world.http.put("/v1/orders", headers=world.bearer(*Role))
    assert (answer.status_code, answer.headers["Allow"]) == (405, "DELETE, POST")


async def test_method_without_a_row_at_a_public_page_then_strangers_are_told_which_have_one_and_nowhere_else(
    world: World,
) -> None:
    for method in ("TRACE", "POST", "DELETE"):
        answer = await world.http.request(method, "/health/live")
        assert (answer.status_code, answer.headers["Allow"]) == (405, "GET")
        assert (await world.http.request(method, "/v1/accounts/A")).status_code == 401
        assert (await world.http.request(method, "/v1/nothing")).status_code == 401


async def test_route_when_it_is_added_without_a_row_then_it_is_reached_by_nobody(world: World) -> None:
    async def forgotten() -> str:
        raise AssertionError("reached")

    world.api.add_api_route("/v1/forgotten", forgotten)

    assert (await world.http.get("/v1/forgotten", headers=world.bearer(*Role))).status_code == 404


async def test_page_of_ours_then_it_can_ask_before_it_has_a_credential_and_read_why_it_was_refused(
    world: World,
) -> None:
    preflight = {
        "Origin": PAGE,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    answer = await world.http.options("/v1/orders", headers=preflight)
    assert answer.status_code == 200
    assert "authorization" in answer.headers["Access-Control-Allow-Headers"].lower()
    refused = await world.http.get(f"/v1/accounts/{MINE}", headers={"Origin": PAGE})
    assert (refused.status_code, refused.headers["Access-Control-Allow-Origin"]) == (401, PAGE)


async def test_api_key_of_a_program_then_it_may_what_its_scope_says(world: World) -> None:
    _, key = world.issuer.api_key(Role.TRADER, accounts=[MINE])
    headers = {"Authorization": f"Bearer {key}"}
    submit = next(row for row in ROWS if named(row) == "POST /v1/orders")
    assert (await world.ask(submit, MINE, headers)).status_code == 503
    assert (await world.ask(submit, THEIRS, headers)).status_code == 404
    fund = next(row for row in ROWS if row.path.endswith("/fund"))
    assert (await world.ask(fund, MINE, headers)).status_code == 403


async def test_shares_when_identities_are_known_then_each_is_a_client_whatever_its_address(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients: list[str] = []
    enter = FairShares.enter

    def entering(self: FairShares, client: str, account: str, now_s: float, **options: Any) -> Any:
        clients.append(client)
        return enter(self, client, account, now_s, **options)

    monkeypatch.setattr(FairShares, "enter", entering)
    for subject in ("ann", "bob"):
        await world.http.get(f"/v1/accounts/{MINE}", headers=world.bearer(Role.TRADER, subject=subject, azp="screen"))
    assert clients == ["screen/ann", "screen/bob"]


def test_description_when_identities_are_asked_for_then_it_says_so(world: World) -> None:
    document = world.api.openapi()
    assert document["security"] == [{"bearer": []}]
    assert document["paths"]["/health/live"]["get"]["security"] == []
    assert {"401", "403", "404"} <= document["paths"]["/v1/orders"]["post"]["responses"].keys()
