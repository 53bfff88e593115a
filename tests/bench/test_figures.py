"""How the benches turn measurements into the figures that are compared."""

import asyncio
import json
from pathlib import Path

import pytest

from bench.gate.risk_stage import Sample, figures
from bench.gate.timed import StepClock
from bench.latency import with_ratios
from bench.peers.programs import STREAMS


def row(processor: str, p50: float | None, p99: float | None, rate: int = 500) -> dict[str, object]:
    return {"processor": processor, "rate /s": rate, "p50": p50, "p99": p99}


def test_ratio_when_one_interval_is_best_at_the_median_and_another_in_the_tail_then_each_is_the_measure() -> None:
    rows = [row("ours", 4.0, 12.0), row(f"{STREAMS} 1 ms", 4.0, 24.0), row(f"{STREAMS} 5 ms", 8.0, 16.0)]
    ours = with_ratios(rows)[0]
    assert (ours["p50 ÷ best"], ours["p99 ÷ best"]) == (1.0, 0.75)


def test_ratio_when_the_peer_was_not_measured_at_the_rate_then_none_is_shown() -> None:
    rows = [row("ours", 4.0, 12.0, rate=2_000), row(f"{STREAMS} 1 ms", 4.0, 24.0), row("dead", None, None)]
    assert [made["p50 ÷ best"] for made in with_ratios(rows)] == ["", 1.0, ""]


def test_risk_figures_when_sampled_then_steady_from_the_half_to_the_last_but_one() -> None:
    found = figures([(0.0, 10.0, 100), (1.0, 11.0, 500), (2.0, 11.5, 900), (3.0, 12.0, 1_000)], 1_000)
    assert found["all"] == {"s": 3.0, "per_s": 300, "per_cpu_s": 450}
    assert found["steady"] == {"s": 1.0, "per_s": 400, "per_cpu_s": 800}


@pytest.mark.parametrize(
    ("taken", "per_s"),
    [([(0.0, 0.0, 100), (1.0, 1.0, 500), (3.0, 3.0, 1_000)], 250), ([(0.0, 0.0, 100), (3.0, 3.0, 1_000)], 300)],
)
def test_risk_figures_when_there_are_few_samples_then_from_what_there_is(taken: list[Sample], per_s: int) -> None:
    assert figures(taken, 1_000)["steady"]["per_s"] == per_s


async def test_step_clock_when_two_tasks_commit_at_once_then_each_has_its_own_steps(tmp_path: Path) -> None:
    clock = StepClock(tmp_path / "steps")
    both_begun = asyncio.Barrier(2)

    async def commit(steps: list[str]) -> None:
        clock.passing("commit.1.begun")
        await both_begun.wait()
        for step in steps:
            clock.passing(step)

    whole = ["commit.2.applied", "commit.3.changelog-appended", "commit.3.acknowledged", "commit.4.committed"]
    await asyncio.gather(commit([*whole, "commit.5.stored"]), commit(whole))
    (done,) = clock.take()
    assert json.loads(json.dumps(done)).keys() == {"at_s", "apply", "append", "produce", "end transaction", "store"}
