"""The rows by which a changelog partition says who may write it, when producers are shared by a process's tasks.

A transactional id that belongs to a process is not known to who takes a partition over, so the changelog names it.
Two kinds of rows, beside those of tables and positions:

``@owner``: transactional id of the last one who took the partition; empty: it was given back.
``@claim/{unique}``: transactional id of one who wants it. A claim is a row of its own, because compaction keeps only
the newest row of a key, and a later claim of the same id must not stand for an earlier one.
"""

from dataclasses import dataclass, field
from typing import Final

from streams.commit.transaction import Note
from streams.model.log import Partition
from streams.state.store import Store

OWNER_KEY: Final = b"@owner"
CLAIM_PREFIX: Final = b"@claim/"
NOBODY: Final = ""


def is_ownership(key: bytes) -> bool:
    """Whether a changelog row is about ownership and none of a table's."""
    return key == OWNER_KEY or key.startswith(CLAIM_PREFIX)


@dataclass(slots=True)
class Claims:
    """The ownership rows of a partition as far as the changelog was read."""

    owner: str = NOBODY
    claims: dict[bytes, str] = field(default_factory=dict)
    _unread: set[bytes] = field(default_factory=set)

    @classmethod
    def of(cls, store: Store) -> "Claims":
        """Those that the store has from earlier reading."""
        claims = {key: _id_in(value) for key, value in store.prefix(CLAIM_PREFIX)}
        return cls(_id_in(store.get(OWNER_KEY) or b""), claims)

    def note(self, key: bytes, value: bytes | None) -> None:
        """Takes in the next row of the changelog."""
        if key == OWNER_KEY:
            self.owner = _id_in(value or b"")
        elif key.startswith(CLAIM_PREFIX):
            if value is None:
                self.claims.pop(key, None)
            else:
                self.claims[key] = _id_in(value)
        else:
            return
        self._unread.add(key)

    def writers(self, me: str) -> list[str]:
        """Everybody else who may be able to write: the owner and all whose claims stand. They count as looked at."""
        self._unread.clear()
        return sorted({self.owner, *self.claims.values()} - {me, NOBODY})

    def writers_since(self, me: str) -> list[str]:
        """Those named by rows that came after the last look."""
        claimed = {self.claims[key] for key in self._unread if key in self.claims}
        return sorted({*self.owner_since(me), *claimed} - {me})

    def owner_since(self, me: str) -> list[str]:
        """The owner, if its row came after the last look."""
        return [self.owner] if OWNER_KEY in self._unread and self.owner not in (me, NOBODY) else []


def _id_in(value: bytes) -> str:
    """Bytes that are no text name nobody who exists: shutting them out does no harm."""
    return value.decode("utf-8", "backslashreplace")


def release(changelog: Partition) -> Note:
    """Claim that an owner writes when it gives the partition back: nobody has to shut it out then."""
    return Note(changelog, [(OWNER_KEY, NOBODY.encode())])
