"""Market alerts of a recorded day, against the referee."""

import os
from pathlib import Path

import numpy as np
import pytest
from common.contracts.alerts import AlertLimits
from ingest.offline import tick_chunks
from signals.domain.market import MarketState

from tests.signals.alert_referee import Referee, assert_same, told_by


def test_alerts_when_a_real_day_then_those_of_the_referee() -> None:
    path = Path(os.environ.get("TIDEMARK_DATA", "")) / "lobster_aapl" / "AAPL_2012-06-21_1.itch.gz"
    if not path.is_file():
        pytest.skip("TIDEMARK_DATA does not name a folder with exchange data")
    market, referee = MarketState(), Referee(AlertLimits())
    rows = []
    for ticks in tick_chunks(path):
        rows.append(market.apply(ticks, 0).alerts)
        referee.apply(ticks)
    told = told_by(np.concatenate(rows))
    assert_same(told, referee.told)
    begun = [row.kind for row in told if row.phase == "begin"]
    assert {kind: begun.count(kind) for kind in begun} == {
        "VOLUME_SURGE": 165,
        "COMBINED": 97,
        "SPREAD_WIDENING": 43,
        "PRICE_SPIKE": 33,
    }
