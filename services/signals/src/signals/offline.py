"""The same books and bars without Kafka: arrays of ticks in, tables out.

``bars`` holds every bar in the order of issue; a bar that a broken or late trade restates stands there once more, with
the next ``revision``, or only the last revision of each where ``final`` bars are asked for. Online, ``md.bars`` holds
the same rows, in this order within each partition, and ``md.measures`` what stands in the columns behind, of the
measures of other packages. Where stamps go back from one instrument to the next, it is the clock of its partition that
decides whether a trade is late: so the market has as many clocks as the fleet's ``md.ticks`` has partitions.

``bbo`` holds the best bid and offer of an instrument after ``message_index`` messages of the feed, one row per change;
an empty side is 0,0. ``trades`` holds every trade that counts, ``depth`` the best levels at fixed times of the
exchange's clock, of the instruments whose book has changed since the time before. ``alerts`` holds what each partition
of the fleet would write to ``md.alerts``, of each symbol in the order of issue. ``quotes`` holds what the measures of
quotes say of each window in which a symbol's best prices changed, where there are any; ``sessions`` the rows of
``md.sessions``, where session windows are wanted, and ``phases`` those of ``md.phases``, where triggered ones are.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from common.books import Books
from common.books.layout import CHANGED_DEPTH, STOP_SESSION, STOP_SESSION_END, Array
from common.contracts.alerts import AlertLimits
from common.contracts.ticks import NO_INSTRUMENT, TickKind, Ticks, symbol_to_ref
from common.contracts.windows import lengths_ns, slides_ns
from common.measures import Measure, Source
from common.order_patterns import Pattern
from streams.model.topics import DEFAULT_PARTITIONS

from signals.domain.bars import RECORDED_TRADES_MAX, TumblingBars
from signals.domain.market import accounts
from signals.domain.measure_set import measure_set
from signals.domain.partitioned_bars import BLOCK_BITS, PartitionedBars, blocks_of
from signals.domain.triggers import NO_TURNS, Turns
from signals.offline_alerts import ALERT_COLUMNS, OfflineAlerts
from signals.offline_phases import PHASE_COLUMNS, PHASES, OfflinePhases
from signals.offline_quotes import OfflineQuotes
from signals.offline_sessions import SESSION_COLUMNS, SESSIONS, OfflineSessions
from signals.tables import CsvTables, FinalBars, Table, Tables
from signals.venue_days import Sessions

BARS, BBO, TRADES, DEPTH, ALERTS, QUOTES = "bars", "bbo", "trades", "depth", "alerts", "quotes"
"""Names of the tables."""
BAR_COLUMNS: Final = (
    *("symbol", "window_start_ns", "window_ns", "open_e4", "high_e4", "low_e4", "close_e4"),
    *("volume", "trades", "notional_e4", "vwap_e4", "revision"),
)
BBO_COLUMNS: Final = ("message_index", "symbol", "bid_e4", "bid_size", "ask_e4", "ask_size", "event_ns")
TRADE_COLUMNS: Final = ("message_index", "symbol", "event_ns", "price_e4", "qty", "match_number")
DEPTH_COLUMNS: Final = ("event_ns", "symbol", "level", "bid_e4", "bid_size", "ask_e4", "ask_size")
TICKS_AT_ONCE: Final = 1 << 16
"""Ticks between two writes: what they change then still stands in the processor's cache."""
ANY_LATENESS_NS: Final = 1 << 62
"""A recorded feed is whole: no trade in it is too late for its windows."""
_UNSAID: Final = 0


@dataclass
class Summary:
    """Counts of the output. ``anomalies``: how often the input was damaged or out of order, by kind.
    ``accounts``: trades by what became of them, ``market.accounts``.
    """

    ticks: int = 0
    bars: int = 0
    bbo_rows: int = 0
    trades: int = 0
    depth_rows: int = 0
    alerts: int = 0
    quote_rows: int = 0
    anomalies: dict[str, int] = field(default_factory=dict)
    accounts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The output that is wanted. ``symbols``: of these alone, if there are any. ``depth_levels``, of ten at most, every
    ``every_ns`` of the exchange's clock; 0: none. Without ``sessions`` windows are aligned to the epoch. Without
    ``alert_limits`` nothing is judged, and no pattern is followed.
    """

    windows_ns: Sequence[int] | None = None
    measures: Sequence[Measure] = ()
    sliding_ns: Sequence[tuple[int, int]] | None = None
    gaps_ns: Sequence[int] = ()
    triggers: Sequence[int] = ()
    final: bool = False
    trades: bool = False
    depth_levels: int = 0
    every_ns: int = 100_000_000
    symbols: frozenset[str] = frozenset()
    sessions: Sessions | None = None
    partitions: int = DEFAULT_PARTITIONS
    alert_limits: AlertLimits | None = None
    patterns: Sequence[Pattern] = ()


class OfflineMarket:
    """Books and bars over all instruments of a feed, in one state."""

    def __init__(
        self,
        windows_ns: Sequence[int] | None = None,
        measures: Sequence[Measure] = (),
        *,
        sliding_ns: Sequence[tuple[int, int]] | None = None,
        gaps_ns: Sequence[int] = (),
        triggers: Sequence[int] = (),
        record_bbo: bool = True,
        sessions: Sessions | None = None,
        partitions: int = 1,
    ) -> None:
        """Without ``windows_ns`` and ``sliding_ns`` (length and step), the windows are those of the table.
        ``gaps_ns``: of session windows; ``triggers``: of triggered ones, as bits.
        """
        if windows_ns is None and sliding_ns is None:
            windows_ns, sliding_ns = lengths_ns(), slides_ns()
        of_quotes = [measure for measure in measures if measure.of is Source.QUOTES]
        self.books = Books(record_bbo=record_bbo or bool(of_quotes), partitions=partitions)
        self.quotes = OfflineQuotes(windows_ns or lengths_ns(), of_quotes, partitions) if of_quotes else None
        slides, measured = sliding_ns or (), measure_set([m for m in measures if m.of is Source.TRADES])
        self.bars = PartitionedBars(
            partitions,
            lambda: TumblingBars(
                *(windows_ns or (), measured),
                slides_ns=slides,
                gaps_ns=gaps_ns,
                triggers=triggers,
                trades_max=RECORDED_TRADES_MAX,
                lateness_ns=ANY_LATENESS_NS,
            ),
        )
        self.gaps = OfflineSessions()
        self.phases = OfflinePhases(triggers)
        self._has_triggers = bool(triggers)
        self._sessions = sessions
        self._block = 0
        self._no_rows: Array = np.zeros(0, self.bars.measures.row)
        self.prints: Array = self.books.prints
        """Trades, and broken ones, of the last step; empty after a step that only issues bars."""

    def apply(self, ticks: Ticks) -> Iterator[tuple[Array, Array]]:
        """Issued rows and BBO rows, both valid until the next step."""
        if ticks.flags.writeable:
            ticks = ticks.view()
            ticks.flags.writeable = False
        self.books.admit(ticks)
        self.bars.admit(len(self.books.listings))
        at_once = len(self.bars.parts) == 1  # its clock is that of the ticks, and no order of partitions is to keep
        for part in blocks_of(ticks):
            turns = Turns(part, self.books.listings["trading_state"]) if self._has_triggers else NO_TURNS
            if not at_once and int(part["sequence"][0]) >> BLOCK_BITS != self._block:
                self._block = int(part["sequence"][0]) >> BLOCK_BITS
                yield self._booked(), self.books.changes[:0]
            at = 0
            while at < len(part):
                before_ns = self.books.clock_ns
                at = self.books.apply(turns.until_next(part, at), at)
                if self._sessions and not before_ns:
                    self._align(self._sessions.anchor_ns(int(part[0]["event_ns"])))
                self.bars.hold(self._prints())
                self.bars.hold_turns(turns.passed(at), self.books.clocks_ns)
                if self.quotes:
                    self.quotes.hold(self.books.changes)
                self.prints = self.books.prints
                yield self._booked() if at_once else self._no_rows, self._changes()
                self.prints = self.prints[:0]
                if self.books.stop == STOP_SESSION_END:
                    yield self._end_session(), self.books.changes[:0]
                if self.books.stop == STOP_SESSION:
                    yield self._begin_session(int(part[at - 1]["event_ns"])), self.books.changes[:0]

    def close(self) -> Array:
        """The rows of the bars that are still open, at the end of the data."""
        rows = np.concatenate((self._booked(), self._placed(self.bars.close_all(self.books.listings))))
        if self.quotes:
            self.quotes.close()
        return rows

    def _align(self, anchor_ns: int) -> None:
        """Sets what windows are aligned to, before there is any."""
        self.bars.align(anchor_ns)
        if self.quotes:
            self.quotes.align(anchor_ns)

    def _booked(self) -> Array:
        """Rows of what is held, up to the clocks of the partitions."""
        if self.quotes:
            self.quotes.book(self.books.clocks_ns, len(self.books.listings))
        return self._placed(self.bars.book(self.books.clocks_ns, self.books.listings))

    def _end_session(self) -> Array:
        booked, clocks_ns = self._booked(), self.books.clocks_ns
        if self.quotes:
            self.quotes.end_session(clocks_ns)
        return np.concatenate((booked, self._placed(self.bars.end_session(clocks_ns))))

    def _begin_session(self, clock_ns: int) -> Array:
        booked, before_ns, listings = self._booked(), self.books.clocks_ns, self.books.listings
        anchor_ns = self._sessions.anchor_ns(clock_ns) if self._sessions else 0
        if self.quotes:
            self.quotes.begin_session(clock_ns, before_ns, anchor_ns)
        rows = self._placed(self.bars.begin_session(clock_ns, before_ns, listings, anchor_ns))
        self.books.begin_session(clock_ns)
        return np.concatenate((booked, rows))

    def _prints(self) -> Array:
        """Trades of the wanted hours."""
        prints = self.books.prints
        if self._sessions is None or self._sessions.opens_ns is None:
            return prints
        wanted: Array = prints[(prints["qty"] == 0) | self._sessions.is_regular(prints["event_ns"])]
        return wanted

    def _changes(self) -> Array:
        changes = self.books.changes
        if self._sessions is None or self._sessions.opens_ns is None:
            return changes
        return changes[self._sessions.is_regular(changes["event_ns"])]

    def _placed(self, rows: Array) -> Array:
        for part in self.bars.parts:
            self.gaps.hold(part.sessions.take())
            self.phases.hold(part.phases.take())
        return rows


def write_csv(
    chunks: Iterable[Ticks],
    directory: Path,
    windows_ns: Sequence[int] | None = None,
    measures: Sequence[Measure] = (),
    *,
    sliding_ns: Sequence[tuple[int, int]] | None = None,
    progress: Callable[[Summary], None] | None = None,
) -> Summary:
    """Runs all ticks through books and bars into ``bars.csv`` and ``bbo.csv``; the end of the data closes every window.

    Creates ``directory``; the files of an earlier run are replaced when the new ones are complete. Raises OSError where
    the disk refuses, ValueError for ticks of an impossible instrument.
    """
    with CsvTables(directory) as tables:
        summary = write_tables(chunks, tables, Wanted(windows_ns, measures, sliding_ns), progress=progress)
        tables.keep()
    return summary


def write_tables(
    chunks: Iterable[Ticks], tables: Tables, wanted: Wanted, *, progress: Callable[[Summary], None] | None = None
) -> Summary:
    """Runs all ticks through books and bars; the end of the data closes every window. The caller keeps the tables."""
    writer = _Writer(tables, wanted)
    for chunk in chunks:
        for at in range(0, len(chunk), TICKS_AT_ONCE):
            writer.write(chunk[at : at + TICKS_AT_ONCE])
        if progress:
            progress(writer.summary)
    return writer.finish()


class _Writer:
    """Carries what the market says into the tables."""

    def __init__(self, tables: Tables, wanted: Wanted) -> None:
        self.summary = Summary()
        self._wanted = wanted
        self._market = OfflineMarket(
            wanted.windows_ns,
            wanted.measures,
            sliding_ns=wanted.sliding_ns,
            gaps_ns=wanted.gaps_ns,
            triggers=wanted.triggers,
            sessions=wanted.sessions,
            partitions=wanted.partitions,
        )
        self._columns = (*BAR_COLUMNS, *self._market.bars.measures.results)
        bars = tables.open(BARS, self._columns)
        self._bars: Table = FinalBars(bars, self._columns) if wanted.final else bars
        self._bbo = tables.open(BBO, BBO_COLUMNS)
        self._trades = tables.open(TRADES, TRADE_COLUMNS) if wanted.trades else None
        self._depth = tables.open(DEPTH, DEPTH_COLUMNS) if wanted.depth_levels else None
        limits = wanted.alert_limits
        self._judged = OfflineAlerts(wanted.partitions, limits, wanted.patterns) if limits else None
        self._alerts = tables.open(ALERTS, ALERT_COLUMNS, self._judged.words) if self._judged else None
        self._quotes = tables.open(QUOTES, quotes.columns) if (quotes := self._market.quotes) else None
        self._gaps = tables.open(SESSIONS, SESSION_COLUMNS) if wanted.gaps_ns else None
        words = self._market.phases.words
        self._phases = tables.open(PHASES, PHASE_COLUMNS, words) if wanted.triggers else None
        self._refs = np.array([symbol_to_ref(symbol) for symbol in sorted(wanted.symbols)], np.uint64)
        self._ids: Array = np.zeros(0, bool)
        self._sampled_until = 0

    def write(self, ticks: Ticks) -> None:
        if self._wanted.symbols:
            ticks = self._chosen(ticks)
        if self._depth is None:
            self._apply(ticks)
        else:
            self._apply_between_samples(ticks)
        if self._judged is not None and self._alerts is not None:
            self.summary.alerts += self._judged.write(ticks, self._alerts, self._symbols)
        self.summary.ticks += len(ticks)

    def finish(self) -> Summary:
        if self._depth is not None and self._sampled_until:
            self._sample()
        self._write_bars(self._market.close())
        self._write_quotes()
        self._bars.finish(self._symbols)
        self.summary.accounts = accounts(self._market.books, self._market.bars.accounts())
        self.summary.anomalies = self._market.books.anomalies() | self._market.bars.anomalies()
        return self.summary

    @property
    def _symbols(self) -> Array:
        return self._market.books.symbols

    def _chosen(self, ticks: Ticks) -> Ticks:
        """Ticks of the wanted symbols, and of the whole market."""
        ids = ticks["instrument_id"]
        size = int(ids.max(initial=-1)) + 1
        if size > len(self._ids):
            self._ids = np.concatenate((self._ids, np.zeros(size - len(self._ids), bool)))
        listed = ticks[ticks["kind"] == TickKind.STOCK_DIRECTORY]
        self._ids[listed["instrument_id"]] = np.isin(listed["order_ref"], self._refs)
        chosen: Ticks = ticks[(ids == NO_INSTRUMENT) | self._ids[ids]]
        return chosen

    def _apply(self, ticks: Ticks) -> None:
        for bars, changes in self._market.apply(ticks):
            self._write_bars(bars)
            self._write_quotes()
            if len(changes):
                self._bbo.write(changes.view(np.int64).reshape(len(changes), -1)[:, : len(BBO_COLUMNS)], self._symbols)
                self.summary.bbo_rows += len(changes)
            if self._trades is not None and len(prints := self._market.prints):
                self._write_trades(prints)

    def _write_bars(self, rows: Array) -> None:
        if len(rows):
            volume = rows["volume"]
            derived = {
                "symbol": rows["instrument_id"],
                "vwap_e4": np.where(volume > 0, rows["notional_e4"] // np.maximum(volume, 1), 0),
            }
            listed = [derived[name] if name in derived else rows[name] for name in self._columns]
            self._bars.write(np.stack([column.astype(np.int64) for column in listed], axis=1), self._symbols)
        self.summary.bars += len(rows)
        if self._gaps is not None:
            self._market.gaps.write(self._gaps, self._symbols)
        if self._phases is not None:
            self._market.phases.write(self._phases, self._symbols)

    def _write_quotes(self) -> None:
        if self._market.quotes and self._quotes:
            self.summary.quote_rows += self._market.quotes.write(self._quotes, self._symbols)

    def _write_trades(self, prints: Array) -> None:
        if self._wanted.sessions:
            prints = prints[self._wanted.sessions.is_regular(prints["event_ns"])]
        names = ("message_index", "instrument_id", "event_ns", "price_e4", "qty", "match")
        values = [prints[name].astype(np.int64) for name in names]
        values[3] = np.where(prints["qty"] > 0, values[3], 0)
        if self._trades is not None:
            self._trades.write(np.stack(values, axis=1), self._symbols)
        self.summary.trades += len(prints)

    def _apply_between_samples(self, ticks: Ticks) -> None:
        """Stops wherever the exchange's clock passes the next time of a sample."""
        every_ns = self._wanted.every_ns
        clock = np.maximum.accumulate(np.maximum(ticks["event_ns"], self._market.books.clock_ns))
        begin = 0
        for place in np.flatnonzero(np.diff(clock // every_ns, prepend=self._sampled_until // every_ns)).tolist():
            self._apply(ticks[begin:place])
            if self._sampled_until:
                self._sample()
            self._sampled_until = int(clock[place] // every_ns + 1) * every_ns - 1
            begin = place
        self._apply(ticks[begin:])

    def _sample(self) -> None:
        """Depth of what has changed, as it is at the end of the interval."""
        books, wanted = self._market.books, self._wanted
        ids, bits = books.take(_UNSAID, len(books.listings))
        ids = np.sort(ids[bits & CHANGED_DEPTH > 0])
        at_ns = self._sampled_until + 1
        if wanted.sessions and not wanted.sessions.is_regular(np.array([self._sampled_until]))[0]:
            return
        levels, _ = books.depth(ids)
        rows = np.zeros((len(ids), wanted.depth_levels, len(DEPTH_COLUMNS)), np.int64)
        rows[:, :, 0] = at_ns
        rows[:, :, 1] = ids[:, None]
        rows[:, :, 2] = np.arange(1, wanted.depth_levels + 1)
        rows[:, :, 3:5] = levels[:, 0, : wanted.depth_levels]
        rows[:, :, 5:7] = levels[:, 1, : wanted.depth_levels]
        if self._depth is not None and len(ids):
            self._depth.write(rows.reshape(-1, len(DEPTH_COLUMNS)), self._symbols)
        self.summary.depth_rows += rows.shape[0] * rows.shape[1]
