"""The one table of windows. Whatever depends on which windows there are is made from it: when a session's last window
closes, what a snapshot of the bars holds, the chart's choice of bars and ``docs/windows.md``.

A window is named by its length, like ``5m``, and aligned to the epoch. Another window is one line in ``WINDOWS``;
``docs/guides/add-a-window.md`` says what follows from it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

NS: Final = 1_000_000_000
UNITS: Final = {
    "ms": (1_000_000, "ms"),
    "s": (NS, "s"),
    "m": (60 * NS, "min"),
    "h": (3_600 * NS, "h"),
    "d": (86_400 * NS, "d"),
}
"""Unit of a window's name → its length in ns, and how people write it."""
_NAME: Final = re.compile(r"([1-9][0-9]{0,8})(ms|s|m|h|d)")


class WindowNameError(ValueError):
    """The text is not the name of a window."""


@dataclass(frozen=True, slots=True)
class Window:
    """A tumbling window. Raises WindowNameError where the name says no length."""

    name: str

    def __post_init__(self) -> None:
        self._parts()

    def _parts(self) -> tuple[int, str]:
        match = _NAME.fullmatch(self.name)
        if match is None:
            raise WindowNameError(f"{self.name!r} is no window length; write 1s, 500ms, 1m, 1h, 1d")
        return int(match[1]), match[2]

    @property
    def length_ns(self) -> int:
        number, unit = self._parts()
        return number * UNITS[unit][0]

    @property
    def label(self) -> str:
        """The length as the chart writes it, like ``5 min``."""
        number, unit = self._parts()
        return f"{number} {UNITS[unit][1]}"


WINDOWS: Final = (
    Window("1s"),
    Window("1m"),
)
"""Every window that bars are made of, shortest first."""


def lengths_ns(windows: Sequence[Window] = WINDOWS) -> tuple[int, ...]:
    """Lengths of the windows, shortest first."""
    return tuple(sorted(window.length_ns for window in windows))


def feeder_of(length_ns: int, lengths: Sequence[int]) -> int | None:
    """Length of the window that a window is merged from: the longest shorter one that divides it. None: there is none,
    and every trade is added to the window itself.
    """
    return max((shorter for shorter in lengths if shorter < length_ns and length_ns % shorter == 0), default=None)


def closing_time_ns(last_event_ns: int, windows: Sequence[Window] = WINDOWS) -> int:
    """Event time of the heartbeat that ends a session, so that every window closes that its last event left open.

    It is the end of the window after the last event's, of the window for which that is latest: past the end of every
    window even for a reader that allows events to be some seconds late. Online and offline replay share this rule, and
    so close the same bars.
    """
    return max((last_event_ns // length + 2) * length for length in lengths_ns(windows))
