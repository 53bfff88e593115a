"""The commit: the only place where a stage writes."""

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from opentelemetry.trace import SpanKind

from common.runtime.errors import LogError
from common.runtime.failpoints import passing
from common.runtime.log import Partition, Producer, Record
from common.runtime.message import Handled, Message, Output, View
from common.runtime.overlay import TaskTables
from common.runtime.partitioner import partition_of
from common.runtime.store import Store, position_key
from common.runtime.telemetry import continued_span, current_traceparent, is_sampled

Handler = Callable[[Message, TaskTables, int], Handled]
NS_PER_MS: Final = 1_000_000
DLQ_ERROR_CHARS_MAX: Final = 4_000


class PoisonError(Exception):
    """The handler refused the message at ``index`` of the batch; those before it are sound."""

    def __init__(self, index: int, cause: Exception) -> None:
        super().__init__(f"message {index} of the batch: {cause!r}")
        self.index = index
        self.cause = cause


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that was refused, and why."""

    message: Message
    error: str


@dataclass(slots=True)
class Effects:
    """What a batch wants written and shown."""

    outputs: dict[Partition, list[Record]] = field(default_factory=dict)
    views: list[tuple[View, str]] = field(default_factory=list)
    processed_ns: int = 0


@dataclass(slots=True)
class Committed:
    """What a commit did."""

    views: list[tuple[View, str]]
    positions: Mapping[str, int]
    processed_ns: int
    committed_ns: int
    ends: Mapping[Partition, int]


@dataclass(slots=True)
class TaskParts:
    """What a commit works with; one per task, and everything the task owns."""

    name: str
    handler: Handler
    producer: Producer
    store: Store
    tables: TaskTables
    changelog: Partition
    outputs: frozenset[str]
    clock_ns: Callable[[], int] = time.time_ns


async def commit(parts: TaskParts, batch: Sequence[Message], dead: DeadLetter | None = None) -> Committed:
    """Handles ``batch`` and makes it so: outputs, table rows and input positions become visible together.

    ``dead`` is set aside in the same transaction: its position moves, its handler is not asked.
    Raises PoisonError (aborted, nothing happened), Fenced or Retriable (open anew: the log knows what happened).
    """
    # 1 begin
    await parts.producer.begin()
    passing("commit.1.begun")
    try:
        # 2 apply the batch to an overlay on the store
        effects = apply(parts, batch)
        passing("commit.2.applied")
        # 3 outputs, changelog rows and the input positions as record batches
        if dead is not None:
            add_dead_letter(effects, dead, parts)
        now_ms = parts.clock_ns() // NS_PER_MS
        positions = positions_after([*batch, dead.message] if dead else batch)
        rows = [row for table in parts.tables.overlays.values() for row in table.changes()]
        rows += [(position_key(topic), b"%d" % offset) for topic, offset in positions.items()]
        for partition, records in effects.outputs.items():
            await parts.producer.append(partition, records)
        passing("commit.3.outputs-appended")
        await parts.producer.append(parts.changelog, [Record(key, value, now_ms) for key, value in rows])
        passing("commit.3.changelog-appended")
    except PoisonError:
        discard(parts)
        await parts.producer.abort()
        raise
    except LogError:
        discard(parts)
        raise
    except BaseException:
        # The partition is being released. The next owner would have to wait for the open transaction until the broker
        # times it out; but if aborting fails, that must not hide why the task has to end.
        discard(parts)
        with contextlib.suppress(LogError):
            await parts.producer.abort()
        raise
    # 4 commit
    try:
        ends = await parts.producer.commit()
    except BaseException:
        discard(parts)
        raise
    committed_ns = parts.clock_ns()
    passing("commit.4.committed")
    # 5 one write batch: rows, input positions and the changelog position
    parts.store.write(rows, ends[parts.changelog])
    passing("commit.5.stored")
    for table in parts.tables.overlays.values():
        table.settle()
    return Committed(effects.views, positions, effects.processed_ns, committed_ns, ends)


def discard(parts: TaskParts) -> None:
    """Forgets what the overlay holds."""
    for table in parts.tables.overlays.values():
        table.discard()


def positions_after(messages: Iterable[Message]) -> dict[str, int]:
    """Topic → the offset after its last message; messages of one topic are in order."""
    return {message.topic.name: message.offset + 1 for message in messages}


def apply(parts: TaskParts, batch: Sequence[Message]) -> Effects:
    """Runs the handler over the batch. Raises PoisonError; the overlay is then to be discarded."""
    effects = Effects()
    handler, tables = parts.handler, parts.tables
    now_ns = parts.clock_ns()
    now_ms = now_ns // NS_PER_MS
    for index, message in enumerate(batch):
        try:
            traceparent = message.traceparent
            if is_sampled(traceparent):
                with continued_span(f"{parts.name} {message.topic.name}", traceparent, SpanKind.CONSUMER):
                    handled = list(handler(message, tables, now_ns))
                    traceparent = current_traceparent()
            else:
                handled = list(handler(message, tables, now_ns))
            _collect(effects, handled, traceparent, parts, now_ms)
        except Exception as error:
            raise PoisonError(index, error) from error
    effects.processed_ns = parts.clock_ns()
    return effects


def _collect(effects: Effects, handled: list[Output | View], traceparent: str, parts: TaskParts, now_ms: int) -> None:
    """Encodes first and adds after, so that a message whose output cannot be encoded leaves nothing behind."""
    headers = (("traceparent", traceparent.encode()),) if traceparent else ()
    declared = parts.outputs
    encoded: list[tuple[str, int, Record]] = []
    for item in handled:
        if isinstance(item, Output):
            topic, body, number = item.topic, item.body, item.partition
            name = topic.name
            if name not in declared:
                raise ValueError(f"stage {parts.name} did not declare the output topic {name}")
            if number is None:
                number = partition_of(item.key, topic.partitions)
            value = None if body is None else topic.schema.encode(body)
            encoded.append((name, number, Record(item.key, value, now_ms, headers)))
    for name, number, record in encoded:
        records = effects.outputs.get((name, number))  # type: ignore[call-overload]  # a Partition is such a tuple
        if records is None:
            effects.outputs[Partition(name, number)] = [record]
        else:
            records.append(record)
    if len(encoded) < len(handled):
        effects.views += [(item, traceparent) for item in handled if isinstance(item, View)]


def add_dead_letter(effects: Effects, dead: DeadLetter, parts: TaskParts) -> None:
    """Sets the message aside with where it stood and why; its own headers, the trace context among them, go along."""
    message = dead.message
    context = {
        "dlq.stage": parts.name,
        "dlq.topic": message.topic.name,
        "dlq.partition": str(message.partition),
        "dlq.offset": str(message.offset),
        "dlq.error": dead.error[:DLQ_ERROR_CHARS_MAX],
    }
    headers = [*message.headers, *((name, text.encode()) for name, text in context.items())]
    record = Record(message.key, message.value, parts.clock_ns() // NS_PER_MS, headers)
    effects.outputs.setdefault(Partition(message.topic.dead_letters, message.partition), []).append(record)
