"""Reading and writing Avro records beside today's JSON: nanoseconds a record, all in one process and one run.

    make bench ARGS="avro [--records N] [--rounds N]"

No broker. ``compiled``: the codec that is composed from the schema on file; ``JSON kernel``: what the gate reads and
writes many messages with; ``fastavro``: the general codec. Each takes its turn in each round, and of each the best
round counts, which neighbours on the machine disturb least. What is written is read again, and has to be the same.
"""

import argparse
import gc
import io
import json
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import fastavro
import numpy as np
from common.avro.compiled import Encoded, Verdict, Writer, layout_writer, reader
from common.avro.on_file import SchemaFile
from common.avro.rows import datum_of
from common.contracts.events import CASH
from common.contracts.market import BAR, DEPTH
from common.contracts.market import MARK as MARK_LAYOUT
from common.contracts.topics import ORDERS_INTENTS, RISK_DECISIONS, RISK_LEDGER
from common.contracts.values import E4, Side
from common.kernels import outlined
from common.testing import orders
from risk.domain.account import Mark
from risk.domain.answer_kernel import (
    DECISION_CHARS,
    ENTRY_CHARS,
    LINK_CHARS,
    TEXTS,
    write_decision,
    write_entry,
    write_links,
)
from risk.domain.framed_kernel import MARK as MARK_ROW
from risk.domain.framed_kernel import ORDER_NAMES_CHARS, fill_decisions, fill_entries
from risk.domain.gate_kernel import ORDER, RUN
from risk.domain.intent_kernel import Intents, read_intents
from risk.domain.text_kernel import Array
from risk.framed import file_of, read_either
from risk.framed_answers import decision_writer, entry_writer
from risk.wire import decode_intent, encode_mark
from streams.model.framing import HEADER_BYTES, frame

from bench.harness import conditions, show

ACCOUNTS: Final = 10_000
SYMBOLS: Final = 100
HASH_BYTES: Final = 32
MARK: Final = Mark(1, 123_456, 99 * E4, 101 * E4, 100 * E4, orders.NOW_NS, orders.NOW_NS)
LAYOUTS: Final = {"Bar": BAR, "Depth": DEPTH, "Mark": MARK_LAYOUT}


@outlined
def write_decisions(source, intents, orders, texts, marks, runs, offsets, out, ends):  # type: ignore[no-untyped-def]
    at = 0
    for i in range(intents.size):
        at = write_decision(out, at, source, intents[i], orders[i], texts[0], marks, runs[0], offsets[i])
        ends[i] = at


@outlined
def write_entries(source, intents, orders, runs, out, ends):  # type: ignore[no-untyped-def]
    at = 0
    for i in range(intents.size):
        at = write_entry(out, at, source, intents[i], orders[i], runs[0], runs[0].chain_seq + i + 1)
        ends[i] = at
        at += LINK_CHARS


class Case(NamedTuple):
    """Orders that were accepted, as the gate has them."""

    values: list[bytes]
    keys: list[bytes]
    intents: Intents
    orders: Array
    texts: Array
    marks: Array
    run: Array
    offsets: Array
    heads: Array
    """uint8[n, 32]."""


def case_of(count: int) -> Case:
    made = [
        orders.intent(
            f"c-{number:09d}",
            f"acct-{number * 7919 % ACCOUNTS:05d}",
            symbol=f"SYM{number % SYMBOLS}",
            side=Side.SELL if number % 2 else Side.BUY,
            qty=1 + number % 300,
            limit_price_e4=100 * E4 + (number % 40) * 100,
        )
        for number in range(count)
    ]
    values, keys = [ORDERS_INTENTS.schema.encode(one) for one in made], [one.account_id.encode() for one in made]
    intents = read_intents(values, keys)
    decided = np.zeros(count, ORDER)
    decided["price_e4"] = intents.rows["limit_price_e4"]
    decided["amount"] = intents.rows["qty"] * np.where(intents.rows["sell"], 1, decided["price_e4"])
    decided["account_seq"] = np.arange(count) // ACCOUNTS
    mark = np.frombuffer(bytes(encode_mark(MARK) or b""), np.uint8)
    texts = np.array([(17, 0, mark.size, 0, 0)], TEXTS)
    heads = np.random.default_rng(1).integers(0, 256, (count, HASH_BYTES), np.uint8)
    run = np.array([(orders.NOW_NS, 2, 1_000_000)], RUN)
    return Case(values, keys, intents, decided, texts, mark, run, np.arange(count) + 10**6, heads)


# --- Avro ---------------------------------------------------------------------------------------------------------


class General:
    """fastavro with a schema on file."""

    def __init__(self, file: SchemaFile, branch: str | None = None) -> None:
        self._parsed = fastavro.parse_schema(file.schema())
        self._branch = branch
        self._header = frame(file.id, b"")

    def encoded(self, value: Any) -> bytes:
        body = io.BytesIO()
        body.write(self._header)
        fastavro.schemaless_writer(body, self._parsed, value if self._branch is None else (self._branch, value))
        return body.getvalue()

    def decoded(self, value: bytes) -> Any:
        body = io.BytesIO(value)
        body.seek(HEADER_BYTES)
        return fastavro.schemaless_reader(body, self._parsed, None)


class Rows(NamedTuple):
    """Rows of a writer, and the text that they point into."""

    rows: Array
    text: Array
    end: int
    """End of the names of the orders in the text."""


def decision_rows(case: Case, of: Writer) -> Rows:
    intents = case.intents
    which = np.arange(len(intents.rows))
    rows, names = np.empty(which.size, of.row), np.empty(which.size * ORDER_NAMES_CHARS, np.uint8)
    marks = np.array([tuple(MARK)], MARK_ROW)
    end = fill_decisions(
        intents.text, intents.rows, case.orders, which, np.zeros(which.size, np.int64), case.texts, marks, case.run,
        case.offsets, names, rows,
    )  # fmt: skip
    return Rows(rows, names, end)


def entry_rows(case: Case, of: Writer, decisions: Rows) -> Rows:
    """Rows of the ledger entries that the same orders as in ``decisions`` make."""
    which = np.arange(len(case.intents.rows))
    rows = np.empty(which.size, of.row)
    hashes = np.frombuffer(case.heads.tobytes().hex().encode(), np.uint8)
    text = np.concatenate((decisions.text[: decisions.end], hashes, np.frombuffer(CASH.encode(), np.uint8)))
    cash_at = text.size - len(CASH)
    fill_entries(
        case.intents.rows, case.orders, which, case.run, decisions.rows, decisions.end, cash_at, text.size, rows
    )
    return Rows(rows, text, decisions.end)


# --- JSON ---------------------------------------------------------------------------------------------------------


def json_decisions(case: Case) -> Encoded:
    count = len(case.intents.rows)
    room = len(case.intents.text) + count * (DECISION_CHARS + case.marks.size)
    out, ends = np.empty(room, np.uint8), np.empty(count, np.int64)
    write_decisions(
        case.intents.text, case.intents.rows, case.orders, case.texts, case.marks, case.run, case.offsets, out, ends
    )
    return Encoded(out[: ends[-1]], ends)


def json_entries(case: Case) -> Encoded:
    count = len(case.intents.rows)
    out, ends = np.empty(count * ENTRY_CHARS, np.uint8), np.empty(count, np.int64)
    write_entries(case.intents.text, case.intents.rows, case.orders, case.run, out, ends)
    write_links(out, ends, case.heads)
    ends += LINK_CHARS
    return Encoded(out[: ends[-1]], ends)


# --- timing -------------------------------------------------------------------------------------------------------


class Figure(NamedTuple):
    what: str
    how: str
    bytes_each: float
    run: Callable[[], object]


def figures(case: Case) -> list[Figure]:
    """Times every message both ways; raises SystemExit where two ways do not say the same."""
    decision_file, entry_file = file_of(RISK_DECISIONS), file_of(RISK_LEDGER)
    decisions, entries = decision_writer(decision_file.schema()), entry_writer(entry_file.schema())
    decided = decision_rows(case, decisions)
    return [
        *intent_figures(case, file_of(ORDERS_INTENTS)),
        *answer_figures(
            "decision", case, json_decisions, lambda: decision_rows(case, decisions), decisions,
            General(decision_file, "tidemark.Decision"), decision_file.id,
        ),
        *answer_figures(
            "ledger entry", case, json_entries, lambda: entry_rows(case, entries, decided), entries,
            General(entry_file), entry_file.id,
        ),
        *(figure for name, layout in LAYOUTS.items() for figure in layout_figures(name, layout, len(case.offsets))),
    ]  # fmt: skip


def intent_figures(case: Case, file: SchemaFile) -> list[Figure]:
    general, compiled = General(file), reader(file.schema())
    framed = [
        general.encoded(json.loads(value) | {"limit_price_e4": None} | json.loads(value)) for value in case.values
    ]
    data = np.frombuffer(b"".join(framed), np.uint8)
    ends = np.cumsum(np.fromiter(map(len, framed), np.int64, len(framed)))
    begins = np.concatenate((np.zeros(1, np.int64), ends[:-1]))
    rows, verdicts = np.zeros(len(framed), compiled.row), np.empty(len(framed), np.uint8)

    def read() -> None:
        compiled.read_into(data, begins, ends, file.id, rows, verdicts)

    read()
    if (verdicts != Verdict.SOUND).any() or (rows["qty"] != case.intents.rows["qty"]).any():
        raise SystemExit("what the compiled reader reads is not what was written")
    sizes = size_of(framed), size_of(case.values)
    return [
        Figure("intent read", "compiled Avro", sizes[0], read),
        Figure("intent read", "compiled Avro, from values", sizes[0], lambda: compiled.read(framed, file.id)),
        Figure("intent read", "the gate's, from framed values", sizes[0], lambda: read_either(framed, case.keys)),
        Figure("intent read", "the gate's, from JSON values", sizes[1], lambda: read_either(case.values, case.keys)),
        Figure("intent read", "fastavro", sizes[0], lambda: [general.decoded(value) for value in framed]),
        Figure("intent read", "msgspec JSON", sizes[1], lambda: [decode_intent(value) for value in case.values]),
    ]  # fmt: skip


def answer_figures(
    what: str,
    case: Case,
    as_json: Callable[[Case], Encoded],
    filled: Callable[[], Rows],
    compiled: Writer,
    general: General,
    schema_id: int,
) -> list[Figure]:
    texts, (rows, text, _) = as_json(case).values(), filled()
    written = compiled.write(rows, text, schema_id).values()
    read = [general.decoded(value) for value in written]
    if [general.encoded(value) for value in read] != written:
        raise SystemExit(f"the compiled writer's {what} is not fastavro's")
    if [without_nulls(value) for value in read] != [json.loads(value) for value in texts]:
        raise SystemExit(f"the {what} is not the same in both")

    def from_columns() -> None:
        rows, text, _ = filled()
        compiled.write(rows, text, schema_id)

    sizes = size_of(written), size_of(texts)
    return [
        Figure(f"{what} written", "compiled Avro", sizes[0], lambda: compiled.write(rows, text, schema_id)),
        Figure(f"{what} written", "compiled Avro, from the gate's columns", sizes[0], from_columns),
        Figure(f"{what} written", "JSON kernel", sizes[1], lambda: as_json(case)),
        Figure(f"{what} written", "fastavro", sizes[0], lambda: [general.encoded(value) for value in read]),
    ]


def layout_figures(name: str, layout: np.dtype[Any], count: int) -> list[Figure]:
    """Rows as signals has them, with numbers of the size that a market has."""
    compiled = layout_writer(name, layout)
    rows = np.zeros(count, layout)
    for field in layout.names or ():
        if layout[field] == np.int64:
            rows[field] = orders.NOW_NS if field.endswith("_ns") else 100 * E4
    rows["symbol"] = [f"SYM{number % SYMBOLS}".encode() for number in range(count)]
    for side in {"bids", "asks"} & {*(layout.names or ())}:
        rows[side]["price_e4"], rows[side]["size"] = 100 * E4, 300
    parsed, datum, header = fastavro.parse_schema(dict(compiled.schema)), datum_of(layout), frame(1, b"")

    def encoded(row: Any) -> bytes:
        body = io.BytesIO(header)
        body.seek(len(header))
        fastavro.schemaless_writer(body, parsed, datum(row))
        return body.getvalue()

    written = compiled.write(rows, 1).values()
    if written != [encoded(row) for row in rows]:
        raise SystemExit(f"the compiled writer's {name} is not fastavro's")
    return [
        Figure(f"{name} written", "compiled Avro, from rows", size_of(written), lambda: compiled.write(rows, 1)),
        Figure(f"{name} written", "fastavro, from rows", size_of(written), lambda: [encoded(row) for row in rows]),
        Figure(f"{name} written", "rows as they are", layout.itemsize, rows.tobytes),
    ]


def size_of(values: Sequence[bytes]) -> float:
    """Bytes of a value."""
    return sum(map(len, values)) / len(values)


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_nulls(each) for name, each in value.items() if each is not None}
    return [without_nulls(each) for each in value] if isinstance(value, list) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=25)
    options = parser.parse_args()
    timed = figures(case_of(options.records))
    best_s = dict.fromkeys(range(len(timed)), float("inf"))
    gc.collect()
    gc.disable()
    for _ in range(options.rounds):
        for number, figure in enumerate(timed):
            began_s = time.process_time()
            figure.run()
            best_s[number] = min(best_s[number], time.process_time() - began_s)
    rows = [
        {
            "what": figure.what,
            "how": figure.how,
            "ns a record": round(best_s[number] / options.records * 1e9, 1),
            "bytes a record": round(figure.bytes_each, 1),
        }
        for number, figure in enumerate(timed)
    ]
    show("avro", rows, conditions=conditions())


if __name__ == "__main__":
    main()
