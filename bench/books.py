"""Order books and bars offline: messages per CPU-second on a generated day.

    python -m bench books [--messages 5000000] [--symbols 8000] [--rounds 5] [--json]

The day is made beforehand and lies in memory in chunks of 1 MiB, as a file is read. Processor time of this process,
best and median of the rounds, each from empty books. ``books``: order-by-order books alone, of decoded ticks; ``bbo``:
and every change of a best bid or offer recorded; ``bars``: and 1 s and 1 min bars; ``decode``: framing and decode
included; ``csv``: and ``bars.csv`` and ``bbo.csv`` written.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from common.contracts.ticks import Ticks
from ingest.domain.anomalies import Report
from ingest.domain.exchange import ExchangeOptions, exchange_chunks
from ingest.domain.framing import Framer
from ingest.domain.instruments import InstrumentRegistry
from ingest.domain.itch import Decoder
from signals.domain.books import Books
from signals.offline import TICKS_AT_ONCE, OfflineMarket, write_csv
from signals.warm import warm

WARM_MESSAGES: Final = 5_000


def decoded(chunks: list[bytes]) -> Iterator[Ticks]:
    """The ticks of length-framed bytes, one array per chunk, as a file would give them."""
    report = Report()
    framer, decoder = Framer(report), Decoder(0, InstrumentRegistry(), report)
    for chunk in chunks:
        for block in framer.feed(chunk):
            yield decoder.decode(block)


def through_books(ticks: list[Ticks], *, record_bbo: bool) -> None:
    """Books alone."""
    books = Books(record_bbo=record_bbo)
    for chunk in ticks:
        books.admit(chunk)
        for at in range(0, len(chunk), TICKS_AT_ONCE):
            part = chunk[at : at + TICKS_AT_ONCE]
            done = 0
            while done < len(part):
                done = books.apply(part, done)


def through_market(chunks: Iterator[Ticks] | list[Ticks], *, record_bbo: bool) -> None:
    """Books and bars."""
    market = OfflineMarket(record_bbo=record_bbo)
    for chunk in chunks:
        for at in range(0, len(chunk), TICKS_AT_ONCE):
            for _ in market.apply(chunk[at : at + TICKS_AT_ONCE]):
                pass


def measured(work: Callable[[], object], messages: int, rounds: int) -> dict[str, float]:
    """Million messages per CPU-second: best and median."""
    rates = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        rates.append(messages / (time.process_time() - began) / 1e6)
    return {"best": round(max(rates), 2), "median": round(statistics.median(rates), 2)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench books", description=__doc__)
    parser.add_argument("--messages", type=int, default=5_000_000)
    parser.add_argument("--symbols", type=int, default=8_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    options = parser.parse_args()
    warm()
    for _ in decoded(list(exchange_chunks(ExchangeOptions(symbols=2, messages=WARM_MESSAGES)))):
        pass
    day = ExchangeOptions(symbols=options.symbols, rate=400 * options.symbols, messages=options.messages)
    chunks = list(exchange_chunks(day))
    ticks = list(decoded(chunks))
    for chunk in ticks:
        chunk.flags.writeable = False
    messages = sum(map(len, ticks))
    with tempfile.TemporaryDirectory() as directory:
        works: dict[str, Callable[[], object]] = {
            "books": lambda: through_books(ticks, record_bbo=False),
            "books + bbo": lambda: through_books(ticks, record_bbo=True),
            "books + bars": lambda: through_market(ticks, record_bbo=False),
            "decode + books + bars": lambda: through_market(decoded(chunks), record_bbo=False),
            "decode + books + bbo + bars + csv": lambda: write_csv(decoded(chunks), Path(directory)),
        }
        rows = {name: measured(work, messages, options.rounds) for name, work in works.items()}
    if options.json:
        print(json.dumps({"bench": "books", "messages": messages, "symbols": options.symbols, "m_per_cpu_s": rows}))
        return
    print(f"{messages:,} messages of {options.symbols:,} symbols; million messages per CPU-second")
    for name, rates in rows.items():
        print(f"{name:36}{rates['best']:8.2f} best {rates['median']:8.2f} median")


if __name__ == "__main__":
    main()
