"""The overload bench: when it calls a fleet normal again, and a short run of all of it."""

import pytest

from bench.overload.__main__ import SERVICES, measure, parse
from bench.overload.gauges import normal_after_s

SECOND = [(0.1, 10.0), (0.5, 30.0), (0.9, 20.0)]


def shifted(seconds: float, latency: float | None = None) -> list[tuple[float, float | None]]:
    return [(100.0 + seconds + at, found if latency is None else latency) for at, found in SECOND]


def test_normal_again_when_three_seconds_in_a_row_are_then_from_the_first_of_them() -> None:
    slow_then_normal = [*shifted(0, 500.0), *shifted(1), *shifted(2), *shifted(3), *shifted(4)]
    assert normal_after_s(slow_then_normal, 100.0, limit_ms=25.0) == 1.0
    assert normal_after_s(slow_then_normal, 100.0, limit_ms=15.0) is None


def test_normal_again_when_one_order_has_no_verdict_then_that_second_is_not() -> None:
    seen = [*shifted(0), *shifted(1), *shifted(2), *shifted(3), *shifted(4), *shifted(5), *shifted(6)]
    assert normal_after_s(seen, 100.0, limit_ms=25.0) == 0.0
    assert normal_after_s([*seen, (102.3, None)], 100.0, limit_ms=25.0) == 3.0
    assert normal_after_s(seen[:6] + seen[9:], 100.0, limit_ms=25.0) == 3.0, "a second without an order says nothing"


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_overload_when_it_is_short_then_nothing_is_lost_and_it_is_normal_again() -> None:
    rows, report = await measure(parse(["--short"]))
    assert {row["process"] for row in rows} >= set(SERVICES)
    assert all(row["begin MiB"] > 0 for row in rows)
    assert report["topic"]["sent"] > 0
    assert report["topic"]["backlog_max"] > 0
    assert report["intents"] > report["topic"]["sent"]
    assert report["accepted"] + report["denied"] == report["intents"]
    assert report["normal_after_s"] is not None
    assert (report["not_answered_exactly_once"], report["ledger_sum_e4"], report["violations"]) == (0, 0, 0)
    assert report["deaths"] == {}
