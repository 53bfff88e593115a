"""The measures of a process in one: a tally that holds the tally of each, and compiled functions over all of them.

The bars come first and are there always; a row that is issued has the columns of ``BAR`` and, behind them, the results
of the other measures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
from common.contracts.market import BAR, MEASURED, Bars, Measured
from common.measures import Measure, MeasureError

from signals.domain.layout import Array
from signals.domain.ohlcv import OHLCV
from signals.kernels import fingerprint_of, part


class Compiled(NamedTuple):
    """Parts that the kernels of the bars are made of."""

    add: Any
    """``add(tally, trade)``."""
    merge: Any
    """``merge(tally, later)``."""
    result: Any
    """``result(tally, row)``: writes the results of all measures into an issued row."""
    any_order: bool
    """Trades may be added in any order."""


@dataclass(frozen=True, eq=False)
class MeasureSet:
    """Measures, by name, and what follows from them."""

    measures: tuple[Measure, ...]
    tally: np.dtype[Any]
    row: np.dtype[Any]
    """Row of an issued window."""
    compiled: Compiled
    fingerprint: str
    """Hash of the sources of the measures."""

    @property
    def results(self) -> tuple[str, ...]:
        """Names of the numbers that ``BAR`` has no column for."""
        return tuple(name for measure in self.measures for name in measure.results if name not in _BAR_NAMES)

    def declaration(self) -> dict[str, Any]:
        """Declaration that a snapshot keeps of the measures it was made with."""
        return {measure.name: measure.declaration() for measure in self.measures}

    def bars_of(self, rows: Array) -> Bars:
        """The bars of issued rows."""
        if self.row == BAR:
            return rows
        bars = np.zeros(len(rows), BAR)
        for name in _BAR_NAMES:
            bars[name] = rows[name]
        return bars

    def measured_of(self, rows: Array) -> Measured:
        """Results of the other measures for issued rows: for each row one number after the other."""
        return measured_rows(rows, self.results)


def measured_rows(rows: Array, names: Sequence[str]) -> Measured:
    """Numbers of issued rows: for each row one after the other."""
    measured = np.zeros((len(rows), len(names)), MEASURED)
    for column, name in enumerate(names):
        measured["measure"][:, column] = name.encode()
        measured["value"][:, column] = rows[name]
    for name in ("symbol", "window_start_ns", "window_ns", "instrument_id", "revision"):
        measured[name] = rows[name][:, None]
    return measured.reshape(-1)


def measure_set(measures: Sequence[Measure] = ()) -> MeasureSet:
    """The bars and ``measures``, of which each name and each result may be there once. Raises MeasureError."""
    return _composed((OHLCV, *sorted(measures, key=lambda measure: measure.name)))


@lru_cache(maxsize=8)
def _composed(measures: tuple[Measure, ...]) -> MeasureSet:
    check_names(measures)
    extra = [(name, "<i8") for m in measures for name in m.results if name not in _BAR_NAMES]
    return MeasureSet(
        measures,
        np.dtype([(measure.name, measure.dtype) for measure in measures]),
        np.dtype([*BAR.descr, *extra]) if extra else BAR,
        compiled(measures),
        fingerprint(measures),
    )


def check_names(measures: Sequence[Measure]) -> None:
    """Raises MeasureError where a name or a result is there twice, or is a column of every row."""
    for names in ([m.name for m in measures], [name for m in measures for name in m.results]):
        twice = sorted({name for name in names if names.count(name) > 1})
        taken = sorted(set(names) & _HEAD_NAMES)
        if twice or taken:
            raise MeasureError(f"two measures are named {twice[0]!r}" if twice else f"{taken[0]!r} is a bar's own")


def compiled(measures: tuple[Measure, ...]) -> Compiled:
    """``add``, ``merge`` and ``result`` of all of them in one. There is at least one."""
    add = merge = result = None
    for measure in reversed(measures):
        add = _on_tallies(measure.name, part(measure.add), add)
        merge = _on_both(measure.name, part(measure.merge), merge)
        numbers = _of_window(part(measure.result), measure.asks_for_window)
        result = _to_row(measure.name, numbers, _writer(measure.results), result)
    return Compiled(add, merge, result, all(measure.any_order for measure in measures))


def _on_tallies(name: str, add: Any, rest: Any) -> Any:
    @part
    def last(tally: Any, trade: Any) -> None:
        add(tally[name], trade)

    @part
    def first(tally: Any, trade: Any) -> None:
        add(tally[name], trade)
        rest(tally, trade)

    return first if rest else last


def _on_both(name: str, merge: Any, rest: Any) -> Any:
    @part
    def last(tally: Any, later: Any) -> None:
        merge(tally[name], later[name])

    @part
    def first(tally: Any, later: Any) -> None:
        merge(tally[name], later[name])
        rest(tally, later)

    return first if rest else last


def _of_window(result: Any, asks_for_window: bool) -> Any:
    """A result that takes the window, for one that does not."""
    if asks_for_window:
        return result

    @part
    def of_window(tally: Any, _row: Any) -> Any:
        return result(tally)

    return of_window


def _to_row(name: str, result: Any, write: Any, rest: Any) -> Any:
    @part
    def last(tally: Any, row: Any) -> None:
        write(row, result(tally[name], row))

    @part
    def first(tally: Any, row: Any) -> None:
        write(row, result(tally[name], row))
        rest(tally, row)

    return first if rest else last


def _writer(names: tuple[str, ...]) -> Any:
    """Writes a result into the fields of an issued row: a number, or several in a tuple."""
    if len(names) == 1:
        field = names[0]

        @part
        def write(row: Any, value: Any) -> None:
            row[field] = value

        return write
    written = None
    for place in reversed(range(len(names))):
        written = _field_writer(names[place], place, written)
    return written


def _field_writer(field: str, place: int, rest: Any) -> Any:
    @part
    def last(row: Any, values: Any) -> None:
        row[field] = values[place]

    @part
    def first(row: Any, values: Any) -> None:
        row[field] = values[place]
        rest(row, values)

    return first if rest else last


def fingerprint(measures: tuple[Measure, ...]) -> str:
    """Hash of the declarations and sources of measures."""
    declared = [(m.name, m.declaration(), m.results, m.any_order) for m in measures]
    return fingerprint_of(repr(declared), [f for m in measures for f in (m.add, m.merge, m.result)])


_BAR_NAMES: Final = BAR.names or ()
_HEAD_NAMES: Final = frozenset(_BAR_NAMES) - frozenset(OHLCV.results)
