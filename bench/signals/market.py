"""The events that every processor is given, and the bars that are right.

Symbols are drawn by 1/rank^0.8, so that the first has some five per cent; a fifth of the events are trades, one trade
in a thousand is 8 % off. Event time goes on by the same step from event to event.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from common.contracts.ticks import TICK, TickKind, Ticks
from streams.kafka.partitioner import partition_of

SYMBOLS: Final = 1_000
PARTITIONS: Final = 4
RATE: Final = 50_000
"""Events in a second of event time."""
SECOND_NS: Final = 1_000_000_000
BEGIN_NS: Final = 1_700_000_000 * SECOND_NS
CHUNK: Final = 1_000_000
KINDS: Final = (TickKind.ADD, TickKind.CANCEL, TickKind.REPLACE, TickKind.TRADE, TickKind.DELETE)
SHARES: Final = (0.30, 0.25, 0.10, 0.20, 0.15)
SECTORS: Final = (
    "energy", "materials", "industrials", "discretionary", "staples", "health", "financials", "technology",
    "communication", "utilities", "realty",
)  # fmt: skip
JUMP_SHARE: Final = 20
"""A trade that is more than one part in so many away from the VWAP before it is a jump."""
Array = npt.NDArray[Any]


def symbol_names() -> list[bytes]:
    return [b"SYM%04d" % number for number in range(SYMBOLS)]


def partitions() -> Array:
    """int64[symbols]: by Kafka's own partitioner."""
    return np.array([partition_of(name, PARTITIONS) for name in symbol_names()], np.int64)


def ticks(count: int) -> Iterator[Ticks]:
    """The events in their order, in chunks."""
    weights = 1.0 / np.arange(1, SYMBOLS + 1) ** 0.8
    weights /= weights.sum()
    for first in range(0, count, CHUNK):
        chance = np.random.default_rng((7, first))
        size = min(CHUNK, count - first)
        made = np.zeros(size, TICK)
        of = chance.choice(SYMBOLS, size, p=weights)
        made["instrument_id"] = of
        made["kind"] = chance.choice(np.array(KINDS, np.uint8), size, p=SHARES)
        made["qty"] = chance.integers(1, 500, size)
        price_e4 = 1_000_000 + of * 1_000 + chance.integers(-2_000, 2_000, size)
        made["price_e4"] = np.where(chance.random(size) < 0.001, price_e4 * 108 // 100, price_e4)
        made["sequence"] = np.arange(first + 1, first + size + 1)
        made["order_ref"] = made["sequence"]
        made["side"] = ord("B")
        made["event_ns"] = BEGIN_NS + np.arange(first, first + size) * (SECOND_NS // RATE)
        yield made


class Bar(NamedTuple):
    """A symbol's second, as every processor has to say it."""

    notional_e4: int
    volume: int
    trades: int
    jumps: int


Bars = dict[tuple[str, int], Bar]
"""Symbol and the second's begin in ms → bar."""


def reference(count: int) -> Bars:
    """The bars, one trade after the other; the last second is left out, since nothing says that it is over."""
    found: dict[tuple[int, int], list[int]] = {}
    last_ms = 0
    for chunk in ticks(count):
        trades = chunk[chunk["kind"] == TickKind.TRADE]
        last_ms = int(chunk["event_ns"][-1]) // SECOND_NS * 1_000
        columns = (trades[name].tolist() for name in ("instrument_id", "event_ns", "price_e4", "qty"))
        for of, event_ns, price_e4, qty in zip(*columns, strict=True):
            bar = found.setdefault((of, event_ns // SECOND_NS * 1_000), [0, 0, 0, 0])
            if bar[1] and abs(price_e4 * bar[1] - bar[0]) * JUMP_SHARE > bar[0]:
                bar[3] += 1
            bar[0] += price_e4 * qty
            bar[1] += qty
            bar[2] += 1
    names = [name.decode() for name in symbol_names()]
    return {(names[of], begin_ms): Bar(*bar) for (of, begin_ms), bar in found.items() if begin_ms < last_ms}
