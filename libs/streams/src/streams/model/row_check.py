"""Whether bytes are a row of a table: what restored and migrated rows are held to."""

from collections.abc import Callable, Sequence
from typing import Any

from streams.model.tables import Changelogged, Verify


class RowCheck:
    """Says why a row is none to its table: it cannot be decoded, or breaks what the stage holds restored rows to."""

    def __init__(self, tables: Sequence[Changelogged], verify: Verify, *, every: bool) -> None:
        self._tables: dict[bytes, tuple[Callable[[bytes], Any], Callable[[bytes, Any], None] | None]] = {
            table.name.encode(): (table.codec.decode, verify.get(table.name))
            for table in tables
            if every or table.name in verify
        }

    def __call__(self, key: bytes, value: bytes) -> str:
        """Key and value of the changelog. Empty: there is nothing to say against it."""
        name, _, row = key.partition(b"/")
        if (found := self._tables.get(name)) is None:
            return ""
        decode, verify = found
        try:
            decoded = decode(value)
        except Exception as error:  # a codec may raise anything
            return f"the row {key!r} cannot be decoded: {error!r}"
        try:
            if verify:
                verify(row, decoded)
        except Exception as error:  # so may a check
            return f"the restored row {key!r} breaks an invariant: {error}"
        return ""
