"""A partition's market as files: one ``.npy`` per array, raw and exact."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from streams.model.tables import SnapshotLayout

from signals.domain.market import MarketState
from signals.domain.snapshot_layouts import migrated


def save_market(market: MarketState, directory: Path) -> None:
    """Writes into an empty directory. Raises OSError where the disk refuses."""
    for name, array in market.arrays().items():
        np.save(directory / f"{name}.npy", array, allow_pickle=False)


def load_market(
    directory: Path, layout: SnapshotLayout, create: Callable[[], MarketState] = MarketState
) -> MarketState:
    """Reads what ``save_market`` wrote, or one of the layouts before it, into the market that ``create`` makes.

    Raises ValueError where a file is damaged, KeyError where one is missing.
    """
    arrays = {path.stem: np.load(path, allow_pickle=False) for path in sorted(directory.glob("*.npy"))}
    market = create()
    market.restore(*migrated(arrays, layout.declared, layout.version))
    return market
