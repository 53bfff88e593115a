"""Finds the gate's answers on ``risk.decisions``: who asked for what, when, what the gate said to it and why.

The topic is read in windows from one end: its newest records first, or the oldest since a time. Each window is larger
than the one before, and reading ends where nothing unread can stand among what was asked for. What happened lately is
found in the log of a month without reading the month.
"""

import heapq
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from common.contracts.command_records import CommandRecord
from common.contracts.events import CommandResult, Decision
from common.contracts.reason_codes import ReasonCode
from common.contracts.topics import AUDIT_COMMANDS, RISK_COMMANDS, RISK_DECISIONS
from common.contracts.values import INT64_MAX
from common.fleet_topics import settle_groups
from streams.edges.reader import CommittedReader
from streams.kafka.partitioner import partition_of
from streams.model.message import Message
from streams.process.settings import Settings

from tidemark.errors import CommandError
from tidemark.log_end import read_committed

WINDOW_RECORDS: Final = 2_000
"""Records of each partition in the first window; every further one has twice as many as the one before."""
CLOCKS_DIFFER_MS: Final = 60_000
"""By how much a record may be older than one that stands before it: gates of one partition follow each other on hosts
whose clocks differ. By far less, or marks were stale there.
"""
NS_PER_MS: Final = 1_000_000

Progress = Callable[[str, int, int], None]
Place = tuple[str, int]
CommandPlace = tuple[int, int]
_NOWHERE: Final[CommandPlace] = (-1, -1)
"""Stands for the place of what is no command; there is no record of it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question. Empty, or None, stands for any. ``until_ns`` itself is not in it."""

    account_id: str = ""
    order_id: str = ""
    symbol: str = ""
    reasons: frozenset[ReasonCode] = frozenset()
    accepted: bool | None = None
    since_ns: int = 0
    until_ns: int = INT64_MAX

    @property
    def key(self) -> bytes | None:
        """Key of all records that can be meant; None where they can have any."""
        account_id = self.account_id or self.order_id.partition(".")[0]
        return account_id.encode() or None

    def takes(self, said: Decision | CommandResult) -> bool:
        """Commands are about no order and no symbol: whoever asks for one of these gets none."""
        if not self.since_ns <= said.decided_ns < self.until_ns or self.accepted not in (None, said.accepted):
            return False
        if self.reasons and said.reason not in self.reasons:
            return False
        if isinstance(said, CommandResult):
            return not (self.order_id or self.symbol)
        return self.order_id in ("", said.order_id) and self.symbol in ("", said.intent.symbol)


class Answer(NamedTuple):
    """An answer of the gate, and of a command who gave it, where that was recorded."""

    message: Message
    record: CommandRecord | None = None

    @property
    def said(self) -> Decision | CommandResult:
        body: Decision | CommandResult = self.message.body
        return body


@dataclass(slots=True)
class Found:
    """Answers in the order that was asked for. ``has_more``: there are others, further from where reading began."""

    answers: list[Answer]
    has_more: bool
    records: int
    """Records that were read for it."""


@dataclass(slots=True)
class _Walk:
    """The part of each partition that is left to read, [begin, end), and how far it has come."""

    begins: dict[Place, int]
    ends: dict[Place, int]
    newest_first: bool
    reached_ms: dict[Place, int] = field(default_factory=dict)
    """Time of the record of a partition that was read last, in the direction of reading."""

    def open_places(self, last_ms: int | None) -> list[Place]:
        """Partitions with something unread that could stand before ``last_ms``, the last one of what was found."""
        unread = [place for place, end in self.ends.items() if self.begins[place] < end]
        if last_ms is None:
            return unread
        return [place for place in unread if self._may_hold(place, last_ms)]

    def _may_hold(self, place: Place, last_ms: int) -> bool:
        if (reached_ms := self.reached_ms.get(place)) is None:
            return True
        if self.newest_first:
            return reached_ms + CLOCKS_DIFFER_MS >= last_ms
        return reached_ms - CLOCKS_DIFFER_MS <= last_ms

    def windows(self, places: Sequence[Place], records: int) -> dict[Place, tuple[int, int]]:
        """The next so many offsets of these partitions; they count as read from now on."""
        taken: dict[Place, tuple[int, int]] = {}
        for place in places:
            begin, end = self.begins[place], self.ends[place]
            if self.newest_first:
                begin = self.ends[place] = max(begin, end - records)
            else:
                end = self.begins[place] = min(end, begin + records)
            taken[place] = begin, end
        return taken

    def note(self, messages: Sequence[Message]) -> None:
        """Remembers how far their partition was read: the oldest time of the newest, or the newest of the oldest."""
        furthest = min if self.newest_first else max
        for message in messages:
            place, at_ms = (message.topic.name, message.partition), message.timestamp_ms
            self.reached_ms[place] = furthest(self.reached_ms.get(place, at_ms), at_ms)


async def find(
    settings: Settings, asked: Asked, count: int, show_progress: Progress, *, newest_first: bool = True
) -> Found:
    """The first ``count`` answers that are asked for, by time. Raises CommandError, LogError."""
    await settle_groups(settings.kafka.bootstrap)
    only = None if asked.key is None else frozenset({partition_of(asked.key, RISK_DECISIONS.partitions)})
    walk = await _walk(settings, asked, only, newest_first)
    total = sum(end - walk.begins[place] for place, end in walk.ends.items())
    first = _First(count + 1, newest_first)
    window, read = WINDOW_RECORDS, 0
    while places := walk.open_places(first.last_ms()):
        async for messages in _read(settings, walk.windows(places, window), only):
            walk.note(messages)
            first.add(message for message in messages if _is_asked(asked, message))
            read += len(messages)
            show_progress(f"{RISK_DECISIONS.name} records", read, total)
        window *= 2
    kept = first.cut()
    return Found(await _with_givers(settings, kept[:count]), len(kept) > count, read)


@dataclass(slots=True)
class _First:
    """The first so many of the messages that it is given, by the time of the decision."""

    count: int
    newest_first: bool
    kept: list[Message] = field(default_factory=list)

    def add(self, messages: Iterable[Message]) -> None:
        self.kept += messages
        if len(self.kept) > 2 * self.count + WINDOW_RECORDS:
            self.cut()

    def cut(self) -> list[Message]:
        choose = heapq.nlargest if self.newest_first else heapq.nsmallest
        self.kept = choose(self.count, self.kept, key=_by_time)
        return self.kept

    def last_ms(self) -> int | None:
        """Time of the last of them; None while there are fewer."""
        return self.kept[-1].timestamp_ms if len(self.cut()) == self.count else None


def _by_time(message: Message) -> tuple[int, int, int]:
    return message.body.decided_ns, message.partition, message.offset


async def _walk(settings: Settings, asked: Asked, only: frozenset[int] | None, newest_first: bool) -> _Walk:
    """All that may be asked for: records carry the time of their decision, to the millisecond."""
    async with _reader(settings, only=only, from_beginning=True) as reader:
        begins, ends = reader.positions, await reader.ends()
        if asked.since_ns:
            since = await reader.offsets_at(asked.since_ns // NS_PER_MS)
            begins = {place: max(begin, since[place]) for place, begin in begins.items()}
        if asked.until_ns < INT64_MAX:
            until = await reader.offsets_at((asked.until_ns - 1) // NS_PER_MS + 1 + CLOCKS_DIFFER_MS)
            ends = {place: min(end, until[place]) for place, end in ends.items()}
    return _Walk(begins, ends, newest_first)


async def _read(
    settings: Settings, windows: Mapping[Place, tuple[int, int]], only: frozenset[int] | None
) -> AsyncIterator[Sequence[Message]]:
    """Committed records of the windows."""
    numbers = frozenset(number for _, number in windows)
    begins = {place: begin for place, (begin, _) in windows.items()}
    ends = {place: end for place, (_, end) in windows.items()}
    async with _reader(settings, only=numbers if only is None else only & numbers, positions=begins) as reader:
        async for messages in reader.batches_until(ends):
            yield [message for message in messages if message.offset < ends[message.topic.name, message.partition]]


def _reader(settings: Settings, **how: Any) -> CommittedReader:
    return CommittedReader(settings, [RISK_DECISIONS], client_id="tidemark-cli", **how)


def _is_asked(asked: Asked, message: Message) -> bool:
    """Raises CommandError for what is no answer of the gate."""
    if asked.key not in (None, message.key):
        return False
    try:
        return asked.takes(message.body)
    except ValueError as error:
        place = f"{RISK_DECISIONS.name} {message.partition}/{message.offset}"
        raise CommandError(f"{place} is no decision: {str(error).splitlines()[0]}") from error


async def _with_givers(settings: Settings, messages: Sequence[Message]) -> list[Answer]:
    """Adds who gave the commands, from the record that the gate keeps of them (ADR 76)."""
    answers = [Answer(message) for message in messages]
    wanted = {_command_of(answer.said) for answer in answers} - {None}
    if not wanted:
        return answers
    given: dict[CommandPlace, CommandRecord] = {}
    async for batch in read_committed(settings, [AUDIT_COMMANDS]):
        for message in batch:
            record: CommandRecord = message.body
            place = record.command_partition, record.command_offset
            if record.topic == RISK_COMMANDS.name and place in wanted:
                given[place] = record
    return [Answer(each.message, given.get(_command_of(each.said) or _NOWHERE)) for each in answers]


def _command_of(said: Decision | CommandResult) -> CommandPlace | None:
    """Place of a command in its topic; None for an order."""
    return (said.command_partition, said.command_offset) if isinstance(said, CommandResult) else None
