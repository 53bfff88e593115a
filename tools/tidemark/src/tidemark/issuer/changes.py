"""Record of who may sign in: each change of people, keys and revocations, by whom and when.

access/
  changes.jsonl   only appended to, and chained by hash as the ledger is: a line that was altered, dropped or moved is
                  found, and an end that was cut off by whoever has kept a later line's hash
  subjects.json   pseudonym of each person and program in it; without one a line names nobody any more (ADR 0087)
"""

import fcntl
import getpass
import json
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from common.contracts.rights import Role
from common.ledger.chain import Head, chained, genesis
from pydantic import BaseModel, ConfigDict

CHAIN: Final = "access.changes"
FORGOTTEN: Final = "forgotten"
PSEUDONYM_BYTES: Final = 8
_PRIVATE: Final = 0o600


class What(StrEnum):
    """Kinds of changes."""

    PERSON_PUT = "person put"
    PERSON_REMOVED = "person removed"
    KEY_MADE = "key made"
    KEY_REMOVED = "key removed"
    SUBJECT_REVOKED = "subject revoked"
    SIGNING_ROTATED = "signing key rotated"


class Change(BaseModel):
    """One change. ``subject``: a pseudonym on file, a name as it is read. ``at_s``: since the Unix epoch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at_s: float
    by: str
    what: What
    subject: str = ""
    roles: list[Role] = []


class _Line(BaseModel):
    """``change``: the very text that was hashed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    change: str
    chain: str


@dataclass(frozen=True, slots=True)
class Changes:
    """All changes, oldest first; where the chain ends; the first line that does not fit, 0 where all do."""

    changes: Sequence[Change]
    head: Head
    broken_line: int = 0


Note = Callable[[What, str, Sequence[Role]], None]
"""Records a change of a subject, with the roles that it then has. Raises OSError."""


class ChangeRecord:
    """Its two files, in the directory of the store."""

    def __init__(self, directory: Path) -> None:
        self.lines, self.subjects = directory / "changes.jsonl", directory / "subjects.json"

    @contextmanager
    def held(self) -> Iterator[Note]:
        """Nobody else changes anything meanwhile: what is read is what will be replaced."""
        file = os.open(self.lines, os.O_RDWR | os.O_CREAT | os.O_APPEND, _PRIVATE)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)

            def note(what: What, subject: str, roles: Sequence[Role]) -> None:
                by = f"{getpass.getuser()}@{socket.gethostname()}"
                known = self._pseudonym(subject) if subject else ""
                change = Change(at_s=time.time(), by=by, what=what, subject=known, roles=list(roles))
                self._append(file, change.model_dump_json())

            yield note
        finally:
            os.close(file)

    def read(self) -> Changes:
        """Follows the chain, and names the subjects that are known. Raises OSError."""
        names = {pseudonym: name for name, pseudonym in self._known().items()}
        found: list[Change] = []
        head = genesis(0, CHAIN)
        for number, text in enumerate(_whole(self.lines.read_bytes() if self.lines.exists() else b""), 1):
            try:
                line = _Line.model_validate_json(text)
                change = Change.model_validate_json(line.change)
            except ValueError:
                return Changes(found, head, number)
            if line.chain != chained(head.chain, line.change.encode()):
                return Changes(found, head, number)
            head = Head(number, line.chain)
            name = names.get(change.subject, FORGOTTEN) if change.subject else ""
            found.append(change.model_copy(update={"subject": name}))
        return Changes(found, head)

    def forget(self, subject: str) -> None:
        """Nothing that is recorded of the subject names it from now on. Raises OSError."""
        with self.held():
            known = self._known()
            if known.pop(subject, None) is not None:
                self._keep(known)

    def _append(self, file: int, text: str) -> None:
        content = self.lines.read_bytes()
        lines = _whole(content)
        os.truncate(file, sum(len(each) + 1 for each in lines))  # half a line was of a change that was never made
        last = _Line.model_validate_json(lines[-1]).chain if lines else genesis(0, CHAIN).chain
        line = _Line(change=text, chain=chained(last, text.encode()))
        os.write(file, line.model_dump_json().encode() + b"\n")
        os.fsync(file)

    def _pseudonym(self, subject: str) -> str:
        known = self._known()
        if subject not in known:
            known[subject] = secrets.token_hex(PSEUDONYM_BYTES)
            self._keep(known)
        return known[subject]

    def _known(self) -> dict[str, str]:
        return dict(json.loads(self.subjects.read_bytes())) if self.subjects.exists() else {}

    def _keep(self, known: dict[str, str]) -> None:
        partial = self.subjects.with_suffix(".part")
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE), "w") as file:
            json.dump(known, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.subjects)


def _whole(content: bytes) -> list[bytes]:
    """Lines that were written to their end."""
    return content.split(b"\n")[:-1]
