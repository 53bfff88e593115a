"""Public keys of an issuer (JWKS, RFC 7517): from a file, or fetched from where it publishes them."""

import asyncio
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import httpx
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key
from streams.process.logs import get_logger

from common.access.files import WatchedFile

_log = get_logger(__name__)
KEYS_MAX: Final = 32
RSA_BITS_MIN: Final = 2_048
REFRESH_S: Final = 300.0
"""Keys that are older are fetched anew: one that its issuer has withdrawn is believed no longer than that."""
UNKNOWN_S: Final = 5.0
"""An unknown key's name has them fetched anew, at most so often."""
ANSWER_TIMEOUT_S: Final = 5.0
ANSWER_BYTES_MAX: Final = 1 << 20


class KeySource(Protocol):
    """Keys by their name."""

    async def find(self, kid: str) -> Key | None:
        """The key of that name; None where the issuer has none. Raises KeysAwayError where it cannot be asked."""
        ...


class KeysAwayError(Exception):
    """The issuer's keys are not known, and cannot be had now."""


def parse_jwks(content: bytes) -> Mapping[str, Key]:
    """Keys that sign, by name: RSA of enough bits, and Ed25519. All others are passed over. Raises ValueError."""
    found: dict[str, Key] = {}
    for jwk in json.loads(content)["keys"][:KEYS_MAX]:
        kid = jwk.get("kid")
        if jwk.get("use", "sig") == "sig" and isinstance(kid, str) and _may_sign(jwk):
            try:
                found[kid] = JWKRegistry.import_key({name: value for name, value in jwk.items() if name != "d"})
            except JoseError as error:
                raise ValueError(f"key {kid}: {error.error}") from None
    return found


def _may_sign(jwk: Mapping[str, Any]) -> bool:
    if jwk.get("kty") == "RSA":
        return len(str(jwk.get("n", ""))) * 6 >= RSA_BITS_MIN
    return jwk.get("kty") == "OKP" and jwk.get("crv") == "Ed25519"


class FileKeys:
    """A JWKS in a file. A key that is put in or taken out counts within a second."""

    def __init__(self, path: Path) -> None:
        """Raises OSError, ValueError."""
        self._file = WatchedFile(path, parse_jwks)

    async def find(self, kid: str) -> Key | None:
        return self._file.value().get(kid) or self._file.look().get(kid)


class PublishedKeys:
    """A JWKS at a URL, or where the issuer's discovery document (OpenID Connect Discovery 1.0) says."""

    def __init__(self, issuer: str, url: str = "") -> None:
        self._issuer = issuer
        self._url = url
        self._keys: Mapping[str, Key] = {}
        self._fetched_s = self._asked_s = float("-inf")
        self._turn = asyncio.Lock()

    async def find(self, kid: str) -> Key | None:
        now_s = time.monotonic()
        known = self._keys.get(kid)
        if known is not None and now_s - self._fetched_s < REFRESH_S:
            return known
        async with self._turn:
            if time.monotonic() - self._asked_s >= UNKNOWN_S:
                await self._fetch()
        if time.monotonic() - self._fetched_s >= 2 * REFRESH_S:
            raise KeysAwayError
        return self._keys.get(kid)

    async def _fetch(self) -> None:
        self._asked_s = time.monotonic()
        try:
            async with httpx.AsyncClient(timeout=ANSWER_TIMEOUT_S) as client:
                url = self._url or await self._discovered(client)
                self._keys = parse_jwks(await _content(client, url))
            self._fetched_s = self._asked_s
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError, AttributeError) as error:
            _log.warning("issuer_keys_away", issuer=self._issuer, error=type(error).__name__)

    async def _discovered(self, client: httpx.AsyncClient) -> str:
        document = json.loads(await _content(client, f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"))
        if document["issuer"] != self._issuer:
            raise ValueError("the discovery document is another issuer's")
        return str(document["jwks_uri"])


async def _content(client: httpx.AsyncClient, url: str) -> bytes:
    content = bytearray()
    async with client.stream("GET", url) as answer:
        answer.raise_for_status()
        async for piece in answer.aiter_bytes():
            content += piece
            if len(content) > ANSWER_BYTES_MAX:
                raise ValueError("the answer is too long")
    return bytes(content)
