"""Dead letters: what they say of themselves, and how one goes back to where it came from."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from common.contracts.topics import RUNTIME_OPERATIONS, STAGE_INPUTS, Topic
from streams.model.dead_letters import DeadLetter, letter_of
from streams.model.framing import SchemaUnknown
from streams.model.log import Log, Partition, Record
from streams.model.message import Headers, Message
from streams.process.settings import Settings

from tidemark.console import CommandError
from tidemark.log_end import read_committed
from tidemark.operations import Operation, carry_out
from tidemark.topic_names import topic_named

OURS: Final = "dlq."
SENT_FROM: Final = "dlq.sent-from"
"""Header of a message that was sent once more: which letter it was."""
POLL_MS: Final = 500


@dataclass(frozen=True, slots=True)
class KeptLetter:
    """A letter, and what its record has beside it. ``name`` is ``topic/partition/offset`` of the record."""

    name: str
    key: bytes | None
    headers: Headers
    letter: DeadLetter

    @property
    def place(self) -> Partition:
        """The partition in which the message stood that was set aside."""
        return Partition(self.letter.topic, self.letter.partition)


def kept_letter(message: Message) -> KeptLetter:
    """Raises CommandError for a record that no stage has written."""
    name = f"{message.topic.name}/{message.partition}/{message.offset}"
    try:
        return KeptLetter(name, message.key, message.headers, letter_of(message))
    except (ValueError, SchemaUnknown) as error:
        raise CommandError(f"{name} is no dead letter of a stage: {error}") from error


async def letters(settings: Settings, topics: Sequence[Topic] = STAGE_INPUTS) -> list[KeptLetter]:
    """All that are kept, oldest first within a topic's partition."""
    found = []
    queues = [topic_named(topic.dead_letters) for topic in topics]
    async for messages in read_committed(settings, queues):
        found += [kept_letter(message) for message in messages]
    return found


async def letter_named(settings: Settings, name: str) -> KeptLetter:
    """By ``topic/partition/offset`` of the letter. Raises CommandError."""
    topic = name.split("/")[0].removesuffix(".dlq")
    for letter in await letters(settings, [topic_named(topic)]):
        if letter.name == name:
            return letter
    raise CommandError(f"there is no dead letter {name}; `tidemark dlq list` shows those there are")


def operation_of(letter: KeptLetter, reason: str = "") -> Operation:
    """The record of sending this dead letter back."""
    details = {"to": f"{letter.place.topic}/{letter.place.number}", "was_at": letter.letter.offset}
    return Operation(f"dlq/{letter.name}", "sent", reason, details)


async def send(log: Log, letter: KeptLetter, reason: str, topic: Topic = RUNTIME_OPERATIONS) -> int:
    """Writes the message to the end of its partition; returns its offset. Raises CommandError where it was before."""
    value = letter.letter.value
    if letter.letter.left_out_bytes is not None:
        value = await _original_value(log, letter)
    own = [(name, value) for name, value in letter.headers if not name.startswith(OURS)]
    headers = [*own, (SENT_FROM, letter.name.encode())]
    record = Record(letter.key, value, time.time_ns() // 1_000_000, headers)
    ends = await carry_out(log, operation_of(letter, reason), {letter.place: [record]}, once=True, topic=topic)
    return ends[letter.place] - 1


async def _original_value(log: Log, letter: KeptLetter) -> bytes | None:
    offset = letter.letter.offset
    reader = await log.read(letter.place, offset)
    try:
        found = await reader.poll(POLL_MS) if await log.low_watermark(letter.place) <= offset else []
    finally:
        await reader.close()
    for record in found:
        if record.offset == offset:
            return record.value
    raise CommandError(f"{letter.name} has no value, and {letter.place} does not keep {offset} any more")
