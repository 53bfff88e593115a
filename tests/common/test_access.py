"""Keys that change, what is revoked, keys of programs, and who is asked at all."""

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from common.access.failures import CLIENTS_MAX, FAILURES_MAX, WINDOW_S, Failures
from common.access.files import LOOK_S
from common.access.http import Admission, Refusal
from common.access.identities import IssuedIdentities, identities_of
from common.access.identity import ANYONE, Identity, OwnAccounts
from common.access.keys import KeysAwayError, PublishedKeys, parse_jwks
from common.access.settings import AccessSettings, ReachedSettings
from common.access.tokens import TokenRefused
from common.contracts.rights import Reach, Role, reach_of
from common.testing.access import ISSUER, IssuerForTests
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import OctKey, OKPKey, RSAKey
from pydantic import ValidationError
from streams.process.settings import HttpSettings
from streams.service.web import WebServer


class Clock:
    """Moves the clock by which files are looked at again: a second is too much for each test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._ahead_s = 0.0
        self._real = time.monotonic

    def forward(self, seconds: float) -> None:
        self._ahead_s += seconds
        self._monkeypatch.setattr("common.access.files.time.monotonic", lambda: self._real() + self._ahead_s)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def identities(issuer: IssuerForTests, **changes: Any) -> IssuedIdentities:
    return IssuedIdentities(AccessSettings(**(issuer.access.model_dump() | changes)))


async def refused(known: IssuedIdentities, credential: str) -> str:
    """The reason of a refusal."""
    with pytest.raises(TokenRefused) as caught:
        await known.identify(credential)
    return caught.value.reason


# --- keys change, tokens are revoked ------------------------------------------------------------------------------


async def test_keys_when_they_rotate_then_new_tokens_are_good_at_once_and_old_ones_until_the_key_is_withdrawn(
    issuer: IssuerForTests, clock: Clock
) -> None:
    known = identities(issuer)
    old = issuer.token(Role.TRADER)
    issuer.add_key("next", OKPKey.generate_key("Ed25519"))
    assert await known.identify(issuer.token(Role.TRADER, kid="next"))
    assert await known.identify(old)
    withdrawn = issuer.token(Role.TRADER)
    issuer.withdraw_key("ed")
    clock.forward(LOOK_S)
    assert await refused(known, withdrawn) == "key"


async def test_token_when_it_is_denied_then_refused_within_a_second_though_it_was_known(
    issuer: IssuerForTests, clock: Clock
) -> None:
    known = identities(issuer)
    one, other = issuer.token(Role.TRADER, jti="one"), issuer.token(Role.TRADER, jti="other")
    identity = await known.identify(one)
    await known.identify(other)
    issuer.deny(credentials=["one"])
    clock.forward(LOOK_S)
    assert known.known(one) is None
    assert not known.is_good(identity)
    assert await refused(known, one) == "revoked"
    assert known.known(other) is not None


async def test_subject_when_denied_then_all_it_has_is_refused_and_what_it_gets_later_is_good(
    issuer: IssuerForTests, clock: Clock
) -> None:
    known = identities(issuer)
    token = issuer.token(Role.TRADER, subject="mallory")
    await known.identify(token)
    issuer.deny(subjects=["mallory"])
    clock.forward(LOOK_S)
    assert await refused(known, token) == "revoked"
    assert await known.identify(issuer.token(Role.TRADER, subject="mallory", iat=int(time.time()) + 2))


async def test_deny_list_when_it_becomes_unreadable_then_what_was_denied_stays_denied(
    issuer: IssuerForTests, clock: Clock, tmp_path: Path
) -> None:
    known = identities(issuer)
    token = issuer.token(jti="one")
    issuer.deny(credentials=["one"])
    clock.forward(LOOK_S)
    assert await refused(known, token) == "revoked"
    (tmp_path / "issuer" / "denied.json").write_text("{", encoding="utf-8")
    clock.forward(LOOK_S)
    assert await refused(known, token) == "revoked"
    (tmp_path / "issuer" / "denied.json").unlink()
    clock.forward(LOOK_S)
    assert await refused(known, token) == "revoked"


def test_files_when_they_are_not_there_at_the_start_then_it_does_not_start(issuer: IssuerForTests) -> None:
    for name in ("keys", "denied_file", "api_keys_file"):
        with pytest.raises(FileNotFoundError):
            identities(issuer, **{name: "/nonexistent/file.json"})


@pytest.fixture
async def published(issuer: IssuerForTests, tmp_path: Path) -> AsyncIterator[WebServer]:
    """The issuer's keys over HTTP, with the discovery document of OpenID Connect."""
    web = FastAPI(docs_url=None, redoc_url=None)
    web.state.asked = 0

    @web.get("/.well-known/openid-configuration")
    async def discovery() -> dict[str, str]:
        url = f"http://127.0.0.1:{server.port}"
        return {"issuer": web.state.issuer or url, "jwks_uri": f"{url}/keys"}

    @web.get("/keys")
    async def keys() -> Any:
        web.state.asked += 1
        return json.loads((tmp_path / "issuer" / "keys.json").read_text("utf-8"))

    web.state.issuer = ""
    server = WebServer(web, "127.0.0.1", 0)
    await server.start()
    yield server
    await server.stop()


async def test_keys_when_published_then_discovered_once_and_asked_anew_for_an_unknown_name_but_not_without_end(
    issuer: IssuerForTests, published: WebServer
) -> None:
    keys = PublishedKeys(f"http://127.0.0.1:{published.port}")
    assert await keys.find("ed") is not None
    assert await keys.find("rsa") is not None
    issuer.add_key("next", OKPKey.generate_key("Ed25519"))
    for _ in range(50):
        assert await keys.find("next") is None, "within five seconds of the last time it is not asked again"
    assert published.application.state.asked == 1


async def test_keys_when_the_issuer_is_away_then_nobody_can_be_believed_and_that_is_said() -> None:
    keys = PublishedKeys("http://127.0.0.1:1")
    with pytest.raises(KeysAwayError):
        await keys.find("ed")


async def test_keys_when_the_discovery_document_is_another_issuers_then_not_believed(published: WebServer) -> None:
    published.application.state.issuer = "https://stranger.example"
    with pytest.raises(KeysAwayError):
        await PublishedKeys(f"http://127.0.0.1:{published.port}").find("ed")


def test_jwks_when_a_key_is_weak_secret_or_for_encryption_then_passed_over(issuer: IssuerForTests) -> None:
    weak = RSAKey.generate_key(1024).as_dict(private=False) | {"kid": "weak"}
    secret = OctKey.generate_key(256).as_dict(private=True) | {"kid": "secret"}
    encrypts = issuer.keys["rsa"].as_dict(private=False) | {"kid": "encrypts", "use": "enc"}
    nameless = issuer.keys["ed"].as_dict(private=False)
    nameless.pop("kid", None)
    good = issuer.keys["ed"].as_dict(private=False) | {"kid": "good"}
    found = parse_jwks(json.dumps({"keys": [weak, secret, encrypts, nameless, good]}).encode())
    assert set(found) == {"good"}


# --- keys of programs ---------------------------------------------------------------------------------------------


async def test_api_key_when_it_is_good_then_the_identity_has_its_scope_and_its_secret_is_kept_nowhere(
    issuer: IssuerForTests, tmp_path: Path
) -> None:
    name, text = issuer.api_key(Role.TRADER, accounts=["A"])
    identity = await identities(issuer).identify(text)
    assert (identity.subject, identity.client, identity.credential) == ("a-program", "api-key", name)
    assert identity.roles == {Role.TRADER}
    assert identity.accounts.patterns() == ["A"]
    kept = (tmp_path / "issuer" / "api_keys.json").read_text("utf-8")
    assert text.rpartition("_")[2] not in kept
    assert "tmk_" not in kept


async def test_api_key_when_a_character_differs_or_its_time_is_over_then_refused(issuer: IssuerForTests) -> None:
    _, text = issuer.api_key(Role.TRADER)
    _, ended = issuer.api_key(Role.TRADER, life_s=-1)
    known = identities(issuer)
    assert await refused(known, text[:-1] + ("A" if text[-1] != "A" else "B")) == "api key"
    for wrong in (ended, "tmk_", "tmk_x", "tmk__", f"tmk_{'0' * 16}_{text.rpartition('_')[2]}"):
        assert await refused(known, wrong) == "api key"


async def test_api_key_when_it_is_taken_out_then_refused_and_whoever_used_it_is_no_longer_good(
    issuer: IssuerForTests, clock: Clock
) -> None:
    name, text = issuer.api_key(Role.TRADER)
    known = identities(issuer)
    identity = await known.identify(text)
    assert known.is_good(identity)
    issuer.remove_api_key(name)
    clock.forward(LOOK_S)
    assert await refused(known, text) == "api key"
    assert not known.is_good(identity)


# --- what an identity may -----------------------------------------------------------------------------------------


def test_reach_when_several_roles_then_the_widest_and_none_without_a_grant() -> None:
    grants = {Role.TRADER: Reach.OWN, Role.AUDITOR: Reach.ALL}
    assert reach_of(grants, [Role.TRADER]) is Reach.OWN
    assert reach_of(grants, [Role.TRADER, Role.AUDITOR]) is Reach.ALL
    assert reach_of(grants, [Role.OPERATOR]) is None
    assert reach_of(grants, []) is None


def test_identity_when_its_right_is_for_its_own_accounts_then_for_no_other_and_not_without_one() -> None:
    grants = {Role.TRADER: Reach.OWN}
    trader = Identity("t", frozenset({Role.TRADER}), OwnAccounts.of(["A", "DESK*"]))
    assert trader.may(grants, "A") and trader.may(grants, "DESK1")
    assert not trader.may(grants, "B") and not trader.may(grants, "DES") and not trader.may(grants, "a")
    assert not trader.may(grants)
    assert not Identity("n", frozenset({Role.TRADER})).may(grants, "A")
    assert ANYONE.may(grants, "whatever")


@given(
    st.lists(st.from_regex(r"[A-Z]{1,3}\*?", fullmatch=True), max_size=5), st.from_regex(r"[A-Z]{1,4}", fullmatch=True)
)
def test_own_accounts_then_as_if_each_pattern_were_looked_at(patterns: list[str], account: str) -> None:
    expected = any(account.startswith(p[:-1]) if p.endswith("*") else account == p for p in patterns)
    assert (account in OwnAccounts.of(patterns)) == expected


# --- who is asked at all ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "trading.example"])
def test_service_when_it_would_serve_strangers_without_an_issuer_then_it_refuses_to_start(host: str) -> None:
    with pytest.raises(ValidationError, match="TIDEMARK_ACCESS_ISSUER"):
        ReachedSettings(http=HttpSettings(host=host))
    assert ReachedSettings(http=HttpSettings(host=host), access=AccessSettings(open=True))
    assert ReachedSettings(http=HttpSettings(host=host), access=AccessSettings(issuer=ISSUER))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "[::1]", "localhost"])
async def test_service_when_it_serves_this_machine_without_an_issuer_then_everybody_is_anyone(host: str) -> None:
    known = identities_of(ReachedSettings(http=HttpSettings(host=host)).access)
    assert known.is_open
    assert await known.identify("whatever") is ANYONE


# --- whoever tries without end ------------------------------------------------------------------------------------


async def test_admission_when_bad_credentials_come_without_end_then_they_wait_and_good_ones_do_not(
    issuer: IssuerForTests,
) -> None:
    admission = Admission("test", identities(issuer))
    good = issuer.token(Role.TRADER)
    await admission.admit(good, "10.0.0.1")
    for _ in range(FAILURES_MAX):
        with pytest.raises(Refusal) as caught:
            await admission.admit("bad", "10.0.0.1")
        assert caught.value.problem == "unauthenticated"
    with pytest.raises(Refusal) as caught:
        await admission.admit("bad", "10.0.0.1")
    assert caught.value.problem == "share-exceeded"
    assert await admission.admit(good, "10.0.0.1"), "what is known costs nothing"
    assert await admission.admit(issuer.token(Role.TRADER), "10.0.0.2"), "others do not wait"


def test_failures_when_the_window_is_over_then_counted_anew_and_clients_are_bounded() -> None:
    failures = Failures()
    for _ in range(FAILURES_MAX):
        failures.add("a", 100.0)
    assert failures.wait_s("a", 101.0) == WINDOW_S - 1
    assert failures.wait_s("a", 100.0 + WINDOW_S) == 0
    for number in range(CLIENTS_MAX):
        failures.add(str(number), 100.0)
    assert failures.wait_s("a", 101.0) == 0, "forgotten: others came after it"


async def test_published_keys_when_the_answer_has_no_end_then_it_is_cut_off(endless_keys: str) -> None:
    with pytest.raises(KeysAwayError):
        await PublishedKeys("https://issuer.example", endless_keys).find("ed")


@pytest.fixture
async def endless_keys() -> AsyncIterator[str]:
    """A URL whose answer is longer than any set of keys."""
    web = FastAPI(docs_url=None, redoc_url=None)

    @web.get("/keys")
    async def keys() -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(64):
                yield b" " * (1 << 16)

        return StreamingResponse(pieces())

    server = WebServer(web, "127.0.0.1", 0)
    await server.start()
    yield f"http://127.0.0.1:{server.port}/keys"
    await server.stop()
