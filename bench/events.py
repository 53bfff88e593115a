"""Cost of market events of others in the stage that makes ticks of them: one by one, and many at once.

    python -m bench events [--events 2000] [--rounds 15]

No broker; tables in memory. ``trades``: each with a number; ``best bid and offer``: prices walk; ``both``: in turn.
Each way takes its turn in each round on fresh tables, and of each the best round counts. Both have to write the same.
"""

import argparse
import random
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final

from common.contracts.market_events import MarketEvent, MarketEventKind
from common.contracts.reference import Instrument
from common.contracts.ticks import decode_frame
from common.contracts.topics import MD_EVENTS
from common.contracts.values import E4
from signals.event_stage import handle, handle_batch
from signals.event_tables import TABLES
from streams.model.message import Message
from streams.testing.tables import MemoryTables

from bench.harness import conditions, show

NOW_NS: Final = 1_700_000_000_000_000_000
APART_NS: Final = 100_000
SYMBOLS: Final = 100
Frames = list[tuple[int, bytes]]
"""Partition and value."""


def trades(count: int, chance: random.Random) -> Iterator[MarketEvent]:
    for at in range(count):
        price_e4 = 100 * E4 + chance.randrange(E4)
        yield event(
            MarketEventKind.TRADE, at, chance, price_e4=price_e4, qty=1 + chance.randrange(500), trade_id=at + 1
        )


def quotes(count: int, chance: random.Random) -> Iterator[MarketEvent]:
    for at in range(count):
        bid_e4 = 100 * E4 + chance.randrange(20) * 100
        sizes = {"bid_size": 100 * chance.randrange(1, 9), "ask_size": 100 * chance.randrange(1, 9)}
        yield event(MarketEventKind.BBO, at, chance, bid_e4=bid_e4, ask_e4=bid_e4 + 100, **sizes)


def both(count: int, chance: random.Random) -> Iterator[MarketEvent]:
    yield from chain.from_iterable(zip(trades(count // 2, chance), quotes(count - count // 2, chance), strict=False))


WORKS: Final = {"trades": trades, "best bid and offer": quotes, "both": both}


def event(kind: MarketEventKind, at: int, chance: random.Random, **said: Any) -> MarketEvent:
    symbol = f"SYM{chance.randrange(SYMBOLS)}"
    return MarketEvent(kind=kind, symbol=symbol, venue="XBEN", event_ns=NOW_NS + at * APART_NS, **said)


def messages_of(events: Sequence[MarketEvent]) -> list[Message]:
    framing = MD_EVENTS.schema.framing
    assert framing is not None
    values = [framing.framed(MD_EVENTS.schema.encode(each)) for each in events]
    return [Message(MD_EVENTS, 0, at, b"", value, 0) for at, value in enumerate(values)]


def fresh() -> MemoryTables:
    tables = MemoryTables(TABLES)
    for number in range(SYMBOLS):
        tables.globals("instruments").put(b"SYM%d" % number, Instrument(instrument_id=number, symbol=f"SYM{number}"))
    return tables


def one_by_one(batch: Sequence[Message]) -> Frames:
    tables = fresh()
    return [
        (output.partition or 0, output.body)
        for each in batch
        for output in handle(Message(each.topic, 0, each.offset, b"", each.value, 0), tables, NOW_NS)
    ]


def at_once(batch: Sequence[Message]) -> Frames:
    frames: Frames = []
    for said in handle_batch(batch, fresh(), NOW_NS):
        if isinstance(said, int):
            raise SystemExit("a sound event was left to the handler")
        for block in said.outputs:
            frames += [(block.partition, value or b"") for _, value, _, _ in block.records(0, {})]
    return frames


WAYS: Final = {"many at once": at_once, "one by one": one_by_one}


def ticks_of(frames: Frames) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    for number, value in frames:
        found.setdefault(number, []).extend(decode_frame(value).ticks.tolist())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    rows = []
    for name, work in WORKS.items():
        batch = messages_of(list(work(options.events, random.Random(1))))
        wanted = ticks_of(one_by_one(batch))
        if any(ticks_of(way(batch)) != wanted for way in WAYS.values()):
            raise SystemExit(f"{name}: not the same ticks")
        best_s = dict.fromkeys(WAYS, float("inf"))
        for _ in range(options.rounds):
            for way, run in WAYS.items():
                began_s = time.process_time()
                run(batch)
                best_s[way] = min(best_s[way], time.process_time() - began_s)
        bytes_each = round(sum(len(each.value or b"") for each in batch) / len(batch), 1)
        micros = {way: round(seconds / len(batch) * 1e6, 2) for way, seconds in best_s.items()}
        rows.append({"events": name, "bytes": bytes_each} | {f"µs, {way}": each for way, each in micros.items()})
    show("events", rows, conditions=conditions())


if __name__ == "__main__":
    main()
