"""Market alerts a second time: from ticks, by dicts and numpy, second by second, without anything of the service.

It says for each row of ``md.alerts`` what identifies it and the number compared. Nothing is summed on the way: each
baseline is looked up anew.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from math import ceil, floor, log, sqrt
from typing import Any

import numpy as np
from common.contracts.alerts import ALERT_RULES, AlertLimits
from common.contracts.ticks import TickFlag, TickKind, Ticks

S = 1_000_000_000
BASELINE_S = 300
NAMED: dict[str, Any] = {str(rule.kind): rule for rule in ALERT_RULES}
ROUGH_PPM = 2
"""Millionths by which a number may differ: it is rounded down, and a float before."""


@dataclass(frozen=True)
class Told:
    """A row of an alert."""

    clock_s: int
    instrument: int
    kind: str
    phase: str
    severity: str
    begin_s: int
    peak_s: int
    end_s: int
    value: float
    samples: int


@dataclass
class Episode:
    begin_s: int
    last_s: int
    peak_s: int = 0
    peak: float = -1.0
    severity: str = ""
    samples: int = 0
    lasts: bool = False
    gap: float = 0.0


@dataclass
class Instrument:
    slices: list[tuple[int, int, int, int, float]] = field(default_factory=list)
    """(end, last price, shares, notional, squared return)"""
    spreads: list[tuple[int, int]] = field(default_factory=list)
    heard: list[int] = field(default_factory=list)
    gap_ns: int = 0
    stale_s: float = float("inf")


def prints_at_own_price(tick: Any) -> bool:
    """Whether an execution names a price of its own and counts."""
    return bool(tick["kind"] == TickKind.EXECUTED_WITH_PRICE and tick["flags"] & TickFlag.PRINTABLE)


class Referee:
    """Feed it ticks in order; ``told`` is what has been issued."""

    def __init__(self, limits: AlertLimits) -> None:
        self.limits = limits
        self.told: list[Told] = []
        self._begin(0)

    def _begin(self, clock_ns: int) -> None:
        self.clock_ns = clock_ns
        self.second = clock_ns // S
        self.orders: dict[int, tuple[int, str, int, int]] = {}
        self.depth: dict[tuple[int, str], dict[int, int]] = defaultdict(lambda: defaultdict(int))
        self.named: set[int] = set()
        self.states: dict[int, int] = {}
        self.closed = False
        self.trades: list[dict[str, int]] = []
        self.instruments: dict[int, Instrument] = defaultdict(Instrument)
        self.episodes: dict[tuple[int, str], Episode] = {}

    # --- books ------------------------------------------------------------------------------------------------------

    def apply(self, ticks: Ticks) -> list[Told]:
        for tick in ticks:
            kind = int(tick["kind"])
            if kind == TickKind.SYSTEM_EVENT and tick["detail"] == ord("O"):
                self._end_all()
                self._begin(int(tick["event_ns"]))
                continue
            self.clock_ns = max(self.clock_ns, int(tick["event_ns"]))
            self._pass(self.clock_ns // S)
            if kind == TickKind.HEARTBEAT and int(tick["flags"]) & TickFlag.SESSION_END:
                self._end_all()
            instrument = int(tick["instrument_id"])
            if instrument >= 0:
                self.named.add(instrument)
            elif kind == TickKind.SYSTEM_EVENT and chr(tick["detail"]) in "MECQ":
                self.closed = chr(tick["detail"]) != "Q"
            self._tick(kind, tick, instrument)
        return self.told

    def _tick(self, kind: int, tick: Any, instrument: int) -> None:
        ref, qty, price = int(tick["order_ref"]), int(tick["qty"]), int(tick["price_e4"])
        if kind in (TickKind.ADD, TickKind.ADD_WITH_MPID) and instrument >= 0:
            self._enter(ref, instrument, chr(tick["side"]), price, qty)
        elif kind == TickKind.TRADING_ACTION and instrument >= 0:
            self.states[instrument] = int(tick["detail"])
        elif kind in (TickKind.TRADE, TickKind.CROSS_TRADE) and instrument >= 0 and qty > 0:
            self._trade(tick, instrument, price, qty)
        elif kind == TickKind.BROKEN_TRADE:
            for trade in [t for t in reversed(self.trades) if t["match"] == int(tick["aux_ref"])][:1]:
                self.trades.remove(trade)
        elif ref in self.orders and instrument >= 0:
            self._modify(kind, tick, ref, qty, price)
        elif prints_at_own_price(tick) and instrument >= 0 and qty > 0:
            self._trade(tick, instrument, price, qty)

    def _enter(self, ref: int, instrument: int, side: str, price: int, qty: int) -> None:
        if side in "BS" and qty > 0 and ref not in self.orders:
            self.orders[ref] = instrument, side, price, qty
            self.depth[instrument, side][price] += qty

    def _leave(self, ref: int, qty: int) -> None:
        instrument, side, price, held = self.orders.pop(ref)
        levels = self.depth[instrument, side]
        levels[price] -= qty
        if not levels[price]:
            del levels[price]
        if held > qty:
            self.orders[ref] = instrument, side, price, held - qty

    def _modify(self, kind: int, tick: Any, ref: int, qty: int, price: int) -> None:
        instrument, side, own_price, held = self.orders[ref]
        if qty > 0 and (kind == TickKind.EXECUTED or prints_at_own_price(tick)):
            self._trade(tick, instrument, own_price if kind == TickKind.EXECUTED else price, qty)
        if kind in (TickKind.DELETE, TickKind.REPLACE):
            self._leave(ref, held)
            if kind == TickKind.REPLACE:
                self._enter(int(tick["aux_ref"]), instrument, side, price, qty)
        elif kind in (TickKind.EXECUTED, TickKind.EXECUTED_WITH_PRICE, TickKind.CANCEL) and qty > 0:
            self._leave(ref, min(qty, held))

    def _trade(self, tick: Any, instrument: int, price: int, qty: int) -> None:
        at_ns, match = int(tick["event_ns"]), int(tick["aux_ref"])
        if at_ns // S >= self.second:
            self.trades.append({"at": at_ns, "instrument": instrument, "price": price, "qty": qty, "match": match})

    def _best(self, instrument: int) -> tuple[int, int]:
        bids, asks = self.depth[instrument, "B"], self.depth[instrument, "S"]
        return max(bids, default=0), min(asks, default=0)

    # --- seconds ----------------------------------------------------------------------------------------------------

    def _pass(self, second: int) -> None:
        if second <= self.second:
            return
        end, trades, self.trades = self.second + 1, self.trades, []
        for instrument in sorted(self.named):
            self._quote(instrument, end)
        self.named.clear()
        for instrument in sorted({trade["instrument"] for trade in trades}):
            own = sorted((t for t in trades if t["instrument"] == instrument), key=lambda trade: trade["at"])
            volume = sum(t["qty"] for t in own)
            self._slice(instrument, end, own[-1]["price"], volume, sum(t["qty"] * t["price"] for t in own))
        for passed in range(end, second + 1):
            self._silence(passed)
            for (instrument, name), episode in sorted(self.episodes.items()):
                if not episode.lasts and passed * S >= episode.last_s * S + self.limits.hold_ns:
                    self._end(instrument, name, passed)
            if not self.episodes and all(one.stale_s == float("inf") for one in self.instruments.values()):
                break
        self.second = second

    def _quote(self, instrument: int, now: int) -> None:
        one, (bid, ask) = self.instruments[instrument], self._best(instrument)
        trades = self.states.get(instrument, 0) in (0, ord("T")) and not self.closed
        judged = trades and bid > 0 and ask > 0
        spread = ask - bid
        one.spreads = [(at, width) for at, width in one.spreads if now - BASELINE_S <= at]
        before = [width for _, width in one.spreads]
        crossed = max(0, -spread) / ((ask + bid) / 2) if judged else 0.0
        self._see(instrument, "CROSSED_BOOK", now, crossed, len(before), lasts=True)
        enough = judged and len(before) >= self.limits.samples_min
        widening = max(0, spread) / float(np.mean(before)) if enough else 0.0
        self._see(instrument, "SPREAD_WIDENING", now, widening, len(before), lasts=True)
        if judged and spread > 0:
            one.spreads.append((now, spread))
        self._hear(instrument, one, now, trades)

    def _hear(self, instrument: int, one: Instrument, now: int, trades: bool) -> None:
        episode = self.episodes.get((instrument, "STALE_FEED"))
        if episode is not None:
            episode.last_s = episode.peak_s = now
            episode.peak = (now - one.heard[-1]) * S / max(1, episode.gap)
            self._end(instrument, "STALE_FEED", now)
        if len(one.heard) == 1:
            one.gap_ns = (now - one.heard[-1]) * S
        elif len(one.heard) > 1:
            one.gap_ns += ((now - one.heard[-1]) * S - one.gap_ns) // 32
        one.heard.append(now)
        one.stale_s = float("inf")
        if trades and len(one.heard) > self.limits.samples_min:
            silence = max(self.limits.silence_min_ns, one.gap_ns * self.limits.threshold_of(NAMED["STALE_FEED"]))
            one.stale_s = now + ceil(int(silence) / S)

    def _silence(self, now: int) -> None:
        for instrument, one in sorted(self.instruments.items()):
            if one.stale_s == now:
                one.stale_s = float("inf")
                if not self.closed:
                    episode = Episode(now, now, now, (now - one.heard[-1]) * S / max(1, one.gap_ns), "HIGH")
                    episode.samples, episode.lasts, episode.gap = len(one.heard), True, one.gap_ns
                    self.episodes[instrument, "STALE_FEED"] = episode
                    self._tell(instrument, "STALE_FEED", now, "begin", 0)

    def _slice(self, instrument: int, now: int, close: int, volume: int, notional: int) -> None:
        one = self.instruments[instrument]
        before = one.slices = [row for row in one.slices if now - BASELINE_S <= row[0]]
        change = max(-1.0, min(1.0, round(log(close / before[-1][1]) * 1e8) / 1e8)) if before else 0.0
        if len(before) >= self.limits.samples_min:
            closes = np.array([row[1] for row in before], float)
            deviation = max(float(closes.std()), closes.mean() * 1e-4)
            deviations = abs(close - float(closes.mean())) / deviation
            volumes = volume / float(np.mean([row[2] for row in before]))
            vwap = sum(row[3] for row in before) / sum(row[2] for row in before)
            values = {
                "PRICE_SPIKE": deviations,
                "VOLUME_SURGE": volumes,
                "COMBINED": min(deviations / 2, volumes / 3),
                "HIGH_VOLATILITY": sqrt(sum(row[4] for row in before) + change**2),
                "PRICE_JUMP": abs(close - vwap) / vwap,
            }
            for name, value in values.items():
                self._see(instrument, name, now, value, len(before))
        one.slices = [*before, (now, close, volume, notional, change**2)]

    # --- episodes ---------------------------------------------------------------------------------------------------

    def _see(self, instrument: int, name: str, now: int, value: float, samples: int, *, lasts: bool = False) -> None:
        rule, episode = NAMED[name], self.episodes.get((instrument, name))
        threshold, value = self.limits.threshold_of(rule), floor(value * 1e6) / 1e6
        if episode is None:
            if value <= threshold:
                return
            episode = self.episodes[instrument, name] = Episode(now, now)
        if value <= round(0.8 * threshold * 1e6) / 1e6:
            if episode.lasts:
                episode.lasts, episode.last_s = False, now
            return
        episode.last_s, episode.lasts = now, lasts
        if value <= episode.peak:
            return
        episode.peak, episode.peak_s, episode.samples = value, now, samples
        grades = [rule.severity.name]
        grades += ["HIGH"] if rule.high is not None and value >= rule.high else []
        grades += ["CRITICAL"] if rule.critical is not None and value >= rule.critical else []
        order = ["", "LOW", "MEDIUM", "HIGH", "CRITICAL"]
        gravest = max(grades, key=order.index)
        if order.index(gravest) > order.index(episode.severity):
            phase, episode.severity = "rise" if episode.severity else "begin", gravest
            self._tell(instrument, name, now, phase, 0)

    def _end_all(self) -> None:
        """No episode outlives its session."""
        for instrument, name in sorted(self.episodes):
            self._end(instrument, name, self.clock_ns // S)

    def _end(self, instrument: int, name: str, now: int) -> None:
        self._tell(instrument, name, now, "end", self.episodes[instrument, name].last_s)
        del self.episodes[instrument, name]

    def _tell(self, instrument: int, name: str, now: int, phase: str, end: int) -> None:
        one = self.episodes[instrument, name]
        row = Told(now, instrument, name, phase, one.severity, one.begin_s, one.peak_s, end, one.peak, one.samples)
        self.told.append(row)


def told_by(rows: Any) -> list[Told]:
    """Rows of ``md.alerts`` in the same words."""
    return [
        Told(
            clock_s=int(row["clock_ns"]) // S,
            instrument=int(row["instrument_id"]),
            kind=row["kind"].decode(),
            phase=row["phase"].decode(),
            severity=row["severity"].decode(),
            begin_s=int(row["begin_ns"]) // S,
            peak_s=int(row["peak_ns"]) // S,
            end_s=int(row["end_ns"]) // S,
            value=int(row["peak_ppm"]) / 1e6,
            samples=int(row["samples"]),
        )
        for row in rows
    ]


def assert_same(found: list[Told], expected: list[Told]) -> None:
    """Equal but for the order within a second, and for ``ROUGH_PPM``."""

    def key(row: Told) -> tuple[Any, ...]:
        return row.clock_s, row.instrument, row.kind, row.begin_s, row.phase

    found, expected = sorted(found, key=key), sorted(expected, key=key)
    for mine, theirs in zip(found, expected, strict=False):
        assert abs(mine.value - theirs.value) <= ROUGH_PPM * 1e-6 * max(1.0, theirs.value), (mine, theirs)
        rounded = {name: getattr(theirs, name) for name in Told.__dataclass_fields__} | {"value": mine.value}
        assert mine == Told(**rounded)
    assert len(found) == len(expected), (found[len(expected) :], expected[len(found) :])
