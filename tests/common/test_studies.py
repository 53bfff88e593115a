"""Indicators over bars: as published series have them, and fed bar by bar as numpy has them over the whole series."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from common.contracts.values import E4
from common.studies import Bar, NamedStudy, StudyError, parse_studies
from hypothesis import given
from hypothesis import strategies as st

PUBLISHED = {
    "sma": ("sma:20", ["sma"], 483),
    "ema": ("ema:20", ["ema"], 483),
    "rsi": ("rsi:14", ["rsi"], 488),
    "macd": ("macd:12:26:9", ["macd", "signal", "histogram"], 477 + 469 + 469),
    "stdev": ("stdev:14", ["stdDev"], 489),
    "vwma": ("vwma:14", ["vwma"], 489),
    "vwap": ("vwap", ["vwap"], 502),
}
"""File → study, its columns there, and how many numbers of 502 bars it has."""


TO_THE_LAST_DIGIT = ("vwap", "sma", "ema", "vwma", "stdev")


def series(study: NamedStudy, bars: list[Bar]) -> list[tuple[float | None, ...]]:
    made = study.create()
    return [made.next(bar) for bar in bars]


@pytest.fixture(scope="module")
def published() -> Path:
    """The folder of published series."""
    where = Path(os.environ.get("TIDEMARK_DATA", "")) / "indicators"
    if not where.is_dir():
        pytest.skip("TIDEMARK_DATA does not name a folder with exchange data")
    return where


@pytest.mark.parametrize("file", PUBLISHED)
def test_study_when_fed_the_published_bars_then_every_number_is_the_published_one(published: Path, file: str) -> None:
    text, columns, count = PUBLISHED[file]
    with (published / "quotes.default.csv").open(encoding="utf-8-sig") as quotes:
        rows = list(csv.DictReader(quotes))
    prices = [[round(float(row[name]) * E4) for name in ("high", "low", "close")] for row in rows]
    bars = [Bar(high, low, close, int(row["volume"])) for (high, low, close), row in zip(prices, rows, strict=True)]
    expected = [
        [row[column] for column in columns] for row in json.loads((published / f"{file}.standard.json").read_text())
    ]
    (study,) = parse_studies(text)
    told = series(study, bars)
    assert len(told) == len(expected) == 502
    numbers = 0
    for bar, ours, theirs in zip(bars, told, expected, strict=True):
        assert [number is None for number in ours] == [number is None for number in theirs]
        present = [(a, b) for a, b in zip(ours, theirs, strict=True) if a is not None]
        numbers += len(present)
        for mine, number in present:
            tolerance = 1e-15 * bar.close_e4 / E4 if file in TO_THE_LAST_DIGIT else 1e-9
            assert mine == pytest.approx(number, rel=1e-15 if file in TO_THE_LAST_DIGIT else 1e-9, abs=tolerance)
    assert numbers == count


PRICES = st.integers(1, 10**9)
BARS = st.lists(st.builds(Bar, PRICES, PRICES, PRICES, st.integers(1, 10**7)), min_size=1, max_size=60)


@given(BARS, st.integers(1, 12))
def test_running_sums_when_any_bars_then_equal_to_those_over_each_window_anew(bars: list[Bar], periods: int) -> None:
    closes = [bar.close_e4 for bar in bars]
    told = {name: series(NamedStudy(name, (periods,)), bars) for name in ("sma", "stdev", "vwma", "ema")}
    mean = None
    for at in range(len(bars)):
        if at + 1 < periods:
            assert {told[name][at] for name in told} == {(None,)}
            continue
        window = bars[at + 1 - periods : at + 1]
        newest = [bar.close_e4 for bar in window]
        assert told["sma"][at] == (sum(newest) / (periods * E4),)
        assert told["stdev"][at][0] == pytest.approx(np.std(newest) / E4, rel=1e-9, abs=1e-6)
        amount, volume = sum(bar.close_e4 * bar.volume for bar in window), sum(bar.volume for bar in window)
        assert told["vwma"][at] == (amount / (volume * E4),)
        before = sum(closes[:periods]) / periods if mean is None else mean
        mean = before if mean is None else before + (closes[at] - before) * 2 / (periods + 1)
        assert told["ema"][at][0] == pytest.approx(mean / E4, rel=1e-9, abs=max(closes) / E4 * 1e-12)


@pytest.mark.parametrize(
    ("text", "says"),
    [("sme:20", "no indicator"), ("sma:0", "whole numbers"), ("sma:x", "whole numbers"), ("macd:1:2", "3 periods")],
)
def test_studies_when_the_text_names_none_then_refused(text: str, says: str) -> None:
    with pytest.raises(StudyError, match=says):
        parse_studies(text)


def test_studies_when_named_then_their_numbers_are() -> None:
    studies = parse_studies("sma:5, rsi, macd")
    names = [name for study in studies for name in study.numbers]
    assert names == ["sma_5", "rsi_14", "macd_12_26_9", "macd_12_26_9_signal", "macd_12_26_9_histogram"]
