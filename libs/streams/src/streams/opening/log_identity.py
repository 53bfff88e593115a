"""Whether a log is still the one that a partition's state was made from.

A position is an offset in one particular log. A topic that was deleted and created again, mirrored to another cluster,
trimmed, or truncated and regrown has other records at the same offsets, and going on from there loses or doubles what
was handled. So beside the positions stand two things by which a log is known again:

``@log`` and ``@log/{topic}``, rows of the changelog: cluster id and topic id (KIP-516) of the changelog itself, with
each commit, and of each input, with the first. They travel with the changelog, into a store and into a mirror; and what
an owner writes into a topic that was created again under its hands says that it was meant for another.
``@landmark``, only in the store: offset, leader epoch where it is known, checksum and key of the last changelog row
that the store has. A changelog that lost its end and grew past it again has another row there, or none, and the epoch
ends before it (KIP-320); compaction takes a row only for a newer one of its key.

An empty changelog has neither. So the first commit of a partition also says in the register, a topic of its own, that
the stage was there: then the changelog has lost everything, and does not stand for a beginning.

What does not fit is Refused before anything is read or written; see ADR 0027.
"""

import asyncio
from collections.abc import AsyncIterator, Collection
from typing import Final, NamedTuple

from streams.model.errors import Refused, Retriable
from streams.model.log import RESTORE_POLL_MS, Log, Partition, StoredRecord
from streams.state.log_rows import LOG_KEY, checksum_of, log_key
from streams.state.store import LANDMARK_KEY, Store
from streams.state.store_errors import CorruptStore

TAIL_OFFSETS: Final = 64
"""How many offsets from its end a partition is read first for its last record; eight times as many each time after."""


class Patience(NamedTuple):
    """How long markers are waited for, and how the transactional ids begin that may then be shut out for them."""

    settle_s: float
    ids: str


def check_meant(changelog: Partition, offset: int, value: bytes) -> None:
    """Raises Refused where a commit stands before the place that its writer had seen already: rows between are lost."""
    try:
        least = int(value.split()[1])
    except (ValueError, IndexError) as error:
        raise Refused(f"{changelog} has at {offset} an identity that cannot be read: {value[:80]!r}") from error
    if offset < least:
        raise Refused(f"{changelog} has at {offset} what was written after {least}: it lost rows before")


async def check_changelog(log: Log, changelog: Partition, store: Store, start: int, end: int) -> None:
    """Before anything of it is read: whether the changelog continues what the store has.

    ``start``: from where it would be read. Raises Refused.
    """
    position = store.changelog_offset()
    check_identity(changelog.topic, store.get(LOG_KEY), await log.identity(changelog.topic))
    if position > end:
        raise Refused(
            f"{changelog} ends at {end}, and the store has it up to {position}: the log lost its end", "verify"
        )
    begin = await log.low_watermark(changelog)
    if begin > start:
        raise Refused(
            f"{changelog} begins at {begin}, and the store has it up to {start}: rows between the two are lost",
            "verify" if start else "begin",
        )
    if start:
        await _check_landmark(log, changelog, store.get(LANDMARK_KEY), begin)


async def _check_landmark(log: Log, changelog: Partition, mark: bytes | None, begin: int) -> None:
    """A row that is not there was taken by compaction where a newer one of its key is, or its epoch is still whole."""
    if mark is None:  # a store of an earlier release
        return
    number, epoch, checksum, key = _parts_of(mark)
    offset = int(number)
    if offset < begin:
        return
    epoch_end = await log.epoch_end(changelog, int(epoch)) if int(epoch) >= 0 else -1
    lost = Refused(f"{changelog} lacks the row at {offset} that the store was made from: it was written anew")
    if 0 <= epoch_end <= offset:
        raise lost
    stable = -1
    # Compaction may take a row for one that was written while this read on: then there is more to read.
    while stable < (stable := await log.last_stable_offset(changelog)):
        if stable <= offset:  # its marker is on its way, and nothing can be said of it
            return
        async for record in _records(log, changelog, offset, stable):
            if record.offset == offset and checksum_of(record.key, record.value) != int(checksum):
                raise lost
            if record.offset == offset or record.key == key or epoch_end > offset:
                return
    if epoch_end < 0:
        raise lost


def _parts_of(mark: bytes) -> list[bytes]:
    parts = mark.split(b" ", 3)
    if len(parts) < 4 or not all(part.lstrip(b"-").isdigit() for part in parts[:3]):
        raise CorruptStore(f"the store's row {LANDMARK_KEY!r} is none: {mark[:80]!r}")
    return parts


def check_identity(topic: str, kept: bytes | None, found: str, remedy: str = "show") -> None:
    """Raises Refused, with what helps, where positions and rows were made from another topic of that name."""
    if kept is not None and (made_from := kept.partition(b" ")[0].decode("utf-8", "replace")) != found:
        raise Refused(f"topic {topic} is {found}, and the state was made from {made_from}: it is another log", remedy)


async def check_input(log: Log, source: Partition, position: int | None, kept: bytes | None) -> int:
    """From where an input is to be read. Raises Refused where the log does not hold what the position stands for."""
    remedy = f"seek {source.topic}"
    check_identity(source.topic, kept, await log.identity(source.topic), remedy)
    begin, end = await log.low_watermark(source), await log.high_watermark(source)
    if position is None:
        return begin
    if position < begin:
        raise Refused(f"{source} begins at {begin}, but only {position} were handled: records expired unread", remedy)
    if position > end:
        raise Refused(f"{source} ends at {end}, but {position} were handled: the log lost its end", remedy)
    return position


async def unrecorded(log: Log, store: Store, inputs: Collection[str]) -> dict[bytes, bytes]:
    """The identity rows of inputs that the store has not got yet, for the next commit."""
    unknown = [topic for topic in inputs if store.get(log_key(topic)) is None]
    return {log_key(topic): (await log.identity(topic)).encode() for topic in unknown}


async def check_beginning(log: Log, register: Partition, key: bytes, changelog: Partition, patience: Patience) -> None:
    """Whether a changelog without a row may be taken for that of a stage that was never there. Raises Refused."""
    end = await _settled(log, register, patience)
    async for record in _records(log, register, await log.low_watermark(register), end):
        if record.key == key and record.value is not None:
            raise Refused(
                f"{changelog} is empty, and {key.decode()} has worked on {record.value.decode()}: rows are lost",
                "begin",
            )


async def begun_anew(log: Log, register: Partition, key: bytes, changelog: Partition) -> int | None:
    """From which offset on the changelog has everything, by an operator's word (``begun``); None: nobody said so."""
    found: bytes | None = None
    async for record in _records(
        log, register, await log.low_watermark(register), await log.last_stable_offset(register)
    ):
        if record.key == key:
            found = record.value
    identity, _, offset = (found or b"").partition(b" ")
    return int(offset) if offset and identity.decode() == await log.identity(changelog.topic) else None


def begun(identity: str, offset: int) -> bytes:
    """The register's entry for a partition whose rows were written anew, all of them, from an offset on."""
    return b"%b %d" % (identity.encode(), offset)


async def last_record(
    log: Log, partition: Partition, patience: Patience, before: int | None = None
) -> StoredRecord | None:
    """The last committed record, below ``before``, of a partition that nobody else writes to now; None: no record."""
    begin, end = await log.low_watermark(partition), await _settled(log, partition, patience)
    end = end if before is None else min(end, before)
    reach = TAIL_OFFSETS
    while True:
        start = max(begin, end - reach)
        found = [record async for record in _records(log, partition, start, end)]
        if found or start == begin:
            return found[-1] if found else None
        reach *= 8


async def _settled(log: Log, partition: Partition, patience: Patience) -> int:
    """The partition's end, once all before it can be read: markers of those who have given it up may be on their way.

    A broker may have forgotten them. Whoever they stand in for is shut out then, which has them written; raises
    Retriable.
    """
    loop = asyncio.get_running_loop()
    until, end = loop.time() + patience.settle_s, await log.high_watermark(partition)
    while (stable := await log.last_stable_offset(partition)) < end:
        if loop.time() > until:
            for transactional_id in await log.blocked_by(partition):
                if transactional_id.startswith(patience.ids):
                    await (await log.fence(transactional_id, [partition])).close()
            raise Retriable(f"{partition} can be read up to {stable} only, its end is {end}")
        await asyncio.sleep(RESTORE_POLL_MS / 1000)
    return end


async def _records(log: Log, partition: Partition, start: int, end: int) -> AsyncIterator[StoredRecord]:
    """Committed records of [start, end)."""
    reader = await log.read(partition, start)
    try:
        while reader.position < end:
            for record in await reader.poll(RESTORE_POLL_MS):
                if record.offset < end:
                    yield record
    finally:
        await reader.close()
