"""Memory of the market state of signals by hours of the feed's time: which arrays grow, and where that ends.

    python -m bench memory [--hours 6] [--rate 500] [--symbols 500] [--partitions 4] [--every 0.5]

Feeds the synthetic exchange to the partitions of one process as fast as they take it, with default windows and a
heartbeat a second, and prints what their arrays hold and the resident memory of the process. A line an interval: hours,
MB of all arrays, MB of the log of trades with its index, MB of closed bars on show, resident MB, closed bars on show.
Before that, what a symbol takes that does not trade, and how much of it is for each window.
"""

import argparse
import os
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
from common.contracts.ticks import TICK, TickKind, Ticks
from common.contracts.windows import NS, lengths_ns
from ingest.domain.exchange import ExchangeOptions, exchange_chunks
from signals.domain.market import MarketState
from signals.stages import MARKET

from bench.books import decoded

MB: Final = 1e6
LOG: Final = ("bars.log", "bars.matches")
SHOWN: Final = "showcase."


def seconds(ticks: Iterator[Ticks]) -> Iterator[Ticks]:
    """The ticks of each second, with a heartbeat behind them."""
    rest = np.zeros(0, TICK)
    for chunk in ticks:
        rest = np.concatenate((rest, chunk))
        second = rest["event_ns"] // NS
        edges = np.flatnonzero(np.diff(second)) + 1
        for part in np.split(rest, edges)[:-1]:
            beat = np.zeros(1, TICK)
            beat["kind"], beat["instrument_id"] = TickKind.HEARTBEAT, -1
            beat["event_ns"] = (int(part["event_ns"][-1]) // NS + 1) * NS - 1
            yield np.concatenate((part, beat))
        rest = rest[edges[-1] if len(edges) else 0 :]


def held_bytes(markets: list[MarketState]) -> Counter[str]:
    """Name of an array → bytes in all partitions."""
    held: Counter[str] = Counter()
    for market in markets:
        held.update({name: array.nbytes for name, array in market.arrays().items()})
    return held


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def line(hours: float, markets: list[MarketState]) -> str:
    held = held_bytes(markets)
    log = sum(held[name] for name in LOG)
    shown = sum(size for name, size in held.items() if name.startswith(SHOWN))
    rows = sum(len(market.showcase.rows) for market in markets)
    sizes = (held.total(), log, shown, resident_bytes())
    return "  ".join([f"{hours:5.2f}", *(f"{size / MB:8.1f}" for size in sizes), f"{rows:8d}"])


def bytes_a_symbol(windows: int) -> float:
    """Bytes that one more symbol takes in so many tumbling windows, without orders and trades."""
    sizes = []
    for symbols in (4_000, 8_000):
        market = MarketState(windows_ns=lengths_ns()[:windows])
        market.apply(np.concatenate(list(decoded(islice(exchange_chunks(ExchangeOptions(symbols=symbols)), 1)))), 0)
        sizes.append(held_bytes([market]).total())
    return (sizes[1] - sizes[0]) / 4_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=6.0)
    parser.add_argument("--rate", type=int, default=500, help="events a second")
    parser.add_argument("--symbols", type=int, default=500)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--every", type=float, default=0.5, help="hours")
    options = parser.parse_args()
    all_windows = len(lengths_ns())
    one, of_all = bytes_a_symbol(1), bytes_a_symbol(all_windows)
    print(f"a symbol: {of_all:.0f} bytes in {all_windows} windows, {(of_all - one) / (all_windows - 1):.0f} each")
    markets = [MARKET.create(partition) for partition in range(options.partitions)]
    exchange = ExchangeOptions(symbols=options.symbols, rate=options.rate)
    first_ns, told = 0, 0
    print(" hours    arrays       log     shown  resident     bars", flush=True)
    for ticks in seconds(decoded(exchange_chunks(exchange))):
        first_ns = first_ns or int(ticks["event_ns"][-1])
        for partition, market in enumerate(markets):
            own = (ticks["instrument_id"] < 0) | (ticks["instrument_id"] % options.partitions == partition)
            market.apply(ticks[own], int(ticks["event_ns"][-1]))
        hours = (int(ticks["event_ns"][-1]) - first_ns) / (3600 * NS)
        if hours >= told * options.every:
            told += 1
            print(line(hours, markets), flush=True)
        if hours >= options.hours:
            break
    print("largest: " + ", ".join(f"{name} {size / MB:.1f}" for name, size in held_bytes(markets).most_common(8)))


if __name__ == "__main__":
    main()
