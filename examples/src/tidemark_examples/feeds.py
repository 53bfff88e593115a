"""A feed of one's own: trades as lines of JSON, with a time in ms, a symbol, and price and quantity as text."""

import json
from collections.abc import Iterator
from typing import Final

from common.contracts.ticks import Ticks
from common.feed_ticks import TickRows
from common.feeds import FeedAnomaly, FeedContext, FeedReader, Listing, scaled

ROWS_AT_ONCE: Final = 4_096
LISTING: Final = Listing(price_decimals=4, qty_decimals=3)


def read(context: FeedContext) -> Iterator[Ticks]:
    rows, rest, offset, sequence = TickRows(), b"", 0, 0
    for source in context.sources:
        for chunk in context.chunks(source):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                sequence += 1
                trade(context, rows, line, sequence, offset)
                offset += len(line) + 1
            if len(rows) >= ROWS_AT_ONCE:
                yield rows.take()
    if rest:
        context.anomaly(FeedAnomaly.TRUNCATED, offset, sequence + 1, "the last line has no end")
    yield rows.take()


def trade(context: FeedContext, rows: TickRows, line: bytes, sequence: int, offset: int) -> None:
    """One line becomes a tick or a counted anomaly."""
    context.records(1)
    try:
        record = json.loads(line)
        at_ns, symbol = int(record["time_ms"]) * 1_000_000, str(record["symbol"])
        listing = context.listing(symbol) or LISTING
        price, qty = scaled(record["price"], listing.price_decimals), scaled(record["qty"], listing.qty_decimals)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        context.anomaly(FeedAnomaly.BAD_RECORD, offset, sequence, repr(error))
        return
    if price is None or qty is None:
        context.anomaly(FeedAnomaly.OFF_SCALE, offset, sequence, f"{record['qty']} at {record['price']}")
        return
    listed = context.enlist(symbol, listing, offset=offset, sequence=sequence)
    if listed is not None:
        rows.trade(at_ns, sequence, listed.instrument_id, price, qty, match=sequence)


TRADES_JSONL: Final = FeedReader("trades-jsonl", "trades as lines of JSON", read)
