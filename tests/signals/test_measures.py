"""A measure is its tally, add, merge and result: the engine's numbers are those of adding the trades up in Python."""

import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from common.contracts.market import BAR
from common.contracts.ticks import Ticks
from common.measures import Measure, MeasureError
from common.testing.market_flow import flows, price
from hypothesis import given, settings
from hypothesis import strategies as st
from signals.domain import bar_kernel
from signals.domain.bar_kernel import bar_kernels
from signals.domain.layout import TRADE, Array
from signals.domain.market import MarketState
from signals.domain.measure_set import measure_set
from signals.domain.ohlcv import OHLCV
from signals.offline import OfflineMarket

S = 1_000_000_000
WINDOWS = (S, 7 * S, 60 * S, 300 * S)
EXAMPLES = Path(__file__).parents[2] / "examples" / "src" / "tidemark_examples" / "measures.py"


def example() -> ModuleType:
    """The example's module, installed or not."""
    spec = importlib.util.spec_from_file_location("example_measures", EXAMPLES)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # compiled code that is loaded imports the modules that it was made from
    spec.loader.exec_module(module)
    return module


TICKS: Measure = example().TICKS
Place = tuple[int, int, int]
"""(window length, window start, instrument)."""


def in_python(measure: Measure, trades: Array) -> tuple[int, ...]:
    """The measure's own functions over the trades in the order of event time, then of arrival."""
    if not len(trades):
        return (0,) * len(measure.results)
    tally = np.zeros(1, measure.dtype).view(np.recarray)[0]
    for trade in trades[np.argsort(trades["event_ns"], kind="stable")].view(np.recarray):
        measure.add(tally, trade)
    result = measure.result(tally)
    return tuple(int(number) for number in (result if isinstance(result, tuple) else (result,)))


def final_numbers(rows: Array, names: tuple[str, ...]) -> dict[Place, tuple[int, ...]]:
    """The last revision of each bar."""
    keys = zip(*(rows[name].tolist() for name in ("window_ns", "window_start_ns", "instrument_id")), strict=True)
    return dict(zip(keys, zip(*(rows[name].tolist() for name in names), strict=True), strict=True))


def standing(market: OfflineMarket, place: Place) -> Array:
    """The trades of a window that are not broken, from the log, in the order of arrival."""
    window_ns, start, instrument = place
    log = market.bars.parts[0].state.log[: market.bars.parts[0].state.counters[1]]
    inside = (log["event_ns"] >= start) & (log["event_ns"] < start + window_ns) & (log["instrument_id"] == instrument)
    found: Array = log[inside & (log["broken_ns"] == 0)]
    return found


def issued(market: OfflineMarket, ticks: Ticks, cuts: list[int]) -> Iterator[Array]:
    """Every row that is issued of the ticks, cut into parts, and of what is open at their end."""
    edges = [0, *sorted(cut % (len(ticks) + 1) for cut in cuts), len(ticks)]
    for begin, end in pairwise(edges):
        yield from (rows for rows, _ in market.apply(ticks[begin:end]))
    yield market.close()


@settings(deadline=None, max_examples=60)
@given(flows(disorder=True, size=200), st.lists(st.integers(0, 10_000), max_size=4))
def test_measure_when_trades_come_late_or_are_broken_then_its_last_numbers_are_those_of_plain_python(
    ticks: Ticks, cuts: list[int]
) -> None:
    market = OfflineMarket(WINDOWS, [TICKS], record_bbo=False)
    rows = np.concatenate(list(issued(market, ticks, cuts)))
    for measure in (OHLCV, TICKS):
        for place, numbers in final_numbers(rows, measure.results).items():
            assert numbers == in_python(measure, standing(market, place)), (measure.name, place)


@settings(deadline=None, max_examples=40)
@given(flows(disorder=True, size=200), st.integers(0, 10_000))
def test_open_window_when_shown_then_its_numbers_are_those_of_plain_python(ticks: Ticks, cut: int) -> None:
    market = OfflineMarket(WINDOWS, [TICKS], record_bbo=False)
    for _ in market.apply(ticks[: cut % (len(ticks) + 1)]):
        pass
    rows = market.bars.parts[0].open_bars(np.arange(min(3, len(market.books.listings))))
    starts = market.bars.parts[0].state.starts[market.bars.parts[0].places(rows)]
    assert rows["window_start_ns"].tolist() == starts.tolist()
    for measure in (OHLCV, TICKS):
        for place, numbers in final_numbers(rows, measure.results).items():
            assert numbers == in_python(measure, standing(market, place)), (measure.name, place)


@settings(deadline=None, max_examples=40)
@given(flows(disorder=True, size=200), st.lists(st.integers(0, 10_000), max_size=4))
def test_bars_when_another_measure_is_computed_too_then_they_are_the_same_bytes(ticks: Ticks, cuts: list[int]) -> None:
    alone, beside = MarketState(WINDOWS), MarketState(WINDOWS, measures=[TICKS])
    for begin, end in pairwise([0, *sorted(cut % (len(ticks) + 1) for cut in cuts), len(ticks)]):
        expected, effects = alone.apply(ticks[begin:end], 0), beside.apply(ticks[begin:end], 0)
        assert effects.bars.dtype == BAR
        assert effects.bars.tobytes() == expected.bars.tobytes()
        assert len(expected.measured) == 0
        keys = ("symbol", "window_start_ns", "window_ns", "instrument_id", "revision")
        assert effects.measured["measure"].tolist() == [b"upticks", b"downticks"] * len(effects.bars)
        assert effects.measured[list(keys)].tolist() == np.repeat(effects.bars[list(keys)], 2).tolist()


def test_example_when_prices_rise_and_fall_then_counted_across_the_merge() -> None:
    trades = np.zeros(5, TRADE)
    trades["price_e4"] = [price(step) for step in (1, 2, 2, 1, 3)]
    assert in_python(TICKS, trades) == (2, 1)
    first, second = (np.zeros(1, TICKS.dtype).view(np.recarray)[0] for _ in range(2))
    for tally, part in ((first, trades[:3]), (second, trades[3:])):
        for trade in part.view(np.recarray):
            TICKS.add(tally, trade)
    TICKS.merge(first, second)
    assert TICKS.result(first) == (2, 1)


def test_kernels_when_made_again_then_found_compiled() -> None:
    measures = measure_set([TICKS])
    market = OfflineMarket((S,), [TICKS], record_bbo=False)
    market.bars.admit(1)
    market.bars.parts[0].open_bars(np.zeros(1, np.int64))
    bar_kernel._kernels.cache_clear()
    again = bar_kernels(measures)
    again.show(np.zeros(1, np.int64), market.bars.parts[0].state, np.zeros(1, measures.row))
    assert sum(again.show.stats.cache_hits.values()) == 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "two words"}, "no name"),
        ({"results": ("x" * 33,)}, "no name"),
        ({"results": ()}, "no results"),
        ({"tally": {}}, "no tally"),
        ({"tally": {"text": "S8"}}, "holds numbers only"),
    ],
)
def test_measure_when_its_declaration_cannot_work_then_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(MeasureError, match=says):
        replace(TICKS, **changes)


@pytest.mark.parametrize(
    "second",
    [replace(TICKS), replace(TICKS, name="other"), replace(TICKS, name="other", results=("volume", "x"))],
    ids=["name", "results", "column"],
)
def test_measures_when_two_have_a_name_in_common_then_refused(second: Measure) -> None:
    with pytest.raises(MeasureError, match="two measures"):
        measure_set([TICKS, second])


def test_measure_when_a_result_is_named_like_what_every_bar_has_then_refused() -> None:
    with pytest.raises(MeasureError, match="'symbol' is a bar's own"):
        measure_set([replace(TICKS, results=("symbol", "x"))])
