"""The fleet's own issuer: sign-in by password and link, codes with PKCE, tokens that services believe, its files."""

import base64
import hashlib
import json
import re
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from common.access.identities import IssuedIdentities
from common.access.settings import ReachedSettings
from common.access.tokens import TokenRefused
from common.contracts.rights import Role
from streams.service.web import WebServer
from tidemark.commands.access import access as access_command
from tidemark.issuer.grants import KEPT_MAX, Handed
from tidemark.issuer.issuer import Issuer
from tidemark.issuer.store import OWNER, AccessStore, Person, hashed
from tidemark.issuer.web import COOKIE, issuer_server
from typer.testing import CliRunner

SCREEN = "http://127.0.0.1:8400"
VERIFIER = "v" * 43
PASSWORD = "correct horse battery staple"


@pytest.fixture
def store(tmp_path: Path) -> AccessStore:
    made = AccessStore(tmp_path / "access")
    made.prepare()
    made.put_person("ann", Person(roles=[Role.TRADER], accounts=["A"], password=hashed(PASSWORD)))
    return made


class Running:
    """An issuer that answers, and a browser at it."""

    def __init__(self, server: WebServer, issuer: Issuer) -> None:
        self.issuer = issuer
        self.http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}")

    def services(self) -> IssuedIdentities:
        """The identities that a service believes which has the issuer's environment."""
        return IssuedIdentities(ReachedSettings.of(self.issuer.services_environment()).access)

    async def authorize(self, **changes: str) -> httpx.Response:
        challenge = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code",
            "client_id": "dashboard",
            "redirect_uri": f"{SCREEN}/",
            "state": "s",
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return await self.http.get("/authorize", params=asked | changes)

    async def sign_in(self, page: httpx.Response, **fields: str) -> httpx.Response:
        """Fills in the form of the page."""
        hidden = dict(re.findall(r"<input type=hidden name='([^']*)' value='([^']*)'>", page.text))
        headers = {"Origin": self.issuer.url}
        return await self.http.post("/sign-in", data=hidden | fields, headers=headers)

    async def token(self, **form: str) -> httpx.Response:
        return await self.http.post("/token", data={"client_id": "dashboard"} | form)

    async def exchange(self, code: str, **changes: str) -> httpx.Response:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": f"{SCREEN}/"}
        return await self.token(**(form | {"code_verifier": VERIFIER} | changes))


def code_of(response: httpx.Response) -> str:
    assert response.status_code == 303
    where = urlsplit(response.headers["Location"])
    assert f"{where.scheme}://{where.netloc}{where.path}" == f"{SCREEN}/"
    answer = parse_qs(where.query)
    assert answer["state"] == ["s"]
    return answer["code"][0]


@pytest.fixture
async def running(store: AccessStore) -> AsyncIterator[Running]:
    issuer = Issuer(store, "")
    server = issuer_server(issuer, [SCREEN], 0)
    await server.start()
    issuer.url = f"http://127.0.0.1:{server.port}"
    one = Running(server, issuer)
    yield one
    await one.http.aclose()
    await server.stop()


# --- signing in ---------------------------------------------------------------------------------------------------


async def test_password_then_a_code_then_a_token_that_services_believe(running: Running) -> None:
    page = await running.authorize()
    assert page.status_code == 200
    signed = await running.sign_in(page, name="ann", password=PASSWORD)
    code = code_of(await running.http.get(signed.headers["Location"]))
    tokens = (await running.exchange(code)).json()
    identity = await running.services().identify(tokens["access_token"])
    assert (identity.subject, identity.client) == ("ann", "dashboard")
    assert identity.roles == {Role.TRADER}
    assert identity.accounts.patterns() == ["A"]
    assert code_of(await running.authorize()), "the session goes on: no password is asked for again"


async def test_link_then_whoever_comes_first_is_the_owner_and_nobody_after_him(running: Running) -> None:
    link = running.issuer.links.hand_out(OWNER, time.time())
    tokens = (await running.exchange(code_of(await running.authorize(link=link)))).json()
    identity = await running.services().identify(tokens["access_token"])
    assert identity.roles == set(Role)
    running.http.cookies.clear()
    assert (await running.authorize(link=link)).status_code == 200, "the page to sign in, and no code"


@pytest.mark.parametrize("name", ["ann", "nobody", OWNER, ""])
async def test_password_when_it_is_not_right_then_the_same_words_for_everybody(running: Running, name: str) -> None:
    answer = await running.sign_in(await running.authorize(), name=name, password="wrong")
    assert answer.status_code == 401
    assert "Name or password is not right." in answer.text
    assert COOKIE not in answer.cookies


async def test_form_when_another_site_sends_it_then_refused(running: Running) -> None:
    page = await running.authorize()
    hidden = dict(re.findall(r"<input type=hidden name='([^']*)' value='([^']*)'>", page.text))
    for headers in ({}, {"Origin": "https://stranger.example"}, {"Origin": SCREEN}):
        form = hidden | {"name": "ann", "password": PASSWORD}
        assert (await running.http.post("/sign-in", data=form, headers=headers)).status_code == 400


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "stranger"},
        {"redirect_uri": "https://stranger.example/"},
        {"redirect_uri": f"{SCREEN}/elsewhere"},
        {"redirect_uri": f"{SCREEN}.stranger.example/"},
        {"response_type": "token"},
        {"code_challenge_method": "plain"},
        {"code_challenge": ""},
        {"code_challenge": "x" * 200},
        {"state": "x" * 600},
    ],
)
async def test_request_when_it_is_not_the_dashboards_then_nobody_is_sent_anywhere(
    running: Running, changes: dict[str, str]
) -> None:
    answer = await running.authorize(**changes)
    assert answer.status_code == 400
    assert "Location" not in answer.headers


async def test_page_then_no_script_runs_and_what_was_asked_is_only_text(running: Running) -> None:
    page = await running.authorize(state="'><script>alert(1)</script>")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert "<script" not in page.text
    style = re.search(r"<style>(.*?)</style>", page.text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy


async def test_session_then_its_cookie_is_out_of_reach_of_scripts_and_other_sites(running: Running) -> None:
    signed = await running.sign_in(await running.authorize(), name="ann", password=PASSWORD)
    cookie = signed.headers["Set-Cookie"].lower()
    assert "httponly" in cookie and "samesite=lax" in cookie and "path=/authorize" in cookie


# --- codes and tokens ---------------------------------------------------------------------------------------------


async def new_code(running: Running) -> str:
    signed = await running.sign_in(await running.authorize(), name="ann", password=PASSWORD)
    return code_of(await running.http.get(signed.headers["Location"]))


@pytest.mark.parametrize(
    "changes",
    [
        {"code_verifier": "w" * 43},
        {"code_verifier": ""},
        {"redirect_uri": "https://stranger.example/"},
        {"client_id": "stranger"},
        {"grant_type": "password"},
    ],
)
async def test_code_when_whoever_brings_it_did_not_ask_for_it_then_no_token(
    running: Running, changes: dict[str, str]
) -> None:
    answer = await running.exchange(await new_code(running), **changes)
    assert (answer.status_code, set(answer.json())) == (400, {"error"})


async def test_code_when_it_comes_twice_then_the_second_gets_nothing(running: Running) -> None:
    code = await new_code(running)
    assert (await running.exchange(code)).status_code == 200
    assert (await running.exchange(code)).json() == {"error": "invalid_grant"}


async def test_refresh_token_then_another_one_takes_its_place_and_the_first_is_good_for_nothing(
    running: Running,
) -> None:
    first = (await running.exchange(await new_code(running))).json()["refresh_token"]
    second = (await running.token(grant_type="refresh_token", refresh_token=first)).json()
    assert second["refresh_token"] != first
    assert (await running.token(grant_type="refresh_token", refresh_token=first)).status_code == 400
    assert await running.services().identify(second["access_token"])


async def test_person_when_removed_then_his_tokens_sessions_and_refresh_tokens_end(
    running: Running, store: AccessStore
) -> None:
    tokens = (await running.exchange(await new_code(running))).json()
    store.remove_person("ann")
    with pytest.raises(TokenRefused, match="revoked"):
        await running.services().identify(tokens["access_token"])
    answer = await running.token(grant_type="refresh_token", refresh_token=tokens["refresh_token"])
    assert answer.json() == {"error": "invalid_grant"}
    assert (await running.authorize()).status_code == 200, "the page to sign in, and no code"


async def test_sign_out_then_tokens_are_revoked_and_the_session_is_over(running: Running) -> None:
    tokens = (await running.exchange(await new_code(running))).json()
    for token in (tokens["refresh_token"], tokens["access_token"], "garbage", "a.b.c"):
        assert (await running.http.post("/revoke", data={"token": token})).status_code == 200
    with pytest.raises(TokenRefused, match="revoked"):
        await running.services().identify(tokens["access_token"])
    answer = await running.token(grant_type="refresh_token", refresh_token=tokens["refresh_token"])
    assert answer.status_code == 400
    home = {"post_logout_redirect_uri": f"{SCREEN}/"}
    assert (await running.http.get("/authorize/end", params=home)).headers["Location"] == f"{SCREEN}/"
    running.http.cookies.clear()
    stranger = {"post_logout_redirect_uri": "https://stranger.example/"}
    assert "Location" not in (await running.http.get("/authorize/end", params=stranger)).headers


async def test_rotation_then_the_new_key_signs_and_tokens_of_the_last_one_stay_good(
    running: Running, store: AccessStore
) -> None:
    services = running.services()
    tokens = [running.issuer.token_of("ann", "test")]
    for _ in range(2):
        store.rotate()
        tokens.append(running.issuer.token_of("ann", "test"))
    oldest, last, newest = (str(token) for token in tokens)
    assert await services.identify(newest)
    assert await services.identify(last)
    with pytest.raises(TokenRefused, match="key"):
        await running.services().identify(oldest)


async def test_other_pages_then_only_the_dashboard_may_read_tokens(running: Running) -> None:
    for origin, allowed in ((SCREEN, SCREEN), ("https://stranger.example", None)):
        answer = await running.http.post("/token", data={}, headers={"Origin": origin})
        assert answer.headers.get("Access-Control-Allow-Origin") == allowed


@pytest.mark.parametrize("body", [b"", b"x", b"a=1&a", b"\xff=1", b"a=" + b"x" * 20_000, b"&".join([b"a=1"] * 100)])
async def test_form_when_it_is_none_then_an_error_and_no_fault(running: Running, body: bytes) -> None:
    for path in ("/token", "/sign-in"):
        assert (await running.http.post(path, content=body)).status_code == 400
    assert (await running.http.post("/revoke", content=body)).status_code == 200


def test_handed_when_there_are_too_many_or_its_time_is_over_then_the_oldest_is_gone() -> None:
    handed: Handed[int] = Handed(life_s=10)
    first = handed.hand_out(1, now_s=0)
    assert handed.look(first, 9) == 1
    assert handed.look(first, 10) is None
    for number in range(KEPT_MAX):
        handed.hand_out(number, now_s=5)
    assert handed.look(first, 5) is None


# --- files --------------------------------------------------------------------------------------------------------


def test_files_then_their_owner_alone_reads_them_and_secrets_are_in_one_of_them(store: AccessStore) -> None:
    assert stat.S_IMODE(store.directory.stat().st_mode) == 0o700
    for path in store.directory.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name
    private = [jwk["d"] for jwk in json.loads(store.signing.read_text("utf-8"))["keys"]]
    assert private
    for path in set(store.directory.iterdir()) - {store.signing}:
        assert not [secret for secret in [*private, PASSWORD] if secret in path.read_text("utf-8")], path.name


def test_services_environment_then_it_names_no_file_with_a_secret(store: AccessStore) -> None:
    environment = Issuer(store, "http://127.0.0.1:1").services_environment()
    assert str(store.signing) not in environment.values()
    assert str(store.people) not in environment.values()


def run(*arguments: str) -> Any:
    return CliRunner().invoke(access_command, list(arguments))


async def test_keys_of_programs_by_the_command_line_then_made_good_listed_and_taken_back(
    running: Running, store: AccessStore
) -> None:
    where = ("--state-dir", str(store.directory.parent))
    made = run("keys", "make", "loader", "--role", "operator", "--account", "A*", *where)
    key = made.stdout.strip()
    identity = await running.services().identify(key)
    assert (identity.subject, identity.accounts.patterns()) == ("loader", ["A*"])
    assert identity.roles == {Role.OPERATOR}
    listed = run("keys", "list", *where).stdout
    assert "loader" in listed and key.rpartition("_")[2] not in listed
    assert run("keys", "remove", identity.credential, *where).exit_code == 0
    with pytest.raises(TokenRefused):
        await running.services().identify(key)
    assert run("keys", "remove", "nothing", *where).exit_code == 1


async def test_people_by_the_command_line_then_they_sign_in_with_the_password_that_was_printed(
    running: Running, store: AccessStore
) -> None:
    where = ("--state-dir", str(store.directory.parent))
    password = run("people", "put", "bob", "--role", "auditor", *where).stdout.strip()
    assert running.issuer.signed_in("bob", password)
    assert "bob" in run("people", "list", *where).stdout
    token = str(running.issuer.token_of("bob", "test"))
    assert run("revoke", "bob", *where).exit_code == 0
    with pytest.raises(TokenRefused, match="revoked"):
        await running.services().identify(token)
    assert run("people", "remove", "bob", *where).exit_code == 0
    assert not running.issuer.signed_in("bob", password)
    assert run("rotate", "--state-dir", str(store.directory / "nowhere")).exit_code == 1
