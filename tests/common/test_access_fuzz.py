"""Tokens with anything in them, rightly signed: an issuer that is wrong or set up wrongly brings no service down."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from common.access.identities import IssuedIdentities
from common.access.identity import Identity
from common.access.tokens import TokenRefused
from common.contracts.rights import Role
from common.testing.access import IssuerForTests
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt

NAMES = ("iss", "aud", "sub", "iat", "exp", "nbf", "jti", "azp", "client_id", "roles", "accounts")
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20)
)
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(max_size=5), SCALARS, max_size=3)
HOUR_S = 3_600


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> IssuerForTests:
    directory: Path = tmp_path_factory.mktemp("issuer")
    return IssuerForTests(directory)


@given(given_claims=st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=4))
def test_token_when_its_claims_are_anything_then_an_identity_within_bounds_or_refused(
    issuer: IssuerForTests, given_claims: dict[str, Any]
) -> None:
    known = IssuedIdentities(issuer.access)
    claims = issuer.claims([Role.TRADER]) | given_claims
    token = jwt.encode({"alg": "Ed25519", "kid": "ed"}, claims, issuer.keys["ed"], ["Ed25519"])
    try:
        identity = asyncio.run(known.identify(token))
    except TokenRefused:
        return
    assert isinstance(identity, Identity)
    assert isinstance(identity.subject, str)
    assert identity.subject
    assert identity.roles <= set(Role)
    assert time.time() - HOUR_S < identity.expires_s < time.time() + 2 * HOUR_S
    assert all(isinstance(each, str) for each in identity.accounts.patterns())
