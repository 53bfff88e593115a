"""Bars of a whole market as its partitions would issue them: each has a clock of its own, which closes its windows.

Where stamps go back from one instrument to the next, a trade is late for the clock of one partition and not for that of
another. A market in one state therefore keeps the bars of each partition apart.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from common.books.ref_table import held_by
from common.contracts.ticks import Ticks

from signals.domain import count
from signals.domain.bars import TumblingBars
from signals.domain.layout import Array
from signals.domain.measure_set import MeasureSet
from signals.domain.phase_windows import trigger_rows
from signals.domain.triggers import Turn

BLOCK_BITS = 16
"""Trades of two to this many messages are booked at once. Blocks begin at multiples of it, whatever the arrays in which
messages come, so the same feed makes the same rows in the same order."""


class PartitionedBars:
    """``made``: the empty bars of a partition."""

    def __init__(self, partitions: int, made: Callable[[], TumblingBars]) -> None:
        self.parts = tuple(made() for _ in range(partitions))
        self._waiting: list[Array] = []

    @property
    def measures(self) -> MeasureSet:
        return self.parts[0].measures

    def admit(self, instruments: int) -> None:
        """Makes room for instruments 0 to ``instruments`` - 1 in every partition."""
        for part in self.parts:
            part.admit(instruments)

    def hold(self, prints: Array) -> None:
        """Keeps PRINT rows of admitted instruments until ``book``."""
        if len(prints):
            self._waiting.append(prints.copy())

    def hold_turns(self, turned: Sequence[Turn], clocks_ns: Array) -> None:
        """Likewise triggers, which came by the clocks of the partitions. One of the market is held for each of them, as
        of an instrument that is below 0 by the number of the partition and one.
        """
        for turn in turned:
            is_market = turn.instrument < 0
            lanes = range(len(self.parts)) if is_market else [turn.instrument % len(self.parts)]
            for lane in lanes:
                placed = turn._replace(instrument=-1 - lane) if is_market else turn
                self._waiting.append(trigger_rows([placed], int(clocks_ns[lane])))

    def book(self, clocks_ns: Array, listings: Array) -> Array:
        """Books what is held and lets each partition's clock come to its time. Returns the rows to issue, partition by
        partition.
        """
        dealt = self._dealt()
        rows = [
            part.apply(prints, int(clock_ns), listings)
            for part, prints, clock_ns in zip(self.parts, dealt, clocks_ns, strict=True)
        ]
        return np.concatenate(rows)

    def close_all(self, listings: Array) -> Array:
        """Issues every bar that is still open. Nothing may be held."""
        return np.concatenate([part.close_all(listings) for part in self.parts])

    def align(self, anchor_ns: int) -> None:
        """Sets what windows are aligned to, before there is any."""
        for part in self.parts:
            part.align(anchor_ns)

    def begin_session(self, clock_ns: int, before_ns: Array, listings: Array, anchor_ns: int) -> Array:
        """A session begins in every partition, whose windows are aligned to ``anchor_ns``. Nothing may be held."""
        rows = [
            part.begin_session(clock_ns, int(before), listings, anchor_ns)
            for part, before in zip(self.parts, before_ns, strict=True)
        ]
        return np.concatenate(rows)

    def end_session(self, clocks_ns: Array) -> Array:
        """A session has ended in every partition. Nothing may be held, and clocks have come to theirs."""
        rows = [part.end_session(int(clock_ns)) for part, clock_ns in zip(self.parts, clocks_ns, strict=True)]
        return np.concatenate(rows)

    def accounts(self) -> Array:
        """Sums of the partitions' counters; those of places in the log mean nothing."""
        total: Array = np.sum([part.counters for part in self.parts], axis=0)
        return total

    def anomalies(self) -> dict[str, int]:
        """How often the input was out of order or broken off, by kind."""
        total = Counter[str]()
        for part in self.parts:
            total.update(part.anomalies())
        return {name: total[name] for name in count.BAR_ANOMALIES}

    def _dealt(self) -> list[Array]:
        """The prints that are held, by partition."""
        if not self._waiting:
            return [self.parts[0].no_prints] * len(self.parts)
        prints = self._waiting[0] if len(self._waiting) == 1 else np.concatenate(self._waiting)
        self._waiting.clear()
        if len(self.parts) == 1:
            return [prints]
        lanes = np.maximum(prints["instrument_id"], 0) % len(self.parts)
        of_market = (prints["qty"] < 0) & (prints["instrument_id"] < 0)
        lanes[of_market] = -1 - prints["instrument_id"][of_market]
        for row in np.flatnonzero(prints["qty"] == 0).tolist():
            self._follow_trade(prints, lanes, row)
        return [prints[lanes == lane] for lane in range(len(self.parts))]

    def _follow_trade(self, prints: Array, lanes: Array, row: int) -> None:
        """A broken trade goes where the trade of its match number is, whatever instrument the message names."""
        match, own = prints["match"][row], int(lanes[row])
        before = prints[:row]
        same = np.flatnonzero((before["match"] == match) & (before["qty"] > 0))
        if len(same):
            found = int(lanes[same[-1]])
        else:
            order = [own, *(lane for lane in range(len(self.parts)) if lane != own)]
            found = next((lane for lane in order if held_by(self.parts[lane].state.matches, match)), own)
        if found != own:
            lanes[row] = found
            earlier = before["clock_ns"][lanes[:row] == found]
            prints["clock_ns"][row] = earlier[-1] if len(earlier) else 0


def blocks_of(ticks: Ticks) -> Iterator[Ticks]:
    """Ticks of one block of messages at a time."""
    numbers = ticks["sequence"] >> np.uint64(BLOCK_BITS)
    at = 0
    while at < len(ticks):
        end = at + int(np.searchsorted(numbers[at:], numbers[at], side="right"))
        yield ticks[at:end]
        at = end
