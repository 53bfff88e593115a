"""An issuer for tests: keys of both kinds, tokens with whatever claims, and the files that services read."""

import json
import time
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, Final

from joserfc import jwt
from joserfc.jwk import Key, OKPKey, RSAKey

from common.access.api_keys import ApiKey, new_key
from common.access.settings import AccessSettings
from common.contracts.rights import Role

ISSUER: Final = "https://issuer.example"
AUDIENCE: Final = "tidemark"
LIFE_S: Final = 600


@cache
def _rsa_key() -> RSAKey:
    """One for all tests of a process: to make one takes a good part of a second."""
    return RSAKey.generate_key(2048)


class IssuerForTests:
    """Everything lies in one directory; ``access`` is what a service has to be told."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.keys: dict[str, Key] = {}
        self.add_key("ed", OKPKey.generate_key("Ed25519"))
        self.add_key("rsa", _rsa_key())
        self._api_keys: dict[str, ApiKey] = {}
        self.deny()
        self._write("api_keys.json", {"keys": {}})

    @property
    def access(self) -> AccessSettings:
        return AccessSettings(
            issuer=ISSUER,
            keys=str(self._directory / "keys.json"),
            denied_file=self._directory / "denied.json",
            api_keys_file=self._directory / "api_keys.json",
        )

    def add_key(self, kid: str, key: Key) -> None:
        """Publishes one more key."""
        self.keys[kid] = key
        self._publish()

    def withdraw_key(self, kid: str) -> None:
        del self.keys[kid]
        self._publish()

    def token(
        self, *roles: Role, accounts: Iterable[Any] = (), subject: str = "somebody", kid: str = "ed", **claims: Any
    ) -> str:
        """A good token, but for the claims that are given; one that is None is left out."""
        key = self.keys[kid]
        algorithm = "RS256" if isinstance(key, RSAKey) else "Ed25519"
        return jwt.encode(
            {"alg": algorithm, "kid": kid}, self.claims(roles, accounts, subject) | claims, key, [algorithm]
        )

    @staticmethod
    def claims(roles: Iterable[Role], accounts: Iterable[Any] = (), subject: str = "somebody") -> dict[str, Any]:
        """Claims of a good token."""
        now_s = int(time.time())
        return {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": subject,
            "iat": now_s,
            "exp": now_s + LIFE_S,
            "jti": f"{subject}-{time.time_ns()}",
            "roles": sorted(roles),
            "accounts": list(accounts),
        }

    def api_key(self, *roles: Role, accounts: Iterable[str] = (), life_s: float = LIFE_S) -> tuple[str, str]:
        """Id and text of a new key."""
        name, digest, text = new_key()
        now_s = time.time()
        self._api_keys[name] = ApiKey(
            subject="a-program",
            roles=list(roles),
            accounts=list(accounts),
            sha256=digest,
            created_s=now_s,
            expires_s=now_s + life_s,
        )
        self._write_api_keys()
        return name, text

    def remove_api_key(self, name: str) -> None:
        del self._api_keys[name]
        self._write_api_keys()

    def deny(self, credentials: Iterable[str] = (), subjects: Iterable[str] = ()) -> None:
        """Replaces the deny list: subjects are denied what was issued to them until now."""
        until_s = time.time()
        ends = dict.fromkeys(credentials, until_s + LIFE_S)
        self._write("denied.json", {"credentials": ends, "subjects": dict.fromkeys(subjects, until_s)})

    def _publish(self) -> None:
        public = [key.as_dict(private=False) | {"kid": kid, "use": "sig"} for kid, key in self.keys.items()]
        self._write("keys.json", {"keys": public})

    def _write_api_keys(self) -> None:
        keys = {name: key.model_dump(mode="json") for name, key in self._api_keys.items()}
        self._write("api_keys.json", {"keys": keys})

    def _write(self, name: str, content: Any) -> None:
        partial = self._directory / f"{name}.part"
        partial.write_text(json.dumps(content), encoding="utf-8")
        partial.replace(self._directory / name)
