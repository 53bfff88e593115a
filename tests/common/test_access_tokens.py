"""Identities by token: good tokens and every kind of bad one."""

import base64
import json
import time
from typing import Any

import pytest
from common.access.identities import IssuedIdentities
from common.access.settings import AccessSettings
from common.access.tokens import TOKEN_BYTES_MAX, TokenRefused
from common.contracts.rights import Role
from common.testing.access import ISSUER, IssuerForTests
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import OctKey, OKPKey, RSAKey


def identities(issuer: IssuerForTests, **changes: Any) -> IssuedIdentities:
    return IssuedIdentities(AccessSettings(**(issuer.access.model_dump() | changes)))


async def refused(known: IssuedIdentities, credential: str) -> str:
    """The reason of a refusal."""
    with pytest.raises(TokenRefused) as caught:
        await known.identify(credential)
    return caught.value.reason


@pytest.mark.parametrize("kid", ["ed", "rsa"])
async def test_token_when_it_is_good_then_the_identity_is_what_it_says(issuer: IssuerForTests, kid: str) -> None:
    token = issuer.token(Role.TRADER, Role.MARKET_RAW, accounts=["A", "DESK*"], subject="ann", kid=kid, azp="screen")
    identity = await identities(issuer).identify(token)
    assert (identity.subject, identity.client) == ("ann", "screen")
    assert identity.roles == {Role.TRADER, Role.MARKET_RAW}
    assert identity.accounts.patterns() == ["A", "DESK*"]
    assert identity.expires_s > time.time()


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": 1_000_000_000, "iat": 999_999_999}, "expired_token"),
        ({"aud": "another"}, "invalid_claim"),
        ({"aud": None}, "missing_claim"),
        ({"iss": "https://stranger.example"}, "invalid_claim"),
        ({"iss": None}, "missing_claim"),
        ({"exp": None}, "missing_claim"),
        ({"sub": None}, "missing_claim"),
        ({"iat": None}, "missing_claim"),
        ({"sub": 5}, "invalid_claim"),
        ({"sub": ""}, "invalid_claim"),
        ({"exp": "tomorrow"}, "invalid_claim"),
        ({"exp": 99_999_999_999}, "lives too long"),
        ({"nbf": 99_999_999_999}, "invalid_claim"),
        ({"accounts": ["A"] * 1_001}, "claims"),
        ({"sub": "x" * 201}, "claims"),
    ],
)
async def test_token_when_a_claim_is_not_good_then_refused(
    issuer: IssuerForTests, claims: dict[str, Any], reason: str
) -> None:
    whole = issuer.claims([Role.TRADER]) | claims
    whole = {name: value for name, value in whole.items() if value is not None}
    token = jwt.encode({"alg": "Ed25519", "kid": "ed"}, whole, issuer.keys["ed"], ["Ed25519"])
    assert await refused(identities(issuer), token) == reason


async def test_token_when_clocks_differ_within_the_skew_then_good_and_beyond_it_refused(issuer: IssuerForTests) -> None:
    now_s = int(time.time())
    known = identities(issuer, skew_s=30)
    assert await known.identify(issuer.token(exp=now_s - 20, iat=now_s - 600))
    assert await known.identify(issuer.token(iat=now_s + 20))
    assert await refused(known, issuer.token(exp=now_s - 40, iat=now_s - 600)) == "expired_token"
    assert await refused(known, issuer.token(iat=now_s + 40)) == "invalid_claim"


def unsigned(header: dict[str, Any], claims: dict[str, Any], signature: str = "") -> str:
    parts = (base64.urlsafe_b64encode(json.dumps(each).encode()).rstrip(b"=").decode() for each in (header, claims))
    return f"{'.'.join(parts)}.{signature}"


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "HS256", "ES256", "RS512", "", None, 5])
async def test_token_when_it_names_another_algorithm_then_refused_without_a_look_at_its_key(
    issuer: IssuerForTests, algorithm: Any
) -> None:
    header = {"alg": algorithm, "kid": "ed"}
    assert await refused(identities(issuer), unsigned(header, issuer.claims([Role.OPERATOR]))) in {
        "algorithm",
        "malformed",
    }


async def test_token_when_the_public_key_was_used_as_a_secret_then_refused(issuer: IssuerForTests) -> None:
    """The classic confusion: HS256 with the published key as its secret."""
    rsa = issuer.keys["rsa"]
    assert isinstance(rsa, RSAKey)
    public = rsa.as_pem(private=False)
    secret = OctKey.import_key(base64.b64encode(public))
    token = jwt.encode({"alg": "HS256", "kid": "rsa"}, issuer.claims([Role.OPERATOR]), secret, ["HS256"])
    assert await refused(identities(issuer), token) == "algorithm"


async def test_token_when_another_key_signed_it_then_refused(issuer: IssuerForTests) -> None:
    claims = issuer.claims([Role.OPERATOR])
    other = OKPKey.generate_key("Ed25519")
    assert (
        await refused(identities(issuer), jwt.encode({"alg": "Ed25519", "kid": "ed"}, claims, other, ["Ed25519"]))
        == "signature"
    )
    assert (
        await refused(identities(issuer), jwt.encode({"alg": "Ed25519", "kid": "other"}, claims, other, ["Ed25519"]))
        == "key"
    )
    assert await refused(
        identities(issuer), jwt.encode({"alg": "Ed25519"}, claims, issuer.keys["ed"], ["Ed25519"])
    ) == ("key")


async def test_token_when_its_key_is_of_another_kind_than_its_algorithm_then_refused(issuer: IssuerForTests) -> None:
    token = issuer.token(Role.OPERATOR, kid="ed")
    head, _, rest = token.partition(".")
    header = json.loads(base64.urlsafe_b64decode(head + "=="))
    forged = base64.urlsafe_b64encode(json.dumps(header | {"alg": "RS256"}).encode()).rstrip(b"=").decode()
    assert await refused(identities(issuer), f"{forged}.{rest}") == "signature"


async def test_token_when_a_byte_of_it_is_changed_then_refused(issuer: IssuerForTests) -> None:
    known = identities(issuer)
    token = issuer.token(Role.AUDITOR)
    assert await known.identify(token)
    head, payload, signature = token.split(".")
    richer = base64.urlsafe_b64encode(json.dumps(issuer.claims(list(Role))).encode()).rstrip(b"=").decode()
    assert await refused(known, f"{head}.{richer}.{signature}") == "signature"
    assert await refused(known, f"{head}.{payload}.{signature[:-8]}AAAAAAAA") == "signature"


async def test_token_when_it_has_a_megabyte_then_refused_before_anything_is_read(issuer: IssuerForTests) -> None:
    known = identities(issuer)
    assert await refused(known, "a" * 1_000_000) == "too long"
    assert await refused(known, issuer.token(padding="x" * TOKEN_BYTES_MAX)) == "too long"


@given(st.text(max_size=200) | st.from_regex(r"[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}"))
async def test_token_when_it_is_garbage_then_refused_and_nothing_else_happens(text: str) -> None:
    settings = AccessSettings(issuer=ISSUER, keys="http://127.0.0.1:1/keys")
    with pytest.raises(TokenRefused):
        await IssuedIdentities(settings).identify(text)


async def test_token_when_it_names_no_role_of_ours_then_an_identity_without_a_right(issuer: IssuerForTests) -> None:
    identity = await identities(issuer).identify(issuer.token(roles=["root", "TRADER", 7], accounts=[3, "A"]))
    assert identity.roles == frozenset()
    assert identity.accounts.patterns() == ["A"]


async def test_claims_when_the_provider_names_them_otherwise_then_found_where_the_settings_say(
    issuer: IssuerForTests,
) -> None:
    """As Keycloak has them: roles within realm_access, texts with spaces."""
    known = identities(issuer, roles_claim="realm_access.roles", accounts_claim="trading_accounts")
    token = issuer.token(realm_access={"roles": ["trader", "offline_access"]}, trading_accounts="A B")
    identity = await known.identify(token)
    assert identity.roles == {Role.TRADER}
    assert identity.accounts.patterns() == ["A", "B"]
