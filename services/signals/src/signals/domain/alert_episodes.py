"""Parts of the kernel of the alerts: episodes begin, reach their peaks, and end.

An episode begins where a number is above its threshold, and ends where it has not been above the exit for the hold.
"""

from typing import Any, Final

from common.contracts.alerts import Severity

from signals.domain import count
from signals.domain.alert_state import BEGIN, END, RISE, AlertState
from signals.domain.layout import Row
from signals.kernels import part

ROWS_AT_ONCE: Final = 8
"""Rows that one slice or quote issues at most."""
_HIGH: Final = int(Severity.HIGH)
_CRITICAL: Final = int(Severity.CRITICAL)


@part
def _issue(alerts: AlertState, place: int, phase: int, clock_ns: int) -> None:
    episode = alerts.episodes[place]
    episode.phase = phase
    episode.clock_ns = clock_ns
    alerts.rows[alerts.counters[count.ROWS]] = episode
    alerts.counters[count.ROWS] += 1
    episode.revision += 1


@part
def _severity(rule: Row, value_ppm: int) -> Any:
    if value_ppm >= rule.critical_ppm:
        return _CRITICAL
    return _HIGH if value_ppm >= rule.high_ppm else rule.severity


@part
def open_episode(alerts: AlertState, kind: int, instrument: int, clock_ns: int) -> Any:
    """A new episode. Returns its place."""
    place = alerts.counters[count.OPEN]
    alerts.counters[count.OPEN] += 1
    alerts.places[instrument, kind] = place + 1
    episode = alerts.episodes[place]
    episode.begin_ns = clock_ns
    episode.end_ns = episode.revision = episode.severity = 0
    episode.peak_ppm = -1
    episode.threshold_ppm = alerts.rules[kind].threshold_ppm
    episode.instrument_id = instrument
    episode.kind = kind
    episode.price_e4 = episode.mean_price_e4 = episode.deviation_e4 = 0
    episode.volume = episode.mean_volume = 0
    episode.spread_e4 = episode.mean_spread_e4 = 0
    episode.silence_ns = episode.mean_gap_ns = 0
    return place


@part
def end_episode(alerts: AlertState, place: int, clock_ns: int) -> None:
    """Issues the end of an episode, and gives its place to the last one."""
    episode = alerts.episodes[place]
    episode.end_ns = episode.last_ns
    _issue(alerts, place, END, clock_ns)
    alerts.places[episode.instrument_id, episode.kind] = 0
    last = alerts.counters[count.OPEN] - 1
    alerts.counters[count.OPEN] = last
    if last != place:
        alerts.episodes[place] = alerts.episodes[last]
        moved = alerts.episodes[place]
        alerts.places[moved.instrument_id, moved.kind] = place + 1


@part
def see(alerts: AlertState, kind: int, instrument: int, clock_ns: int, value_ppm: int, samples: int, lasts: int) -> Any:
    """A number was compared. Returns the episode's place where it is a peak, whose numbers are then to be written and
    which is to be issued by ``tell``; else -1.
    """
    rule = alerts.rules[kind]
    place = alerts.places[instrument, kind] - 1
    if place < 0:
        if value_ppm <= rule.threshold_ppm:
            return -1
        place = open_episode(alerts, kind, instrument, clock_ns)
    episode = alerts.episodes[place]
    if value_ppm <= rule.exit_ppm:
        if episode.lasts:
            episode.lasts = 0
            episode.last_ns = clock_ns
            _end_by(alerts, clock_ns)
        return -1
    episode.last_ns = clock_ns
    episode.lasts = lasts
    if not lasts:
        _end_by(alerts, clock_ns)
    if value_ppm <= episode.peak_ppm:
        return -1
    episode.peak_ppm = value_ppm
    episode.peak_ns = clock_ns
    episode.samples = samples
    return place


@part
def _end_by(alerts: AlertState, last_ns: int) -> None:
    """An episode may end once its hold is over."""
    due = last_ns + alerts.limits[0].hold_ns
    alerts.counters[count.END_NEXT_NS] = min(alerts.counters[count.END_NEXT_NS], due)


@part
def tell(alerts: AlertState, place: int, clock_ns: int) -> None:
    """Issues an episode that has a new peak, where it begins or has become graver."""
    episode = alerts.episodes[place]
    severity = _severity(alerts.rules[episode.kind], episode.peak_ppm)
    if severity > episode.severity:
        episode.severity = severity
        _issue(alerts, place, BEGIN if episode.revision == 0 else RISE, clock_ns)


@part
def has_room(alerts: AlertState) -> Any:
    """Whether rows and episodes have room for what one slice or quote brings."""
    counters = alerts.counters
    rows = len(alerts.rows) - counters[count.ROWS]
    return rows >= ROWS_AT_ONCE and len(alerts.episodes) - counters[count.OPEN] >= ROWS_AT_ONCE
