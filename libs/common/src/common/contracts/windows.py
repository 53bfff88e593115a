"""The one table of windows. Whatever depends on which windows there are is made from it: what a snapshot of the bars
holds, the chart's choice of bars and ``docs/windows.md``.

A window is named by its length, like ``5m``, and aligned to the venue's midnight; a sliding one by its length and step,
like ``5m/30s``, and one ends at each multiple of the step; a session by its gap, like ``gap:30s``: it holds the trades
of a symbol of which each is less than the gap behind the one before, and ends a gap after the last one; a triggered one
by what ends it, like ``on:halt+resume``: it holds the trades of a symbol from one of these events to the next. Another
window is one line in ``WINDOWS``; ``docs/guides/add-a-window.md`` says what follows from it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntFlag
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
PANES_MAX: Final = 64
"""Steps of a sliding window at most: the panes that are kept of it, and merged when one ends."""
_SESSION: Final = "gap:"
_TRIGGERED: Final = "on:"
_NAME: Final = re.compile(r"([1-9][0-9]{0,8})(ms|s|m|h|d)")


class WindowNameError(ValueError):
    """The text is not the name of a window."""


class Trigger(IntFlag):
    """Events that end a window, and begin the next one."""

    OPEN = 1
    """The market opens: its regular hours begin (S with Q)."""
    CLOSE = 2
    """They end (S with M)."""
    HALT = 4
    """Trading in the symbol stops: its state is no longer T (H)."""
    RESUME = 8
    """It goes on."""


def trigger_name(triggers: int) -> str:
    """Name of the window that ends at each of the triggers."""
    return _TRIGGERED + "+".join(str(each.name).lower() for each in Trigger if each & triggers)


_TRIGGERS: Final = {trigger_name(triggers): Trigger(triggers) for triggers in range(1, 1 << len(Trigger))}


@dataclass(frozen=True, slots=True)
class Window:
    """A window that tumbles, slides by a step, is a session, of trades that are less than a gap apart, or ends with a
    trigger. Raises WindowNameError where the name says no length, and no triggers in their order.
    """

    name: str

    def __post_init__(self) -> None:
        if self.name.startswith(_TRIGGERED):
            if self.name not in _TRIGGERS:
                known = ", ".join(str(each.name).lower() for each in Trigger)
                raise WindowNameError(f"{self.name!r} is no window; write on: and some of {known} in order, with +")
            return
        length_ns, step_ns = self.length_ns, self.step_ns
        panes, rest = divmod(length_ns, step_ns)
        if "/" in self.name and (rest or not 1 < panes <= PANES_MAX):
            raise WindowNameError(f"{self.name!r} is no sliding window: 2 to {PANES_MAX} steps are its length")

        if self.gap_ns and "/" in self.name:
            raise WindowNameError(f"{self.name!r} is no window: a session has no step")

    def _parts(self, place: int) -> tuple[int, str]:
        if self.triggers:
            return 0, "s"
        length, *steps = self.name.removeprefix(_SESSION).split("/", 1)
        match = _NAME.fullmatch([length, *steps][place])
        if match is None:
            raise WindowNameError(f"{self.name!r} is no window length; write 1s, 500ms, 1m, 1h, 1d, or 5m/30s")
        return int(match[1]), match[2]

    @property
    def gap_ns(self) -> int:
        """Trades of a session are less than this apart; 0 for any other window."""
        return self.length_ns if self.name.startswith(_SESSION) else 0

    @property
    def triggers(self) -> Trigger:
        """Events that end the window; none of any other one."""
        return _TRIGGERS.get(self.name, Trigger(0))

    @property
    def tumbles(self) -> bool:
        return not self.slides and not self.gap_ns and not self.triggers

    @property
    def length_ns(self) -> int:
        """Time that a window lasts; a session lasts at least so long, its gap; a triggered one has no length, 0."""
        number, unit = self._parts(0)
        return number * UNITS[unit][0]

    @property
    def step_ns(self) -> int:
        """Time between two ends; of a tumbling window its length."""
        number, unit = self._parts(-1)
        return number * UNITS[unit][0]

    @property
    def slides(self) -> bool:
        return self.step_ns < self.length_ns

    @property
    def label(self) -> str:
        """The length as the chart writes it, like ``5 min``."""
        number, unit = self._parts(0)
        return f"{number} {UNITS[unit][1]}"


WINDOWS: Final = (
    Window("1s"),
    Window("1m"),
    Window("5m"),
    Window("1h"),
    Window("1d"),
)
"""Every window that bars are made of, shortest first."""
OPTIONAL_WINDOWS: Final = (
    Window("gap:30s"),
    Window("gap:5m"),
    Window("on:open+close"),
    Window("on:open+close+halt+resume"),
)
"""Windows that a deployment keeps where its setting ``windows`` of signals names them."""

ALLOWED_LATENESS_NS: Final = 60 * NS
"""A trade that is earlier than its partition's clock by at most this restates the windows that have ended; one that is
still earlier is in none. The setting ``allowed_lateness_s`` of signals overrides it.
"""
EVENTS_BOUND_NS: Final = 5 * NS
"""By how much the events that strangers write to ``md.events`` may be out of order without being late: so long their
windows stay open. Feeds of ingest are in order. The setting ``feed.bounds_s`` of signals overrides it.
"""
FEED_IDLE_NS: Final = 5 * NS
"""After so long a silence, by the wall clock, no window waits for a feed. The setting ``feed.idle_s`` overrides it."""


def lengths_ns(windows: Sequence[Window] = WINDOWS) -> tuple[int, ...]:
    """Lengths of the tumbling windows, shortest first."""
    return tuple(sorted(window.length_ns for window in windows if window.tumbles))


def slides_ns(windows: Sequence[Window] = WINDOWS) -> tuple[tuple[int, int], ...]:
    """Length and step of the sliding windows, shortest first."""
    return tuple(sorted((window.length_ns, window.step_ns) for window in windows if window.slides))


def gaps_ns(windows: Sequence[Window] = WINDOWS) -> tuple[int, ...]:
    """Gaps of the sessions, shortest first."""
    return tuple(sorted(window.gap_ns for window in windows if window.gap_ns))


def triggers_of(windows: Sequence[Window] = WINDOWS) -> tuple[int, ...]:
    """Triggers of each window that has some, as bits."""
    return tuple(sorted(int(window.triggers) for window in windows if window.triggers))


def feeder_of(length_ns: int, lengths: Sequence[int]) -> int | None:
    """Length of the window that a window is merged from: the longest shorter one that divides it. None: there is none,
    and every trade is added to the window itself.
    """
    return max((shorter for shorter in lengths if shorter < length_ns and length_ns % shorter == 0), default=None)


def closing_time_ns(last_event_ns: int) -> int:
    """Event time of the heartbeat that ends a session: the end of the second after that of its last event.

    Windows end with the session that they have begun in (ADR 59), so it need not be past the end of any. Online and
    offline replay share this rule, and so close the same bars.
    """
    return (last_event_ns // NS + 2) * NS
