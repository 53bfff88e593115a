"""CPU cost of an order behind the gate, without a broker: lifecycle and venue, from decision to fill.

    python -m bench lifecycle [--orders 20000] [--accounts 100] [--batch 500] [--format json] [--profile]

Every order is accepted, acknowledged and filled at once: the lifecycle reads a decision and two reports, the venue an
order. Reading, handling, encoding of outputs and rows, and RocksDB are in it, and the rings of closed orders are full
where there are more than 200 orders of an account; record batches, requests and views are not.
"""

import argparse
import asyncio
import cProfile
import gc
import json
import pstats
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from common.contracts.events import Decision
from common.contracts.market import mark_clock_key
from common.contracts.topics import MD_MARKS, ORDERS_EXECUTIONS, RISK_DECISIONS, VENUE_ORDERS, market_partition
from common.contracts.values import order_id_of
from common.testing import orders
from orders.app import build
from orders.settings import OrdersSettings
from streams.commit.transaction import TaskParts, apply
from streams.kafka.partitioner import partition_of
from streams.model.declaration import Stage
from streams.model.framing import framed_topics, value_of
from streams.model.log import Partition, StoredRecord
from streams.model.message import Message
from streams.model.topics import Topic
from streams.process.settings import RedisSettings, Settings
from streams.state.framed_reader import TextRecord, reader_of
from streams.state.globals import GlobalView
from streams.state.overlay import TaskTables
from streams.state.store import RocksStore

SYMBOLS = 100
SIZE_SHOWN = 2_000_000_000
GC_THRESHOLD = 300_000
NOW_NS = orders.NOW_NS
PATH = {RISK_DECISIONS: 1, VENUE_ORDERS: 1, ORDERS_EXECUTIONS: 2}
"""How many messages of a topic an order takes."""
Records = list[tuple[bytes | None, bytes | None]]


class Fetched:
    """A fetch's worth of records. See ``streams.model.log.Reader``."""

    epoch = 0
    awaited: str | None = None

    def __init__(self, records: Sequence[StoredRecord]) -> None:
        self._records = records
        self.position = records[0].offset

    async def poll(self, _timeout_ms: int) -> Sequence[StoredRecord]:
        taken, self._records = self._records, ()
        return taken

    async def close(self) -> None:
        """There is nothing to let go."""


class Task:
    """One partition of a stage on a store of its own."""

    def __init__(self, stage: Stage, partition: int, settings: Settings, shared: dict[str, GlobalView]) -> None:
        self._settings, self._stage, self._partition = settings, stage, partition
        self._offsets: dict[str, int] = defaultdict(int)
        tables = TaskTables(partition, shared=shared)
        self._parts = TaskParts(
            stage.full_name,
            stage.handler,
            RocksStore(stage.store_path(settings, partition)),
            tables,
            Partition(stage.changelog.name, partition),
            frozenset(topic.name for topic in stage.outputs),
            clock_ns=lambda: NOW_NS,
            batch_handler=stage.batch_handler,
            framed=framed_topics(stage.outputs, settings.log_format),
        )
        for table in stage.changelogged():
            tables.add(table, self._parts.store)
        self.outputs: dict[Partition, Records] = defaultdict(list)
        self.cpu_s = 0.0
        self.best_s: dict[str, float] = {}
        """By topic: the least that a message of a whole batch took."""
        self.messages = self.rows = 0

    def take(self, topic: Topic, records: Records, batch_size: int) -> None:
        """Reads, handles and keeps batch after batch."""
        for at in range(0, len(records), batch_size):
            first = self._offsets[topic.name]
            stored = [TextRecord(first + n, *each, 0, ()) for n, each in enumerate(records[at : at + batch_size])]
            self._offsets[topic.name] += len(stored)
            began_s = time.process_time()
            reader = reader_of(topic, Fetched(stored), self._settings, self._stage.reads_framed.get(topic))
            self._commit(
                [Message(topic, self._partition, r.offset, r.key, r.value, 0) for r in asyncio.run(reader.poll(0))]
            )
            took_s = time.process_time() - began_s
            self.cpu_s += took_s
            if len(stored) == batch_size:
                self.best_s[topic.name] = min(took_s / batch_size, self.best_s.get(topic.name, took_s))

    def _commit(self, batch: Sequence[Message]) -> None:
        effects = apply(self._parts, batch)
        rows = [row for overlay in self._parts.tables.overlays.values() for row in overlay.changes()]
        self._parts.store.write(rows, 0)
        for overlay in self._parts.tables.overlays.values():
            overlay.settle()
        for place, made in effects.outputs:
            self.outputs[place] += [(key, value) for key, value, _, _ in made]
        self.messages, self.rows = self.messages + len(batch), self.rows + len(rows)

    def said(self, topic: Topic) -> list[tuple[int, Records]]:
        """Records that were written to each partition of a topic since this was last asked."""
        places = [place for place in self.outputs if place.topic == topic.name]
        return [(place.number, self.outputs.pop(place)) for place in places]


def decisions(count: int, accounts: int) -> Iterator[Decision]:
    """Accepted orders to buy at the ask."""
    names = [name for name in (f"acct-{n:05d}" for n in range(accounts * 8)) if partition_of(name.encode(), 4) == 0]
    listed = [number for number in range(SYMBOLS * 8) if market_partition(number) == 0][:SYMBOLS]
    for number in range(count):
        account_id, instrument_id = names[number * 7919 % accounts], listed[number % SYMBOLS]
        intent = orders.intent(
            f"c-{number:09d}", account_id, symbol=f"SYM{instrument_id}", qty=1 + number % 300, limit_price_e4=1_010_000
        )
        yield Decision(
            account_id=account_id,
            client_order_id=intent.client_order_id,
            order_id=order_id_of(account_id, intent.client_order_id),
            accepted=True,
            intent=intent,
            instrument_id=instrument_id,
            reserved_cash_e4=intent.qty * 1_010_000,
            protection_price_e4=1_010_000,
            account_seq=number + 1,
            decided_ns=NOW_NS,
            intent_partition=0,
            intent_offset=number,
        )


def market() -> GlobalView:
    """Marks of every symbol, with more shown than is ever asked for."""
    declared = next(table for stage in stages().values() for table in stage.globals() if table.name == "marks")
    view = GlobalView(declared)
    for number in range(SYMBOLS * 8):
        row = orders.mark_row(f"SYM{number}")
        row["ask_size"] = SIZE_SHOWN
        view.put(f"SYM{number}".encode(), MD_MARKS.schema.encode(row), 0, number)
    view.put(mark_clock_key(0), MD_MARKS.schema.encode(orders.clock_row()), 0, SYMBOLS * 8)
    return view


def stages() -> dict[str, Stage]:
    """As the service declares them."""
    return {stage.name: stage for stage in build(OrdersSettings(redis=RedisSettings(url=""))).stages}


def run(count: int, accounts: int, batch_size: int, settings: Settings, profiler: cProfile.Profile) -> dict[str, float]:
    declared = stages()
    lifecycle = Task(declared["lifecycle"], 0, settings, {})
    venue = Task(declared["venue"], 0, settings, {"marks": market()})
    framing = framed_topics([RISK_DECISIONS], settings.log_format).get(RISK_DECISIONS.name)
    records: Records = []
    for decision in decisions(count, accounts):
        text = RISK_DECISIONS.schema.encode(decision)
        records.append((decision.account_id.encode(), text if framing is None else value_of(text, framing)))
    gc.collect()
    if profiler is not NO_PROFILER:
        profiler.enable()
    for at in range(0, count, batch_size * 4):
        lifecycle.take(RISK_DECISIONS, records[at : at + batch_size * 4], batch_size)
        for _, asked in lifecycle.said(VENUE_ORDERS):
            venue.take(VENUE_ORDERS, asked, batch_size)
        for _, reports in venue.said(ORDERS_EXECUTIONS):
            lifecycle.take(ORDERS_EXECUTIONS, reports, batch_size)
    profiler.disable()
    cpu_s = lifecycle.cpu_s + venue.cpu_s
    best_s = {topic: {**lifecycle.best_s, **venue.best_s}[topic.name] for topic in PATH}
    return {
        "orders_per_cpu_s": round(count / cpu_s),
        "orders_per_cpu_s_best_batches": round(1 / sum(best_s[topic] * times for topic, times in PATH.items())),
        **{f"us_per_{topic.name}": round(took * 1e6, 1) for topic, took in best_s.items()},
        "lifecycle_us_per_order": round(lifecycle.cpu_s / count * 1e6, 1),
        "venue_us_per_order": round(venue.cpu_s / count * 1e6, 1),
        "lifecycle_messages_per_order": round(lifecycle.messages / count, 2),
        "lifecycle_rows_per_order": round(lifecycle.rows / count, 2),
        "venue_rows_per_order": round(venue.rows / count, 2),
    }


NO_PROFILER = cProfile.Profile()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--orders", type=int, default=20_000)
    parser.add_argument("--accounts", type=int, default=100)
    parser.add_argument("--batch", type=int, default=500, help="messages of a batch (default %(default)s)")
    parser.add_argument("--format", choices=("json", "avro"), help="only this one; both where it is not said")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    gc.set_threshold(GC_THRESHOLD)
    for log_format in [options.format] if options.format else ["json", "avro"]:
        profiler = cProfile.Profile() if options.profile else NO_PROFILER
        with TemporaryDirectory(prefix="tidemark-bench-") as directory:
            settings = Settings(redis=RedisSettings(url=""), log_format=log_format, data_dir=Path(directory))
            figures = run(options.orders, options.accounts, options.batch, settings, profiler)
        print(json.dumps({"format": log_format, **figures}))
        if options.profile:
            pstats.Stats(profiler).sort_stats("tottime").print_stats(30)


if __name__ == "__main__":
    main()
