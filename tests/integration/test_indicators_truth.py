"""The shipped measures, of trades and of quotes, on a recorded day, against numpy and exact fractions."""

import os
from pathlib import Path

import numpy as np
import pytest
from ingest.offline import tick_chunks
from signals.offline import OfflineMarket

from tests.signals.test_indicators import MEASURES, SLIDING, WINDOWS, assert_equal_to_numpy
from tests.signals.test_quote_measures import MEASURES as OF_QUOTES
from tests.signals.test_quote_measures import Numbers, Place, numbers_of, of_window


@pytest.fixture
def path() -> Path:
    """A day of AAPL."""
    path = Path(os.environ.get("TIDEMARK_DATA", "")) / "lobster_aapl" / "AAPL_2012-06-21_1.itch.gz"
    if not path.is_file():
        pytest.skip("TIDEMARK_DATA does not name a folder with exchange data")
    return path


def test_indicators_when_a_real_day_then_equal_to_numpy(path: Path) -> None:
    market = OfflineMarket(WINDOWS, MEASURES, sliding_ns=SLIDING, record_bbo=False)
    rows = [rows for ticks in tick_chunks(path) for rows, _ in market.apply(ticks)]
    assert assert_equal_to_numpy(market, np.concatenate([*rows, market.close()])) == 8_593


def test_measures_of_quotes_when_a_real_day_then_equal_to_numpy(path: Path) -> None:
    market = OfflineMarket(WINDOWS, OF_QUOTES)
    changes = np.concatenate([c.copy() for ticks in tick_chunks(path) for _, c in market.apply(ticks)])
    market.close()
    assert market.quotes is not None
    rows = market.quotes.taken()
    assert rows is not None
    quotes, times = np.concatenate((np.zeros(1, changes.dtype), changes)), changes["clock_ns"]
    expected: dict[Place, Numbers] = {}
    for length in WINDOWS:
        for start in np.unique(times // length * length).tolist():
            begin, end = np.searchsorted(times, [start, start + length])
            # The quote that stood before the window, those of the window, and the one that ends the last.
            expected[length, start, int(changes["instrument_id"][0])] = of_window(
                quotes[max(0, begin - 1) : end + 2], start, length
            )
    # The windows that the end of the day is in end with it.
    end_ns = int(market.books.clocks_ns.max())
    told, wanted = ({p: n for p, n in of.items() if p[0] + p[1] <= end_ns} for of in (numbers_of(rows), expected))
    assert told == wanted
    assert len(changes) == 137_237
    assert 15_608 <= len(told) <= 15_610
