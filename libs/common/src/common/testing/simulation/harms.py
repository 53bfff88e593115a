"""Harms to a worker's store of one partition: blocks that cannot be read, rows that are none, full disks.

The store is to be made anew or the partition given to another worker, no partition beside it may notice, and none is
refused.
"""

import random
from collections.abc import Sequence
from typing import Final

from streams.state.store import CHANGELOG_KEY, position_key
from streams.state.store_errors import StoreFault
from streams.testing.memory_store import MemoryStore

from common.testing.simulation.work import INPUTS

HARMS: Final = (
    "damage row",
    "damage row",
    "damage position",
    "spoil position",
    "spoil row",
    "disk full",
    "disk denied",
)
_OWN: Final = (CHANGELOG_KEY, position_key(INPUTS[0].name))
_NO_ROW: Final = b"\xff"


def strike(store: MemoryStore, kind: str, rng: random.Random) -> None:
    """``kind``: one of HARMS."""
    rows = sorted(store.rows())
    match kind:
        case "damage row" if rows:
            store.damaged.add(rng.choice(rows))
        case "damage position":
            store.damaged.add(rng.choice(_OWN))
        case "spoil position":
            store.spoil(rng.choice(_OWN), _NO_ROW)
        case "spoil row" if tables := [key for key in rows if not key.startswith(b"@")]:
            store.spoil(rng.choice(tables), _NO_ROW)
        case "disk full":
            store.refuses = StoreFault.FULL
        case "disk denied":
            store.refuses = StoreFault.DENIED


def heal(sick: Sequence[MemoryStore], workers: int) -> None:
    """Heals the stores of one partition that refuse; one goes on refusing if there is a worker whose store does not."""
    for store in sick if len(sick) == workers else sick[1:]:
        store.refuses = None
