"""Tables in memory for tests of handlers. Values pass through their codecs, so what a codec cannot carry shows."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from streams.model.declaration import BatchHandler, Handler
from streams.model.message import Message, Output, View
from streams.model.tables import Changelogged, Codec, Global, GlobalRow, Snapshotted, TableDeclaration, Tables
from streams.model.topics import Topic
from streams.views.protocol import Envelope
from streams.views.publisher import as_it_stands, encode_envelope


class MemoryTable:
    """See ``streams.model.tables.Table``; every write is visible at once, and there is no way back."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self.rows: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> Any | None:
        raw = self.rows.get(key)
        return None if raw is None else self._codec.decode(raw)

    def get_many(self, keys: Sequence[bytes]) -> list[Any | None]:
        return [self.get(key) for key in keys]

    def put_encoded(self, rows: Mapping[bytes, bytes]) -> None:
        self.rows.update(rows)

    def put(self, key: bytes, value: Any) -> None:
        self.rows[key] = self._codec.encode(value)

    def put_many(self, rows: Mapping[bytes, Any]) -> None:
        for key, value in rows.items():
            self.put(key, value)

    def delete(self, key: bytes) -> None:
        self.rows.pop(key, None)

    def prefix(self, prefix: bytes) -> Iterator[tuple[bytes, Any]]:
        for key in sorted(key for key in self.rows if key.startswith(prefix)):
            yield key, self._codec.decode(self.rows[key])


class MemoryGlobal:
    """See ``streams.model.tables.GlobalTable``. Offsets count up; a value passes through the topic's schema."""

    def __init__(self, topic: Topic) -> None:
        self._topic = topic
        self._rows: dict[bytes, GlobalRow] = {}
        self._next_offset = 0

    def get(self, key: bytes) -> GlobalRow | None:
        return self._rows.get(key)

    def items(self) -> Iterator[tuple[bytes, GlobalRow]]:
        return iter(self._rows.items())

    def put(self, key: bytes, body: Any, partition: int = 0) -> None:
        """The newest value of ``key``; None removes it."""
        if body is None:
            self._rows.pop(key, None)
        else:
            schema = self._topic.schema
            self._rows[key] = GlobalRow(schema.decode(schema.encode(body)), partition, self._next_offset)
        self._next_offset += 1


class MemoryTables:
    """See ``streams.model.tables.Tables``: one partition's tables, as declared."""

    def __init__(self, declarations: Iterable[TableDeclaration], partition: int = 0) -> None:
        self.partition = partition
        self._changelogged: dict[str, MemoryTable] = {}
        self._snapshotted: dict[str, Any] = {}
        self._globals: dict[str, MemoryGlobal] = {}
        for declaration in declarations:
            match declaration:
                case Changelogged(name, codec):
                    self._changelogged[name] = MemoryTable(codec)
                case Snapshotted(name, create):
                    self._snapshotted[name] = create(partition)
                case Global(name, topic):
                    self._globals[name] = MemoryGlobal(topic)

    def changelogged(self, name: str) -> MemoryTable:
        return self._changelogged[name]

    def snapshotted(self, name: str) -> Any:
        return self._snapshotted[name]

    def globals(self, name: str) -> MemoryGlobal:
        return self._globals[name]

    def rows(self) -> dict[tuple[str, bytes], bytes]:
        """Every row of the changelogged tables, encoded: two states are the same where this is equal."""
        return {(name, key): raw for name, table in self._changelogged.items() for key, raw in table.rows.items()}


Said = list[tuple[str, int | None, bytes | None, bytes | None]]
"""Topic, partition, key and value of each output to a message."""


def said_one_by_one(handler: Handler, batch: Sequence[Message], tables: Any, now_ns: int) -> Iterator[Said]:
    """A handler's answer to each message."""
    for each in batch:
        handled = [item for item in handler(each, tables, now_ns) if isinstance(item, Output)]
        yield [(item.topic.name, item.partition, item.key, item.topic.schema.encode(item.body)) for item in handled]


def said_at_once(
    batch_handler: BatchHandler, handler: Handler, batch: Sequence[Message], tables: Any, now_ns: int
) -> Iterator[Said]:
    """A batch handler's answer to each message, or the handler's where it is left to that."""
    begin = 0
    for said in batch_handler(batch, tables, now_ns):
        if isinstance(said, int):
            yield from said_one_by_one(handler, batch[begin : begin + said], tables, now_ns)
            begin += said
            continue
        answers: list[Said] = [[] for _ in range(said.messages)]
        for block in said.outputs:
            # A header for each message shows which record answers it.
            headers = {number: (("of", b"%d" % number),) for number in range(said.messages)}
            for key, value, _, ((_, of),) in block.records(0, headers):
                answers[int(of or b"")].append((block.topic.name, block.partition, key, value))
        yield from answers
        begin += said.messages


def message(topic: Topic, key: bytes | None, body: Any, *, partition: int = 0, offset: int = 0) -> Message:
    """An input record whose value is ``body`` in the topic's encoding."""
    value = None if body is None else topic.schema.encode(body)
    return Message(topic, partition, offset, key, value, timestamp_ms=0)


def written(output: Output) -> Any:
    """Records that a reader of the output's topic gets to see."""
    return output.topic.schema.decode(output.topic.schema.encode(output.body))


def shown(view: View, tables: Tables) -> View:
    """The view with its data as who reads it gets them, were it shown now."""
    envelope = Envelope.model_validate_json(encode_envelope(as_it_stands(view, tables), 1, 1, (view.origin_ns, 0, 0)))
    return View(view.name, view.scope, view.key, envelope.data, view.origin_ns)
