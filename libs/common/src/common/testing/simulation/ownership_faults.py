"""Seeded faults in the ownership protocol of producers that serve a whole process, see ``docs/spec/ownership.md``."""

import contextlib
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from typing import Any

from streams.commit import lane, transaction
from streams.model.errors import LogError
from streams.opening import claims, restore
from streams.opening.claims import Claims
from streams.opening.ownership import Taking
from streams.stage import task

from common.testing.simulation.replacing import replaced


class _OnlyTheLast(Claims):
    """Remembers whom the newest ownership row names."""

    def note(self, key: bytes, value: bytes | None) -> None:
        super().note(key, value)
        if claims.is_ownership(key) and value:
            self.newest = value.decode()

    def writers(self, me: str) -> list[str]:
        return [one for one in super().writers(me) if one == getattr(self, "newest", one)]


def only_the_newest_claim_counts() -> AbstractContextManager[None]:
    """The taker shuts out whom the newest ownership row names, and nobody else."""
    return replaced(restore, "Claims", _OnlyTheLast)


class _AfterTheOwnerRow(Claims):
    """Takes an owner's row for the beginning of all claims that count."""

    def note(self, key: bytes, value: bytes | None) -> None:
        super().note(key, value)
        if key == claims.OWNER_KEY:
            self.claims.clear()


def claims_before_the_owner_row_dropped() -> AbstractContextManager[None]:
    """Only claims after the owner's row count, though some before it came after the owner's own claim."""
    return replaced(restore, "Claims", _AfterTheOwnerRow)


def no_look_back() -> AbstractContextManager[None]:
    """Fault: a claim between the first look and the taker's own claim is not shut out."""
    return replaced(Claims, "writers_since", lambda _self, _me: [])


def look_back_does_not_wait() -> AbstractContextManager[None]:
    """The look back takes what can be read at once, before the taker's own claim can be."""

    async def wrong(self: Taking, claimed: int) -> None:
        await self.copy.advance(claimed, 1)

    return replaced(Taking, "_read_back", wrong)


def not_restored_after_the_look_back() -> AbstractContextManager[None]:
    """The store is taken for complete up to the claim; who was shut out after it may have written more."""

    async def wrong(_self: Taking) -> None:
        return

    return replaced(Taking, "_restore", wrong)


def store_jumps_over_claims() -> AbstractContextManager[None]:
    """An owner takes its store for complete up to its own last row, over claims that it has not read."""

    def wrong(self: transaction.TaskParts, rows: Any, end: int) -> None:
        self.store.write(rows, end)

    return replaced(transaction.TaskParts, "store_rows", wrong)


def owner_row_left_out() -> AbstractContextManager[None]:
    """The owner removes the claims and does not say who it is."""
    right = lane.Session.write

    async def wrong(self: lane.Session, note: transaction.Note) -> int:
        rows = list(note.rows)
        seated = len(rows) > 1 and rows[0][0] == claims.OWNER_KEY
        return await right(self, transaction.Note(note.changelog, rows[1:] if seated else rows))

    return replaced(lane.Session, "write", wrong)


def released_before_leaving() -> AbstractContextManager[None]:
    """The partition is given back while the task still takes part in transactions."""

    async def wrong(self: task.Task, of: lane.Lane, session: lane.Session) -> None:
        seat = session.join(self)
        try:
            await seat.ended
        finally:
            with contextlib.suppress(LogError):
                await session.write(claims.release(self._parts.changelog))
            await session.leave(seat)

    return replaced(task.Task, "_serve", wrong)


def released_and_still_served() -> AbstractContextManager[None]:
    """A task that leaves stays in the lane."""

    async def wrong(self: lane.Session, seat: lane.Seat) -> None:
        return

    return replaced(lane.Session, "leave", wrong)


def fences_the_wrong_id() -> AbstractContextManager[None]:
    """Takers shut out the partition's id, as if every owner had a producer per partition."""
    right = Taking._shut_out

    async def wrong(self: Taking, ids: Collection[str]) -> None:
        await right(self, {self.task_id for _ in ids})

    return replaced(Taking, "_shut_out", wrong)


@contextlib.contextmanager
def owed_markers_left_behind() -> Iterator[None]:
    """The last task of a lane does not look if its commits can be read; who then waits for them asks nobody why."""

    async def no_clearing(self: lane.Lane, session: lane.Session) -> None:
        return

    async def no_asking(self: Taking) -> bool:
        return False

    with replaced(lane.Lane, "_clear", no_clearing), replaced(Taking, "free", no_asking):
        yield


def task_id_not_shut_out_after_the_claim() -> AbstractContextManager[None]:
    """A taker shuts out those who claim, and forgets the producer of the partition, which never does."""
    right = Taking._shut_out

    async def wrong(self: Taking, ids: Collection[str]) -> None:
        await right(self, [one for one in ids if one != self.task_id])

    return replaced(Taking, "_shut_out", wrong)


def task_ignores_claims() -> AbstractContextManager[None]:
    """A task with a producer of its own shuts out its own id only."""

    async def wrong(self: Taking) -> int:
        await self._restore()
        return self.copy.position

    return replaced(Taking, "as_task", wrong)
