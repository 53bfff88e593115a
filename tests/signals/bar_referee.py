"""Bars again, by a second implementation: it folds the whole list of trades for every answer."""

from typing import Any

from tests.signals.trade_referee import Trade, TradeReferee, prices_and_sums

BarRow = tuple[int, ...]
"""(window length, window start, instrument, open, high, low, close, volume, trades, notional, revision)"""
Key = tuple[int, int, int]
"""Window length, window start, instrument."""


class ReferenceBars(TradeReferee):
    """Nothing is kept but trades, the clock, the ends of sessions, and how often each bar was issued. ``windows``:
    length and step of each; they are aligned to ``anchor_ns``.
    """

    def __init__(self, windows: tuple[tuple[int, int], ...], anchor_ns: int = 0) -> None:
        super().__init__()
        self.windows = windows
        self.anchor_ns = anchor_ns
        self.revisions: dict[Key, int] = {}
        self.issued: list[BarRow] = []

    def fold(self, window_ns: int, start: int, instrument: int) -> BarRow:
        held = [t for t in self.standing(instrument) if start <= t.event_ns < start + window_ns]
        *prices, volume, notional = prices_and_sums(held)
        return (*prices, volume, len(held), notional)

    def closed_at(self, window_ns: int, start: int) -> int:
        """When a window ends: by itself, or with the session that it has begun in."""
        return min([start + window_ns, *(end for end in self.ends if end > start)])

    def _issue(self, key: Key) -> None:
        revision = self.revisions[key] = self.revisions.get(key, -1) + 1
        self.issued.append((*key, *self.fold(*key), revision))

    def _holding(self, trade: Trade) -> set[Key]:
        """Windows that hold a trade."""
        return {
            (length, start, trade.instrument)
            for length, step in self.windows
            for start in range(self.step_of(trade, step) + step - length, trade.event_ns + 1, step)
        }

    def step_of(self, trade: Trade, step: int) -> int:
        """Start of the step that holds a trade."""
        return trade.event_ns - (trade.event_ns - self.anchor_ns) % step

    def _close(self, clock_ns: int) -> None:
        """Issues what ends after the clock so far, up to ``clock_ns``."""
        keys = {key for trade in self.trades if trade not in self.broken for key in self._holding(trade)}
        due = [(self.closed_at(length, start), length, of, start) for length, start, of in keys]
        for end, length, of, start in sorted(due):
            if self.clock_ns < end <= clock_ns:
                self._issue((length, start, of))

    def advance(self, clock_ns: int, *, is_end: bool) -> None:
        if clock_ns <= self.clock_ns:
            return
        if is_end:
            self.ends.append(clock_ns)
        self._close(clock_ns)
        self.clock_ns = clock_ns

    def change(self, trade: Trade, *, is_break: bool) -> None:
        self.keep(trade, is_break=is_break)
        self._restate(trade)

    def _restate(self, trade: Trade) -> None:
        for length, start, instrument in sorted(self._holding(trade)):
            if self.closed_at(length, start) <= self.clock_ns:
                self._issue((length, start, instrument))


def plain(rows: Any) -> list[BarRow]:
    """Bar rows as tuples in the order of BarRow."""
    columns = (
        *("window_ns", "window_start_ns", "instrument_id", "open_e4", "high_e4", "low_e4", "close_e4"),
        *("volume", "trades", "notional_e4", "revision"),
    )
    return [tuple(values) for values in zip(*(rows[name].tolist() for name in columns), strict=True)]
