"""Tumbling bars of many instruments, by event time. The work is done by ``bar_kernel``; here its arrays are owned.

What prints (Nasdaq TotalView-ITCH 5.0, sections 1.4 and 1.5): E at the price of the resting order, C where it is
printable, P, and Q of more than no shares. A broken trade (B) restates its bars: the bar is issued again with the next
``revision``; a bar of which no trade stands is issued with nothing but zeros, so that a reader takes it back. A trade
that comes after its window has ended restates in the same way, as far as the log of trades reaches.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from common.contracts.market import BAR
from common.contracts.market import Bars as BarRows

from signals.domain import count
from signals.domain.bar_kernel import NONE, STOP_DONE, STOP_ISSUED, apply_prints, forget_trades
from signals.domain.layout import MATCH, PRINT, TALLY, TRADE, Array
from signals.domain.ref_table import rehash

TRADES_MAX: Final = 1 << 20
"""Trades that a partition's log holds at most, 72 bytes each. Beyond it the oldest eighth goes."""
_TRADES_AT_FIRST: Final = 1 << 10
_GROWTH: Final = 4
_STATE: Final = ("windows", "starts", "heads", "tallies", "counts", "log", "matches", "counters")


class TumblingBars:
    """The bars of one partition. ``windows_ns``: lengths of the windows, which are aligned to the epoch.
    ``trades_max``, a power of two: trades that the log holds.
    """

    def __init__(self, windows_ns: Sequence[int], *, trades_max: int = TRADES_MAX) -> None:
        self.windows: Array = np.array(windows_ns, np.int64)
        self.starts: Array = np.zeros(len(self.windows), np.int64)
        self.heads: Array = np.zeros(0, np.int64)
        self.tallies: Array = np.zeros((len(self.windows), 0), TALLY)
        self.counts: Array = np.zeros((len(self.windows), 0), np.int32)
        self.log: Array = np.zeros(min(_TRADES_AT_FIRST, trades_max), TRADE)
        self.matches: Array = np.zeros(2 * len(self.log), MATCH)
        self.counters: Array = np.zeros(count.BARS_SIZE, np.int64)
        self.counters[count.DUE_NS] = self.windows.min()
        self._trades_max = trades_max
        self._scratch: Array = np.zeros(1, TALLY)
        self._issued: Array = np.zeros(0, BAR)
        self._none: Array = np.zeros(0, BAR)

    def admit(self, instruments: int) -> None:
        """Makes room for instruments 0 to ``instruments`` - 1."""
        known = len(self.heads)
        if instruments <= known:
            return
        heads = np.full(instruments, NONE, np.int64)
        tallies = np.zeros((len(self.windows), instruments), TALLY)
        counts = np.zeros((len(self.windows), instruments), np.int32)
        heads[:known], tallies[:, :known], counts[:, :known] = self.heads, self.tallies, self.counts
        self.heads, self.tallies, self.counts = heads, tallies, counts

    def apply(self, prints: Array, clock_ns: int, listings: Array) -> BarRows:
        """Books ``prints`` (PRINT rows of admitted instruments) and lets the clock come to ``clock_ns``.

        Returns the bars to issue, in order, without symbols. A broken trade leaves ``listings``' volume.
        """
        if not len(prints) and clock_ns < self.counters[count.DUE_NS]:
            return self._none
        wanted = 2 * (self.counts.size + len(self.windows))
        if len(self._issued) < wanted:
            self._issued = np.zeros(wanted, BAR)
        self.counters[count.ISSUED] = 0
        parts: list[BarRows] = []
        at, stop = 0, STOP_ISSUED
        while stop != STOP_DONE:
            at, stop = apply_prints(prints, at, clock_ns, listings, *self._arrays())
            if stop == STOP_ISSUED:
                parts.append(self._drain())
            elif stop != STOP_DONE:
                self._make_room()
        parts.append(self._drain())
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _arrays(self) -> tuple[Array, ...]:
        state = (self.heads, self.windows, self.starts, self.tallies, self.counts, self.log, self.matches)
        return (*state, self.counters, self._scratch, self._issued)

    def _drain(self) -> BarRows:
        rows = self._issued[: self.counters[count.ISSUED]].copy()
        self.counters[count.ISSUED] = 0
        return rows

    def _make_room(self) -> None:
        if len(self.log) >= self._trades_max:
            forget_trades(self.log, self.matches, self.counters, max(1, len(self.log) // 8))
            return
        size = min(_GROWTH * len(self.log), self._trades_max)
        log, matches = np.zeros(size, TRADE), np.zeros(2 * size, MATCH)
        # A trade keeps its number, whose lower bits are its place.
        numbers = self.counters[count.TRADES_FIRST] + np.arange(len(self.log))
        split = -int(numbers[0]) % len(self.log)
        for run in (numbers[:split], numbers[split:]):
            if len(run):
                source, target = int(run[0]) % len(self.log), int(run[0]) % len(log)
                log[target : target + len(run)] = self.log[source : source + len(run)]
        rehash(self.matches, matches)
        self.log, self.matches = log, matches

    def close_all(self, listings: Array) -> BarRows:
        """Issues every bar that is still open, as if the clock had passed all windows."""
        return self.apply(np.zeros(0, PRINT), int((self.starts + self.windows).max()), listings)

    def begin_session(self, clock_ns: int) -> None:
        """Forgets all trades and sets the clock, forth or back. What was open must have been closed before."""
        self.starts[:] = clock_ns // self.windows * self.windows
        self.heads[:] = NONE
        self.counts[:] = 0
        self.matches[:] = np.zeros(1, MATCH)
        self.counters[[count.TRADES_FIRST, count.TRADES_NEXT]] = 0
        self.counters[count.DUE_NS] = (self.starts + self.windows).min()

    def open_bars(self, ids: Array) -> BarRows:
        """What the open windows of some instruments hold so far, where they hold a trade; without symbols."""
        there = self.counts[:, ids] > 0
        w, at = np.nonzero(there)
        instruments = ids[at]
        rows = np.zeros(len(w), BAR)
        tallies = self.tallies[w, instruments]
        for name in ("open_e4", "high_e4", "low_e4", "close_e4", "volume", "notional_e4"):
            rows[name] = tallies[name]
        rows["instrument_id"] = instruments
        rows["trades"] = self.counts[w, instruments]
        rows["window_ns"] = self.windows[w]
        rows["window_start_ns"] = self.starts[w]
        return rows

    def anomalies(self) -> dict[str, int]:
        """How often the input was out of order or broken off, by kind."""
        return {name: int(self.counters[place]) for name, place in count.BAR_ANOMALIES.items()}

    def arrays(self) -> dict[str, Array]:
        """The whole state by name, for a snapshot. Nothing is copied."""
        return {name: getattr(self, name) for name in _STATE}

    def restore(self, arrays: dict[str, Array]) -> None:
        """Takes over what ``arrays`` gave."""
        for name in _STATE:
            setattr(self, name, arrays[name])
