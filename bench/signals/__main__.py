"""The same market work on Tidemark and on its peers: events per CPU-second of the process.

    python -m bench signals [--events 12000000] [--peers ks,flink] [--forms frames,events] [--quick]

Enrichment with the symbol's sector, VWAP of each second by symbol, and trades more than 5 % off; 1,000 symbols,
exactly once, one broker. Every processor gets the same events: one a record for the peers, 56 bytes each; for Tidemark
in frames as ingest writes them, and as one Avro record an event as strangers do. They run one after the other, and the
bars of each are compared with those of a reference, which goes through the trades one by one. A peer's figure ends with
its last record handled, Tidemark's with the commit of the last one. Steady is the second half: the JVMs warm up in the
first. What windows and measures cost says ``bench windows``, what the whole of signals takes ``bench online``.
"""

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from common.avro.compiled import writer
from common.columns.records import Column, RecordColumns
from common.contracts.market_events import MarketEventKind
from common.contracts.ticks import TickKind, Ticks, encode_frame
from common.contracts.values import Side
from parts import PartsError
from rich.console import Console
from streams.kafka.kafka_log import KafkaLog
from streams.model.log import Partition, Records
from streams.process.settings import KafkaSettings, Settings

from bench.gate.__main__ import row_of, with_ratios
from bench.harness import conditions, show
from bench.peers.programs import Program, Work, flink_bars, streams_bars, tidemark_bars
from bench.peers.runner import BenchError, Runner, make_topics, parts
from bench.signals.market import (
    BEGIN_NS,
    PARTITIONS,
    SYMBOLS,
    Bar,
    Bars,
    partitions,
    reference,
    symbol_names,
    ticks,
)
from bench.signals.stage import file_of_events

PEERS: Final[dict[str, Callable[[Work, int], Program]]] = {"ks": streams_bars, "flink": flink_bars}
FORMS: Final = ("frames", "events")
RECORDS: Final = "bench.ticks"
QUICK: Final = 200_000
TOGETHER: Final = 100_000
"""Events of one transaction of the filler."""
FRAME_TICKS: Final = 4_096
POLL_MS: Final = 2_000
VENUE: Final = b"XBEN"
err = Console(stderr=True)


def as_records(some: Ticks, now_ms: int) -> Records:
    """An event a record, as its bytes stand in a frame."""
    size = some.dtype.itemsize
    ends = np.arange(1, len(some) + 1, dtype=np.int64) * size
    return RecordColumns(_keys(some), Column(some.view(np.uint8), ends - size, ends), now_ms, {})


def as_frames(some: Ticks, now_ms: int) -> Records:
    cut = (some[at : at + FRAME_TICKS] for at in range(0, len(some), FRAME_TICKS))
    frames = (encode_frame(each, feed="bench", ingest_ns=BEGIN_NS, session_ns=BEGIN_NS) for each in cut)
    return [(b"0", frame, now_ms, ()) for frame in frames]


def as_events(some: Ticks, now_ms: int) -> Records:
    """Trades and, of the other events, quotes."""
    names = symbol_names()
    made = writer(file_of_events().schema(), constants={"from_ticks": False, "bid_e4": None, "bid_size": None,
        "ask_e4": None, "ask_size": None, "trade_id": None}, given=("price_e4", "qty", "side", "sequence"))  # fmt: skip
    rows = np.zeros(len(some), made.row)
    size = len(names[0])
    text = np.frombuffer(b"".join(names) + VENUE, np.uint8)
    kinds, sides = made.symbols["kind"], made.symbols["side"]
    is_trade = some["kind"] == TickKind.TRADE
    numbers = [kinds.index(MarketEventKind.TRADE.value), kinds.index(MarketEventKind.QUOTE.value)]
    rows["kind"] = np.where(is_trade, *numbers)
    rows["side"] = sides.index(Side.BUY.value)
    rows["symbol.begin"] = some["instrument_id"] * size
    rows["symbol.end"] = rows["symbol.begin"] + size
    rows["venue.begin"], rows["venue.end"] = len(text) - len(VENUE), len(text)
    for name in ("event_ns", "price_e4", "qty", "sequence"):
        rows[name] = some[name]
    written = made.write(rows, text, file_of_events().id)
    begins = np.concatenate((np.zeros(1, np.int64), written.ends))[:-1]
    return RecordColumns(_keys(some), Column(written.data, begins, written.ends), now_ms, {})


def _keys(some: Ticks) -> Column:
    names = symbol_names()
    begins = some["instrument_id"].astype(np.int64) * len(names[0])
    return Column(np.frombuffer(b"".join(names), np.uint8), begins, begins + len(names[0]))


TOPICS: Final[dict[str, Callable[[Ticks, int], Records]]] = {
    RECORDS: as_records, "bench.frames": as_frames, "bench.events": as_events,
}  # fmt: skip


async def fill(settings: Settings, count: int, topics: dict[str, Callable[[Ticks, int], Records]]) -> None:
    """Puts the events on each of the topics."""
    log = KafkaLog(settings, "bench")
    await log.start()
    producer = await log.fence("bench-filler")
    partition_of = partitions()
    for chunk in ticks(count):
        for at in range(0, len(chunk), TOGETHER):
            some = chunk[at : at + TOGETHER]
            numbers = partition_of[some["instrument_id"]]
            await producer.begin()
            for number in range(PARTITIONS):
                of = np.ascontiguousarray(some[numbers == number])
                for topic, form in topics.items():
                    await producer.append(Partition(topic, number), form(of, time.time_ns() // 1_000_000))
            await producer.commit()
    await producer.close()
    await log.stop()


async def said(settings: Settings, topic: str) -> list[tuple[str, dict[str, Any]]]:
    """Symbol and row of all that was committed."""
    log = KafkaLog(settings, "bench-said")
    await log.start()
    found: list[tuple[str, dict[str, Any]]] = []
    for number in range(PARTITIONS):
        partition = Partition(topic, number)
        end = await log.last_stable_offset(partition)
        reader = await log.read(partition, 0)
        while reader.position < end:
            records = await reader.poll(POLL_MS)
            found += [((each.key or b"").decode(), json.loads(each.value or b"{}")) for each in records]
        await reader.close()
    await log.stop()
    return found


async def compared(settings: Settings, topic: str, right: Bars) -> dict[str, int]:
    """How many of the bars that are right were said, and how many other or twice."""
    times: Counter[tuple[str, int]] = Counter()
    bars: dict[tuple[str, int], list[int]] = {}
    for symbol, row in await said(settings, topic):
        if "bar" in row:
            times[symbol, row["bar"]] += 1
            bar = bars.setdefault((symbol, row["bar"]), [0, 0, 0, 0])
            bar[:3] = row["notional_e4"], row["volume"], row["trades"]
        else:
            bars.setdefault((symbol, row["alert"]), [0, 0, 0, 0])[3] = row["jumps"]
    equal = sum(Bar(*bars[key]) == bar for key, bar in right.items() if key in bars)
    wrong = sum(Bar(*bar) != right[key] for key, bar in bars.items() if key in right)
    return {"bars right": equal, "missing": len(right.keys() - bars.keys()), "wrong": wrong,
            "twice": sum(count > 1 for count in times.values())}  # fmt: skip


async def run(options: argparse.Namespace) -> None:
    before, rows, peers = conditions(), list[dict[str, Any]](), set[str]()
    right = await asyncio.to_thread(reference, options.events)
    with Runner.temporary() as runner:
        async with parts("kafka") as where:
            settings = Settings(kafka=KafkaSettings(bootstrap=where.kafka_bootstrap))
            topics = {name: form for name, form in TOPICS.items() if name.removeprefix("bench.") in options.topics}
            await make_topics(where.kafka_bootstrap, *topics)
            err.print(f"filling {options.events:,} events into {', '.join(topics)}")
            await fill(settings, options.events, topics)
            for name in (*options.peers, *options.forms):
                topic = RECORDS if name in PEERS else f"bench.{name}"
                work = Work(
                    where.kafka_bootstrap, topic, f"bench.{name}.bars", runner.new_directory(name), options.events
                )
                program = PEERS[name](work, SYMBOLS) if name in PEERS else tidemark_bars(work, name)
                await make_topics(where.kafka_bootstrap, work=work)
                err.print(f"{program.label}: {options.events:,} events")
                row = row_of(program.label, await runner.result(program))
                row["events"] = row.pop("intents")
                rows.append(row | await compared(settings, work.decisions, right))
                peers |= {program.label} if name in PEERS else set()
    show("signals", with_ratios(rows, peers), conditions=before)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="bench signals", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=12_000_000, help="(default %(default)s)")
    parser.add_argument("--peers", default=",".join(PEERS), help="of %(default)s; empty for none")
    parser.add_argument("--forms", default=",".join(FORMS), help="of %(default)s; empty for none")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK:,} events: shows that it works, no figures")
    options = parser.parse_args()
    for name, known in (("peers", tuple(PEERS)), ("forms", FORMS)):
        chosen = tuple(each for each in getattr(options, name).split(",") if each)
        if unknown := set(chosen) - set(known):
            parser.error(f"--{name}: no {', '.join(sorted(unknown))}; there are {', '.join(known)}")
        setattr(options, name, chosen)
    options.events = QUICK if options.quick else options.events
    options.topics = {*options.forms, *(["ticks"] if options.peers else [])}
    try:
        asyncio.run(run(options))
    except (PartsError, BenchError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
