"""The table of windows and what follows from it."""

import pytest
from common.contracts.window_documentation import chart, exports, page
from common.contracts.windows import (
    NS,
    WINDOWS,
    Window,
    WindowNameError,
    closing_time_ns,
    feeder_of,
    lengths_ns,
)
from hypothesis import given
from hypothesis import strategies as st

NAMES = st.builds(
    lambda number, unit: Window(f"{number}{unit}"), st.integers(1, 90), st.sampled_from(["ms", "s", "m", "h", "d"])
)


def test_exports_when_the_table_is_as_it_is_then_current() -> None:
    """``make schemas`` writes them."""
    for file, text in exports().items():
        assert file.read_text("utf-8") == text


@pytest.mark.parametrize(
    ("name", "length_ns", "label"),
    [
        ("500ms", 500_000_000, "500 ms"),
        ("1s", NS, "1 s"),
        ("5m", 300 * NS, "5 min"),
        ("1h", 3_600 * NS, "1 h"),
        ("1d", 86_400 * NS, "1 d"),
    ],
)
def test_window_when_named_then_its_length_and_label_follow(name: str, length_ns: int, label: str) -> None:
    assert (Window(name).length_ns, Window(name).label) == (length_ns, label)


@pytest.mark.parametrize("name", ["", "5", "0s", "5 m", "m5", "5M", "-1s", "1.5s"])
def test_window_when_its_name_is_no_length_then_refused(name: str) -> None:
    with pytest.raises(WindowNameError):
        Window(name)


@given(st.lists(NAMES, min_size=1, max_size=8), st.integers(0, 2_000_000_000 * NS))
def test_closing_time_when_any_windows_then_past_the_end_of_each_by_a_whole_window(
    windows: list[Window], last_ns: int
) -> None:
    closing_ns = closing_time_ns(last_ns, windows)
    for length in lengths_ns(windows):
        end = (last_ns // length + 1) * length
        assert closing_ns >= end + length
    assert closing_ns <= last_ns + 2 * max(lengths_ns(windows))


@given(st.integers(0, 2_000_000_000 * NS))
def test_closing_time_when_the_windows_are_a_second_and_a_minute_then_the_end_of_the_next_minute(last_ns: int) -> None:
    assert closing_time_ns(last_ns, (Window("1s"), Window("1m"))) == (last_ns // (60 * NS) + 2) * 60 * NS


@given(st.lists(st.integers(1, 5_000), min_size=1, max_size=8, unique=True))
def test_feeder_when_any_lengths_then_the_longest_shorter_one_that_divides(lengths: list[int]) -> None:
    for length in lengths:
        divisors = [shorter for shorter in lengths if shorter < length and length % shorter == 0]
        assert feeder_of(length, lengths) == (max(divisors) if divisors else None)


def test_documentation_when_a_window_is_added_then_page_and_chart_have_it_at_its_place() -> None:
    more = (*WINDOWS, Window("5m"))
    assert "| `5m` | 300,000,000,000 ns | `1m` | `3` |" in page(more).splitlines()
    assert '  { label: "5 min", ns: 300000000000 },' in chart(more).splitlines()
    assert chart(more).index('"1 min"') < chart(more).index('"5 min"')
