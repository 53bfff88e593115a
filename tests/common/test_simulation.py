"""The simulated world: the runtime keeps every promise in it, and every fault put into the runtime is found."""

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from common.testing import simulation
from common.testing.simulation import clock
from common.testing.simulation.__main__ import quiet
from common.testing.simulation.faults import FAULTS, MODES_OF
from common.testing.simulation.history import MODES, plan, shortest, simulate

SEEDS = {
    "task": 1_000,
    "process": 1_000,
    "mixed": 500,
    "race": 200,
    "laggard": 100,
    "standby": 500,
    "operator": 300,
    "disk": 200,
    "strangers": 200,
    "beginning": 100,
}
CHUNKS = 10
FAULT_SEEDS = 500
README = Path(simulation.__file__).parent / "README.md"


def failing(seeds: Sequence[int], mode: str) -> list[int]:
    """Those of the seeds that break a promise; in a process of its own."""
    quiet()
    return [seed for seed in seeds if simulate(seed, mode).wrong]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", MODES)
def test_runtime_when_the_world_is_against_it_then_every_promise_is_kept(mode: str) -> None:
    chunks = [range(first, SEEDS[mode], CHUNKS) for first in range(CHUNKS)]
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        found = [seed for wrong in pool.map(failing, chunks, [mode] * CHUNKS) for seed in wrong]
    assert not found, f"python -m common.testing.simulation --producers {mode} --seed {found[0]}"


def is_found(fault: str, mode: str) -> bool:
    """Whether a history breaks a promise with the fault put in; in a process of its own."""
    quiet()
    row = re.search(rf"^\| `{fault}` \|.*\| {mode} \| (\d+) \|", README.read_text(), re.MULTILINE)
    first = [int(row[1]) - 1] if row else []
    with FAULTS[fault]():
        return any(simulate(seed, mode).wrong for seed in (*first, *range(FAULT_SEEDS)))


@pytest.fixture(scope="module")
def hunts(request: pytest.FixtureRequest) -> Iterator[Mapping[tuple[str, str], Future[bool]]]:
    """The hunts for all faults of this run, on every core."""
    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    params = [item.callspec.params for item in items if "hunts" in item.fixturenames]
    asked = [(str(one["fault"]), str(one["mode"])) for one in params]
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        yield {(fault, mode): pool.submit(is_found, fault, mode) for fault, mode in asked}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize(("fault", "mode"), [(fault, mode) for fault in FAULTS for mode in MODES_OF[fault]])
def test_fault_when_put_into_the_runtime_then_it_is_found(
    hunts: Mapping[tuple[str, str], Future[bool]], fault: str, mode: str
) -> None:
    assert hunts[fault, mode].result()


def test_seed_when_simulated_twice_then_the_history_is_the_same() -> None:
    first, second = simulate(7), simulate(7)
    assert (first.handled, first.wrong) == (second.handled, second.wrong)


def test_stuck_world_when_a_task_cannot_be_cancelled_then_it_ends_before_the_loop() -> None:
    said: list[str] = []

    async def stubborn() -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_future()
        finally:
            try:
                await loop.create_future()
            finally:
                said.append("loop closed" if loop.is_closed() else "loop open")

    with pytest.raises(clock.Stuck):
        clock.run(stubborn())
    assert said == ["loop open"]


def test_failing_history_when_shortened_then_it_still_fails_with_no_more_events() -> None:
    with FAULTS["outputs-outside-the-transaction"]():
        seed = next(seed for seed in range(FAULT_SEEDS) if simulate(seed).wrong)
        shortened = shortest(seed)
        assert shortened.wrong
        assert len(shortened.plan.events) <= len(plan(seed).events)


def test_readme_when_a_fault_is_added_then_its_row_is_in_the_table() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \|.*?\| ([a-z]+) \| \d+ \|", README.read_text(), re.MULTILINE)
    assert rows == [(fault, mode) for fault in FAULTS for mode in MODES_OF[fault]], (
        "make the table again: python -m common.testing.simulation --table --seeds 500"
    )
