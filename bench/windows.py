"""Cost of windows and measures: ns of processor time a tick, from one window to ten, on a generated day.

    python -m bench windows [--messages 3000000] [--symbols 10,1000] [--rounds 3] [--json]

``books``: order-by-order books alone; ``1 window``: and bars of one second; ``10 windows``: six that tumble and four
that slide, up to an hour; ``and measures``: all shipped ones of them, too. Rounds of all are interleaved, so that what
else the machine does meets each alike; the best of the rounds counts. The first sixth of the messages is not timed.
"""

import argparse
import json
from collections.abc import Callable, Iterable
from typing import Any, Final

from common.contracts.ticks import Ticks
from common.contracts.windows import Window, lengths_ns, slides_ns
from ingest.domain.exchange import ExchangeOptions, exchange_chunks
from signals.domain.indicators import SHIPPED
from signals.offline import TICKS_AT_ONCE, OfflineMarket

from bench.books import UNTIMED_SHARE, Stopwatch, decoded, through_books

TUMBLING: Final = tuple(Window(name) for name in ("1s", "10s", "30s", "1m", "5m", "1h"))
SLIDING: Final = tuple(Window(name) for name in ("30s/10s", "1m/10s", "5m/30s", "15m/1m"))


def through(*windows: Window, measures: Iterable[Any] = ()) -> Callable[[Iterable[Ticks]], None]:
    """Books, and bars of these windows."""

    def work(chunks: Iterable[Ticks]) -> None:
        sliding = slides_ns(windows)
        market = OfflineMarket(lengths_ns(windows), tuple(measures), sliding_ns=sliding, record_bbo=False)
        for chunk in chunks:
            for at in range(0, len(chunk), TICKS_AT_ONCE):
                for _ in market.apply(chunk[at : at + TICKS_AT_ONCE]):
                    pass

    return work


WORKS: Final[dict[str, Callable[[Iterable[Ticks]], None]]] = {
    "books": lambda chunks: through_books(chunks, record_bbo=False),
    "1 window": through(TUMBLING[0]),
    "10 windows": through(*TUMBLING, *SLIDING),
    "and measures": through(*TUMBLING, *SLIDING, measures=SHIPPED.values()),
}


def measured(symbols: int, messages: int, rounds: int) -> dict[str, float]:
    """Work → ns a tick, the best of the rounds."""
    ticks = list(decoded(exchange_chunks(ExchangeOptions(symbols=symbols, rate=20_000, messages=messages))))
    for chunk in ticks:
        chunk.flags.writeable = False
    timed = sum(map(len, ticks[int(len(ticks) * UNTIMED_SHARE) :]))
    best = dict.fromkeys(WORKS, float("inf"))
    for _ in range(rounds):
        for name, work in WORKS.items():
            stopwatch = Stopwatch()
            work(stopwatch.watch(ticks))
            best[name] = min(best[name], stopwatch.read() / timed * 1e9)
    return {name: round(cost, 1) for name, cost in best.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench windows", description=__doc__)
    parser.add_argument("--messages", type=int, default=3_000_000)
    parser.add_argument("--symbols", default="10,1000", help="how many, one run for each")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    options = parser.parse_args()
    rows = {
        symbols: measured(symbols, options.messages, options.rounds) for symbols in map(int, options.symbols.split(","))
    }
    if options.json:
        print(json.dumps({"bench": "signals", "messages": options.messages, "ns_a_tick": rows}))
        return
    print(f"{options.messages:,} messages; ns of processor time a tick")
    print(f"{'symbols':>9}" + "".join(f"{name:>14}" for name in WORKS) + f"{'10 to 1':>10}")
    for symbols, costs in rows.items():
        ratio = costs["10 windows"] / costs["1 window"]
        print(f"{symbols:>9,}" + "".join(f"{cost:>14,.1f}" for cost in costs.values()) + f"{ratio:>10.2f}")


if __name__ == "__main__":
    main()
