"""Trades, broken trades, best bids and offers of a partition's ticks, as rows: by the books that signals keeps."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from common.books import Books
from common.books.layout import STOP_SESSION
from common.contracts.ticks import Ticks

TRADE: Final = 0
TRADE_BREAK: Final = 1
BBO: Final = 2
EVENT: Final = np.dtype(
    [
        ("sequence", "<i8"),
        ("event_ns", "<i8"),
        ("instrument_id", "<i4"),
        ("kind", "u1"),  # one of those above
        ("aggressor", "i1"),  # of a trade: 1 a buyer, -1 a seller, 0 not known
        ("trade_id", "<u8"),  # 0 where it has none
        ("price_e4", "<i8"),
        ("qty", "<i8"),
        ("bid_e4", "<i8"),
        ("bid_size", "<i8"),
        ("ask_e4", "<i8"),
        ("ask_size", "<i8"),
    ]
)
Events = npt.NDArray[Any]
_QUOTE: Final = ("bid_e4", "bid_size", "ask_e4", "ask_size")


class EventBooks:
    """The books of one partition, for as long as a session is read."""

    def __init__(self) -> None:
        self._books = Books(record_bbo=True)

    def apply(self, ticks: Ticks) -> Events:
        """Events of the ticks, in the order of their messages; of one message the trade comes first."""
        self._books.admit(ticks)
        found: list[Events] = []
        at = 0
        while at < len(ticks):
            at = self._books.apply(ticks, at)
            found += [_trades(self._books.prints), _quotes(self._books.changes)]
            if self._books.stop == STOP_SESSION:
                found.append(self._begin_session(ticks[at - 1]))
        events = np.concatenate(found) if found else np.zeros(0, EVENT)
        return events[np.argsort(events["sequence"], kind="stable")]

    def _begin_session(self, tick: Any) -> Events:
        """Nobody bids or offers any more where somebody did."""
        sides = self._books.sides["best_size"].reshape(-1, 2)
        gone = np.zeros(np.count_nonzero(sides.any(axis=1)), EVENT)
        gone["instrument_id"] = np.flatnonzero(sides.any(axis=1))
        gone["kind"], gone["sequence"], gone["event_ns"] = BBO, tick["sequence"], tick["event_ns"]
        self._books.begin_session(int(tick["event_ns"]))
        return gone


def _trades(prints: Any) -> Events:
    rows = np.zeros(len(prints), EVENT)
    rows["kind"] = np.where(prints["qty"] > 0, TRADE, TRADE_BREAK)
    rows["sequence"], rows["trade_id"] = prints["message_index"], prints["match"]
    for name in ("event_ns", "instrument_id", "aggressor", "price_e4", "qty"):
        rows[name] = prints[name]
    return rows[rows["instrument_id"] >= 0]


def _quotes(changes: Any) -> Events:
    rows = np.zeros(len(changes), EVENT)
    rows["kind"], rows["sequence"] = BBO, changes["message_index"]
    for name in ("event_ns", "instrument_id", *_QUOTE):
        rows[name] = changes[name]
    return rows
