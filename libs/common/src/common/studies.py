"""Indicators over the closed bars of one instrument, one bar after the other: moving averages, RSI, MACD and others.

Each is fed with bars in the order of their windows and says its numbers after each, or None until it has seen enough.
What is summed are the bars' integers, so a sum that runs is the sum anew. Averages that remember all of the past (EMA,
RSI, MACD) are floats, and the same operations in the same order, whether bars are fed at once or one by one.

A bar that is restated changes what follows: feed the last revision of each.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from common.contracts.values import E4

PERIODS_MAX: Final = 100_000
Numbers = tuple[float | None, ...]


class StudyError(ValueError):
    """The text names no study."""


@dataclass(frozen=True, slots=True)
class Bar:
    """The part of a bar that a study needs: prices in 1e-4, and shares."""

    high_e4: int
    low_e4: int
    close_e4: int
    volume: int


class Study(Protocol):
    """An indicator of one instrument."""

    def next(self, bar: Bar) -> Numbers:
        """The numbers after this bar."""
        ...


class _Window:
    """The newest ``periods`` values, their sum and that of their squares."""

    def __init__(self, periods: int) -> None:
        self.values: deque[int] = deque(maxlen=periods)
        self.sum = self.squares = 0

    def add(self, value: int) -> bool:
        """Returns whether there are as many as wanted."""
        if len(self.values) == self.values.maxlen:
            self.sum -= self.values[0]
            self.squares -= self.values[0] ** 2
        self.values.append(value)
        self.sum += value
        self.squares += value**2
        return len(self.values) == self.values.maxlen


class Sma:
    """Mean of the newest closes."""

    def __init__(self, periods: int) -> None:
        self._closes = _Window(periods)

    def next(self, bar: Bar) -> Numbers:
        full = self._closes.add(bar.close_e4)
        return (self._closes.sum / (len(self._closes.values) * E4) if full else None,)


class Stdev:
    """Population standard deviation of the newest closes."""

    def __init__(self, periods: int) -> None:
        self._closes = _Window(periods)

    def next(self, bar: Bar) -> Numbers:
        closes = self._closes
        if not closes.add(bar.close_e4):
            return (None,)
        count = len(closes.values)
        return (math.sqrt(count * closes.squares - closes.sum**2) / (count * E4),)


class Vwma:
    """Mean of the newest closes, weighted by the bars' volumes."""

    def __init__(self, periods: int) -> None:
        self._amounts, self._volumes = _Window(periods), _Window(periods)

    def next(self, bar: Bar) -> Numbers:
        self._amounts.add(bar.close_e4 * bar.volume)
        full = self._volumes.add(bar.volume)
        return (self._amounts.sum / (self._volumes.sum * E4) if full and self._volumes.sum else None,)


class Vwap:
    """Typical prices, (high + low + close) / 3, of all bars so far, weighted by their volumes."""

    def __init__(self) -> None:
        self._amount = self._volume = 0

    def next(self, bar: Bar) -> Numbers:
        self._amount += (bar.high_e4 + bar.low_e4 + bar.close_e4) * bar.volume
        self._volume += bar.volume
        return (self._amount / (3 * self._volume * E4) if self._volume else None,)


class _Smoothed:
    """Exponential average of numbers; it begins with the mean of the first ``periods``."""

    def __init__(self, periods: int, weight: float) -> None:
        self._first: list[float] = []
        self._periods, self._weight = periods, weight
        self._mean: float | None = None

    def next(self, value: float) -> float | None:
        if self._mean is not None:
            self._mean += self._weight * (value - self._mean)
            return self._mean
        self._first.append(value)
        if len(self._first) == self._periods:
            self._mean = sum(self._first) / self._periods
        return self._mean


class Ema:
    """Exponential average of the closes, weight 2 / (periods + 1); it begins with the mean of the first ones."""

    def __init__(self, periods: int) -> None:
        self._mean = _Smoothed(periods, 2 / (periods + 1))

    def next(self, bar: Bar) -> Numbers:
        return (self._mean.next(bar.close_e4 / E4),)


class Rsi:
    """Relative strength index, smoothed as Wilder does ("New Concepts in Technical Trading Systems", 1978)."""

    def __init__(self, periods: int) -> None:
        self._gains, self._losses = _Smoothed(periods, 1 / periods), _Smoothed(periods, 1 / periods)
        self._close_e4: int | None = None

    def next(self, bar: Bar) -> Numbers:
        before, self._close_e4 = self._close_e4, bar.close_e4
        if before is None:
            return (None,)
        change = (bar.close_e4 - before) / E4
        gain, loss = self._gains.next(max(change, 0.0)), self._losses.next(max(-change, 0.0))
        if gain is None or loss is None:
            return (None,)
        return (100 - 100 / (1 + gain / loss) if loss > 0 else 100.0,)


class Macd:
    """Fast less slow exponential average of the closes, the exponential average of that (the signal), and the rest."""

    def __init__(self, fast: int, slow: int, signal: int) -> None:
        self._fast, self._slow = Ema(fast), Ema(slow)
        self._signal = _Smoothed(signal, 2 / (signal + 1))

    def next(self, bar: Bar) -> Numbers:
        (fast,), (slow,) = self._fast.next(bar), self._slow.next(bar)
        if fast is None or slow is None:
            return None, None, None
        macd = fast - slow
        signal = self._signal.next(macd)
        return macd, signal, None if signal is None else macd - signal


@dataclass(frozen=True, slots=True)
class StudyKind:
    """A study by name: what makes it, its usual periods, and the ends of its numbers' names."""

    create: Callable[..., Study]
    periods: tuple[int, ...]
    numbers: tuple[str, ...] = ("",)


STUDIES: Final[Mapping[str, StudyKind]] = {
    "sma": StudyKind(Sma, (20,)),
    "ema": StudyKind(Ema, (20,)),
    "vwma": StudyKind(Vwma, (14,)),
    "vwap": StudyKind(Vwap, ()),
    "stdev": StudyKind(Stdev, (14,)),
    "rsi": StudyKind(Rsi, (14,)),
    "macd": StudyKind(Macd, (12, 26, 9), ("", "_signal", "_histogram")),
}


@dataclass(frozen=True, slots=True)
class NamedStudy:
    """A study with its periods. ``numbers`` name what it says."""

    name: str
    periods: tuple[int, ...]

    @property
    def numbers(self) -> tuple[str, ...]:
        whole = "_".join((self.name, *map(str, self.periods)))
        return tuple(whole + end for end in STUDIES[self.name].numbers)

    def create(self) -> Study:
        """One that has seen no bar."""
        return STUDIES[self.name].create(*self.periods)


def parse_studies(text: str) -> Sequence[NamedStudy]:
    """The studies of a list like ``sma:20,rsi,macd:12:26:9``; without periods they are the usual ones.

    Raises StudyError.
    """
    found = []
    for part in text.split(","):
        name, *given = part.strip().split(":")
        kind = STUDIES.get(name)
        if kind is None:
            raise StudyError(f"{name!r} is no indicator; there are {', '.join(STUDIES)}")
        if not all(period.isdecimal() and 0 < int(period) <= PERIODS_MAX for period in given):
            raise StudyError(f"{part.strip()!r}: periods are whole numbers from 1 to {PERIODS_MAX:,}")
        periods: tuple[Any, ...] = tuple(map(int, given)) or kind.periods
        if len(periods) != len(kind.periods):
            raise StudyError(f"{part.strip()!r}: {name} has {len(kind.periods)} periods")
        found.append(NamedStudy(name, periods))
    return found
