"""The last look before a restored task may work: its state belongs to these logs, and continues what it has written."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from streams.commit.handling import NS_PER_MS
from streams.commit.transaction import TaskParts
from streams.model.errors import Refused, Retriable
from streams.model.framing import SchemaUnknown
from streams.model.log import Log, Partition, Record, StoredRecord
from streams.model.topics import Topic
from streams.opening.log_identity import Patience, check_beginning, check_identity, last_record, unrecorded
from streams.process.settings import Settings
from streams.state.framed_reader import text_record
from streams.state.log_rows import LOG_KEY

if TYPE_CHECKING:
    from streams.model.declaration import Stage


async def check_restored(
    log: Log,
    stage: "Stage",
    parts: TaskParts,
    positions: Mapping[str, int],
    settings: Settings,
    strange: Collection[int] = (),
) -> None:
    """Notes in ``parts`` what the next commit is to say of the logs.

    ``strange``: offsets at the outputs' ends that an operator knows of as not written by the stage.

    Raises Refused; Retriable where the changelog has grown since it was restored: then somebody else owns it, and what
    the logs hold is not what this task has restored.
    """
    try:
        patience = Patience(settings.settle_timeout_ms / 1000, f"{stage.full_name}.")
        await _check(log, stage, parts, positions, patience)
        await _check_outputs(log, stage, parts, patience, settings, strange)
    except Refused as refusal:
        if await log.high_watermark(parts.changelog) > parts.seen:
            raise Retriable(f"{parts.changelog} has grown since it was restored: {refusal}") from refusal
        raise


async def _check(log: Log, stage: "Stage", parts: TaskParts, positions: Mapping[str, int], patience: Patience) -> None:
    partition = parts.changelog.number
    parts.identity = await log.identity(parts.changelog.topic)
    kept = parts.store.get(LOG_KEY)
    check_identity(parts.changelog.topic, kept, parts.identity)
    if stage.register and not kept:
        # Nobody has committed here yet, or a release that wrote no identity: only then there are positions.
        register, key = Partition(stage.register.name, 0), stage.task_id(partition).encode()
        if not positions:
            await check_beginning(log, register, key, parts.changelog, patience)
        parts.register = register, Record(key, parts.identity.encode(), parts.clock_ns() // NS_PER_MS)
    parts.unrecorded.update(await unrecorded(log, parts.store, [topic.name for topic in stage.inputs]))


async def _check_outputs(
    log: Log, stage: "Stage", parts: TaskParts, patience: Patience, settings: Settings, strange: Collection[int]
) -> None:
    for topic, continues in stage.continues.items():
        where = Partition(topic.name, parts.changelog.number)
        last = await _last_text(log, topic, patience, settings, where.number)
        while True:
            try:
                continues(parts.tables, last)
                break
            except ValueError as error:
                if last is None or last.offset not in strange:
                    text = f"{where} does not end where the state of {parts.name} does: {error}"
                    raise Refused(text, "begin") from error
            last = await _last_text(log, topic, patience, settings, where.number, last.offset)


async def _last_text(
    log: Log, topic: Topic, patience: Patience, settings: Settings, number: int, before: int | None = None
) -> StoredRecord | None:
    """``last_record`` with its value as text. Raises Refused where a newer release has written it."""
    where = Partition(topic.name, number)
    last, framing = await last_record(log, where, patience, before), topic.schema.framing
    if last is None or framing is None:
        return last
    try:
        return await text_record(last, framing, settings)
    except SchemaUnknown as unknown:
        raise Refused(f"the last record of {where} cannot be read: {unknown}") from unknown
