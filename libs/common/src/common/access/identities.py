"""Identities behind credentials: tokens and keys of programs, revoked ones left out; each is verified once."""

import hashlib
import time
from pathlib import Path
from typing import Final, Protocol

from common.access.api_keys import PREFIX, identity_of_key, parse_keys
from common.access.denied import Denied
from common.access.files import WatchedFile
from common.access.identity import ANYONE, Identity
from common.access.keys import FileKeys, KeySource, PublishedKeys
from common.access.settings import AccessSettings
from common.access.tokens import TOKEN_BYTES_MAX, TokenRefused, TokenVerifier

CACHED_MAX: Final = 10_000


class Identities(Protocol):
    """Tells who somebody is."""

    @property
    def is_open(self) -> bool:
        """Whether nobody is asked."""
        ...

    def known(self, credential: str) -> Identity | None:
        """The identity of a credential that was verified before and is still good; without a wait."""
        ...

    async def identify(self, credential: str) -> Identity:
        """Raises TokenRefused; KeysAwayError where the issuer cannot be asked for its keys."""
        ...

    def is_good(self, identity: Identity) -> bool:
        """Whether it has neither ended nor been revoked since."""
        ...


class Everybody:
    """Identities without an issuer: everybody is ``ANYONE``."""

    is_open = True

    def known(self, credential: str) -> Identity | None:
        return ANYONE

    async def identify(self, credential: str) -> Identity:
        return ANYONE

    def is_good(self, identity: Identity) -> bool:
        return True


class IssuedIdentities:
    """Believes the issuer of the settings, and keys of programs. Reads files when it is made: OSError, ValueError."""

    is_open = False

    def __init__(self, settings: AccessSettings) -> None:
        self._tokens = TokenVerifier(settings, _keys(settings))
        self._skew_s = settings.skew_s
        denied, api_keys = settings.denied_file, settings.api_keys_file
        self._denied = WatchedFile(denied, Denied.parse) if denied else None
        self._api_keys = WatchedFile(api_keys, parse_keys) if api_keys else None
        self._cached: dict[bytes, Identity] = {}

    def known(self, credential: str) -> Identity | None:
        if credential.startswith(PREFIX):
            return None  # a hash is as quick to compute as to look up, and a key that is taken out is out at once
        identity = self._cached.get(_digest(credential))
        return identity if identity is not None and self.is_good(identity) else None

    async def identify(self, credential: str) -> Identity:
        if (known := self.known(credential)) is not None:
            return known
        if len(credential) > TOKEN_BYTES_MAX:
            raise TokenRefused("too long")
        now_s = time.time()
        if credential.startswith(PREFIX):
            identity = self._of_key(credential, now_s)
        else:
            identity = await self._tokens.identity(credential, now_s)
        if not self.is_good(identity):
            raise TokenRefused("revoked")
        if not credential.startswith(PREFIX):
            self._keep(credential, identity)
        return identity

    def _of_key(self, credential: str, now_s: float) -> Identity:
        """A key that was just made is good at once, one that was taken out within a second. Raises TokenRefused."""
        if self._api_keys is not None:
            for keys in (self._api_keys.value, self._api_keys.look):
                if (identity := identity_of_key(credential, keys(), now_s)) is not None:
                    return identity
        raise TokenRefused("api key")

    def is_good(self, identity: Identity) -> bool:
        if identity.expires_s + self._skew_s <= time.time():
            return False
        if identity.client == "api-key" and not self._is_key(identity):
            return False
        return self._denied is None or not self._denied.value().concerns(identity)

    def _is_key(self, identity: Identity) -> bool:
        return self._api_keys is not None and identity.credential in self._api_keys.value()

    def _keep(self, credential: str, identity: Identity) -> None:
        if len(self._cached) >= CACHED_MAX:
            self._cached = {key: each for key, each in self._cached.items() if self.is_good(each)}
        while len(self._cached) >= CACHED_MAX:
            del self._cached[next(iter(self._cached))]
        self._cached[_digest(credential)] = identity


def _digest(credential: str) -> bytes:
    """A token as it is kept in memory."""
    return hashlib.sha256(credential.encode("utf-8", "replace")).digest()


def _keys(settings: AccessSettings) -> KeySource:
    where = settings.keys
    if where and not where.startswith(("http://", "https://")):
        return FileKeys(Path(where))
    return PublishedKeys(settings.issuer, where)


def identities_of(settings: AccessSettings) -> Identities:
    """As the settings say. Raises OSError, ValueError where a file that they name cannot be read."""
    return IssuedIdentities(settings) if settings.issuer else Everybody()
