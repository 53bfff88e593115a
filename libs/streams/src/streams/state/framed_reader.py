"""Reads a topic in both forms: framed values become text, and what nobody can read yet holds its partition back."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from streams.model.dead_letters import is_text_letter
from streams.model.framing import HEADER_BYTES, Framing, NewerSchema, SchemaUnknown, Unframed, frame, is_framed
from streams.model.log import Reader, StoredRecord
from streams.model.message import Headers
from streams.model.topics import Topic
from streams.process import metrics
from streams.process.backoff import Backoff
from streams.process.logs import get_logger
from streams.process.settings import Settings

_log = get_logger(__name__)
ASK_AGAIN_MIN_S: Final = 0.5
ASK_AGAIN_MAX_S: Final = 5.0
RECORDS_AT_ONCE: Final = 256


class TextRecord(NamedTuple):
    """A record whose value was framed. See ``log.StoredRecord``."""

    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: Headers


def reader_of(topic: Topic, reader: Reader, settings: Settings, known: int | None = None) -> Reader:
    """The reader of a partition of ``topic``, with every value as text, but for framed ones of the schema ``known``."""
    framing = topic.schema.framing
    return reader if framing is None else FramedReader(reader, framing, settings, topic.name, known)


async def text_record(record: StoredRecord, framing: Framing, settings: Settings) -> StoredRecord:
    """The record with its value as text. Raises SchemaUnknown.

    A damaged value stays as it is: the topic's schema refuses it, and says why. So does what a stage has set aside.
    """
    value = record.value
    if value is None or not is_framed(value) or is_text_letter(record.headers):
        return record
    for is_learnt in (False, True):
        try:
            text = Unframed.of(framing.text(value), value)
            return TextRecord(record.offset, record.key, text, record.timestamp, record.headers)
        except SchemaUnknown as unknown:
            if is_learnt or isinstance(unknown, NewerSchema):
                raise
            await framing.learn(unknown.schema_id, settings)
        except ValueError:
            break
    return record


class FramedReader:
    """See ``log.Reader``. ``position`` stays before the first record that cannot be read."""

    def __init__(
        self, reader: Reader, framing: Framing, settings: Settings, topic: str, known: int | None = None
    ) -> None:
        self._reader = reader
        self._framing = framing
        self._settings = settings
        self._topic = topic
        self._known = None if known is None else frame(known, b"")
        self._waiting: Sequence[StoredRecord] = ()
        """Records from the first one on that cannot be read; no more is read meanwhile, so they are of one fetch."""
        self._backoff = Backoff(ASK_AGAIN_MIN_S, ASK_AGAIN_MAX_S)
        self._ask_again_s = 0.0
        self.awaited: str | None = None

    @property
    def position(self) -> int:
        return self._waiting[0].offset if self._waiting else self._reader.position

    @property
    def epoch(self) -> int:
        return self._reader.epoch

    async def poll(self, timeout_ms: int) -> Sequence[StoredRecord]:
        if not self._waiting:
            records = await self._reader.poll(timeout_ms)
            known = self._known  # asked of every record
            if not [1 for record in records if (v := record.value) and v[0] == 0 and v[:HEADER_BYTES] != known]:
                return records
            self._waiting = records
        elif (pause_s := self._ask_again_s - time.monotonic()) > 0:
            await asyncio.sleep(min(pause_s, timeout_ms / 1000))
            if self._ask_again_s > time.monotonic():
                return ()
        return await self._readable()

    async def _readable(self) -> Sequence[StoredRecord]:
        """Records before the first one that cannot be read."""
        records = self._waiting
        texts: list[StoredRecord] = []
        for number, record in enumerate(records):
            if number % RECORDS_AT_ONCE == 0:
                await asyncio.sleep(0)  # requests and heartbeats need not wait for all of them
            try:
                is_known = (record.value or b"")[:HEADER_BYTES] == self._known
                texts.append(record if is_known else await text_record(record, self._framing, self._settings))
            except SchemaUnknown as unknown:
                self._hold(record, unknown)
                break
        else:
            if self.awaited is not None:
                _log.info("schema_known", topic=self._topic, offset=records[0].offset)
            self._say(None)
            self._backoff.reset()
        metrics.RESOLVED.labels(self._topic).inc(sum(type(record) is TextRecord for record in texts))
        self._waiting = records[len(texts) :]
        return texts

    def _hold(self, record: StoredRecord, unknown: SchemaUnknown) -> None:
        self._ask_again_s = time.monotonic() + self._backoff.next()
        if self.awaited != str(unknown):
            _log.error("schema_unknown", topic=self._topic, offset=record.offset, reason=str(unknown))
        self._say(str(unknown))

    def _say(self, awaited: str | None) -> None:
        self.awaited = self._reader.awaited = awaited

    async def close(self) -> None:
        await self._reader.close()
