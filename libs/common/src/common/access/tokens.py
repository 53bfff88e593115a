"""Tokens (JWT, RFC 7519): who is believed to be whom.

Signatures are joserfc's (ADR 0071); what is decided here is whom to believe: one issuer, for one audience, two kinds of
signature, a short life.
"""

from collections.abc import Mapping
from typing import Any, Final

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwt import JWTClaimsRegistry

from common.access.identity import ACCOUNTS_MAX, Identity, OwnAccounts
from common.access.keys import KeySource
from common.access.settings import AccessSettings
from common.contracts.rights import Role

ALGORITHMS: Final = ("RS256", "Ed25519", "EdDSA")
"""Signatures of public keys (RFC 7518, 9864, 8037): no secret that signs is anywhere but at the issuer."""
TOKEN_BYTES_MAX: Final = 8_192
SUBJECT_CHARS_MAX: Final = 200


class TokenRefused(Exception):
    """Nobody is believed. ``reason`` is for metrics and logs; a caller is told no more than that it was refused."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TokenVerifier:
    """Believes the issuer of the settings."""

    def __init__(self, settings: AccessSettings, keys: KeySource) -> None:
        self._settings = settings
        self._keys = keys

    async def identity(self, text: str, now_s: float) -> Identity:
        """Raises TokenRefused, KeysAwayError."""
        if len(text) > TOKEN_BYTES_MAX:
            raise TokenRefused("too long")
        try:
            header = jws.extract_compact(text.encode("ascii")).headers()
        except (JoseError, ValueError, TypeError, AttributeError):
            raise TokenRefused("malformed") from None
        kid, algorithm = header.get("kid"), header.get("alg")
        if algorithm not in ALGORITHMS:
            raise TokenRefused("algorithm")
        key = await self._keys.find(kid) if isinstance(kid, str) else None
        if key is None:
            raise TokenRefused("key")
        try:
            claims = jwt.decode(text, key, algorithms=ALGORITHMS).claims
        except (JoseError, ValueError, TypeError):
            raise TokenRefused("signature") from None
        self._check(claims, now_s)
        return self._identity(claims)

    def _check(self, claims: Mapping[str, Any], now_s: float) -> None:
        settings = self._settings
        registry = JWTClaimsRegistry(
            now=int(now_s),
            leeway=settings.skew_s,
            iss={"essential": True, "value": settings.issuer},
            aud={"essential": True, "value": settings.audience},
            sub={"essential": True},
            iat={"essential": True},
            exp={"essential": True},
        )
        try:
            registry.validate(dict(claims))
        except JoseError as error:
            raise TokenRefused(error.error) from None
        if claims["exp"] - claims["iat"] > settings.life_max_s:
            raise TokenRefused("lives too long")

    def _identity(self, claims: Mapping[str, Any]) -> Identity:
        subject = claims["sub"]
        accounts = _texts(_member(claims, self._settings.accounts_claim))
        if not 0 < len(subject) <= SUBJECT_CHARS_MAX or len(accounts) > ACCOUNTS_MAX:
            raise TokenRefused("claims")
        named = set(_texts(_member(claims, self._settings.roles_claim)))
        roles = frozenset(role for role in Role if role.value in named)
        client = claims.get("azp", claims.get("client_id", ""))
        return Identity(
            subject,
            roles,
            OwnAccounts.of(accounts),
            client if isinstance(client, str) else "",
            str(claims.get("jti", "")),
            float(claims["iat"]),
            float(claims["exp"]),
        )


def _member(claims: Mapping[str, Any], path: str) -> Any:
    found: Any = claims
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _texts(value: Any) -> list[str]:
    """A list of texts, or one text with spaces between them, as ``scope`` is; anything else is none."""
    given = value.split() if isinstance(value, str) else value if isinstance(value, list) else []
    return [each for each in given if isinstance(each, str)]
