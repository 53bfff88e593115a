"""Batches that keep a process busy for about as long as wanted, whatever a message costs."""

from hypothesis import given
from hypothesis import strategies as st
from streams.stage.batch_size import LEAST, BatchSize

TARGET_S = 0.05


@given(most=st.integers(1, 20_000), costs_us=st.lists(st.floats(0.1, 100_000), min_size=1, max_size=40))
def test_size_when_costs_change_then_it_stays_within_its_bounds(most: int, costs_us: list[float]) -> None:
    size = BatchSize(most, TARGET_S)
    for cost_us in costs_us:
        size.note(size.current, size.current * cost_us / 1e6)
        assert min(LEAST, most) <= size.current <= most


@given(most=st.integers(1, 20_000), cost_us=st.floats(0.1, 100_000))
def test_size_when_a_cost_stays_then_batches_are_as_large_as_the_time_allows(most: int, cost_us: float) -> None:
    size = BatchSize(most, TARGET_S)
    for _ in range(40):
        last = size.current
        size.note(last, last * cost_us / 1e6)
    fitting = TARGET_S / (cost_us / 1e6)
    if fitting <= min(LEAST, most):
        assert last == min(LEAST, most)
    elif fitting >= most:
        assert last == most
    else:
        assert fitting / 2 <= last <= 2 * fitting


def test_size_when_batches_are_not_full_then_it_does_not_grow() -> None:
    size = BatchSize(10_000, TARGET_S)
    size.note(10_000, 1.0)
    assert size.current == 500
    size.note(3, 0.000_01)
    assert size.current == 500
    size.note(500, 0.02)
    assert size.current == 1_000
