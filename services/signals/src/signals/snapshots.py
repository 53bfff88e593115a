"""A partition's market as files: one ``.npy`` per array, raw and exact."""

from pathlib import Path

import numpy as np

from signals.domain.market import MarketState


def save_market(market: MarketState, directory: Path) -> None:
    """Writes into an empty directory. Raises OSError where the disk refuses."""
    for name, array in market.arrays().items():
        np.save(directory / f"{name}.npy", array, allow_pickle=False)


def load_market(directory: Path) -> MarketState:
    """Reads what ``save_market`` wrote. Raises ValueError where a file is damaged, KeyError where one is missing."""
    market = MarketState()
    market.restore({path.stem: np.load(path, allow_pickle=False) for path in sorted(directory.glob("*.npy"))})
    return market
