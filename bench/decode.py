"""ITCH 5.0 decode: messages per CPU-second on a generated day, framing included.

    python -m bench decode [--messages 5000000] [--symbols 500] [--rounds 5] [--json]

The day is made beforehand (its speed is a figure of its own) and lies in memory in chunks of 1 MiB, as a file is read.
Processor time of this process, best and median of the rounds; ``split`` is dealing the ticks out to partitions.
"""

import argparse
import json
import statistics
import time
from typing import Final

from common.contracts.topics import MD_TICKS
from ingest.domain.anomalies import Report
from ingest.domain.exchange import ExchangeOptions, exchange_chunks
from ingest.domain.framing import Framer
from ingest.domain.instruments import InstrumentRegistry
from ingest.domain.itch import Decoder
from ingest.domain.partitions import deal

WARM_MESSAGES: Final = 5_000


def made(options: ExchangeOptions) -> tuple[list[bytes], float]:
    """A day, and the CPU-seconds that making it took."""
    began = time.process_time()
    return list(exchange_chunks(options)), time.process_time() - began


def decoded(chunks: list[bytes], *, split: bool) -> tuple[int, float]:
    """(messages, CPU-seconds) of one pass."""
    report = Report()
    framer, decoder = Framer(report), Decoder(0, InstrumentRegistry(), report)
    began = time.process_time()
    for chunk in chunks:
        for block in framer.feed(chunk):
            ticks = decoder.decode(block)
            if split:
                deal(ticks, MD_TICKS.partitions)
    spent = time.process_time() - began
    framer.finish()
    if report.counts or report.ticks != report.messages:
        raise SystemExit(f"the generated day did not decode: {dict(report.counts)}")
    return report.messages, spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=5_000_000)
    parser.add_argument("--symbols", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines for people")
    options = parser.parse_args()

    warm, _ = made(ExchangeOptions(symbols=options.symbols, messages=WARM_MESSAGES))
    decoded(warm, split=True)
    chunks, making_s = made(ExchangeOptions(symbols=options.symbols, rate=200_000, messages=options.messages))
    rates: dict[bool, list[float]] = {False: [], True: []}
    messages = 0
    for _ in range(options.rounds):
        for split in rates:
            messages, spent = decoded(chunks, split=split)
            rates[split].append(messages / spent)
    figures = {
        "messages": messages,
        "bytes": sum(map(len, chunks)),
        "symbols": options.symbols,
        "decode_messages_per_cpu_s": round(statistics.median(rates[False])),
        "decode_messages_per_cpu_s_best": round(max(rates[False])),
        "decode_split_messages_per_cpu_s": round(statistics.median(rates[True])),
        "generate_messages_per_cpu_s": round(messages / making_s),
    }
    if options.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:34} {value:>14,}")


if __name__ == "__main__":
    main()
