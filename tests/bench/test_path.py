"""The bench of the whole path: what it reads in a profile, and a short run of it with the parts of orders apart."""

import pytest

from bench.path import SERVICES, functions, measure, parse


def test_functions_when_stacks_were_sampled_then_those_at_work_in_the_main_thread_are_counted() -> None:
    main = "<module> (orders/__main__.py:12);main (app.py:3)"
    stacks = [
        f"{main};handle (stages.py:7) 3",
        f"{main};handle (stages.py:7);get (store.py:9) 1",
        "run (thread.py:1) 99",
    ]
    assert functions(stacks) == [
        {"function": "handle (stages.py:7)", "share": "75.0%"},
        {"function": "get (store.py:9)", "share": "25.0%"},
    ]
    assert functions([]) == []


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_path_when_orders_is_apart_then_every_process_is_measured() -> None:
    [row] = await measure(parse(["--apart", "--orders", "2000", "--rounds", "1"]))
    assert row["orders"] == 2_000
    assert 0 < row["path_per_s"] <= row["decided_per_s"]
    processes = {*SERVICES, "orders-worker", "orders-projection", "kafka", "redis", "postgres"}
    assert {f"{name} µs" for name in processes} <= row.keys()
