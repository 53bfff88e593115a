"""Triggers in a frame of ticks: the market opens or closes, trading in a symbol is halted or goes on.

A symbol trades from the start of a session until it is said that it does not (ITCH 5.0, section 4.3.1: only T is
trading); that of a halted one which is said once more to be halted changes nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from common.contracts.ticks import NO_INSTRUMENT, TICK, TickKind, Ticks
from common.contracts.windows import Trigger

from signals.domain.layout import Array

_BEGINS: Final = ord("O")
_OF_MARKET: Final[Mapping[int, Trigger]] = {ord("Q"): Trigger.OPEN, ord("M"): Trigger.CLOSE}
_TRADING: Final = frozenset({0, ord("T")})
_TOLD: Final = ("kind", "detail", "instrument_id", "event_ns")


class Turn(NamedTuple):
    """A trigger of an instrument, or of the market."""

    event_ns: int
    instrument: int
    trigger: int


class Turns:
    """The triggers of a frame, at their places. ``states``: trading state of each instrument before it."""

    def __init__(self, ticks: Ticks, states: Array) -> None:
        kinds = ticks["kind"]
        (places,) = np.nonzero((kinds == TickKind.SYSTEM_EVENT) | (kinds == TickKind.TRADING_ACTION))
        self._turns: dict[int, Turn] = {}
        said: dict[int, int] = {}
        rows = zip(places.tolist(), *(ticks[name][places].tolist() for name in _TOLD), strict=True)
        is_fresh = False
        for place, kind, detail, instrument, event_ns in rows:
            if kind == TickKind.SYSTEM_EVENT:
                if detail == _BEGINS:
                    said, is_fresh = {}, True
                elif trigger := _OF_MARKET.get(detail):
                    self._turns[place] = Turn(event_ns, NO_INSTRUMENT, trigger)
            elif instrument >= 0:
                before = said.get(instrument, 0 if is_fresh else int(states[instrument]))
                said[instrument] = detail
                if (before in _TRADING) != (detail in _TRADING):
                    trigger = Trigger.RESUME if detail in _TRADING else Trigger.HALT
                    self._turns[place] = Turn(event_ns, instrument, trigger)
        self._places = sorted(self._turns, reverse=True)

    def until_next(self, ticks: Ticks, at: int) -> Ticks:
        """The ticks up to the next trigger from ``at`` on, which is the last of them."""
        while self._places and self._places[-1] < at:
            self._places.pop()
        return ticks[: self._places[-1] + 1] if self._places else ticks

    def passed(self, at: int) -> Sequence[Turn]:
        """The trigger that tick ``at`` - 1 was, if it was one."""
        turn = self._turns.get(at - 1)
        return (turn,) if turn else ()


NO_TURNS: Final = Turns(np.zeros(0, TICK), np.zeros(0, np.uint8))
"""No trigger is looked for: no window has one."""
