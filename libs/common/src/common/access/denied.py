"""The deny list: what is revoked before its time."""

import json
from dataclasses import dataclass, field
from typing import Self

from common.access.identity import Identity


@dataclass(frozen=True, slots=True)
class Denied:
    """Credentials by their id, and subjects: all that was issued to them until then. Seconds since the Unix epoch."""

    credentials: frozenset[str] = frozenset()
    subjects_until_s: dict[str, float] = field(default_factory=dict)

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """JSON: ``{"credentials": {id: ends_s, …}, "subjects": {subject: until_s, …}}``. Raises ValueError.

        ``ends_s``: when the credential ends by itself, and its entry may go.
        """
        found = json.loads(content)
        subjects = {str(name): float(until_s) for name, until_s in found.get("subjects", {}).items()}
        return cls(frozenset(found.get("credentials", {})), subjects)

    def concerns(self, identity: Identity) -> bool:
        """Whether the identity is revoked."""
        until_s = self.subjects_until_s.get(identity.subject)
        return identity.credential in self.credentials or (until_s is not None and identity.issued_s <= until_s)
