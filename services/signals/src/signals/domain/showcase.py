"""Which bars people see: the open windows of what trades, and the newest closed windows.

Bars on show stand in a store (Redis) that keeps what it was given, so everything put there is remembered until it is
taken down: what left the newest windows, and all of it when a session begins. Showing is bounded; the log has all bars.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from common.contracts.market import BAR, Bars
from common.contracts.views import BARS_RETAINED

from signals.domain.layout import Array

ROWS_MAX: Final = 1 << 14
"""Closed bars of one window length on show at most; beyond it the oldest are taken down early."""
_NO_BARS: Final[Bars] = np.zeros(0, BAR)
_MUST: Final = 1
"""In ``reserved`` of a bar that waits to be shown: it was seen while it was open, so it must be seen closed."""


@dataclass
class Shelf:
    """Closed bars of one window length on show, oldest first; the first ``void`` are of a session that is over."""

    window_ns: int
    rows: Bars
    void: int = 0

    def take(self, clock_ns: int, limit: int) -> Bars:
        """Takes down at most ``limit`` bars that are void, out of the newest windows, or too many."""
        gone_ns = clock_ns - BARS_RETAINED * self.window_ns  # the newest window is the open one
        overdue = max(self.void, len(self.rows) - ROWS_MAX)
        head = self.rows[:limit]
        stale = (head["window_start_ns"] <= gone_ns) | (np.arange(len(head)) < overdue)
        gone = len(head) if stale.all() else int(np.argmin(stale))
        self.void = max(0, self.void - gone)
        self.rows = self.rows[gone:]
        return head[:gone]


@dataclass(frozen=True, slots=True)
class Turn:
    """Changes in the showcase at one heartbeat; ``gone`` comes first."""

    gone: Bars
    closed: Bars
    live: Bars


class Showcase:
    """The bars of one partition that people see. ``limit``: closed bars shown, and taken down, per heartbeat;
    ``clearing_limit``: taken down per heartbeat after the start of a session, before anything new is shown.
    """

    def __init__(self, windows_ns: Sequence[int], limit: int, clearing_limit: int) -> None:
        self._windows: Array = np.array(windows_ns, np.int64)
        self._limit = limit
        self._clearing_limit = clearing_limit
        self._shelves = [Shelf(int(window_ns), _NO_BARS) for window_ns in windows_ns]
        self._waiting: Bars = _NO_BARS
        self._live: Array = np.zeros((len(self._windows), 0), np.int64)  # start of the open window on show, 0: none

    def admit(self, instruments: int) -> None:
        """Makes room for instruments 0 to ``instruments`` - 1."""
        if instruments > self._live.shape[1]:
            live = np.zeros((len(self._windows), instruments), np.int64)
            live[:, : self._live.shape[1]] = self._live
            self._live = live

    def issued(self, rows: Bars) -> None:
        """Bars were issued. Of those that wait, the ones seen open come first, then long windows, then new ones."""
        rows = rows.copy()
        windows, instruments = self._places(rows)
        (seen,) = np.nonzero(self._live[windows, instruments] == rows["window_start_ns"])
        # Of a bar that is issued twice at once the first one closes it, as if the other had come with a later frame.
        _, first = np.unique(windows[seen] * self._live.shape[1] + instruments[seen], return_index=True)
        seen = seen[first]
        rows["reserved"] = 0
        rows["reserved"][seen] = _MUST
        self._live[windows[seen], instruments[seen]] = 0
        self._waiting = _best(np.concatenate((self._waiting, rows)), self._limit)

    def turn(self, clock_ns: int, ids: Array, open_bars: Bars, limit: int) -> Turn:
        """A heartbeat. ``open_bars`` are all that instruments ``ids``, which traded, hold in their open windows.
        ``limit``: closed bars to show now, where it is lower than usual.
        """
        clearing = self.clearing
        gone = [shelf.take(clock_ns, self._clearing_limit if clearing else limit) for shelf in self._shelves]
        if clearing:
            # What is taken down may have the same keys as what would be shown now.
            self._shelves = [shelf for shelf in self._shelves if shelf.void or shelf.window_ns in self._windows]
            return Turn(np.concatenate(gone), _NO_BARS, _NO_BARS)
        closed, self._waiting = _best(self._waiting, limit), _NO_BARS
        closed["reserved"] = 0
        for shelf in self._shelves:
            shelf.rows = np.concatenate((shelf.rows, closed[closed["window_ns"] == shelf.window_ns]))
        gone.append(self._emptied(ids, open_bars))
        self._live[self._places(open_bars)] = open_bars["window_start_ns"]
        return Turn(np.concatenate(gone), closed, open_bars)

    def _emptied(self, ids: Array, open_bars: Bars) -> Bars:
        """Bars on show as open of which every trade was broken since: such a bar is never issued."""
        held = set(zip(open_bars["window_ns"].tolist(), open_bars["instrument_id"].tolist(), strict=True))
        gone = []
        for w, window_ns in enumerate(self._windows.tolist()):
            for instrument, start in zip(ids.tolist(), self._live[w, ids].tolist(), strict=True):
                if start and (window_ns, instrument) not in held:
                    gone.append((instrument, window_ns, start))
                    self._live[w, instrument] = 0
        rows = np.zeros(len(gone), BAR)
        for row, key in zip(rows, gone, strict=True):
            row["instrument_id"], row["window_ns"], row["window_start_ns"] = key
        return rows

    def _places(self, rows: Bars) -> tuple[Array, Array]:
        order = np.argsort(self._windows)
        return order[np.searchsorted(self._windows, rows["window_ns"], sorter=order)], rows["instrument_id"]

    @property
    def clearing(self) -> bool:
        """Whether bars of a session that is over are still on show."""
        return any(shelf.void for shelf in self._shelves)

    @property
    def rows(self) -> Bars:
        """Closed bars on show, oldest first; one that was restated stands there once per revision."""
        return np.concatenate([shelf.rows[shelf.void :] for shelf in self._shelves])

    def live_ids(self) -> Array:
        """Instruments of which an open bar is on show."""
        return np.flatnonzero(self._live.any(axis=0))

    def shows_open(self, rows: Bars) -> Array:
        """Which of these open bars are on show."""
        shown: Array = self._live[self._places(rows)] == rows["window_start_ns"]
        return shown

    def begin_session(self) -> None:
        """Everything on show is to be taken down. The bars that were open have been issued before."""
        for shelf in self._shelves:
            waiting = self._waiting[self._waiting["window_ns"] == shelf.window_ns]
            shelf.rows = np.concatenate((shelf.rows, waiting[waiting["reserved"] == _MUST]))
            shelf.void = len(shelf.rows)
        self._waiting = _NO_BARS
        self._live[:] = 0

    def arrays(self) -> dict[str, Array]:
        """The whole state by name, for a snapshot."""
        shelves = {f"shelf_{shelf.window_ns}": shelf.rows for shelf in self._shelves}
        void = np.array([(shelf.window_ns, shelf.void) for shelf in self._shelves], np.int64)
        return shelves | {"void": void, "waiting": self._waiting, "live": self._live, "windows": self._windows}

    def restore(self, arrays: Mapping[str, Array]) -> None:
        """Takes over what ``arrays`` gave. What is on show of a window that is no more is to be taken down."""
        mine = {shelf.window_ns: shelf for shelf in self._shelves}
        retired = {}
        for window_ns, void in arrays["void"].tolist():
            rows = arrays[f"shelf_{window_ns}"]
            if window_ns in mine:
                mine[window_ns].rows, mine[window_ns].void = rows, void
            else:
                retired[window_ns] = rows
        self.admit(arrays["live"].shape[1])
        for live, window_ns in zip(arrays["live"], arrays["windows"].tolist(), strict=True):
            if window_ns in mine:
                self._live[self._windows == window_ns] = live
            else:
                retired[window_ns] = np.concatenate((retired[window_ns], _seen_open(live, window_ns)))
        self._shelves += [Shelf(window_ns, rows, len(rows)) for window_ns, rows in retired.items()]
        self._waiting = arrays["waiting"][np.isin(arrays["waiting"]["window_ns"], self._windows)]


def _seen_open(live: Array, window_ns: int) -> Bars:
    """Open bars on show of one window length."""
    ids = np.flatnonzero(live)
    rows = np.zeros(len(ids), BAR)
    rows["instrument_id"], rows["window_ns"], rows["window_start_ns"] = ids, window_ns, live[ids]
    return rows


def _best(waiting: Bars, limit: int) -> Bars:
    """At most ``limit`` of the bars, in their order, but all that must be shown."""
    must = waiting["reserved"] == _MUST
    keep = max(limit, int(must.sum()))
    order = np.lexsort((np.arange(len(waiting)), waiting["window_ns"], must))
    return waiting[np.sort(order[max(0, len(order) - keep) :])]
