"""Keys of rows of the projection that a look is to compare now, wherever the walks are."""

from dataclasses import dataclass, fields
from typing import NamedTuple, Self


class Block(NamedTuple):
    """``BLOCK_OFFSETS`` offsets of a partition of ``risk.decisions``, of which a table has rows."""

    partition: int
    first_offset: int


@dataclass(frozen=True, slots=True)
class RowKeys:
    """Entries are compared by account, answers by block."""

    accounts: frozenset[str] = frozenset()
    orders: frozenset[str] = frozenset()
    executions: frozenset[str] = frozenset()
    entry_accounts: frozenset[str] = frozenset()
    decisions: frozenset[Block] = frozenset()
    results: frozenset[Block] = frozenset()

    def __or__(self, other: Self) -> "RowKeys":
        return RowKeys(*(getattr(self, each.name) | getattr(other, each.name) for each in fields(self)))
