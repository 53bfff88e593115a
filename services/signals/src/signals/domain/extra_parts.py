"""Parts that the kernels of the bars are made of, for windows that not every deployment keeps.

They are compiled only where such a window is kept: session windows alone take as long as half of all there is besides.
"""

from typing import Any, Final, NamedTuple

from signals.domain.bar_state import BarState
from signals.domain.layout import Row
from signals.kernels import part


class ExtraParts(NamedTuple):
    """Parts that carry a trade on, beside tumbling and sliding windows."""

    add: Any
    """``add(bars, number, measures)``: a trade was booked. Returns whether a window holds it."""
    part: Any
    """``part(bars, number, clock_ns, measures)``: a trade was broken."""
    end: Any
    """``end(bars, clock_ns, is_end, measures)``: the clock has come to ``clock_ns``; ``is_end``: with it a session
    ends.
    """
    turn: Any
    """``turn(bars, event, measures)``: a trigger has come, as a PRINT row."""
    has_room: Any
    """``has_room(bars, trades)``: for the rows of so many trades; of none: of every instrument."""


@part
def hold_nothing(_bars: BarState, _number: int, _measures: Any) -> bool:
    return False


@part
def leave(_bars: BarState, _of: int, _how: Any, _measures: Any) -> None:
    return


@part
def turn_nothing(_bars: BarState, _event: Row, _measures: Any) -> None:
    return


@part
def need_none(_bars: BarState, _trades: int) -> bool:
    return True


NO_EXTRAS: Final = ExtraParts(hold_nothing, leave, leave, turn_nothing, need_none)


def joined(one: ExtraParts, other: ExtraParts) -> ExtraParts:
    """Both, one after the other."""

    @part
    def add(bars: BarState, number: int, measures: Any) -> Any:
        held = one.add(bars, number, measures)
        return other.add(bars, number, measures) or held

    @part
    def part_(bars: BarState, number: int, clock_ns: int, measures: Any) -> None:
        one.part(bars, number, clock_ns, measures)
        other.part(bars, number, clock_ns, measures)

    @part
    def end(bars: BarState, clock_ns: int, is_end: Any, measures: Any) -> None:
        one.end(bars, clock_ns, is_end, measures)
        other.end(bars, clock_ns, is_end, measures)

    @part
    def turn(bars: BarState, event: Row, measures: Any) -> None:
        one.turn(bars, event, measures)
        other.turn(bars, event, measures)

    @part
    def has_room(bars: BarState, trades: int) -> Any:
        return one.has_room(bars, trades) and other.has_room(bars, trades)

    return ExtraParts(add, part_, end, turn, has_room)
