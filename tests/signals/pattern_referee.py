"""Patterns a second time: from ticks, by what a pattern is defined to be, without anything of the service.

At each action it is asked anew whether the actions of the key since its last match can be said to take all the steps.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from common.books.layout import ACTION, CANCELLED, ENTERED, EXECUTED, MARKET_CLOSED, TRADED
from common.contracts.ticks import TickKind, Ticks
from common.order_patterns import Absent, Either, Ordered, Pattern, PatternKey, Step

S = 1_000_000_000
HOLD_NS = 10 * S
Action = Any
State = tuple[int, int, tuple[Any, ...]]
"""Index of the first action that is taken, of the last one, and what must not have come since."""


@dataclass(frozen=True, order=True)
class Told:
    """A row of a pattern's alert."""

    clock_ns: int
    instrument: int
    kind: str
    phase: str
    severity: str
    begin_ns: int
    matches: int


@dataclass
class Followed:
    """A key's actions since its last match, as far as the time of the pattern reaches."""

    instrument: int
    side: int
    actions: list[Action] = field(default_factory=list)

    def newest_ns(self) -> int:
        return int(self.actions[-1].clock_ns)


@dataclass
class Episode:
    begin_ns: int
    last_ns: int
    matches: int
    severity: str


def taken(piece: Any, states: set[State], actions: list[Action], side: int) -> set[State]:
    """Every way to go on from ``states`` through a piece of a pattern."""
    if isinstance(piece, Absent):
        return {(first, last, (*gone, piece.fits)) for first, last, gone in states}
    if isinstance(piece, Ordered):
        for part in piece.parts:
            states = taken(part, states, actions, side)
        return states
    if isinstance(piece, Either):
        return {s for part in piece.parts for s in (states if part is None else taken(part, states, actions, side))}
    step = piece if isinstance(piece, Step) else Step(piece)
    return {s for state in states for s in _steps(step, state, actions, side)}


def _steps(step: Step, state: State, actions: list[Action], side: int) -> set[State]:
    first, last, gone = state
    fitting = [i for i in range(last + 1, len(actions)) if step.fits(actions[i], side)]
    found: set[State] = set()
    for i in fitting:
        if any(fits(actions[k], side) for fits in gone for k in range(last + 1, i)):
            continue
        for j in fitting:
            if (j == i) != (step.times == 1) or j < i or sum(i <= k <= j for k in fitting) < step.times:
                continue
            if step.within_ns and actions[j].clock_ns - actions[i].clock_ns > step.within_ns:
                continue
            between = [k for k in range(i + 1, j) if k not in fitting]
            if step.without is not None and any(step.without(actions[k], side) for k in between):
                continue
            found.add((i if first < 0 else first, j, ()))
    return found


def matches(pattern: Pattern, actions: list[Action], side: int) -> bool:
    """Whether the newest action is the last one of a match."""
    now_ns = actions[-1].clock_ns
    return any(
        last == len(actions) - 1 and not gone and now_ns - actions[first].clock_ns <= pattern.within_ns
        for first, last, gone in taken(pattern.of, {(-1, -1, ())}, actions, side)
    )


class Episodes:
    """Alerts of matches: ``told`` is what has been issued."""

    def __init__(self) -> None:
        self.told: list[Told] = []
        self._open: dict[tuple[int, str], Episode] = {}

    def match(self, pattern: Pattern, instrument: int, clock_ns: int) -> None:
        """The pattern has matched now. Times do not fall."""
        episode = self._open.setdefault((instrument, pattern.name), Episode(clock_ns, clock_ns, 0, ""))
        episode.last_ns = clock_ns
        episode.matches += 1
        severity = pattern.severity.name
        if pattern.high is not None and episode.matches >= pattern.high:
            severity = "HIGH"
        if pattern.critical is not None and episode.matches >= pattern.critical:
            severity = "CRITICAL"
        if severity != episode.severity:
            episode.severity = severity
            self._tell(instrument, pattern.name, "begin" if episode.matches == 1 else "rise", clock_ns)

    def reach(self, clock_ns: int) -> None:
        """Time comes to here: an episode without a match for the hold ends, at the end of a second."""
        due = [(-(-(e.last_ns + HOLD_NS) // S) * S, *name) for name, e in self._open.items()]
        for second_ns, instrument, kind in sorted(due):
            if second_ns <= clock_ns:
                self._tell(instrument, kind, "end", second_ns)
                del self._open[instrument, kind]

    def _tell(self, instrument: int, kind: str, phase: str, clock_ns: int) -> None:
        episode = self._open[instrument, kind]
        told = Told(clock_ns, int(instrument), kind, phase, episode.severity, episode.begin_ns, episode.matches)
        self.told.append(told)


class PatternReferee:
    """Feed it the ticks of a session, in order."""

    def __init__(self, patterns: list[Pattern]) -> None:
        self.patterns = sorted(patterns, key=lambda pattern: pattern.name)
        self.episodes = Episodes()
        self.clock_ns = 0
        self.orders: dict[int, list[Any]] = {}
        self.last: dict[int, int] = defaultdict(int)
        self.followed: dict[tuple[str, int, int], Followed] = {}

    def apply(self, ticks: Ticks) -> list[Told]:
        """Returns what has been told so far, in order; what is told at the same time, by instrument and kind."""
        for tick in ticks:
            self.clock_ns = max(self.clock_ns, int(tick["event_ns"]))
            self.episodes.reach(self.clock_ns)
            for action in self._actions(tick):
                for pattern in self.patterns:
                    self._see(pattern, action)
        return sorted(self.episodes.told)

    def actions(self, ticks: Ticks) -> Any:
        """ACTION rows of what the ticks do to orders. Nothing is followed."""
        rows: list[Action] = []
        for tick in ticks:
            self.clock_ns = max(self.clock_ns, int(tick["event_ns"]))
            rows += self._actions(tick)
        return np.array([row.item() for row in rows], ACTION)

    # --- orders ----------------------------------------------------------------------------------------------------

    def _best(self, instrument: int, side: int) -> tuple[int, int]:
        depth: dict[int, int] = defaultdict(int)
        for owner, own_side, price, held in self.orders.values():
            if owner == instrument and own_side == side:
                depth[price] += held
        if not depth:
            return 0, 0
        price = max(depth, key=lambda each: each * side)
        return price, depth[price]

    def _action(self, kind: int, instrument: int, side: int, **fields: int) -> Action:
        near, opposite = self._best(instrument, side or 1), self._best(instrument, -(side or 1))
        action = np.zeros(1, ACTION).view(np.recarray)[0]
        action.kind, action.instrument_id, action.side, action.clock_ns = kind, instrument, side, self.clock_ns
        action.near_e4, action.near_size = near
        action.opposite_e4, action.opposite_size = opposite
        action.last_e4 = self.last[instrument]
        for name, value in fields.items():
            action[name] = value
        return action

    def _actions(self, tick: Any) -> list[Action]:
        kind, instrument, ref, qty = (int(tick[name]) for name in ("kind", "instrument_id", "order_ref", "qty"))
        price, other = int(tick["price_e4"]), int(tick["aux_ref"])
        if kind == TickKind.SYSTEM_EVENT and tick["detail"] == ord("M"):
            return [self._action(MARKET_CLOSED, -1, 0, price_e4=0, qty=0)]
        if instrument < 0:
            return []
        if kind in (TickKind.ADD, TickKind.ADD_WITH_MPID):
            side = {ord("B"): 1, ord("S"): -1}.get(int(tick["side"]), 0)
            if not side or qty <= 0 or ref in self.orders:
                return []
            entered = self._action(ENTERED, instrument, side, price_e4=price, qty=qty, left=qty, order_ref=ref)
            self.orders[ref] = [instrument, side, price, qty]
            return [entered]
        if kind in (TickKind.TRADE, TickKind.CROSS_TRADE):
            traded = [self._action(TRADED, instrument, 0, price_e4=price, qty=qty)] if kind == TickKind.TRADE else []
            if qty > 0:
                self.last[instrument] = price
            return traded if qty > 0 else []
        return self._modified(tick, kind, ref, qty, price, other)

    def _modified(self, tick: Any, kind: int, ref: int, qty: int, price: int, other: int) -> list[Action]:
        modifies = (TickKind.EXECUTED, TickKind.EXECUTED_WITH_PRICE, TickKind.CANCEL, TickKind.DELETE, TickKind.REPLACE)
        if kind not in modifies:
            return []
        is_whole, own_price = kind in (TickKind.DELETE, TickKind.REPLACE), kind == TickKind.EXECUTED_WITH_PRICE
        prints = own_price and tick["flags"] & 1
        order = self.orders.get(ref)
        if order is None:
            if prints and qty > 0:
                self.last[int(tick["instrument_id"])] = price
            return []
        instrument, side, resting_e4, held = order
        gone = held if is_whole else min(qty, held)
        found = []
        if gone > 0:
            name = EXECUTED if kind in (TickKind.EXECUTED, TickKind.EXECUTED_WITH_PRICE) else CANCELLED
            fields = {
                "price_e4": price if own_price else resting_e4,
                "qty": gone,
                "left": held - gone,
                "order_ref": ref,
            }
            found = [self._action(name, instrument, side, **fields)]
        if kind == TickKind.REPLACE and qty > 0 and (other == ref or other not in self.orders):
            found.append(self._action(ENTERED, instrument, side, price_e4=price, qty=qty, left=qty, order_ref=other))
        if (kind == TickKind.EXECUTED or prints) and qty > 0:
            self.last[instrument] = price if own_price else resting_e4
        if gone == held:
            del self.orders[ref]
        elif gone > 0:
            order[3] -= gone
        if len(found) == 2:
            self.orders[other] = [instrument, side, price, qty]
        return found

    # --- patterns --------------------------------------------------------------------------------------------------

    def _see(self, pattern: Pattern, action: Action) -> None:
        if action.instrument_id < 0:
            for held in [f for (name, *_), f in self.followed.items() if name == pattern.name]:
                if action.clock_ns - held.newest_ns() <= pattern.within_ns:
                    self._take(pattern, held, action)
            return
        for side in (1, -1) if pattern.key is PatternKey.SIDE else (0,):
            number = int(action.order_ref) if pattern.key is PatternKey.ORDER else int(action.instrument_id)
            if pattern.key is PatternKey.ORDER and not number:
                continue
            name = (pattern.name, number, side)
            followed: Followed | None = self.followed.get(name)
            if followed is None or action.clock_ns - followed.newest_ns() > pattern.within_ns:
                self.followed.pop(name, None)
                if not any(line[0].step.fits(action, side) for line in pattern.lines):
                    continue
                followed = self.followed[name] = Followed(action.instrument_id, side)
            self._take(pattern, followed, action)

    def _take(self, pattern: Pattern, followed: Followed, action: Action) -> None:
        if not any(fits(action, followed.side) for fits in pattern.conditions):
            return
        oldest_ns = action.clock_ns - pattern.within_ns
        followed.actions = [each for each in followed.actions if each.clock_ns >= oldest_ns] + [action]
        if matches(pattern, followed.actions, followed.side):
            self.followed = {name: each for name, each in self.followed.items() if each is not followed}
            self.episodes.match(pattern, followed.instrument, self.clock_ns)
