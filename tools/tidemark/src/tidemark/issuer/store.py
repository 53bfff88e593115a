"""Files of the issuer, in the state directory and readable to its owner only.

access/
  signing.json   keys that sign, the newest first; they are in no other file, and in no process but the issuer's
  keys.json      the same keys' public halves, for the services
  people.json    who may sign in: roles, accounts, and the hash of a password
  api_keys.json  keys of programs, hashed
  denied.json    what is revoked
  changes.jsonl  who changed any of it, and subjects.json of whom (``tidemark.issuer.changes``)
"""

import hashlib
import hmac
import json
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from common.access.api_keys import ApiKey, new_key, parse_keys
from common.contracts.rights import Role
from joserfc.jwk import KeySet, OKPKey
from pydantic import BaseModel, ConfigDict

from tidemark.errors import CommandError
from tidemark.issuer.changes import ChangeRecord, What

KEYS_KEPT: Final = 2
"""The key that signs, and the one before it, whose tokens are still good."""
OWNER: Final = "owner"
"""Whoever can read the state directory: may do everything here, and signs in by a link, without a password."""
_SCRYPT: Final[Mapping[str, int]] = {"n": 1 << 15, "r": 8, "p": 1, "maxmem": 64 << 20}
"""OWASP's least for interactive sign-in is twice the memory; an attempt takes 50 ms here and is bounded in number."""
_PRIVATE: Final = 0o600


class Person(BaseModel):
    """Somebody who may sign in. ``password``: salt and hash; empty: by a link only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    roles: list[Role]
    accounts: list[str] = []
    password: str = ""


class Holders(NamedTuple):
    """Names of people and ids of keys."""

    people: list[str]
    keys: list[str]


class Noted(NamedTuple):
    """A change as it is recorded."""

    what: What
    subject: str
    roles: Sequence[Role] = ()


def hashed(password: str) -> str:
    """Salt and scrypt (RFC 7914) of a password, in hexadecimal."""
    salt = secrets.token_bytes(16)
    return f"{salt.hex()}:{hashlib.scrypt(password.encode(), salt=salt, **_SCRYPT).hex()}"


def is_password(password: str, kept: str) -> bool:
    """Takes as long for somebody without a password, and for nobody."""
    salt, _, digest = kept.partition(":")
    computed = hashlib.scrypt(password.encode(), salt=bytes.fromhex(salt or "00" * 16), **_SCRYPT).hex()
    return hmac.compare_digest(computed, digest)


class AccessStore:
    """Reads and replaces the files; made with one key and one person where they are not there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.signing, self.public, self.denied = (directory / f"{name}.json" for name in ("signing", "keys", "denied"))
        self.api_keys, self.people = directory / "api_keys.json", directory / "people.json"
        self.record = ChangeRecord(directory)

    def prepare(self) -> None:
        """Makes what is missing."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.directory.chmod(0o700)
        if not self.signing.exists():
            self._write_keys([])
        everybody = {OWNER: Person(roles=list(Role), accounts=["*"]).model_dump(mode="json")}
        for path, content in (
            (self.denied, {"credentials": {}, "subjects": {}}),
            (self.api_keys, {"keys": {}}),
            (self.people, {"people": everybody}),
        ):
            if not path.exists():
                self._write(path, content)

    # --- keys that sign ---------------------------------------------------------------------------------------------

    def rotate(self) -> str:
        """A new key signs from now on; the last one is still believed. Returns the new one's name."""
        with self.record.held() as note:
            kept = KeySet.import_key_set(json.loads(self.signing.read_bytes())).keys
            note(What.SIGNING_ROTATED, "", ())
            return self._write_keys([key for key in kept if isinstance(key, OKPKey)])

    def _write_keys(self, older: list[OKPKey]) -> str:
        newest = OKPKey.generate_key("Ed25519", {"kid": secrets.token_hex(8), "use": "sig"}, private=True)
        keys = [newest, *older][:KEYS_KEPT]
        # Published before it signs: a token is never there before its key.
        self._write(self.public, {"keys": [key.as_dict(private=False) for key in keys]})
        self._write(self.signing, {"keys": [key.as_dict(private=True) for key in keys]})
        return str(newest.kid)

    # --- people -----------------------------------------------------------------------------------------------------

    def everybody(self) -> dict[str, Person]:
        return parse_people(self.people.read_bytes())

    def put_person(self, name: str, person: Person) -> None:
        noted = Noted(What.PERSON_PUT, name, person.roles)
        row = person.model_dump(mode="json")
        self._change(self.people, lambda found: found["people"].__setitem__(name, row), noted)

    def remove_person(self, name: str) -> None:
        """Also what was issued to him is void. Raises CommandError."""

        def remove(found: Any) -> None:
            if found["people"].pop(name, None) is None:
                raise CommandError(f"there is nobody called {name}")

        self._change(self.people, remove, Noted(What.PERSON_REMOVED, name))
        self.deny_subject(name)

    def holders(self, account_id: str) -> "Holders":
        """Whoever names the account itself: people, and keys of programs by their ids. Beginnings name nobody's."""
        people = [name for name, each in self.everybody().items() if account_id in each.accounts]
        keys = [name for name, each in self.all_api_keys().items() if account_id in each.accounts]
        return Holders(sorted(people), sorted(keys))

    def forget(self, account_id: str) -> None:
        """Nobody holds the account any more. Who held no other one is gone; what was issued to any of them is void."""
        held = self.holders(account_id)
        everybody, keys = self.everybody(), self.all_api_keys()
        for name in held.people:
            rest = [each for each in everybody[name].accounts if each != account_id]
            if rest:
                self.put_person(name, everybody[name].model_copy(update={"accounts": rest}))
                self.deny_subject(name)
            else:
                self.remove_person(name)
                self.record.forget(name)
        for name in held.keys:
            self.remove_api_key(name)
            self.deny_subject(keys[name].subject)
            if not any(each.subject == keys[name].subject for each in self.all_api_keys().values()):
                self.record.forget(keys[name].subject)

    # --- keys of programs -------------------------------------------------------------------------------------------

    def all_api_keys(self) -> Mapping[str, ApiKey]:
        return parse_keys(self.api_keys.read_bytes())

    def make_api_key(self, subject: str, roles: list[Role], accounts: list[str], life_s: float) -> tuple[str, str]:
        """Id and text of a new key; the text is kept nowhere."""
        name, digest, text = new_key()
        now_s = time.time()
        key = ApiKey(
            subject=subject,
            roles=roles,
            accounts=accounts,
            sha256=digest,
            created_s=now_s,
            expires_s=now_s + life_s,
        )
        row = key.model_dump(mode="json")
        noted = Noted(What.KEY_MADE, subject, roles)
        self._change(self.api_keys, lambda found: found["keys"].__setitem__(name, row), noted)
        return name, text

    def remove_api_key(self, name: str) -> None:
        """Raises CommandError."""
        key = self.all_api_keys().get(name)
        if key is None:
            raise CommandError(f"there is no key {name}")
        noted = Noted(What.KEY_REMOVED, key.subject)
        self._change(self.api_keys, lambda found: found["keys"].pop(name, None), noted)

    # --- what is revoked --------------------------------------------------------------------------------------------

    def deny_subject(self, subject: str) -> None:
        """Everything that was issued to it until now is void."""
        noted = Noted(What.SUBJECT_REVOKED, subject)
        self._change(self.denied, lambda found: found["subjects"].__setitem__(subject, time.time()), noted)

    def deny_token(self, token_id: str, ends_s: float) -> None:
        """Entries of tokens that have ended by themselves go."""

        def deny(found: Any) -> None:
            now_s = time.time()
            found["credentials"] = {name: end_s for name, end_s in found["credentials"].items() if end_s > now_s}
            found["credentials"][token_id] = ends_s

        self._change(self.denied, deny)

    # --- files ------------------------------------------------------------------------------------------------------

    def _change(self, path: Path, change: Callable[[Any], object], noted: Noted | None = None) -> None:
        """No change that is to be noted is made without its note; one that raises is neither."""
        with self.record.held() as note:
            found = json.loads(path.read_bytes())
            change(found)
            if noted is not None:
                note(noted.what, noted.subject, noted.roles)
            self._write(path, found)

    @staticmethod
    def _write(path: Path, content: Any) -> None:
        """In one step, and never readable to others."""
        partial = path.with_suffix(".part")
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE), "w") as file:
            json.dump(content, file, indent=1)
        partial.replace(path)


def parse_people(content: bytes) -> dict[str, Person]:
    """Raises ValueError."""
    return {str(name): Person.model_validate(each) for name, each in json.loads(content)["people"].items()}
