"""The commit: the only place where a stage writes, for one task or for all that share a producer."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from streams.commit.handling import NS_PER_MS, Handling, PoisonError
from streams.kafka.record_batches import size_alone
from streams.model.dead_letters import ERROR_CHARS_MAX, DeadLetter, letter_record
from streams.model.declaration import BatchHandler, Handler, RowRecords, rows_one_by_one
from streams.model.errors import LogError, Refused, TooLarge
from streams.model.framing import TEXT, Framed, as_written
from streams.model.log import Partition, Producer, Record, Records
from streams.model.message import Message, View
from streams.process.failpoints import passing
from streams.process.logs import get_logger
from streams.state.log_rows import landmark, meant_for
from streams.state.overlay import TaskTables
from streams.state.store import Rows, Store, position_key

_log = get_logger(__name__)
NOTHING_REFUSED: Final[Mapping[str, int]] = {}


@dataclass(frozen=True, slots=True)
class SetAside:
    """A message that was refused, and why."""

    message: Message
    error: str


@dataclass(slots=True)
class Effects:
    """Records and rows that a batch wants written and shown."""

    outputs: deque[tuple[Partition, Records]] = field(default_factory=deque)
    """Those of one partition in their order."""
    views: list[tuple[View, str]] = field(default_factory=list)
    rows: list[tuple[bytes, bytes | None]] = field(default_factory=list)
    positions: Mapping[str, int] = field(default_factory=dict)
    processed_ns: int = 0
    handling_s: float = 0.0


Applied = Effects | PoisonError | TooLarge | OSError


@dataclass(slots=True)
class Committed:
    """Result of a commit."""

    views: list[tuple[View, str]]
    positions: Mapping[str, int]
    processed_ns: int
    committed_ns: int
    ends: Mapping[Partition, int]
    handling_s: float
    """How long the handler was at work."""


@dataclass(slots=True)
class TaskParts:
    """Parts that a commit works with; one set per task, and everything the task owns.

    ``next_offset``: where the task's next changelog row stands if nobody else has written to the changelog meanwhile.
    ``complete``: the store has every changelog row below this offset.
    ``seen``: the changelog reached up to here when this task last read or wrote it.
    """

    name: str
    handler: Handler
    store: Store
    tables: TaskTables
    changelog: Partition
    outputs: frozenset[str]
    shows: Mapping[str, Callable[[bytes], View]] = field(default_factory=dict)
    clock_ns: Callable[[], int] = time.time_ns
    batch_handler: BatchHandler | None = None
    framed: Framed = field(default_factory=lambda: TEXT)
    """Outputs, and topics of dead letters, that are not written as text."""
    row_records: RowRecords = rows_one_by_one
    next_offset: int = 0
    complete: int = 0
    seen: int = 0
    identity: str = ""
    """Which log the changelog is; each commit says for which one it was meant."""
    register: tuple[Partition, Record] | None = None
    """The next commit's entry in the register of stages; None: it is there."""
    unrecorded: dict[bytes, bytes] = field(default_factory=dict)
    """Identities of logs, and where reading began, that the changelog does not say yet; the next commit does."""

    def restored(self, end: int) -> None:
        """The store has everything below ``end``."""
        self.next_offset = self.complete = self.seen = end

    def aborted(self, count: int, end: int) -> None:
        """Our own transaction was aborted, and ``count`` rows of it end before ``end``.

        Where they stand at the task's next offset, and its next commit behind their marker, nobody can have written
        between the two.
        """
        self.seen = end
        if end - count == self.next_offset:
            self.next_offset = end + 1

    def store_rows(self, rows: Sequence[tuple[bytes, bytes | None]], end: int) -> None:
        """Writes rows that are committed and end before ``end``.

        Somebody who wants to own the partition may have written a claim between two commits. The store has not seen
        it, so it stays complete up to there: the next opening reads on from the claim, not from behind it.
        Raises Refused where the changelog went back: it is another one, or lost its end.
        """
        if end - len(rows) < self.seen:
            raise Refused(f"{self.changelog} has new rows before {end}, and it was at {self.seen} already")
        self.seen = end
        if end - len(rows) == self.next_offset:
            self.complete = end
            self.next_offset = end + 1  # the marker takes an offset
        self.store.write([*rows, landmark(end - 1, *rows[-1])], self.complete)


@dataclass(slots=True)
class Work:
    """One task's share of a transaction. ``dead`` is set aside: its position moves, its handler is not asked."""

    parts: TaskParts
    batch: Sequence[Message]
    dead: SetAside | None = None
    sizes_refused: Mapping[str, int] = field(default_factory=lambda: NOTHING_REFUSED)
    """Topic → size of a record, alone in its batch, that was refused when this was handled before; see ``oversize``."""

    def own_places(self) -> set[tuple[str, int]]:
        """Partitions to which this work writes without a handler's request."""
        dead = [(self.dead.message.topic.dead_letters, self.dead.message.partition)] if self.dead else []
        register = [self.parts.register[0]] if self.parts.register else []
        return {self.parts.changelog, *dead, *register}


@dataclass(slots=True)
class Note:
    """Changelog rows about ownership. They go into no store: an opening task reads them back, a leaving one closes."""

    changelog: Partition
    rows: Rows


Outcome = Committed | Exception
"""Outcome of a task's work. PoisonError: nothing, the other works of the transaction were committed without it; the
same where the task's store could not be read. TooLarge: nothing either, nor, perhaps, of the others. Any other: it is
committed, but the task's store refused it."""


async def commit(
    producer: Producer, works: Sequence[Work], notes: Sequence[Note] = (), clock_ns: Callable[[], int] = time.time_ns
) -> tuple[list[Outcome], Mapping[Partition, int]]:
    """Handles every work's batch and makes it so: outputs, table rows and input positions become visible together.

    Returns the outcome of each work, and per partition the offset after the last record written.
    Raises TooLarge where the transaction was aborted for a record's size, and the producer can go on; Fenced or any
    other Retriable: every task of the producer is to be opened anew, the log knows what happened.
    """
    # 1 begin
    await producer.begin()
    passing("commit.1.begun")
    try:
        # 2 apply each batch to an overlay on its task's store
        applied = []
        for work in works:
            applied.append(_apply_work(work))
            await asyncio.sleep(0)  # requests and heartbeats need not wait for all of them
        passing("commit.2.applied")
        # 3 outputs, changelog rows and the input positions as record batches
        await _append(producer, works, applied, notes, clock_ns() // NS_PER_MS)
    except LogError:
        _discard_all(works)
        raise
    except BaseException:
        # The process is ending. The next owner would have to wait for the open transaction until the broker times it
        # out; but if aborting fails, that must not hide why this has to end.
        _discard_all(works)
        with contextlib.suppress(LogError):
            await producer.abort()
        raise
    # 4 commit
    try:
        ends = await producer.commit()
    except TooLarge as refused:
        _discard_all(works)
        await producer.abort()
        _note_aborted(works, applied, refused)
        raise
    except BaseException:
        _discard_all(works)
        raise
    committed_ns = clock_ns()
    passing("commit.4.committed")
    # 5 one write batch per store: rows, input positions and the changelog position
    outcomes = [
        _store(work, done, ends, committed_ns) if isinstance(done, Effects) else done
        for work, done in zip(works, applied, strict=True)
    ]
    passing("commit.5.stored")
    return outcomes, ends


def _note_aborted(works: Sequence[Work], applied: Sequence[Applied], refused: TooLarge) -> None:
    for work, done in zip(works, applied, strict=True):
        if isinstance(done, Effects) and work.parts.changelog in refused.ends:
            work.parts.aborted(len(done.rows), refused.ends[work.parts.changelog])


def _apply_work(work: Work) -> Applied:
    """Step 2 for one task. Poison leaves nothing behind, nor does a row that is too large; and a store that cannot be
    read is its own task's trouble.
    """
    parts = work.parts
    try:
        effects = apply(parts, work.batch, work.sizes_refused)
        if work.sizes_refused and (too_large := _row_too_large(work)):
            raise too_large
    except (PoisonError, TooLarge, OSError) as unwritable:
        discard(parts)
        return unwritable
    if work.dead is not None:
        add_dead_letter(effects, work.dead, parts, work.sizes_refused)
    effects.positions = positions_after([*work.batch, work.dead.message] if work.dead else work.batch)
    for name, view_of in parts.shows.items():
        effects.views += [(view_of(key), "") for key in parts.tables.overlays[name].changed_keys()]
    if parts.register:
        where, record = parts.register
        effects.outputs.append((where, [record]))
    effects.rows = [meant_for(parts.identity, parts.seen)]  # first: where it stands the whole commit begins
    for table in parts.tables.overlays.values():
        effects.rows += table.changes()
    effects.rows += parts.unrecorded.items()
    effects.rows += [(position_key(topic), b"%d" % offset) for topic, offset in effects.positions.items()]
    return effects


def _row_too_large(work: Work) -> PoisonError | TooLarge | None:
    """A row is of all messages that changed it: the message is found by handling ever fewer."""
    where = work.parts.changelog
    refused = work.sizes_refused.get(where.topic)
    if refused is None:
        return None
    rows = (row for table in work.parts.tables.overlays.values() for row in table.changes())
    size = max((size_alone((key, value, work.parts.clock_ns() // NS_PER_MS, ())) for key, value in rows), default=0)
    if size < refused:
        return None
    if len(work.batch) > 1:
        return TooLarge(where, size, {})
    return PoisonError(0, ValueError(f"a row of {size} bytes for {where.topic}, which takes none of {refused}"))


async def _append(
    producer: Producer,
    works: Sequence[Work],
    applied: Sequence[Applied],
    notes: Sequence[Note],
    now_ms: int,
) -> None:
    """Step 3. Where no work is sound there is nothing to append, and the empty commit leaves no trace."""
    sound = [(work, done) for work, done in zip(works, applied, strict=True) if isinstance(done, Effects)]
    for _, effects in sound:
        while effects.outputs:  # gone as soon as they are laid out: both together are hundreds of megabytes
            await producer.append(*effects.outputs.popleft())
    passing("commit.3.outputs-appended")
    for work, effects in sound:
        await producer.append(work.parts.changelog, work.parts.row_records(effects.rows, now_ms))
    for note in notes:
        await producer.append(note.changelog, [Record(key, value, now_ms) for key, value in note.rows])
    passing("commit.3.changelog-appended")


def _store(work: Work, effects: Effects, ends: Mapping[Partition, int], committed_ns: int) -> Outcome:
    """Step 5 for one task. A store that refuses is that task's trouble: the log has it, a new opening restores it."""
    parts = work.parts
    try:
        parts.store_rows(effects.rows, ends[parts.changelog])
    except Exception as error:  # rocksdict raises bare Exception
        discard(parts)
        return error
    parts.unrecorded.clear()
    parts.register = None
    for table in parts.tables.overlays.values():
        table.settle()
    return Committed(effects.views, effects.positions, effects.processed_ns, committed_ns, ends, effects.handling_s)


def _discard_all(works: Iterable[Work]) -> None:
    for work in works:
        discard(work.parts)


def discard(parts: TaskParts) -> None:
    """Forgets what the overlay holds."""
    for table in parts.tables.overlays.values():
        table.discard()


def positions_after(messages: Iterable[Message]) -> dict[str, int]:
    """Topic → the offset after its last message; messages of one topic are in order."""
    return {message.topic.name: message.offset + 1 for message in messages}


def apply(parts: TaskParts, batch: Sequence[Message], sizes_refused: Mapping[str, int] = NOTHING_REFUSED) -> Effects:
    """Runs the handlers over the batch. Raises PoisonError, and OSError where the store cannot be read; the overlay is
    then to be discarded.
    """
    began_s = time.perf_counter()
    handling = _handled(parts, batch, sizes_refused)
    effects = Effects(handling.outbox.records(), handling.views)
    effects.processed_ns = parts.clock_ns()
    effects.handling_s = time.perf_counter() - began_s
    return effects


def _handled(parts: TaskParts, batch: Sequence[Message], sizes_refused: Mapping[str, int]) -> Handling:
    stage = (parts.name, parts.outputs, parts.handler, parts.tables, parts.clock_ns())
    if sizes_refused:  # by its own handler each message is known that says too much
        handling = Handling(*stage, sizes_refused, parts.framed)
        handling.one_by_one(batch, 0, len(batch))
        return handling
    if parts.batch_handler is not None:
        try:
            handling = Handling(*stage, framed=parts.framed)
            handling.at_once(batch, parts.batch_handler)
            return handling
        except (OSError, PoisonError):
            raise
        except Exception:  # a handler may raise anything; which message it was is found one by one
            _log.exception("batch_handler_failed", stage=parts.name, messages=len(batch))
            discard(parts)
    handling = Handling(*stage, framed=parts.framed)
    handling.one_by_one(batch, 0, len(batch))
    return handling


def add_dead_letter(effects: Effects, dead: SetAside, parts: TaskParts, sizes_refused: Mapping[str, int]) -> None:
    """Sets the message aside with where it stood and why; its own headers, the trace context among them, go along.

    A message that its topic takes may be too large with all that: then it goes without value and headers, which are
    where it stood.
    """
    message, value = dead.message, as_written(dead.message.value)
    letter = DeadLetter(
        stage=parts.name,
        topic=message.topic.name,
        partition=message.partition,
        offset=message.offset,
        error=dead.error[:ERROR_CHARS_MAX].encode("utf-8", "replace").decode(),
        value=value,
    )
    framing = parts.framed.get(message.topic.dead_letters)
    at_ms = parts.clock_ns() // NS_PER_MS
    record = letter_record(letter, message.key, at_ms, message.headers, framing)
    refused = sizes_refused.get(message.topic.dead_letters)
    if refused is not None and size_alone(record) >= refused:
        small = letter.model_copy(update={"value": None, "left_out_bytes": len(value or b"")})
        record = letter_record(small, message.key, at_ms, (), framing)
    effects.outputs.append((Partition(message.topic.dead_letters, message.partition), [record]))
