"""Indicators over the bars of a CSV file."""

import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Final, TextIO

from common.studies import Bar, NamedStudy

from tidemark import console

_HEAD: Final = ("symbol", "window_start_ns")
_NEEDED: Final = (*_HEAD, "window_ns", "high_e4", "low_e4", "close_e4", "volume")


def final_bars(file: TextIO, length_ns: int, symbol: str) -> Mapping[tuple[str, int], Bar]:
    """The last revision of each tumbling bar of a length, by symbol and start; without those that were taken back.

    Raises CommandError where a column is missing or holds no number.
    """
    rows = csv.DictReader(file)
    missing = [name for name in _NEEDED if name not in (rows.fieldnames or ())]
    if missing:
        raise console.CommandError(f"the file has no column {missing[0]}: it does not hold bars")
    found: dict[tuple[str, int], Bar] = {}
    try:
        for row in rows:
            start, name = int(row["window_start_ns"]), row["symbol"]
            if int(row["window_ns"]) != length_ns or start % length_ns or symbol not in ("", name):
                continue
            bar = Bar(int(row["high_e4"]), int(row["low_e4"]), int(row["close_e4"]), int(row["volume"]))
            if bar.volume:
                found[name, start] = bar
            else:
                found.pop((name, start), None)
    except (ValueError, TypeError) as error:
        raise console.CommandError(f"line {rows.line_num} holds no bar: {error}") from error
    return found


def rows_of(bars: Mapping[tuple[str, int], Bar], studies: Sequence[NamedStudy]) -> Iterator[Sequence[object]]:
    """A row per bar, by symbol and start: these, and the numbers of every study, None where there is none yet."""
    current, made = "", [study.create() for study in studies]
    for (symbol, start), bar in sorted(bars.items()):
        if symbol != current:
            current, made = symbol, [study.create() for study in studies]
        yield symbol, start, *(number for study in made for number in study.next(bar))


def write_studies(source: Path, out: Path | None, studies: Sequence[NamedStudy], length_ns: int, symbol: str) -> None:
    """Writes CSV to ``out`` or to standard output. Raises CommandError where a file cannot be read or written."""
    try:
        with source.open(newline="", encoding="utf-8") as file:
            bars = final_bars(file, length_ns, symbol)
    except (OSError, UnicodeDecodeError) as error:
        raise console.CommandError(f"cannot read {source}: {error}") from error
    header = (*_HEAD, *(name for study in studies for name in study.numbers))
    try:
        with out.open("w", newline="", encoding="utf-8") if out else nullcontext(sys.stdout) as file:
            csv.writer(file, lineterminator="\n").writerows((header, *rows_of(bars, studies)))
    except OSError as error:
        raise console.CommandError(f"cannot write {out}: {error.strerror}") from error
