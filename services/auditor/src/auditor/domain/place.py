"""Places in the log."""

from collections.abc import Mapping
from dataclasses import dataclass

Positions = Mapping[tuple[str, int], int]
"""(topic, partition) → offset."""


@dataclass(frozen=True, slots=True)
class Place:
    """Place of a key's newest record; ``chain_seq`` is its number in the ledger's chain, 0 elsewhere."""

    partition: int
    offset: int
    chain_seq: int = 0
