"""The patterns of one partition. The work is done by ``pattern_kernel``; here its arrays are owned and grown.

Of every action it is asked once which conditions it fits, by a function that is compiled of all conditions; the
patterns, one after the other, go by the answers.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from common.order_patterns import Condition, Pattern, PatternError, PatternKey

from signals.domain.layout import Array, Row
from signals.domain.pattern_kernel import DONE, SLOTS_FULL, enter_keys, follow
from signals.domain.pattern_state import MATCHED, MATCHES, PatternState, pattern_state, with_slots
from signals.kernels import fingerprint_of, kernel_of, part

CONDITIONS_MAX: Final = 62
"""Conditions of all patterns of a process: each has a bit."""
_SLOTS_AT_FIRST: Final = 1 << 4
_MATCHES_AT_FIRST: Final = 1 << 6
_KEPT: Final = ("holders", "done", "cells", "heads", "free", "counters")
_SIDES: Final = 3
NO_MATCHES: Final[Array] = np.zeros(0, MATCHED)


class PatternMatches:
    """Whatever is followed of ``patterns``, of which there is at least one. ``first_kind``: code of the alerts of the
    first pattern, ordered by name. Raises PatternError where two have the same name.
    """

    def __init__(self, patterns: Sequence[Pattern], first_kind: int) -> None:
        self.patterns = in_order(patterns)
        self._first_kind = first_kind
        self._classifier = _classifier(*(_conditions(self.patterns, is_sided) for is_sided in (True, False)))
        self._bits: Array = np.zeros((0, _SIDES), np.int64)
        self._states = self._empty()

    def _empty(self) -> list[PatternState]:
        return [
            pattern_state(
                pattern,
                self._classifier.bits[pattern.key is PatternKey.SIDE],
                self._first_kind + place,
                _SLOTS_AT_FIRST,
            )
            for place, pattern in enumerate(self.patterns)
        ]

    def apply(self, actions: Array) -> Array:
        """Takes ACTION rows. Returns MATCHED rows, by the action that completes them, then by pattern."""
        if not len(actions):
            return NO_MATCHES
        if len(self._bits) < len(actions):
            self._bits = np.zeros((len(actions), _SIDES), np.int64)
        self._classifier.classify(actions, self._bits)
        found = [matches for place in range(len(self._states)) if len(matches := self._followed(place, actions))]
        if not found:
            return NO_MATCHES
        rows = np.concatenate(found)
        return rows[np.argsort(rows["at"], kind="stable")]

    def _followed(self, place: int, actions: Array) -> Array:
        parts: list[Array] = []
        at = column = 0
        stop = SLOTS_FULL
        while stop != DONE:
            state = self._states[place]
            at, column, stop = follow(actions, self._bits, at, column, state)
            if state.counters[MATCHES]:
                parts.append(state.matches[: state.counters[MATCHES]].copy())
                state.counters[MATCHES] = 0
            if stop == SLOTS_FULL:
                self._states[place] = _grown(state)
            elif stop != DONE and len(state.matches) < max(_MATCHES_AT_FIRST, len(state.holders)):
                room = np.zeros(max(_MATCHES_AT_FIRST, len(state.holders)), MATCHED)
                self._states[place] = state._replace(matches=room)
        return np.concatenate(parts) if parts else NO_MATCHES

    def begin_session(self) -> None:
        """Nothing is followed any more."""
        self._states = self._empty()

    # --- snapshots -------------------------------------------------------------------------------------------------

    def declaration(self) -> dict[str, Any]:
        """Declaration that a snapshot keeps of the patterns."""
        return {pattern.name: pattern.declaration() for pattern in self.patterns}

    def arrays(self) -> dict[str, Array]:
        """The whole state by name, for a snapshot. Nothing is copied."""
        listed = zip(self.patterns, self._states, strict=True)
        return {f"{pattern.name}.{name}": getattr(state, name) for pattern, state in listed for name in _KEPT}

    def restore(self, arrays: Mapping[str, Array], declared: Mapping[str, Any]) -> None:
        """Takes over what ``arrays`` gave of the patterns that are ``declared`` as they are now; of another one nothing
        is followed yet.
        """
        self._states = self._empty()
        for place, (pattern, state) in enumerate(zip(self.patterns, self._states, strict=True)):
            if declared.get(pattern.name) == pattern.declaration():
                kept = {name: arrays[f"{pattern.name}.{name}"] for name in _KEPT}
                table = np.zeros(2 * len(kept["holders"]), state.table.dtype)
                self._states[place] = state._replace(**kept, table=table)
                enter_keys(self._states[place])


def in_order(patterns: Sequence[Pattern]) -> tuple[Pattern, ...]:
    """By name. Raises PatternError where two have the same."""
    ordered = tuple(sorted(patterns, key=lambda pattern: pattern.name))
    for before, after in pairwise(ordered):
        if before.name == after.name:
            raise PatternError(f"two patterns are named {before.name!r}")
    return ordered


def _grown(state: PatternState) -> PatternState:
    grown = with_slots(state, 2 * len(state.holders))
    enter_keys(grown)
    return grown


class _Classifier(NamedTuple):
    """A kernel that writes the bits of actions, and each condition's bit, of patterns by side (True) and of others."""

    classify: Any
    bits: Mapping[bool, Mapping[Condition, int]]


def _conditions(patterns: Sequence[Pattern], is_sided: bool) -> tuple[Condition, ...]:
    """Each condition of the patterns by side, or of the others, once."""
    chosen = (pattern for pattern in patterns if (pattern.key is PatternKey.SIDE) == is_sided)
    return tuple(dict.fromkeys(condition for pattern in chosen for condition in pattern.conditions))


@lru_cache(maxsize=8)
def _classifier(sided: tuple[Condition, ...], unsided: tuple[Condition, ...]) -> _Classifier:
    """Raises PatternError."""
    if len(sided) + len(unsided) > CONDITIONS_MAX:
        raise PatternError(f"the patterns have {len(sided) + len(unsided)} conditions, and {CONDITIONS_MAX} at most")
    by_side = {condition: 1 << place for place, condition in enumerate(sided)}
    others = {condition: 1 << place for place, condition in enumerate(unsided, len(sided))}
    fingerprint = fingerprint_of(f"{len(sided)} by side", [*sided, *unsided])
    return _Classifier(_compiled(_fitting(by_side), _fitting(others), fingerprint), {True: by_side, False: others})


def _compiled(sided: Any, unsided: Any, fingerprint: str) -> Any:
    @kernel_of(fingerprint)
    def classify(actions: Array, bits: Array) -> None:
        """Bits of the conditions that each action fits, by a buyer's side, a seller's, and none."""
        for i in range(len(actions)):
            action = actions[i]
            bits[i, 0] = sided(action, 1)
            bits[i, 1] = sided(action, -1)
            bits[i, 2] = unsided(action, 0)

    return classify


def _fitting(bits: Mapping[Condition, int]) -> Any:
    """A function that says which conditions an action fits."""
    fitting = _none
    for condition, bit in reversed(list(bits.items())):
        fitting = _or(part(condition), bit, fitting)
    return fitting


@part
def _none(_action: Row, _side: int) -> int:
    return 0


def _or(condition: Any, bit: int, rest: Any) -> Any:
    @part
    def fitting(action: Row, side: int) -> int:
        fits: int = (bit if condition(action, side) else 0) | rest(action, side)
        return fits

    return fitting
