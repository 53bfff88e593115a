"""The same books and bars without Kafka: arrays of ticks in, ``bars.csv`` and ``bbo.csv`` out.

``bars.csv`` holds every bar in the order of issue; a bar that a broken or late trade restates stands there once more,
with the next ``revision``. Online, ``md.bars`` holds the same rows, in this order within each partition, and
``md.measures`` what stands in the columns behind, of the measures of other packages.
``bbo.csv`` holds the best bid and offer of an instrument after ``message_index`` messages of the feed, one row per
change; an empty side is 0,0.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

import numpy as np
from common.contracts.ticks import Ticks
from common.contracts.windows import lengths_ns, slides_ns
from common.measures import Measure

from signals.domain.bars import TumblingBars
from signals.domain.books import Books
from signals.domain.csv_kernel import csv_lines
from signals.domain.layout import STOP_SESSION, Array
from signals.domain.market import accounts
from signals.domain.measure_set import measure_set

BARS_FILE: Final = "bars.csv"
BBO_FILE: Final = "bbo.csv"
BAR_COLUMNS: Final = (
    *("symbol", "window_start_ns", "window_ns", "open_e4", "high_e4", "low_e4", "close_e4"),
    *("volume", "trades", "notional_e4", "vwap_e4", "revision"),
)
BBO_COLUMNS: Final = ("message_index", "symbol", "bid_e4", "bid_size", "ask_e4", "ask_size")
TICKS_AT_ONCE: Final = 1 << 16
"""Ticks between two writes: what they change then still stands in the processor's cache."""


@dataclass
class Summary:
    """What came out. ``anomalies``: how often the input was damaged or out of order, by kind.
    ``accounts``: trades by what became of them, ``market.accounts``.
    """

    ticks: int = 0
    bars: int = 0
    bbo_rows: int = 0
    anomalies: dict[str, int] = field(default_factory=dict)
    accounts: dict[str, int] = field(default_factory=dict)


class OfflineMarket:
    """Books and bars over all instruments of a feed, in one state."""

    def __init__(
        self,
        windows_ns: Sequence[int] | None = None,
        measures: Sequence[Measure] = (),
        *,
        sliding_ns: Sequence[tuple[int, int]] | None = None,
        record_bbo: bool = True,
    ) -> None:
        """Without ``windows_ns`` and ``sliding_ns`` (length and step), the windows are those of the table."""
        if windows_ns is None and sliding_ns is None:
            windows_ns, sliding_ns = lengths_ns(), slides_ns()
        self.books = Books(record_bbo=record_bbo)
        self.bars = TumblingBars(windows_ns or (), measure_set(measures), slides_ns=sliding_ns or ())

    def apply(self, ticks: Ticks) -> Iterator[tuple[Array, Array]]:
        """Issued rows and BBO rows, both valid until the next step."""
        if ticks.flags.writeable:
            ticks = ticks.view()
            ticks.flags.writeable = False
        self.books.admit(ticks)
        self.bars.admit(len(self.books.listings))
        at = 0
        while at < len(ticks):
            at = self.books.apply(ticks, at)
            yield self.bars.apply(self.books.prints, self.books.clock_ns, self.books.listings), self.books.changes
            if self.books.stop == STOP_SESSION:
                yield self.close(), self.books.changes[:0]
                self.books.begin_session(int(ticks[at - 1]["event_ns"]))
                self.bars.begin_session(self.books.clock_ns)

    def close(self) -> Array:
        """The rows of the bars that are still open, at the end of the data."""
        return self.bars.close_all(self.books.listings)


def write_csv(
    chunks: Iterable[Ticks],
    directory: Path,
    windows_ns: Sequence[int] | None = None,
    measures: Sequence[Measure] = (),
    *,
    sliding_ns: Sequence[tuple[int, int]] | None = None,
    progress: Callable[[Summary], None] | None = None,
) -> Summary:
    """Runs all ticks through books and bars; the end of the data closes every window.

    Creates ``directory`` and overwrites the two files in it. Raises OSError where the disk refuses, ValueError for
    ticks of an impossible instrument.
    """
    market = OfflineMarket(windows_ns, measures, sliding_ns=sliding_ns)
    columns = (*BAR_COLUMNS, *market.bars.measures.results)
    summary = Summary()
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / BARS_FILE).open("wb") as bars_file, (directory / BBO_FILE).open("wb") as bbo_file:
        bars_file.write(",".join(columns).encode() + b"\n")
        bbo_file.write(",".join(BBO_COLUMNS).encode() + b"\n")
        for chunk in chunks:
            for at in range(0, len(chunk), TICKS_AT_ONCE):
                part = chunk[at : at + TICKS_AT_ONCE]
                for bars, changes in market.apply(part):
                    summary.bars += _write_bars(bars_file, bars, columns, market.books.symbols)
                    summary.bbo_rows += _write_bbo(bbo_file, changes, market.books.symbols)
                summary.ticks += len(part)
            if progress:
                progress(summary)
        summary.bars += _write_bars(bars_file, market.close(), columns, market.books.symbols)
    summary.accounts = accounts(market.books, market.bars)
    summary.anomalies = market.books.anomalies() | market.bars.anomalies()
    return summary


def _write_bars(file: IO[bytes], rows: Array, columns: Sequence[str], symbols: Array) -> int:
    if len(rows):
        volume = rows["volume"]
        derived = {
            "symbol": rows["instrument_id"],
            "vwap_e4": np.where(volume > 0, rows["notional_e4"] // np.maximum(volume, 1), 0),
        }
        listed = [derived[name] if name in derived else rows[name] for name in columns]
        numbers = np.stack([column.astype(np.int64) for column in listed], axis=1)
        file.write(csv_lines(numbers, columns.index("symbol"), symbols))
    return len(rows)


def _write_bbo(file: IO[bytes], changes: Array, symbols: Array) -> int:
    if len(changes):
        numbers = changes.view(np.int64).reshape(len(changes), -1)
        file.write(csv_lines(numbers, 1, symbols))
    return len(changes)
