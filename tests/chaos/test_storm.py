"""Forty seconds of real faults against the whole fleet, as ``tidemark chaos --brokers 1`` strikes them."""

from pathlib import Path

import pytest
from tidemark.chaos.storm import Storm, StormOptions
from tidemark.state import StateDir

pytestmark = pytest.mark.timeout(420)
SEED = 1


@pytest.mark.parametrize("secure", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["open", "secure"])
async def test_storm_when_it_blows_then_nothing_is_lost_doubled_or_made(tmp_path: Path, secure: bool) -> None:
    outcome = await Storm(StateDir(tmp_path), StormOptions(SEED, seconds=40, brokers=1, secure=secure), print).run()
    found = outcome.as_dict()
    assert found["faults"] >= 2
    assert found["kills"] >= 1
    assert found["intents"] > 1_000
    assert found["fills"] > 0
    assert (outcome.lost, outcome.broken, outcome.troubles, outcome.wrong_accepted) == ([], [], [], [])
    assert [comparison for comparison in outcome.audit.comparisons if not comparison.is_sound] == []
    assert (found["lost"], found["duplicates"], found["money_created_e4"], found["sequence_gaps"]) == (0, 0, 0, 0)
    assert all(row["recovery_max_s"] is not None for row in found["recovery"])
