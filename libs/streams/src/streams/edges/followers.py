"""Long-running readers inside a worker: the committed tail for callbacks, and projections into another database."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import mode

from streams.edges.reader import CommittedReader
from streams.kafka.held_back import BlockWatch
from streams.model.errors import Retriable
from streams.model.message import Message
from streams.model.topics import Topic
from streams.process.backoff import Backoff
from streams.process.logs import get_logger
from streams.process.settings import Settings

_log = get_logger(__name__)
Positions = Mapping[tuple[str, int], int]
GATHER_S: Final = 0.2
"""Wait of a projection that keeps up between two transactions: each costs the worker and the database about as much
as a hundred rows do, and the worker's loop also answers requests."""
IDLE_S: Final = 0.5
"""After so long without a record the sink is asked whether it wants to begin anew."""
PROJECTED_MAX: Final = 1_000
"""Records in one transaction of a projection."""


class Sink(Protocol):
    """Destination of a projection. Rows and positions go into one transaction of the sink's own database."""

    async def positions(self) -> Positions:
        """(topic, partition) → next offset; empty at first."""
        ...

    async def apply(self, messages: Sequence[Message], positions: Positions) -> None:
        """Whatever it raises, it is asked again with backoff, from its own positions.

        ``positions`` also has partitions on which only markers and aborted records came, so that whoever compares it
        with the log's end sees that nothing is missing; ``messages`` may be empty.
        """
        ...

    async def on_started(self, positions: Positions) -> None:
        """Told the first offsets that are read: later than asked for where the topic does not keep those any more."""
        ...

    async def wants_anew(self) -> bool:
        """Whether the sink wants to be asked for its positions, and to be given what follows them, again.

        It is asked after every transaction, and now and then where no record comes.
        """
        ...


class _Follower(mode.Service):  # type: ignore[misc]
    """Reads for ever, and begins anew after an interruption."""

    def __init__(self, settings: Settings, topics: Sequence[Topic], name: str, app: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._app = app
        self._blocks: BlockWatch | None = None
        self._settings = settings
        self._topics = tuple(topics)
        self._name = name
        self._caught_up = False
        self._positions: dict[tuple[str, int], int] = {}

    async def on_started(self) -> None:
        self.add_future(self._follow())

    async def _follow(self) -> None:
        backoff = self._settings.restart.backoff()
        while not self.should_stop:
            try:
                await self._read(backoff)
            except (Retriable, OSError) as error:
                self._caught_up = False
                delay = backoff.next()
                _log.warning("follower_interrupted", follower=self._name, error=str(error), retry_in_s=delay)
                await asyncio.sleep(delay)

    async def _read(self, backoff: Backoff) -> None:
        raise NotImplementedError

    @contextlib.asynccontextmanager
    async def _watched(self, reader: CommittedReader) -> AsyncIterator[None]:
        """For as long as it reads, who holds it back is looked for."""
        self._blocks = blocks = reader.blocks(self._app, self._name, self._settings.blocked_after_s)
        watching = asyncio.create_task(blocks.keep_looking(), name=f"blocks of {self._name}")
        try:
            yield
        finally:
            self._blocks = None
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    def blocked(self) -> dict[str, str]:
        """Partition → whose open transaction holds it back."""
        return self._blocks.of({topic.name for topic in self._topics}) if self._blocks else {}

    def ready(self) -> tuple[bool, Any]:
        """Ready while reading, and not held back."""
        blocked = self.blocked()
        return self._caught_up and not blocked, {"topics": [topic.name for topic in self._topics], "blocked": blocked}


class Tail(_Follower):
    """Hands every record committed from now on to a callback; what an interruption held up comes after it."""

    def __init__(
        self,
        settings: Settings,
        topics: Sequence[Topic],
        callback: Callable[[Sequence[Message]], None],
        on_started: Callable[[Positions], None] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(settings, topics, "tail", **kwargs)
        self._callback = callback
        self._on_started = on_started
        self._reader: CommittedReader | None = None

    async def _read(self, backoff: Backoff) -> None:
        reader = CommittedReader(self._settings, self._topics, positions=self._positions or None, client_id="tail")
        async with reader, self._watched(reader):
            self._positions = reader.positions
            if self._on_started is not None:
                self._on_started(self._positions)
            self._reader = reader
            self._caught_up = True
            backoff.reset()
            async for messages in reader.batches():
                self._callback(messages)
                self._positions[messages[-1].topic.name, messages[-1].partition] = messages[-1].offset + 1

    def as_of_ns(self) -> int:
        """Time since the epoch up to which everything that was committed has been called back with; 0: not known."""
        return self._reader.read_through_ns() if self._reader is not None else 0


class Projection(_Follower):
    """Keeps a sink equal to the log: exactly once, because the sink stores how far it is together with the rows.

    Whatever the sink raises, it is asked again with backoff: what else runs in the process does not notice.
    """

    def __init__(
        self, settings: Settings, topics: Sequence[Topic], sink: Sink, backoff_max_s: float | None = None, **kwargs: Any
    ) -> None:
        super().__init__(settings, topics, "projection", **kwargs)
        self._sink = sink
        self._backoff = Backoff(
            settings.restart.backoff_min_s,
            max(settings.restart.backoff_min_s, backoff_max_s or settings.restart.backoff_max_s),
        )
        self._reader: CommittedReader | None = None
        self._applying = False
        self._as_of_ns = 0
        self.trouble: Exception | None = None
        """Why it does not go on, until the first transaction that does."""

    async def _follow(self) -> None:
        while not self.should_stop:
            try:
                await self._read(self._backoff)
            except Exception as error:  # a sink may raise anything, and is tried again
                self._caught_up = False
                self.trouble = error
                delay = self._backoff.next()
                said = f"{type(error).__name__}: {error}"
                _log.warning("projection_interrupted", error=said, retry_in_s=delay)
                await asyncio.sleep(delay)
            finally:
                self._reader = None

    async def _read(self, backoff: Backoff) -> None:
        """Until the sink wants to begin again from its own positions, or raises."""
        positions = await self._sink.positions()
        if any(positions.get(place, 0) < reached for place, reached in self._positions.items()):
            self._as_of_ns = 0
        self._positions = dict(positions)
        reader = CommittedReader(
            self._settings, self._topics, positions=positions, client_id="projection", pace_s=GATHER_S
        )
        async with reader, self._watched(reader):
            await self._sink.on_started(reader.positions)
            self._reader = reader
            self._caught_up = True
            while not await self._sink.wants_anew():
                messages = await reader.gather(PROJECTED_MAX, IDLE_S)
                await self._apply(messages, reader.gathered)
                self.trouble = None
                backoff.reset()
                if 0 < len(messages) < PROJECTED_MAX:
                    await asyncio.sleep(GATHER_S)

    async def _apply(self, messages: Sequence[Message], positions: Positions) -> None:
        reached = {place: offset for place, offset in positions.items() if offset != self._positions.get(place, 0)}
        if not reached:
            return
        self._applying = True
        try:
            await self._sink.apply(messages, reached)
            self._positions |= reached
        finally:
            # Where it failed, the reader is left at once, and with it what it says of these records.
            self._applying = False

    def as_of_ns(self) -> int:
        """Time since the epoch up to which everything that was committed is in the sink; 0: not known yet."""
        if self._reader is not None and self.trouble is None and not self._applying:
            self._as_of_ns = max(self._as_of_ns, self._reader.read_through_ns())
        return self._as_of_ns


Callback = Callable[[Sequence[Message]], None]
Applied = Callable[[Sequence[Message], Positions], Awaitable[None]]
