"""Which layout the rows of a stage's tables have: kept beside them, and compared before a message is read.

``@layout``, a row of the changelog that travels with it into stores, standbys and mirrors: the version that the stage
declares, and a checksum of how its rows are described. Before a task works, the two are compared with its own:

- the same: it goes on, after a look at a few rows;
- the same version, described in another way (a field with a default was added, or somebody forgot to raise the
  version): every row is decoded once; it goes on where all can be, else it is Refused;
- older, with a migration for each step: the rows are grown, some at a time, each time in one transaction with how far
  it is, so that a process that dies in between, or the next owner, goes on from there;
- newer, or without a way: Refused, with nothing read or written.

State without the row is of a release that knew none: version 1. The rules of what may change within a version are those
of Flink's evolution of state schemas for its own types: fields are added with a default, never moved or retyped.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from itertools import islice
from typing import Final
from zlib import crc32

import msgspec

from streams.commit.transaction import Note, TaskParts
from streams.model.declaration import Stage
from streams.model.errors import Newer, Refused
from streams.model.log import Log
from streams.model.row_check import RowCheck
from streams.model.tables import FIRST_VERSION
from streams.opening.log_identity import check_identity
from streams.state.log_rows import LOG_KEY, meant_for
from streams.state.overlay import undecodable
from streams.state.store import LAYOUT_KEY, UNCHECKED_KEY, Store, row_key
from streams.state.store_errors import CorruptStore

Write = Callable[[Note], Awaitable[int]]
LOOKED_AT: Final = 64
"""Rows of each table that are decoded at every opening."""
ROWS_AT_ONCE: Final = 1_000
"""Rows that are grown in one transaction."""


class Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    """The row ``@layout``. While rows are grown, those up to ``done``, a store's key in hex, are of the next one."""

    version: int
    rows: str = ""
    """Checksum of the tables' description; empty: not known."""
    growing: bool = False
    done: str = ""


def layout_of(stage: Stage) -> Kept:
    """Layout of a stage's own rows."""
    said = sorted(f"{table.name}={table.codec.describe()}" for table in stage.changelogged())
    return Kept(stage.version, f"{crc32(chr(10).join(said).encode()):08x}")


def kept_layout(store: Store) -> Kept | None:
    """Layout of the store's rows; None where that was never said. Raises CorruptStore."""
    if (raw := store.get(LAYOUT_KEY)) is None:
        return None
    try:
        return msgspec.json.decode(raw, type=Kept)
    except msgspec.MsgspecError as error:
        raise CorruptStore(f"the store's row {LAYOUT_KEY!r} cannot be read: {raw[:80]!r}") from error


async def settle_layout(
    log: Log, stage: Stage, parts: TaskParts, seat: Callable[[], Awaitable[None]], write: Write
) -> None:
    """Leaves the store with rows of the stage's own layout, or raises: Refused, Newer, CorruptStore.

    ``seat`` makes this task the owner; nothing is grown before that.
    """
    if not (tables := stage.changelogged()):
        return
    mine, kept = layout_of(stage), kept_layout(parts.store)
    has_rows = any(True for table in tables for _ in islice(parts.store.prefix(row_key(table.name, b"")), 1))
    found = kept or (Kept(FIRST_VERSION) if has_rows else mine)
    _check_way(stage, parts, found)
    if found.version < mine.version:
        await seat()
        parts.identity = await log.identity(parts.changelog.topic)
        check_identity(parts.changelog.topic, parts.store.get(LOG_KEY), parts.identity)
        while found.version < mine.version:
            found = await _grow(stage, parts, found, mine, write)
        kept = found
    elif found.rows != mine.rows or parts.store.get(UNCHECKED_KEY) is not None:
        await _check_all(stage, parts)
    else:
        _look(stage, parts.store)
    if parts.store.get(UNCHECKED_KEY) is not None:
        parts.store.write([(UNCHECKED_KEY, None)], parts.store.changelog_offset())
    if kept != mine:
        parts.unrecorded[LAYOUT_KEY] = msgspec.json.encode(mine)


def _check_way(stage: Stage, parts: TaskParts, found: Kept) -> None:
    knows = f"{stage.full_name} knows layout {stage.version}"
    if found.version + found.growing > stage.version:
        raise Newer(
            f"{parts.changelog} holds rows of layout {found.version + found.growing}, and this release of {knows}: "
            "start the release that wrote them"
        )
    for version in range(found.version, stage.version):
        if version not in stage.migrations:
            raise Refused(
                f"{parts.changelog} holds rows of layout {version}, {knows} and has no migration from it: start a "
                "release that has one"
            )


def _look(stage: Stage, store: Store) -> None:
    """Raises UndecodableRow: the layout is right, so it is the store that is not."""
    for table in stage.changelogged():
        for _, raw in islice(store.prefix(row_key(table.name, b"")), LOOKED_AT):
            try:
                table.codec.decode(raw)
            except Exception as error:  # a codec may raise anything
                raise undecodable(table.name, raw, error) from error


async def _check_all(stage: Stage, parts: TaskParts) -> None:
    """Raises Refused at the first row that is none: the changelog has it, too, or it is of another layout."""
    check = RowCheck(stage.changelogged(), stage.verify, every=True)
    for table in stage.changelogged():
        for number, (key, raw) in enumerate(parts.store.prefix(row_key(table.name, b""))):
            if not number % ROWS_AT_ONCE:
                await asyncio.sleep(0)  # what else runs in this process is not to wait for all of them
            if reason := check(key, raw):
                raise Refused(
                    f"{parts.changelog}: {reason}. The state was written by a release with other rows under the same "
                    "version, or is broken: start that release",
                    "verify",
                )


async def _grow(stage: Stage, parts: TaskParts, found: Kept, mine: Kept, write: Write) -> Kept:
    """One version up. The last transaction says so; each one before it says how far it is."""
    target = found.version + 1
    check = RowCheck(stage.changelogged(), stage.verify, every=True) if target == mine.version else None
    rows = _grown(stage.migrations[found.version], parts, bytes.fromhex(found.done), check)
    while len(chunk := list(islice(rows, ROWS_AT_ONCE))) == ROWS_AT_ONCE:
        await _commit(parts, Kept(found.version, found.rows, growing=True, done=chunk[-1][0].hex()), chunk, write)
    grown = Kept(target, mine.rows if target == mine.version else "")
    await _commit(parts, grown, chunk, write)
    return grown


async def _commit(parts: TaskParts, said: Kept, rows: list[tuple[bytes, bytes | None]], write: Write) -> None:
    whole = [meant_for(parts.identity, parts.seen), (LAYOUT_KEY, msgspec.json.encode(said)), *rows]
    parts.store_rows(whole, await write(Note(parts.changelog, whole)))


def _grown(
    migration: Mapping[str, Callable[[bytes, bytes], bytes | None]],
    parts: TaskParts,
    done: bytes,
    check: RowCheck | None,
) -> Iterator[tuple[bytes, bytes | None]]:
    """Rows of the next layout, in the order of the store's keys, from behind ``done`` on. Raises Refused."""
    for name in sorted(migration, key=lambda name: row_key(name, b"")):
        prefix, grow = row_key(name, b""), migration[name]
        for key, raw in parts.store.prefix(prefix):
            if key <= done:
                continue
            try:
                row = grow(key.removeprefix(prefix), raw)
            except Exception as error:  # a migration may raise anything
                raise Refused(f"{parts.changelog}: the row {key!r} cannot be migrated: {error!r}") from error
            if check and row is not None and (reason := check(key, row)):
                raise Refused(f"{parts.changelog}: after its migration, {reason}")
            yield key, row
