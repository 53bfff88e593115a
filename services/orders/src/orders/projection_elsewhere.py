"""State of a projection that another process runs, from what it leaves in PostgreSQL: how far it has read the log.

Nothing that the other process says of itself is believed, least of all its clock. Positions stand in the transaction
that wrote the rows, and the log says where its partitions end: what had ended before a position when it was asked is
in the rows, as of the time of this process at which it asked.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import mode
from streams.edges.followers import Positions
from streams.model.errors import LogError
from streams.model.topics import Topic
from streams.process.logs import get_logger

from orders.database import Database
from orders.projected import FRESH_S, age_of, measure, state_of
from orders.projection import TOPICS, read_positions
from orders.stops import Place
from orders.trouble import DatabaseAway, Trouble

_log = get_logger(__name__)
LOOK_S: Final = 0.5
"""How often the positions are read."""
AWAITED_LOOK_S: Final = 0.05
"""How often they are while a read waits for them."""
ENDS_S: Final = 1.0
"""How often the log is asked for its ends."""


class Ends(Protocol):
    """The one thing that is needed of the runtime's ``LogEnds``."""

    async def ends(self, topics: Sequence[Topic]) -> Mapping[Place, int]:
        """Place → the offset after its last record. Raises LogError where that is not known."""
        ...


class ProjectionElsewhere(mode.Service):  # type: ignore[misc]
    """Implements ``reads.Projected``, and tells ``on_projected`` how far the rows are."""

    def __init__(self, database: Database, ends: Ends, on_projected: Callable[[Positions], None]) -> None:
        super().__init__()
        self._database = database
        self._ends = ends
        self._on_projected = on_projected
        self._reached: dict[Place, int] = {}
        self._as_of_ns: dict[Place, int] = {}
        self._unreached: dict[Place, tuple[int, int]] = {}
        """Place → an end that the rows had not reached when it was asked for, and when that was."""
        self._error: DatabaseAway | None = None
        self._moved = asyncio.Event()
        self._awaited = asyncio.Event()
        self._waiting = 0
        measure(self.age_s, self.trouble)

    async def on_started(self) -> None:
        self.add_future(self._look_for_positions())
        self.add_future(self._look_for_ends())

    async def _look_for_positions(self) -> None:
        while not self.should_stop:
            await self.look()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._awaited.wait()
                    await asyncio.sleep(AWAITED_LOOK_S)

    async def look(self) -> None:
        """Reads the positions once; where PostgreSQL does not answer, says so and goes on with those of before."""
        try:
            positions = await self._database.read(read_positions)
        except DatabaseAway as error:
            if self._error is None:
                _log.warning("projection_not_seen", error=str(error))
            self._error = error
            return
        self._error = None
        for place, next_offset in self._reached.items():
            if positions.get(place, 0) < next_offset:  # the rows are made anew
                self._as_of_ns.pop(place, None)
        has_moved = positions != self._reached
        self._reached = positions
        for place in list(self._unreached):
            self._compare(place)
        if has_moved:
            self._on_projected(positions)
            self._moved.set()
            self._moved = asyncio.Event()

    async def _look_for_ends(self) -> None:
        while not self.should_stop:
            try:
                await self.look_for_ends()
            except LogError as error:
                _log.warning("ends_not_known", error=str(error))
            await self.sleep(ENDS_S)

    async def look_for_ends(self) -> None:
        """Asks the log once. Raises LogError."""
        asked_ns = time.time_ns()
        for place, end in (await self._ends.ends(TOPICS)).items():
            # One end after the other: of a partition that is written all the time the newest is never reached.
            self._unreached.setdefault(place, (end, asked_ns))
            self._compare(place)

    def _compare(self, place: Place) -> None:
        end, asked_ns = self._unreached[place]
        if self._reached.get(place, 0) >= end:
            self._as_of_ns[place] = asked_ns
            del self._unreached[place]

    # --- see ``reads.Projected`` -------------------------------------------------------------------------------------

    def reached(self, place: Place) -> int:
        return self._reached.get(place, 0)

    def as_of_ns(self, place: Place) -> int:
        return self._as_of_ns.get(place, 0)

    def is_going_on(self, place: Place) -> bool:
        return self._error is None and 0 <= age_of(self.as_of_ns(place)) <= FRESH_S

    async def moved(self) -> None:
        self._waiting += 1
        self._awaited.set()
        try:
            await self._moved.wait()
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._awaited.clear()

    # --- for operators -----------------------------------------------------------------------------------------------

    def age_s(self) -> float:
        """Age of the oldest of what is projected; -1 where nothing is known of some partition."""
        places = self._as_of_ns.keys() | self._unreached.keys()
        return age_of(min((self.as_of_ns(place) for place in places), default=0))

    def trouble(self) -> Trouble | None:
        """The trouble of PostgreSQL, if it has one."""
        return self._error.trouble if self._error is not None else None

    def check(self) -> tuple[bool, dict[str, Any]]:
        """Never a reason to be not ready: orders are taken and answered all the same."""
        age_s = self.age_s()
        detail: dict[str, Any] = {"state": state_of(age_s), "age_s": round(age_s, 3)}
        if self._error is not None:
            detail |= {"state": "degraded", "reason": self._error.trouble.value, "error": str(self._error)}
        elif detail["state"] != "ok":
            detail |= {"reason": "the process that projects is away, or behind"}
        return True, detail
