"""From the market's rows to records and views."""

from collections.abc import Iterator
from typing import Final

from common.contracts.alerts import ALERT_RULES, PATTERN_NUMBERS, Alerts
from common.contracts.market import Bars, Depths, Marks, mark_clock_key, vwap_e4
from common.contracts.topics import MD_ALERTS, MD_BARS, MD_BOOKS, MD_LATE, MD_MARKS, MD_MEASURES, MD_PHASES, MD_SESSIONS
from common.contracts.views import AlertData, BarData, BookData, QuoteData
from streams.model.message import Output, View

from signals.domain.effects import Beat, Effects
from signals.domain.layout import Array
from signals.domain.market import MarketState

BARS_PER_RECORD_MAX: Final = 4_096
"""A record of so many rows stays under half a megabyte."""


def render(effects: Effects, partition: int, ingest_ns: int) -> Iterator[Output | View]:
    """Records and views of one frame. ``ingest_ns`` is the frame's, for the latency clocks."""
    key = b"%d" % partition
    for at in range(0, len(effects.bars), BARS_PER_RECORD_MAX):
        yield Output(MD_BARS, key, effects.bars[at : at + BARS_PER_RECORD_MAX], partition)
    for measured in (effects.measured, effects.quoted):
        for at in range(0, len(measured), BARS_PER_RECORD_MAX):
            yield Output(MD_MEASURES, key, measured[at : at + BARS_PER_RECORD_MAX], partition)
    for topic, rows in ((MD_SESSIONS, effects.sessions), (MD_PHASES, effects.phases), (MD_LATE, effects.late)):
        for at in range(0, len(rows), BARS_PER_RECORD_MAX):
            yield Output(topic, key, rows[at : at + BARS_PER_RECORD_MAX], partition)
    for at, symbol in enumerate(effects.alerts["symbol"].tolist()):
        yield Output(MD_ALERTS, symbol, effects.alerts[at : at + 1], partition)
    for beat in effects.beats:
        yield from _marks(beat.marks, partition)
        if len(beat.depths):
            yield Output(MD_BOOKS, key, beat.depths, partition)
        yield from _beat_views(beat, partition, ingest_ns)


def _marks(marks: Marks, partition: int) -> Iterator[Output]:
    """The last row is the partition's clock."""
    for at, symbol in enumerate(marks["symbol"].tolist()):
        yield Output(MD_MARKS, symbol or mark_clock_key(partition), marks[at : at + 1], partition)


def _beat_views(beat: Beat, partition: int, ingest_ns: int) -> Iterator[View]:
    yield from quote_views(beat.quotes, beat.opens_e4, partition, ingest_ns)
    yield from book_views(beat.books, ingest_ns)
    gone = beat.showcase.gone
    for symbol, start, window_ns in zip(*(gone[name].tolist() for name in _BAR_KEY), strict=True):
        yield View("bar", f"{symbol.decode()}:{window_ns}", str(start), None, ingest_ns)
    yield from bar_views(beat.showcase.closed, closed=True, origin_ns=ingest_ns)
    yield from bar_views(beat.showcase.live, closed=False, origin_ns=ingest_ns)
    for key in alert_keys(beat.alerts.gone):
        yield View("alert", str(partition), key, None, ingest_ns)
    yield from alert_views(beat.alerts.changed, partition, ingest_ns)


_BAR_KEY: Final = ("symbol", "window_start_ns", "window_ns")
_BAR_PRICES: Final = ("open_e4", "high_e4", "low_e4", "close_e4")
_BAR_COLUMNS: Final = (*_BAR_KEY, *_BAR_PRICES, "volume", "trades", "notional_e4", "revision")
_NUMBERS: Final = {str(rule.kind): rule.numbers for rule in ALERT_RULES}
_QUOTE_COLUMNS: Final = (
    *("symbol", "bid_e4", "bid_size", "ask_e4", "ask_size"),
    *("last_e4", "volume", "trading_state", "event_ns"),
)


def bar_views(bars: Bars, *, closed: bool, origin_ns: int = 0) -> Iterator[View]:
    """One view row per bar."""
    for values in zip(*(bars[name].tolist() for name in _BAR_COLUMNS), strict=True):
        symbol, start, window_ns, open_e4, high_e4, low_e4, close_e4, volume, trades, notional_e4, revision = values
        data = BarData(
            symbol=symbol.decode(),
            window_start_ns=start,
            window_ns=window_ns,
            open_e4=open_e4,
            high_e4=high_e4,
            low_e4=low_e4,
            close_e4=close_e4,
            volume=volume,
            trades=trades,
            notional_e4=notional_e4,
            vwap_e4=vwap_e4(notional_e4, volume),
            revision=revision,
            closed=closed,
        )
        yield View("bar", f"{data.symbol}:{window_ns}", str(start), data, origin_ns)


def quote_views(marks: Marks, opens_e4: Array, partition: int, origin_ns: int = 0) -> Iterator[View]:
    """One view row per mark."""
    columns = (marks[name].tolist() for name in _QUOTE_COLUMNS)
    for values in zip(*columns, opens_e4.tolist(), strict=True):
        symbol, bid_e4, bid_size, ask_e4, ask_size, last_e4, volume, state, event_ns, open_e4 = values
        data = QuoteData(
            symbol=symbol.decode(),
            bid_e4=bid_e4,
            bid_size=bid_size,
            ask_e4=ask_e4,
            ask_size=ask_size,
            last_e4=last_e4,
            open_e4=open_e4,
            volume=volume,
            trading_state=chr(state) if state else "",
            event_ns=event_ns,
        )
        yield View("quote", str(partition), data.symbol, data, origin_ns)


def book_views(depths: Depths, origin_ns: int = 0) -> Iterator[View]:
    """One view row per depth."""
    columns = ("symbol", "bid_levels", "ask_levels", "event_ns", "bids", "asks")
    for values in zip(*(depths[name].tolist() for name in columns), strict=True):
        symbol, bid_levels, ask_levels, event_ns, bids, asks = values
        data = BookData(
            symbol=symbol.decode(), bids=tuple(bids[:bid_levels]), asks=tuple(asks[:ask_levels]), event_ns=event_ns
        )
        yield View("book", data.symbol, "depth", data, origin_ns)


def alert_keys(rows: Alerts) -> list[str]:
    """Keys of the view rows of some alerts."""
    names = zip(*(rows[name].tolist() for name in ("symbol", "kind", "begin_ns")), strict=True)
    return [f"{symbol.decode()}:{kind.decode()}:{begin_ns}" for symbol, kind, begin_ns in names]


def alert_views(rows: Alerts, partition: int, origin_ns: int = 0) -> Iterator[View]:
    """One view row per alert."""
    for key, row in zip(alert_keys(rows), rows, strict=True):
        kind = row["kind"].decode()
        data = AlertData(
            symbol=row["symbol"].decode(),
            kind=kind,
            severity=row["severity"].decode(),
            phase=row["phase"].decode(),
            **{name: int(row[name]) for name in ("begin_ns", "peak_ns", "end_ns", "peak_ppm", "threshold_ppm")},
            numbers={name: int(row[name]) for name in _NUMBERS.get(kind, PATTERN_NUMBERS)},
        )
        yield View("alert", str(partition), key, data, origin_ns)


def all_views(market: MarketState, partition: int) -> Iterator[View]:
    """Every view row of a partition."""
    ids = market.books.told()
    yield from quote_views(market.marks(ids, 0), market.books.listings["open_e4"][ids], partition)
    yield from book_views(market.depths(ids, 0))
    yield from bar_views(market.showcase.rows, closed=True)
    yield from bar_views(market.live_bars_shown(), closed=False)
    yield from alert_views(market.board.rows, partition)
