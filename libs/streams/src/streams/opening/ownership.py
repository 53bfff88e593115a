"""Taking a changelog partition over: who may still write it is shut out, by the claims in the changelog itself.

Whoever takes the partition removes the claims that are older than its own, whose makers it has shut out, in the row
that names it owner. So at any offset, those who could still write are the owner and the makers of the claims that are
there. The specification and its argument are in ``docs/spec/ownership.md``, with an exhaustive check of it.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Final

from streams.commit.transaction import Note
from streams.model.log import RESTORE_POLL_MS, Log, Partition
from streams.opening.claims import CLAIM_PREFIX, NOBODY, OWNER_KEY
from streams.opening.restore import ChangelogCopy
from streams.process.failpoints import passing
from streams.process.logs import get_logger

OFFSET_MAX: Final = 2**63 - 1

_log = get_logger(__name__)


@dataclass(slots=True)
class Taking:
    """One attempt to own a changelog partition. ``me`` has been fenced in before it begins.

    ``writes``: where transactions of earlier owners may have written. ``write`` commits rows and returns the offset
    after the last one. ``task_id`` is the transactional id that belongs to the partition and not to a process.
    """

    log: Log
    copy: ChangelogCopy
    me: str
    task_id: str
    writes: Collection[Partition]
    write: Callable[[Note], Awaitable[int]]
    lives: Callable[[str], bool] = lambda _owner: True
    """Whether an owner may still give the partition back: one that is known to be gone is not waited for."""
    removable: list[bytes] = field(default_factory=list)
    """Claims whose makers are shut out."""

    async def as_task(self) -> int:
        """For a producer that belongs to the partition: each taker knows its id and shuts it out after having claimed.

        So nothing has to be claimed here, and one look at the claims after fencing in is enough. Returns the offset up
        to which the store is complete.
        """
        claims = self.copy.claims
        await self._restore()
        await self._restore()  # see step 4 below
        if others := claims.writers(self.me):
            self.removable = list(claims.claims)
            await self._shut_out(others)
            await self._restore()
        return self.copy.position

    async def as_process(self, handover_wait_s: float) -> int:
        """For a producer that serves many partitions. Returns the offset up to which the store is complete."""
        changelog, claims = self.copy.changelog, self.copy.claims
        # 1 read the changelog up to the last stable offset
        await self.copy.upto(await self.log.last_stable_offset(changelog))
        await self._await_release(handover_wait_s)
        passing("own.1.read")
        # 2 shut out the owner and everybody whose claim stands
        hidden = [self.task_id] if self.copy.position < await self.log.high_watermark(changelog) else []
        await self._shut_out([*claims.writers(self.me), *hidden])
        passing("own.2.fenced")
        # 3 claim
        claimed = await self.write(Note(changelog, [(self._claim_key(), self.me.encode())]))
        passing("own.3.claimed")
        # 4 look back from the claim to where step 1 had read; a task's own producer claims nothing, but its id is known
        await self._read_back(claimed)
        named = claims.writers_since(self.me)
        self.removable = list(claims.claims)
        # Compaction may have taken an earlier claim away, for a row by which its maker became the owner. That row came
        # after this claim, or it would have been read; it was there before the log was compacted, so it is there now.
        await self._look_on()
        await self._shut_out(sorted({*named, *claims.owner_since(self.me), self.task_id}))
        passing("own.4.looked-back")
        # 5 restore up to the high watermark: nobody can add to it any more
        await self._restore()
        return self.copy.position

    async def seat(self) -> tuple[list[tuple[bytes, bytes | None]], int]:
        """Names the owner and removes the claims before it; after that the partition may be worked on.

        Returns the rows and the offset after them; no rows where there was nothing to say.
        """
        if not self.removable and self.copy.claims.owner in (self.me, NOBODY):
            return [], 0
        rows: list[tuple[bytes, bytes | None]] = [(OWNER_KEY, self.me.encode())]
        rows += [(key, None) for key in self.removable]
        end = await self.write(Note(self.copy.changelog, rows))
        passing("own.5.seated")
        self.removable, self.copy.claims.owner = [], self.me
        return rows, end

    async def free(self) -> bool:
        """Shuts out whoever's transaction the readers of the changelog wait for; True where it is one of ``me``.

        A broker may forget the markers of a process that then stays away for good, and what names that process as the
        owner may stand behind its own transaction, where nobody can read it. The broker itself still knows its id.
        """
        blocking = await self.log.blocked_by(self.copy.changelog)
        await self._shut_out([transactional_id for transactional_id in blocking if transactional_id != self.me])
        return self.me in blocking

    def _claim_key(self) -> bytes:
        return CLAIM_PREFIX + uuid.uuid4().hex.encode()

    async def _read_back(self, claimed: int) -> None:
        """Waits until the claim itself can be read: until then an earlier one may still be committed before it."""
        await self.copy.upto(claimed)

    async def _look_on(self) -> None:
        await self._restore()

    async def _restore(self) -> None:
        await self.copy.upto(await self.log.high_watermark(self.copy.changelog))

    async def _await_release(self, wait_s: float) -> None:
        """An owner that lives and is losing the partition gives it back; shutting it out would stop all it serves."""
        claims = self.copy.claims
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        while claims.owner not in (self.me, NOBODY) and self.lives(claims.owner) and loop.time() < until:
            await self.copy.advance(OFFSET_MAX, RESTORE_POLL_MS)

    async def _shut_out(self, ids: Collection[str]) -> None:
        for transactional_id in ids:
            _log.info("owner_shut_out", changelog=str(self.copy.changelog), by=self.me, owner=transactional_id)
            producer = await self.log.fence(transactional_id, self.writes)
            await producer.close()
