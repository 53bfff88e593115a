"""Signs tokens for people and programs of this machine's fleet."""

import json
import secrets
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from common.access.files import WatchedFile
from common.contracts.rights import Role
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from tidemark.issuer.grants import Code, Handed, Refresh
from tidemark.issuer.store import AccessStore, Person, is_password, parse_people

AUDIENCE: Final = "tidemark"
DASHBOARD: Final = "dashboard"
ALGORITHM: Final = "Ed25519"
TOKEN_LIFE_S: Final = 600.0
CODE_LIFE_S: Final = 60.0
LINK_LIFE_S: Final = 12 * 3_600.0
SESSION_LIFE_S: Final = 12 * 3_600.0


class Issuer:
    """``url`` is its name in tokens, and where it answers. Rotated keys and changed people count within a second."""

    def __init__(self, store: AccessStore, url: str) -> None:
        self.store = store
        self.url = url
        self._keys = WatchedFile(store.signing, lambda content: KeySet.import_key_set(json.loads(content)))
        self._people = WatchedFile(store.people, parse_people)
        self.links: Handed[str] = Handed(LINK_LIFE_S)
        self.sessions: Handed[str] = Handed(SESSION_LIFE_S)
        self.codes: Handed[Code] = Handed(CODE_LIFE_S)
        self.refreshes: Handed[Refresh] = Handed(SESSION_LIFE_S)

    def person(self, name: str) -> Person | None:
        return self._people.look().get(name)

    def signed_in(self, name: str, password: str) -> bool:
        """Whether the password is the person's. Takes 50 ms, whoever is named."""
        person = self.person(name)
        return is_password(password, person.password if person else "") and bool(person and person.password)

    def token(
        self, subject: str, roles: Iterable[Role], accounts: Iterable[str], client: str, life_s: float = TOKEN_LIFE_S
    ) -> str:
        """A token of these rights."""
        key = self._keys.look().keys[0]
        now_s = int(time.time())
        claims: dict[str, Any] = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": subject,
            "azp": client,
            "jti": secrets.token_hex(16),
            "iat": now_s,
            "exp": now_s + int(life_s),
            "roles": sorted(roles),
            "accounts": sorted(accounts),
        }
        return jwt.encode({"alg": ALGORITHM, "kid": key.kid}, claims, key, [ALGORITHM], default_type="at+jwt")

    def token_of(self, name: str, client: str) -> str | None:
        """A token of what the person may now; None where there is nobody of that name (any more)."""
        person = self.person(name)
        return self.token(name, person.roles, person.accounts, client) if person else None

    def revoke(self, token: str) -> None:
        """A refresh token is taken back; a token that was signed here is denied for the rest of its life."""
        if self.refreshes.take(token, time.time()) is not None:
            return
        try:
            claims: Mapping[str, Any] = jwt.decode(token, self._keys.look(), [ALGORITHM]).claims
        except (JoseError, ValueError):
            return  # as RFC 7009 has it: a token that is not good is revoked already
        self.store.deny_token(str(claims["jti"]), float(claims["exp"]))

    def published(self) -> Any:
        """The public keys (RFC 7517)."""
        return json.loads(self.store.public.read_bytes())

    def services_environment(self) -> dict[str, str]:
        """Environment that services are given so that they believe this issuer."""
        return {
            "TIDEMARK_ACCESS_ISSUER": self.url,
            "TIDEMARK_ACCESS_AUDIENCE": AUDIENCE,
            "TIDEMARK_ACCESS_KEYS": str(self.store.public),
            "TIDEMARK_ACCESS_DENIED_FILE": str(self.store.denied),
            "TIDEMARK_ACCESS_API_KEYS_FILE": str(self.store.api_keys),
        }
