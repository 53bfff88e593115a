"""Grants that an issuer has handed out and will take back once: links, sessions, codes, refresh tokens.

In memory alone: whoever restarts the issuer signs everybody out. Names are random, and kept as their hashes.
"""

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

T = TypeVar("T")
KEPT_MAX: Final = 10_000
"""Grants of each kind that are kept at most; the oldest gives way."""
SECRET_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Code:
    """An authorization code (RFC 6749, 4.1) with its challenge (RFC 7636)."""

    person: str
    client: str
    redirect_uri: str
    challenge: str


@dataclass(frozen=True, slots=True)
class Refresh:
    """A refresh token; a new one takes its place at each use."""

    person: str
    client: str


class Handed(Generic[T]):
    """Values behind random names that live for ``life_s`` seconds."""

    def __init__(self, life_s: float) -> None:
        self._life_s = life_s
        self._kept: dict[bytes, tuple[float, T]] = {}

    def hand_out(self, value: T, now_s: float) -> str:
        """A name for the value."""
        while len(self._kept) >= KEPT_MAX:
            del self._kept[next(iter(self._kept))]
        name = secrets.token_urlsafe(SECRET_BYTES)
        self._kept[_digest(name)] = now_s + self._life_s, value
        return name

    def look(self, name: str, now_s: float) -> T | None:
        """The value; None where there is none, or its time is over."""
        ends_s, value = self._kept.get(_digest(name), (0.0, None))
        return value if ends_s > now_s else None

    def take(self, name: str, now_s: float) -> T | None:
        """The same, for the last time."""
        value = self.look(name, now_s)
        self._kept.pop(_digest(name), None)
        return value


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def is_verified(verifier: str, challenge: str) -> bool:
    """Whether the verifier belongs to the challenge (RFC 7636, S256)."""
    digest = hashlib.sha256(verifier.encode("ascii", "replace")).digest()
    return hmac.compare_digest(base64.urlsafe_b64encode(digest).rstrip(b"="), challenge.encode("ascii", "replace"))
