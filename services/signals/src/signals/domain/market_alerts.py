"""The alerts of one partition's market. The work is done by ``alert_kernel``; here its arrays are owned and grown."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from common.contracts.alerts import (
    ALERT,
    ALERT_RULES,
    ALERTS_VERSION,
    PPM,
    SLICE_NS,
    AlertLimits,
    Alerts,
    Phase,
    Severity,
)
from common.order_patterns import Pattern

from signals.domain import count
from signals.domain.alert_kernel import DONE, ROWS_FULL, end_all, judge
from signals.domain.alert_state import BASELINE, EPISODE, LIMITS, NEVER_NS, RULE, SPREAD, AlertState
from signals.domain.layout import SLICE, Array

ROWS_MAX: Final = 1 << 10
"""Rows that the kernel issues until they are taken."""
_LOG_AT_FIRST: Final = 1 << 10
_EPISODES_AT_FIRST: Final = 1 << 6
_EXIT: Final = 0.8
"""Share of the threshold that a number has to come down to before its episode may end."""
_KEPT: Final = ("baselines", "places", "episodes", "slices", "spreads", "counters")
_CODED: Final = ("kind", "severity", "phase")
_SAME: Final = tuple(name for name in ALERT.names or () if name in (EPISODE.names or ()) and name not in _CODED)
PATTERNS_FIRST: Final = len(ALERT_RULES)
"""Code of the alerts of the first pattern."""


class MarketAlerts:
    """Episodes of the instruments of a partition, and what they are compared with. ``patterns``: by name, whose matches
    are alerts, too.
    """

    def __init__(self, limits: AlertLimits | None = None, patterns: Sequence[Pattern] = ()) -> None:
        self._limits = limits or AlertLimits()
        self._patterns = patterns
        self._kinds = [*(str(rule.kind) for rule in ALERT_RULES), *(pattern.name for pattern in patterns)]
        self._versions = np.array([*(ALERTS_VERSION for _ in ALERT_RULES), *(p.version for p in patterns)], np.int32)
        self._words = _words(self._kinds)
        self.state = self._empty()

    def _empty(self) -> AlertState:
        limits = np.zeros(1, LIMITS)
        for name in LIMITS.names or ():
            limits[name] = getattr(self._limits, name)
        counters = np.zeros(count.ALERTS_SIZE, np.int64)
        counters[[count.STALE_NEXT_NS, count.END_NEXT_NS]] = NEVER_NS
        return AlertState(
            baselines=np.zeros(0, BASELINE),
            places=np.zeros((0, len(self._kinds)), np.int32),
            episodes=np.zeros(_EPISODES_AT_FIRST, EPISODE),
            slices=np.zeros(_LOG_AT_FIRST, SLICE),
            spreads=np.zeros(_LOG_AT_FIRST, SPREAD),
            counters=counters,
            rules=np.concatenate((_rules(self._limits), _pattern_rules(self._patterns))),
            limits=limits,
            rows=np.zeros(ROWS_MAX, EPISODE),
        )

    def admit(self, instruments: int) -> None:
        """Makes room for instruments 0 to ``instruments`` - 1."""
        known = len(self.state.baselines)
        if instruments <= known:
            return
        baselines = np.zeros(instruments, BASELINE)
        baselines["stale_ns"] = NEVER_NS
        places = np.zeros((instruments, len(self._kinds)), np.int32)
        baselines[:known], places[:known] = self.state.baselines, self.state.places
        self.state = self.state._replace(baselines=baselines, places=places)

    def apply(self, quotes: Array, slices: Array, matches: Array, clock_ns: int, symbols: Array) -> Alerts:
        """Judges the seconds that ended by ``clock_ns``, with QUOTE and SLICE rows of admitted instruments, each by
        time, and the MATCHED rows of patterns. Returns the rows to issue.
        """
        counters = self.state.counters
        due_ns = min(int(counters[count.STALE_NEXT_NS]), int(counters[count.END_NEXT_NS]))
        if not len(quotes) and not len(slices) and not len(matches) and clock_ns < due_ns:
            return NO_ALERTS
        self._make_room(len(slices), len(quotes))
        at = np.zeros(3, np.int64)
        parts: list[Alerts] = []
        stop = ROWS_FULL
        while stop != DONE:
            stop = judge(quotes, slices, matches, at, clock_ns, self.state)
            if stop == ROWS_FULL or (stop == DONE and counters[count.ROWS]):
                parts.append(self._drain(symbols))
            elif stop != DONE:
                self._grow_episodes(2 * len(self.state.episodes))
        return np.concatenate(parts) if parts else NO_ALERTS

    def begin_session(self, clock_ns: int, symbols: Array) -> Alerts:
        """Ends every episode at ``clock_ns``, and forgets what instruments were compared with."""
        state = self.state
        still_open = int(state.counters[count.OPEN])
        if still_open > len(state.rows):
            self.state = state._replace(rows=np.zeros(still_open, EPISODE))
        end_all(clock_ns // SLICE_NS * SLICE_NS, self.state)
        ended = self._drain(symbols)
        instruments = len(state.baselines)
        self.state = self._empty()
        self.admit(instruments)
        return ended

    def open_by_kind(self) -> dict[str, int]:
        """How many episodes go on."""
        kinds = self.state.episodes["kind"][: self.state.counters[count.OPEN]]
        counts = np.bincount(kinds, minlength=len(self._kinds)).tolist()
        return dict(zip(self._kinds, counts, strict=True))

    def _drain(self, symbols: Array) -> Alerts:
        rows = self._alerts_of(self.state.rows[: self.state.counters[count.ROWS]], symbols)
        self.state.counters[count.ROWS] = 0
        return rows

    def _alerts_of(self, episodes: Array, symbols: Array) -> Alerts:
        rows = np.zeros(len(episodes), ALERT)
        for name in _SAME:
            rows[name] = episodes[name]
        rows["symbol"] = symbols[episodes["instrument_id"]]
        for name, words in self._words.items():
            rows[name] = words[episodes[name]]
        rows["version"] = self._versions[episodes["kind"]]
        return rows

    def _make_room(self, slices: int, quotes: int) -> None:
        """The logs may hold everything that a call brings beside what they hold."""
        state = self.state
        first, after = state.counters[[count.SLICES_FIRST, count.SLICES_NEXT]].tolist()
        grown = _grown(state.slices, first, after, slices)
        first, after = state.counters[[count.SPREADS_FIRST, count.SPREADS_NEXT]].tolist()
        self.state = state._replace(slices=grown, spreads=_grown(state.spreads, first, after, quotes))

    def _grow_episodes(self, size: int) -> None:
        episodes = np.zeros(size, EPISODE)
        episodes[: len(self.state.episodes)] = self.state.episodes
        self.state = self.state._replace(episodes=episodes)

    # --- snapshots -------------------------------------------------------------------------------------------------

    def arrays(self) -> dict[str, Array]:
        """The whole state by name, for a snapshot. Nothing is copied."""
        return {name: getattr(self.state, name) for name in _KEPT}

    def restore(self, arrays: Mapping[str, Array], version: int, has_patterns: bool, instruments: int) -> None:
        """Takes over what ``arrays`` gave under a ``version`` of the table; of another one nothing is taken over.
        ``has_patterns``: it was under the same patterns; else their episodes are not taken over.
        """
        self.state = self._empty()
        if version == ALERTS_VERSION:
            self.state = self.state._replace(**{name: arrays[name] for name in _KEPT})
            if not has_patterns:
                self._forget_patterns()
        self.admit(instruments)

    def _forget_patterns(self) -> None:
        """Leaves the episodes of the table alone, in the order they have."""
        state = self.state
        episodes = state.episodes[: state.counters[count.OPEN]]
        judged = episodes[episodes["kind"] < PATTERNS_FIRST]
        places = np.zeros((len(state.places), len(self._kinds)), np.int32)
        places[judged["instrument_id"], judged["kind"]] = np.arange(1, len(judged) + 1)
        kept = np.zeros(len(state.episodes), EPISODE)
        kept[: len(judged)] = judged
        state.counters[count.OPEN] = len(judged)
        self.state = state._replace(places=places, episodes=kept)


def alert_words(patterns: Sequence[Pattern] = ()) -> dict[str, Array]:
    """Every word that a column of alerts may have, in order."""
    kinds = [*(str(rule.kind) for rule in ALERT_RULES), *(pattern.name for pattern in patterns)]
    return {name: np.unique(words) for name, words in _words(kinds).items()}


def _words(kinds: Sequence[str]) -> dict[str, Array]:
    """Words of a row by the codes of an episode."""
    return {
        "kind": np.array([kind.encode() for kind in kinds], ALERT["kind"]),
        "severity": np.array([b"", *(severity.name.encode() for severity in Severity)], ALERT["severity"]),
        "phase": np.array([phase.encode() for phase in Phase], ALERT["phase"]),
    }


def _pattern_rules(patterns: Sequence[Pattern]) -> Array:
    """RULE rows of patterns: what is compared is how often one has matched in an episode."""
    rules = np.zeros(len(patterns), RULE)
    for row, pattern in zip(rules, patterns, strict=True):
        row["high_ppm"] = NEVER_NS if pattern.high is None else pattern.high * PPM
        row["critical_ppm"] = NEVER_NS if pattern.critical is None else pattern.critical * PPM
        row["severity"] = pattern.severity
    return rules


def _rules(limits: AlertLimits) -> Array:
    """RULE rows of the table, with the thresholds that are set."""
    rules = np.zeros(len(ALERT_RULES), RULE)
    for row, rule in zip(rules, ALERT_RULES, strict=True):
        threshold = limits.threshold_of(rule)
        row["threshold_ppm"] = round(threshold * PPM)
        row["exit_ppm"] = round(threshold * _EXIT * PPM)
        row["high_ppm"] = NEVER_NS if rule.high is None else round(rule.high * PPM)
        row["critical_ppm"] = NEVER_NS if rule.critical is None else round(rule.critical * PPM)
        row["severity"] = rule.severity
    return rules


def _grown(log: Array, first: int, after: int, more: int) -> Array:
    """The log, or a larger one with the same entries: each keeps its number, whose lower bits are its place."""
    if after - first + more <= len(log):
        return log
    grown = np.zeros(1 << (after - first + more - 1).bit_length(), log.dtype)
    numbers = np.arange(first, after)
    grown[numbers & (len(grown) - 1)] = log[numbers & (len(log) - 1)]
    return grown


NO_ALERTS: Final[Alerts] = np.zeros(0, ALERT)
