"""Keys of programs: a long secret instead of a sign-in, kept as its hash, with a scope and an end."""

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from common.access.identity import Identity, OwnAccounts
from common.contracts.rights import Role

PREFIX: Final = "tmk_"
"""Tells a key from a token, and lets scanners of secrets find one that was published."""
SECRET_BYTES: Final = 32


class ApiKey(BaseModel):
    """One key. ``sha256`` is that of the secret in hexadecimal: 256 random bits need no slow hash."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    subject: str = Field(min_length=1, max_length=200)
    roles: list[Role]
    accounts: list[str] = []
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    created_s: float
    expires_s: float


def parse_keys(content: bytes) -> Mapping[str, ApiKey]:
    """JSON: ``{"keys": {id: ApiKey, …}}``. Raises ValueError."""
    return {str(name): ApiKey.model_validate(key) for name, key in json.loads(content)["keys"].items()}


def new_key() -> tuple[str, str, str]:
    """Id, hash of the secret, and the whole key, which is shown once and kept nowhere."""
    name, secret = secrets.token_hex(8), secrets.token_urlsafe(SECRET_BYTES)
    return name, hashlib.sha256(secret.encode()).hexdigest(), f"{PREFIX}{name}_{secret}"


def identity_of_key(text: str, keys: Mapping[str, ApiKey], now_s: float) -> Identity | None:
    """Owner of a key; None where it is nobody's, or has expired. A wrong id takes as long as a wrong secret."""
    name, _, secret = text.removeprefix(PREFIX).partition("_")
    given = hashlib.sha256(secret.encode()).hexdigest()
    key = keys.get(name)
    if not hmac.compare_digest(given, key.sha256 if key else "0" * len(given)) or key is None:
        return None
    if key.expires_s <= now_s:
        return None
    accounts = OwnAccounts.of(key.accounts)
    return Identity(key.subject, frozenset(key.roles), accounts, "api-key", name, key.created_s, key.expires_s)
