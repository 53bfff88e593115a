"""How the benches turn measurements into the figures that are compared."""

import asyncio
import json
from pathlib import Path

from bench.gate.risk_stage import figures
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


def test_risk_figures_when_sampled_then_counted_from_the_first_sample_and_steady_from_the_half() -> None:
    found = figures([(0.0, 10.0, 100), (1.0, 11.0, 500), (3.0, 12.0, 1_000)], 1_000)
    assert found["all"] == {"s": 3.0, "per_s": 300, "per_cpu_s": 450}
    assert found["steady"] == {"s": 2.0, "per_s": 250, "per_cpu_s": 500}


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
