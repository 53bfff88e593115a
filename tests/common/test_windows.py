"""The table of windows and what follows from it."""

import pytest
from common.contracts.window_documentation import chart, exports, page
from common.contracts.windows import (
    NS,
    WINDOWS,
    Trigger,
    Window,
    WindowNameError,
    closing_time_ns,
    feeder_of,
    gaps_ns,
    lengths_ns,
    slides_ns,
    trigger_name,
    triggers_of,
)
from hypothesis import given
from hypothesis import strategies as st


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


def test_session_when_named_by_its_gap_then_it_has_no_length_to_be_merged_and_no_row_of_the_chart() -> None:
    windows = (Window("1s"), Window("gap:30s"), Window("gap:5m"))
    assert (lengths_ns(windows), slides_ns(windows), gaps_ns(windows)) == ((NS,), (), (30 * NS, 300 * NS))
    assert "30" not in chart(windows)
    assert "| `gap:30s` | 30,000,000,000 ns |" in page()


TRIGGERED = ("on:", "on:noon", "on:close+open", "on:open+open", "on:5m")
"""Names of no triggered window: without a trigger, of an unknown one, out of order, twice, with a length."""


def test_triggered_window_when_named_by_what_ends_it_then_it_has_no_length_and_no_row_of_the_chart() -> None:
    windows = (Window("1s"), Window("on:open+close"), Window("on:halt+resume"))
    assert (lengths_ns(windows), gaps_ns(windows)) == ((NS,), ())
    assert triggers_of(windows) == (Trigger.OPEN | Trigger.CLOSE, Trigger.HALT | Trigger.RESUME)
    assert [Window(trigger_name(triggers)) for triggers in triggers_of(windows)] == list(windows[1:])
    assert chart(windows).count("label") == 1
    assert "| `on:open+close` | open, close |" in page()


@pytest.mark.parametrize(
    "name", ["", "5", "0s", "5 m", "m5", "5M", "-1s", "1.5s", "gap:", "gap:0s", "gap:1m/30s", *TRIGGERED]
)
def test_window_when_its_name_is_no_length_then_refused(name: str) -> None:
    with pytest.raises(WindowNameError):
        Window(name)


@given(st.integers(0, 2_000_000_000 * NS))
def test_closing_time_when_any_last_event_then_past_its_second_by_a_whole_one_and_no_more(last_ns: int) -> None:
    closing_ns = closing_time_ns(last_ns)
    assert closing_ns % NS == 0
    assert NS < closing_ns - last_ns <= 2 * NS


def test_table_when_default_then_each_window_but_the_first_is_merged_from_the_one_before() -> None:
    assert [window.name for window in WINDOWS] == ["1s", "1m", "5m", "1h", "1d"]
    lengths = lengths_ns()
    assert [feeder_of(length, lengths) for length in lengths] == [None, *lengths[:-1]]


@given(st.lists(st.integers(1, 5_000), min_size=1, max_size=8, unique=True))
def test_feeder_when_any_lengths_then_the_longest_shorter_one_that_divides(lengths: list[int]) -> None:
    for length in lengths:
        divisors = [shorter for shorter in lengths if shorter < length and length % shorter == 0]
        assert feeder_of(length, lengths) == (max(divisors) if divisors else None)


def test_documentation_when_a_window_is_added_then_page_and_chart_have_it_at_its_place() -> None:
    more = (*WINDOWS, Window("10m"))
    assert "| `10m` | 600,000,000,000 ns | `5m` | `4` |" in page(more).splitlines()
    assert '  { label: "10 min", ns: 600000000000 },' in chart(more).splitlines()
    assert chart(more).index('"5 min"') < chart(more).index('"10 min"') < chart(more).index('"1 h"')
