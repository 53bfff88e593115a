"""The simulated stage: a small account book with everything that the real one can get wrong.

Two co-partitioned inputs. Every sound message takes the next ``order`` number of its partition and the next ``seq`` of
its account, moves an amount between two books, and may delete a row that another message wrote. Outputs say all of
that, so that the committed log alone tells in which order things were done, and a sequential run of the same handler
can be held against it.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from streams.model.declaration import Stage
from streams.model.log import StoredRecord
from streams.model.message import Message, Output
from streams.model.tables import Changelogged, Codec, Tables
from streams.opening.claims import is_ownership
from streams.state.overlay import TaskTables
from streams.state.store import CHANGELOG_KEY
from streams.testing.memory_log import MemoryLog
from streams.testing.memory_store import MemoryStore

from common.contracts.topics import RAW_SCHEMA, Topic

PARTITIONS: Final = 2


def _topic(name: str) -> Topic:
    return Topic(name, "account", RAW_SCHEMA, "simulation", partitions=PARTITIONS)


INTENTS: Final = _topic("simulation.intents")
REPORTS: Final = _topic("simulation.reports")
LEDGER: Final = _topic("simulation.ledger")
CHANGELOG: Final = _topic("simulation.book.changelog")
REGISTER: Final = replace(_topic("simulation.stages"), partitions=1)
INPUTS: Final = (INTENTS, REPORTS)
TOPICS: Final = (*INPUTS, LEDGER, CHANGELOG)
_JSON: Final = Codec(lambda value: json.dumps(value).encode(), json.loads)
TABLES: Final = (Changelogged("book", _JSON), Changelogged("open", _JSON))


class Refused(ValueError):
    """The handler's own poison."""


def book(message: Message, tables: Tables, now_ns: int) -> Iterator[Output]:
    """Reserves an amount for an intent, releases it for a report; refuses poison after having written half of it."""
    rows, opened = tables.changelogged("book"), tables.changelogged("open")
    key = message.key or b""
    body: dict[str, Any] = json.loads(message.body)
    order = (rows.get(b"@order") or 0) + 1
    account = rows.get(key) or {"seq": 0, "reserved": 0}
    amount = body["amount"]
    if message.topic.name == INTENTS.name:
        opened.put(key + b"/" + body["id"].encode(), amount)
    else:
        amount = -(opened.get(key + b"/" + body["id"].encode()) or 0)
        opened.delete(key + b"/" + body["id"].encode())
    row = {"seq": account["seq"] + 1, "reserved": account["reserved"] + amount}
    rows.put(key, row)
    rows.put(b"@order", order)
    if body.get("poison"):
        raise Refused(body["id"])
    entry = {
        "order": order, "seq": row["seq"], "reserved": row["reserved"], "topic": message.topic.name,
        "offset": message.offset, "postings": [amount, -amount],
    }  # fmt: skip
    yield Output(LEDGER, key, json.dumps(entry).encode(), message.partition)


def continues(tables: Tables, last: StoredRecord | None) -> None:
    """The next order number follows the last one of the ledger."""
    known = tables.changelogged("book").get(b"@order") or 0
    said = json.loads(last.value or b"")["order"] if last else 0
    if said != known:
        raise ValueError(f"the ledger ends with order {said}, the book with {known}")


def make_stage(guarded: bool) -> Stage:
    """``guarded``: what it writes must continue what its output ends with."""
    return Stage(
        "simulation",
        "book",
        book,
        INPUTS,
        (LEDGER,),
        CHANGELOG,
        TABLES,
        continues={LEDGER: continues} if guarded else {},
        register=REGISTER,
    )


def make_log() -> MemoryLog:
    names = [topic.name for topic in TOPICS] + [topic.dead_letters for topic in INPUTS]
    return MemoryLog({**dict.fromkeys(names, PARTITIONS), REGISTER.name: 1})


@dataclass(frozen=True, slots=True)
class Wrong:
    """A broken promise: which, and what was seen."""

    rule: str
    seen: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.seen}"


def fold(log: MemoryLog, partition: int, since: int = 0) -> dict[bytes, bytes]:
    """The changelog's rows: newest value per key, tombstones gone. Who owns the partition is no state of the stage.

    ``since``: the offset at which the partition began anew; what stood before it counts no more. What was merely
    trimmed counts: whoever had read it may go on.
    """
    rows: dict[bytes, bytes] = {}
    for record in log.committed_in(CHANGELOG.name, partition):
        assert record.key is not None
        if is_ownership(record.key) or record.offset < since:
            continue
        if record.value is None:
            rows.pop(record.key, None)
        else:
            rows[record.key] = record.value
    return rows


def fresh_tables(partition: int) -> TaskTables:
    """The stage's tables without a row."""
    tables, nothing = TaskTables(partition), MemoryStore()
    for table in TABLES:
        tables.add(table, nothing)
    return tables


def rows_of(tables: TaskTables) -> dict[bytes, bytes]:
    """Changelog keys and rows of tables that began as ``fresh_tables``."""
    return {key: value for table in tables.overlays.values() for key, value in table.changes() if value is not None}


def rebuilt(log: MemoryLog, partition: int) -> tuple[dict[bytes, bytes], dict[str, int]]:
    """Rows and input positions, made again from what the stage has said: a sequential run of what it has answered."""
    tables, positions = fresh_tables(partition), dict.fromkeys((topic.name for topic in INPUTS), 0)
    inputs = {(t.name, r.offset): (t, r) for t in INPUTS for r in log.committed_in(t.name, partition)}
    for record in log.committed_in(LEDGER.name, partition):
        entry = json.loads(record.value or b"")
        topic, source = inputs[entry["topic"], entry["offset"]]
        list(book(Message(topic, partition, source.offset, source.key, source.value, 0), tables, 0))
        positions[topic.name] = max(positions[topic.name], source.offset + 1)
    for topic in INPUTS:
        for letter in log.committed_in(topic.dead_letters, partition):
            offset = int(dict(letter.headers)["dlq.offset"] or b"")
            positions[topic.name] = max(positions[topic.name], offset + 1)
    return rows_of(tables), positions


def check_ledger(log: MemoryLog, partition: int) -> Iterator[Wrong]:
    """Invariants at any moment: conservation, no gap or repeat in a sequence, no message answered twice."""
    sequences: dict[bytes, int] = {}
    answered: set[tuple[str, int]] = set()
    order = 0
    for record in log.committed_in(LEDGER.name, partition):
        entry = json.loads(record.value or b"")
        key = record.key or b""
        if sum(entry["postings"]):
            yield Wrong("conservation", f"postings {entry['postings']}")
        if entry["seq"] != sequences.get(key, 0) + 1:
            yield Wrong("sequence", f"{key!r} goes from {sequences.get(key, 0)} to {entry['seq']}")
        if entry["order"] != order + 1:
            yield Wrong("order", f"partition {partition} goes from {order} to {entry['order']}")
        message = (entry["topic"], entry["offset"])
        if message in answered:
            yield Wrong("answered twice", str(message))
        sequences[key], order = entry["seq"], entry["order"]
        answered.add(message)
    dead = [dict(record.headers) for topic in INPUTS for record in log.committed_in(topic.dead_letters, partition)]
    places = [((header["dlq.topic"] or b"").decode(), int(header["dlq.offset"] or b"")) for header in dead]
    yield from (Wrong("dead-lettered twice", str(place)) for place in set(places) if places.count(place) > 1)
    yield from (Wrong("answered and dead-lettered", str(place)) for place in places if place in answered)


def check_end(log: MemoryLog, partition: int, store: MemoryStore | None, since: int) -> Iterator[Wrong]:
    """Invariants once all input is handled: everything answered, equal to one sequential run, store = log."""
    answered, tables = [], fresh_tables(partition)
    inputs = {(t.name, r.offset): (t, r) for t in INPUTS for r in log.committed_in(t.name, partition)}
    for record in log.committed_in(LEDGER.name, partition):
        entry = json.loads(record.value or b"")
        if (entry["topic"], entry["offset"]) not in inputs:
            yield Wrong("made", f"{entry['topic']}/{entry['offset']} was answered, and was never committed")
            return
        topic, source = inputs[entry["topic"], entry["offset"]]
        answered.append((entry["topic"], entry["offset"]))
        message = Message(topic, partition, source.offset, source.key, source.value, 0)
        (output,) = book(message, tables, 0)
        if output.body != record.value:
            yield Wrong("reference", f"{message.topic.name}/{message.offset}: {record.value!r}, not {output.body!r}")
    for topic in INPUTS:
        yield from _check_complete(log, partition, topic, [at for name, at in answered if name == topic.name])
    expected = rows_of(tables)
    rows = {key: value for key, value in fold(log, partition, since).items() if not key.startswith(b"@")}
    if rows != expected:
        yield Wrong("changelog", f"{_difference(rows, expected)}")
    if store:
        yield from check_store(log, partition, store, "store", since)


def check_store(log: MemoryLog, partition: int, store: MemoryStore, name: str, since: int) -> Iterator[Wrong]:
    """Its rows are the changelog's, but for those that were spoiled and that nobody has needed since."""
    rows = {key: value for key, value in store.rows().items() if not is_ownership(key) and key not in store.spoiled}
    wanted = {key: value for key, value in fold(log, partition, since).items() if key not in store.spoiled}
    if rows != wanted:
        yield Wrong(name, _difference(rows, wanted))


def _check_complete(log: MemoryLog, partition: int, topic: Topic, answered: list[int]) -> Iterable[Wrong]:
    """Every record of a topic was answered or dead-lettered, and in its order."""
    if answered != sorted(answered):
        yield Wrong("input order", f"{topic.name}: {answered}")
    dead = [
        int(dict(record.headers)["dlq.offset"] or b"") for record in log.committed_in(topic.dead_letters, partition)
    ]
    for record in log.committed_in(topic.name, partition):
        poison = b"poison" in (record.value or b"")
        if record.offset not in (dead if poison else answered):
            yield Wrong("lost", f"{topic.name}/{partition} offset {record.offset}")


def _difference(found: Mapping[bytes, bytes], wanted: Mapping[bytes, bytes]) -> str:
    keys = sorted(key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key))
    assert CHANGELOG_KEY not in keys
    return "; ".join(f"{key!r}: {found.get(key)!r}, not {wanted.get(key)!r}" for key in keys[:3])
