"""The kernel of the market alerts: judges what each second of the partition's clock ends with, in the order of time.

It runs once for what a frame brings, on slices and quotes of whole seconds, never on a tick. What is judged of an
instrument depends on its own ticks and on the clock passing a second, so that partitions and the whole feed tell the
same. Sums of a baseline are integers, taken back when what they hold is older than the baseline reaches; only what is
compared is a float.
"""

import math
from typing import Any, Final

from common.contracts.alerts import (
    ALERT_RULES,
    BASELINE_NS,
    COMBINED_DEVIATIONS,
    COMBINED_VOLUMES,
    DEVIATION_SHARE_MIN,
    PPM,
    SLICE_NS,
    AlertKind,
)

from signals.domain import count
from signals.domain.alert_episodes import ROWS_AT_ONCE, end_episode, has_room, open_episode, see, tell
from signals.domain.alert_state import NEVER_NS, AlertState
from signals.domain.layout import Array, Row
from signals.kernels import kernel, outlined, part

_PLACES: Final = {rule.kind: place for place, rule in enumerate(ALERT_RULES)}
_PRICE_SPIKE: Final = _PLACES[AlertKind.PRICE_SPIKE]
_VOLUME_SURGE: Final = _PLACES[AlertKind.VOLUME_SURGE]
_COMBINED: Final = _PLACES[AlertKind.COMBINED]
_SPREAD_WIDENING: Final = _PLACES[AlertKind.SPREAD_WIDENING]
_HIGH_VOLATILITY: Final = _PLACES[AlertKind.HIGH_VOLATILITY]
_PRICE_JUMP: Final = _PLACES[AlertKind.PRICE_JUMP]
_STALE_FEED: Final = _PLACES[AlertKind.STALE_FEED]
_CROSSED_BOOK: Final = _PLACES[AlertKind.CROSSED_BOOK]
DONE: Final = 0
"""Everything up to the clock is judged."""
ROWS_FULL: Final = 1
"""The buffer of rows may not hold what comes next."""
EPISODES_FULL: Final = 2
"""Nor may the table of episodes."""
ABOVE_MAX: Final = 1 << 27
"""Prices count as at most so far from the first of their baseline: 13,421 units of currency. Squares of 300 fit."""
SUM_STEP_MAX: Final = 1 << 54
"""Shares, notionals (1.8e12 units of currency) and spreads of one second count as at most this: 300 of them fit."""
_RETURN_UNITS: Final = 100_000_000
"""Logarithmic returns are rounded to 1e-8, and are at most 1: squares of 301 fit."""
_GAPS: Final = 32
_PPM_MAX: Final = 1e18
_TRADING: Final = ord("T")


@part
def _ppm(value: float) -> Any:
    """Millionths of a number, within 64 bits."""
    return int(min(value * PPM, _PPM_MAX))


@part
def _above(price_e4: int, anchor_e4: int) -> Any:
    return max(-ABOVE_MAX, min(ABOVE_MAX, price_e4 - anchor_e4))


@part
def _squared_return(before_e4: int, price_e4: int) -> Any:
    if before_e4 <= 0 or price_e4 <= 0:
        return 0
    units = round(math.log(price_e4 / before_e4) * _RETURN_UNITS)
    units = max(-_RETURN_UNITS, min(_RETURN_UNITS, units))
    return units * units


@part
def _forget_before(alerts: AlertState, oldest_ns: int) -> None:
    """Takes out of the baselines what ended before ``oldest_ns``."""
    counters, slices, spreads = alerts.counters, alerts.slices, alerts.spreads
    first = counters[count.SLICES_FIRST]
    while first < counters[count.SLICES_NEXT] and slices[first & (len(slices) - 1)].end_ns < oldest_ns:
        piece = slices[first & (len(slices) - 1)]
        base = alerts.baselines[piece.instrument_id]
        above = _above(piece.close_e4, base.anchor_e4)
        base.slices -= 1
        base.sum -= above
        base.squares -= above * above
        base.volume -= piece.volume
        base.notional_e4 -= piece.notional_e4
        base.squared_returns -= piece.squared_return
        first += 1
    counters[count.SLICES_FIRST] = first
    first = counters[count.SPREADS_FIRST]
    while first < counters[count.SPREADS_NEXT] and spreads[first & (len(spreads) - 1)].end_ns < oldest_ns:
        spread = spreads[first & (len(spreads) - 1)]
        base = alerts.baselines[spread.instrument_id]
        base.spreads -= 1
        base.spread_sum -= spread.spread_e4
        first += 1
    counters[count.SPREADS_FIRST] = first


@outlined
def _compare_slice(alerts: AlertState, piece: Row, base: Row, squared_return: int) -> None:
    """Judges a slice by a baseline that has as many as it needs."""
    instrument, clock_ns, samples = piece.instrument_id, piece.end_ns, base.slices
    above = _above(piece.close_e4, base.anchor_e4)
    mean_above = base.sum / samples
    mean = base.anchor_e4 + mean_above
    deviation = math.sqrt(max(0.0, base.squares / samples - mean_above * mean_above))
    deviation = max(deviation, DEVIATION_SHARE_MIN * abs(mean), 1e-3)
    deviations = abs(above - mean_above) / deviation
    mean_volume = base.volume / samples
    volumes = piece.volume / mean_volume
    combined = min(deviations / COMBINED_DEVIATIONS, volumes / COMBINED_VOLUMES)
    for kind in (_PRICE_SPIKE, _VOLUME_SURGE, _COMBINED):
        value = deviations if kind == _PRICE_SPIKE else volumes if kind == _VOLUME_SURGE else combined
        place = see(alerts, kind, instrument, clock_ns, _ppm(value), samples, 0)
        if place >= 0:
            episode = alerts.episodes[place]
            if kind != _VOLUME_SURGE:
                episode.price_e4 = piece.close_e4
                episode.mean_price_e4 = int(mean)
                episode.deviation_e4 = int(deviation)
            if kind != _PRICE_SPIKE:
                episode.volume = piece.volume
                episode.mean_volume = int(mean_volume)
            tell(alerts, place, clock_ns)
    volatility = math.sqrt(base.squared_returns + squared_return) / _RETURN_UNITS
    place = see(alerts, _HIGH_VOLATILITY, instrument, clock_ns, _ppm(volatility), samples, 0)
    if place >= 0:
        alerts.episodes[place].price_e4 = piece.close_e4
        tell(alerts, place, clock_ns)
    vwap = base.notional_e4 / base.volume
    if vwap > 0:
        jump = abs(piece.close_e4 - vwap) / vwap
        place = see(alerts, _PRICE_JUMP, instrument, clock_ns, _ppm(jump), samples, 0)
        if place >= 0:
            alerts.episodes[place].price_e4 = piece.close_e4
            alerts.episodes[place].mean_price_e4 = int(vwap)
            tell(alerts, place, clock_ns)


@part
def _judge_slice(alerts: AlertState, piece: Row) -> None:
    """Compares a slice, then takes it into the baseline."""
    base, counters = alerts.baselines[piece.instrument_id], alerts.counters
    squared_return = _squared_return(base.close_e4, piece.close_e4) if base.slices else 0
    piece.volume = min(piece.volume, SUM_STEP_MAX)
    piece.notional_e4 = max(-SUM_STEP_MAX, min(SUM_STEP_MAX, piece.notional_e4))
    if base.slices >= alerts.limits[0].samples_min:
        _compare_slice(alerts, piece, base, squared_return)
    if base.slices == 0:
        base.anchor_e4 = piece.close_e4
    above = _above(piece.close_e4, base.anchor_e4)
    base.slices += 1
    base.sum += above
    base.squares += above * above
    base.volume += piece.volume
    base.notional_e4 += piece.notional_e4
    base.squared_returns += squared_return
    base.close_e4 = piece.close_e4
    kept = alerts.slices[counters[count.SLICES_NEXT] & (len(alerts.slices) - 1)]
    counters[count.SLICES_NEXT] += 1
    kept.end_ns = piece.end_ns
    kept.close_e4 = piece.close_e4
    kept.volume = piece.volume
    kept.notional_e4 = piece.notional_e4
    kept.squared_return = squared_return
    kept.instrument_id = piece.instrument_id


@part
def _judge_spread(alerts: AlertState, quote: Row, base: Row, is_trading: Any) -> None:
    """Compares a spread, where there is one, and takes it into the baseline. Where there is none, no state lasts."""
    counters, instrument, clock_ns, samples = alerts.counters, quote.instrument_id, quote.end_ns, base.spreads
    is_judged = is_trading and quote.bid_e4 > 0 and quote.ask_e4 > 0
    spread = min(quote.ask_e4 - quote.bid_e4, SUM_STEP_MAX)
    crossed = 2 * max(0, -spread) / max(1, quote.ask_e4 + quote.bid_e4) if is_judged else 0.0
    place = see(alerts, _CROSSED_BOOK, instrument, clock_ns, _ppm(crossed), samples, 1)
    if place >= 0:
        alerts.episodes[place].spread_e4 = spread
        tell(alerts, place, clock_ns)
    is_compared = is_judged and samples >= alerts.limits[0].samples_min
    mean = base.spread_sum / samples if is_compared else 1.0
    widening = max(0, spread) / mean if is_compared else 0.0
    place = see(alerts, _SPREAD_WIDENING, instrument, clock_ns, _ppm(widening), samples, 1)
    if place >= 0:
        alerts.episodes[place].spread_e4 = spread
        alerts.episodes[place].mean_spread_e4 = int(mean)
        tell(alerts, place, clock_ns)
    if is_judged and spread > 0:
        base.spreads += 1
        base.spread_sum += spread
        kept = alerts.spreads[counters[count.SPREADS_NEXT] & (len(alerts.spreads) - 1)]
        counters[count.SPREADS_NEXT] += 1
        kept.end_ns = clock_ns
        kept.spread_e4 = spread
        kept.instrument_id = instrument


@part
def _hear(alerts: AlertState, quote: Row, base: Row, is_trading: Any) -> None:
    """A symbol was named: its silence ends, and it is known when the next one will be stale."""
    clock_ns, counters = quote.end_ns, alerts.counters
    gap_ns = clock_ns - base.heard_ns
    place = alerts.places[quote.instrument_id, _STALE_FEED] - 1
    if place >= 0:
        episode = alerts.episodes[place]
        episode.last_ns = episode.peak_ns = clock_ns
        episode.silence_ns = gap_ns
        episode.peak_ppm = _ppm(gap_ns / max(1, episode.mean_gap_ns))
        end_episode(alerts, place, clock_ns)
    if base.heard == 1:
        base.gap_ns = gap_ns
    elif base.heard > 1:
        base.gap_ns += (gap_ns - base.gap_ns) // _GAPS
    base.heard = min(base.heard + 1, 1 << 30)
    base.heard_ns = clock_ns
    base.stale_ns = NEVER_NS
    if is_trading and base.heard > alerts.limits[0].samples_min:
        gaps = alerts.rules[_STALE_FEED].threshold_ppm / PPM
        silence_ns = max(alerts.limits[0].silence_min_ns, int(min(_PPM_MAX, base.gap_ns * gaps)))
        base.stale_ns = (clock_ns + silence_ns + SLICE_NS - 1) // SLICE_NS * SLICE_NS
        counters[count.STALE_NEXT_NS] = min(counters[count.STALE_NEXT_NS], base.stale_ns)


@part
def _judge_quote(alerts: AlertState, quote: Row) -> None:
    if quote.instrument_id < 0:
        alerts.counters[count.MARKET_CLOSED] = quote.is_closed
        return
    base = alerts.baselines[quote.instrument_id]
    is_trading = quote.trading_state in (0, _TRADING) and quote.is_closed == 0
    _judge_spread(alerts, quote, base, is_trading)
    _hear(alerts, quote, base, is_trading)


@outlined
def _judge_silence(alerts: AlertState, clock_ns: int) -> bool:
    """Begins an episode of each symbol that is stale by now. False: there was no room for all."""
    counters, next_ns = alerts.counters, NEVER_NS
    for instrument in range(len(alerts.baselines)):
        base = alerts.baselines[instrument]
        if base.stale_ns <= clock_ns:
            if counters[count.MARKET_CLOSED] == 0:
                if not has_room(alerts):
                    return False
                place = open_episode(alerts, _STALE_FEED, instrument, clock_ns)
                episode = alerts.episodes[place]
                episode.last_ns = episode.peak_ns = clock_ns
                episode.lasts = 1
                episode.samples = base.heard
                episode.silence_ns = clock_ns - base.heard_ns
                episode.mean_gap_ns = base.gap_ns
                episode.peak_ppm = _ppm(episode.silence_ns / max(1, base.gap_ns))
                tell(alerts, place, clock_ns)
            base.stale_ns = NEVER_NS
        next_ns = min(next_ns, base.stale_ns)
    counters[count.STALE_NEXT_NS] = next_ns
    return True


@outlined
def _end_held(alerts: AlertState, clock_ns: int) -> bool:
    """Ends what has not been above its exit for the hold, by instrument and kind. False: there was no room for all."""
    counters, hold_ns, next_ns = alerts.counters, alerts.limits[0].hold_ns, NEVER_NS
    for instrument in range(alerts.places.shape[0]):
        for kind in range(alerts.places.shape[1]):
            place = alerts.places[instrument, kind] - 1
            if place < 0 or alerts.episodes[place].lasts:
                continue
            due_ns = alerts.episodes[place].last_ns + hold_ns
            if due_ns > clock_ns:
                next_ns = min(next_ns, due_ns)
            elif has_room(alerts):
                end_episode(alerts, place, clock_ns)
            else:
                return False
    counters[count.END_NEXT_NS] = next_ns
    return True


@part
def _judge_match(alerts: AlertState, match: Row) -> None:
    """A pattern has matched: the number of its episode is how often it has."""
    kind, instrument = match.kind, match.instrument_id
    place = alerts.places[instrument, kind] - 1
    before = 0 if place < 0 else alerts.episodes[place].peak_ppm
    place = see(alerts, kind, instrument, match.clock_ns, before + PPM, match.actions, 0)
    episode = alerts.episodes[place]
    episode.price_e4 = match.price_e4
    episode.volume = match.qty
    episode.mean_gap_ns = (match.clock_ns - match.start_ns) // max(1, match.actions - 1)
    tell(alerts, place, match.clock_ns)


@part
def _second_of(time_ns: int) -> Any:
    """End of the second that a time is in, or the time itself where a second ends."""
    return NEVER_NS if time_ns == NEVER_NS else -(-time_ns // SLICE_NS) * SLICE_NS


@kernel
def judge(quotes: Array, slices: Array, matches: Array, at: Array, clock_ns: int, alerts: AlertState) -> int:
    """Judges every second that ended by ``clock_ns``, and what patterns have matched until then, which comes behind the
    second that ends at the same time. ``at``: index of the next quote, slice and match, which it moves.

    Returns DONE, or ROWS_FULL or EPISODES_FULL: it goes on where it came back once there is room.
    """
    counters = alerts.counters
    while True:
        now = min(_second_of(counters[count.STALE_NEXT_NS]), _second_of(counters[count.END_NEXT_NS]))
        if at[0] < len(quotes):
            now = min(now, quotes[at[0]].end_ns)
        if at[1] < len(slices):
            now = min(now, slices[at[1]].end_ns)
        if at[2] < len(matches):
            now = min(now, matches[at[2]].clock_ns)
        if now > clock_ns:
            # A change of the market's hours is said at once, with the end of the second that still runs. It is taken
            # now, since the next call has other rows; nothing is judged before that end, where it would come first.
            while at[0] < len(quotes) and quotes[at[0]].instrument_id < 0:
                _judge_quote(alerts, quotes[at[0]])
                at[0] += 1
            return DONE
        _forget_before(alerts, now - BASELINE_NS)
        while at[0] < len(quotes) and quotes[at[0]].end_ns == now and has_room(alerts):
            _judge_quote(alerts, quotes[at[0]])
            at[0] += 1
        while at[1] < len(slices) and slices[at[1]].end_ns == now and has_room(alerts):
            _judge_slice(alerts, slices[at[1]])
            at[1] += 1
        is_done = has_room(alerts)
        if is_done and _second_of(counters[count.STALE_NEXT_NS]) <= now:
            is_done = _judge_silence(alerts, now)
        if is_done and _second_of(counters[count.END_NEXT_NS]) <= now:
            is_done = _end_held(alerts, now)
        while is_done and at[2] < len(matches) and matches[at[2]].clock_ns == now:
            is_done = has_room(alerts)
            if is_done:
                _judge_match(alerts, matches[at[2]])
                at[2] += 1
        if not is_done:
            is_full = len(alerts.rows) - counters[count.ROWS] < ROWS_AT_ONCE
            return ROWS_FULL if is_full else EPISODES_FULL


@kernel
def end_all(clock_ns: int, alerts: AlertState) -> None:
    """Ends every episode, by instrument and kind. There has to be a row for each."""
    for instrument in range(alerts.places.shape[0]):
        for kind in range(alerts.places.shape[1]):
            if alerts.places[instrument, kind]:
                end_episode(alerts, alerts.places[instrument, kind] - 1, clock_ns)
