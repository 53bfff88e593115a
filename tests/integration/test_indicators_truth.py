"""The shipped measures on a recorded day, against numpy and exact fractions."""

import os
from pathlib import Path

import numpy as np
import pytest
from ingest.offline import tick_chunks
from signals.offline import OfflineMarket

from tests.signals.test_indicators import MEASURES, SLIDING, WINDOWS, assert_equal_to_numpy


def test_indicators_when_a_real_day_then_equal_to_numpy() -> None:
    path = Path(os.environ.get("TIDEMARK_DATA", "")) / "lobster_aapl" / "AAPL_2012-06-21_1.itch.gz"
    if not path.is_file():
        pytest.skip("TIDEMARK_DATA does not name a folder with exchange data")
    market = OfflineMarket(WINDOWS, MEASURES, sliding_ns=SLIDING, record_bbo=False)
    rows = [rows for ticks in tick_chunks(path) for rows, _ in market.apply(ticks)]
    assert assert_equal_to_numpy(market, np.concatenate([*rows, market.close()])) == 8_593
