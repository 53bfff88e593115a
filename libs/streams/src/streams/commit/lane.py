"""A transactional producer and the tasks that it serves: whoever has messages goes along in the next commit.

A lane serves one task, or all tasks of a stage in a process. A transaction costs the same round trips however many
tasks are in it, so while one commits, messages gather for all of them. There is no timer.

Where each commit follows at once on the one before, the lanes of a fleet take all of the processors between them,
however little there is to do, and who waits for one of them waits for all. So a stage that nobody waits for may rest
after a commit, in proportion to what the commit took: short on an idle machine, longer where processors are short, and
not at all while it is behind.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final, Protocol

from streams.commit.transaction import Note, Outcome, Work, commit
from streams.model.errors import LogError, Retriable, TooLarge
from streams.model.log import Log, Partition, Producer
from streams.process.settings import Settings

CLEAR_POLL_S: Final = 0.05
REST_MAX_S: Final = 0.1
"""A rest is no longer, however slow the commit was: somebody may be looking at a screen."""


class Member(Protocol):
    """A task that is open, as the lane sees it."""

    def next_work(self) -> Work | None:
        """Its share of the next transaction. Raises what ends the task."""
        ...

    @property
    def is_behind(self) -> bool:
        """Whether more waits than its next share can take."""
        ...

    def done(self, work: Work, outcome: Outcome) -> None:
        """Takes note of what became of its work. Raises what ends the task."""
        ...


class Seat:
    """A member's place in a session; ``ended`` is set to what ends it."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end(self, error: BaseException) -> None:
        """The task has to be opened anew."""
        if not self.ended.done():
            self.ended.set_exception(error)
            self.ended.exception()  # a member that is leaving asks no more


class Session:
    """The time from one fencing in of the lane's id to the next. It fails as a whole, with all tasks that are in it.

    A session that was shut out never goes on: its tasks forget what they own and open anew in the next one.
    """

    def __init__(
        self,
        producer: Producer,
        writes: frozenset[Partition],
        log: Log,
        settings: Settings,
        observe: Callable[[float], None],
        rest: float = 0.0,
    ) -> None:
        self.writes = writes
        self.filled = asyncio.Event()
        self._rest = rest
        self._called = asyncio.Event()
        self.failure: BaseException | None = None
        self.guests = 0
        self._producer = producer
        self._log = log
        self._settings = settings
        self._observe = observe
        self._seats: list[Seat] = []
        self._notes: list[tuple[Note, asyncio.Future[int]]] = []
        self._turn = asyncio.Lock()
        self.unsettled: dict[Partition, int] = {}
        """Ends of commits that nobody has seen readable yet."""
        self.doubtful: set[Partition] = set()
        """Changelogs of a commit without an answer."""
        self._loop = asyncio.create_task(self._run(), name="lane")
        self._settling = asyncio.create_task(self._settle(), name="lane settling")

    async def close(self) -> None:
        """Gives up the producer. What it had open is left to the next one of its id."""
        self.fail(Retriable("the lane was closed"))  # at once: nobody is to enter it any more
        for running in (self._loop, self._settling):
            running.cancel()
        await asyncio.gather(self._loop, self._settling, return_exceptions=True)
        await self._producer.close()

    async def write(self, note: Note) -> int:
        """Commits rows about ownership, in the next transaction. Returns the offset after the last one."""
        self._check()
        written: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._notes.append((note, written))
        self.filled.set()
        self._called.set()
        return await written

    def join(self, member: Member) -> Seat:
        """From the next transaction on the member takes part. Raises where the session has failed meanwhile."""
        self._check()
        seat = Seat(member)
        self._seats.append(seat)
        self.filled.set()
        self._called.set()
        return seat

    async def leave(self, seat: Seat) -> None:
        """Waits for the running transaction, and for nothing else."""
        if seat in self._seats:
            self._seats.remove(seat)
        async with self._turn:
            return

    def fail(self, error: BaseException) -> None:
        """Ends everything that is in the session."""
        if self.failure is None:
            self.failure = error
        for seat in self._seats:
            seat.end(error)
        for _, written in self._notes:
            if not written.done():
                written.set_exception(error)
        self._notes.clear()

    def _check(self) -> None:
        if self.failure is not None:
            raise self.failure

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self.failure is None:
                self.filled.clear()
                began_s = loop.time()
                async with self._turn:
                    busy = await self._round()
                if not busy:
                    await self.filled.wait()
                elif self._rest and not any(seat.member.is_behind for seat in self._seats):
                    await self._pause(self._rest * (loop.time() - began_s))
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            # Also what ends a process: the tasks are to end by it, not this loop alone.
            self.fail(error)

    async def _pause(self, seconds: float) -> None:
        """Rests, unless a partition changes hands: that is waited for."""
        if self._notes:
            return
        self._called.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, REST_MAX_S)):
                await self._called.wait()

    async def _round(self) -> bool:
        """One transaction with all that is waiting; False where nothing was."""
        notes, works = list(self._notes), self._gather()
        if not works and not notes:
            return False
        began = time.monotonic()
        self.doubtful = {work.parts.changelog for _, work in works} | {note.changelog for note, _ in notes}
        outcomes: Sequence[Outcome]
        try:
            outcomes, ends = await commit(self._producer, [work for _, work in works], [note for note, _ in notes])
        except TooLarge as refused:
            if not works:
                raise  # no message is to blame for a row about ownership
            outcomes, ends, notes = [refused] * len(works), refused.ends, []
        self.doubtful = set()
        self.unsettled.update(ends)
        # A commit that failed has failed the notes with it, so they stay in the list until here.
        del self._notes[: len(notes)]
        for note, written in notes:
            if not written.done():
                written.set_result(ends[note.changelog])
        for (seat, work), outcome in zip(works, outcomes, strict=True):
            try:
                seat.member.done(work, outcome)
            except Exception as error:  # ends its member alone: the others' work is committed or goes on
                self._end(seat, error)
        self._observe(time.monotonic() - began)
        return True

    async def _settle(self) -> None:
        """Asks now and then if what was committed can be read.

        A broker that dies right after a commit may come back and forget the markers it owed; readers wait for ever. The
        next commit over the same partition mends it, so only those are asked about that were not written again. A new
        session has the markers written once more, as the last transaction ended: it must not end in the middle of one.
        """
        looked: dict[Partition, int] = {}
        while True:
            await asyncio.sleep(self._settings.settle_timeout_ms / 1000)
            resting = [partition for partition, end in looked.items() if self.unsettled.get(partition) == end]
            for partition in resting:
                try:
                    stable = await self._log.last_stable_offset(partition)
                except LogError:
                    continue  # asked again
                if self.unsettled[partition] != looked[partition]:
                    continue
                if stable < looked[partition]:
                    error = f"{partition} is stable up to {stable}; everything before {looked[partition]} is committed"
                    async with self._turn:
                        self.fail(Retriable(error))
                    return
                del self.unsettled[partition]
            looked = dict(self.unsettled)

    def _gather(self) -> list[tuple[Seat, Work]]:
        """Sum of the members' values."""
        works = []
        for seat in list(self._seats):
            try:
                work = seat.member.next_work()
            except Exception as error:  # ends its member alone: the others' work is committed or goes on
                self._end(seat, error)
            else:
                if work is not None:
                    works.append((seat, work))
        return works

    def _end(self, seat: Seat, error: Exception) -> None:
        """The trouble of one member is not that of the others."""
        if seat in self._seats:  # one that left while the transaction ran is out already
            self._seats.remove(seat)
        seat.end(error)


class Lane:
    """Fences its transactional id in when a task enters and no session is going on.

    ``shared``: whether tasks of several partitions enter. ``writes``: everywhere they may write; ``changelog``: those
    says the partitions where an earlier process of the same id may have claimed or written, though its tasks are
    elsewhere now. ``rest``: see ``Stage``.
    """

    def __init__(
        self,
        transactional_id: str,
        log: Log,
        settings: Settings,
        writes: Callable[[], Collection[Partition]],
        observe: Callable[[float], None],
        *,
        shared: bool,
        changelog: Callable[[], Iterable[Partition]] = tuple,
        rest: float = 0.0,
    ) -> None:
        self.transactional_id = transactional_id
        self.shared = shared
        self._log = log
        self._settings = settings
        self._writes = writes
        self._observe = observe
        self._changelog = changelog
        self._rest = rest
        self._session: Session | None = None
        self._clearing: asyncio.Task[None] | None = None
        self._entering = asyncio.Lock()

    async def enter(self) -> Session:
        """Raises Retriable or Fatal where the id cannot be fenced in. Whoever enters exits."""
        async with self._entering:
            session = self._session
            if session is None or session.failure is not None:  # one that was closed counts as failed
                writes = frozenset(await self._may_owe(session))
                producer = await self._log.fence(self.transactional_id, sorted(writes))
                session = Session(producer, writes, self._log, self._settings, self._observe, self._rest)
                self._session = session
            session.guests += 1
            return session

    async def _may_owe(self, last: Session | None) -> set[Partition]:
        """Partitions in which markers of this id may be missing: it or an earlier process of its id wrote there.

        A marker too many does no harm, but a changelog's owner takes it for a stranger's, see ``TaskParts.store_rows``.
        """
        writes = set(self._writes())
        if last is not None:
            return writes | last.unsettled.keys() | last.doubtful
        for partition in sorted(set(self._changelog()) - writes):
            if await self._log.last_stable_offset(partition) < await self._log.high_watermark(partition):
                writes.add(partition)
        return writes

    async def exit(self, session: Session) -> None:
        """The last guest puts the light out, and leaves no transaction behind that would stop the next owner's reading.

        The next owner need not know of it: a claim that cannot be read names nobody.
        """
        session.guests -= 1
        if session.guests:
            return
        await session.close()
        if self.shared and (session.unsettled or session.doubtful):
            self._clearing = asyncio.create_task(self._clear(session), name=f"clear {self.transactional_id}")

    async def close(self) -> None:
        """Waits a little for what is still to be cleared; whoever has the id next does it otherwise."""
        if self._clearing:
            await asyncio.wait([self._clearing], timeout=self._settings.settle_timeout_ms / 1000)
            self._clearing.cancel()
            await asyncio.gather(self._clearing, return_exceptions=True)

    async def _clear(self, session: Session) -> None:
        """Until it is done, or somebody has entered anew and with that has done it."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._settings.settle_timeout_ms / 1000
        poll_s = CLEAR_POLL_S
        while self._session is session and (session.unsettled or session.doubtful):
            try:
                if session.doubtful or loop.time() > until:
                    await self._mark_again(session)
                for partition, end in list(session.unsettled.items()):
                    if await self._log.last_stable_offset(partition) >= end:
                        del session.unsettled[partition]
            except LogError:
                poll_s = self._settings.restart.backoff_min_s
            await asyncio.sleep(poll_s)

    async def _mark_again(self, session: Session) -> None:
        async with self._entering:
            if self._session is session:
                producer = await self._log.fence(self.transactional_id, sorted({*session.unsettled, *session.doubtful}))
                await producer.close()
                session.unsettled.clear()
                session.doubtful.clear()
