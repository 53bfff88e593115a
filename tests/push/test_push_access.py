"""The table of rights at push: every view and request by every role, and how a connection says who it is."""

import asyncio
import time
from typing import Any

import httpx
import pytest
import websockets
from common.contracts.rights import ENDPOINTS, VIEWS, Endpoint, Reach, Role
from common.testing.access import IssuerForTests
from common.testing.views import ViewWriter
from redis.asyncio import Redis

ROWS = [each for each in ENDPOINTS if each.service == "push" and each.method == "GET"]
MINE, THEIRS = "MINE", "THEIRS"
SCOPES = {"quote": "", "alert": "", "health": "", "book": "AAPL", "bar": "AAPL:1000000000"}
NO_RIGHT = "no right to this topic"
UNAUTHENTICATED = 4401


def topic_of(view: str, account: str = MINE) -> str:
    scope = SCOPES.get(view, account)
    return f"{view}:{scope}" if scope else view


@pytest.fixture
async def closed(start_push: Any, redis: Redis, issuer: IssuerForTests) -> Any:
    """A push that asks who everybody is."""
    push = await start_push(access=issuer.access, status_interval_s=0.1, subscribe_timeout_s=5)
    await push.until_redis(True)
    return push


def bearer(issuer: IssuerForTests, *roles: Role, **claims: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {issuer.token(*roles, accounts=[MINE], **claims)}"}


async def answered(client: Any, topic: str) -> str:
    """``snapshot``, or the words of the refusal."""
    await client.subscribe(topic)
    await client.until(lambda: topic in client.rows or any(each.get("topic") == topic for each in client.errors))
    if topic in client.rows:
        return "snapshot"
    return str(next(each["reason"] for each in client.errors if each.get("topic") == topic))


# --- the matrix ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", list(Role))
async def test_views_by_a_role_then_as_the_table_says(closed: Any, issuer: IssuerForTests, role: Role) -> None:
    client = await closed.client(additional_headers=bearer(issuer, role))
    for view, grants in VIEWS.items():
        reach = grants.get(role)
        assert await answered(client, topic_of(view)) == (NO_RIGHT if reach is None else "snapshot"), view
        if topic_of(view, THEIRS) != topic_of(view):
            theirs = "snapshot" if reach is Reach.ALL else NO_RIGHT
            assert await answered(client, topic_of(view, THEIRS)) == theirs, view


@pytest.mark.parametrize("role", [None, *Role])
async def test_requests_by_a_role_then_as_the_table_says(
    closed: Any, issuer: IssuerForTests, role: Role | None
) -> None:
    async with httpx.AsyncClient(base_url=closed.url, headers=bearer(issuer, role) if role else {}) as http:
        for row in ROWS:
            status = (await http.get(row.path.format(file="index.js"))).status_code
            assert status in _expected(row, role), f"{row.path} {role}"


def _expected(row: Endpoint, role: Role | None) -> set[int]:
    """The dashboard is not built in the tests' directory: its files are asked for, and not there."""
    if row.is_public:
        return {200, 404, 503}
    return {401} if role is None else {200} if role in row.grants else {403}


async def test_accounts_then_a_trader_is_told_of_his_own_and_a_risk_officer_of_all(
    closed: Any, issuer: IssuerForTests, writer: ViewWriter
) -> None:
    for account in (MINE, THEIRS):
        await writer.write("account", account, {"account": {"account_id": account}})
    async with httpx.AsyncClient(base_url=closed.url) as http:
        for role, expected in ((Role.TRADER, [MINE]), (Role.RISK_OFFICER, [MINE, THEIRS])):
            answer = await http.get("/v1/accounts", headers=bearer(issuer, role))
            assert answer.json() == {"accounts": expected}


async def test_topic_of_another_account_then_the_same_words_whether_or_not_there_is_one(
    closed: Any, issuer: IssuerForTests, writer: ViewWriter
) -> None:
    await writer.write("account", THEIRS, {"account": {"account_id": THEIRS}})
    client = await closed.client(additional_headers=bearer(issuer, Role.TRADER))
    assert await answered(client, f"account:{THEIRS}") == await answered(client, "account:NOWHERE") == NO_RIGHT
    await client.send(op="resync", topic=f"account:{THEIRS}")
    await client.send(op="ping", t=1.0)
    await client.until(lambda: client.pongs)
    assert not client.rows


# --- saying who one is --------------------------------------------------------------------------------------------


async def test_browser_when_it_authenticates_by_its_first_message_then_it_is_told_who_it_is_and_may_subscribe(
    closed: Any, issuer: IssuerForTests
) -> None:
    client = await closed.client()
    await client.send(op="authenticate", token=issuer.token(Role.TRADER, accounts=[MINE], subject="ann"))
    assert await answered(client, f"account:{MINE}") == "snapshot"
    await client.until(lambda: client.status)
    assert client.status["op"] == "health"


async def test_stranger_then_he_hears_nothing_of_the_fleet_and_every_message_but_one_is_refused(closed: Any) -> None:
    client = await closed.client()
    for message in (
        {"op": "subscribe", "topics": ["quote"]},
        {"op": "unsubscribe", "topics": ["quote"]},
        {"op": "resync", "topic": "quote"},
        {"op": "painted", "samples": []},
    ):
        await client.send(**message)
    await client.until(lambda: len(client.errors) == 4)
    assert {each["reason"] for each in client.errors} == {"authenticate first"}
    await asyncio.sleep(0.3)  # three times as long as between two words on the fleet's state
    await client.send(op="ping", t=1.0)
    await client.until(lambda: client.pongs)
    assert not client.rows
    assert not client.status


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "tmk_x_y", "e" * 8_192])
async def test_token_when_it_is_not_good_then_the_connection_ends_with_no_word_on_why(closed: Any, token: str) -> None:
    client = await closed.client()
    await client.send(op="authenticate", token=token)
    with pytest.raises(websockets.ConnectionClosed) as caught:
        await client.until(lambda: False)
    assert caught.value.rcvd is not None
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (UNAUTHENTICATED, "unauthenticated")


async def test_token_when_it_is_longer_than_any_then_refused_unread_and_a_megabyte_ends_the_connection(
    closed: Any,
) -> None:
    client = await closed.client()
    await client.send(op="authenticate", token="a" * 8_193)
    await client.until(lambda: client.errors)
    assert "a" * 50 not in client.errors[0]["reason"]
    await client.send(op="authenticate", token="a" * 1_000_000)
    with pytest.raises(websockets.ConnectionClosed):
        await client.until(lambda: False)


async def test_handshake_when_its_credential_is_not_good_then_refused(closed: Any) -> None:
    with pytest.raises(websockets.InvalidStatus) as caught:
        await closed.client(additional_headers={"Authorization": "Bearer x.y.z"})
    assert caught.value.response.status_code == 401
    assert caught.value.response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_handshake_when_its_identity_has_no_role_then_refused(closed: Any, issuer: IssuerForTests) -> None:
    with pytest.raises(websockets.InvalidStatus) as caught:
        await closed.client(additional_headers=bearer(issuer))
    assert caught.value.response.status_code == 403


async def test_message_when_anything_is_sent_then_no_error_of_ours_and_the_connection_lives_or_is_closed(
    closed: Any,
) -> None:
    messages = ["", "{", "[]", "null", "5", '{"op":5}', '{"op":"authenticate"}', '{"op":"authenticate","token":5}']
    messages += ['{"op":"authenticate","token":"x","roles":["operator"]}', '{"op":"authenticate","token":null}']
    client = await closed.client()
    for text in messages:
        await client.socket.send(text)
    await client.until(lambda: len(client.errors) == len(messages))
    await client.send(op="ping", t=1.0)
    await client.until(lambda: client.pongs)


# --- in the middle of a session -----------------------------------------------------------------------------------


async def test_identity_when_revoked_then_its_connection_ends_within_five_seconds_and_others_go_on(
    closed: Any, issuer: IssuerForTests
) -> None:
    revoked = await closed.client(additional_headers=bearer(issuer, Role.MARKET_RAW, subject="mallory"))
    other = await closed.client(additional_headers=bearer(issuer, Role.MARKET_RAW, subject="ann"))
    for client in (revoked, other):
        assert await answered(client, "quote") == "snapshot"
    began_s = time.monotonic()
    issuer.deny(subjects=["mallory"])
    with pytest.raises(websockets.ConnectionClosed) as caught:
        await revoked.until(lambda: False)
    assert time.monotonic() - began_s < 5
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == UNAUTHENTICATED
    assert await answered(other, "book:AAPL") == "snapshot"


async def test_token_when_it_ends_then_the_connection_does_unless_another_one_came(
    start_push: Any, redis: Redis, issuer: IssuerForTests
) -> None:
    push = await start_push(access=issuer.access.model_copy(update={"skew_s": 0}), status_interval_s=0.1)
    await push.until_redis(True)
    now_s = int(time.time())
    short = {"exp": now_s + 2, "iat": now_s}
    left = await push.client(additional_headers=bearer(issuer, Role.MARKET_RAW, subject="ann", **short))
    renewed = await push.client(additional_headers=bearer(issuer, Role.MARKET_RAW, subject="bob", **short))
    for client in (left, renewed):
        assert await answered(client, "quote") == "snapshot"
    await renewed.send(op="authenticate", token=issuer.token(Role.MARKET_RAW, subject="bob"))
    with pytest.raises(websockets.ConnectionClosed) as caught:
        await left.until(lambda: False)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == UNAUTHENTICATED
    assert time.time() >= now_s + 2
    assert await answered(renewed, "book:AAPL") == "snapshot"


async def test_identity_when_its_rights_shrink_then_topics_beyond_them_end(closed: Any, issuer: IssuerForTests) -> None:
    client = await closed.client(additional_headers=bearer(issuer, Role.MARKET_RAW, Role.RISK_OFFICER, subject="ann"))
    for topic in ("quote", f"account:{THEIRS}"):
        assert await answered(client, topic) == "snapshot"
    await client.send(op="authenticate", token=issuer.token(Role.MARKET_RAW, subject="ann"))
    await client.until(lambda: client.errors)
    assert client.errors == [{"op": "error", "reason": NO_RIGHT, "topic": f"account:{THEIRS}"}]


async def test_identity_when_another_subject_comes_over_the_same_connection_then_it_ends(
    closed: Any, issuer: IssuerForTests
) -> None:
    client = await closed.client(additional_headers=bearer(issuer, Role.TRADER, subject="ann"))
    await client.send(op="authenticate", token=issuer.token(Role.TRADER, subject="bob"))
    with pytest.raises(websockets.ConnectionClosed) as caught:
        await client.until(lambda: False)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == UNAUTHENTICATED


async def test_me_then_subject_roles_accounts_and_when_it_ends(closed: Any, issuer: IssuerForTests) -> None:
    async with httpx.AsyncClient(base_url=closed.url) as http:
        headers = bearer(issuer, Role.TRADER, Role.AUDITOR, subject="ann", azp="screen")
        me = (await http.get("/v1/me", headers=headers)).json()
    ends_s = me.pop("expires_s")
    assert me == {"subject": "ann", "client": "screen", "roles": ["auditor", "trader"], "accounts": [MINE]}
    assert time.time() < ends_s < time.time() + 3_600


async def test_config_then_the_page_learns_where_to_sign_in(closed: Any, issuer: IssuerForTests, push: Any) -> None:
    async with httpx.AsyncClient() as http:
        config = (await http.get(f"{closed.url}/config.json")).json()
        assert config["sign_in"] == {"issuer": issuer.access.issuer, "client_id": "dashboard"}
        assert "sign_in" not in (await http.get(f"{push.url}/config.json")).json()


async def test_config_then_the_page_learns_the_grace_of_its_leases_where_there_is_one(start_push: Any) -> None:
    async with httpx.AsyncClient() as http:
        for settings, told in (({}, None), ({"lease_grace_s": 15}, 15_000)):
            push = await start_push(**settings)
            assert (await http.get(f"{push.url}/config.json")).json().get("lease_grace_ms") == told
