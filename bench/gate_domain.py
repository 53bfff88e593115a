"""The gate without a broker: intents per CPU-second of the handler over the runtime's own overlay tables.

    uv run python bench/gate_domain.py [--intents N] [--accounts N] [--batch N] [--profile]

What is counted: decoding the intent's JSON, every check, decision and ledger entry as JSON bytes, the account view, the
rows as changelog bytes, and applying them to a store in memory. What is not: Kafka, RocksDB, Redis, traces. The best
batch is the figure that neighbours on the machine disturb least; N must be a multiple of the batch.
"""

import argparse
import cProfile
import gc
import itertools
import json
import pstats
import time
from collections.abc import Callable, Iterator, Sequence

from common.contracts.market import mark_clock_key
from common.contracts.topics import MD_MARKS, ORDERS_INTENTS, REF_INSTRUMENTS, RISK_COMMANDS
from common.contracts.values import E4, Side
from common.testing import orders
from risk.domain.gate import Limits
from risk.stages import Gate
from risk.tables import DAY_NS, TABLES
from streams.model.message import Handled, Message, Output
from streams.model.tables import Changelogged, Global, Tables
from streams.state.globals import GlobalView
from streams.state.overlay import OverlayTable, TaskTables
from streams.testing.memory_store import MemoryStore

SYMBOLS = 100
GC_THRESHOLD_RAISED = 300_000
NOW_NS = orders.NOW_NS
Handle = Callable[[Message, Tables, int], Handled]


def open_tables() -> tuple[TaskTables, MemoryStore]:
    """Tables of one task, with instruments and fresh marks."""
    store = MemoryStore()
    views = {table.name: GlobalView(table) for table in TABLES if isinstance(table, Global)}
    for number in range(SYMBOLS):
        symbol = f"SYM{number}"
        key = symbol.encode()
        views["instruments"].put(key, REF_INSTRUMENTS.schema.encode(orders.instrument(symbol, number)), 0, number)
        views["marks"].put(key, MD_MARKS.schema.encode(orders.mark_row(symbol)), 0, number)
    views["marks"].put(mark_clock_key(0), MD_MARKS.schema.encode(orders.clock_row()), 0, SYMBOLS)
    overlays = {t.name: OverlayTable(t, store) for t in TABLES if isinstance(t, Changelogged)}
    return TaskTables(0, overlays, shared=views), store


def settle(tables: TaskTables, store: MemoryStore) -> int:
    """Encodes the rows as a commit does; returns how many there were."""
    rows = [row for overlay in tables.overlays.values() for row in overlay.changes()]
    store.write(rows, 0)
    for overlay in tables.overlays.values():
        overlay.settle()
    return len(rows)


def commands(accounts: int, held_symbols: int) -> Iterator[bytes]:
    for number in range(accounts):
        account_id = f"acct-{number:05d}"
        encode = RISK_COMMANDS.schema.encode
        yield encode(orders.set_account(account_id))
        yield encode(orders.fund(account_id, command_id="cash", cash_e4=10**15))
        for held in range(held_symbols):
            yield encode(orders.fund(account_id, command_id=f"s{held}", symbol=f"SYM{held}", qty=10**9))


def intents(count: int, accounts: int, held_symbols: int) -> list[tuple[bytes, bytes]]:
    """Half buys, half sells where shares are held; one in sixteen is denied for its tick."""
    made = []
    for number in range(count):
        account_id = f"acct-{number * 7919 % accounts:05d}"
        sell = held_symbols and number % 2
        intent = orders.intent(
            f"c-{number:09d}",
            account_id,
            symbol=f"SYM{number % (held_symbols or SYMBOLS)}",
            side=Side.SELL if sell else Side.BUY,
            qty=1 + number % 300,
            limit_price_e4=100 * E4 + (number % 40) * 100 + (1 if number % 16 == 5 else 0),
        )
        made.append((account_id.encode(), ORDERS_INTENTS.schema.encode(intent)))
    return made


def apply(handle: Handle, tables: TaskTables, batch: Sequence[Message]) -> tuple[int, int]:
    """Runs one batch as the runtime does; returns outputs and bytes."""
    outputs = size = 0
    for message in batch:
        for item in handle(message, tables, NOW_NS):
            if isinstance(item, Output):
                outputs += 1
                size += len(item.topic.schema.encode(item.body))
    return outputs, size


def run(count: int, accounts: int, held_symbols: int, batch_size: int) -> dict[str, float]:
    tables, store = open_tables()
    handle = Gate(Limits(), 7 * DAY_NS).handle
    setup = [
        Message(RISK_COMMANDS, 0, offset, RISK_COMMANDS.schema.decode(value).account_id.encode(), value, 0)
        for offset, value in enumerate(commands(accounts, held_symbols))
    ]
    apply(handle, tables, setup)
    settle(tables, store)
    records = intents(count, accounts, held_symbols)
    outputs = size = rows = 0
    gc.collect()
    batches_s = []
    for at in range(0, count, batch_size):
        batch = [
            Message(ORDERS_INTENTS, 0, offset, key, value, 0)
            for offset, (key, value) in enumerate(records[at : at + batch_size], at)
        ]
        began = time.process_time()
        made, made_size = apply(handle, tables, batch)
        outputs, size, rows = outputs + made, size + made_size, rows + settle(tables, store)
        batches_s.append(time.process_time() - began)
    cpu_s = sum(batches_s)
    return {
        "intents_per_cpu_s": round(count / cpu_s),
        "us_per_intent": round(cpu_s / count * 1e6, 2),
        "us_per_intent_best_batch": round(min(batches_s) / batch_size * 1e6, 2),
        "outputs_per_intent": round(outputs / count, 2),
        "rows_per_intent": round(rows / count, 2),
        "output_bytes_per_intent": round(size / count),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--intents", type=int, default=100_000)
    parser.add_argument("--accounts", type=int, default=1_000)
    parser.add_argument("--batch", type=int, default=2_000)
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    for held_symbols, gc_threshold in itertools.product((0, 3), (gc.get_threshold()[0], GC_THRESHOLD_RAISED)):
        gc.set_threshold(gc_threshold)
        profiler = cProfile.Profile()
        if arguments.profile:
            profiler.enable()
        figures = run(arguments.intents, arguments.accounts, held_symbols, arguments.batch)
        profiler.disable()
        print(json.dumps({"held_symbols": held_symbols, "gc_threshold": gc_threshold, **figures}))
        if arguments.profile:
            pstats.Stats(profiler).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    main()
