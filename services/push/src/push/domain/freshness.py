"""How old what is shown is: by the clock in the data, as the writers of the views say it, not by whether Redis answers.

A writer says twice a second how far its views have come (``contracts.views.WriterData``), on a channel and in a hash.
What the channel said counts for the age; that the hash still has it, for whether Redis has kept the rows.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple

from common.contracts.views import CLOCKED_WRITERS, VIEW_WRITERS, RedisState, WriterData

SILENT_NS: Final = 5_000_000_000
"""A writer that has said nothing for longer is gone, or does not reach Redis."""
CURRENT_NS: Final = 5_000_000_000
"""Up to this age views count as current in the metrics; the screen has bounds of its own."""
WRITERS: Final = tuple(sorted(set(VIEW_WRITERS.values())))
_VIEWS_OF: Final = {writer: [view for view, its in VIEW_WRITERS.items() if its == writer] for writer in WRITERS}


class WriterState(StrEnum):
    """From best to worst."""

    LIVE = "live"
    FILLING = "filling"
    """Not every row is in Redis yet."""
    PARTIAL = "partial"
    """Nothing was heard of some partitions."""
    LOST = "lost"
    """Redis has lost what was written; the writer has not noticed yet."""
    SILENT = "silent"
    UNKNOWN = "unknown"
    """Nothing was ever heard of it."""


class WriterStatus(NamedTuple):
    """One writer, by the worst of its partitions. ``as_of_ns`` 0: unknown."""

    state: WriterState
    as_of_ns: int
    epoch: int
    heard: int
    partitions: int
    redis: RedisState

    def age_s(self, now_ns: int) -> float | None:
        """How old what is shown is; None where that is not known."""
        return max(0, now_ns - self.as_of_ns) / 1e9 if self.as_of_ns else None

    def is_current(self, now_ns: int) -> bool:
        """Whether every row is there and recent."""
        return self.state is WriterState.LIVE and now_ns - self.as_of_ns < CURRENT_NS


class Freshness:
    """The newest words of the writers, one value per writer and partition."""

    def __init__(self) -> None:
        self._heard: dict[str, dict[int, WriterData]] = {writer: {} for writer in WRITERS}
        self._lost: dict[str, set[int]] = {writer: set() for writer in WRITERS}

    def heard(self, said: WriterData) -> list[str]:
        """A writer said something. Returns the views that are to be read again: they were written anew as a whole."""
        partitions = self._heard.get(said.writer)
        if partitions is None:
            return []
        before = partitions.get(said.partition)
        if before is not None and said.epoch < before.epoch and said.at_ns < before.at_ns:
            return []  # one that was succeeded, and does not know yet
        if said.partition >= said.partitions:
            return []
        partitions[said.partition] = said
        self._lost[said.writer].discard(said.partition)
        ended = said.state == "live" and before is not None and (before.epoch, before.state) != (said.epoch, "live")
        return list(_VIEWS_OF[said.writer]) if ended else []

    def stored(self, writer: str, rows: Iterable[WriterData]) -> bool:
        """Takes the writer's hash as it is stored. Returns whether Redis has just been found to have lost something."""
        held = {row.partition: row for row in rows if row.writer == writer}
        for partition, row in held.items():
            self._heard[writer].setdefault(partition, row)
        heard = self._heard[writer]
        gone = {p for p, said in heard.items() if p not in held or held[p].epoch < said.epoch}
        found = gone - self._lost[writer]
        self._lost[writer] = gone
        return bool(found)

    def status(self, now_ns: int) -> dict[str, WriterStatus]:
        """Every writer there should be."""
        return {writer: self._status(writer, now_ns) for writer in WRITERS}

    def _status(self, writer: str, now_ns: int) -> WriterStatus:
        said = list(self._heard[writer].values())
        if not said:
            return WriterStatus(WriterState.UNKNOWN, 0, 0, 0, 0, RedisState.UNKNOWN)
        partitions = max(row.partitions for row in said)
        as_of_ns = min(_as_of_ns(row) for row in said)
        oldest_word_ns = min(row.at_ns for row in said)
        if now_ns - oldest_word_ns > SILENT_NS:
            state = WriterState.SILENT
        elif self._lost[writer]:
            state = WriterState.LOST
        elif len(said) < partitions:
            state = WriterState.PARTIAL
        elif any(row.state == "filling" for row in said):
            state = WriterState.FILLING
        else:
            state = WriterState.LIVE
        return WriterStatus(
            state, as_of_ns, max(r.epoch for r in said), len(said), partitions, worst(r.redis for r in said)
        )


_TROUBLE: Final = (
    RedisState.UNREACHABLE,
    RedisState.FULL,
    RedisState.READ_ONLY,
    RedisState.EVICTING,
    RedisState.OK,
    RedisState.UNKNOWN,
)


def worst(states: Iterable[RedisState]) -> RedisState:
    """The first in order of how much of the views it costs; unknown only where nobody knows."""
    return min(states, key=_TROUBLE.index, default=RedisState.UNKNOWN)


def report(status: Mapping[str, WriterStatus]) -> dict[str, dict[str, Any]]:
    """For clients: they make the age by their own estimate of the time, so that it goes on growing in silence."""
    return {
        writer: {
            "state": each.state.value,
            "as_of_ns": each.as_of_ns,
            "epoch": each.epoch,
            "partitions": each.partitions,
            "heard": each.heard,
            "redis": each.redis.value,
            "views": _VIEWS_OF[writer],
        }
        for writer, each in status.items()
    }


def _as_of_ns(said: WriterData) -> int:
    """Time as of which the views hold; no newer than the data, where the input carries a clock."""
    return min(said.as_of_ns, said.data_ns) if said.writer in CLOCKED_WRITERS else said.as_of_ns
