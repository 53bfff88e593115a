"""A key and a pseudonym for each client, by his account's id: whoever has the key can tell what was masked with it.

DIRECTORY/            readable to its owner only
  salt                names files, so that a listing of them names nobody
  NAME.json           a client's account, pseudonym and key
  NAME.erased         the key was thrown away, and there is never another one

Ciphers are cryptography's: AES-SIV (RFC 5297) gives the same text for the same value, so that masked rows can be
joined, and tells whether a text was altered.
"""

import base64
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

ERASED: Final = "erased"
"""In place of whatever is an erased client's."""
SEALED: Final = "~"
"""Begins a sealed text. No id and no name of a person may begin so."""
KEY_BITS: Final = 512
PSEUDONYM_BYTES: Final = 8
SALT_BYTES: Final = 32


class NotSealed(ValueError):
    """The text is not one that was sealed with this key."""


@dataclass(frozen=True, slots=True)
class Client:
    """A client as exports have him. ``key`` is None once it was thrown away."""

    pseudonym: str
    key: bytes | None

    def seal(self, text: str) -> str:
        """The same for the same text of the same client; of no use without his key."""
        if self.key is None:
            return ERASED
        if not text:
            return ""  # the cipher takes no empty text, and there is nothing to hide
        return SEALED + base64.urlsafe_b64encode(AESSIV(self.key).encrypt(text.encode(), None)).decode().rstrip("=")

    def open(self, sealed: str) -> str:
        """Raises NotSealed."""
        if self.key is None or not sealed.startswith(SEALED):
            raise NotSealed(sealed)
        padded = sealed[1:] + "=" * (-len(sealed[1:]) % 4)
        try:
            return AESSIV(self.key).decrypt(base64.urlsafe_b64decode(padded), None).decode()
        except (InvalidTag, ValueError) as error:
            raise NotSealed(sealed) from error


_NOBODY: Final = Client(ERASED, None)


class _Known(NamedTuple):
    client: Client
    erased: Path


class Keyring:
    """Whether a key was thrown away is looked up at each call: that is in force for whoever exports just then, too."""

    def __init__(self, directory: Path) -> None:
        """Makes the directory and its salt where they are not there. Raises OSError."""
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        directory.chmod(0o700)
        salt = directory / "salt"
        self._put(salt, secrets.token_bytes(SALT_BYTES))
        self._salt = salt.read_bytes()
        self._known: dict[str, _Known] = {}

    def client(self, account_id: str) -> Client:
        """The client of an account; he gets a key with the first call. Raises OSError."""
        known = self._known.get(account_id)
        if known is not None and not known.erased.exists():
            return known.client
        self._known.pop(account_id, None)
        key_file, erased = self._files(account_id)
        if not key_file.exists() and not erased.exists():
            key = AESSIV.generate_key(KEY_BITS)
            row = {
                "account_id": account_id,
                "pseudonym": f"client-{secrets.token_hex(PSEUDONYM_BYTES)}",
                "key": base64.b64encode(key).decode(),
            }
            self._put(key_file, json.dumps(row).encode())
        if erased.exists():
            return _NOBODY
        try:
            client = _client(json.loads(key_file.read_bytes()))
        except FileNotFoundError:  # it has just been erased
            return _NOBODY
        self._known[account_id] = _Known(client, erased)
        return client

    def pseudonym(self, account_id: str) -> str | None:
        """The pseudonym of a client; None where he never had a key, ERASED where it was thrown away."""
        key_file, erased = self._files(account_id)
        if erased.exists():
            return ERASED
        return _client(json.loads(key_file.read_bytes())).pseudonym if key_file.exists() else None

    def erase(self, account_id: str) -> None:
        """Throws the client's key away, for good. Raises OSError."""
        key_file, erased = self._files(account_id)
        self._put(erased, b"")  # first: whoever reads from now on makes no new key
        if key_file.exists():
            with key_file.open("r+b") as file:
                file.write(bytes(os.fstat(file.fileno()).st_size))
                os.fsync(file.fileno())
            key_file.unlink()
        self._sync()

    def holder(self, pseudonym: str) -> tuple[str, Client] | None:
        """Account and client behind a pseudonym; None where nobody has it (any more)."""
        return next(((name, client) for name, client in self._all() if client.pseudonym == pseudonym), None)

    def _all(self) -> Iterator[tuple[str, Client]]:
        for file in sorted(self.directory.glob("*.json")):
            row = json.loads(file.read_bytes())
            yield row["account_id"], _client(row)

    def _files(self, account_id: str) -> tuple[Path, Path]:
        name = hmac.new(self._salt, account_id.encode(), hashlib.sha256).hexdigest()
        return self.directory / f"{name}.json", self.directory / f"{name}.erased"

    def _put(self, path: Path, content: bytes) -> None:
        """Makes a file that is not there, whole or not at all. Where another process was first, its file stays."""
        if path.exists():
            return
        partial = self.directory / f".{path.name}.{secrets.token_hex(4)}"
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(partial, path)
        except FileExistsError:
            pass
        finally:
            partial.unlink()
        self._sync()

    def _sync(self) -> None:
        directory = os.open(self.directory, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _client(row: dict[str, str]) -> Client:
    return Client(row["pseudonym"], base64.b64decode(row["key"]))
