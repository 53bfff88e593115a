"""Identities of a real Keycloak, as services believe them: by settings alone."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from common.access.identities import IssuedIdentities
from common.access.identity import Identity
from common.access.settings import AccessSettings
from common.access.tokens import TokenRefused
from common.contracts.rights import Role
from joserfc import jws

from tests.integration.keycloak import ROLES_CLAIM, Keycloak

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="module")]
PROGRAM, ELSEWHERE = "loader", "mail"
ROTATED_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Provider:
    """Keycloak, what believes it, and Ann's password there."""

    keycloak: Keycloak
    identities: IssuedIdentities
    password: str

    async def token(self, client: str = PROGRAM) -> str:
        """Ann's."""
        return await self.keycloak.token(client, "ann", self.password)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def provider(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Provider]:
    password = secrets.token_urlsafe(16)
    keycloak = Keycloak(tmp_path_factory.mktemp("keycloak"), password)
    await asyncio.to_thread(keycloak.start)
    try:
        await keycloak.make_realm()
        for role in Role:
            await keycloak.add_role(role.value)
        await keycloak.add_person("ann", password, [Role.TRADER.value, Role.MARKET_RAW.value], ["DESK*", "ACC1"])
        await keycloak.add_program(PROGRAM, is_for_us=True)
        await keycloak.add_program(ELSEWHERE, is_for_us=False)
        believed = AccessSettings(issuer=keycloak.issuer, roles_claim=ROLES_CLAIM)
        yield Provider(keycloak, IssuedIdentities(believed), password)
    finally:
        await asyncio.to_thread(keycloak.stop)


async def test_person_then_roles_and_accounts_are_as_keycloak_has_them(provider: Provider) -> None:
    found = await provider.identities.identify(await provider.token())
    assert (found.roles, found.client) == (frozenset({Role.TRADER, Role.MARKET_RAW}), PROGRAM)
    assert found.accounts.patterns() == ["ACC1", "DESK*"]
    assert found.expires_s - found.issued_s == 300, "Keycloak's own default, which is short enough"


async def test_token_for_another_audience_or_of_another_realm_then_refused(provider: Provider) -> None:
    for token in (await provider.token(ELSEWHERE), await provider.keycloak.administrators_token()):
        with pytest.raises(TokenRefused):
            await provider.identities.identify(token)


async def _identified(provider: Provider, token: str) -> Identity:
    """An unknown key is asked for once in some seconds, whoever names it."""
    async with asyncio.timeout(ROTATED_WITHIN_S):
        while True:
            try:
                return await provider.identities.identify(token)
            except TokenRefused:
                await asyncio.sleep(0.2)


async def test_key_when_keycloak_signs_with_another_then_tokens_of_both_are_good(provider: Provider) -> None:
    before = await provider.token()
    await provider.keycloak.rotate()
    after = await provider.token()
    kids = {jws.extract_compact(token.encode()).headers()["kid"] for token in (before, after)}
    assert len(kids) == 2
    subjects = {(await _identified(provider, token)).subject for token in (after, before)}
    assert len(subjects) == 1
