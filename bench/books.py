"""Order books and bars offline: messages per CPU-second on a generated day.

    python -m bench books [--messages 6000000] [--symbols 500] [--rounds 5] [--json]

The day is made beforehand and lies in memory in chunks of 1 MiB, as a file is read. Processor time of this process,
best and median of the rounds, each from empty books; the first sixth of the messages, in which arrays grow and memory
is touched for the first time, is not timed. ``books``: order-by-order books alone, of decoded ticks; ``bbo``: and every
change of a best bid or offer recorded; ``bars``: and 1 s and 1 min bars; ``decode``: framing and decode included;
``csv``: and ``bars.csv`` and ``bbo.csv`` written.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from common.books import Books
from common.contracts.ticks import Ticks
from ingest.domain.anomalies import Report
from ingest.domain.exchange import ExchangeOptions, exchange_chunks
from ingest.domain.framing import Framer
from ingest.domain.instruments import InstrumentRegistry
from ingest.domain.itch import Decoder
from signals.offline import TICKS_AT_ONCE, OfflineMarket, write_csv
from signals.warm import warm

WARM_MESSAGES: Final = 5_000
UNTIMED_SHARE: Final = 1 / 6


def decoded(chunks: Iterable[bytes]) -> Iterator[Ticks]:
    """The ticks of length-framed bytes, one array per chunk, as a file would give them."""
    report = Report()
    framer, decoder = Framer(report), Decoder(0, InstrumentRegistry(), report)
    for chunk in chunks:
        for block in framer.feed(chunk):
            yield decoder.decode(block)


def through_books(chunks: Iterable[Ticks], *, record_bbo: bool) -> None:
    """Books alone."""
    books = Books(record_bbo=record_bbo)
    for chunk in chunks:
        books.admit(chunk)
        for at in range(0, len(chunk), TICKS_AT_ONCE):
            part = chunk[at : at + TICKS_AT_ONCE]
            done = 0
            while done < len(part):
                done = books.apply(part, done)


def through_market(chunks: Iterable[Ticks]) -> None:
    """Books and bars."""
    market = OfflineMarket(record_bbo=False)
    for chunk in chunks:
        for at in range(0, len(chunk), TICKS_AT_ONCE):
            for _ in market.apply(chunk[at : at + TICKS_AT_ONCE]):
                pass


class Stopwatch:
    """Starts when a share of what it hands on has been taken."""

    def __init__(self) -> None:
        self._began = 0.0

    def watch(self, chunks: Sequence[Any]) -> Iterator[Any]:
        """Hands the chunks on."""
        first = int(len(chunks) * UNTIMED_SHARE)
        for place, chunk in enumerate(chunks):
            if place == first:
                self._began = time.process_time()
            yield chunk

    def read(self) -> float:
        """CPU-seconds since it started."""
        return time.process_time() - self._began


def measured(
    work: Callable[[Iterable[Any]], object], chunks: Sequence[Any], timed: int, rounds: int
) -> dict[str, float]:
    """Million messages per CPU-second, best and median. ``timed``: how many messages are."""
    rates = []
    for _ in range(rounds):
        stopwatch = Stopwatch()
        work(stopwatch.watch(chunks))
        rates.append(timed / stopwatch.read() / 1e6)
    return {"best": round(max(rates), 2), "median": round(statistics.median(rates), 2)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench books", description=__doc__)
    parser.add_argument("--messages", type=int, default=6_000_000)
    parser.add_argument("--symbols", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    options = parser.parse_args()
    warm()
    for _ in decoded(list(exchange_chunks(ExchangeOptions(symbols=2, messages=WARM_MESSAGES)))):
        pass
    day = ExchangeOptions(symbols=options.symbols, rate=200_000, messages=options.messages)
    chunks = list(exchange_chunks(day))
    ticks = list(decoded(chunks))
    for chunk in ticks:
        chunk.flags.writeable = False
    timed = sum(map(len, ticks[int(len(ticks) * UNTIMED_SHARE) :]))
    with tempfile.TemporaryDirectory() as directory:
        works: dict[str, tuple[Callable[[Iterable[Any]], object], Sequence[Any]]] = {
            "books": (lambda given: through_books(given, record_bbo=False), ticks),
            "books + bbo": (lambda given: through_books(given, record_bbo=True), ticks),
            "books + bars": (through_market, ticks),
            "decode + books + bars": (lambda given: through_market(decoded(given)), chunks),
            "decode + books + bbo + bars + csv": (lambda given: write_csv(decoded(given), Path(directory)), chunks),
        }
        rows = {name: measured(work, given, timed, options.rounds) for name, (work, given) in works.items()}
    if options.json:
        print(json.dumps({"bench": "books", "messages": timed, "symbols": options.symbols, "m_per_cpu_s": rows}))
        return
    print(f"{timed:,} messages of {options.symbols:,} symbols; million messages per CPU-second")
    for name, rates in rows.items():
        print(f"{name:36}{rates['best']:8.2f} best {rates['median']:8.2f} median")


if __name__ == "__main__":
    main()
