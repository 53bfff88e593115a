"""Trades and quotes in CSV and Parquet files, by a mapping file (``mapping.py``)."""

import csv
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from common.contracts.ticks import Ticks
from common.feed_ticks import BUY, SELL, LevelBook, References, TickRows
from common.feeds import FeedAnomaly, FeedContext, FeedReader, FeedUnavailable, FeedUnreadable, Listed, scaled

from ingest.domain.lines import lines
from ingest.feeds.mapping import TRADES, Mapping, read_mapping, time_ns
from ingest.files import STANDARD_INPUT

ROWS_AT_ONCE: Final = 8_192
HEADER_SHOWN_MAX: Final = 200
Record = tuple[int, Sequence[str]]
"""(byte offset, or -1, and the texts of the needed columns)."""


class TableRows:
    """Rows of a table into ticks; instruments are listed as they come."""

    def __init__(self, context: FeedContext, mapping: Mapping) -> None:
        self.rows = TickRows()
        self._context = context
        self._mapping = mapping
        self._listed: dict[str, Listed | None] = {}
        self._books: dict[int, LevelBook] = {}
        self._references = References()

    def take(self, sequence: int, record: Record) -> None:
        """One row becomes ticks or an anomaly."""
        offset, texts = record
        self._context.records(1)
        try:
            self._place(sequence, offset, texts)
        except (ValueError, IndexError, AttributeError) as error:
            self._context.anomaly(FeedAnomaly.BAD_RECORD, offset, sequence, str(error)[:120])

    def _place(self, sequence: int, offset: int, texts: Sequence[str]) -> None:
        mapping = self._mapping
        at_ns = time_ns(texts[0], mapping.time_unit)
        symbol = texts[1].strip() if mapping.symbol else mapping.symbol_value
        if symbol not in self._listed:
            listing = self._context.listing(symbol) or mapping.listing
            self._listed[symbol] = self._context.enlist(symbol, listing, offset=offset, sequence=sequence)
        listed = self._listed[symbol]
        if listed is None:
            self._context.skip("a row of a symbol that can have no instrument")
            return
        scales = (listed.price_decimals, listed.qty_decimals)
        numbers = [
            scaled(text.strip() or "0", scales[at % 2]) for at, text in enumerate(texts[-len(mapping.columns) :])
        ]
        if any(number is None or number < 0 for number in numbers):
            detail = f"{symbol}: {', '.join(texts[-len(mapping.columns) :])}"
            self._context.anomaly(FeedAnomaly.OFF_SCALE, offset, sequence, detail)
            return
        values = [number or 0 for number in numbers]
        if mapping.kind == TRADES:
            if not values[0] or not values[1]:
                raise ValueError("a trade without a price or a quantity")
            self.rows.trade(at_ns, sequence, listed.instrument_id, values[0], values[1], match=sequence)
        else:
            self._quote(at_ns, sequence, listed.instrument_id, values)

    def _quote(self, at_ns: int, sequence: int, instrument: int, values: list[int]) -> None:
        book = self._books.get(instrument)
        if book is None:
            book = self._books[instrument] = LevelBook(self.rows, instrument, self._references)
        for side, (price, qty) in ((BUY, values[:2]), (SELL, values[2:])):
            book.become(at_ns, sequence, side, {price: qty} if price and qty else {})


def csv_records(context: FeedContext, source: str, mapping: Mapping) -> Iterator[Record]:
    """Rows of a CSV file with a header. Raises FeedUnreadable where a needed column is not there."""
    place = [0]

    def texts() -> Iterator[str]:
        for offset, line in lines(context.chunks(source)):
            place[0] = offset
            yield line.decode("utf-8", "replace")

    rows = csv.reader(texts(), delimiter=mapping.delimiter)
    header = [name.lstrip("\ufeff").strip() for name in next(rows, [])]
    if missing := [name for name in mapping.needed if name not in header]:
        found = ", ".join(header)[:HEADER_SHOWN_MAX] or "none"
        raise FeedUnreadable(f"{source}: no column {', '.join(missing)}; there are: {found}", 0)
    columns = [header.index(name) for name in mapping.needed]
    try:
        for row in rows:
            yield place[0], [row[column] if column < len(row) else "" for column in columns]
    except csv.Error as error:
        raise FeedUnreadable(f"{source}: {error}", place[0]) from error


def parquet_records(source: str, mapping: Mapping) -> Iterator[Record]:
    """Rows of a Parquet file, batch by batch. Raises FeedUnreadable where it is none, or a column is not there."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise FeedUnavailable("the feed 'parquet' needs pyarrow: install tidemark-ingest[parquet]") from error
    if source == str(STANDARD_INPUT):
        raise FeedUnreadable("a Parquet file begins at its end: a pipe, as standard input is, cannot be read")
    try:
        file = pyarrow.parquet.ParquetFile(source)
        names = file.schema_arrow.names
        if missing := [name for name in mapping.needed if name not in names]:
            raise FeedUnreadable(f"{source}: no column {', '.join(missing)}; there are {', '.join(names)}", 0)
        for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, columns=list(mapping.needed)):
            columns = [_texts(batch.column(name), mapping) for name in mapping.needed]
            for row in zip(*columns, strict=True):
                yield -1, row
    except (OSError, pyarrow.ArrowException) as error:
        raise FeedUnreadable(f"{source}: {error}") from error


def _texts(column: Any, mapping: Mapping) -> list[str]:
    """Values as texts without an exponent: a binary fraction as the shortest decimal that is it."""
    import pyarrow

    if pyarrow.types.is_timestamp(column.type):
        unit = "ns" if mapping.time_unit == "iso" else mapping.time_unit
        counted = column.cast(pyarrow.timestamp("ns", column.type.tz)).cast(pyarrow.int64()).to_pylist()
        if mapping.time_unit == "iso":
            return [_iso(value) for value in counted]
        divisor = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}[unit]
        return [format(Decimal(value or 0) / divisor, "f") for value in counted]
    return [_text(value) for value in column.to_pylist()]


def _iso(value: int | None) -> str:
    from datetime import UTC, datetime

    seconds, rest = divmod(value or 0, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def _text(value: Any) -> str:
    if isinstance(value, float):
        return format(Decimal(repr(value)), "f")
    return "" if value is None else format(value, "f") if isinstance(value, Decimal) else str(value)


def _read(context: FeedContext, *, is_csv: bool) -> Iterator[Ticks]:
    if "mapping" not in context.options:
        raise FeedUnavailable("this feed needs --option mapping=FILE, which says which column is what")
    mapping = read_mapping(Path(context.options["mapping"]))
    table, sequence = TableRows(context, mapping), 0
    for source in context.sources:
        for record in csv_records(context, source, mapping) if is_csv else parquet_records(source, mapping):
            sequence += 1
            table.take(sequence, record)
            if len(table.rows) >= ROWS_AT_ONCE:
                yield table.rows.take()
    yield table.rows.take()


def read_csv(context: FeedContext) -> Iterator[Ticks]:
    """Ticks of CSV files."""
    return _read(context, is_csv=True)


def read_parquet(context: FeedContext) -> Iterator[Ticks]:
    """Ticks of Parquet files."""
    return _read(context, is_csv=False)


_OPTIONS: Final = {"mapping": "TOML file that says which column is what"}
CSV: Final = FeedReader("csv", "trades or quotes in CSV files with a header", read_csv, options=_OPTIONS)
PARQUET: Final = FeedReader("parquet", "trades or quotes in Parquet files", read_parquet, options=_OPTIONS)
