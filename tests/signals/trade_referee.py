"""Trades as a referee of windows sees them: what the books print, what was broken, and what the clock says."""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from common.books import Books
from common.books.layout import STOP_SESSION_END
from common.contracts.ticks import Ticks
from common.contracts.windows import ALLOWED_LATENESS_NS


class Trade(NamedTuple):
    instrument: int
    event_ns: int
    arrival: int
    match: int
    price_e4: int
    qty: int


class TradeReferee(ABC):
    """Which trades there are; how they are parted into windows, and when a window is issued, each referee says."""

    def __init__(self) -> None:
        self.trades: list[Trade] = []
        self.broken: set[Trade] = set()
        self.clock_ns = 0
        self.ends: list[int] = []
        """Clocks at which sessions have ended."""

    @abstractmethod
    def advance(self, clock_ns: int, *, is_end: bool) -> None:
        """The clock has come to ``clock_ns``. ``is_end``: and a session ends there."""

    @abstractmethod
    def change(self, trade: Trade, *, is_break: bool) -> None:
        """A trade that is not late has come, or one is broken: to be kept by ``keep``."""

    def keep(self, trade: Trade, *, is_break: bool) -> None:
        if is_break:
            self.broken.add(trade)
        else:
            self.trades.append(trade)

    def standing(self, instrument: int) -> list[Trade]:
        """Those of an instrument that are not broken, in the order of their times."""
        found = (t for t in self.trades if t.instrument == instrument and t not in self.broken)
        return sorted(found, key=lambda t: (t.event_ns, t.arrival))

    def take(self, ticks: Ticks) -> None:
        """Follows the ticks one by one; which of them print is the books' business."""
        books = Books()
        books.admit(ticks)
        for i in range(len(ticks)):
            books.apply(ticks[i : i + 1])
            self.follow(books, ticks[i])

    def follow(self, books: Books, tick: Any) -> None:
        """``tick`` has been applied to the books."""
        self.advance(books.clock_ns, is_end=books.stop == STOP_SESSION_END)
        for event_ns, _, match, price_e4, qty, _, instrument, _ in books.prints.tolist():
            if not qty:
                found = next((t for t in reversed(self.trades) if t.match == match), None)
                if found and found not in self.broken:
                    self.change(found, is_break=True)
            elif event_ns >= self.clock_ns - ALLOWED_LATENESS_NS:
                self.change(Trade(instrument, event_ns, len(self.trades), match, price_e4, qty), is_break=False)


def prices_and_sums(held: list[Trade]) -> tuple[int, int, int, int, int, int]:
    """Open, high, low, close, shares and notional of trades in their order; zeros where there is none."""
    prices = [t.price_e4 for t in held] or [0]
    sums = sum(t.qty for t in held), sum(t.qty * t.price_e4 for t in held)
    return prices[0], max(prices), min(prices), prices[-1], *sums
