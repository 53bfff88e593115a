"""Fills a changelog as a stage would have: committed rows, a transaction for every few thousand."""

import itertools
from collections.abc import Iterable, Sequence
from typing import Final

from streams.model.log import Log, Partition, Record

ROWS_PER_TRANSACTION: Final = 5_000
ROWS_PER_APPEND: Final = 500


async def write_rows(
    log: Log, changelog: Partition, rows: Iterable[tuple[bytes, bytes | None]], transactional_id: str
) -> None:
    """Commits the rows in order. ``transactional_id`` is the writer's; an owner's would be shut out."""
    remaining = iter(rows)
    producer = await log.fence(transactional_id, [changelog])
    try:
        while chunk := list(itertools.islice(remaining, ROWS_PER_TRANSACTION)):
            await producer.begin()
            for part in _parts(chunk):
                await producer.append(changelog, [Record(key, value, 0) for key, value in part])
            await producer.commit()
    finally:
        await producer.close()


def _parts(chunk: Sequence[tuple[bytes, bytes | None]]) -> Iterable[Sequence[tuple[bytes, bytes | None]]]:
    return (chunk[at : at + ROWS_PER_APPEND] for at in range(0, len(chunk), ROWS_PER_APPEND))
