"""Order-by-order (level 3) books of many instruments. The work is done by ``book_kernel``; here its arrays are owned,
grown and read.
"""

from typing import Final

import numpy as np

from common.books import count
from common.books.book_kernel import apply_ticks
from common.books.layout import (
    ACTION,
    BBO,
    CHANGED_DEPTH,
    CHANGED_QUOTE,
    INSTRUMENTS_MAX,
    LISTING,
    ORDER,
    PRINT,
    QUOTE,
    SIDE,
    STOP_LEVELS,
    STOP_ORDERS,
    Array,
    BookState,
    Written,
    zeros,
)
from common.books.level_arena import NONE, SIZE_CLASSES
from common.books.ref_table import rehash
from common.contracts.alerts import SLICE_NS
from common.contracts.market import DEPTH_LEVELS
from common.contracts.ticks import NO_INSTRUMENT, Ticks

_ORDERS_AT_FIRST: Final = 1 << 12
_LEVELS_AT_FIRST: Final = 1 << 12
WAITING_ROWS: Final = 3


class Books:
    """The books of one partition, or of a market of several ``partitions``, each with a clock of its own. What is read
    from its arrays is valid until the next ``apply``.
    """

    def __init__(
        self,
        *,
        record_bbo: bool = False,
        record_quotes: bool = False,
        record_actions: bool = False,
        partitions: int = 0,
    ) -> None:
        """``record_bbo``: every change of a best price or size; ``record_quotes``: what each second ends with;
        ``record_actions``: what messages do to orders.
        """
        self.state = BookState(
            orders=zeros(_ORDERS_AT_FIRST, ORDER),
            sides=zeros(0, SIDE),
            levels=zeros((_LEVELS_AT_FIRST, 2), np.int64),
            free=np.full(SIZE_CLASSES, NONE, np.int64),
            listings=zeros(0, LISTING),
            waiting=np.zeros((WAITING_ROWS, 0), np.int32),
            counters=np.zeros(count.SIZE, np.int64),
        )
        self.counters[count.ORDERS_LIMIT] = _limit(_ORDERS_AT_FIRST)
        self.clocks_ns: Array = np.zeros(partitions, np.int64)
        """Greatest event time so far of each partition; one of no instrument counts for all of them."""
        self._record_bbo = record_bbo
        self._symbols: Array = np.zeros(0, "S16")
        self._symbols_read = -1
        self._prints: Array = np.zeros(0, PRINT)
        self._changes: Array = np.zeros(0, BBO)
        self._record_quotes = record_quotes
        self._quotes: Array = np.zeros(0, QUOTE)
        self._record_actions = record_actions
        self._actions: Array = np.zeros(0, ACTION)

    def admit(self, ticks: Ticks) -> None:
        """Makes room for the instruments of ``ticks``. Raises ValueError, before any change, for a bad id."""
        if not len(ticks):
            return
        ids = ticks["instrument_id"]
        first, last = int(ids.min()), int(ids.max())
        if first < NO_INSTRUMENT or last >= INSTRUMENTS_MAX:
            raise ValueError(f"instrument ids from {first} to {last} are not within 0..{INSTRUMENTS_MAX - 1}")
        if last >= len(self.listings):
            size = max(64, 1 << last.bit_length())
            waiting = np.zeros((WAITING_ROWS, size), np.int32)
            waiting[:, : self.state.waiting.shape[1]] = self.state.waiting
            self.state = self.state._replace(
                listings=_extended(self.listings, size), sides=_extended(self.sides, 2 * size), waiting=waiting
            )

    def apply(self, ticks: Ticks, start: int = 0) -> int:
        """Applies admitted ticks from ``start`` up to and including the next heartbeat or session start, or all.

        Returns the index of the next tick; ``stop`` says why. ``prints``, ``changes``, ``quotes`` and ``actions`` are
        those of this call.
        """
        wanted = len(ticks) - start
        if wanted > len(self._prints):
            self._prints = np.zeros(wanted, PRINT)
        if self._record_bbo and wanted > len(self._changes):
            self._changes = np.zeros(wanted, BBO)
        if self._record_quotes and (most := wanted + int(self.counters[count.NOTED])) > len(self._quotes):
            self._quotes = np.zeros(most, QUOTE)
        if self._record_actions and 2 * wanted > len(self._actions):
            self._actions = np.zeros(2 * wanted, ACTION)
        self.counters[[count.PRINTS, count.CHANGES, count.QUOTES, count.ACTIONS]] = 0
        written = Written(self._prints, self._changes, self._quotes, self._actions)
        while True:
            start = int(apply_ticks(ticks, start, self.state, written, self.clocks_ns))
            if self.stop == STOP_ORDERS:
                self._grow_orders()
            elif self.stop == STOP_LEVELS:
                levels = self.state.levels
                self.state = self.state._replace(levels=_extended(levels, 2 * len(levels)))
            else:
                return start

    def _grow_orders(self) -> None:
        grown = zeros(2 * len(self.state.orders), ORDER)
        rehash(self.state.orders, grown)
        self.state = self.state._replace(orders=grown)
        self.counters[count.ORDERS_LIMIT] = _limit(len(grown))

    @property
    def listings(self) -> Array:
        return self.state.listings

    @property
    def sides(self) -> Array:
        return self.state.sides

    @property
    def counters(self) -> Array:
        return self.state.counters

    @property
    def stop(self) -> int:
        """Why ``apply`` came back: STOP_END, STOP_HEARTBEAT, STOP_SESSION_END or STOP_SESSION."""
        return int(self.counters[count.STOP])

    @property
    def clock_ns(self) -> int:
        """Greatest event time so far."""
        return int(self.counters[count.CLOCK_NS])

    @property
    def prints(self) -> Array:
        """PRINT rows of the last ``apply``: trades that count, and broken trades."""
        return self._prints[: self.counters[count.PRINTS]]

    @property
    def changes(self) -> Array:
        """BBO rows of the last ``apply``: one per message that changed its instrument's best bid or offer."""
        return self._changes[: self.counters[count.CHANGES]]

    @property
    def quotes(self) -> Array:
        """QUOTE rows of the last ``apply``, by time: what each second that ended in it ends with."""
        return self._quotes[: self.counters[count.QUOTES]]

    @property
    def actions(self) -> Array:
        """ACTION rows of the last ``apply``: what its messages did to orders."""
        return self._actions[: self.counters[count.ACTIONS]]

    @property
    def symbols(self) -> Array:
        """Symbols by instrument id, dtype S16; ``#id``, which no symbol can be, before an R message has named it."""
        if self._symbols_read != self.counters[count.RENAMED] or len(self._symbols) != len(self.listings):
            refs = np.ascontiguousarray(self.listings["symbol_ref"])
            named = np.char.rstrip(refs.view("S8")).astype("S16")
            unnamed = np.char.add(b"#", np.arange(len(refs)).astype("S10")).astype("S16")
            self._symbols = np.where(refs > 0, named, unnamed)
            self._symbols_read = int(self.counters[count.RENAMED])
        return self._symbols

    def anomalies(self) -> dict[str, int]:
        """How often the input was damaged, by kind."""
        return {name: int(self.counters[place]) for name, place in count.ANOMALIES.items()}

    def begin_session(self, clock_ns: int) -> None:
        """Empties all books, as at the start of a trading day; what had been is told as a change. Symbols stay."""
        stale = self.told()
        self.state.orders[:] = np.zeros(1, ORDER)
        self.sides[:] = np.zeros(1, SIDE)
        self.state.free[:] = NONE
        self.counters[[count.ORDERS, count.LEVELS_USED]] = 0
        self.counters[count.CLOCK_NS] = clock_ns
        self.clocks_ns[:] = clock_ns
        self.counters[[count.NOTED, count.IS_CLOSED]] = 0
        self.counters[count.SECOND_ENDS_NS] = (clock_ns // SLICE_NS + 1) * SLICE_NS
        for name in ("event_ns", "last_e4", "open_e4", "volume", "trading_state", "noted"):
            self.listings[name] = 0
        for row, (name, place) in enumerate((("unsaid", count.UNSAID), ("unseen", count.UNSEEN))):
            fresh = stale[self.listings[name][stale] == 0]
            begin = int(self.counters[place])
            self.state.waiting[row, begin : begin + len(fresh)] = fresh
            self.counters[place] += len(fresh)
            self.listings[name][stale] |= CHANGED_QUOTE | CHANGED_DEPTH
        self.listings["event_ns"][stale] = clock_ns

    def take(self, row: int, limit: int) -> tuple[Array, Array]:
        """Takes at most ``limit`` instruments off queue ``row`` (0 unsaid, 1 unseen), those that wait longest first.

        Returns their ids and what changed (CHANGED bits).
        """
        place, name = ((count.UNSAID, "unsaid"), (count.UNSEEN, "unseen"))[row]
        waiting = int(self.counters[place])
        ids = self.state.waiting[row, : min(limit, waiting)].copy()
        bits = self.listings[name][ids]
        self.listings[name][ids] = 0
        self.state.waiting[row, : waiting - len(ids)] = self.state.waiting[row, len(ids) : waiting].copy()
        self.counters[place] = waiting - len(ids)
        return ids, bits

    def told(self) -> Array:
        """Ids of all instruments of which there is something to tell."""
        return np.flatnonzero(self.listings["event_ns"] > 0)

    def depth(self, ids: Array) -> tuple[Array, Array]:
        """The best ten levels of some instruments: prices and sizes ``[instrument, side, level, (price, size)]``, zero
        beyond the levels there are, and the level counts ``[instrument, side]``.
        """
        rows = self.sides.reshape(-1, 2)[ids]
        counts = np.minimum(rows["levels"], DEPTH_LEVELS)
        steps = np.arange(DEPTH_LEVELS)
        places = rows["start"][..., None] + rows["levels"][..., None] - 1 - steps
        there = steps < counts[..., None]
        depth = np.where(there[..., None], self.state.levels[np.where(there, places, 0)], 0)
        depth[:, 1, :, 0] *= -1
        return depth, counts

    def arrays(self) -> dict[str, Array]:
        """The whole state by name, for a snapshot. Nothing is copied."""
        return self.state._asdict()

    def restore(self, arrays: dict[str, Array]) -> None:
        """Takes over what ``arrays`` gave."""
        self.state = BookState(**{name: _extended(arrays[name], len(arrays[name])) for name in BookState._fields})
        self._symbols_read = -1


def _limit(slots: int) -> int:
    """Orders that a table of this many slots may hold: beyond it runs of filled slots get long."""
    return slots // 2


def _extended(array: Array, length: int) -> Array:
    """A copy that begins at a cache line, with zeros behind it."""
    grown = zeros((length, *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown
