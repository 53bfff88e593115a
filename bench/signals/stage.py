"""The bare market work on the stage runtime: enrich, VWAP of a second, jumps. What the peers do, and nothing else.

One process, one event loop. Prints one JSON line: events per second and per CPU-second of this process, from the first
record handled to the commit of the last one.
"""

import argparse
import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import uvloop
from common.avro.codec import AvroFraming
from common.avro.compiled import Chosen, Number, Reader, Text, Verdict, reader
from common.avro.on_file import SchemaFile, by_name
from common.columns.records import Column, OutputColumns
from common.contracts.market_events import MarketEventKind
from common.contracts.ticks import decode_frame
from common.contracts.topics import MD_EVENTS, RAW_SCHEMA, Topic
from streams.kafka.kafka_log import KafkaLog
from streams.model.blocks import Answers
from streams.model.declaration import Stage
from streams.model.log import Partition
from streams.model.message import Message, Output
from streams.model.tables import Changelogged, Codec, Tables
from streams.process.settings import KafkaSettings, Settings
from streams.service.app import calm_garbage_collection
from streams.stage.runner import StageService

from bench.gate.stage import Meter
from bench.signals.kernel import OPEN, ROW_CHARS, TRADE, add_ticks, add_trades, find_symbols, place_symbols
from bench.signals.market import PARTITIONS, SECTORS, SYMBOLS, Array, symbol_names

OPEN_KEY: Final = b"open"
SLOTS: Final = 4_096
Closed = tuple[int, bytes, Array, Array]
"""Number of the message that ended a second, the rows' text, where each ends, and the symbol of each."""


class Enriched:
    """Reference data, in arrays."""

    def __init__(self) -> None:
        names = symbol_names()
        self.text = np.frombuffer(b"".join(names), np.uint8)
        sizes = np.array([*map(len, names)], np.int64)
        self.ends = np.cumsum(sizes)
        self.begins = self.ends - sizes
        self.sectors = np.arange(SYMBOLS, dtype=np.int64) % len(SECTORS)
        self.names = np.array([[*name.ljust(int(sizes.max()), b"\0")] for name in names], np.uint8)
        self.slots = np.full(SLOTS, -1, np.int64)
        place_symbols(self.names, sizes, self.slots)


class Seconds:
    """The second that is open in a partition, as the table has it between two batches."""

    def __init__(self, row: bytes | None, reference: Enriched) -> None:
        self._reference = reference
        self._second = 0
        self._open = np.zeros(SYMBOLS, OPEN)
        if row:
            self._second = int.from_bytes(row[:8], "little")
            kept = np.frombuffer(row, OPEN, offset=8)
            self._open[kept["instrument_id"]] = kept
        self._open["instrument_id"] = np.arange(SYMBOLS)

    def row(self) -> bytes:
        return self._second.to_bytes(8, "little") + self._open[self._open["trades"] > 0].tobytes()

    def add(self, add: Any, events: Array, number: int) -> Iterator[Closed]:
        """Adds events of a message; each second that one of them ends."""
        first = 0
        while first < len(events):
            out, ends = np.empty(2 * SYMBOLS * ROW_CHARS, np.uint8), np.empty(2 * SYMBOLS, np.int64)
            of = np.empty(2 * SYMBOLS, np.int64)
            first, rows, self._second = add(
                events, self._second, self._open, self._reference.sectors, first, out, ends, of
            )
            if rows:
                yield number, out[: ends[rows - 1]].tobytes(), ends[:rows], of[:rows]


@cache
def file_of_events() -> SchemaFile:
    framing = MD_EVENTS.schema.framing
    assert isinstance(framing, AvroFraming)
    return by_name()[framing.file]


@cache
def event_reader() -> Reader:
    trade = Chosen("kind", MarketEventKind.TRADE.value, "is_trade")
    numbers = (Number(name, name) for name in ("event_ns", "price_e4", "qty"))
    return reader(file_of_events().schema(), (trade, Text("symbol", "symbol_begin", "symbol_end"), *numbers))


def trades_of(batch: Sequence[Message], reference: Enriched) -> Array:
    """Raises ValueError where one is no sound event of a known symbol."""
    data, begins, ends = Column.of([message.value or b"" for message in batch])
    of = event_reader()
    rows, verdicts = np.zeros(len(batch), of.row), np.empty(len(batch), np.uint8)
    of.read_into(data, begins, ends, file_of_events().id, rows, verdicts)
    ids = np.empty(len(batch), np.int64)
    symbols = np.ascontiguousarray(rows["symbol_begin"]), np.ascontiguousarray(rows["symbol_end"])
    find_symbols(data, *symbols, reference.slots, reference.names, ids)
    if (verdicts != int(Verdict.SOUND)).any() or (ids < 0).any():
        raise ValueError("not an event of a known symbol")
    trades = np.empty(len(batch), TRADE)
    trades["event_ns"], trades["price_e4"], trades["instrument_id"] = rows["event_ns"], rows["price_e4"], ids
    trades["qty"] = np.where(rows["is_trade"], rows["qty"], 0)
    return trades


def make_stage(options: argparse.Namespace, meter: Meter) -> Stage:
    """Bars and jumps to ``options.bars``; the open second in RocksDB."""
    schema = MD_EVENTS.schema if options.form == "events" else RAW_SCHEMA
    ticks, bars = Topic(options.ticks, "symbol", schema, "bench"), Topic(options.bars, "symbol", RAW_SCHEMA, "bench")
    reference = Enriched()

    def closed_by(batch: Sequence[Message], seconds: Seconds) -> Iterator[Closed]:
        if options.form == "events":
            # Bars are said to answer the batch's last event: which one ended a second is of no account here.
            yield from seconds.add(add_trades, trades_of(batch, reference), len(batch) - 1)
            meter.hit(len(batch))
            return
        for number, message in enumerate(batch):
            events = decode_frame(message.value or b"").ticks
            yield from seconds.add(add_ticks, events, number)
            meter.hit(len(events))

    def block(closed: Sequence[Closed], partition: int) -> OutputColumns:
        of = np.concatenate([rows for *_, rows in closed])
        ends = np.concatenate([np.concatenate(([0], ends)) for _, _, ends, _ in closed])
        sizes = np.array([len(text) for _, text, _, _ in closed], np.int64)
        shift = np.repeat(np.cumsum(sizes) - sizes, [len(ends) + 1 for _, _, ends, _ in closed])
        bounds = ends + shift
        is_begin, is_end = np.ones(len(bounds), bool), np.ones(len(bounds), bool)
        lasts = np.cumsum([len(ends) + 1 for _, _, ends, _ in closed]) - 1
        is_begin[lasts] = False
        is_end[np.concatenate(([0], lasts[:-1] + 1))] = False
        text = np.frombuffer(b"".join(text for _, text, _, _ in closed), np.uint8)
        answered = np.repeat([number for number, *_ in closed], [len(rows) for *_, rows in closed])
        keys = Column(reference.text, reference.begins[of], reference.ends[of])
        values = Column(text, bounds[is_begin], bounds[is_end])
        return OutputColumns(bars, partition, answered.astype(np.int64), keys, values)

    def handle_batch(batch: Sequence[Message], tables: Tables, now_ns: int) -> Iterator[Answers | int]:
        table = tables.changelogged("open")
        seconds = Seconds(table.get(OPEN_KEY), reference)
        closed = list(closed_by(batch, seconds))
        table.put(OPEN_KEY, seconds.row())
        yield Answers(len(batch), (block(closed, batch[0].partition),) if closed else ())

    def handle(message: Message, tables: Tables, now_ns: int) -> Iterator[Output]:
        for answers in handle_batch([message], tables, now_ns):
            for each in answers.outputs if isinstance(answers, Answers) else ():
                for key, value, _, _ in each.records(0, {}):
                    yield Output(bars, key or b"", value, each.partition)

    return Stage(
        options.app, "bars", handle, (ticks,), (bars,),
        Topic(options.changelog, "symbol", RAW_SCHEMA, "bench", cleanup="compact"),
        (Changelogged("open", Codec(_as_it_is, _as_it_is)),),
        batch_handler=handle_batch,
        reads_framed={ticks: file_of_events().id} if options.form == "events" else {},
    )  # fmt: skip


_as_it_is: Callable[[Any], Any] = bytes


async def ends_of(settings: Settings, topic: str) -> int:
    """Offsets up to which a topic has records, all partitions together, without the last commits' markers."""
    log = KafkaLog(settings, "bench-ends")
    await log.start()
    try:
        return sum([await log.high_watermark(Partition(topic, number)) - 1 for number in range(PARTITIONS)])
    finally:
        await log.stop()


async def run(options: argparse.Namespace) -> None:
    """Works until the transaction of the last event is committed."""
    meter = Meter(options.messages)
    stage = make_stage(options, meter)
    settings = Settings(kafka=KafkaSettings(bootstrap=options.bootstrap), data_dir=options.data, worker_id="bench")
    end = await ends_of(settings, options.ticks)
    service = StageService(stage, settings, None)
    await service.start()
    calm_garbage_collection()
    while sum(task.positions.get(options.ticks, 0) for task in service.tasks()) < end:
        await asyncio.sleep(0.005)
    print(json.dumps(meter.result()), flush=True)
    await service.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("bootstrap", "app", "ticks", "bars", "changelog"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--messages", type=int, required=True, help="events in all")
    parser.add_argument("--form", choices=("frames", "events"), required=True)
    parser.add_argument("--data", type=Path, required=True)
    uvloop.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
